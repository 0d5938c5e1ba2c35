"""Human and animal data, each with its origin, licence and units."""

from analyses.datasets import (  # noqa: F401  (each enters itself into the registry)
    algonauts2023,
    digits69,
    haxby,
    haxby_slice,
    kriegeskorte92,
    simulated,
    v4_natural,
)
from analyses.datasets.dataset import DataFile, Dataset, DatasetInfo, make_responses
from analyses.datasets.registry import (
    dataset_info,
    fetch_dataset,
    list_datasets,
    load_dataset,
    register_dataset,
)
from analyses.datasets.simulated import simulate_subject

__all__ = [
    "DataFile",
    "Dataset",
    "DatasetInfo",
    "dataset_info",
    "fetch_dataset",
    "list_datasets",
    "load_dataset",
    "make_responses",
    "register_dataset",
    "simulate_subject",
]
