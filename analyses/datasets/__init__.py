"""Human and animal data, each with its origin, licence and units."""

from analyses.datasets import (  # noqa: F401  (each enters itself into the registry)
    algonauts2023,
    amazon_covers,
    coco_search18,
    digits69,
    haxby,
    haxby_slice,
    interiors,
    kriegeskorte92,
    search_asymmetry,
    simulated,
    v4_natural,
)
from analyses.datasets.dataset import DataFile, Dataset, DatasetInfo, make_responses
from analyses.datasets.registry import (
    dataset_info,
    fetch_dataset,
    list_datasets,
    load_dataset,
    load_response_dataset,
    register_dataset,
)
from analyses.datasets.search_dataset import SearchDataset
from analyses.datasets.simulated import simulate_subject

__all__ = [
    "DataFile",
    "Dataset",
    "DatasetInfo",
    "SearchDataset",
    "dataset_info",
    "fetch_dataset",
    "list_datasets",
    "load_dataset",
    "load_response_dataset",
    "make_responses",
    "register_dataset",
    "simulate_subject",
]
