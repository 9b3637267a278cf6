"""Weights that a training starts from, from wherever they come."""

import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mvit2_search.arch import ArchConfig, published_networks
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.errors import SpecError
from mvit2_search.models import build_model
from mvit2_search.models.weights import foreign_names
from mvit2_search.train.full import train_fully
from mvit2_search.train.job import prepare_training
from mvit2_search.train.saved import trained_network
from mvit2_search.train.start import starting_weights
from others import of_timm, of_transformers
from reference import randomised
from trainings import ARCH, RECIPE, Quiet, trained

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:timm", "ignore::DeprecationWarning:transformers"
)

V1 = replace(published_networks()["mobilevitv1-xxs"], image_size=64)
V2 = published_networks()["mobilevitv2-0.5"]


def network(arch=ARCH, classes=2, seed=0):
    return randomised(build_model(arch, ClassifierHead(classes)), seed)


def assert_loads(path, model, classes=2):
    """The weights of `model`, but for a head of another number of classes."""
    found = starting_weights(path, model.arch, ClassifierHead(classes))
    expected = model.state_dict()
    if classes != model.classifier.linear.out_features:
        expected = {key: value for key, value in expected.items() if not key.startswith("classifier.")}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def as_ml_cvnets(model):
    """Its state dict; ml-cvnets has 1x1 convolutions where we have linear layers."""
    weights = {}
    for key, tensor in model.state_dict().items():
        (name,) = foreign_names(key, model.arch, "ml-cvnets")
        weights[name] = tensor[:, :, None, None] if ".block.conv." in name and tensor.ndim == 2 else tensor
    return weights


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("suffix", ["pt", "safetensors", "bin"])
def test_our_own_weights_are_read(tmp_path, suffix, classes):
    model = network()
    path = tmp_path / f"weights.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(model.state_dict(), path)
    assert_loads(path, model, classes)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("arch", [ARCH, V1], ids=["v2", "v1"])
def test_weights_of_ml_cvnets_are_read(tmp_path, arch, classes):
    model = network(arch)
    torch.save(as_ml_cvnets(model), tmp_path / "checkpoint.pt")
    assert_loads(tmp_path / "checkpoint.pt", model, classes)


@pytest.mark.parametrize("make", [of_timm, of_transformers])
@pytest.mark.parametrize("arch", [V2, V1], ids=["v2", "v1"])
def test_weights_of_other_libraries_are_read(tmp_path, make, arch):
    theirs = randomised(make(arch, 5))
    torch.save(theirs.state_dict(), tmp_path / "checkpoint.pth")
    found = starting_weights(tmp_path / "checkpoint.pth", arch, ClassifierHead(2))
    scheme = "timm" if make is of_timm else "transformers"
    key = "stages.2.1.encoder.layers.0.ffn.0.weight"
    (name,) = foreign_names(key, arch, scheme)
    assert torch.equal(found[key].flatten(), theirs.state_dict()[name].flatten())
    assert found.keys() == {
        key for key in build_model(arch, ClassifierHead(2)).state_dict() if not key.startswith("classifier.")
    }


@pytest.mark.parametrize("name", ["state_dict", "model", "model_state_dict", "state_dict_ema"])
def test_weights_in_a_checkpoint_of_another_program_are_found(tmp_path, name):
    model = network()
    torch.save({"epoch": 3, "arch": "mobilevitv2", name: model.state_dict()}, tmp_path / "checkpoint.pt")
    assert_loads(tmp_path / "checkpoint.pt", model)


