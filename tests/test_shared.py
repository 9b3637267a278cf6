"""Weights that many networks share: one step against networks of their own, killed trainings, two processes."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import shared_rank_driver
from families import LARGE, MIDDLE, RECIPE, SMALL, a_dataset, a_family, a_job, trained
from forks import in_fork
from mvit2_search.arch import ArchConfig
from mvit2_search.errors import SpecError, StorageError, StudyConflict
from mvit2_search.models.slices import check_slice, extract, slice_fault, slicing_table
from mvit2_search.space import load_space
from mvit2_search.task.data.dataset import to_input
from mvit2_search.train.family import Family, family_of, family_of_space, narrowest, widest
from mvit2_search.train.full import new_trainer
from mvit2_search.train.loader import Steps, batches
from mvit2_search.train.loop import evaluate, settle_statistics
from mvit2_search.train.ranks import ALONE
from mvit2_search.train.shared import SharedTrainer, read_shared
from trainings import Quiet, Stop, alone, damage, stopping_after

HEAD = a_dataset().task.head


def a_trainer(folder, **settings):
    job = a_job(folder, **settings)
    return SharedTrainer(new_trainer(job, None), settings.get("family") or a_family()), job


def first_batch(job):
    return next(batches(Steps(job.data.train, job.plan.recipe, seed=job.inputs.seed), 0, 1))


def learnt_alone(weights, arch, x, targets):
    """Gradients by the names of the largest network, of one that is rebuilt and learns by itself."""
    model = extract(weights, LARGE, arch, HEAD).train()
    F.kl_div(model(x).log_softmax(1), targets, reduction="batchmean").backward()
    found = {}
    for name, cut in slicing_table(LARGE, arch, HEAD, {}).items():
        if cut.source in weights and "running" not in name and "num_batches" not in name:
            whole = torch.zeros(weights[cut.source].shape)
            place = cut.of(torch.arange(whole.numel()).reshape(whole.shape))
            whole.view(-1)[place.flatten()] = model.get_parameter(name).grad.flatten()
            found[cut.source] = whole
    return found


def test_a_step_adds_up_what_each_network_would_learn_alone(tmp_path):
    """The largest from labels, the others from its outputs; clipping is out of the way."""
    recipe = replace(RECIPE, clip_norm=1e9, label_smoothing=0.0)
    trainer, job = a_trainer(tmp_path, recipe=recipe)
    weights = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    batch = first_batch(job)
    trainer.step(batch)
    x = to_input(batch.pixels_NSSC.numpy(), "RGB")
    largest = extract(weights, LARGE, LARGE, HEAD).train()
    outputs = largest(x)
    F.cross_entropy(outputs, batch.labels_N).backward()
    wanted = {name: weight.grad.clone() for name, weight in largest.named_parameters()}
    networks = trainer.networks(0)
    assert len(networks) == 3
    for arch in networks:
        for name, gradient in learnt_alone(weights, arch, x, outputs.detach().softmax(1)).items():
            wanted[name] += gradient
    for name, weight in trainer.model.named_parameters():
        assert torch.allclose(weight.grad, wanted[name], atol=1e-5, rtol=1e-3), name


def test_running_averages_are_those_of_the_largest_network_alone(tmp_path):
    (shared, job), other = a_trainer(tmp_path), new_trainer(a_job(tmp_path), None)
    batch = first_batch(job)
    shared.step(batch)
    other.step(batch)
    for (name, ours), theirs in zip(shared.model.named_buffers(), other.model.buffers(), strict=True):
        assert torch.equal(ours, theirs), name


def test_the_networks_of_a_step_follow_from_the_seed_and_the_step(tmp_path):
    (one, _), (other, _) = a_trainer(tmp_path), a_trainer(tmp_path, seed=1)
    drawn = [one.networks(step) for step in range(60)]
    random.seed(5)
    assert drawn == [a_trainer(tmp_path)[0].networks(step) for step in range(60)]
    assert drawn != [other.networks(step) for step in range(60)]
    assert {networks[0] for networks in drawn} == {SMALL}
    counts = Counter(arch for networks in drawn for arch in networks[1:])
    assert min(counts[arch] for arch in (SMALL, MIDDLE, LARGE)) > 20


@pytest.mark.slow
def test_largest_and_smallest_learn_what_is_easy(tmp_path):
    recipe = replace(RECIPE, epochs=6, images_per_epoch=160, batch_size=16)
    trained(tmp_path, recipe=recipe)
    shared, images = read_shared(tmp_path), a_dataset()
    for arch in (LARGE, MIDDLE, SMALL):
        model = extract(shared.tensors, LARGE, arch, HEAD)
        settle_statistics(model, images.train, device="cpu")
        assert evaluate(model, images.selection, images.task, device="cpu").score > 85, arch


FILES = ("model", "averaged", "optimizer")


def weights_in(folder):
    return {name: (folder / "checkpoint-last" / f"{name}.safetensors").read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """In a process of its own, with one thread as those that are killed."""
    folder = tmp_path_factory.mktemp("unbroken")
    assert in_fork(lambda: alone(lambda: trained(folder))) == 0
    return weights_in(folder)


class Dying(Quiet):
    """Leaves without a word after so many steps."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def stepped(self, done, plan):
        if done == self.steps:
            os._exit(137)


