"""Recipes: what a file may say, the published values, and the schedule that follows."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.errors import SpecError
from mvit2_search.models import build_model
from mvit2_search.records import Recipe, recipe_fault
from mvit2_search.records.recipe import _KINDS, _RANGES
from mvit2_search.train.plan import RECIPES, load_recipe, resolve

IMAGENET_IMAGES = 1_281_167
PUBLISHED = {  # ml-cvnets, README-mobilevit-v2: parameters with 1,000 classes, largest learning rate, weight decay
    0.5: (1_370_593, 0.0090, 0.004),
    0.75: (2_866_009, 0.0090, 0.008),
    1.0: (4_901_841, 0.0075, 0.013),
    1.25: (7_478_089, 0.0049, 0.020),
    1.5: (10_594_753, 0.0035, 0.029),
    1.75: (14_251_833, 0.0026, 0.039),
    2.0: (18_449_329, 0.0020, 0.050),
}
FULL_AUGMENTATION = {
    "flip": True,
    "crop_area": 0.08,
    "randaugment_ops": 2,
    "randaugment_magnitude": 9,
    "mixup": 0.2,
    "cutmix": 1.0,
    "erasing": 0.25,
}
NO_AUGMENTATION = {"randaugment_ops": 0, "mixup": 0.0, "cutmix": 0.0, "erasing": 0.0}
EXPECTED = {  # of the paper (arXiv 2206.02680, table 8) and ml-cvnets' mobilevit_v2.yaml
    "imagenet": {
        "epochs": 300,
        "image_size": 256,
        "source_size": 288,
        "images_per_epoch": None,
        "batch_size": 1024,
        "rate_batch": 1024,
        "optimizer": "adamw",
        "learning_rate": None,
        "weight_decay": None,
        "warmup_rate": 1e-6,
        "decay": "epoch",
        "final_share": 0.1,
        "clip_norm": 10.0,
        "ema_momentum": 0.0005,
        "settle": False,
        "label_smoothing": 0.1,
        **FULL_AUGMENTATION,
    },
    "finetune": {
        "epochs": 50,
        "image_size": 256,
        "source_size": 288,
        "images_per_epoch": None,
        "batch_size": 256,
        "rate_batch": 256,
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "weight_decay": 4e-5,
        "warmup_share": 0,
        "decay": "epoch",
        "clip_norm": 10.0,
        "ema_momentum": 0.0005,
        "settle": False,
        "label_smoothing": 0.1,
        **FULL_AUGMENTATION,
    },
    "finetune-384": {
        "epochs": 10,
        "image_size": 384,
        "source_size": 384,
        "images_per_epoch": None,
        "batch_size": 128,
        "rate_batch": 128,
        "optimizer": "sgd",
        "learning_rate": 1e-3,
        "weight_decay": 4e-5,
        "warmup_share": 0,
        "decay": "none",
        "clip_norm": 10.0,
        "ema_momentum": 0.00005,
        "settle": False,
        "flip": True,
        "crop_area": 0.08,
        **NO_AUGMENTATION,
    },
}


def width(alpha):
    return ArchConfig.mobilevitv2(alpha)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_published_recipe_has_the_published_values(name):
    recipe = load_recipe(name)
    assert {key: getattr(recipe, key) for key in EXPECTED[name]} == EXPECTED[name]


def test_the_recipe_of_a_search_is_the_default():
    assert load_recipe("proxy") == Recipe()


def test_every_shipped_recipe_makes_a_plan():
    assert RECIPES == ("finetune", "finetune-384", "imagenet", "proxy", "small")
    for name in RECIPES:
        plan = resolve(load_recipe(name), width(0.5), 10_000)
        assert all(plan.rate(step) > 0 for step in (0, plan.steps // 2, plan.steps - 1))


@pytest.mark.parametrize("alpha", PUBLISHED)
def test_the_rate_of_every_step_on_imagenet_is_the_published_one(alpha):
    _, largest, decay = PUBLISHED[alpha]
    plan = resolve(load_recipe("imagenet"), width(alpha), IMAGENET_IMAGES)
    per_epoch = 1252  # 1,281,167 images in batches of 1,024, the last of them filled up
    steps = np.arange(300 * per_epoch)
    expected = largest / 10 + (largest - largest / 10) * (1 + np.cos(np.pi * (steps // per_epoch) / 300)) / 2
    expected[:20_000] = np.linspace(1e-6, largest, 20_001)[:-1]
    assert plan.steps == len(steps)
    np.testing.assert_allclose([plan.rate(step) for step in range(plan.steps)], expected, rtol=1e-12)
    assert plan.weight_decay == pytest.approx(decay, rel=1e-12)


def test_the_averaged_weights_of_imagenet_keep_the_published_share():
    assert resolve(load_recipe("imagenet"), width(1.0), IMAGENET_IMAGES).ema_decay == 1 - 0.0005
    assert resolve(load_recipe("finetune-384"), width(1.0), IMAGENET_IMAGES).ema_decay == 1 - 0.00005


def test_fine_tuning_ends_at_a_tenth_or_keeps_its_rate():
    falls = resolve(load_recipe("finetune"), width(1.0), IMAGENET_IMAGES)
    assert falls.rate(0) == 0.01
    assert falls.rate(falls.steps - 1) == pytest.approx(0.001 + 0.009 * (1 + math.cos(math.pi * 49 / 50)) / 2)
    stays = resolve(load_recipe("finetune-384"), width(1.0), IMAGENET_IMAGES)
    assert {stays.rate(step) for step in range(0, stays.steps, 1000)} == {0.001}


def test_a_network_between_two_widths_has_values_between_theirs():
    arch = width(1.1)
    params = sum(weight.numel() for weight in build_model(arch, ClassifierHead(1000)).parameters())
    (less, rate_1, decay_1), (more, rate_2, decay_2) = PUBLISHED[1.0], PUBLISHED[1.25]
    part = math.log(params / less) / math.log(more / less)
    plan = resolve(load_recipe("imagenet"), arch, IMAGENET_IMAGES)
    assert plan.learning_rate == pytest.approx(rate_1 ** (1 - part) * rate_2**part, rel=1e-9)
    assert plan.weight_decay == pytest.approx(decay_1 ** (1 - part) * decay_2**part, rel=1e-9)


def test_larger_networks_have_a_lower_rate_and_more_decay():
    recipe = load_recipe("imagenet")
    plans = [resolve(recipe, width(alpha), IMAGENET_IMAGES) for alpha in np.arange(0.3, 2.45, 0.1).round(2)]
    rates, decays = [plan.learning_rate for plan in plans], [plan.weight_decay for plan in plans]
    assert rates == sorted(rates, reverse=True)
    assert decays == sorted(decays)
    assert len({*decays}) > 15
    assert (rates[0], rates[-1]) == pytest.approx((0.0090, 0.0020), rel=1e-12)
    assert (decays[0], decays[-1]) == pytest.approx((0.004, 0.050), rel=1e-12)


def test_the_rate_follows_the_batch():
    assert resolve(load_recipe("imagenet", {"batch_size": 256}), width(2.0), 10**6).learning_rate == pytest.approx(
        0.0020 / 2  # the root of a quarter, for AdamW
    )
    assert resolve(load_recipe("finetune", {"batch_size": 512}), width(2.0), 10**6).learning_rate == 0.02
    assert resolve(load_recipe("proxy", {"batch_size": 128}), width(2.0), 10**6).learning_rate == 2e-3


@pytest.mark.parametrize("batch", [256, 512, 4096])
def test_the_warm_up_takes_the_same_images_with_any_batch(batch):
    plan = resolve(load_recipe("imagenet", {"batch_size": batch}), width(1.0), IMAGENET_IMAGES)
    assert plan.warmup_steps * batch == pytest.approx(20_000 * 1024, rel=1e-3)


def test_without_a_momentum_weights_are_averaged_over_a_tenth_of_the_steps():
    recipe = Recipe(epochs=5, images_per_epoch=3200, batch_size=32)  # 500 steps
    assert resolve(recipe, width(0.25), 3200).ema_decay == pytest.approx(1 - 1 / 50)
    long = replace(recipe, epochs=100)
    assert resolve(long, width(0.25), 3200).ema_decay == pytest.approx(1 - 1 / 100)  # an epoch at most


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 3\nepoch: 4", r":2:1: epoch: unknown key; did you mean 'epochs'\?"),
        ("epochs: 3\nepochs: 4", r":2:1: epochs: given twice"),
        ("epochs: 0", r":1:1: epochs: 0: expected a whole number from 1 to 1,000,000"),
        ("epochs: 3.0", r":1:1: epochs: 3.0: expected a whole number"),
        ("epochs: null", r":1:1: epochs: None: expected a whole number"),
        ("  epochs: true", r":1:3: epochs: True: expected a whole number"),
        ("flip: true\nmixup: -0.1", r":2:1: mixup: -0.1: expected a number from 0 to 1000"),
        ("mixup: true", r":1:1: mixup: True: expected a number"),
        ("mixup: .nan", r":1:1: mixup: nan: expected a number"),
        ("learning_rate: .inf", r":1:1: learning_rate: inf: expected a number"),
        ("learning_rate: fast", r":1:1: learning_rate: 'fast': expected a number from 1e-30 to 1e\+30$"),
        ("learning_rate: 1e-3", r":1:1: learning_rate: '1e-3': .* with a dot and a sign, as in 1.0e-3"),
        ("learning_rate: none", r":1:1: learning_rate: 'none': expected a number .*; write null"),
        ("mixup: none", r":1:1: mixup: 'none': expected a number from 0 to 1000$"),
        ("flip: 1", r":1:1: flip: 1: expected true or false"),
        ("optimizer: lion", r":1:1: optimizer: 'lion': expected one of adamw, sgd"),
        ("decay: [step]", r":1:1: decay: \['step'\]: expected one of step, epoch, none"),
        ("batch_size: 2000", r":1:1: `batch_size` 2000: more than the 1500 of `images_per_epoch`"),
        ("- epochs", r":1:1: expected a mapping"),
        ("", r":1:1: expected a mapping"),
        ("epochs: !!int 3", r":1:9: tag"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"mine\.yaml" + message):
        load_recipe(str(path))


def test_a_file_is_read_and_what_it_leaves_out_is_the_default(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("epochs: 7\nlearning_rate: 1.0e-3\nimages_per_epoch: null\ndecay: none\n")
    expected = Recipe(epochs=7, learning_rate=1e-3, images_per_epoch=None, decay="none")
    assert load_recipe(str(path)) == expected
    assert load_recipe(str(path), {"epochs": 8, "flip": False}) == replace(expected, epochs=8, flip=False)


def test_a_change_may_be_what_makes_a_file_fit(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("batch_size: 2000")
    assert load_recipe(str(path), {"images_per_epoch": None}).batch_size == 2000
    with pytest.raises(SpecError, match=r"^`batch_size` 1600: more than the 1500"):
        load_recipe("proxy", {"batch_size": 1600})


def test_recipes_that_do_not_exist_are_named():
    with pytest.raises(SpecError, match="`recipe` 'imagnet'; did you mean 'imagenet'"):
        load_recipe("imagnet")
    with pytest.raises(SpecError, match=r"nowhere\.yaml: No such file"):
        load_recipe("nowhere.yaml")


@pytest.mark.parametrize("name", [field.name for field in fields(Recipe)])
def test_every_setting_refuses_other_types(name):
    for value in ("x", [], {}, object(), b"1", 1j):
        assert recipe_fault(name, value)
    assert recipe_fault(name, getattr(Recipe(), name)) is None


@pytest.mark.parametrize("name", _RANGES)
def test_every_number_has_its_range(name):
    whole = int in _KINDS[name]
    low, high = (int(end) if whole else end for end in _RANGES[name])
    assert recipe_fault(name, low) is recipe_fault(name, high) is None
    assert all(recipe_fault(name, value) for value in (low - 1, high * 2 + 1, math.nan))
    assert (recipe_fault(name, low + 0.5 * (high - low) + 0.25) is not None) == whole
