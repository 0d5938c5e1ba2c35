"""Stimulus sets in folders: saved ones, and a user's own images and tables."""

import csv
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stimuli.files import atomic_write, count_of, read_json, safe_member_path, write_json
from stimuli.media import hash_medium, listed
from stimuli.typed_table import decode_table, encode_table

if TYPE_CHECKING:
    from stimuli.stimulus_set import StimulusSet

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2")
_SAVED = "stimuli.json"
_TABLE = "stimuli.csv"
_ARRAYS = "images.safetensors"
_FORMAT = "cogmodels stimulus set 1"
_ENTRIES = {
    "name": str,
    "stimulus_ids": list,
    "image_files": list | None,
    "image_arrays": str | None,
    "texts": list | None,
    "attributes": list,
    "media_hashes": list,
    "content_hash": str,
}


def save_set(stimuli: "StimulusSet", folder: str | os.PathLike[str]) -> None:
    """Write a set; see `StimulusSet.save`."""
    from safetensors.numpy import save_file

    with atomic_write(folder) as temporary:
        temporary.mkdir()
        files = None
        if stimuli.image_paths is not None:
            files = _copy_images(stimuli, stimuli.image_paths, temporary)
        elif stimuli.has_images:
            stored = [np.ascontiguousarray(stimuli.stored_image(row)) for row in range(len(stimuli))]
            save_file({str(row): image for row, image in enumerate(stored)}, temporary / _ARRAYS)
        content = {
            "format": _FORMAT,
            "name": stimuli.name,
            "stimulus_ids": stimuli.stimulus_ids.tolist(),
            "image_files": files,
            "image_arrays": _ARRAYS if stimuli.has_images and files is None else None,
            "texts": stimuli.texts,
            "attributes": encode_table(stimuli.attributes),
            "media_hashes": list(stimuli.media_hashes),
            "content_hash": stimuli.content_hash,
        }
        write_json(temporary / _SAVED, content)


def _copy_images(stimuli: "StimulusSet", paths: list[Path], folder: Path) -> list[str]:
    (folder / "images").mkdir()
    names = [f"images/{row:06d}{path.suffix}" for row, path in enumerate(paths)]
    texts: Sequence[str | None] = stimuli.texts or [None] * len(paths)
    changed = []
    for row, (path, name) in enumerate(zip(paths, names, strict=True)):
        shutil.copyfile(path, folder / name)
        if hash_medium(folder / name, texts[row]) != stimuli.media_hashes[row]:
            changed.append(str(stimuli.stimulus_ids[row]))
    if changed:
        raise ValueError(
            f"the image files of {listed(changed)} have changed since the set was made; make it anew"
        )
    return names


