"""What tests of encoders share."""

from collections.abc import Iterator

import pytest
import torch

from encoders.cluster import Cluster, open_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Give two workers on this machine; to start them takes longer than most tests."""
    torch.set_num_threads(1)
    with open_cluster("local", n_workers=2) as opened:
        yield opened