def test_averaged_weights_come_before_others(tmp_path):
    model, other = network(), network(seed=1)
    torch.save(
        {"state_dict": other.state_dict(), "state_dict_ema": model.state_dict()}, tmp_path / "checkpoint.pt"
    )
    assert_loads(tmp_path / "checkpoint.pt", model)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a training."""
    folder = tmp_path_factory.mktemp("finished")
    trained(folder, recipe=replace(RECIPE, epochs=1, images_per_epoch=8))
    return folder


@pytest.mark.parametrize(
    "place", ["", "checkpoint-best", "checkpoint-last", "checkpoint-best/averaged.safetensors"]
)
def test_a_training_of_our_own_is_read(finished, place):
    model, _ = trained_network(finished / "checkpoint-best")
    for classes in (2, 5):
        assert_loads(finished / place, model, classes)


def test_a_training_without_a_tested_epoch_is_read(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "begun")
    shutil.rmtree(folder / "checkpoint-best")
    assert_loads(folder, trained_network(finished / "checkpoint-last")[0])


@pytest.mark.slow
@pytest.mark.parametrize("place", ["", "checkpoint-best/averaged.safetensors"])
def test_a_training_starts_from_them_whatever_they_are_called(finished, images, tmp_path, place):
    out, inits = tmp_path / "out", []
    for init in (finished / place, shutil.copytree(finished, tmp_path / "moved") / place):
        recipe = replace(RECIPE, epochs=1, learning_rate=1e-12, warmup_rate=1e-12, ema_momentum=1e-6)
        job = prepare_training(ARCH, recipe, data=str(images), out=out, init=init, train_on="cpu")
        inits.append(job.inputs.init)
        train_fully(job, listener=Quiet())
    assert inits[0] == inits[1]
    before = trained_network(finished / "checkpoint-best")[0].state_dict()
    after = trained_network(out / "checkpoint-last")[0].state_dict()
    for key, tensor in before.items():
        if key.endswith("weight"):
            torch.testing.assert_close(after[key], tensor, atol=1e-6, rtol=1e-5)


class Malicious:
    def __reduce__(self):
        return os.system, ("touch malicious",)


def write_text(path: Path) -> None:
    path.write_text("epoch,loss\n1,2.3\n" * 99)


def write_malicious(path: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": Malicious()}))


def write_malicious_archive(path: Path) -> None:
    torch.save({"state_dict": Malicious()}, path)


def write_truncated(path: Path) -> None:
    save = save_file if path.suffix == ".safetensors" else torch.save
    save(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-3000])


def write_nothing(path: Path) -> None:
    path.write_bytes(b"")


def write_numbers(path: Path) -> None:
    torch.save([1, 2], path)


def write_numbered(path: Path) -> None:
    torch.save({1: torch.zeros(1)}, path)


def write_another_network(path: Path) -> None:
    torch.save(network(ArchConfig.mobilevitv2(0.3)).state_dict(), path)


def write_the_first_version(path: Path) -> None:
    torch.save(network(V1).state_dict(), path)


def write_an_empty_head(path: Path) -> None:
    torch.save(network().state_dict() | {"classifier.linear.weight": torch.zeros(0, 128)}, path)


def write_no_tensor(path: Path) -> None:
    torch.save(network().state_dict() | {"stem.0.weight": 1}, path)


@pytest.mark.parametrize(
    ("write", "suffix", "reason"),
    [
        (write_text, "pt", "holds more than tensors, or is damaged: "),
        (write_text, "safetensors", "cannot be read: "),
        (write_malicious, "pt", "holds more than tensors, or is damaged: "),
        (write_malicious_archive, "pt", "holds more than tensors, or is damaged: "),
        (write_truncated, "pt", "cannot be read: "),
        (write_truncated, "safetensors", "cannot be read: "),
        (write_nothing, "pt", "cannot be read: "),
        (write_nothing, "safetensors", "cannot be read: "),
        (write_numbers, "pt", "expected a state dict"),
        (write_numbered, "pt", "expected a state dict"),
        (write_another_network, "pt", ": expected the shape "),
        (write_the_first_version, "pt", "weights that the network has no place for: "),
        (write_an_empty_head, "pt", "classifier"),
        (write_no_tensor, "pt", "stem.0.weight: expected a tensor of torch.float32, found int"),
        (lambda path: None, "pt", "no such file"),
        (lambda path: path.mkdir(), "pt", "expected a file of weights, or the folder of a training"),
    ],
)
def test_what_is_no_weights_of_the_network_is_one_line(tmp_path, monkeypatch, write, suffix, reason):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"weights.{suffix}"
    write(path)
    with pytest.raises(SpecError) as raised:
        starting_weights(path, ARCH, ClassifierHead(2))
    message = str(raised.value)
    assert message.startswith(f"`init` {path}: ")
    assert reason in message
    assert "\n" not in message
    assert not (tmp_path / "malicious").exists()


def test_damaged_weights_of_our_own_are_refused(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "damaged")
    file = folder / "checkpoint-best" / "averaged.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    with pytest.raises(SpecError, match=r"^`init` .*checkpoint-best: damaged: averaged.safetensors$"):
        starting_weights(folder, ARCH, ClassifierHead(2))
