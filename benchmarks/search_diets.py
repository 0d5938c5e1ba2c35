"""Does the light that a network grew up under decide which searches are easy for it?

Run ``python -m benchmarks.search_diets`` (``--quick`` for a first look, ``--choose`` to see how the settings of
training were chosen). Five networks for each light learn, from nothing, to name bumps and dents in a shaded world;
eccNET then searches the discs of the lighting-direction paradigm with each of them. The networks of a seed see the
same objects and begin with the same weights: the light alone differs. Prints Markdown and writes
``benchmarks/results/search_diets.json``. Trained networks are kept under ``runs/search_diets``, and are found there.

What can reverse, and what cannot. Turned upside down, a world lit from below is a world lit from above. Whatever pits
vertical against horizontal gradients (the published conditions: a bright top among bright bottoms, a bright left among
bright rights) is not told apart by which end is up, except for the part of it that pits a bright top against a bright
bottom: averaged over both ways around, it must come out alike for light from above and from below, and reverse for
light from the side, as in the published network trained on turned photographs. What does tell above from below is a
bright top among bright bottoms beside a bright bottom among bright tops. There, people who are new to the task find
the cavity among bumps (bright bottom among bright tops) more easily than the reverse (Kleffner & Ramachandran 1992,
Perception & Psychophysics 52, 18-36).

The index is that of the paper, (high slope - low slope) / (their sum), negative slopes as 0. It knows no more than
slopes: where every target is found at once it is 0, and where a single one is not it is 1. So a second measure stands
beside it, the lead of the target over the strongest distractor before the first fixation, in units of the peak of the
map, at the largest set size.

Nothing was chosen by what searches came out: settings of training by validation pictures of a world of another seed
(`--choose`), those of eccNET are its defaults. The lead was added after the searches of seed 0 were seen; further
seeds (`--replicate 10`) are judged by themselves.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

from analyses.statistics.search_slopes import asymmetry_index, search_slopes
from cogmodels.search.candidates import ItemCandidates
from cogmodels.search.diets import DIET_TRAINING, name_pictures, read_diet_metadata, train_diet
from cogmodels.search.eccnet import EccNet
from cogmodels.search.reaction_time import reaction_times
from encoders.backbones import Backbone
from stimuli import write_json
from stimuli.search_displays import SearchDisplay, SearchDisplays, make_paradigm
from stimuli.shaded_world import ShadedWorld

RESULTS = Path(__file__).parent / "results" / "search_diets.json"
NETWORKS = Path("runs") / "search_diets"
LIGHTS, SEEDS, CHOICE_SEED = ("above", "below", "left"), (0, 1, 2, 3, 4), 100
N_IMAGES, N_TEST, N_DISPLAYS = 4000, 1000, 30

TOP, BOTTOM, LEFT, RIGHT = "top_down", "bottom_up", "left_right", "right_left"
TARGETS = {
    TOP: "bright top among bright bottoms",
    BOTTOM: "bright bottom among bright tops",
    LEFT: "bright left among bright rights",
    RIGHT: "bright right among bright lefts",
}
CONTRASTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "published: left-right harder than top-down": ((LEFT,), (TOP,), "+ above, + below, - left"),
    "horizontal harder than vertical, both ways around": (
        (LEFT, RIGHT),
        (TOP, BOTTOM),
        "+ above, + below, - left",
    ),
    "top among bottoms harder than bottom among tops": ((TOP,), (BOTTOM,), "+ above, - below, 0 left"),
    "left among rights harder than right among lefts": ((LEFT,), (RIGHT,), "0 above, 0 below, + left"),
}
"""Conditions expected to be harder, those expected to be easier, and where: what is rare is found more easily."""
MEASURES = {"index": 2, "slope_difference_ms": 1, "lead_difference": 3}


def raise_network(light: str, seed: int, folder: Path, **changes: Any) -> Backbone:
    """Train one network, or find it trained."""
    world = ShadedWorld(light=light)

    def show(done: int, at_most: int, text: str) -> None:
        print(f"light {light}, seed {seed}, epoch {done} of {at_most}: {text}", flush=True)

    return train_diet(
        world.draw(N_IMAGES, seed=2 * seed),
        folder,
        training=replace(DIET_TRAINING, seed=seed, **changes),
        test=world.draw(N_TEST, seed=2 * seed + 1),
        diet=world.describe(),
        progress=show,
    )


def make_displays(n_displays: int, seed: int = 0) -> SearchDisplays:
    """Return the published conditions and their mirror images, in which target and distractors are exchanged."""
    published = make_paradigm("lighting_direction", n_displays, conditions=[TOP, LEFT], seed=seed)
    mirrored = [mirror(display) for display in published]
    return SearchDisplays([*published, *mirrored], name="lighting_direction, both ways around")


def mirror(display: SearchDisplay) -> SearchDisplay:
    """Return a display upside down (bright tops become bright bottoms), or left-right where it differs that way."""
    vertical = display.condition == TOP
    axis, place, cell, extent = (
        (0, "y_px", "row", display.height_px) if vertical else (1, "x_px", "column", display.width_px)
    )
    items = display.items.copy()
    items[place] = extent - items[place]
    items[cell] = display.grid_shape[axis] - 1 - items[cell]
    exchanged = {"bright_top": "bright_bottom", "bright_left": "bright_right"}
    exchanged |= {other: one for one, other in exchanged.items()}
    items["kind"] = items["kind"].map(exchanged)
    condition = BOTTOM if vertical else RIGHT
    return replace(
        display,
        display_id=display.display_id.replace(display.condition, condition),
        condition=condition,
        items=items,
        image=np.flip(display.read_image(), axis).copy(),
        target_image=np.flip(display.read_target_image(), axis).copy(),
    )


def measure(
    lights: tuple[str, ...], seeds: tuple[int, ...], n_displays: int, folder: Path
) -> Iterator[dict[str, Any]]:
    """Yield one row a network: how well it names, and how it searches."""
    displays = make_displays(n_displays)
    for seed in seeds:
        for light in lights:
            start = time.process_time()
            own = folder / f"{light}-{seed}"
            backbone = raise_network(light, seed, own)
            seconds = time.process_time() - start
            start = time.process_time()
            model = EccNet(backbone)
            trials = reaction_times(model.search(displays, seed=seed), displays)
            metadata = read_diet_metadata(own)
            cells = trials.groupby(["condition", "set_size"])
            yield {
                "light": light,
                "seed": seed,
                "validation_accuracy": metadata["validation_accuracy"],
                "test_accuracy": metadata["test_accuracy"],
                "relief_right": {other: relief_right(backbone, other, seed) for other in LIGHTS},
                "fixations": {f"{at[0]} {at[1]}": float(cell["n_fixations"].mean()) for at, cell in cells},
                "slopes_ms": slopes_ms(trials),
                "leads": target_leads(model, displays),
                "cpu_seconds_training": seconds,
                "cpu_seconds_searching": time.process_time() - start,
            }


def relief_right(backbone: Backbone, light: str, seed: int, n_images: int = 500) -> float:
    """Return the share of bumps and dents that are told apart under a light, of pictures never trained on."""
    stimuli = ShadedWorld(light=light, bump_fraction=0.5).draw(n_images, seed=1000 + seed)
    called = [name.split()[0] for name in name_pictures(backbone, stimuli)]
    return float(np.mean(called == stimuli.attributes["relief"].to_numpy()))


def slopes_ms(trials: pd.DataFrame) -> dict[str, float]:
    """Return the least-squares slope of RT over set size of each condition, in ms an item."""
    table = search_slopes(trials, n_bootstrap=2)
    return dict(zip(table["condition"], table["slope_ms_per_item"], strict=True))


def target_leads(model: EccNet, displays: SearchDisplays) -> dict[str, float]:
    """Return, for each condition, how far the target's peak rises above that of the strongest distractor.

    In units of the highest peak of an item, seen from the start, averaged over displays of the largest set size.
    """
    largest = max(display.set_size for display in displays)
    leads: dict[str, list[float]] = {}
    for display in displays:
        if display.set_size == largest:
            priority = model.priority(model.begin(display), display.start_px)
            peaks = ItemCandidates(display).values(priority)
            target, others = peaks[display.target_item], np.delete(peaks, display.target_item)
            leads.setdefault(display.condition, []).append((target - others.max()) / peaks.max())
    return {condition: float(np.mean(values)) for condition, values in leads.items()}


def contrasts(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return all measures, one row a contrast, light and seed; positive where what is expected to be harder is."""
    found = []
    for row in rows:
        for name, sides in CONTRASTS.items():
            slopes, leads = (
                [float(np.mean([row[key][condition] for condition in side])) for side in sides[:2]]
                for key in ("slopes_ms", "leads")
            )
            pair = pd.DataFrame(
                {"paradigm": name, "condition": ["harder", "easier"], "slope_ms_per_item": slopes}
            )
            index = asymmetry_index(pair, pair.assign(slope_ms_per_item=[1.0, 0.0]))["index"].iloc[0]
            found.append(
                {
                    "contrast": name,
                    "light": row["light"],
                    "seed": row["seed"],
                    "index": float(index),
                    "slope_difference_ms": slopes[0] - slopes[1],
                    "lead_difference": leads[1] - leads[0],
                }
            )
    return pd.DataFrame(found)


def intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean and 95 % interval (Student's t) over seeds of each contrast and light, and of above less below."""
    rows = []
    for contrast, part in table.groupby("contrast", sort=False):
        for measured in MEASURES:
            by_seed = part.pivot(index="seed", columns="light", values=measured)
            by_seed["above less below"] = by_seed["above"] - by_seed["below"]
            for light, values in by_seed.items():
                mean, error = values.mean(), values.sem()
                # without a spread the interval is the value itself
                half_width = error * stats.t.ppf(0.975, len(values) - 1) if error else 0.0
                rows.append(
                    {
                        "contrast": contrast,
                        "measure": measured,
                        "light": light,
                        "mean": mean,
                        "lower": mean - half_width,
                        "upper": mean + half_width,
                        "seeds": values.round(3).tolist(),
                    }
                )
    return pd.DataFrame(rows)


def choose() -> pd.DataFrame:
    """Train candidates on a world of another seed; one row each with the accuracy on validation pictures."""
    rows = []
    for lr, weight_decay in ((1e-3, 1e-2), (2e-3, 1e-2), (4e-3, 1e-2), (1e-3, 1e-1), (2e-3, 1e-1)):
        folder = NETWORKS / f"choice-{lr:g}-{weight_decay:g}"
        raise_network("above", CHOICE_SEED, folder, lr=lr, weight_decay=weight_decay)
        found = read_diet_metadata(folder)
        rows.append({"lr": lr, "weight_decay": weight_decay, "accuracy": found["validation_accuracy"]})
    return pd.DataFrame(rows).sort_values("accuracy", ascending=False)


def to_markdown(rows: list[dict[str, Any]], found: pd.DataFrame) -> str:
    """Return the tables of the results."""
    lights = list(dict.fromkeys(row["light"] for row in rows))
    lines = ["| light | named right (test) | bump from dent, lit from " + " | lit from ".join(LIGHTS) + " |"]
    lines.append("|---" * (2 + len(LIGHTS)) + "|")
    for light in lights:
        own = [row for row in rows if row["light"] == light]
        told = " | ".join(f"{np.mean([row['relief_right'][other] for row in own]):.3f}" for other in LIGHTS)
        lines.append(f"| {light} | {np.mean([row['test_accuracy'] for row in own]):.3f} | {told} |")
    for key, what, digits in (("slopes_ms", "slope, ms an item", 1), ("leads", "lead of the target", 3)):
        lines += ["", f"| {what} | " + " | ".join(f"light from {light}" for light in lights) + " |"]
        lines.append("|---" * (1 + len(lights)) + "|")
        for condition, text in TARGETS.items():
            of_light = [[row[key][condition] for row in rows if row["light"] == light] for light in lights]
            cells = [
                f"{np.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
                for values in of_light
            ]
            lines.append(f"| {text} | " + " | ".join(cells) + " |")
    titles = "index, 95 % over seeds | slopes differ by, ms an item | leads differ by"
    lines += ["", f"| contrast | expected | light | {titles} |", "|---" * 6 + "|"]
    for (contrast, light), part in found.groupby(["contrast", "light"], sort=False):
        cells = []
        for measured, digits in MEASURES.items():
            at = part[part["measure"] == measured].iloc[0]
            cells.append(f"{at['mean']:+.{digits}f} ({at['lower']:+.{digits}f} to {at['upper']:+.{digits}f})")
        lines.append(f"| {contrast} | {CONTRASTS[contrast][2]} | {light} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="one seed, six displays; no intervals, writes nothing"
    )
    parser.add_argument(
        "--choose", action="store_true", help="try settings of training on validation pictures"
    )
    parser.add_argument(
        "--replicate", type=int, default=0, help="this many further seeds instead, light from above and below"
    )
    parser.add_argument("--networks", type=Path, default=NETWORKS, help="where trained networks are kept")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.choose:
        print(choose().to_string(index=False))
        return
    rows = []
    lights, seeds, n_displays = LIGHTS, SEEDS, N_DISPLAYS
    out = RESULTS
    if arguments.quick:
        seeds, n_displays = (0,), 6
    elif arguments.replicate:
        lights, seeds = LIGHTS[:2], tuple(range(len(SEEDS), len(SEEDS) + arguments.replicate))
        out = RESULTS.with_stem("search_diets_replication")
    for row in measure(lights, seeds, n_displays, arguments.networks):
        rows.append(row)
        print(json.dumps(row), flush=True)
    if not arguments.quick:
        found = intervals(contrasts(rows))
        print(to_markdown(rows, found))
        content = {"networks": rows, "contrasts": found.round(4).to_dict("records")}
        settings = {"training": asdict(DIET_TRAINING), "n_images": N_IMAGES, "n_displays": N_DISPLAYS}
        write_json(out, {"settings": settings, **content})


if __name__ == "__main__":
    main()
