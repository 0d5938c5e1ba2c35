"""Features on disk that are much larger than memory may grow: a whole fit in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from encoders.training.batches import BUFFER_BYTES

CHILD = """
import resource, sys
import numpy as np, torch, zarr
from encoders.training.settings import Training
from tests.encoders.linear_encoder import LinearTokenEncoder
torch.set_num_threads(1)
stored = zarr.open_array(sys.argv[1], mode="r")
n = int(sys.argv[2])
Y = np.random.default_rng(0).standard_normal((len(stored), 20)).astype(np.float32)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
# what a fit needs whatever the size, so that only what grows with the data is counted
LinearTokenEncoder(training=Training(n_epochs=1)).fit(np.zeros((64, 2, 8), np.float32) + np.arange(8), Y[:64])
before = peak()
encoder = LinearTokenEncoder(training=Training(n_epochs=2, batch_size=64)).fit(stored, Y[:n])
assert encoder.predict(stored).shape == (n, 20)
print(peak() - before)
"""


@pytest.mark.slow
def test_a_fit_of_ten_thousand_stored_images_grows_by_its_buffers_alone(tmp_path):
    n, n_tokens, n_channels = 10_000, 196, 384
    rng = np.random.default_rng(0)
    stored = zarr.open_array(
        str(tmp_path / "tokens"), mode="w", shape=(n, n_tokens, n_channels), chunks=(50, n_tokens, n_channels),
        dtype="<f4",
    )  # fmt: skip
    one_chunk = np.tile(rng.standard_normal((50, 1, n_channels)).astype(np.float32), (1, n_tokens, 1))
    for start in range(0, n, 50):
        stored[start : start + 50] = one_chunk
    size = 4 * n * n_tokens * n_channels
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "tokens"), str(n)],
        cwd=Path(__file__).parents[2], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout)
    print(f"{size / 2**20:.0f} MiB of features, grown by {grown / 2**20:.0f} MiB")
    assert grown < 4 * BUFFER_BYTES < size / 2.5
