"""The six paradigms of search asymmetry: the same two items, in which one is sought among the other and vice versa."""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stimuli.files import unknown_name_message
from stimuli.search_displays.display import SearchDisplay
from stimuli.search_displays.displays import SearchDisplays
from stimuli.search_displays.items import FLIPS, LETTER_DEG, SearchItem, bar, curve, disc, letter, line
from stimuli.search_displays.layout import balanced_draws, choose_cells, jitter_in_cells

MIN_PX_PER_DEGREE, MAX_PX_PER_DEGREE = 4.0, 200.0


@dataclass(frozen=True)
class Condition:
    """What is sought among what: the poses of target and distractors, and whether poses are dealt evenly."""

    targets: tuple[SearchItem, ...]
    distractors: tuple[SearchItem, ...]
    balanced: bool


@dataclass(frozen=True)
class Paradigm:
    """Display, grid and items of one experiment, as published.

    Parameters
    ----------
    side_deg
        Side of the square display.
    grid_side
        Rows, and columns, of the grid.
    item_deg
        Side of the square that an item takes, with the margin around it.
    grey
        Grey level of the background, 0-255.
    set_sizes
        The published numbers of items.
    conditions
        By the names that the human data use.
    """

    side_deg: float
    grid_side: int
    item_deg: float
    grey: int
    set_sizes: tuple[int, ...]
    conditions: Mapping[str, Condition]


def _paradigms() -> dict[str, Paradigm]:
    curves = tuple(curve(angle) for angle in (-45, -90, -135, 180))
    lines = tuple(line(angle) for angle in (-45, -90, -135, 180))
    # Tilted by 20 degrees is -20 counter-clockwise: the bar leans to the right.
    upright, tilted = (bar(0),), (bar(-20),)
    mixed = tuple(bar(angle) for angle in (-80, -60, -40, 20, 40, 60, 80))
    letters = {kind: tuple(letter(kind, flip) for flip in FLIPS) for kind in ("T", "L", "cross", "non_cross")}
    return {
        "curvature": Paradigm(
            *(11.3, 6, 1.6, 0, (8, 16, 32)),
            {
                "curve_in_lines": Condition(curves, lines, True),
                "line_in_curves": Condition(lines, curves, True),
            },
        ),
        "lighting_direction": Paradigm(
            *(6.6, 4, 1.04, 27, (1, 6, 12)),
            {
                "top_down": Condition((disc("top"),), (disc("bottom"),), True),
                "left_right": Condition((disc("left"),), (disc("right"),), True),
            },
        ),
        "intersection": Paradigm(
            *(20.5, 3, LETTER_DEG + 0.4, 255, (3, 6, 9)),
            {
                "non_cross": Condition(letters["non_cross"], letters["cross"], False),
                "cross": Condition(letters["cross"], letters["non_cross"], False),
            },
        ),
        "t_and_l": Paradigm(
            *(20.5, 3, LETTER_DEG + 0.4, 255, (3, 6, 9)),
            {
                "T_in_Ls": Condition(letters["T"], letters["L"], False),
                "L_in_Ts": Condition(letters["L"], letters["T"], False),
            },
        ),
        "orientation_homogeneous": Paradigm(
            *(11.3, 4, 2.3, 255, (1, 4, 8, 12)),
            {"20_in_0": Condition(tilted, upright, True), "0_in_20": Condition(upright, tilted, True)},
        ),
        "orientation_heterogeneous": Paradigm(
            *(11.3, 4, 2.3, 255, (1, 4, 8, 12)),
            {
                "0_in_mixed": Condition(upright, (*mixed, *tilted), True),
                "20_in_mixed": Condition(tilted, (*mixed, *upright), True),
            },
        ),
    }


PARADIGMS: Mapping[str, Paradigm] = _paradigms()


def list_paradigms() -> list[str]:
    """Return the names that `make_paradigm` takes."""
    return list(PARADIGMS)


