"""The ordered table of stimuli that models and people are shown."""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stimuli.attributes import check_attributes
from stimuli.brainscore import read_brainscore, to_brainscore
from stimuli.files import unknown_name_message
from stimuli.folder import compare_hashes, read_folder, read_saved, save_set
from stimuli.images import read_image
from stimuli.media import (
    StoredImage,
    check_ids,
    check_images,
    check_texts,
    hash_medium,
    hash_sequence,
    listed,
)
from stimuli.typed_table import table_text

Rows = int | slice | Sequence[int] | Sequence[bool] | np.ndarray


class StimulusSet:
    """An ordered set of images, texts or both, with ids and attributes. Once made, it does not change.

    Parameters
    ----------
    stimulus_ids
        Unique, non-empty strings, one a stimulus.
    images
        Paths of image files (PNG, JPEG, BMP, GIF, TIFF, WebP, PPM, JPEG 2000), or arrays: one
        (n, row, column[, 3]) array, or a list of (row, column[, 3]) arrays that may differ in size. uint8, or
        floats in [0, 1], which are kept as float32. Writeable arrays are copied; read-only ones are shared.
    texts
        One str a stimulus.
    attributes
        A table or a mapping of columns, one row a stimulus in the order of `stimulus_ids`: numbers, bool,
        text (None or NaN where missing), dates, categories. dtypes are kept.
    name
        What the set is called in reports.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        An argument is of another kind, of another length, or holds values outside what is stated above.

    Notes
    -----
    `media_hashes` follow what was given: of a file its bytes, of an array its pixels, shape and dtype. So an
    array and a PNG of the same pixels have different hashes, and a file that is encoded anew has another one.
    Hashes are computed once, on first use; files that are changed later need a new set.
    """

    __iter__ = None  # rows are sets themselves; loop over range(len(s)) and s.image(i), s.texts[i]

    def __init__(
        self,
        stimulus_ids: Iterable[str],
        images: Any = None,
        texts: Iterable[str] | None = None,
        attributes: pd.DataFrame | Mapping[str, Any] | None = None,
        name: str = "",
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, got {type(name).__name__}")
        self._ids = check_ids(stimulus_ids)
        self._images: tuple[StoredImage, ...] | None = check_images(images, len(self._ids))
        self._texts = check_texts(texts, len(self._ids))
        self._attributes = check_attributes(attributes, self._ids)
        self._name = name

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        kinds = [
            *(["image files" if self.image_paths else "image arrays"] if self.has_images else []),
            *(["texts"] if self.has_texts else []),
        ]
        parts = [repr(self._name)] if self._name else []
        parts.append(f"{len(self)} stimuli")
        parts.append(" and ".join(kinds) or "no media")
        if len(self._attributes.columns):
            parts.append(f"attributes: {listed(self._attributes.columns)}")
        return f"StimulusSet({'; '.join(parts)})"

    @property
    def name(self) -> str:
        """What the set is called."""
        return self._name

    @property
    def stimulus_ids(self) -> np.ndarray:
        """The ids in order: array of str (n_stimuli,), read-only."""
        return self._ids

    @property
    def attributes(self) -> pd.DataFrame:
        """A copy of the attributes: DataFrame indexed by stimulus_id."""
        return self._attributes.copy()

    @property
    def texts(self) -> list[str] | None:
        """The texts in order, or None."""
        return None if self._texts is None else list(self._texts)

    @property
    def has_images(self) -> bool:
        """Whether the stimuli have images."""
        return self._images is not None

    @property
    def has_texts(self) -> bool:
        """Whether the stimuli have texts."""
        return self._texts is not None

    @property
    def image_paths(self) -> list[Path] | None:
        """The absolute paths of the image files in order, or None where images are arrays or absent."""
        if not self._images or not isinstance(self._images[0], Path):
            return None
        return [Path(path) for path in self._images if isinstance(path, Path)]

    def image(self, i: int) -> np.ndarray:
        """Return image `i`: uint8 or float32 in [0, 1], shape (row, column, 3).

        Grey is repeated to three channels; files are read by `read_image`.

        Raises
        ------
        ValueError
            The set has no images, or the file cannot be decoded; the message names the stimulus and the file.
        FileNotFoundError
            The file is gone.
        IndexError
            `i` is not in [-n, n).
        """
        stored = self.stored_image(i)
        if isinstance(stored, Path):
            return read_image(stored, name=f"image of stimulus {str(self._ids[i])!r} ({stored})")
        return stored.copy() if stored.ndim == 3 else np.repeat(stored[:, :, None], 3, axis=2)

    def stored_image(self, i: int) -> StoredImage:
        """Return image `i` as the set holds it: a path, or a read-only (row, column[, 3]) array."""
        if self._images is None:
            raise ValueError(f"{self!r} has no images; give images= when making it")
        return self._images[self._check_row(i)]

    def _check_row(self, i: int) -> int:
        if not -len(self) <= i < len(self):
            raise IndexError(f"stimulus {i} is out of range for {len(self)} stimuli")
        return int(i)

    def __getitem__(self, rows: Rows) -> "StimulusSet":
        """Return the set of these rows: an integer, a slice, indices, or a boolean mask."""
        return self._take(self._row_indices(rows))

    def _row_indices(self, rows: Rows) -> np.ndarray:
        if isinstance(rows, slice):
            return np.arange(len(self))[rows]
        if isinstance(rows, int | np.integer) and not isinstance(rows, bool):
            return np.array([self._check_row(int(rows)) % len(self)])
        wanted = np.asarray(rows)
        if wanted.size == 0 and wanted.dtype != bool:
            return np.array([], dtype=int)
        if wanted.ndim != 1 or wanted.dtype.kind not in "biu":
            hint = "; choose by id with select()" if wanted.dtype.kind in "UO" else ""
            raise TypeError(
                f"rows must be an integer, a slice, 1-D indices or a boolean mask, got {rows!r:.60}{hint}"
            )
        if wanted.dtype == bool:
            if len(wanted) != len(self):
                raise IndexError(f"a mask of {len(wanted)} values does not fit {len(self)} stimuli")
            return np.flatnonzero(wanted)
        if outside := [int(i) for i in wanted if not -len(self) <= i < len(self)]:
            raise IndexError(f"rows {listed(outside)} are out of range for {len(self)} stimuli")
        return wanted.astype(int) % max(len(self), 1)

    def _take(self, rows: np.ndarray) -> "StimulusSet":
        taken = object.__new__(type(self))
        # Parts were checked when this set was made; only the ids could now repeat.
        taken._ids = check_ids(self._ids[rows].tolist())
        taken._images = None if self._images is None else tuple(self._images[i] for i in rows)
        taken._texts = None if self._texts is None else tuple(self._texts[i] for i in rows)
        taken._attributes = self._attributes.iloc[rows].copy()
        taken._name = self._name
        if "media_hashes" in self.__dict__:
            taken.__dict__["media_hashes"] = tuple(self.media_hashes[i] for i in rows)
        return taken

    def select(self, ids: Iterable[str]) -> "StimulusSet":
        """Return the set of these ids, in this order.

        Raises
        ------
        KeyError
            An id is not in the set; near matches are listed.
        """
        if isinstance(ids, str):
            raise TypeError(f"ids must be a list of str, got one str {ids!r}; write [{ids!r}]")
        row_of = {stimulus_id: row for row, stimulus_id in enumerate(self._ids.tolist())}
        wanted = [str(stimulus_id) for stimulus_id in ids]
        if unknown := [stimulus_id for stimulus_id in wanted if stimulus_id not in row_of]:
            hint = f"{len(unknown)} ids are not in the set" if len(unknown) > 1 else ""
            raise KeyError(unknown_name_message("stimulus id", unknown[0], row_of, hint))
        return self._take(np.array([row_of[stimulus_id] for stimulus_id in wanted], dtype=int))

    @cached_property
    def media_hashes(self) -> tuple[str, ...]:
        """One sha256 a stimulus, over its image and text."""
        images: Sequence[StoredImage | None] = self._images or [None] * len(self)
        texts: Sequence[str | None] = self._texts or [None] * len(self)
        return tuple(hash_medium(image, text) for image, text in zip(images, texts, strict=True))

    @property
    def media_hash(self) -> str:
        """sha256 of all media in order: what features depend on."""
        return hash_sequence(self.media_hashes)

    @property
    def content_hash(self) -> str:
        """sha256 of ids, media and attributes in order; the name of the set does not enter."""
        return hash_sequence([*self._ids.tolist(), self.media_hash, table_text(self._attributes)])

    def verify(self) -> None:
        """Decode every image and report all that fail at once.

        Raises
        ------
        ValueError
            Some images cannot be decoded; the message names each stimulus, its file and the reason.
        """
        bad = []
        for row in range(len(self) if self.has_images else 0):
            try:
                self.image(row)
            except (ValueError, OSError) as error:
                bad.append(str(error))
        if bad:
            raise ValueError(f"{len(bad)} of {len(self)} stimuli cannot be shown:\n  " + "\n  ".join(bad))

    def to_brainscore(self, image_folder: str | os.PathLike[str] | None = None) -> Any:
        """Make a Brain-Score ``StimulusSet`` that says the same.

        Ids and attributes become columns with their dtypes, texts the column ``sentence``, paths
        ``stimulus_paths``, the name ``identifier``.

        Parameters
        ----------
        image_folder
            Where array images are written as PNG, which Brain-Score needs: a file for each different image,
            named by its content. Paths are passed on as they are.

        Returns
        -------
        brainscore_core.supported_data_standards.brainio.stimuli.StimulusSet

        Raises
        ------
        ValueError
            Images are arrays and no folder is given, or float images lie between the 256 levels of a PNG:
            nothing is quantised in silence. Floats that are multiples of 1/255 come back as the same levels
            in uint8.
        """
        return to_brainscore(self, image_folder)

    @classmethod
    def from_brainscore(cls, brainscore_set: Any) -> "StimulusSet":
        """Make the set that says the same as a Brain-Score ``StimulusSet``.

        The column ``sentence`` becomes the texts; integer ids become text. From a set that `to_brainscore`
        made of image files or texts, content and hashes come back the same; array images come back as files
        of the same pixels.

        Raises
        ------
        TypeError, ValueError, FileNotFoundError
            It is no table, it lacks ids or paths, or a column holds what attributes cannot.
        """
        return cls(**read_brainscore(brainscore_set))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the set into a new folder: ``stimuli.json``, and image files or ``images.safetensors``.

        Raises
        ------
        FileExistsError
            The folder exists and is not empty.
        """
        save_set(self, folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "StimulusSet":
        """Read a set written by `save`; ids, media, attributes, dtypes and hashes come back the same.

        Raises
        ------
        FileNotFoundError
            The folder holds no saved set, or misses image files.
        ValueError
            What it holds is truncated, or not what was saved; the message names the stimuli.
        """
        arguments, saved = read_saved(folder)
        loaded = cls(**arguments)
        compare_hashes(loaded, saved, folder)
        return loaded

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str]) -> "StimulusSet":
        """Make a set of a folder of your own: images, a table ``stimuli.csv``, or both.

        Without a table, every image file under the folder is a stimulus, in sorted order; its id is its name
        relative to the folder, without the suffix (``cat/001``).

        The table has the column ``stimulus_id`` and may have ``image`` (or ``filename``): names relative to
        the folder; ``text``; and any attributes. Without a column of images, image files are matched to the
        ids by name when the folder holds any. Ids, names and texts are taken word for word, attributes as
        numbers, bools or text as pandas reads them. The set takes the name of the folder.

        Raises
        ------
        FileNotFoundError, NotADirectoryError
            The folder, or image files, are missing; all missing files are counted and the first 20 named.
        ValueError
            The table is no UTF-8 CSV, lacks ids, has rows of different widths or empty names or texts, or a
            name leaves the folder.
        """
        return cls(**read_folder(folder))