def read_saved(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what `save_set` wrote.

    Returns
    -------
    arguments, saved
        The arguments of the `StimulusSet`, and the whole content of its JSON file with the hashes to compare.
    """
    path = Path(folder) / _SAVED
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no saved stimulus set ({_SAVED}); see StimulusSet.from_folder"
        )
    saved = read_json(path)
    if not isinstance(saved, dict) or saved.get("format") != _FORMAT:
        raise ValueError(f"{path} is not of the format {_FORMAT!r}")
    if wrong := [name for name, kind in _ENTRIES.items() if not isinstance(saved.get(name, ...), kind)]:
        raise ValueError(f"{path} lacks or garbles the entries {listed(wrong)}; save the set again")
    try:
        attributes = decode_table(saved["attributes"])
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise ValueError(f"{path} garbles its attributes ({error!r}); save the set again") from error
    images: list[Path] | list[np.ndarray] | None = None
    if saved["image_files"] is not None:
        images = [safe_member_path(folder, str(name)) for name in saved["image_files"]]
    elif saved["image_arrays"] is not None:
        images = _read_arrays(safe_member_path(folder, saved["image_arrays"]), len(saved["stimulus_ids"]))
    arguments = {name: saved[name] for name in ("stimulus_ids", "texts", "name")}
    return {**arguments, "images": images, "attributes": attributes}, saved


def _read_arrays(path: Path, n_stimuli: int) -> list[np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or corrupt ({error}); save the set again") from error
    if set(arrays) != {str(row) for row in range(n_stimuli)}:
        raise ValueError(
            f"{path} holds {count_of(len(arrays), 'image')} for {count_of(n_stimuli, 'stimulus', 'stimuli')};"
            " save the set again"
        )
    for array in arrays.values():
        array.flags.writeable = False  # nobody else holds them, so the set need not copy
    return [arrays[str(row)] for row in range(n_stimuli)]


def compare_hashes(stimuli: "StimulusSet", saved: dict[str, Any], folder: str | os.PathLike[str]) -> None:
    """Raise ValueError where a loaded set is not what was saved."""
    pairs = zip(stimuli.stimulus_ids.tolist(), stimuli.media_hashes, saved["media_hashes"], strict=False)
    if changed := [stimulus_id for stimulus_id, now, then in pairs if now != then]:
        raise ValueError(
            f"in {folder} the media of {len(changed)} stimuli are not what was saved: {listed(changed)}"
        )
    if stimuli.content_hash != saved["content_hash"]:
        raise ValueError(f"in {folder} the content is not what was saved: {_SAVED} was changed or damaged")


def read_folder(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the arguments of the set in a user's folder; see `StimulusSet.from_folder`."""
    root = Path(os.path.abspath(folder))
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is not a folder")
    if (root / _SAVED).is_file():
        raise ValueError(f"{root} holds a saved set; read it with StimulusSet.load")
    found = _find_images(root)
    if (root / _TABLE).is_file():
        return {**_read_table(root, found), "name": root.name}
    if not found:
        raise FileNotFoundError(
            f"{root} holds no {_TABLE} and no image ending in {', '.join(IMAGE_SUFFIXES)}; add one of them"
        )
    if clashing := [files for files in found.values() if len(files) > 1]:
        names = [str(file.relative_to(root)) for files in clashing for file in files]
        raise ValueError(
            f"images with the same name but for the suffix: {listed(names)}; name ids in {_TABLE}"
        )
    return {"stimulus_ids": list(found), "images": [files[0] for files in found.values()], "name": root.name}


def _find_images(root: Path) -> dict[str, list[Path]]:
    """Give the image files under a folder by their name without suffix, in sorted order."""
    found: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*"), key=lambda path: path.relative_to(root).parts):
        relative = path.relative_to(root)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not hidden:
            found.setdefault(relative.with_suffix("").as_posix(), []).append(path)
    return found


def _read_table(root: Path, found: dict[str, list[Path]]) -> dict[str, Any]:
    path = root / _TABLE
    header = _check_rows(path)
    # Twice: ids, names and texts word for word ("NA" and "001" are texts), everything else with its dtype.
    words = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig")
    typed = pd.read_csv(path, index_col=False, encoding="utf-8-sig", float_precision="round_trip")
    if words.empty:
        raise ValueError(f"{path} has no rows")
    ids = words["stimulus_id"].tolist()
    images: list[Path] | None = None
    if column := next((name for name in ("image", "filename") if name in header), None):
        images = _named_images(root, _filled(path, words, column))
    elif found:
        images = _matching_images(ids, found)
    return {
        "stimulus_ids": ids,
        "images": images,
        "texts": _filled(path, words, "text") if "text" in header else None,
        "attributes": typed.drop(columns=["stimulus_id", "image", "filename", "text"], errors="ignore"),
    }


def _check_rows(path: Path) -> list[str]:
    """Return the names of a table's columns after checking that every row has as many cells.

    pandas would take the first column of wider rows for an index, and fill narrower ones.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file, strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a table of comma-separated values in UTF-8 ({error})") from error
    header = rows[0] if rows else []
    if "stimulus_id" not in header:
        raise ValueError(f"{path} needs a column stimulus_id; its columns are: {listed(header)}")
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        raise ValueError(f"{path} has several columns named {listed(repeated)}")
    if "image" in header and "filename" in header:
        raise ValueError(
            f"{path} has the columns image and filename; keep the one that names the image files"
        )
    if ragged := [number for number, row in enumerate(rows, start=1) if len(row) != len(header)]:
        raise ValueError(
            f"{path} has {count_of(len(header), 'column')}, but other numbers of cells in rows {listed(ragged)}"
        )
    return header


def _filled(path: Path, words: pd.DataFrame, column: str) -> list[str]:
    if empty := words.loc[words[column] == "", "stimulus_id"].tolist():
        raise ValueError(f"{path} has nothing in column {column!r} for the stimulus ids {listed(empty)}")
    return words[column].tolist()


def _named_images(root: Path, names: list[str]) -> list[Path]:
    # Links are the user's own (DataLad keeps all its files behind links), so only the names must stay inside.
    paths = [safe_member_path(root, name, links_may_leave=True) for name in names]
    if missing := [name for name, path in zip(names, paths, strict=True) if not path.is_file()]:
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} image files are not in {root}: {listed(missing, 20)}"
        )
    return paths


def _matching_images(ids: list[str], found: dict[str, list[Path]]) -> list[Path]:
    hint = f"name the files in a column image of {_TABLE}"
    if missing := [stimulus_id for stimulus_id in ids if stimulus_id not in found]:
        raise FileNotFoundError(
            f"{len(missing)} of {count_of(len(ids), 'id')} without an image of that name: {listed(missing, 20)}; {hint}"
        )
    if several := [stimulus_id for stimulus_id in ids if len(found[stimulus_id]) > 1]:
        raise ValueError(f"several images fit the stimulus ids {listed(several)}; {hint}")
    return [found[stimulus_id][0] for stimulus_id in ids]
