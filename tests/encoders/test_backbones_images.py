"""ImagePreprocess does what torchvision, timm and transformers do to PIL images."""

from collections.abc import Callable

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

from encoders.backbones import ImagePreprocess, load_backbone
from encoders.backbones.transformers_hub import _image_preprocess
from encoders.backbones.vision import _from_timm, _from_torchvision
from stimuli import StimulusSet

# The same operations in float32: nothing but the rounding of one subtraction and one division may differ.
ATOL = 2e-6


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    """Real pictures, wide and tall, with odd and even sides."""
    cat, coffee = skimage.data.chelsea(), skimage.data.coffee()
    china, flower = load_sample_images().images
    return [cat, coffee, china[:, :301].copy(), np.rot90(flower)[:333].copy(), cat[:150, :97].copy()]


@pytest.mark.parametrize(
    "weights",
    [
        "SqueezeNet1_0_Weights.IMAGENET1K_V1",
        "ResNet50_Weights.IMAGENET1K_V2",
        "EfficientNet_B1_Weights.IMAGENET1K_V2",
        "ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1",
        "Inception_V3_Weights.IMAGENET1K_V1",
    ],
)
def test_equal_to_torchvision(weights: str, photographs: list[np.ndarray]) -> None:
    from torchvision.models import get_weight

    entry = get_weight(weights)
    ours, theirs = _from_torchvision(entry), entry.transforms()
    for picture in photographs:
        torch.testing.assert_close(
            ours.transform(picture), theirs(Image.fromarray(picture)), rtol=0, atol=ATOL
        )


@pytest.mark.parametrize(
    "name",
    [
        "resnet50.a1_in1k",
        "tf_efficientnet_lite0.in1k",
        "vit_base_patch16_clip_224.openai",
        "xcit_nano_12_p8_224",
    ],
)
def test_equal_to_timm(name: str, photographs: list[np.ndarray]) -> None:
    from timm.data import create_transform, resolve_data_config
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name)
    ours, theirs = (
        _from_timm(name, config),
        create_transform(**resolve_data_config(pretrained_cfg=config.to_dict())),
    )
    for picture in photographs:
        torch.testing.assert_close(
            ours.transform(picture), theirs(Image.fromarray(picture)), rtol=0, atol=ATOL
        )


def test_timm_squash_is_followed_and_border_is_announced(photographs: list[np.ndarray]) -> None:
    from timm.data import create_transform, resolve_data_config
    from timm.models import get_pretrained_cfg, list_models

    modes = {get_pretrained_cfg(name).crop_mode: name for name in list_models(pretrained=True)}
    config = get_pretrained_cfg(modes["squash"])
    theirs = create_transform(**resolve_data_config(pretrained_cfg=config.to_dict()))
    torch.testing.assert_close(
        _from_timm(modes["squash"], config).transform(photographs[0]),
        theirs(Image.fromarray(photographs[0])),
        rtol=0,
        atol=ATOL,
    )
    with pytest.warns(UserWarning, match="crop mode 'border'"):
        _from_timm(modes["border"], get_pretrained_cfg(modes["border"]))


def _clip() -> object:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return CLIPImageProcessorPil()


def _vit() -> object:
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    return ViTImageProcessorPil()


def _convnext_small() -> object:
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

    return ConvNextImageProcessorPil(size={"shortest_edge": 224})


def _convnext_large() -> object:
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

    return ConvNextImageProcessorPil(size={"shortest_edge": 384})


def _dino_without_normalising() -> object:
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    return BitImageProcessorPil(
        size={"shortest_edge": 256}, crop_size={"height": 225, "width": 225}, do_normalize=False
    )


