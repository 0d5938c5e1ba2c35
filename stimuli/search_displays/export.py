"""Displays in folders: images, tables that people can read, and a manifest that says what all of it was."""

import csv
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stimuli.files import atomic_write, count_of, hash_file, read_json, safe_member_path, write_json
from stimuli.media import listed
from stimuli.search_displays.display import Image, SearchDisplay

if TYPE_CHECKING:
    from stimuli.search_displays.displays import SearchDisplays

_FORMAT = "cogmodels search displays 1"
_MANIFEST, _DISPLAYS, _ITEMS, _VECTORS = "manifest.json", "displays.csv", "items.csv", "features.safetensors"
_NUMBERS = {
    **dict.fromkeys(("width_px", "height_px", "target_item", "set_size", "grid_rows", "grid_columns"), int),
    **dict.fromkeys(("px_per_degree", "start_x_px", "start_y_px"), float),
    **{f"grid_{name}_px": float for name in ("x", "y", "width", "height")},
    **{f"background_{name}": int for name in ("r", "g", "b")},
}
_COLUMNS = ("display", "paradigm", "condition", *_NUMBERS, "image", "target_image")
_OF_DTYPE: dict[str, Callable[[str], Any]] = {
    "float64": float,
    "int64": int,
    "bool": {"True": True, "False": False}.__getitem__,
    "object": str,
}


def save_displays(displays: "SearchDisplays", folder: str | os.PathLike[str]) -> None:
    """Write displays into a new folder, whole or not at all.

    ``displays.csv`` has a row a display, ``items.csv`` a row an item; ``images/`` and ``targets/`` hold PNG (files that
    were given as such are copied as they are), ``features.safetensors`` recognition vectors, and ``manifest.json`` the
    dtypes of the items and the sha256 of every file.

    Raises
    ------
    FileExistsError
        The folder exists and is not empty.
    ValueError, FileNotFoundError
        An image file has gone or changed its size since the display was made.
    """
    with atomic_write(folder) as temporary:
        temporary.mkdir()
        pictures = _write_pictures(displays, temporary)
        rows = [_display_row(display, *files) for display, files in zip(displays, pictures, strict=True)]
        _write_table(temporary / _DISPLAYS, _COLUMNS, rows)
        names = list(dict.fromkeys(name for display in displays for name in display.items.columns))
        item_rows = [
            {
                "display": display.display_id,
                "item": item,
                **dict(zip(display.items.columns, values, strict=True)),
            }
            for display in displays
            for item, values in enumerate(
                zip(*(display.items[name].tolist() for name in display.items), strict=True)
            )
        ]
        _write_table(temporary / _ITEMS, ("display", "item", *names), item_rows)
        _write_vectors(displays, temporary)
        files = [path for path in sorted(temporary.rglob("*")) if path.is_file()]
        manifest = {
            "format": _FORMAT,
            "name": displays.name,
            "n_displays": len(displays),
            "content_hash": displays.content_hash,
            "item_columns": [
                {name: str(display.items[name].dtype) for name in display.items} for display in displays
            ],
            "sha256": {path.relative_to(temporary).as_posix(): hash_file(path) for path in files},
        }
        write_json(temporary / _MANIFEST, manifest)


def _write_pictures(displays: "SearchDisplays", folder: Path) -> list[tuple[str, str]]:
    """Write all images; targets that are equal share one file."""
    (folder / "images").mkdir()
    (folder / "targets").mkdir()
    written: dict[tuple[str, bytes | Path], str] = {}
    names = []
    for row, display in enumerate(displays):
        # The id makes names speak; the number in front keeps them apart and off reserved names.
        stem = f"{row:06d}_{re.sub(r'[^A-Za-z0-9._-]+', '_', display.display_id)[:80]}"
        pair = []
        for kind, image in (("images", display.image), ("targets", display.target_image)):
            if image is None:
                pair.append("")
                continue
            key = (kind, image if isinstance(image, Path) else repr(image.shape).encode() + image.tobytes())
            if kind == "images" or key not in written:
                written[key] = _write_picture(image, folder, f"{kind}/{stem}")
            pair.append(written[key])
        names.append((pair[0], pair[1]))
    return names


def _write_picture(image: Image, folder: Path, stem: str) -> str:
    from PIL import Image as PillowImage

    if isinstance(image, Path):
        name = f"{stem}{image.suffix.lower()}"
        shutil.copyfile(image, folder / name)
    else:
        name = f"{stem}.png"
        PillowImage.fromarray(np.ascontiguousarray(image)).save(folder / name)
    return name


