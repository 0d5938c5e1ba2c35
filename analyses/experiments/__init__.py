"""Whole runs, one function each, that the command line, a notebook and a benchmark all call."""

from analyses.experiments.config import PRESETS, EncodingConfig, FeatureSpace, preset
from analyses.experiments.decoding import decode_blocks, decode_dataset
from analyses.experiments.encoding import run_encoding
from analyses.experiments.prediction import predict_run
from analyses.experiments.rsa import compare_layers_with_rdms
from analyses.experiments.variance_partition import partition_variance

__all__ = [
    "PRESETS",
    "EncodingConfig",
    "FeatureSpace",
    "compare_layers_with_rdms",
    "decode_blocks",
    "decode_dataset",
    "partition_variance",
    "predict_run",
    "preset",
    "run_encoding",
]
