"""What runs in a worker of a cluster: one piece of work under the conditions of the process that asked for it.

Functions arrive pickled by cloudpickle, once a process, from whoever may talk to the scheduler: a cluster is as
trusted as a shell (`docs/cluster.md`).
"""

import hashlib
import pickle
import platform
import socket
import threading
import traceback
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

_KEPT_FUNCTIONS = 2  # the one under way and the one before: a function may hold a network

_turn = threading.Lock()
_functions: OrderedDict[str, Any] = OrderedDict()


@dataclass(frozen=True)
class Parcel:
    """A pickled function and its sha256.

    Bytes travel and not the object: another worker may ask for it while hooks of a running task hang on its network.
    """

    content: bytes
    digest: str

    @classmethod
    def of(cls, function: Any) -> "Parcel":
        """Pickle a function; anything that cloudpickle takes, closures included."""
        import cloudpickle

        content = cloudpickle.dumps(function)
        return cls(content, hashlib.sha256(content).hexdigest())

    def open(self) -> Any:
        """Unpickle, or return what this process unpickled before."""
        if self.digest not in _functions:
            _functions[self.digest] = pickle.loads(self.content)  # noqa: S301 - from our own driver
            while len(_functions) > _KEPT_FUNCTIONS:
                _functions.popitem(last=False)
        return _functions[self.digest]


@dataclass(frozen=True)
class Conditions:
    """What decides the last bits of a result beside the data: threads (they order sums) and versions."""

    torch_threads: int
    blas_threads: int
    versions: Mapping[str, str]

    @classmethod
    def here(cls, threads: int | None = None, torch_threads: int | None = None) -> "Conditions":
        """Return the conditions of this process, with other numbers of threads if they are given."""
        return cls(
            torch_threads=torch_threads or threads or torch.get_num_threads(),
            blas_threads=threads or _blas_threads(),
            versions=library_versions(),
        )

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Set the numbers of threads, and put them back."""
        from threadpoolctl import threadpool_limits

        before = torch.get_num_threads()
        try:
            with threadpool_limits(limits=self.blas_threads, user_api="blas"):
                torch.set_num_threads(self.torch_threads)
                yield
        finally:
            torch.set_num_threads(before)

    def check(self) -> None:
        """Refuse to work with other versions than the driver's.

        Raises
        ------
        RuntimeError
            It names the library, both versions and this machine.
        """
        here = library_versions()
        wrong = [
            f"{name} {here.get(name)} where the driver has {version}"
            for name, version in self.versions.items()
            if here.get(name) != version
        ]
        if wrong:
            raise RuntimeError(
                f"worker on {socket.gethostname()} has {', '.join(wrong)}: results would differ; start the workers "
                "from the environment of the driver"
            )


@dataclass(frozen=True)
class Failure:
    """An exception that a function raised: a result, so that nothing tries again."""

    error: Exception


def hold(value: Any) -> Any:
    """Return what came: the task behind shared data, which the scheduler runs again where data were lost."""
    return value


def perform(parcel: Parcel, conditions: Conditions, item: Any, shared: Mapping[str, Any]) -> Any:
    """Call the function on one item; what it raises comes back as a `Failure`."""
    # One piece at a time in a process: threads are set for all of it, and hooks hang on a network it shares.
    with _turn:
        try:
            conditions.check()
            with conditions.hold():
                return parcel.open()(item, **shared)
        except Exception as error:
            error.add_note(f"raised on {socket.gethostname()}:\n{traceback.format_exc()}")
            return Failure(_portable(error))


def look_at_folder(folder: str, token: str) -> str:
    """Return "" if this process sees the driver's probe in `folder` and can write there, or else what is wrong."""
    place = Path(folder)
    try:
        if (place / f".probe-{token}").read_text(encoding="ascii") != token:
            return "sees another file"
    except OSError as error:
        return f"does not see it ({error.strerror})"
    own = place / f".probe-{token}-{socket.gethostname()}-{threading.get_native_id()}"
    try:
        own.write_bytes(b"")
    except OSError as error:
        return f"cannot write there ({error.strerror})"
    with suppress(OSError):
        own.unlink()
    return ""


def library_versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"Python": python, "torch": str(torch.__version__), "numpy": np.__version__}


def _blas_threads() -> int:
    from threadpoolctl import threadpool_info

    return max(
        (int(each["num_threads"]) for each in threadpool_info() if each["user_api"] == "blas"), default=1
    )


def _portable(error: Exception) -> Exception:
    """Return the exception, or one with its words where it would not survive the way back."""
    survives = False
    with suppress(Exception):
        survives = isinstance(pickle.loads(pickle.dumps(error)), type(error))  # noqa: S301 - made in this line
    if survives:
        return error
    told = RuntimeError(f"{type(error).__name__}: {error}")
    told.__notes__ = getattr(error, "__notes__", [])
    return told
