"""Does OAT search as the searcher from whose scanpaths it learnt, on displays that it has not seen?

Run ``python -m benchmarks.oat`` (``--part shelves`` or ``--part covers`` for one half, ``--quick`` for a first look).
Prints Markdown and writes ``benchmarks/results/oat_*.json``. One thread.

**Shelves** are simulated, and so is the searcher (`cogmodels.search.oat.searcher`): every probability is known. OAT
learns from shelves of 2 x 11 objects and is shown other shelves of 2 x 11, and of 3 x 9 without further training.
Beside it stand the same network with other positions, without any, with a vocabulary of object numbers in place of the
pointer, and told where the target is, as the published code does. "Nats above the searcher" is how much more surprised
OAT is by the searcher's true steps than the searcher itself: 0 means that all probabilities are right.

**Covers** are those of the data set amazon-covers: six people, 84 covers. No pictures of the covers are published. Each
cover is therefore given a random vector as its identity, which the target token shares: recognition is given, and what
is learnt is where people look and when they stop. The vectors say nothing about the covers and are drawn anew for every
copy of a training display. The displays are divided into folds; each is searched by a network that saw trials on
other displays only, and was stopped by others again. Trials longer than the mean of the training trials by more than
three standard deviations are left out, as published.

Delta and sequence score are of 100 drawn rollouts a display ("multi") or of the likeliest steps ("single"). All
networks have the sizes of `OAT.small`. How long to train on shelves was chosen by Delta on validation shelves: the
network is then past the point where it is least surprised by searches that it has not seen ("nats above"), but only
then has it learnt to remember where it was. How long to train on covers was set by the time at hand. The first network
of the covers, and the displays that it has not seen, are kept for
``cogmodels search run --model oat --model-folder runs/oat/model --paradigm runs/oat/displays``.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from analyses.datasets import load_dataset
from analyses.metrics.scanpath import (
    behaviour_delta,
    behaviour_statistics,
    human_ceiling,
    model_agreement,
)
from cogmodels.search import OAT, CenterBias, Chance, NearestFirst, Scanpaths, SearchModel
from cogmodels.search.behaviour import STATISTICS, statistics_delta
from cogmodels.search.oat.searcher import ShelfSearcher, simulate_shelves
from encoders import Training
from stimuli import write_json
from stimuli.search_displays import SearchDisplays

RESULTS, RUNS = Path(__file__).parent / "results", Path("runs") / "oat"
N_ROLLOUTS, N_BOOTSTRAP, N_IDENTITY = 100, 1000, 32
N_BASELINE_ROLLOUTS = 20  # on shelves, where truth is drawn as often as one likes

VARIANTS: dict[str, dict[str, Any]] = {
    "OAT": {},
    "no positions": {"positions": "none"},
    "told where the target is": {"reveal_target_position": True},
    "index as a sinusoid": {"positions": "index"},
    "vocabulary in place of the pointer": {"head": "vocabulary"},
}


@dataclass(frozen=True)
class Scale:
    """How much is computed."""

    n_shelves: int = 8_000
    shelf_epochs: int = 25
    n_test_shelves: int = 100
    n_folds: int = 5
    n_copies: int = 20
    cover_epochs: int = 5
    n_rollouts: int = N_ROLLOUTS
    variants: tuple[str, ...] = tuple(VARIANTS)


QUICK = Scale(400, 2, 10, 5, 1, 2, 10, ("OAT", "no positions"))


def settings(n_epochs: int, seed: int = 0) -> Training:
    """Return how all networks are trained."""
    return Training(
        lr=1e-3,
        weight_decay=0.0,
        batch_size=20,
        n_epochs=n_epochs,
        schedule="cosine",
        warmup_epochs=1,
        clip_norm=1.0,
        patience_epochs=None,
        seed=seed,
    )


def say(done: int, total: int, text: str) -> None:
    """Show on the error stream how far a training is."""
    print(f"epoch {done} of {total}: {text}", file=sys.stderr, flush=True)


def delta_with_interval(
    model: Scanpaths, people: Scanpaths, displays: SearchDisplays, seed: int = 0
) -> tuple[float, float, float]:
    """Return Delta and its 95 % interval over displays; a display weighs as often as people searched it."""
    model_table, people_table = (behaviour_statistics(paths, displays) for paths in (model, people))
    estimate = behaviour_delta(model_table, people_table)
    by_display = [table.groupby("display")[list(STATISTICS)].mean() for table in (model_table, people_table)]
    names, weights = by_display[1].index, people_table.groupby("display").size().to_numpy()
    values = [table.loc[names].to_numpy() for table in by_display]
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(N_BOOTSTRAP):
        rows = rng.integers(0, len(names), len(names))
        draws.append(
            statistics_delta(*(np.average(part[rows], axis=0, weights=weights[rows]) for part in values))
        )
    lower, upper = np.quantile(draws, [0.025, 0.975])
    return estimate, float(lower), float(upper)


def judge(name: str, model: Scanpaths, people: Scanpaths, displays: SearchDisplays) -> dict[str, Any]:
    """Return one row of a table: statistics, Delta and sequence score, with intervals."""
    delta, delta_lower, delta_upper = delta_with_interval(model, people, displays)
    score = model_agreement(model, people, "sequence_score", resample="displays", n_bootstrap=N_BOOTSTRAP)
    return {
        "searcher": name,
        **_statistics(model, displays),
        "delta": delta,
        "delta_lower": delta_lower,
        "delta_upper": delta_upper,
        "sequence_score": float(score.estimate[0]),
        "score_lower": float(score.lower[0]),
        "score_upper": float(score.upper[0]),
    }


def _statistics(paths: Scanpaths, displays: SearchDisplays) -> dict[str, float]:
    table = behaviour_statistics(paths, displays)
    return {name: float(table[name].mean()) for name in STATISTICS}


def surprise(steps: list[np.ndarray], paths: Scanpaths) -> float:
    """Return the mean negative log probability, in nats, of the steps that were taken."""
    taken = [
        np.log(chances[np.arange(len(chances)), [*objects, chances.shape[1] - 1]])
        for chances, objects in zip(steps, paths.objects(), strict=True)
    ]
    return -float(np.concatenate(taken).mean())


def baselines() -> list[SearchModel]:
    """Return searchers that know less."""
    return [Chance(), CenterBias(), NearestFirst()]


def shelves(scale: Scale) -> Iterator[dict[str, Any]]:
    """Train each variant on simulated shelves and yield a row for every searcher and layout."""
    searcher = ShelfSearcher()
    train = simulate_shelves(scale.n_shelves, (2, 11), seed=1, prefix="train")
    held_out = simulate_shelves(scale.n_test_shelves, (2, 11), seed=2, prefix="validation")
    tests = {
        f"{rows} x {columns}": simulate_shelves(scale.n_test_shelves, (rows, columns), seed=3, prefix="test")
        for rows, columns in ((2, 11), (3, 9))
    }
    taught, validation = searcher.search(train), (searcher.search(held_out, n_rollouts=4), held_out)
    truth = {layout: searcher.search(displays, n_rollouts=40, seed=5) for layout, displays in tests.items()}
    asked = {layout: searcher.search(displays, n_rollouts=5, seed=6) for layout, displays in tests.items()}
    for layout, displays in tests.items():
        again = searcher.search(displays, n_rollouts=scale.n_rollouts, seed=7)
        yield {"layout": layout, "nats_above": 0.0} | judge(
            "the searcher again", again, truth[layout], displays
        )
        for model in baselines():
            paths = model.search(displays, n_rollouts=N_BASELINE_ROLLOUTS)
            yield {"layout": layout} | judge(model.name, paths, truth[layout], displays)
    for name in scale.variants:
        start = time.process_time()
        model = OAT.small(**VARIANTS[name], dropout=0.0, training=settings(scale.shelf_epochs))
        model.fit(taught, train, validation=validation, progress=say)
        seconds = time.process_time() - start
        for layout, displays in tests.items():
            if model.head == "vocabulary" and len(displays[0].items) > model.vocabulary_size_:
                continue  # it knows no further object numbers
            steps = model.step_probabilities(asked[layout], displays)
            known = -float(np.concatenate(searcher.log_likelihoods(asked[layout], displays)).mean())
            row = {
                "layout": layout,
                "nats_above": surprise(steps, asked[layout]) - known,
                "cpu_seconds": seconds,
                "best_epoch": model.best_epoch_,
            }
            for kind, n_rollouts in (("multi", scale.n_rollouts), ("single", 1)):
                if kind == "multi" or name == "OAT":
                    paths = model.search(displays, n_rollouts=n_rollouts, seed=8)
                    yield row | judge(f"{name}, {kind}", paths, truth[layout], displays)


def with_identities(displays: SearchDisplays, seed: int, suffix: str = "") -> SearchDisplays:
    """Give each cover a random vector, and the target token that of the target."""
    rng = np.random.default_rng([seed, 17])
    known = []
    for display in displays:
        vectors = rng.standard_normal((len(display.items), N_IDENTITY))
        assert display.target_item is not None
        known.append(
            replace(
                display,
                display_id=display.display_id + suffix,
                features=vectors,
                target_features=vectors[display.target_item],
            )
        )
    return SearchDisplays(known)


def rename(scanpaths: Scanpaths, suffix: str) -> Scanpaths:
    """Return the same trials on displays of other names."""
    return Scanpaths(scanpaths.table.assign(display=scanpaths.table["display"] + suffix))


def without_outliers(scanpaths: Scanpaths, mean: float, std: float) -> Scanpaths:
    """Leave out trials whose length is more than three standard deviations from the mean."""
    trials = scanpaths.trials
    kept = trials[(trials["n_fixations"] - mean).abs() <= 3 * std]
    keys = ["observer", "display", "trial"]
    return Scanpaths(scanpaths.table.merge(kept[keys], on=keys))


def covers(scale: Scale) -> Iterator[dict[str, Any]]:
    """Train on people's trials in folds of displays and yield a row for every searcher, over all displays."""
    dataset = load_dataset("amazon-covers", download=False)
    assert dataset.scanpaths is not None
    everyone, displays = dataset.scanpaths, with_identities(dataset.displays, 0)
    order = np.random.default_rng(0).permutation(len(displays))
    folds = np.array_split(order, scale.n_folds)
    found: dict[str, list[Scanpaths]] = {"OAT, multi": [], "OAT, single": []}
    kept, seconds, epochs = [], 0.0, []
    for number, fold in enumerate(folds):
        stops = folds[(number + 1) % len(folds)][:10]
        names = {
            "test": [displays[row].display_id for row in fold],
            "stop": [displays[row].display_id for row in stops],
            "train": [displays[row].display_id for row in order if row not in fold and row not in stops],
        }
        lengths = everyone.select(displays=names["train"]).trials["n_fixations"]
        parts = {
            part: without_outliers(everyone.select(displays=ids), lengths.mean(), lengths.std())
            for part, ids in names.items()
        }
        kept.append(parts["test"])
        copies = [f"/{copy}" for copy in range(scale.n_copies)]
        taught = SearchDisplays(
            [
                display
                for copy, suffix in enumerate(copies)
                for display in with_identities(dataset.displays.select(names["train"]), 1 + copy, suffix)
            ]
        )
        trials = Scanpaths.concat([rename(parts["train"], suffix) for suffix in copies])
        start = time.process_time()
        model = OAT.small(training=settings(scale.cover_epochs, seed=number))
        model.fit(trials, taught, validation=(parts["stop"], displays), progress=say)
        seconds += time.process_time() - start
        epochs.append(model.best_epoch_)
        tested = displays.select(names["test"])
        if number == 0:
            keep(model, tested)
        found["OAT, multi"].append(model.search(tested, n_rollouts=scale.n_rollouts, seed=1))
        found["OAT, single"].append(model.search(tested))
        print(
            f"fold {number + 1} of {len(folds)}: best epoch {model.best_epoch_}, {seconds:.0f} s", flush=True
        )
    people = Scanpaths.concat(kept)
    yield human_row(people, displays)
    for name, parts_found in found.items():
        row = judge(name, Scanpaths.concat(parts_found), people, displays)
        yield row | {"cpu_seconds": seconds, "best_epoch": float(np.mean(epochs))}
    for baseline in baselines():
        paths = baseline.search(displays, n_rollouts=scale.n_rollouts)
        yield judge(baseline.name, paths, people, displays)