@pytest.mark.parametrize("make", [_clip, _vit, _convnext_small, _convnext_large, _dino_without_normalising])
def test_equal_to_transformers(
    make: Callable[[], object], photographs: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> None:
    processor, folder = make(), tmp_path_factory.mktemp("processor")
    processor.save_pretrained(folder)  # type: ignore[attr-defined]
    ours = _image_preprocess(folder)
    for picture in photographs[:4]:
        theirs = processor(Image.fromarray(picture), return_tensors="pt")["pixel_values"][0]  # type: ignore[operator]
        torch.testing.assert_close(ours.transform(picture), theirs.float(), rtol=0, atol=ATOL)


def test_a_processor_that_pads_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    from transformers import DetrImageProcessor

    folder = tmp_path_factory.mktemp("detr")
    DetrImageProcessor().save_pretrained(folder)
    with pytest.raises(ValueError, match="preprocess of your own"):
        _image_preprocess(folder)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 60),
    columns=st.integers(1, 60),
    crop=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    is_float=st.booleans(),
)
def test_a_crop_alone_moves_pixels_and_changes_none(
    rows: int, columns: int, crop: tuple[int, int], is_float: bool
) -> None:
    from torchvision.transforms.functional import center_crop

    image = np.random.default_rng(rows * 61 + columns).integers(1, 256, (rows, columns, 3), dtype=np.uint8)
    given_image = (image / 255).astype(np.float32) if is_float else image
    ours = ImagePreprocess(crop=crop, mean=(0, 0, 0), std=(1, 1, 1)).transform(given_image)
    theirs = np.asarray(center_crop(Image.fromarray(image), list(crop)))
    np.testing.assert_allclose(ours.numpy(), np.moveaxis(theirs, 2, 0) / 255, rtol=0, atol=1e-6)


def test_padding_takes_the_background() -> None:
    white = ImagePreprocess(crop=4, mean=(0, 0, 0), std=(1, 1, 1), background=(1.0, 0.5, 0.0))
    padded = white.transform(np.zeros((2, 2, 3), np.uint8))
    assert padded[:, 0, 0].tolist() == pytest.approx([1.0, 128 / 255, 0.0])
    assert (padded[:, 1:3, 1:3] == 0).all()


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
def test_float_images_agree_with_8_bit_ones_up_to_rounding(
    interpolation: str, photographs: list[np.ndarray]
) -> None:
    preprocess = ImagePreprocess(resize=64, interpolation=interpolation, mean=(0, 0, 0), std=(1, 1, 1))  # type: ignore[arg-type]
    picture = photographs[0]
    as_float = preprocess.transform((picture / 255).astype(np.float32))
    # 8 bits are rounded once along each axis.
    assert float((preprocess.transform(picture) - as_float).abs().max()) < 1.6 / 255
    assert float(as_float.min()) >= 0
    assert float(as_float.max()) <= 1


def test_native_size_leaves_images_alone_and_sizes_must_agree() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((8, 9, 3), (8, 9, 3), (9, 8, 3))]
    stimuli = StimulusSet(["a", "b", "c"], images=images)
    native = ImagePreprocess(mean=(0, 0, 0), std=(1, 1, 1))
    batch = native(stimuli, np.array([1, 0]))
    np.testing.assert_allclose(batch["x"][0].permute(1, 2, 0).numpy(), images[1] / 255, rtol=0, atol=1e-7)
    with pytest.raises(ValueError, match=r"'a' \(8, 9\) and 'c' \(9, 8\).*resize="):
        native(stimuli, [0, 1, 2])
    assert ImagePreprocess(resize=(4, 6))(stimuli, [0, 1, 2])["x"].shape == (3, 3, 4, 6)
    with pytest.raises(ValueError, match="set has none"):
        native(StimulusSet(["t"], texts=["words"]), [0])


@pytest.mark.parametrize(
    ("settings_", "named"),
    [
        ({"resize": 0}, "resize"),
        ({"resize": (3, 4, 5)}, "resize"),
        ({"crop": 2.5}, "crop"),
        ({"std": (1, 0, 1)}, "std"),
        ({"mean": (float("nan"), 0, 0)}, "mean"),
        ({"interpolation": "cubic"}, "interpolation"),
        ({"crop_rounding": "up"}, "crop_rounding"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings_: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ImagePreprocess(**settings_)


def test_what_is_described_is_what_changes_the_batch() -> None:
    import json

    one, other = ImagePreprocess(input_name="images"), ImagePreprocess(input_name="x")
    assert one.describe() == other.describe() == json.loads(json.dumps(one.describe()))
    assert ImagePreprocess(crop=3).describe() != ImagePreprocess(crop=4).describe()
    assert load_backbone("efficientnet_lite0", weights="random").preprocess.describe()["crop"] == 224