def make_paradigm(
    name: str,
    n_displays: int = 30,
    *,
    conditions: str | Iterable[str] | None = None,
    set_sizes: int | Iterable[int] | None = None,
    target_present: bool = True,
    px_per_degree: float = 30.0,
    seed: int = 0,
) -> SearchDisplays:
    """Draw the displays of a search asymmetry experiment.

    Items stand in different cells of a square grid, chosen at random, at a random place within the cell. The target
    image is the target as it stands in the display, in the same pose on the same background, as published: the
    searcher knows how it is turned or flipped.

    ============================== ============ ==== ===== =========================================================
    name                           display, deg grid grey  conditions: target in distractors
    ============================== ============ ==== ===== =========================================================
    ``curvature``                  11.3         6x6  0     ``curve_in_lines``, ``line_in_curves``
    ``lighting_direction``         6.6          4x4  27    ``top_down`` (bright top among bright bottoms),
                                                           ``left_right`` (bright left among bright rights)
    ``intersection``               20.5         3x3  255   ``non_cross`` (among crosses), ``cross`` (among non-crosses)
    ``t_and_l``                    20.5         3x3  255   ``T_in_Ls``, ``L_in_Ts``
    ``orientation_homogeneous``    11.3         4x4  255   ``20_in_0`` (tilted to the right), ``0_in_20``
    ``orientation_heterogeneous``  11.3         4x4  255   ``0_in_mixed``, ``20_in_mixed``: among seven other
                                                           orientations and the other target
    ============================== ============ ==== ===== =========================================================

    Published set sizes: 8, 16, 32; 1, 6, 12; 3, 6, 9; 3, 6, 9; 1, 4, 8, 12; 1, 4, 8, 12, with 30 displays each (36 for
    ``intersection`` and ``t_and_l``). Curves and lines take four orientations in even numbers, mixed bars the eight;
    letters and crosses one of four flips, each by chance.

    Parameters
    ----------
    name
        One of `list_paradigms`.
    n_displays
        Displays a condition and set size.
    conditions, set_sizes
        Those wanted, one or several; by default all that were published. Any number of items that the grid holds may
        be asked for.
    target_present
        Whether one of the items is the target. If not, a distractor stands in its place, and everything else is as in
        the display of the same seed with the target.
    px_per_degree
        Pixels in a degree of visual angle, 4 to 200. Outlines are scaled, not pixels.
    seed
        A display depends on the seed, its condition, set size and number alone, not on what else is drawn.

    Returns
    -------
    SearchDisplays
        By condition, then set size. Items have the columns ``orientation_deg`` (counter-clockwise) and ``flip``.

    Raises
    ------
    KeyError
        There is no such paradigm or condition.
    ValueError
        A number is out of range.

    References
    ----------
    Gupta, Zhang, Wu, Wolfe, Kreiman (2021). Visual search asymmetry: deep nets and humans share similar inherent
    biases. NeurIPS 34. Measures and poses are those of the generators published with it; places are drawn anew, and
    outlines are antialiased. The grid divides the whole display; theirs had cells of whole pixels.
    """
    if name not in PARADIGMS:
        raise KeyError(unknown_name_message("paradigm", name, PARADIGMS))
    paradigm = PARADIGMS[name]
    wanted = _listed(conditions, paradigm.conditions)
    for condition in wanted:
        if condition not in paradigm.conditions:
            raise KeyError(unknown_name_message(f"condition of {name}", condition, paradigm.conditions))
    sizes = _listed(set_sizes, paradigm.set_sizes)
    for size in sizes:
        _check_count(
            "set_sizes",
            size,
            1,
            paradigm.grid_side**2,
            f"the grid of {name} has {paradigm.grid_side**2} cells",
        )
    _check_count("n_displays", n_displays, 1)
    _check_count("seed", seed, 0)
    if not MIN_PX_PER_DEGREE <= px_per_degree <= MAX_PX_PER_DEGREE:
        raise ValueError(
            f"px_per_degree must lie in {MIN_PX_PER_DEGREE:g} to {MAX_PX_PER_DEGREE:g}, got {px_per_degree!r}: below, "
            "strokes are thinner than a pixel"
        )
    displays = []
    for condition in wanted:
        pictures = _draw_items(paradigm, paradigm.conditions[condition], float(px_per_degree))
        for size in sizes:
            for number in range(n_displays):
                key = (seed, zlib.crc32(f"{name} {condition}".encode()), size, number)
                display_id = f"{name}-{condition}-{size:02d}-{number:03d}" + (
                    "" if target_present else "-absent"
                )
                displays.append(
                    _make_display(
                        *(display_id, name, condition, size, bool(target_present), float(px_per_degree)),
                        *(pictures, np.random.default_rng(key)),
                    )
                )
    return SearchDisplays(displays, name=name)


