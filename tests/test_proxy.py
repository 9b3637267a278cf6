"""The short-training proxy."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import write_images
from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.errors import SpecError, TrainingError
from mvit2_search.records import Recipe
from mvit2_search.space import load_space
from mvit2_search.task.data.dataset import Split
from mvit2_search.task.data.load import load_dataset
from mvit2_search.train import proxies as short_train
from mvit2_search.train.loop import evaluate
from mvit2_search.train.proxies import ShortTrain

RECIPE = Recipe(epochs=2, image_size=32, images_per_epoch=32, batch_size=8)
ARCH = ArchConfig.mobilevitv2(0.25)


@pytest.fixture
def dataset(tmp_path):
    return load_dataset(str(write_images(tmp_path / "i", {"a": 30, "b": 30})), image_size=32, max_train=64)


@pytest.mark.slow
def test_it_yields_once_per_epoch_and_again_the_same(dataset):
    proxy = ShortTrain(RECIPE, "cpu")
    runs = [list(proxy.run(ARCH, dataset, seed=3, test_on="selection")) for _ in range(2)]
    assert [score.epoch for score in runs[0]] == [1, 2]
    assert runs[0] == runs[1]


@pytest.fixture
def noise(dataset):
    """Images without anything to learn: the least change of a training shows in its scores."""
    rng = np.random.default_rng(0)
    split = Split(
        pixels_NSSC=rng.integers(0, 256, (500, 32, 32, 3), dtype=np.uint8), labels_N=rng.integers(0, 2, 500)
    )
    return replace(dataset, train=split, selection=split)


WITH_DROPOUT = ArchConfig.mobilevitv1("xxs")  # draws random numbers in every step


@pytest.mark.slow
def test_trainings_that_take_turns_come_out_as_one_after_the_other(noise):
    proxy = ShortTrain(RECIPE, "cpu")
    runs = [(WITH_DROPOUT, 3), (ARCH, 4)]

    def begun(arch, seed):
        return proxy.run(arch, noise, seed=seed, test_on="selection")

    alone = [list(begun(*run)) for run in runs]
    assert list(zip(*(begun(*run) for run in runs), strict=True)) == list(zip(*alone, strict=True))


def test_a_training_neither_reads_nor_changes_the_random_state_of_the_process(noise):
    proxy, found = ShortTrain(RECIPE, "cpu"), []
    for seed in (11, 12):
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        scores = proxy.run(WITH_DROPOUT, noise, seed=3, test_on="selection")
        found.append([])
        for score in scores:
            found[-1].append(score)
            assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.parametrize("arch", [ARCH, WITH_DROPOUT])
def test_it_draws_what_torch_draws_after_the_seed_is_set(noise, arch):
    """As studies of earlier versions did, whose accuracies hold."""
    proxy = ShortTrain(RECIPE, "cpu")
    torch.manual_seed(3)
    usual = list(proxy._scores(arch, noise, seed=3, test_on="selection"))
    assert list(proxy.run(arch, noise, seed=3, test_on="selection")) == usual


def test_not_asking_for_the_next_epoch_stops_the_training(dataset, monkeypatch):
    epochs = []
    real = short_train.train_epochs

    def watched(*args, **kwargs):
        for epoch, averaged in real(*args, **kwargs):
            epochs.append(epoch)
            yield epoch, averaged

    monkeypatch.setattr(short_train, "train_epochs", watched)
    next(ShortTrain(RECIPE, "cpu").run(ARCH, dataset, seed=0, test_on="selection"))
    assert epochs == [1]


def sizes_tested(proxy, dataset, monkeypatch, part):
    """How many images each test was on, and what came out."""
    tested = []

    def watched(model, split, task, *, device):
        tested.append(len(split))
        return evaluate(model, split, task, device=device)

    monkeypatch.setattr(short_train, "evaluate", watched)
    return tested, list(proxy.run(ARCH, dataset, seed=0, test_on=part))


@pytest.mark.parametrize(("per_epoch", "before"), [(4, 5), (6, 6)])
def test_all_images_are_tested_after_the_last_epoch_and_fewer_before(dataset, monkeypatch, per_epoch, before):
    monkeypatch.setattr(short_train, "_LEAST_TESTED", 5)
    recipe = replace(RECIPE, images_per_epoch=per_epoch, batch_size=2)
    tested, _ = sizes_tested(ShortTrain(recipe, "cpu"), dataset, monkeypatch, "selection")
    assert tested == [before, len(dataset.selection)]


@pytest.mark.slow
def test_a_confirmation_is_tested_at_its_end_alone_and_comes_out_as_with_all_tests(dataset, monkeypatch):
    same = replace(dataset, selection=dataset.confirmation)
    tested, scores = sizes_tested(ShortTrain(RECIPE, "cpu"), same, monkeypatch, "confirmation")
    assert tested == [len(dataset.confirmation)]
    _, all_scores = sizes_tested(ShortTrain(RECIPE, "cpu"), same, monkeypatch, "selection")
    assert scores == all_scores[-1:]


def test_what_torch_raises_is_a_training_error(dataset, monkeypatch):
    def out_of_memory(*args, **kwargs):
        raise torch.OutOfMemoryError("no memory left\nmore lines")

    monkeypatch.setattr(short_train, "build_model", out_of_memory)
    with pytest.raises(TrainingError, match=r"^OutOfMemoryError: no memory left$"):
        list(ShortTrain(RECIPE, "cpu").run(ARCH, dataset, seed=0, test_on="selection"))


@pytest.mark.parametrize(("size", "stages"), [(32, [4, 5]), (48, [5]), (64, [5]), (96, [])])
def test_it_says_where_it_cannot_see_attention(size, stages):
    spots = ShortTrain(Recipe(image_size=size), "cpu").blind_spots(load_space("blocks"))
    assert len(spots) == len(stages)
    assert all(f"stage {stage} has one token" in spot for stage, spot in zip(stages, spots, strict=True))


def test_it_sees_all_of_the_width_space():
    assert ShortTrain(Recipe(image_size=32), "cpu").blind_spots(load_space("width")) == []


def test_it_refuses_to_search_input_sizes(tmp_path):
    path = tmp_path / "sizes.yaml"
    path.write_text("name: sizes\nsettings:\n  image_size: {choices: [192, 256]}\n")
    with pytest.raises(SpecError, match="trains every candidate at 48 pixels"):
        ShortTrain(Recipe(), "cpu").blind_spots(load_space(str(path)))


def test_one_token_is_what_the_network_really_sees():
    """At 48 pixels the tokens of stage 5 are one patch, those of stage 4 are four."""
    from mvit2_search.models import build_model

    model = build_model(ArchConfig.mobilevitv2(0.25), ClassifierHead(2)).eval()
    patches = {}
    for i in (3, 4):
        mixer = model.stages[i][-1].encoder.layers[0].mixer
        mixer.register_forward_hook(lambda _, args, out, i=i: patches.__setitem__(i + 1, args[0].shape[2]))
    model(torch.rand(1, 3, 48, 48))
    assert patches == {4: 4, 5: 1}
