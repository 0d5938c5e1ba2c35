"""Progress bars of a run."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class FitProgress:
    """Bars for fits, permutations and other work in pieces; a context manager."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> FitProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def fits(self, done: int, of: int, _label: str) -> None:
        """Show that `done` of `of` fits are finished."""
        self.show("fits", done, of)

    def permutations(self, done: int, of: int, _label: str) -> None:
        """Show that `done` of `of` permutations are finished."""
        self.show("null", done, of)

    def show(self, name: str, done: int, of: int) -> None:
        """Show that `done` of `of` pieces of some work are finished."""
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=of)
        self._bars.update(self._tasks[name], completed=done)
