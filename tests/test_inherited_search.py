"""Searches with `--proxy inherited`, from the command line."""

import os
import random
import signal
import time

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.cli import cli
from mvit2_search.models import build_model
from mvit2_search.models.slices import check_slice, extract, slice_fault
from mvit2_search.records import Finished
from mvit2_search.search import inheritance
from mvit2_search.search.request import Request
from mvit2_search.search.tools import Tools
from mvit2_search.store import open_study
from mvit2_search.system.signals import Interrupt
from mvit2_search.task.data.load import load_dataset
from mvit2_search.train.loop import settle_statistics
from mvit2_search.train.saved import saved_state
from mvit2_search.train.shared import read_shared
from reference import randomised

SPACE = """
name: tiny
settings:
  width: {range: [0.5, 0.6]}
  ffn_multiplier: {choices: [2.0, 3.0]}
"""


@pytest.fixture
def run(tmp_path, images):
    """A search on forty images; nothing is timed."""
    (tmp_path / "tiny.yaml").write_text(SPACE)

    def invoke(study, *more):
        asked = {
            "--space": str(tmp_path / "tiny.yaml"),
            "--data": str(images),
            "--latency-budget": "mobilevitv2-0.75",
            "--device": "estimate:iphone12",
            "--study": study,
            "--results": str(tmp_path / "results"),
            "--trials": "1",
            "--confirm-seeds": "1",
            "--image-size": "32",
            "--epochs": "1",
            "--images-per-epoch": "8",
            "--batch-size": "8",
            "--shared-epochs": "2",
        }
        asked |= dict(zip(more[::2], more[1::2], strict=True))
        return CliRunner().invoke(cli, ["run", *(word for pair in asked.items() for word in pair)])

    return invoke


def shared_folders(tmp_path):
    return sorted((tmp_path / "results" / ".shared").glob("*"))


@pytest.mark.slow
def test_a_search_trains_shared_weights_once_and_scores_all_networks_with_them(tmp_path, run):
    done = run("first", "--proxy", "inherited")
    assert done.exit_code == 0, done.output
    (folder,) = shared_folders(tmp_path)
    shared, study = read_shared(folder), open_study(tmp_path / "results" / "first")
    assert shared.inputs.recipe.epochs == 2
    assert study.inputs.training["weights"] == shared.sha256
    finished = [trial for trial in study.all_trials() if isinstance(trial.outcome, Finished)]
    assert {trial.published for trial in finished} == {
        None,
        "mobilevitv2-0.5",
        "mobilevitv2-0.75",
        "mobilevitv2-1.0",
    }
    assert all(len(trial.outcome.curve) == 1 for trial in finished)
    written = (folder / "checkpoint-last" / "averaged.safetensors").stat().st_mtime_ns
    again = run("first", "--proxy", "inherited", "--trials", "2")
    assert again.exit_code == 0, again.output
    assert (folder / "checkpoint-last" / "averaged.safetensors").stat().st_mtime_ns == written
    other = run("first", "--proxy", "short", "--trials", "2")
    assert other.exit_code == 3
    assert "training.proxy" in other.output


@pytest.mark.slow
def test_a_checkpoint_is_what_the_shared_weights_begin_with(tmp_path, run, monkeypatch):
    """Two steps of almost no rate leave it as it is, so its width scores as the checkpoint itself."""
    model = randomised(build_model(ArchConfig.mobilevitv2(0.75), ClassifierHead(2)))
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    still = ("--init", str(tmp_path / "weights.safetensors"), "--learning-rate", "1e-12", "--shared-epochs", "1")
    done = run("first", "--proxy", "inherited", *still)
    assert done.exit_code == 0, done.output
    (folder,) = shared_folders(tmp_path)
    shared = read_shared(folder)
    alone = extract(shared.tensors, shared.inputs.arch, model.arch, ClassifierHead(2))
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images = load_dataset(str(tmp_path / "images"), image_size=32, max_train=100)
    for network in (alone, model):
        settle_statistics(network, images.train, device="cpu")
    with torch.no_grad():
        assert (alone(x) - model(x)).abs().max() < 1e-3


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_trained_and_the_same_command_goes_on(tmp_path, run, monkeypatch):
    real = inheritance._Told.stepped

    def pressed(self, done, plan):
        if done == 1:
            os.kill(os.getpid(), signal.SIGINT)
            while not self.interrupt.requested:
                time.sleep(0.01)

    monkeypatch.setattr(inheritance._Told, "stepped", pressed)
    monkeypatch.setattr(inheritance._Told, "interrupt", None, raising=False)
    began = Interrupt.__enter__

    def entered(self):
        inheritance._Told.interrupt = self
        return began(self)

    monkeypatch.setattr(Interrupt, "__enter__", entered)
    assert run("first", "--proxy", "inherited").exit_code == 130
    (folder,) = shared_folders(tmp_path)
    assert saved_state(folder / "checkpoint-last").done == 1
    monkeypatch.setattr(inheritance._Told, "stepped", real)
    done = run("first", "--proxy", "inherited")
    assert done.exit_code == 0, done.output
    assert "going on after step 1 of 2" in done.output


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--init", "weights.pt"), "--init goes with"),
        (("--proxy", "guess"), "--proxy 'guess'"),
        (("--shared-epochs", "0"), "--shared-epochs 0"),
        (("--proxy", "inherited", "--init", "missing.pt"), "missing.pt"),
        (("--proxy", "inherited", "--space", "attention"), "attention: multi_head"),
        (("--proxy", "inherited", "--space", "blocks"), "attention_layers: 0 in stage 3"),
    ],
)
def test_what_cannot_be_inherited_is_told_before_anything_is_trained(tmp_path, run, more, named):
    done = run("first", *more)
    assert done.exit_code == 2, done.output
    assert named in done.output
    assert not shared_folders(tmp_path)


def tools(tmp_path, **changes):
    (tmp_path / "tiny.yaml").write_text(SPACE)
    usual = {"space": str(tmp_path / "tiny.yaml"), "data": "d", "latency_budget": "mobilevitv2-0.75", "study": "s"}
    return Tools(Request(**{**usual, "device": "estimate:iphone12", "proxy": "inherited", **changes}), Interrupt())


def test_networks_within_the_band_are_drawn_and_published_widths_are_covered(tmp_path):
    head = ClassifierHead(2)
    family = inheritance._family(tools(tmp_path), head, None)
    for width in (0.5, 0.75, 1.0):
        check_slice(family.maximal, ArchConfig.mobilevitv2(width))
    budget = network_cost(ArchConfig.mobilevitv2(0.75), head).macs
    generator = random.Random(0)
    for _ in range(20):
        assert 0.4 * budget <= network_cost(family.draw(generator), head).macs <= 1.1 * budget
    far = inheritance._family(tools(tmp_path, latency_budget="mobilevitv2-2.0"), head, None)
    assert far.draw(generator).stage_channels, "nothing is in the band: all of the space's are drawn"
    by_time = inheritance._family(tools(tmp_path, latency_budget="2ms"), head, None)
    check_slice(by_time.maximal, ArchConfig.mobilevitv2(0.5))
    assert slice_fault(by_time.maximal, ArchConfig.mobilevitv2(1.0))


def test_widths_with_wider_tokens_than_the_checkpoint_are_left_out(tmp_path):
    known = ArchConfig.mobilevitv2(0.75)
    family = inheritance._family(tools(tmp_path), ClassifierHead(2), known)
    assert family.maximal.attention_dims == known.attention_dims
    assert slice_fault(family.maximal, known) is None
