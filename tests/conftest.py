"""Shared test set-up: shape checking, the data folder, no network side effects."""

import os
from pathlib import Path

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

from tests.array_checks import CHECKED_MODULES

# brainscore-vision installs packages while it loads plugins unless told not to.
os.environ.setdefault("BS_INSTALL_DEPENDENCIES", "no")
os.environ.setdefault("RESULTCACHING_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# A busy machine is no defect of the code: how long an example takes is not judged.
settings.register_profile("cogmodels", deadline=None)
settings.load_profile("cogmodels")

# Only while testing, and only in the numerical core: users get errors of the functions' own from every public entry,
# and pay nothing for annotations. Here, because the hook works on modules that are not imported yet.
install_import_hook(CHECKED_MODULES, "tests.array_checks.check_arrays")


def data_root() -> Path | None:
    """Return the folder of real data named by COGMODELS_DATA, or None."""
    value = os.environ.get("COGMODELS_DATA")
    return Path(value) if value and Path(value).is_dir() else None


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Give the folder of real data; skip where it is absent."""
    root = data_root()
    if root is None:
        pytest.skip("COGMODELS_DATA does not name a folder of real data")
    return root


@pytest.fixture(autouse=True)
def _torch_one_thread() -> None:
    """Keep sums in one order, so that equal seeds give equal bits."""
    import torch

    torch.set_num_threads(1)
