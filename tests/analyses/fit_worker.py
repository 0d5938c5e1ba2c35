"""A process that runs `cogmodels fit` on demand, to be killed.

Each line on the standard input, ``KILL_AT ARGUMENT...`` (tab-separated), forks a child that hands the arguments to
the command. The child kills itself before it puts the KILL_AT-th file in place, or never at 0. Answers: ``started PID``
and, when the child has ended, ``ended STATUS N_FILES``: how many files a child that was not killed put in place.
"""

import os
import signal
import sys
from typing import Any

import torch

# What a run imports on its way, loaded once: a child's life is then its work, and so are the moments it is killed at.
import analyses.datasets.own_folder
import analyses.experiments.encoding
import analyses.report.html  # noqa: F401
import encoders.backbones.vision  # noqa: F401
from analyses.cli import main as cogmodels


def _count_files(kill_at: int) -> list[int]:
    replace, placed = os.replace, [0]

    def counted(*paths: Any, **options: Any) -> None:
        placed[0] += 1
        if placed[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths, **options)

    os.replace = counted  # type: ignore[assignment]
    return placed


def _run(kill_at: int, arguments: list[str], report: int) -> int:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, sys.stdout.fileno())  # the parent answers there
    placed = _count_files(kill_at)
    try:
        cogmodels(arguments)
        status = 0
    except SystemExit as ended:
        status = int(ended.code or 0)
    os.write(report, str(placed[0]).encode())
    return status


def main() -> None:
    """Serve until the standard input ends."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        kill_at, *arguments = line.rstrip("\n").split("\t")
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = _run(int(kill_at), arguments, writer)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            finally:
                os._exit(status)
        os.close(writer)
        print("started", pid, flush=True)
        _, ended = os.waitpid(pid, 0)
        placed = os.read(reader, 100).decode() or "0"
        os.close(reader)
        print("ended", os.waitstatus_to_exitcode(ended), placed, flush=True)


if __name__ == "__main__":
    main()
