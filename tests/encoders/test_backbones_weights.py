"""Weights fit or are refused, and nothing that is read is run."""

import functools
import hashlib
import http.server
import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from encoders.backbones import ImagePreprocess, fetch_weights, load_backbone
from encoders.backbones.fetch import FetchPlan, download_file, plan_fetch
from encoders.backbones.weights import check_hash_in_name, copy_weights, read_weights


class Toy(nn.Module):
    """Two layers, one of them with counters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(images))


class _Trap:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.path),))


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
        for name, tensor in Toy().state_dict().items()
    }


def unchanged(module: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_safetensors_and_torch_files_give_what_was_saved(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "a.safetensors")
    torch.save(state(), tmp_path / "a.pth")
    torch.save({"state_dict": state(), "epoch": 3}, tmp_path / "b.pth")
    torch.save({"model": state()}, tmp_path / "c.pt")
    for name in ("a.safetensors", "a.pth", "b.pth", "c.pt"):
        module = Toy()
        backbone = load_backbone(module, weights=tmp_path / name, preprocess=ImagePreprocess())
        assert all(torch.equal(tensor, state()[key]) for key, tensor in module.state_dict().items())
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() in backbone.source


def test_float16_weights_become_float32_and_counters_may_be_missing(tmp_path: Path) -> None:
    half = {name: each.half() for name, each in state().items() if not name.endswith("num_batches_tracked")}
    save_file(half, tmp_path / "half.safetensors")
    module = Toy()
    copy_weights(module, read_weights(tmp_path / "half.safetensors"))
    assert module.conv.weight.dtype == torch.float32
    assert torch.equal(module.conv.weight, half["conv.weight"].float())


def test_a_network_that_keeps_versions_of_its_layout_takes_plain_tensors(tmp_path: Path) -> None:
    trained = load_backbone("torchvision/mnasnet0_5", weights="random", seed=1).module
    save_file(trained.state_dict(), tmp_path / "m.safetensors")
    loaded = load_backbone("torchvision/mnasnet0_5", weights=tmp_path / "m.safetensors").module
    assert unchanged(loaded, dict(trained.state_dict()))


def test_old_names_of_densenet_are_understood(tmp_path: Path) -> None:
    trained = load_backbone("torchvision/densenet121", weights="random", seed=1).module.state_dict()
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.") if "denselayer" in key else key: tensor
        for key, tensor in trained.items()
    }
    assert old.keys() != trained.keys()
    torch.save(old, tmp_path / "d.pth")
    loaded = load_backbone("torchvision/densenet121", weights=tmp_path / "d.pth").module
    assert unchanged(loaded, dict(trained))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("conv.bias"), "1 missing: conv.bias"),
        (lambda s: s.update(extra=torch.zeros(2)), "1 unexpected: extra"),
        (
            lambda s: s.update({"conv.weight": torch.zeros(4, 3, 5, 5)}),
            r"conv.weight \(4, 3, 5, 5\) instead",
        ),
        (lambda s: s["norm.weight"].fill_(float("nan")), "NaN or infinite values: norm.weight"),
        (lambda s: s["conv.bias"].fill_(float("inf")), "NaN or infinite values: conv.bias"),
    ],
)
def test_weights_that_do_not_fit_are_named_and_leave_the_module_alone(change, message: str) -> None:  # type: ignore[no-untyped-def]
    module, wrong = Toy(), state()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    change(wrong)
    with pytest.raises(ValueError, match=message):
        copy_weights(module, wrong, "wrong.pth")
    assert unchanged(module, before)


def test_many_faults_are_all_counted_and_a_few_named() -> None:
    with pytest.raises(ValueError, match=r"6 missing: conv.weight, .*, \.\.\..*2 unexpected: a, b"):
        copy_weights(Toy(), {"a": torch.zeros(1), "b": torch.zeros(1)})


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".pt"])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, suffix: str, legacy: bool) -> None:
    trap = tmp_path / "the-code-ran"
    file = tmp_path / f"evil{suffix}"
    torch.save({"conv.weight": _Trap(trap)}, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match=r"would run code \(posix.mkdir\).*safetensors"):
        load_backbone(Toy(), weights=file, preprocess=ImagePreprocess())
    assert not trap.exists()


def test_a_bare_pickle_with_code_is_not_run_under_any_name(tmp_path: Path) -> None:
    trap = tmp_path / "the-code-ran"
    for name in ("evil.pkl", "evil.safetensors", "evil"):
        (tmp_path / name).write_bytes(pickle.dumps(_Trap(trap)))
        with pytest.raises(ValueError, match=name):
            read_weights(tmp_path / name)
        assert not trap.exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, name: str, share: float) -> None:
    file = tmp_path / name
    save_file(state(), file) if name.endswith("safetensors") else torch.save(state(), file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"corrupt|no file of weights"):
        read_weights(file)


@pytest.mark.parametrize("name", ["notes.txt", "weights.pth"])
def test_what_is_no_file_of_weights_is_not_called_corrupt(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("in the beginning were the weights")
    with pytest.raises(
        ValueError, match=rf"{name} is neither a safetensors nor a torch.save file; give .*NAME.safet"
    ):
        read_weights(tmp_path / name)


def test_files_that_are_no_state_dict_or_no_file_are_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds a list"):
        read_weights(tmp_path / "list.pth")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_weights(tmp_path / "absent.pth")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read_weights(tmp_path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give torch's hub and the Hugging Face hub empty caches of their own."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_weights_that_are_not_there_list_the_ways_on(hub: Path) -> None:
    for spec in ("torchvision/resnet18", "timm/resnet18.a1_in1k", "hf/nobody/nothing"):
        with pytest.raises(FileNotFoundError, match="fetch_weights"):
            load_backbone(spec)


def test_a_file_in_the_hub_cache_must_have_the_hash_of_its_name(hub: Path) -> None:
    (hub / "resnet18-f37072fd.pth").write_bytes(b"something else")
    with pytest.raises(ValueError, match="sha256 does not begin with f37072fd"):
        load_backbone("torchvision/resnet18")


def test_a_file_in_the_hub_cache_is_loaded(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = load_backbone("torchvision/squeezenet1_1", weights="random", seed=3)
    torch.save(trained.module.state_dict(), hub / "new.pth")
    prefix = hashlib.sha256((hub / "new.pth").read_bytes()).hexdigest()[:8]
    cached = (hub / "new.pth").rename(hub / f"squeezenet1_1-{prefix}.pth")
    # The real file of that name is not at hand: the cache is asked for one with the right hash for its name.
    monkeypatch.setattr("encoders.backbones.vision.hub_file", lambda url: cached)
    loaded = load_backbone("torchvision/squeezenet1_1")
    assert loaded.fingerprint == trained.fingerprint
    assert cached.name in loaded.source


def test_names_without_a_hash_are_not_checked(tmp_path: Path) -> None:
    for name in ("plain.pth", "my-network.pth", "resnet-50.pth"):
        (tmp_path / name).write_bytes(b"x")
        check_hash_in_name(tmp_path / name)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """Serve a folder on the loopback device; give its address, the folder and what was asked for."""
    folder, asked = tmp_path / "served", list[str]()
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{served.server_port}", folder, asked
        finally:
            served.shutdown()
            thread.join()


def test_a_download_is_checked_before_it_gets_its_name(
    server: tuple[str, Path, list[str]], tmp_path: Path
) -> None:
    address, folder, asked = server
    prefix = hashlib.sha256(b"weights").hexdigest()[:8]
    good, bad = f"net-{prefix}.pth", "net-0123abcd.pth"
    (folder / good).write_bytes(b"weights")
    (folder / bad).write_bytes(b"weights")
    cache = tmp_path / "cache"
    plan = FetchPlan("x", url=f"{address}/{good}", target=cache / good)
    assert download_file(plan).read_bytes() == b"weights"
    n_asked = len(asked)
    assert n_asked > 0
    assert download_file(plan) == cache / good
    assert len(asked) == n_asked, "what is there is not downloaded again"
    with pytest.raises(ValueError, match="sha256 does not begin with 0123abcd"):
        download_file(FetchPlan("x", url=f"{address}/{bad}", target=cache / bad))
    with pytest.raises(ConnectionError, match="weights=PATH"):
        download_file(FetchPlan("x", url=f"{address}/absent-{prefix}.pth", target=cache / "absent.pth"))
    assert [file.name for file in cache.iterdir()] == [good]


def test_plans_name_files_and_never_pickles_of_a_repository(hub: Path) -> None:
    plan = plan_fetch("torchvision/resnet18")
    assert plan.url is not None
    assert plan.url.endswith("/resnet18-f37072fd.pth")
    assert plan.target == hub / "resnet18-f37072fd.pth"
    assert plan_fetch("timm/resnet50").repository == "timm/resnet50.a1_in1k"
    text = plan_fetch("hf/openai/clip-vit-base-patch32#text")
    assert text.repository == "openai/clip-vit-base-patch32"
    assert not any(pattern.endswith((".bin", ".pt", ".py", "*")) for pattern in text.patterns)


@pytest.mark.parametrize("spec", ["pixels", "gabor", "minilm", "efficientnet_lite0", "nonsense"])
def test_there_is_nothing_to_download_for_the_others(spec: str) -> None:
    with pytest.raises(ValueError, match="nothing to download"):
        fetch_weights(spec)


def test_folders_and_wrong_names_are_refused_before_the_network_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder"):
        plan_fetch(f"hf/{tmp_path}")
    with pytest.raises(KeyError, match="resnet50"):
        plan_fetch("torchvision/resnet5")
    with pytest.raises(ValueError, match="no id of a repository"):
        fetch_weights("hf/a/b/c")


def test_without_a_network_a_download_says_so() -> None:
    with pytest.raises(ConnectionError, match=r"timm/resnet18.a1_in1k could not be downloaded"):
        fetch_weights("timm/resnet18.a1_in1k")
