"""What a record of a run says, and what it keeps to itself."""

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from analyses.datasets import load_dataset
from analyses.provenance import collect_provenance, write_provenance
from encoders.backbones import load_backbone
from stimuli.files import hash_array
from stimuli.stimulus_set import StimulusSet


@pytest.fixture
def stimuli():
    images = np.random.default_rng(0).integers(0, 255, (3, 8, 8, 3), dtype=np.uint8)
    return StimulusSet(["a", "b", "c"], images=images)


def test_the_record_names_everything_that_made_the_result(stimuli, tmp_path):
    dataset, backbone = load_dataset("haxby-slice"), load_backbone("pixels")
    record = collect_provenance(
        {"alphas": (1.0, np.float32(2.5)), "layers": None},
        dataset=dataset,
        stimuli=stimuli,
        backbones=[backbone],
        seeds={"seed": 7},
        wall_s=12.3456,
        cpu_s=11.0,
    )
    path = write_provenance(tmp_path / "run", record)
    assert path == tmp_path / "run" / "provenance.json"
    read = json.loads(path.read_text())
    assert read == record
    assert read["config"] == {"alphas": [1.0, 2.5], "layers": None}
    assert read["seeds"] == {"seed": 7}
    assert read["dataset"]["name"] == "haxby-slice"
    assert read["dataset"]["sha256"]["responses"] == hash_array(dataset.responses.values)
    assert read["stimuli"]["content_hash"] == stimuli.content_hash
    assert read["backbones"][0]["fingerprint"] == backbone.fingerprint
    assert read["versions"]["numpy"] == np.__version__
    assert {"torch", "xarray", "scipy", "python"} <= set(read["versions"])
    assert "pytest" not in read["versions"]  # not a dependency of the package
    assert read["wall_s"] == 12.346
    elapsed = datetime.fromisoformat(read["finished"]) - datetime.fromisoformat(read["started"])
    assert elapsed.total_seconds() == pytest.approx(12, abs=1)
    assert read["finished"].endswith("+00:00")


def test_the_commit_is_that_of_the_checkout():
    root = Path(__file__).resolve().parents[2]
    code = collect_provenance({})["code"]
    assert code["version"]
    if not (root / ".git").exists():  # an unpacked archive
        assert code["commit"] is None
        return
    command = ["git", "-C", root, "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert code["commit"] == commit
    assert isinstance(code["changed_since_commit"], bool)


def test_no_absolute_path_gets_into_the_record(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    secret = "/home/somebody/study"
    monkeypatch.setattr(
        sys, "argv", [f"{secret}/bin/cogmodels", "fit", "--data", f"{secret}/sub 1", f"--out={secret}/run"]
    )
    record = collect_provenance(
        {
            "data": f"{secret}/sub-01",
            "below": str(tmp_path / "runs" / "one"),
            "path": Path(secret) / "weights.pt",
            "backbone": f"hf/{secret}/model",
            "sentence": f"read from {secret}/a.npy, then 1 / 2 of it and/or none",
            "windows": r"C:\Users\somebody\w.pt",
            "url": "https://example.org/data/set.zip",
            "nested": [{f"{secret}/key": {1.0, float("nan")}}],
        }
    )
    text = json.dumps(record)
    assert "somebody" not in text
    assert str(tmp_path) not in text
    config = record["config"]
    assert config["data"] == "sub-01"
    assert config["below"] == "runs/one"
    assert config["path"] == "weights.pt"
    assert config["backbone"] == "hf/model"
    assert config["sentence"] == "read from a.npy, then 1 / 2 of it and/or none"
    assert config["windows"] == "w.pt"
    assert config["url"] == "https://example.org/data/set.zip"
    assert sorted(map(str, config["nested"][0]["key"])) == ["1.0", "nan"]
    assert record["command_line"].startswith("cogmodels fit --data")


def test_an_interrupted_write_leaves_the_old_record(tmp_path):
    write_provenance(tmp_path, {"a": 1})
    with pytest.raises(TypeError, match="no form in JSON"):
        write_provenance(tmp_path, {"a": object()})
    assert json.loads((tmp_path / "provenance.json").read_text()) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["provenance.json"]
