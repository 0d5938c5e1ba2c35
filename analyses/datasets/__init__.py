"""Human and animal data, each with its origin, licence and units."""

from analyses.datasets import haxby_slice  # noqa: F401  (enters itself into the registry)
from analyses.datasets.dataset import DataFile, Dataset, DatasetInfo, make_responses
from analyses.datasets.registry import dataset_info, list_datasets, load_dataset, register_dataset

__all__ = [
    "DataFile",
    "Dataset",
    "DatasetInfo",
    "dataset_info",
    "list_datasets",
    "load_dataset",
    "make_responses",
    "register_dataset",
]
