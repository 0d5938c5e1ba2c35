"""That the tests check array shapes in the numerical core, and that nothing else does."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from inspect import isfunction

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from encoders.scores import _correlation
from encoders.solvers.forms import FoldTargets
from encoders.solvers.ridge import RidgeSolution, choose_penalty
from tests.array_checks import CHECKED_MODULES


def _one_mask_for_four_voxels() -> None:
    # Broadcasts, so that all four are taken for constant.
    choose_penalty(torch.zeros(4, 3), torch.ones(3, dtype=torch.float64), torch.ones(1, dtype=torch.bool))


def _one_voxel_against_many() -> None:
    # Broadcasts to a correlation for each of the five.
    _correlation(np.random.default_rng(0).normal(size=(6, 5)), np.arange(6.0)[:, None])


def _targets_of_fewer_voxels() -> None:
    FoldTargets(torch.zeros(5, 2), torch.zeros(5, 2), torch.zeros(5), torch.zeros(1))


def _transposed_coefficients() -> None:
    RidgeSolution(np.ones(3), np.ones((3, 2)), np.ones(3), None, "primal", 3)


@pytest.mark.parametrize(
    "call",
    [_one_mask_for_four_voxels, _one_voxel_against_many, _targets_of_fewer_voxels, _transposed_coefficients],
)
def test_arrays_of_the_wrong_shape_are_caught(call: Callable[[], None]) -> None:
    with pytest.raises(TypeCheckError, match="n_voxels"):
        call()


@pytest.mark.parametrize("name", CHECKED_MODULES)
def test_every_function_of_the_core_is_checked(name: str) -> None:
    functions = [f for f in vars(importlib.import_module(name)).values() if isfunction(f)]
    own = [f for f in functions if f.__module__ == name and f.__name__ != "<lambda>"]
    assert own
    assert all(hasattr(f, "__wrapped__") for f in own)


def test_outside_tests_nothing_is_checked() -> None:
    program = """
import sys
import torch
from encoders.solvers.ridge import choose_penalty
scores, alphas = torch.eye(3)[[0, 0, 0, 0]], torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
print(choose_penalty(scores, alphas, torch.ones(1, dtype=torch.bool)).tolist(), "beartype" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[2, 2, 2, 2] False"
