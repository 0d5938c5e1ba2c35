"""The command `cogmodels`."""

from analyses.cli.app import main

__all__ = ["main"]