def _listed(asked: object, published: Iterable) -> list:
    if asked is None:
        return list(published)
    values = [asked] if isinstance(asked, str | int | np.integer) else list(asked)  # type: ignore[call-overload]
    if not values or len(set(values)) < len(values):
        raise ValueError(f"conditions and set_sizes must be different and at least one, got {asked!r:.60}")
    return values


def _check_count(argument: str, value: object, low: int, high: int | None = None, reason: str = "") -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):  # type: ignore[operator]
        upper = "" if high is None else f" to {high}"
        raise ValueError(
            f"{argument} must be a whole number from {low}{upper}, got {value!r:.40}"
            + (f"; {reason}" if reason else "")
        )


def _item_px(paradigm: Paradigm, px_per_degree: float) -> int:
    return int(np.ceil(round(paradigm.item_deg * px_per_degree, 6)))


def _draw_items(paradigm: Paradigm, condition: Condition, px_per_degree: float) -> dict[int, np.ndarray]:
    """Draw each pose once; read-only, so that displays share the pictures of their targets."""
    size_px, grey = _item_px(paradigm, px_per_degree), paradigm.grey
    items = (*condition.targets, *condition.distractors)
    pictures = {id(item): item.draw(size_px, px_per_degree, (grey, grey, grey)) for item in items}
    for picture in pictures.values():
        picture.flags.writeable = False
    return pictures


def _make_display(
    display_id: str,
    name: str,
    condition_name: str,
    set_size: int,
    target_present: bool,
    px_per_degree: float,
    pictures: dict[int, np.ndarray],
    rng: np.random.Generator,
) -> SearchDisplay:
    paradigm = PARADIGMS[name]
    condition = paradigm.conditions[condition_name]
    side_px, item_px = round(paradigm.side_deg * px_per_degree), _item_px(paradigm, px_per_degree)
    grid_shape = (paradigm.grid_side, paradigm.grid_side)
    cells = choose_cells(rng, grid_shape, set_size)
    corners = jitter_in_cells(rng, cells, grid_shape, (side_px, side_px), (item_px, item_px))
    target_item = int(rng.integers(set_size))
    n_poses = len(condition.distractors)
    poses = (
        balanced_draws(rng, n_poses, set_size) if condition.balanced else rng.integers(n_poses, size=set_size)
    )
    # The last draw belongs to the target's place, so that the others are even among themselves.
    others = rng.permutation(poses[:-1])
    items = [condition.distractors[pose] for pose in np.insert(others, target_item, poses[-1])]
    target = condition.targets[poses[-1] % len(condition.targets)]
    if target_present:
        items[target_item] = target
    grey = np.full((side_px, side_px), paradigm.grey, dtype=np.uint8)
    for item, (left, top) in zip(items, corners, strict=True):
        grey[top : top + item_px, left : left + item_px] = pictures[id(item)][:, :, 0]
    table = pd.DataFrame(
        {
            "x_px": corners[:, 0] + item_px / 2,
            "y_px": corners[:, 1] + item_px / 2,
            "width_px": float(item_px),
            "height_px": float(item_px),
            "kind": [item.kind for item in items],
            "row": cells[:, 0],
            "column": cells[:, 1],
            "orientation_deg": [float(item.orientation_deg) for item in items],
            "flip": [item.flip for item in items],
        }
    )
    return SearchDisplay(
        display_id=display_id,
        width_px=side_px,
        height_px=side_px,
        items=table,
        target_item=target_item if target_present else None,
        image=np.broadcast_to(grey[:, :, None], (side_px, side_px, 3)),  # a view: one byte a pixel, not three
        target_image=pictures[id(target)],
        px_per_degree=px_per_degree,
        paradigm=name,
        condition=condition_name,
        set_size=set_size,
        grid_shape=grid_shape,
        background=(paradigm.grey, paradigm.grey, paradigm.grey),
    )
