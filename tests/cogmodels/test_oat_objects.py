"""What displays give to the network, and how crops become vectors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cogmodels.search.oat.objects import CropEmbedding, FeatureEmbedding, choose_kind, read_display
from stimuli.search_displays import SearchDisplays, make_paradigm, shelf
from tests.cogmodels.oat_cases import image_shelves, vector_shelves


def crops_of(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.integers(0, 255, (3, *shape), dtype=np.uint8)) for shape in shapes]


# The numbers of features before the linear map are those of the published network (Fang et al. 2024, their code).
@pytest.mark.parametrize(("levels", "n_inputs"), [(None, 1440), (2, 160), (3, 672), (4, 2720)])
def test_the_linear_map_reads_as_many_features_as_published(levels, n_inputs):
    assert CropEmbedding(256, (93, 150), levels).linear.in_features == n_inputs


def test_crops_of_equal_size_give_the_convolutions_written_out():
    embedding = CropEmbedding(7, (40, 60))
    (crop,) = crops_of((60, 40))
    pixels = (crop.double() - crop.min()) / (crop.max() - crop.min())
    layer = {name: value.double().detach() for name, value in embedding.state_dict().items()}
    maps = pixels[None]
    for number, pool in ((0, 5), (3, 3)):
        weight, bias = layer[f"convolutions.{number}.weight"], layer[f"convolutions.{number}.bias"]
        windows = maps.unfold(2, weight.shape[2], 1).unfold(3, weight.shape[3], 1)
        maps = (torch.einsum("bcyxij,ocij->boyx", windows, weight) + bias[:, None, None]).clamp(min=0)
        maps = maps.unfold(2, pool, pool).unfold(3, pool, pool).amax((-1, -2))
    wanted = maps.flatten() @ layer["linear.weight"].T + layer["linear.bias"]
    torch.testing.assert_close(embedding([crop])[0].double(), wanted, atol=1e-5, rtol=1e-4)


def test_a_pyramid_takes_crops_of_any_size_in_any_order():
    embedding = CropEmbedding(9, None, 3)
    crops = crops_of((60, 40), (29, 90), (60, 40), (150, 93))
    together = embedding(crops)
    assert together.shape == (4, 9)
    for crop, vector in zip(crops, together, strict=True):
        torch.testing.assert_close(embedding([crop])[0], vector, atol=1e-5, rtol=1e-4)


def test_brightness_and_contrast_of_a_whole_crop_do_not_matter():
    embedding = CropEmbedding(9, (40, 60))
    (crop,) = crops_of((60, 40))
    dark = (crop // 4).to(torch.uint8)
    torch.testing.assert_close(embedding([dark * 2 + 30]), embedding([dark]), atol=1e-5, rtol=1e-4)
    assert torch.isfinite(embedding([torch.full((3, 60, 40), 9, dtype=torch.uint8)])).all()


def test_the_first_token_looks_like_a_crop_or_vector_of_ones():
    embedding = CropEmbedding(9, (40, 60))
    white = torch.zeros(1, 3, 60, 40) + 1
    torch.testing.assert_close(
        embedding.start(), embedding.linear(embedding.convolutions(white).flatten(1))[0]
    )
    linear = FeatureEmbedding(5, 9)
    torch.testing.assert_close(linear.start(), linear([torch.ones(5)])[0])


def test_sizes_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match="at least 29"):
        CropEmbedding(9, (20, 60))
    with pytest.raises(ValueError, match="need pyramid_levels"):
        CropEmbedding(9, None)
    with pytest.raises(ValueError, match="pyramid_levels is 0"):
        CropEmbedding(9, (40, 60), 0)
    with pytest.raises(ValueError, match=r"'i0' has a crop of \d+ px.*set crop_size_px"):
        read_display(replace_items(image_shelves(1)[0], width_px=12.0), "images", 0, None)


def replace_items(display, **columns):
    return replace(display, items=display.items.assign(**columns))


def test_crops_are_cut_where_the_items_are():
    (display,) = image_shelves(1)
    tokens = read_display(display, "images", 0, None)
    pixels = display.read_image()
    for box, crop in zip(display.boxes_px, tokens.appearance, strict=False):
        x, y, width, height = np.round(box).astype(int)
        np.testing.assert_array_equal(crop.permute(1, 2, 0), pixels[y : y + height, x : x + width])
    np.testing.assert_array_equal(tokens.appearance[-1].permute(1, 2, 0), display.read_target_image())


def test_without_a_target_image_the_crop_of_the_target_is_sought():
    display = replace(image_shelves(1)[0], target_image=None)
    tokens = read_display(display, "images", 0, (40, 60))
    torch.testing.assert_close(tokens.appearance[-1], tokens.appearance[display.target_item])
    with pytest.raises(ValueError, match="give target_image"):
        read_display(replace(display, target_item=None), "images", 0, (40, 60))


def test_vectors_places_and_target_are_those_of_the_display():
    (display,) = vector_shelves(1, (3, 4))
    tokens = read_display(display, "features", 5, None)
    np.testing.assert_allclose(torch.stack(tokens.appearance[:-1]), display.features, rtol=1e-6)
    np.testing.assert_allclose(tokens.appearance[-1], display.features[display.target_item], rtol=1e-6)
    assert tokens.places.tolist() == [[i // 4, i % 4, i] for i in range(12)]
    absent = read_display(replace(display, target_item=None), "features", 5, None)
    assert absent.target == -1


# (rows // 2, columns // 2) is where the published model starts
@pytest.mark.parametrize("grid_shape", [(2, 11), (3, 9), (6, 14), (1, 1)])
def test_from_the_centre_the_search_starts_as_published(grid_shape):
    (display,) = vector_shelves(1, grid_shape)
    assert read_display(display, "features", 5, None).start[:2].tolist() == [side // 2 for side in grid_shape]


def test_the_start_is_the_cell_nearest_to_the_gaze():
    display = replace(vector_shelves(1, (2, 4))[0], start_px=(399.0, 3.0))
    assert read_display(display, "features", 5, None).start.tolist() == [0, 3, 3]


def test_what_objects_look_like_is_chosen_by_what_all_displays_have():
    vectors, images = vector_shelves(2), image_shelves(2)
    assert choose_kind(vectors, "auto") == ("features", 5)
    assert choose_kind(images, "auto") == choose_kind(images, "images") == ("images", 0)
    with pytest.raises(ValueError, match="'i0' has no features and 'd0' no image"):
        choose_kind(SearchDisplays([*vectors, *images]), "auto")
    with pytest.raises(ValueError, match="'i0' has no features: give"):
        choose_kind(images, "features")
    with pytest.raises(ValueError, match=r"\[5, 7\] features"):
        choose_kind([*vectors, *vector_shelves(1, n_features=7)], "auto")


def test_displays_that_cannot_be_read_are_refused():
    scattered = replace(vector_shelves(1)[0], grid_shape=None, grid_area_px=None)
    with pytest.raises(ValueError, match=r"grid_shape None.*shelf, object_array"):
        read_display(scattered, "features", 5, None)
    with pytest.raises(ValueError, match="'d0' has no image"):
        read_display(vector_shelves(1)[0], "images", 0, (40, 60))
    with pytest.raises(ValueError, match="'i0' has no features; the model was made for 5"):
        read_display(image_shelves(1)[0], "features", 5, None)
    untold = shelf(grid_shape=(1, 2), target_item=None, features=np.eye(2), size_px=(80, 60))
    with pytest.raises(ValueError, match="give target_features"):
        read_display(untold, "features", 2, None)


def test_items_of_a_paradigm_are_objects_too():
    (display,) = make_paradigm("t_and_l", 1, conditions=["T_in_Ls"], set_sizes=[6])
    tokens = read_display(display, "images", 0, (40, 40))
    assert tokens.n_objects == 6
    assert len(tokens.appearance) == 7