def _display_row(display: SearchDisplay, image: str, target_image: str) -> dict[str, Any]:
    grid, area, ground = display.grid_shape, display.grid_area_px, display.background
    values = (
        *(display.display_id, display.paradigm, display.condition, display.width_px, display.height_px),
        *(display.target_item, display.set_size, *(grid or (None, None))),
        *(display.px_per_degree, *(display.start_px or ()), *(area or (None,) * 4), *(ground or (None,) * 3)),
        *(image, target_image),
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _write_vectors(displays: "SearchDisplays", folder: Path) -> None:
    from safetensors.numpy import save_file

    vectors = {
        f"{row}/{name}": np.ascontiguousarray(getattr(display, name))
        for row, display in enumerate(displays)
        for name in ("features", "target_features")
        if getattr(display, name) is not None
    }
    if vectors:
        save_file(vectors, folder / _VECTORS)


def _write_table(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        # repr of a float has the shortest digits that give it back.
        writer.writerows(
            {name: "" if value is None else value for name, value in row.items()} for row in rows
        )


def load_displays(folder: str | os.PathLike[str]) -> "SearchDisplays":
    """Read displays that `save_displays` wrote: everything comes back the same, images as paths of the files.

    Raises
    ------
    FileNotFoundError
        The folder holds no saved displays, or misses files.
    ValueError
        A file is truncated, was changed, or is none that `save_displays` writes; the message names it.
    """
    from stimuli.search_displays.displays import SearchDisplays

    root = Path(folder)
    manifest = _read_manifest(root)
    try:
        rows = _read_table(root, _DISPLAYS, _COLUMNS)
        named = {
            _DISPLAYS,
            _ITEMS,
            *(row[name] for row in rows for name in ("image", "target_image") if row[name]),
        }
        if others := sorted(named - manifest["sha256"].keys()):
            raise ValueError(f"{_MANIFEST} does not know {listed(others)}")
        if len(rows) != manifest["n_displays"]:
            raise ValueError(
                f"{count_of(len(rows), 'row')} for {count_of(manifest['n_displays'], 'display')}"
            )
        items = _read_items(root, [row["display"] for row in rows], manifest["item_columns"])
        vectors = _read_vectors(root) if _VECTORS in manifest["sha256"] else {}
        displays = [
            _read_display(root, number, row, items[number], vectors) for number, row in enumerate(rows)
        ]
        return SearchDisplays(displays, manifest["name"])
    except (KeyError, TypeError, ValueError, IndexError, csv.Error) as error:
        raise ValueError(
            f"{root} does not hold displays as they were saved ({error}); save them again"
        ) from error


def _read_manifest(root: Path) -> dict[str, Any]:
    path = root / _MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"{root} holds no saved displays ({_MANIFEST}); SearchDisplays.save writes them"
        )
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise ValueError(f"{path} is not of the format {_FORMAT!r}")
    kinds = {"name": str, "n_displays": int, "item_columns": list, "sha256": dict}
    if wrong := [name for name, kind in kinds.items() if not isinstance(manifest.get(name), kind)]:
        raise ValueError(f"{path} lacks or garbles the entries {listed(wrong)}; save the displays again")
    paths = {str(name): safe_member_path(root, str(name)) for name in manifest["sha256"]}
    if missing := [name for name, file in paths.items() if not file.is_file()]:
        raise FileNotFoundError(f"{root} misses {count_of(len(missing), 'file')}: {listed(missing)}")
    if changed := [name for name, file in paths.items() if hash_file(file) != manifest["sha256"][name]]:
        raise ValueError(
            f"{root} holds files that are not what was saved: {listed(changed)}; save the displays again"
        )
    return manifest


def _read_table(root: Path, table: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    with open(root / table, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        if missing := [name for name in columns if name not in (reader.fieldnames or [])]:
            raise ValueError(f"{table} lacks the columns {listed(missing)}")
        return list(reader)


def _read_items(root: Path, ids: list[str], columns: list[dict[str, str]]) -> list[pd.DataFrame]:
    by_display: dict[str, list[dict[str, str]]] = {display_id: [] for display_id in ids}
    for row in _read_table(root, _ITEMS, ("display", "item")):
        by_display[row["display"]].append(row)
    tables = []
    for display_id, dtypes in zip(ids, columns, strict=True):
        values = {
            name: pd.Series([_OF_DTYPE[dtype](row[name]) for row in by_display[display_id]], dtype=dtype)
            for name, dtype in dtypes.items()
        }
        tables.append(pd.DataFrame(values))
    return tables


def _read_vectors(root: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(root / _VECTORS)
    except SafetensorError as error:
        raise ValueError(f"{_VECTORS} is truncated or corrupt: {error}") from error


def _read_display(
    root: Path, number: int, row: dict[str, str], items: pd.DataFrame, vectors: dict[str, np.ndarray]
) -> SearchDisplay:
    numbers: dict[str, Any] = {
        name: form(row[name]) if row[name] else None for name, form in _NUMBERS.items()
    }
    images: dict[str, Any] = {
        name: safe_member_path(root, row[name]) if row[name] else None for name in ("image", "target_image")
    }
    return SearchDisplay(
        display_id=row["display"],
        items=items,
        paradigm=row["paradigm"],
        condition=row["condition"],
        start_px=(numbers["start_x_px"], numbers["start_y_px"]),
        grid_shape=_together(numbers, "grid_rows", "grid_columns"),
        grid_area_px=_together(numbers, "grid_x_px", "grid_y_px", "grid_width_px", "grid_height_px"),
        background=_together(numbers, "background_r", "background_g", "background_b"),
        features=vectors.get(f"{number}/features"),
        target_features=vectors.get(f"{number}/target_features"),
        **images,
        **{
            name: numbers[name]
            for name in ("width_px", "height_px", "target_item", "set_size", "px_per_degree")
        },
    )


def _together(numbers: dict[str, Any], *names: str) -> Any:
    values = tuple(numbers[name] for name in names)
    return None if values[0] is None else values
