"""Decoding of image files into uint8 RGB."""

import io
import struct
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from stimuli import read_image


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """Write a PNG by hand, after the standard: what Pillow cannot be made to write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


rgb = hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3)))


class TestPixels:
    @given(pixels=rgb, form=st.sampled_from(["PNG", "BMP", "TIFF", "PPM"]))
    def test_lossless_formats_keep_every_pixel(self, pixels: np.ndarray, form: str) -> None:
        read = read_image(encode(Image.fromarray(pixels), form))
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, pixels)

    @given(grey=hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6))))
    def test_grey_becomes_three_equal_channels(self, grey: np.ndarray) -> None:
        np.testing.assert_array_equal(
            read_image(encode(Image.fromarray(grey))), np.stack([grey] * 3, axis=-1)
        )

    def test_result_can_be_written_to(self) -> None:
        read_image(encode(Image.new("RGB", (2, 2))))[0, 0] = 7

    @given(
        rgba=hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(4))),
        background=st.tuples(*[st.integers(0, 255)] * 3),
    )
    def test_alpha_is_composited_on_the_background(
        self, rgba: np.ndarray, background: tuple[int, int, int]
    ) -> None:
        alpha = rgba[..., 3:].astype(np.float64) / 255
        expected = alpha * rgba[..., :3] + (1 - alpha) * np.array(background, dtype=np.float64)
        read = read_image(encode(Image.fromarray(rgba)), background=background)
        assert np.abs(read - expected).max() <= 1

    def test_transparent_pixels_are_grey_unless_said_otherwise(self) -> None:
        hidden = encode(Image.new("RGBA", (1, 1), (255, 0, 0, 0)))
        np.testing.assert_array_equal(read_image(hidden), [[[128, 128, 128]]])
        np.testing.assert_array_equal(read_image(hidden, background=(255, 255, 255)), [[[255, 255, 255]]])

    def test_palette_with_and_without_transparency(self) -> None:
        palette = Image.new("P", (2, 1))
        palette.putpalette([250, 20, 30, 1, 2, 3])
        palette.putdata([0, 1])
        np.testing.assert_array_equal(read_image(encode(palette)), [[[250, 20, 30], [1, 2, 3]]])
        transparent = encode(palette, transparency=0)
        np.testing.assert_array_equal(read_image(transparent), [[[128, 128, 128], [1, 2, 3]]])

    def test_grey_with_alpha(self) -> None:
        image = Image.fromarray(np.array([[[200, 255], [200, 0]]], dtype=np.uint8), "LA")
        np.testing.assert_array_equal(read_image(encode(image)), [[[200] * 3, [128] * 3]])

    def test_16_bit_grey_keeps_its_range(self) -> None:
        deep = np.array([[0, 257, 128, 65535, 32768]], dtype=np.uint16)
        read = read_image(encode(Image.fromarray(deep)))
        np.testing.assert_array_equal(read[..., 0], [[0, 1, 0, 255, 128]])
        for form in ("TIFF", "PPM"):
            np.testing.assert_array_equal(read_image(encode(Image.fromarray(deep), form)), read)

    def test_16_bit_colour(self) -> None:
        pixel = struct.pack(">HHH", 65535, 257 * 7, 0)
        read = read_image(raw_png(1, 1, 16, 2, b"\0" + pixel))
        np.testing.assert_array_equal(read, [[[255, 7, 0]]])

    def test_one_bit(self) -> None:
        read = read_image(encode(Image.fromarray(np.array([[True, False]]))))
        np.testing.assert_array_equal(read[..., 1], [[255, 0]])

    def test_cmyk_jpeg(self) -> None:
        read = read_image(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
        assert np.abs(read.astype(int) - [255, 0, 0]).max() <= 3

    def test_rotated_photograph_is_shown_upright(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned: rotate clockwise to show
        pixels = np.zeros((1, 2, 3), dtype=np.uint8)
        pixels[0, 0] = 255
        read = read_image(encode(Image.fromarray(pixels), "PNG", exif=exif))
        np.testing.assert_array_equal(read[:, 0, 0], [255, 0])
        assert read.shape == (2, 1, 3)

    def test_first_frame_of_an_animation(self) -> None:
        frames = [Image.new("RGB", (2, 2), colour) for colour in [(255, 0, 0), (0, 0, 255)]]
        data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
        np.testing.assert_array_equal(read_image(data)[0, 0], [255, 0, 0])


class TestBadFiles:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)

    @pytest.mark.filterwarnings("ignore:Truncated File Read")
    @pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP", "PPM"])
    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
    def test_truncated(self, tmp_path: Path, form: str, share: float) -> None:
        data = encode(Image.fromarray(self.noise), form)
        path = tmp_path / "cut.img"
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ValueError, match=r"cut\.img"):
            read_image(path)

    @given(cut=st.integers(0, 12_000), seed=st.integers(0, 1000))
    def test_damage_raises_nothing_but_value_error(self, cut: int, seed: int) -> None:
        data = bytearray(encode(Image.fromarray(self.noise)))
        position = cut % len(data)
        data[position : position + 20] = np.random.default_rng(seed).bytes(20)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with suppress(ValueError):
                assert read_image(bytes(data)).ndim == 3

    def test_flipped_pixel_data_fails_its_checksum(self) -> None:
        data = bytearray(encode(Image.fromarray(self.noise)))
        data[len(data) // 2] ^= 0xFF
        with pytest.raises(ValueError, match="truncated or corrupt"):
            read_image(bytes(data))

    def test_not_an_image(self, tmp_path: Path) -> None:
        (tmp_path / "notes.png").write_text("stimulus_id,text\n")
        with pytest.raises(ValueError, match=r"notes\.png: not an image.*PNG, JPEG"):
            read_image(tmp_path / "notes.png")

    def test_postscript_is_not_handed_to_another_program(self, tmp_path: Path) -> None:
        (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
        with pytest.raises(ValueError, match="not an image"):
            read_image(tmp_path / "a.eps")

    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    @pytest.mark.parametrize("side", [10_000, 30_000])
    def test_decompression_bomb(self, side: int) -> None:
        with pytest.raises(ValueError, match=r"(more than \d+|exceeds limit).*; resize it$"):
            read_image(raw_png(side, side, 8, 0, b"\0" * 100))

    def test_missing_and_folder(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"gone\.png"):
            read_image(tmp_path / "gone.png")
        (tmp_path / "folder").mkdir()
        with pytest.raises(OSError, match="folder"):
            read_image(tmp_path / "folder")

    @pytest.mark.parametrize("dtype", [np.float32, np.int32])
    def test_32_bit_pixels_have_no_range(self, dtype: type) -> None:
        with pytest.raises(ValueError, match="no known range"):
            read_image(encode(Image.fromarray(np.ones((2, 2), dtype=dtype)), "TIFF"))