def keep(model: OAT, displays: SearchDisplays) -> None:
    """Write a network and displays for it anew, for runs of their own."""
    shutil.rmtree(RUNS, ignore_errors=True)
    RUNS.mkdir(parents=True)
    model.save(RUNS / "model")
    displays.save(RUNS / "displays")


def human_row(people: Scanpaths, displays: SearchDisplays) -> dict[str, Any]:
    """Return how well people tell each other: each person against the others, on the displays of both."""
    deltas = []
    for person in people.observers:
        own = people.select(person)
        others = people.select([name for name in people.observers if name != person], own.displays)
        deltas.append(delta_with_interval(own, others, displays)[0])
    score = human_ceiling(people, "sequence_score", resample="displays", n_bootstrap=N_BOOTSTRAP)
    return {
        "searcher": "one person for the others (mean, least and most)",
        **_statistics(people, displays),
        "delta": float(np.mean(deltas)),
        "delta_lower": min(deltas),
        "delta_upper": max(deltas),
        "sequence_score": float(score.estimate[0]),
        "score_lower": float(score.lower[0]),
        "score_upper": float(score.upper[0]),
    }


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """Return a table of the rows."""
    table = pd.DataFrame(rows)
    leading = ["layout", "searcher"] if "layout" in table else ["searcher"]
    titles = [
        *leading,
        "Delta",
        "95 %",
        "sequence score",
        "95 %",
        *(name.replace("_", " ") for name in STATISTICS),
    ]
    if "nats_above" in table:
        titles.append("nats a step above the searcher")
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in table.to_dict("records"):
        cells = [row[name] for name in leading]
        cells += [f"{row['delta']:.3f}", f"{row['delta_lower']:.3f} to {row['delta_upper']:.3f}"]
        cells += [f"{row['sequence_score']:.3f}", f"{row['score_lower']:.3f} to {row['score_upper']:.3f}"]
        cells += [f"{row[name]:.{1 if name == 'length' else 3}f}" for name in STATISTICS]
        if "nats_above" in table:
            cells.append("" if pd.isna(row["nats_above"]) else f"{row['nats_above']:.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is asked for, print the tables and keep the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=["shelves", "covers"], help="only this half")
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    scale = QUICK if given.quick else Scale()
    results: dict[str, list[dict[str, Any]]] = {}
    for part, run in (("shelves", shelves), ("covers", covers)):
        if given.part in (None, part):
            results[part] = []
            for row in run(scale):
                results[part].append(row)
                write_json(RESULTS / f"oat_{part}.json", results[part])
            print(f"\n{to_markdown(results[part])}\n", flush=True)


if __name__ == "__main__":
    main()
