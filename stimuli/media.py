"""What a stimulus set accepts as ids, images and texts, and how it hashes them."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stimuli.files import hash_array, hash_file

StoredImage = Path | np.ndarray


def listed(names: Iterable[object], most: int = 5) -> str:
    """Write the first few names of a long list, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(str(name)) if isinstance(name, str) else repr(name) for name in names[:most]) + more


def check_ids(stimulus_ids: Iterable[str]) -> np.ndarray:
    """Return the ids as a read-only array of str after checking that they are unique, non-empty text."""
    if isinstance(stimulus_ids, str):
        raise TypeError(f"stimulus_ids must be a list of str, got one str {stimulus_ids!r:.60}")
    ids = list(stimulus_ids)
    wrong = [value for value in ids if not isinstance(value, str)]
    if wrong:
        raise TypeError(
            f"stimulus_ids must be str, got {type(wrong[0]).__name__}: {listed(wrong)}; "
            "write [str(i) for i in ids]"
        )
    if empty := [row for row, value in enumerate(ids) if not value.strip() or "\0" in value]:
        raise ValueError(f"stimulus_ids must not be empty or hold NUL characters, see rows {listed(empty)}")
    if repeated := [value for value, count in Counter(ids).items() if count > 1]:
        raise ValueError(
            f"stimulus_ids must be unique, these repeat: {listed(repeated)}; repeated presentations "
            "belong to the responses, not to the stimulus set"
        )
    _check_encodable("stimulus_ids", ids)
    array = np.array(ids, dtype=str)
    array.flags.writeable = False
    return array


def check_texts(texts: Iterable[str] | None, n_stimuli: int) -> tuple[str, ...] | None:
    """Return the texts as a tuple after checking that each is a str; None stays None."""
    if texts is None:
        return None
    if isinstance(texts, str):
        raise TypeError(f"texts must be a list of str, got one str {texts!r:.60}")
    values = tuple(texts)
    if wrong := [row for row, value in enumerate(values) if not isinstance(value, str)]:
        raise TypeError(
            f"texts must be str, {len(wrong)} are not: row {wrong[0]} is {values[wrong[0]]!r:.40} "
            f"({type(values[wrong[0]]).__name__}); leave those stimuli out or give them a text"
        )
    _check_length("texts", len(values), n_stimuli)
    _check_encodable("texts", values)
    return tuple(str(value) for value in values)


def check_images(images: Any, n_stimuli: int) -> tuple[StoredImage, ...] | None:
    """Return one absolute path or one read-only array a stimulus; None stays None.

    Arrays become uint8 or float32, (row, column[, 3]). Writeable ones are copied, so that later changes by
    their owner do not reach the set.
    """
    if images is None:
        return None
    if isinstance(images, str | bytes | os.PathLike):
        raise TypeError(
            f"images must be a list of paths or arrays, got one {type(images).__name__} {images!r:.60}"
        )
    if isinstance(images, np.ndarray) and images.dtype != object and images.dtype.kind not in "US":
        if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] != 3):
            raise ValueError(
                f"an array of images is (n, row, column) or (n, row, column, 3), got shape {images.shape}"
                + ("; move the channels last" if images.ndim == 4 and images.shape[1] == 3 else "")
            )
        _check_length("images", len(images), n_stimuli)
        # One frozen block; the set holds views of its rows.
        return tuple(_check_array(image, row) for row, image in enumerate(_freeze(images)))
    values = list(images)
    _check_length("images", len(values), n_stimuli)
    are_paths = [isinstance(value, str | os.PathLike) for value in values]
    others = [value for value in values if not isinstance(value, str | os.PathLike | np.ndarray)]
    if others:
        raise TypeError(
            f"images must be paths or numpy arrays, got {type(others[0]).__name__} {others[0]!r:.50}; write "
            "numpy.asarray(image.convert('RGB')) for a Pillow image, .numpy() for a tensor with channels last"
        )
    if any(are_paths) and not all(are_paths):
        raise TypeError(
            "images must be all paths or all arrays, got both; read the files with stimuli.read_image"
        )
    if values and are_paths[0]:
        return _check_paths([Path(value) for value in values])
    return tuple(_check_array(_freeze(value), row) for row, value in enumerate(values))


def _check_encodable(argument: str, values: Iterable[str]) -> None:
    for row, value in enumerate(values):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{argument} must be text that UTF-8 can hold, row {row} is not ({error.reason})"
            ) from error


def _check_length(argument: str, n: int, n_stimuli: int) -> None:
    if n != n_stimuli:
        raise ValueError(f"{argument} has {n} entries for {n_stimuli} stimulus_ids; give one a stimulus")


def _check_paths(paths: list[Path]) -> tuple[Path, ...]:
    # Absolute, so that the set stays the same when the process changes its folder.
    absolute = tuple(Path(os.path.abspath(path)) for path in paths)
    if missing := [str(path) for path in absolute if not path.is_file()]:
        raise FileNotFoundError(f"{len(missing)} of {len(paths)} image files do not exist: {listed(missing)}")
    return absolute


def _freeze(array: np.ndarray) -> np.ndarray:
    """Give a read-only array of uint8 or float32; copy only what its owner could still change."""
    dtype = np.dtype(np.float32) if array.dtype.kind == "f" else array.dtype
    frozen = np.array(array, dtype=dtype) if array.flags.writeable else array.astype(dtype, copy=False)
    frozen.flags.writeable = False
    return frozen


def _check_array(image: np.ndarray, row: int) -> np.ndarray:
    if image.dtype not in (np.uint8, np.float32):
        raise TypeError(
            f"images must be uint8 or floats in [0, 1], image {row} has dtype {image.dtype}"
            + ("; give paths or arrays of numbers" if image.dtype.hasobject else "; convert it with .astype")
        )
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[-1] != 3) or image.size == 0:
        raise ValueError(
            f"an image must have shape (row, column) or (row, column, 3), image {row} has {image.shape}"
        )
    if image.dtype == np.float32:
        low, high = float(image.min()), float(image.max())
        if np.isnan(low):
            raise ValueError(f"images must not hold NaN, image {row} does")
        if low < 0 or high > 1:
            raise ValueError(
                f"float images must lie in [0, 1], image {row} spans [{low:g}, {high:g}]; "
                "divide by its range, or give uint8 for values up to 255"
            )
    return image


def hash_medium(image: StoredImage | None, text: str | None) -> str:
    """Return the sha256 of one stimulus' image and text: of a file its bytes, of an array its pixels."""
    digest = hashlib.sha256()
    if isinstance(image, Path):
        digest.update(b"image file:" + hash_file(image).encode())
    elif image is not None:
        digest.update(b"image array:" + hash_array(image).encode())
    if text is not None:
        digest.update(b"text:" + hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()


def hash_sequence(parts: Sequence[str]) -> str:
    """Return the sha256 of strings in their order; different sequences are never joined to the same bytes."""
    digest = hashlib.sha256(str(len(parts)).encode())
    for part in parts:
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()
