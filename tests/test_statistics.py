"""Batch normalisation's statistics after a short training."""

from dataclasses import replace

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.models import build_model
from mvit2_search.task.data.dataset import Split, to_input
from mvit2_search.train.loop import settle_statistics

SMALL = ArchConfig.mobilevitv2(0.25, image_size=32)


def split_of(count):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return Split(pixels_NSSC=pixels, labels_N=np.zeros(count, np.int64))


def norms(model):
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def test_the_statistics_are_those_of_the_images_under_the_weights_of_now():
    torch.manual_seed(0)
    model, images = build_model(SMALL, ClassifierHead(10)), split_of(100)
    seen = []
    first = norms(model)[0]
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    settle_statistics(model, images, device="cpu")
    (features,) = seen
    torch.testing.assert_close(first.running_mean, features.mean((0, 2, 3)))
    torch.testing.assert_close(first.running_var, features.var((0, 2, 3)))
    assert features.var() > 1e-4


def test_at_most_512_images_count_in_equal_parts():
    model = build_model(SMALL, ClassifierHead(10))
    batches = []
    model.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    for count, expected in ((600, [128] * 4), (129, [65, 64]), (100, [100])):
        batches.clear()
        settle_statistics(model, split_of(count), device="cpu")
        assert batches == expected


def test_weights_and_the_course_of_training_stay_as_they_are():
    torch.manual_seed(0)
    model = build_model(SMALL, ClassifierHead(10))
    weights = {name: value.clone() for name, value in model.named_parameters()}
    momenta = [norm.momentum for norm in norms(model)]
    settle_statistics(model, split_of(64), device="cpu")
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())
    assert [norm.momentum for norm in norms(model)] == momenta
    batch = to_input(split_of(8).pixels_NSSC, SMALL.channel_order)
    before = model.train()(batch)
    settle_statistics(model, split_of(32), device="cpu")
    torch.testing.assert_close(model.train()(batch), before)


def test_nothing_is_dropped_and_no_random_number_is_used():
    model, images = (
        build_model(replace(ArchConfig.mobilevitv1("xxs"), image_size=64), ClassifierHead(10)),
        split_of(32),
    )
    torch.manual_seed(1)
    settle_statistics(model, images, device="cpu")
    first = [norm.running_mean.clone() for norm in norms(model)]
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    settle_statistics(model, images, device="cpu")
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms(model), first, strict=True))
