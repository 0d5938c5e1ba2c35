"""Files are found, downloaded over a real connection, and never trusted without their hash."""

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from analyses.datasets.array_files import read_mat, read_npy, read_npz, read_zip_members
from analyses.datasets.dataset import DataFile, DatasetInfo
from analyses.datasets.download import cache_folder, fetch_files, find_file, get_file, raw_github_url

CONTENT = b"voxels, but few of them" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Serve a folder on the loopback address."""
    folder = tmp_path / "home"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "responses.bin").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def user_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the cache and COGMODELS_DATA into the test's folder."""
    folder = tmp_path / "user"
    (folder / "tiny").mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COGMODELS_DATA", str(folder))
    return folder


def _info(base: str, sha256: str = SHA256) -> DatasetInfo:
    return DatasetInfo(
        name="tiny",
        title="tiny",
        home="a test's own server",
        files=(DataFile("sub/responses.bin", f"{base}/sub/responses.bin", sha256),),
        licence="none",
        citation="none",
        subjects=("1",),
        shapes={},
        units="",
        folder="tiny",
    )


def test_download_goes_to_the_cache_once(served: tuple[Path, str], user_data: Path) -> None:
    folder, base = served
    info = _info(base)
    assert find_file(info, "sub/responses.bin") is None
    path = get_file(info, "sub/responses.bin")
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(cache_folder())
    (folder / "sub" / "responses.bin").unlink()  # a second download would now fail
    assert get_file(info, "sub/responses.bin") == path
    assert fetch_files(info) == [path]


def test_user_folder_comes_before_the_cache(served: tuple[Path, str], user_data: Path) -> None:
    info = _info(served[1])
    get_file(info, "sub/responses.bin")
    own = user_data / "tiny" / "sub" / "responses.bin"
    own.parent.mkdir()
    own.write_bytes(CONTENT)
    assert get_file(info, "sub/responses.bin") == own
    assert fetch_files(info) == [own]


def test_damaged_files_are_named(served: tuple[Path, str], user_data: Path) -> None:
    info = _info(served[1])
    cached = get_file(info, "sub/responses.bin")
    cached.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=r"responses\.bin is damaged or another version"):
        get_file(info, "sub/responses.bin")
    assert fetch_files(info)[0].read_bytes() == CONTENT  # an explicit fetch replaces what it once brought
    own = user_data / "tiny" / "sub" / "responses.bin"
    own.parent.mkdir()
    own.write_bytes(CONTENT[:100])
    with pytest.raises(ValueError, match="damaged"):
        fetch_files(info)
    assert own.read_bytes() == CONTENT[:100]  # the user's own file is never overwritten


def test_unexpected_content_is_refused(served: tuple[Path, str], user_data: Path) -> None:
    folder, base = served
    (folder / "sub" / "responses.bin").write_bytes(b"something else")
    with pytest.raises(FileNotFoundError, match=r"downloading .* failed"):
        get_file(_info(base), "sub/responses.bin")
    assert not [path for path in cache_folder().rglob("*") if path.is_file()]


def test_no_connection_names_home_and_folder(user_data: Path) -> None:
    closed = _info("http://127.0.0.1:9")  # the discard port: nothing listens
    with pytest.raises(FileNotFoundError, match="a test's own server") as caught:
        get_file(closed, "sub/responses.bin")
    assert str(cache_folder()) in str(caught.value)
    assert str(user_data) in str(caught.value)
    with pytest.raises(FileNotFoundError, match="download=False"):
        get_file(closed, "sub/responses.bin", download=False)


def test_data_variable_has_to_name_a_folder(user_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGMODELS_DATA", str(user_data / "nowhere"))
    with pytest.raises(FileNotFoundError, match="COGMODELS_DATA"):
        get_file(_info(""), "sub/responses.bin")


def test_raw_github_url_is_pinned() -> None:
    assert raw_github_url("owner/name", "abc", "a/b.mat").endswith("/owner/name/abc/a/b.mat")


def test_npy_is_never_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "exploded",))

    np.save(tmp_path / "bomb.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "bomb.npz", bomb=np.array([Bomb()], dtype=object))
    with pytest.raises(ValueError, match="pickled Python objects"):
        read_npy(tmp_path / "bomb.npy")
    with pytest.raises(ValueError, match="pickled Python objects"):
        read_npz(tmp_path / "bomb.npz")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("kept", [0, 5, 60, 500])
def test_truncated_arrays_are_named(tmp_path: Path, kept: int) -> None:
    np.save(tmp_path / "a.npy", np.arange(200.0))
    np.savez_compressed(tmp_path / "a.npz", x=np.random.default_rng(0).normal(size=200))
    for name, read in (("a.npy", read_npy), ("a.npz", read_npz)):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:kept])
        with pytest.raises(ValueError, match=name):
            read(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"absent\.npy"):
        read_npy(tmp_path / "absent.npy")


def test_flipped_bytes_in_an_npz_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).normal(size=2000))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"a\.npz"):
        read_npz(path)


def test_damaged_mat_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(300))
    with pytest.raises(ValueError, match=r"a\.mat"):
        read_mat(tmp_path / "a.mat")


@pytest.mark.parametrize(
    "name", ["../outside.jpg", "/etc/outside.jpg", "a/../../outside.jpg", "C:\\outside.jpg"]
)
def test_archive_names_cannot_leave_their_folder(tmp_path: Path, name: str) -> None:
    path = tmp_path / "inside" / "images.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"gotcha")
    with pytest.raises(ValueError, match="leaves its folder"):
        read_zip_members(path, (".jpg",))
    assert not (tmp_path / "outside.jpg").exists()


def test_archives_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("b.jpg", "folder/", "a.JPG", "notes.txt"):
            archive.writestr(name, name.encode())
    assert read_zip_members(path, (".jpg",)) == {"a.JPG": b"a.JPG", "b.jpg": b"b.jpg"}
    with pytest.raises(ValueError, match="would unpack to 5 bytes"):
        read_zip_members(path, (".jpg",), max_member_bytes=4)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"images\.zip"):
        read_zip_members(path, (".jpg",))
