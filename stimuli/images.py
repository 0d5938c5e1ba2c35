"""Reading image files into uint8 RGB arrays."""

import io
import os
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

# Only formats that Pillow decodes itself and knows by their first bytes: some others (EPS) start programs.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")
MAX_PIXELS = 89_478_485  # Pillow's own threshold of suspicion: a quarter of a gigabyte once decoded
GREY = (128, 128, 128)


class _Refused(ValueError):
    """A sound image that has no faithful 8-bit form or is too large."""


def read_image(
    path_or_bytes: str | os.PathLike[str] | bytes,
    *,
    background: tuple[int, int, int] = GREY,
    name: str | None = None,
) -> np.ndarray:
    """Decode an image as people saw it: upright, in colour, on an opaque background.

    Palettes, greyscale, CMYK and 16-bit images become 8-bit RGB (16-bit grey is divided by 257 and rounded);
    transparency is composited on `background`; the EXIF orientation is applied; of an animation the first
    frame is taken.

    Parameters
    ----------
    path_or_bytes
        A file, or the bytes of one. PNG, JPEG, BMP, GIF, TIFF, WebP, PPM and JPEG 2000 are read.
    background
        RGB colour in 0-255 behind transparent pixels.
    name
        What messages call the image; by default the path.

    Returns
    -------
    numpy.ndarray
        uint8, shape (row, column, 3).

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is empty, truncated, corrupt, no image, of a depth that has no 8-bit form, or larger than
        `MAX_PIXELS` pixels.
    """
    if isinstance(path_or_bytes, bytes):
        data, label = path_or_bytes, name or f"image of {len(path_or_bytes)} bytes"
    else:
        label = name or os.fspath(path_or_bytes)
        try:
            with open(path_or_bytes, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            raise FileNotFoundError(f"{label}: there is no such image file") from None
    if not data:
        raise ValueError(f"{label}: the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _Refused(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS}; resize it")
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image, background)
    except _Refused as error:
        raise ValueError(f"{label}: {error}") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{label}: {error}; resize it") from error
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"{label}: not an image, or not of a format among {', '.join(_FORMATS)}") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
        raise ValueError(
            f"{label}: cannot decode the image ({error}); it may be truncated or corrupt"
        ) from error


def _to_rgb(image: Image.Image, background: tuple[int, int, int]) -> np.ndarray:
    """Give the pixels of any Pillow mode as uint8 (row, column, 3)."""
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise _Refused("pixels of 32 bits have no known range; store 8-bit or 16-bit values")
    if image.mode.startswith("I"):
        # 16 bits; Pillow calls them "I" in some formats.
        image = Image.fromarray(np.round(np.asarray(image) / 257.0).astype(np.uint8))
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(opaque, image.convert("RGBA"))
    # A copy: the array of a Pillow image cannot be written to.
    return np.array(image.convert("RGB"))
