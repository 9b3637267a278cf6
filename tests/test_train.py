"""Training: the schedule, the order of images, determinism, failure."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.errors import BackendUnavailable, SpecError, TrainingError
from mvit2_search.models import build_model
from mvit2_search.records import Recipe
from mvit2_search.task.classification import Classification
from mvit2_search.task.data.dataset import Split, to_input
from mvit2_search.train import loop, plan
from mvit2_search.train.device import resolve_train_device
from mvit2_search.train.loader import Steps, batches
from mvit2_search.train.loop import Trainer, _optimizer, evaluate, train_epochs
from mvit2_search.train.plan import resolve

TINY = Recipe(epochs=2, image_size=32, images_per_epoch=64, batch_size=16)
WIDTH = ArchConfig.mobilevitv2(0.25)

TWO = Classification(["first", "second"])


def colours(count=64, size=32):
    """Red and green images, which any network can learn to tell apart."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, count)
    pixels = rng.integers(0, 100, (count, size, size, 3), dtype=np.uint8)
    pixels[np.arange(count), :, :, labels] += 100
    return Split(pixels_NSSC=pixels, labels_N=labels)


def trained(recipe=TINY, seed=0, split=None):
    torch.manual_seed(seed)
    model = build_model(ArchConfig.mobilevitv2(0.25), ClassifierHead(2))
    epochs = [
        epoch for epoch, _ in train_epochs(model, split or colours(), recipe, task=TWO, seed=seed, device="cpu")
    ]
    return model, epochs


@pytest.mark.slow
def test_it_learns_what_is_easy():
    model, epochs = trained(
        Recipe(epochs=4, image_size=32, images_per_epoch=256, batch_size=16, learning_rate=5e-3)
    )
    assert epochs == [1, 2, 3, 4]
    assert evaluate(model, colours(), TWO, device="cpu").score > 90


@pytest.mark.slow
def test_a_seed_fixes_the_result_and_another_changes_it():
    def weights(seed):
        return trained(seed=seed)[0].classifier.linear.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_the_averaged_weights_follow_those_of_the_training(monkeypatch):
    """By a quarter in each step: the average is over half of the eight steps."""
    monkeypatch.setattr(plan, "_AVERAGED_AT_MOST", 0.5)
    torch.manual_seed(0)
    model = build_model(ArchConfig.mobilevitv2(0.25), ClassifierHead(2))
    after: list[torch.Tensor] = []
    real = Trainer.step

    def watched(self, batch):
        loss = real(self, batch)
        after.append(model.classifier.linear.weight.detach().clone())
        return loss

    monkeypatch.setattr(Trainer, "step", watched)
    recipe = replace(TINY, ema_momentum=0.25)
    for epoch, averaged in train_epochs(model, colours(), recipe, task=TWO, seed=0, device="cpu"):
        expected = after[0]
        for weight in after[1:]:
            expected = 0.75 * expected + 0.25 * weight
        assert len(after) == 4 * epoch
        assert torch.allclose(averaged.classifier.linear.weight, expected, atol=1e-6)
    assert not torch.allclose(averaged.classifier.linear.weight, after[-1], atol=1e-4)


def test_a_loss_that_is_not_finite_is_a_training_error():
    with pytest.raises(TrainingError, match=r"the loss is not finite in epoch 1"):
        trained(Recipe(epochs=2, image_size=32, images_per_epoch=64, batch_size=16, learning_rate=1e30))


