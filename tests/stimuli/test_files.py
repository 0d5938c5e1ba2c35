"""Atomic writing, hashes of content, messages for unknown names, names that must stay inside."""

import hashlib
import os
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stimuli import (
    atomic_write,
    hash_array,
    hash_file,
    near_matches,
    read_json,
    safe_member_path,
    unknown_name_message,
    write_json,
)
from stimuli.files import count_of


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestAtomicWrite:
    def test_file_appears_whole(self, tmp_path: Path) -> None:
        target = tmp_path / "new" / "scores.npy"
        with atomic_write(target) as temporary:
            assert temporary.parent == target.parent
            assert temporary.suffix == ".npy"
            np.save(temporary, np.arange(3))
            assert not target.exists()
        np.testing.assert_array_equal(np.load(target), [0, 1, 2])
        assert names_in(target.parent) == ["scores.npy"]

    def test_failure_leaves_the_old_file_and_nothing_else(self, tmp_path: Path) -> None:
        target = tmp_path / "a.txt"
        target.write_text("old")
        with suppress(RuntimeError), atomic_write(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError
        assert target.read_text() == "old"
        assert names_in(tmp_path) == ["a.txt"]

    def test_interrupt_is_a_failure_too(self, tmp_path: Path) -> None:
        interrupted = False
        try:
            with atomic_write(tmp_path / "a") as temporary:
                temporary.mkdir()
                (temporary / "part").write_text("half")
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            interrupted = True
        assert interrupted
        assert names_in(tmp_path) == []

    def test_suffixes_and_long_names_are_kept(self, tmp_path: Path) -> None:
        for name in ("brain.nii.gz", "x" * 240 + ".func.gii"):
            with atomic_write(tmp_path / name) as temporary:
                assert temporary.suffixes[-2:] == Path(name).suffixes
                temporary.write_text("x")
            assert (tmp_path / name).read_text() == "x"

    def test_folder(self, tmp_path: Path) -> None:
        with atomic_write(tmp_path / "run") as temporary:
            (temporary / "deep").mkdir(parents=True)
            (temporary / "deep" / "x").write_text("1")
        assert (tmp_path / "run" / "deep" / "x").read_text() == "1"

    def test_full_folder_is_replaced_only_on_demand(self, tmp_path: Path) -> None:
        target = tmp_path / "run"
        target.mkdir()
        (target / "old").write_text("precious")
        with pytest.raises(FileExistsError, match="not empty"), atomic_write(target):
            pass
        with suppress(RuntimeError), atomic_write(target, replace_folder=True) as temporary:
            temporary.mkdir()
            raise RuntimeError
        assert names_in(target) == ["old"]
        with atomic_write(target, replace_folder=True) as temporary:
            temporary.mkdir()
            (temporary / "new").write_text("")
        assert names_in(target) == ["new"]
        assert names_in(tmp_path) == ["run"]

    def test_file_does_not_replace_folder(self, tmp_path: Path) -> None:
        target = tmp_path / "run"
        target.mkdir()
        with (
            pytest.raises(FileExistsError, match="cannot be replaced by a file"),
            atomic_write(target) as new,
        ):
            new.write_text("x")
        assert target.is_dir()
        assert names_in(tmp_path) == ["run"]

    def test_writing_nothing_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="nothing was written"), atomic_write(tmp_path / "a"):
            pass

    def test_two_writers_do_not_meet(self, tmp_path: Path) -> None:
        with atomic_write(tmp_path / "a") as first:
            with atomic_write(tmp_path / "a") as second:
                second.write_text("second")
            first.write_text("first")
        assert (tmp_path / "a").read_text() == "first"

    def test_killed_writer_leaves_the_old_file(self, tmp_path: Path) -> None:
        target = tmp_path / "a.txt"
        target.write_text("old")
        script = f"""
            import os, signal
            from stimuli.files import atomic_write
            with atomic_write({str(target)!r}) as temporary:
                temporary.write_text("half")
                os.kill(os.getpid(), signal.SIGKILL)
        """
        ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
        assert ended.returncode == -9
        assert target.read_text() == "old"


class TestJson:
    @given(
        content=st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        )
    )
    def test_round_trip(self, tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
        path = tmp_path_factory.mktemp("json") / "a.json"
        write_json(path, content)
        assert read_json(path) == content

    def test_numpy_and_paths_become_plain(self, tmp_path: Path) -> None:
        write_json(tmp_path / "a", {"n": np.int64(3), "r": np.float32(0.5), "v": np.eye(2), "p": Path("x/y")})
        assert read_json(tmp_path / "a") == {"n": 3, "r": 0.5, "v": [[1.0, 0.0], [0.0, 1.0]], "p": "x/y"}

    def test_nan_is_refused_before_anything_is_written(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="write None"):
            write_json(tmp_path / "a", {"r": float("nan")})
        with pytest.raises(TypeError, match="set has no form in JSON"):
            write_json(tmp_path / "a", {"r": {1}})
        assert names_in(tmp_path) == []

    def test_truncated_file_is_named(self, tmp_path: Path) -> None:
        write_json(tmp_path / "run.json", {"a": [1, 2, 3]})
        whole = (tmp_path / "run.json").read_bytes()
        (tmp_path / "run.json").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=r"run\.json is truncated or not JSON"):
            read_json(tmp_path / "run.json")
        (tmp_path / "run.json").write_bytes(b"\xff\xfe")
        with pytest.raises(ValueError, match=r"run\.json is truncated or not JSON"):
            read_json(tmp_path / "run.json")
        with pytest.raises(FileNotFoundError, match=r"none\.json does not exist"):
            read_json(tmp_path / "none.json")


