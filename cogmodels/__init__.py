"""Models of behaviour and knowledge; also the home of the package's version."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("cogmodels")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