@pytest.mark.parametrize("steps", [3, 4, 6])
def test_a_killed_training_goes_on_to_the_same_weights_bit_for_bit(tmp_path, unbroken, steps):
    """At four steps the first of two epochs has been trained and not been saved."""
    assert in_fork(lambda: alone(lambda: trained(tmp_path, Dying(steps)))) == 137
    assert in_fork(lambda: alone(lambda: trained(tmp_path))) == 0
    assert weights_in(tmp_path) == unbroken


def test_a_stopped_training_is_saved_where_it_is_and_goes_on_to_the_same_weights(tmp_path, unbroken):
    def stopped():
        with pytest.raises(Stop):
            trained(tmp_path, check_interrupt=stopping_after(3))

    def resumed():
        listener = Quiet()
        trained(tmp_path, listener)
        assert listener.began_at == 3

    assert in_fork(lambda: alone(stopped)) == 0
    with pytest.raises(SpecError, match="has not ended"):
        read_shared(tmp_path)
    assert in_fork(lambda: alone(resumed)) == 0
    assert weights_in(tmp_path) == unbroken


def test_another_seed_gives_other_weights(tmp_path, unbroken):
    assert in_fork(lambda: alone(lambda: trained(tmp_path, seed=1))) == 0
    assert weights_in(tmp_path) != unbroken


def test_a_folder_has_one_family(tmp_path):
    with pytest.raises(Stop):
        trained(tmp_path, check_interrupt=stopping_after(0))
    with pytest.raises(StudyConflict, match="networks"):
        trained(tmp_path, family=family_of([SMALL, LARGE], HEAD))
    with pytest.raises(StudyConflict, match="seed"):
        trained(tmp_path, seed=1)
    (tmp_path / "family.json").write_text("{")
    with pytest.raises(StorageError, match=r"family\.json"):
        trained(tmp_path)


def test_what_is_no_folder_of_shared_weights_is_refused(tmp_path):
    with pytest.raises(SpecError, match="expected the folder"):
        read_shared(tmp_path)
    with pytest.raises(Stop):
        trained(tmp_path, check_interrupt=stopping_after(0))
    for checkpoint in tmp_path.glob("checkpoint-*"):
        damage(checkpoint / "averaged.safetensors", "flipped")
    with pytest.raises(StorageError, match="damaged"):
        read_shared(tmp_path)


@pytest.mark.slow
def test_two_processes_learn_as_one_where_both_have_the_same_images(tmp_path):
    """Each draws all eight images in each step, so that batch statistics are the same."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = Path(shared_rank_driver.__file__)
    done = subprocess.run([*torchrun, script, tmp_path / "found"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, one = json.loads((tmp_path / "found").read_text()), shared_rank_driver.learnt(ALONE, 1)
    assert found["world"] == 2
    for both in (found["whole"], found["parts"]):
        assert both[0] == both[1], "all processes have the same weights"
        assert both[0] == pytest.approx(one, abs=2e-5)
    assert max(map(abs, one)) > 1e-3


SPACE = """
name: two
settings:
  width: {range: [0.5, 0.75]}
  attention_layers: {choices: [3, 0, 2, 1], per_stage: true}
  kernel_size: {choices: [5, 3]}
  attention: {choices: [linformer, separable]}
"""


@pytest.fixture
def space(tmp_path):
    (tmp_path / "two.yaml").write_text(SPACE)
    return load_space(str(tmp_path / "two.yaml"))


def test_a_space_gives_its_largest_its_smallest_and_networks_between(space):
    family = family_of_space(space)
    assert family.maximal == widest(space)
    assert family.maximal == ArchConfig.mobilevitv2(0.75, attention_layers=3, kernel_size=5)
    assert family.smallest == ArchConfig.mobilevitv2(0.5, attention_layers=1) == narrowest(space)
    generator = random.Random(0)
    drawn = [family.draw(generator) for _ in range(30)]
    for arch in drawn:
        check_slice(family.maximal, arch)
    assert len({arch.key for arch in drawn}) > 20
    assert drawn[:3] == [family.draw(again) for again in [random.Random(0)] for _ in range(3)]


def test_only_networks_that_are_wanted_are_drawn(space):
    family = family_of_space(space, is_wanted=lambda arch: arch.attention_layers == (2, 2, 2), about={"band": 1})
    assert family.draw(random.Random(1)).attention_layers == (2, 2, 2)
    assert family.to_json() != family_of_space(space).to_json()
    nothing = family_of_space(space, is_wanted=lambda arch: False)
    with pytest.raises(SpecError, match="band"):
        nothing.draw(random.Random(1))


def test_a_checkpoint_wider_than_the_space_widens_the_largest_network(space):
    family = family_of_space(space, above=[ArchConfig.mobilevitv2(1.0)])
    assert slice_fault(family.maximal, ArchConfig.mobilevitv2(1.0)) is None
    assert family.maximal.kernel_sizes == (5,) * 5
    assert family.maximal.stage_channels == ArchConfig.mobilevitv2(1.0).stage_channels
    with pytest.raises(SpecError, match="mobilevitv1"):
        family_of_space(space, above=[ArchConfig.mobilevitv1("xxs")])


def test_the_smallest_of_a_list_has_the_fewest_multiply_adds():
    family = family_of([LARGE, SMALL, MIDDLE], HEAD)
    assert (family.maximal, family.smallest) == (LARGE, SMALL)
    assert isinstance(family, Family)
    with pytest.raises(SpecError, match="attention_layers"):
        family_of([LARGE, replace(SMALL, attention_layers=(0, 1, 1))], HEAD)
