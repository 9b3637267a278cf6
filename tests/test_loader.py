"""The batches of a training: their order and the changes of their images follow from the seed alone."""

import random

import numpy as np
import pytest
import torch

from mvit2_search.records import Recipe
from mvit2_search.task.data.dataset import Split
from mvit2_search.train.loader import Drawn, ImageNumbers, Order, Steps, batches, mixture_generator, model_seed

PLAIN = Recipe(image_size=32, images_per_epoch=None, batch_size=4, flip=False)
FLIPS = Recipe(image_size=32, images_per_epoch=None, batch_size=4)
ALL = Recipe(
    image_size=32,
    test_crop=0.8,
    images_per_epoch=None,
    batch_size=4,
    crop_area=0.08,
    randaugment_ops=2,
    erasing=0.5,
)


def split_of(count=10, size=32):
    """Noise, with the number of the image as its class."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return Split(pixels_NSSC=pixels, labels_N=np.arange(count))


def steps_of(recipe, *, count=10, seed=0, rank=0, world=1):
    return Steps(split_of(count, recipe.source_size), recipe, seed=seed, rank=rank, world=world)


def loaded(recipe, start=0, stop=7, *, workers=0, **choices):
    return list(batches(steps_of(recipe, **choices), start, stop, workers=workers))


def labels(found):
    return torch.cat([batch.labels_N for batch in found]).tolist()


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.pixels_NSSC, other.pixels_NSSC)
        assert torch.equal(one.labels_N, other.labels_N)


def test_each_pass_has_each_image_once_in_an_order_of_its_own():
    seen = labels(loaded(PLAIN, stop=10))  # four passes over ten images, across the ends of batches
    passes = [seen[start : start + 10] for start in range(0, 40, 10)]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert len({*map(tuple, passes)}) == 4


def test_a_batch_may_hold_many_passes_over_few_images():
    seen = labels(loaded(Recipe(image_size=32, images_per_epoch=None, batch_size=32), stop=3, count=3))
    assert all(sorted(seen[start : start + 3]) == [0, 1, 2] for start in range(0, 96, 3))


def test_every_order_is_as_likely():
    first = [Order(count=3, seed=seed).at(0).image for seed in range(600)]
    assert all(150 < first.count(image) < 250 for image in range(3))


def test_an_order_may_be_asked_for_any_place():
    asked = [Order(count=5, seed=1).at(place) for place in range(40)]
    order = Order(count=5, seed=1)
    assert [order.at(place) for place in reversed(range(40))] == asked[::-1]
    assert [one.turn for one in asked] == [place // 5 for place in range(40)]


def test_another_seed_gives_another_order():
    assert labels(loaded(PLAIN, seed=0)) != labels(loaded(PLAIN, seed=1))


def test_a_batch_has_its_images_and_their_classes():
    split = split_of()
    for batch in batches(Steps(split, PLAIN, seed=0), 0, 5):
        assert (batch.pixels_NSSC.dtype, batch.labels_N.dtype) == (torch.uint8, torch.int64)
        np.testing.assert_array_equal(batch.pixels_NSSC, split.pixels_NSSC[batch.labels_N])


@pytest.mark.parametrize("world", [2, 4])
def test_the_parts_of_all_processes_are_the_batch_of_one(world):
    parts = [loaded(ALL, rank=rank, world=world) for rank in range(world)]
    together = [type(whole[0])(*map(torch.cat, zip(*whole, strict=True))) for whole in zip(*parts, strict=True)]
    assert_equal(together, loaded(ALL))


@pytest.mark.slow
def test_workers_give_the_same_batches():
    assert_equal(loaded(ALL, workers=2), loaded(ALL))


def test_a_start_in_the_middle_gives_what_is_left():
    for start in (0, 1, 3, 6, 7):
        assert_equal(loaded(ALL, start=start), loaded(ALL)[start:])


@pytest.mark.parametrize("recipe", [FLIPS, ALL])
def test_the_changes_of_an_image_follow_from_seed_pass_and_index_alone(recipe):
    def shown(**choices):
        """By pass and image; twenty images, two passes."""
        found = loaded(choices.pop("recipe", recipe), count=20, **choices)
        pixels = torch.cat([batch.pixels_NSSC for batch in found])
        return {(place // 20, label): pixels[place].numpy().tobytes() for place, label in enumerate(labels(found))}

    usual = shown(stop=10)
    assert len(usual) == 40
    other_batch = Recipe(**{name: getattr(recipe, name) for name in recipe.__slots__} | {"batch_size": 10})
    assert shown(recipe=other_batch, stop=4) == usual
    other_seed = shown(stop=10, seed=1)
    both = range(20)
    for one, other in (
        ([usual[0, image] for image in both], [usual[1, image] for image in both]),
        ([usual[0, image] for image in both], [other_seed[0, image] for image in both]),
    ):
        assert sum(a != b for a, b in zip(one, other, strict=True)) > 3


def test_the_numbers_of_images_are_even_and_know_nothing_of_each_other():
    numbers = ImageNumbers(3)
    drawn = np.array([[numbers.of(Drawn(turn, image)).random(3) for image in range(400)] for turn in range(4)])
    assert drawn.reshape(-1, 3).mean(0) == pytest.approx([0.5] * 3, abs=0.03)
    assert np.histogram(drawn, 10, (0, 1))[0] == pytest.approx([480] * 10, abs=110)
    flat = drawn.reshape(4, -1) - 0.5
    for one, other in (
        (flat[0], flat[1]),  # passes
        (drawn[:, :-1].ravel() - 0.5, drawn[:, 1:].ravel() - 0.5),  # neighbours
        (drawn[..., 0].ravel() - 0.5, drawn[..., 1].ravel() - 0.5),  # numbers of one image
    ):
        assert abs(np.mean(one * other)) < 0.01  # a variance is 1 / 12


def test_no_number_comes_twice():
    numbers = ImageNumbers(3)
    drawn = [numbers.of(Drawn(turn, image)).random(50) for turn in range(20) for image in range(20)]
    assert len(np.unique(drawn)) == 20 * 20 * 50
    first = {int(numbers.of(Drawn(0, image)).integers(2**32, dtype=np.uint32)) for image in range(100)}
    assert len(first) == 100


def test_the_numbers_of_an_image_do_not_depend_on_what_was_drawn_before():
    numbers, fresh = ImageNumbers(3), ImageNumbers(3)
    numbers.of(Drawn(0, 1)).integers(0, 100, 7, dtype=np.uint32)  # leaves half a number over
    assert (
        numbers.of(Drawn(5, 6)).integers(0, 100, 9).tolist() == fresh.of(Drawn(5, 6)).integers(0, 100, 9).tolist()
    )
    assert numbers.of(Drawn(5, 6)).random() != numbers.of(Drawn(6, 5)).random()


@pytest.mark.parametrize("seed", [0, 2**63, 2**64 - 1])
def test_any_seed_of_64_bits_can_be_used(seed):
    assert len(labels(loaded(ALL, stop=1, seed=seed))) == 4
    assert 0 <= model_seed(seed, 0, 0) < 2**62


def test_what_is_drawn_in_a_step_is_its_own():
    first = {mixture_generator(seed, step).random() for seed in range(3) for step in range(10)}
    assert len(first) == 30
    assert mixture_generator(1, 2).random() == mixture_generator(1, 2).random()
    seeds = {model_seed(seed, step, rank) for seed in range(3) for step in range(3) for rank in range(3)}
    assert len(seeds) == 27
    assert model_seed(1, 2, 3) == model_seed(1, 2, 3)


def test_loading_draws_from_no_global_generator():
    def states():
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    before = states()
    loaded(ALL)
    assert states() == before


def test_loading_changes_no_image():
    split = split_of(size=ALL.source_size)
    before = split.pixels_NSSC.copy()
    split.pixels_NSSC.flags.writeable = False  # as those of a file that is mapped into memory
    for batch in batches(Steps(split, ALL, seed=0), 0, 5):
        batch.pixels_NSSC.zero_()
    np.testing.assert_array_equal(split.pixels_NSSC, before)
