"""Search data sets: names and types, who refuses them, and files that are damaged, made by the tests themselves."""

from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest

from analyses.datasets import (
    Dataset,
    SearchDataset,
    dataset_info,
    list_datasets,
    load_dataset,
    load_response_dataset,
    register_dataset,
    registry,
)
from analyses.datasets.dataset import DatasetInfo
from analyses.datasets.registry import ResponseName, SearchName
from analyses.experiments.config import EncodingConfig, FeatureSpace
from analyses.experiments.encoding import run_encoding
from cogmodels.search import Scanpaths
from stimuli.search_displays import SearchDisplays, scene_displays

SEARCH = ["amazon-covers", "coco-search18", "interiors", "search-asymmetry"]


def _info(**changes: Any) -> DatasetInfo:
    values = dict.fromkeys(("title", "home", "licence", "citation", "units"), "")
    values |= {"name": "test", "files": (), "subjects": ("all",), "shapes": {}, "holds": "search"}
    return DatasetInfo(**(values | changes))


def _displays() -> SearchDisplays:
    return scene_displays(None, [(10, 20, 30, 40)], display_ids=["a"], size_px=(200, 100))


def test_names_that_are_written_out_have_their_types() -> None:
    """What type checkers are told about names agrees with what is registered."""
    infos = list_datasets()
    assert sorted(get_args(SearchName)) == [info.name for info in infos if info.holds == "search"] == SEARCH
    assert sorted(get_args(ResponseName)) == [info.name for info in infos if info.holds == "responses"]


@pytest.mark.parametrize("name", SEARCH)
def test_files_have_addresses_at_one_commit(name: str) -> None:
    info = dataset_info(name)
    commits = {file.url.split("/")[5] for file in info.files if file.url}
    assert len(commits) == 1
    (commit,) = commits
    assert len(commit) == 40
    assert commit in info.home
    assert len({file.path for file in info.files}) == len(info.files)
    unaddressed = [file.path for file in info.files if not file.url]
    if name == "interiors":
        assert len(unaddressed) == 268
        assert all(path.startswith("interiors_images/") for path in unaddressed)
    else:
        assert unaddressed == (["human_rt.csv"] if name == "search-asymmetry" else [])
    # What can be fetched is fetched before the rest is asked for.
    assert [bool(file.url) for file in info.files] == sorted(
        (bool(file.url) for file in info.files), reverse=True
    )


def test_fits_refuse_searches_before_reading_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COGMODELS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = EncodingConfig(dataset="interiors", spaces=(FeatureSpace(backbone="pixels"),))
    with pytest.raises(
        ValueError, match=r"interiors holds displays and scanpaths .* data sets with responses are"
    ):
        run_encoding(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    assert isinstance(load_response_dataset("simulated", n_stimuli=10), Dataset)
    with pytest.raises(KeyError, match="did you mean 'interiors'"):
        load_response_dataset("interior")


def test_a_loader_must_give_what_its_info_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))

    @register_dataset(_info(name="wrongly-registered", holds="responses"))
    def load(subject: str) -> SearchDataset:
        return SearchDataset(_info(), _displays())

    with pytest.raises(ValueError, match=r'gave a SearchDataset .* register it with holds="search"'):
        load_response_dataset("wrongly-registered")
    with pytest.raises(ValueError, match="holds is 'eyes'; allowed are responses, search"):
        _info(holds="eyes")


def test_observers_are_not_subjects() -> None:
    with pytest.raises(
        ValueError, match=r"subject is '01'; interiors has all\. Observers are loaded together"
    ):
        load_dataset("interiors", "01")


def test_missing_files_say_where_they_belong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGMODELS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in SEARCH:
        with pytest.raises(FileNotFoundError, match=f"{name} needs the file .* download=False was given"):
            load_dataset(name, download=False)


def test_parts_of_a_search_dataset_belong_together() -> None:
    paths = Scanpaths.from_lists([[(10, 20), (30, 40)]], "ann", "a")
    data = SearchDataset(_info(), _displays(), paths, references={"models": 1, "trials": 2})
    assert repr(data) == f"SearchDataset('test'; 1 display; {paths!r}; references models, trials)"
    with pytest.raises(KeyError, match="unknown display 'b'"):
        SearchDataset(_info(), _displays(), Scanpaths.from_lists([[(10, 20)]], "ann", "b"))
    with pytest.raises(ValueError, match=r"lack the columns \['paradigm'\]"):
        SearchDataset(
            _info(), _displays(), None, pd.DataFrame({"condition": ["c"], "set_size": [1], "rt_ms": [500.0]})
        )