def test_every_image_is_seen_before_one_comes_again():
    split = Split(pixels_NSSC=np.zeros((10, 32, 32, 1), np.uint8), labels_N=np.arange(10))
    steps = Steps(split, Recipe(image_size=32, images_per_epoch=4, batch_size=4), seed=0)
    seen = np.concatenate([batch.labels_N for batch in batches(steps, 0, 5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert list(seen[:10]) != list(seen[10:])


def test_a_small_data_set_is_repeated_to_fill_an_epoch():
    assert trained(split=colours(count=10))[1] == [1, 2]


def test_the_learning_rate_warms_up_and_falls_to_zero():
    recipe = Recipe(epochs=10, images_per_epoch=20, batch_size=2, learning_rate=1.0, warmup_rate=0.1)
    rates = [resolve(recipe, WIDTH, 20).rate(step) for step in range(100)]
    assert rates[:11] == pytest.approx([0.1, 0.19, 0.28, 0.37, 0.46, 0.55, 0.64, 0.73, 0.82, 0.91, 1.0])
    assert rates[55] == pytest.approx(0.5 * (1 + math.cos(math.pi * 45 / 90)))
    assert rates[99] < 0.001


def test_each_step_has_its_learning_rate(monkeypatch):
    rates = []
    real = torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self: rates.append(self.param_groups[1]["lr"]) or real(self)
    )
    trained()
    expected = resolve(TINY, WIDTH, 64)
    assert rates == [expected.rate(step) for step in range(8)]


def test_norms_and_biases_do_not_decay():
    norms = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    decayed, free = _optimizer(norms, resolve(Recipe(), WIDTH, 8000)).param_groups
    assert [p.ndim for p in decayed["params"]] == [4]
    assert [p.ndim for p in free["params"]] == [1, 1, 1]
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.05, 0.0)


def test_accuracy_is_the_share_of_right_answers():
    model = build_model(ArchConfig.mobilevitv2(0.25), ClassifierHead(2))
    nn.init.zeros_(model.classifier.linear.weight)
    model.classifier.linear.bias.data.copy_(torch.tensor([0.0, 1.0]))  # always answers 1
    split = Split(pixels_NSSC=np.zeros((200, 32, 32, 1), np.uint8), labels_N=np.array([1] * 150 + [0] * 50))
    assert evaluate(model, split, TWO, device="cpu").score == 75.0


def test_images_reach_each_version_in_its_order(monkeypatch):
    orders = []

    def spy(pixels, order, device):
        orders.append(order)
        return to_input(pixels, order, device)

    monkeypatch.setattr(loop, "to_input", spy)
    recipe = Recipe(epochs=1, image_size=32, images_per_epoch=2, batch_size=2)
    for arch, order in ((ArchConfig.mobilevitv1("xxs"), "BGR"), (ArchConfig.mobilevitv2(0.25), "RGB")):
        model = build_model(arch, ClassifierHead(2))
        list(train_epochs(model, colours(4), recipe, task=TWO, seed=0, device="cpu"))
        evaluate(model, colours(4), TWO, device="cpu")
        assert set(orders) == {order}
        assert len(orders) == 2
        orders.clear()


def test_outputs_that_are_not_finite_are_no_answers():
    model = build_model(ArchConfig.mobilevitv2(0.25), ClassifierHead(2))
    nn.init.constant_(model.classifier.linear.bias, torch.nan)
    with pytest.raises(TrainingError, match="outputs are not finite"):
        evaluate(model, colours(), TWO, device="cpu")


def test_an_epoch_is_whole_batches_of_at_least_the_images_asked_for():
    assert resolve(Recipe(images_per_epoch=1500, batch_size=32), WIDTH, 8000).steps_per_epoch == 47
    assert resolve(Recipe(images_per_epoch=None, batch_size=32), WIDTH, 65).steps_per_epoch == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"image_size": 16},
        {"batch_size": 1},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"learning_rate": math.inf},
    ],
)
def test_recipes_that_make_no_training(changes):
    with pytest.raises(SpecError):
        Recipe(**changes)


def test_where_to_train():
    assert resolve_train_device("cpu") == "cpu"
    assert resolve_train_device("auto") in ("cpu", "cuda", "mps")
    with pytest.raises(SpecError, match="expected auto, cpu, mps, cuda or cuda:1"):
        resolve_train_device("gpu")
    with pytest.raises(BackendUnavailable, match="try `train_on` auto"):
        resolve_train_device("cuda:97")