arrays = hnp.arrays(
    dtype=st.sampled_from([np.uint8, np.int32, np.float32, np.float64, np.bool_, "<U3"]),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


class TestHashes:
    def test_file_hash_is_sha256(self, tmp_path: Path) -> None:
        content = os.urandom(3_000_000)
        (tmp_path / "a").write_bytes(content)
        assert hash_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()

    @given(array=arrays)
    def test_layout_and_byte_order_do_not_matter(self, array: np.ndarray) -> None:
        expected = hash_array(array)
        assert hash_array(array.copy(order="F")) == expected
        assert hash_array(array.astype(array.dtype.newbyteorder(">"))) == expected
        if array.ndim:
            assert hash_array(np.repeat(array, 2, axis=0)[::2]) == expected

    @given(first=arrays, second=arrays)
    def test_hash_differs_unless_shape_dtype_and_bytes_are_equal(
        self, first: np.ndarray, second: np.ndarray
    ) -> None:
        same = (
            first.shape == second.shape
            and first.dtype == second.dtype
            and first.tobytes() == second.tobytes()
        )
        assert (hash_array(first) == hash_array(second)) == same

    def test_objects_are_refused(self) -> None:
        with pytest.raises(TypeError, match="object"):
            hash_array(np.array([{}, []], dtype=object))


class TestNames:
    def test_typing_errors_find_their_name(self) -> None:
        layers = [f"layer{i}.{j}.conv{k}" for i in range(1, 5) for j in range(2) for k in range(1, 3)]
        assert near_matches("layer2.0.conv", layers)[:2] == ["layer2.0.conv1", "layer2.0.conv2"]
        assert near_matches("Layer4.1.conv2", layers)[0] == "layer4.1.conv2"
        assert near_matches("resnet", ["torchvision/resnet18", "gabor"]) == ["torchvision/resnet18"]
        assert near_matches("qqq", layers) == []
        assert len(near_matches("layer", layers, n=3)) == 3

    def test_message_says_what_came_what_is_allowed_and_what_to_do(self) -> None:
        message = unknown_name_message("layer", "layer5", ["layer4", "conv1"], "see layer_names()")
        assert message == "unknown layer 'layer5'; did you mean 'layer4'?; see layer_names()"
        assert unknown_name_message("solver", "qqq", ["primal", "dual"]).endswith("allowed: 'dual', 'primal'")
        assert "and 90 more" in unknown_name_message("id", "qqq", [f"{i:03d}" for i in range(100)])
        assert "there is no dataset" in unknown_name_message("dataset", "x", [])


class TestSafeMemberPath:
    @pytest.mark.parametrize("member", ["a.png", "deep/er/a.png", "a..b/c", "..a", "./a.png"])
    def test_inside(self, tmp_path: Path, member: str) -> None:
        assert safe_member_path(tmp_path, member) == tmp_path / member

    @pytest.mark.parametrize(
        "member",
        [
            "",
            ".",
            "..",
            "../a",
            "a/../../b",
            "a/..",
            "/etc/passwd",
            "..\\a",
            "C:\\a",
            "C:a",
            "\\a",
            "//x/y",
            "a\0b",
        ],
    )
    def test_outside(self, tmp_path: Path, member: str) -> None:
        with pytest.raises(ValueError, match="name"):
            safe_member_path(tmp_path, member)

    def test_links(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        root.mkdir()
        (root / "out").symlink_to(tmp_path)
        (root / "in").symlink_to(root)
        with pytest.raises(ValueError, match="symbolic link"):
            safe_member_path(root, "out/a")
        assert safe_member_path(root, "out/a", links_may_leave=True) == root / "out" / "a"
        assert safe_member_path(root, "in/a") == root / "in" / "a"


@pytest.mark.parametrize(
    ("n", "words", "said"),
    [
        (1, ("row",), "1 row"),
        (0, ("row",), "0 rows"),
        (2000, ("stimulus", "stimuli"), "2,000 stimuli"),
        (1, ("stimulus", "stimuli"), "1 stimulus"),
    ],
)
def test_counts_agree_with_their_noun(n: int, words: tuple[str, ...], said: str) -> None:
    assert count_of(n, *words) == said
