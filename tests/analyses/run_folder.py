"""Folders of finished runs with simulated scores, to draw and to write about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from statsmodels.stats.multitest import multipletests

from analyses.experiments.config import EncodingConfig, FeatureSpace
from analyses.experiments.run_folder import CONFIG, PREDICTIONS, RESULTS, write_netcdf
from analyses.geometry import Geometry

CATEGORIES = ("bottle", "cat", "chair", "face", "house", "scissors", "scrambledpix", "shoe")
ALPHAS = tuple(float(10.0**k) for k in range(-1, 6))
TR_S = 2.5
ATTRS: dict[str, Any] = {
    "dataset": "haxby-slice",
    "title": "Haxby 2001, half an axial slice",
    "subject": "1",
    "kind": "time_series",
    "neuroids": "voxels",
    "units": "z-score within run",
    "licence": "CC BY-SA 3.0",
    "citation": "Haxby et al. (2001). Science 293(5539), 2425-2430.",
    "n_samples": 1452,
    "n_tested": 1452,
    "grouping": "runs",
    "evaluation_unit": "block",
    "ceiling_source": "blocks of one stimulus as repeats (12 each), bias-corrected explainable variance",
    "encoder": "ridge",
    "split": "cv",
    "n_bootstrap": 1000,
    "tr_s": TR_S,
    "null": "refit",
    "null_units": "whole blocks within runs",
}


def hand_made() -> xr.Dataset:
    """Two layers, five voxels of which the last is excluded, four permutations, two regions."""
    return xr.Dataset(
        {
            "r": (("layer", "neuroid"), [[0.1, 0.2, 0.3, 0.0, np.nan], [0.5, 0.4, 0.3, 0.2, np.nan]]),
            "r_evaluated": (
                ("layer", "neuroid"),
                [[0.2, 0.2, 0.2, 0.2, np.nan], [0.6, 0.4, 0.4, 0.2, np.nan]],
            ),
            "noise_ceiling_r": ("neuroid", [0.8, 0.5, 0.05, np.nan, 0.9]),
            "r_normalized": (
                ("layer", "neuroid"),
                [[0.25, 0.4, np.nan, np.nan, np.nan], [0.7, 0.8, np.nan, np.nan, np.nan]],
            ),
            "q_value": (
                ("layer", "neuroid"),
                [[0.2, 0.04, 0.2, 0.2, np.nan], [0.01, 0.05, 0.06, 0.5, np.nan]],
            ),
            "null_mean_r": (("layer", "permutation"), [[0.0, 0.1, 0.2, 0.4], [0.0, 0.1, 0.2, 0.3]]),
            "excluded": ("neuroid", ["", "", "", "", "constant"]),
            "roi_mask": (("roi", "neuroid"), [[1, 1, 1, 1, 1], [0, 1, 1, 0, 1]]),
            "roi_r": (("layer", "roi"), [[0.15, 0.25], [0.35, 0.35]]),
            "roi_r_lower": (("layer", "roi"), [[0.05, 0.1], [0.2, 0.25]]),
            "roi_r_upper": (("layer", "roi"), [[0.2, 0.3], [0.45, 0.5]]),
        },
        coords={"layer": ["a", "b"], "roi": ["all", "V1"]},
        attrs={"evaluation_unit": "block"},
    )


def simulate_results(
    n_voxels: int = 530,
    layers: tuple[str, ...] = (
        "one-hot",
        "MiniLM:encoder.layer.0",
        "MiniLM:encoder.layer.2",
        "MiniLM:encoder.layer.5",
    ),
    n_rois: int = 3,
    n_folds: int = 12,
    n_permutations: int = 100,
    strength: float = 0.8,
    n_excluded: int = 6,
    choose: bool = True,
    seed: int = 0,
) -> xr.Dataset:
    """Simulate the `results.nc` of a run in which later layers do better, up to `strength` of the ceiling."""
    rng = np.random.default_rng(seed)
    names = [*layers, "selected"] if choose else list(layers)
    ceiling = np.clip(rng.beta(2.0, 2.0, n_voxels) * 0.95, 0.02, None)
    quality = strength * np.append(np.linspace(0.55, 1.0, len(layers)), 0.98)[: len(names), None]
    r_evaluated = np.tanh(np.arctanh(0.98 * quality * ceiling) + rng.normal(0, 0.09, (len(names), n_voxels)))
    r = 0.55 * r_evaluated + rng.normal(0, 0.015, r_evaluated.shape)
    null = rng.normal(0, 0.04, (n_permutations, n_voxels))
    p = (1 + (null[None] >= r[:, None]).sum(axis=1)) / (n_permutations + 1)
    largest = null.max(axis=1)
    excluded = np.full(n_voxels, "", dtype="U16")
    excluded[rng.choice(n_voxels, n_excluded, replace=False)] = np.where(
        np.arange(n_excluded) % 3, "constant", "not finite"
    )
    out = excluded != ""
    for values in (r, r_evaluated, p):
        values[:, out] = np.nan
    q = np.full_like(p, np.nan)
    for row in range(len(names)):
        q[row, ~out] = multipletests(p[row, ~out], method="fdr_bh")[1]
    p_max = (1 + (largest[None, :, None] >= r[:, None]).sum(axis=1)) / (n_permutations + 1)
    p_max[:, out] = np.nan
    ceiling[out] = np.nan
    regions = ["all", *(f"region {i}" for i in range(1, n_rois))]
    masks = rng.random((n_rois, n_voxels)) < 0.45  # regions overlap
    masks[0] = True
    roi_r = np.array([np.nanmean(np.where(mask, r, np.nan), axis=1) for mask in masks]).T
    selected = rng.choice(
        len(layers), (n_folds, n_voxels), p=np.arange(1, len(layers) + 1) / sum(range(1, len(layers) + 1))
    )
    with np.errstate(invalid="ignore"):
        normalized = np.where(ceiling >= 0.1, r_evaluated / ceiling, np.nan)
    variables: dict[str, Any] = {
        "r": (("layer", "neuroid"), r),
        "r2": (("layer", "neuroid"), np.sign(r) * r**2),
        "r_evaluated": (("layer", "neuroid"), r_evaluated),
        "noise_ceiling_r": ("neuroid", ceiling),
        "explainable_variance": ("neuroid", ceiling**2),
        "r_normalized": (("layer", "neuroid"), normalized),
        "p_value": (("layer", "neuroid"), p),
        "q_value": (("layer", "neuroid"), q),
        "p_value_max": (("layer", "neuroid"), p_max),
        "null_mean_r": (("layer", "permutation"), rng.normal(0, 0.008, (len(names), n_permutations))),
        "null_r_95": (("layer", "neuroid"), np.tile(np.percentile(null, 95, axis=0), (len(names), 1))),
        "alpha": (
            ("layer", "fold", "neuroid"),
            rng.choice(ALPHAS, (len(names), n_folds, n_voxels), p=[0.02, 0.05, 0.13, 0.3, 0.3, 0.15, 0.05]),
        ),
        "alpha_grid": (
            ("layer", "fold", "penalty"),
            np.where(
                (np.array(names) == "selected")[:, None, None],
                np.nan,
                np.tile(ALPHAS, (len(names), n_folds, 1)),
            ),
        ),
        "roi_mask": (("roi", "neuroid"), masks),
        "roi_r": (("layer", "roi"), roi_r),
        "roi_r_lower": (("layer", "roi"), roi_r - 0.03),
        "roi_r_upper": (("layer", "roi"), roi_r + 0.035),
        "roi_r_ceiling": ("roi", [np.nanmean(ceiling[mask]) for mask in masks]),
        "excluded": ("neuroid", excluded),
    }
    if choose:
        variables["selected_layer"] = (("fold", "neuroid"), np.where(out, np.nan, selected))
    return xr.Dataset(
        variables,
        coords={
            "layer": names,
            "roi": regions,
            "neuroid_id": ("neuroid", [f"{v}-0-0" for v in range(n_voxels)]),
        },
        attrs=ATTRS | {"n_folds": n_folds, "n_permutations": n_permutations},
    )


def simulate_time_series(
    results: xr.Dataset, n_runs: int = 12, n_volumes: int = 121, seed: int = 0
) -> xr.Dataset:
    """Simulate the `predictions.nc` of a block design: one block of nine volumes a category in every run."""
    rng = np.random.default_rng(seed)
    run = np.repeat(np.arange(n_runs), n_volumes)
    stimulus = np.full(run.size, "", dtype="U16")
    for r in range(n_runs):
        for block, category in enumerate(rng.permutation(CATEGORIES)):
            start = r * n_volumes + 6 + block * 14
            stimulus[start : start + 9] = category
    kernel = np.array([0.0, 0.1, 0.5, 1.0, 0.8, 0.4, 0.1])
    drive = np.convolve((stimulus != "") * (0.4 + 0.6 * np.isin(stimulus, ["face", "cat"])), kernel)[
        : run.size
    ]
    drive = (drive - drive.mean()) / drive.std()
    signal = np.array([0.95, 0.9, 0.8, 0.1, 0.0, 0.0])
    measured = signal * drive[:, None] + rng.normal(0, 1, (run.size, 6)) * np.sqrt(1 - 0.8 * signal**2) * 0.8
    predicted = (signal * drive[:, None] * 0.8 + rng.normal(0, 0.08, (run.size, 6)))[None]
    predicted = np.concatenate([predicted + rng.normal(0, 0.1, predicted.shape) for _ in results["layer"]])
    return _predictions(
        results,
        measured,
        predicted,
        {"stimulus_id": stimulus, "run": run},
        {"tr_s": TR_S, "units": "z within run"},
    )


def simulate_trials(results: xr.Dataset, n_trials: int = 100, seed: int = 0) -> xr.Dataset:
    """Simulate the `predictions.nc` of single trials."""
    rng = np.random.default_rng(seed)
    drive = rng.normal(0, 1, (n_trials, 1))
    signal = np.array([0.9, 0.85, 0.7, 0.1, 0.0, -0.1])
    measured = signal * drive + rng.normal(0, 0.5, (n_trials, 6))
    predicted = (0.8 * np.abs(signal) * drive + rng.normal(0, 0.2, (n_trials, 6)))[None].repeat(
        results.sizes["layer"], axis=0
    )
    return _predictions(
        results, measured, predicted, {"stimulus_id": np.arange(n_trials).astype(str)}, {"units": "z"}
    )


def _predictions(
    results: xr.Dataset,
    measured: np.ndarray,
    predicted: np.ndarray,
    coords: dict[str, Any],
    attrs: dict[str, Any],
) -> xr.Dataset:
    r = [np.corrcoef(measured[:, v], predicted[-1][:, v])[0, 1] for v in range(6)]
    return xr.Dataset(
        {
            "measured": (("presentation", "neuroid"), measured),
            "predicted": (("layer", "presentation", "neuroid"), predicted),
        },
        coords={
            "layer": results["layer"].values,
            "neuroid_id": ("neuroid", [f"{v}-3-0" for v in range(6)]),
            "r": ("neuroid", r),
            "rank": ("neuroid", ["best"] * 3 + ["worst"] * 3),
        }
        | {name: ("presentation", values) for name, values in coords.items()},
        attrs=attrs,
    )


#: As `analyses.provenance.collect_provenance` writes it.
PROVENANCE: dict[str, Any] = {
    "command_line": "cogmodels demo --out runs/demo",
    "started": "2026-01-05T10:12:13+00:00",
    "finished": "2026-01-05T10:14:21+00:00",
    "wall_s": 128.4,
    "cpu_s": 201.9,
    "code": {"name": "cogmodels", "version": "0.1.0", "commit": "0a" * 20, "changed_since_commit": False},
    "versions": {"python": "3.11.7", "numpy": "1.26.4", "torch": "2.15.0", "scikit-learn": "1.5.2"},
    "machine": {"platform": "Linux-6.1-x86_64", "device": "cpu"},
    "seeds": {"seed": 0},
    "dataset": {
        "name": "haxby-slice",
        "subject": "1",
        "home": "PyPI source archive pymvpa2 2.6.5",
        "licence": "CC BY-SA 3.0",
        "files": [{"path": "haxby_slice.npz", "sha256": "12" * 32}],
        "sha256": {"responses": "cd" * 32},
    },
    "stimuli": {"name": "haxby-slice", "n_stimuli": 8, "content_hash": "ef" * 32},
    "backbones": [{"name": "minilm", "fingerprint": "ab" * 32, "modality": "text"}],
}


def write_run_folder(
    folder: Path,
    results: xr.Dataset,
    predictions: xr.Dataset | None = None,
    geometry: Geometry | None = None,
    provenance: dict[str, Any] | None = None,
) -> Path:
    """Write the files that a finished run leaves, as the experiment writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_netcdf(results, folder / RESULTS)
    if predictions is not None:
        write_netcdf(predictions, folder / PREDICTIONS)
    if geometry is not None:
        geometry.save(folder / "geometry.npz")
    config = EncodingConfig(
        dataset="haxby-slice",
        spaces=(
            FeatureSpace(backbone="onehot", label="one-hot"),
            FeatureSpace(backbone="minilm", label="MiniLM"),
        ),
        alphas=ALPHAS,
        n_permutations=100,
    )
    (folder / CONFIG).write_text(config.model_dump_json(indent=2), encoding="utf-8")
    text = json.dumps(PROVENANCE if provenance is None else provenance, indent=2)
    (folder / "provenance.json").write_text(text, encoding="utf-8")
    return folder
