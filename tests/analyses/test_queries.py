"""Masks of the voxels that each query reads out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyses.experiments.queries import REST, by_hemisphere, label_masks, resolve_queries, roi_masks
from tests.analyses.small_data import trials


def test_a_query_a_region_and_one_for_the_rest() -> None:
    rois = {
        "all": np.ones(5, bool),
        "V1": np.array([1, 1, 0, 0, 0], bool),
        "face": np.array([0, 1, 1, 0, 0], bool),
        "empty": np.zeros(5, bool),
    }
    masks, names = roi_masks(rois)
    assert names == ["V1", "face", REST]
    np.testing.assert_array_equal(masks[-1], [False, False, False, True, True])
    np.testing.assert_array_equal(masks[1], rois["face"])


def test_a_region_of_everything_is_a_query_only_where_there_is_no_other() -> None:
    masks, names = roi_masks({"all": np.ones(3, bool)})
    assert names == ["all"]
    assert masks.shape == (1, 3)
    assert masks.all()


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=5))
def test_every_voxel_has_a_query(rows: list[list[bool]]) -> None:
    masks, names = roi_masks({str(i): np.array(row) for i, row in enumerate(rows)})
    assert masks.any(axis=0).all()
    assert masks.any(axis=1).all()
    assert len(set(names)) == len(names) == len(masks)


def test_regions_are_divided_by_hemisphere() -> None:
    masks, names = by_hemisphere(
        np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], bool),
        ["V1", "V2", REST],
        np.array(["left", "right", "left", "right"]),
    )
    assert names == ["left V1", "left V2", "right V1", "right rest"]
    np.testing.assert_array_equal(masks.sum(axis=0), 1)
    np.testing.assert_array_equal(masks[2], [False, True, False, False])


def test_labels_partition_the_voxels() -> None:
    masks, names = label_masks(np.array([7, 3, 7, 10]))
    assert names == ["10", "3", "7"]
    np.testing.assert_array_equal(masks.sum(axis=0), 1)
    np.testing.assert_array_equal(masks[2], [True, False, True, False])


def test_queries_of_a_dataset_leave_out_voxels_that_are_not_fitted() -> None:
    data = trials(n_voxels=12)
    kept = np.ones(12, bool)
    kept[0] = False
    masks, names = resolve_queries(data, kept, "auto")
    assert names == ["planted", "noise"]
    assert isinstance(masks, np.ndarray)
    np.testing.assert_array_equal(masks.sum(axis=1), [5, 6])
    voxels, voxel_names = resolve_queries(data, kept, "voxel")
    assert voxels == "voxel"
    assert voxel_names is not None
    assert len(voxel_names) == 11
    assert resolve_queries(data, kept, "all") == ("all", None)


def test_parcels_and_hemispheres_come_from_coordinates_of_the_responses() -> None:
    data = trials(n_voxels=12)
    assert data.responses is not None
    with pytest.raises(ValueError, match=r"no coordinate 'parcel'.*give each neuroid its parcel"):
        resolve_queries(data, np.ones(12, bool), "parcel")
    data.responses = data.responses.assign_coords(
        parcel=("neuroid", np.arange(12) % 3), hemisphere=("neuroid", np.repeat(["left", "right"], 6))
    )
    _, parcels = resolve_queries(data, np.ones(12, bool), "parcel")
    assert parcels == ["0", "1", "2"]
    _, sides = resolve_queries(data, np.ones(12, bool), "hemisphere")
    assert sides == ["left", "right"]
    _, regions = resolve_queries(data, np.ones(12, bool), "roi")
    assert regions == ["left planted", "right noise"]
