"""Random changes of images: their distributions, and expected pixels that are computed by hand."""

import random
from collections import Counter

import numpy as np
import pytest
import torch

from mvit2_search.records import Recipe
from mvit2_search.train import augment
from mvit2_search.train.augment import (
    OPERATIONS,
    augmented,
    erased,
    mirrored,
    mixed,
    rand_augment,
    random_part,
    resized_crop,
)

ALL = Recipe(
    image_size=32,
    test_crop=0.8,
    crop_area=0.08,
    randaugment_ops=2,
    mixup=0.2,
    cutmix=1.0,
    erasing=0.5,
)
CHANGES = (
    lambda pixels, rng: resized_crop(pixels, 32, 0.08, rng),
    lambda pixels, rng: mirrored(pixels),
    lambda pixels, rng: rand_augment(pixels, 2, 9, rng),
    erased,
    lambda pixels, rng: augmented(pixels, ALL, rng),
)


def generator(seed=0):
    return np.random.default_rng(seed)


def noise(size=40, channels=3):
    return generator(1).integers(0, 256, (size, size, channels), dtype=np.uint8)


def changed(name, magnitude, pixels_SSC, sign=1.0):
    """Pixels after one of RandAugment's operations, as integers that may be subtracted."""
    image = OPERATIONS[name](augment._image(pixels_SSC), magnitude / 30, sign)
    return augment._array(image, pixels_SSC).astype(int)


def grey(values):
    return np.array(values, np.uint8)[..., None]


def every_value():
    """A grey image of 16 x 16 with each value once."""
    return grey(np.arange(256).reshape(16, 16))


# crop


def parts(side, least_area, count=4000):
    rng = generator()
    found = [random_part(side, side, least_area, rng) for _ in range(count)]
    return np.array([[rows.start, rows.stop, columns.start, columns.stop] for rows, columns in found]).T


def test_crops_have_the_published_areas_and_ratios():
    side = 10_000
    top, bottom, left, right = parts(side, 0.08)
    area, ratio = (bottom - top) * (right - left) / side**2, (right - left) / (bottom - top)
    # Of an area a, drawn evenly, a ratio r is accepted if a r <= 1 and a / r <= 1, log r even within log 4/3.
    grid = np.linspace(0.08, 1, 10_001)
    accepted = np.minimum(1, -np.log(grid) / np.log(4 / 3)).cumsum()
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        expected = grid[np.searchsorted(accepted, share * accepted[-1])]
        assert np.quantile(area, share) == pytest.approx(expected, abs=0.025)
    small = np.log(ratio[area < 0.7])  # where every ratio is accepted
    assert np.quantile(small, [0, 0.25, 0.5, 0.75, 1]) == pytest.approx(
        np.log(4 / 3) * np.array([-1, -0.5, 0, 0.5, 1]), abs=0.02
    )


def test_crops_are_anywhere_and_reach_both_edges():
    top, bottom, left, right = parts(12, 0.2)
    for start, stop in ((top, bottom), (left, right)):
        expected = (1 / (12 - (stop - start) + 1)).sum()
        assert (start == 0).sum() == pytest.approx(expected, rel=0.06)
        assert (stop == 12).sum() == pytest.approx(expected, rel=0.06)
        free = stop - start < 12
        assert (start / np.maximum(1, 12 - (stop - start)))[free].mean() == pytest.approx(0.5, abs=0.02)
        assert (start.min(), stop.max()) == (0, 12)


def test_a_crop_shows_its_part_and_nothing_beside_it(monkeypatch):
    pixels = np.zeros((40, 40, 1), np.uint8)
    pixels[10:30, 5:35] = 200
    monkeypatch.setattr(augment, "random_part", lambda *_: (slice(10, 30), slice(5, 35)))
    assert np.unique(resized_crop(pixels, 16, 0.08, generator())) == [200]


def test_a_crop_keeps_what_is_where(monkeypatch):
    rows, columns = np.mgrid[:40, :40]
    pixels = np.stack([6 * rows, 6 * columns, 0 * rows], -1).astype(np.uint8)
    monkeypatch.setattr(augment, "random_part", lambda *_: (slice(8, 24), slice(20, 40)))
    shown = resized_crop(pixels, 64, 0.08, generator()).astype(float) / 6
    at = np.arange(12, 52)  # off the edges, where there is less to interpolate from
    assert shown[at, 30, 0] == pytest.approx(8 + (at + 0.5) * 16 / 64 - 0.5, abs=0.15)
    assert shown[30, at, 1] == pytest.approx(20 + (at + 0.5) * 20 / 64 - 0.5, abs=0.15)


def test_the_whole_image_is_left_where_no_part_fits():
    assert random_part(50, 50, 1.0, generator(3)) == (slice(0, 50), slice(0, 50))


# flip and erasing


@pytest.mark.parametrize("channels", [1, 3])
def test_a_mirrored_image_has_left_and_right_exchanged(channels):
    pixels = noise(channels=channels)
    np.testing.assert_array_equal(mirrored(pixels), pixels[:, ::-1])


def test_half_of_the_images_are_mirrored_and_so_many_are_erased():
    pixels = np.full((32, 32, 1), 255, np.uint8)
    pixels[:, :16] = 200
    rng = generator()
    plain = [augmented(pixels, Recipe(image_size=32, erasing=0.25), rng) for _ in range(2000)]
    assert np.mean([np.median(one[:, 0]) == 255 for one in plain]) == pytest.approx(0.5, abs=0.04)
    assert np.mean([one.min() == 0 for one in plain]) == pytest.approx(0.25, abs=0.04)
    never = [augmented(pixels, Recipe(image_size=32, flip=False), rng) for _ in range(100)]
    assert all((one == pixels).all() for one in never)


def test_without_a_crop_the_centre_is_trained_on():
    pixels = noise(40)
    recipe = Recipe(image_size=32, test_crop=0.8, flip=False)
    np.testing.assert_array_equal(augmented(pixels, recipe, generator()), pixels[4:36, 4:36])


def erased_rectangles(side, count):
    """Top, bottom, left and right of each; there is nothing but the rectangle in an image."""
    rng = generator()
    found = []
    for _ in range(count):
        black = (erased(np.full((side, side, 3), 7, np.uint8), rng) == 0).all(-1)
        rows, columns = np.flatnonzero(black.any(1)), np.flatnonzero(black.any(0))
        found.append([rows[0], rows[-1] + 1, columns[0], columns[-1] + 1])
        assert black.sum() == len(rows) * len(columns)
    return np.array(found).T


def test_erased_rectangles_have_the_published_areas_and_ratios():
    top, bottom, left, right = erased_rectangles(100, 1000)
    area, ratio = (bottom - top) * (right - left) / 100**2, (bottom - top) / (right - left)
    assert np.quantile(area, [0, 0.25, 0.5, 0.75, 1]) == pytest.approx(
        [0.02, 0.0975, 0.175, 0.2525, 0.33], abs=0.02
    )
    low, high = np.log(0.3), np.log(3.3)
    spread = np.quantile(np.log(ratio), [0, 0.25, 0.5, 0.75, 1])
    assert spread == pytest.approx(low + (high - low) * np.array([0, 0.25, 0.5, 0.75, 1]), abs=0.12)


def test_erased_rectangles_are_anywhere_and_reach_both_edges():
    top, bottom, left, right = erased_rectangles(8, 2000)
    for start, stop in ((top, bottom), (left, right)):
        expected = (1 / (8 - (stop - start) + 1)).sum()
        assert (start == 0).sum() == pytest.approx(expected, rel=0.1)
        assert (stop == 8).sum() == pytest.approx(expected, rel=0.1)


# RandAugment


def test_posterize_keeps_the_published_bits():
    # 8 - round(m / 7.5)
    bits = [8] * 4 + [7] * 8 + [6] * 7 + [5] * 8 + [4] * 4
    assert len(bits) == 31
    for magnitude, kept in enumerate(bits):
        expected = every_value() // 2 ** (8 - kept) * 2 ** (8 - kept)
        np.testing.assert_array_equal(changed("posterize", magnitude, every_value()), expected)


def test_solarize_inverts_from_the_published_threshold_on():
    for magnitude in range(31):
        values = every_value().astype(int)
        expected = np.where(values < 255 - 8.5 * magnitude, values, 255 - values)
        np.testing.assert_array_equal(changed("solarize", magnitude, every_value()), expected)


@pytest.mark.parametrize(("magnitude", "pixels"), [(9, 43), (30, 145), (0, 0)])  # 150 / 331 of 320, rounded down
def test_translate_moves_by_whole_pixels_and_leaves_black(magnitude, pixels):
    image = noise(320)
    stay = slice(320 - pixels)
    for sign, kept, new, lost in (
        (1.0, stay, slice(pixels, None), slice(320 - pixels, None)),
        (-1.0, slice(pixels, None), stay, slice(pixels)),
    ):
        moved = changed("translate x", magnitude, image, sign)
        np.testing.assert_array_equal(moved[:, kept], image[:, new])
        assert not moved[:, lost].any()
        turned = changed("translate y", magnitude, image.transpose(1, 0, 2), sign)
        np.testing.assert_array_equal(turned, moved.transpose(1, 0, 2))


def ramp(size=50):
    """Grey, five for each column."""
    return grey(np.tile(5 * np.arange(size), (size, 1)))


def test_shear_leaves_the_top_left_corner_where_it_is():
    rows, columns = np.mgrid[:50, :50]
    for sign in (1.0, -1.0):
        source = columns + sign * 0.3 * (20 / 30) * (rows + 0.5)  # of the middle of each pixel
        inside = (source > 0) & (source < 49)
        assert inside.sum() > 1500
        sheared = changed("shear x", 20, ramp(), sign)[..., 0]
        np.testing.assert_allclose(sheared[inside], 5 * source[inside], atol=1.01)
        assert not sheared[(source < -1) | (source > 50)].any()
        turned = changed("shear y", 20, ramp().transpose(1, 0, 2), sign)[..., 0]
        np.testing.assert_array_equal(turned.T, sheared)


@pytest.mark.parametrize(("magnitude", "degrees"), [(30, 30), (9, 9), (0, 0)])
def test_rotation_is_about_the_middle(magnitude, degrees):
    rows, columns = np.mgrid[:50, :50] - 24.5
    for sign in (1.0, -1.0):
        angle = np.radians(sign * degrees)  # against the clock: what is below comes to the right
        source = 24.5 + np.cos(angle) * columns - np.sin(angle) * rows
        inside = np.hypot(rows, columns) < 24
        rotated = changed("rotate", magnitude, ramp(), sign)[..., 0]
        np.testing.assert_allclose(rotated[inside], 5 * source[inside], atol=1.01)


FACTORS = [(9, 1.0, 1.27), (9, -1.0, 0.73), (30, 1.0, 1.9), (30, -1.0, 0.1), (0, 1.0, 1.0)]


@pytest.mark.parametrize(("magnitude", "sign", "factor"), FACTORS)
def test_enhancements_go_by_the_published_factor(magnitude, sign, factor):
    pixels = noise(20)
    brightness = (pixels * factor).clip(0, 255)
    np.testing.assert_allclose(changed("brightness", magnitude, pixels, sign), brightness, atol=1)
    luma = pixels @ [0.299, 0.587, 0.114]  # ITU-R 601
    colour = (luma[..., None] + factor * (pixels - luma[..., None])).clip(0, 255)
    np.testing.assert_allclose(changed("colour", magnitude, pixels, sign), colour, atol=1.5)
    contrast = (luma.mean() + factor * (pixels - luma.mean())).clip(0, 255)
    np.testing.assert_allclose(changed("contrast", magnitude, pixels, sign), contrast, atol=1.5)


@pytest.mark.parametrize(("magnitude", "sign", "factor"), FACTORS)
def test_sharpness_moves_a_pixel_away_from_its_neighbours(magnitude, sign, factor):
    pixels = np.full((9, 9, 1), 50, np.uint8)
    pixels[4, 4] = 115
    smooth = 50 + 65 * np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    expected = np.full((9, 9), 50.0)
    expected[3:6, 3:6] = smooth + factor * (pixels[3:6, 3:6, 0] - smooth)
    np.testing.assert_allclose(changed("sharpness", magnitude, pixels, sign)[..., 0], expected, atol=1)


def test_contrast_and_histogram_are_stretched():
    pixels = grey(np.repeat([10, 11, 12, 13], 255).reshape(30, 34))
    assert sorted({*changed("equalize", 9, pixels).flat}) == [0, 85, 170, 255]
    assert sorted({*changed("autocontrast", 9, pixels).flat}) == [0, 85, 170, 255]
    pixels = grey([[10, 20], [20, 60]])
    np.testing.assert_allclose(changed("autocontrast", 9, pixels)[..., 0], [[0, 51], [51, 255]], atol=1)
    np.testing.assert_array_equal(changed("identity", 9, pixels), pixels)


def test_each_operation_comes_as_often_in_either_direction(monkeypatch):
    drawn = Counter()
    for name in OPERATIONS:
        monkeypatch.setitem(
            OPERATIONS,
            name,
            lambda image, strength, sign, name=name: drawn.update([(name, strength, sign)]) or image,
        )
    rng, pixels = generator(), noise(8)
    for _ in range(1400):
        rand_augment(pixels, 2, 9, rng)
    assert len(drawn) == 28  # fourteen operations, of one strength, in two directions
    assert sum(drawn.values()) == 2800
    assert {strength for _, strength, _ in drawn} == {0.3}
    assert all(60 < count < 140 for count in drawn.values())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_keep_shape_and_type_of_grey_and_colour(name, channels):
    pixels = noise(channels=channels)
    for magnitude in (0, 9, 30):
        image = OPERATIONS[name](augment._image(pixels), magnitude / 30, -1.0)
        result = augment._array(image, pixels)
        assert (result.shape, result.dtype) == (pixels.shape, np.uint8)


def test_magnitude_zero_changes_nothing_but_what_has_no_strength():
    pixels = noise() // 2  # solarize inverts 255 at any strength
    same = {name for name in OPERATIONS if (changed(name, 0, pixels) == pixels).all()}
    assert same == {*OPERATIONS} - {"autocontrast", "equalize"}


# all changes


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("change", CHANGES)
def test_no_change_touches_its_input(change, channels):
    pixels = noise(channels=channels)
    pixels.flags.writeable = False  # as those of a file that is mapped into memory
    before = pixels.copy()
    for seed in range(20):
        result = change(pixels, generator(seed))
        assert (result.ndim, result.shape[2], result.dtype) == (3, channels, np.uint8)
        np.testing.assert_array_equal(result, change(pixels, generator(seed)))
    np.testing.assert_array_equal(pixels, before)


def test_nothing_draws_from_a_global_generator():
    def states():
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    before = states()
    for change in CHANGES:
        change(noise(), generator())
    mixed(torch.zeros(4, 3, 8, 8), ALL, generator())
    assert states() == before


def test_an_image_has_the_size_of_the_recipe():
    for seed in range(20):
        assert augmented(noise(), ALL, generator(seed)).shape == (32, 32, 3)


# mixing


def numbered(count=6, channels=3, size=16):
    """Images of one value each, their own number."""
    return torch.arange(count).float()[:, None, None, None].expand(count, channels, size, size).clone()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alphas", [{"mixup": 0.2}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 1.0}])
def test_labels_are_shared_as_pixels_are(alphas, channels):
    x = numbered(channels=channels)
    for seed in range(50):
        result, partners, own = mixed(x, Recipe(**alphas), generator(seed))
        assert partners.tolist() == [1, 0, 3, 2, 5, 4]
        assert 0 <= own <= 1
        expected = own * torch.arange(6) + (1 - own) * partners
        np.testing.assert_allclose(result.mean((1, 2, 3)), expected, atol=1e-5)
    assert torch.equal(x, numbered(channels=channels))


def test_mixup_has_one_share_everywhere_and_cutmix_one_rectangle():
    x = numbered(2)
    result, _, own = mixed(x, Recipe(mixup=0.2), generator())
    assert (result[0] == 1 - own).all()
    for seed in range(30):
        result, _, own = mixed(x, Recipe(cutmix=1.0), generator(seed))
        cut = result[0] == 1
        assert ((result[0] == 0) | cut).all()
        height, width = cut[0].any(1).sum(), cut[0].any(0).sum()
        assert height * width == cut[0].sum() == round((1 - own) * 256)
        assert torch.equal(result[1], 1 - result[0])


def test_shares_have_the_published_distribution():
    rng, x = generator(), numbered(2, channels=1, size=32)
    mixup = [mixed(x, Recipe(mixup=0.2), rng)[2] for _ in range(2000)]
    assert np.mean(mixup) == pytest.approx(0.5, abs=0.03)
    assert np.var(mixup) == pytest.approx(1 / (4 * (2 * 0.2 + 1)), abs=0.01)  # of Beta(0.2, 0.2)
    cutmix = [mixed(x, Recipe(cutmix=1.0), rng)[2] for _ in range(2000)]
    # A strip of length l with its middle anywhere covers l - l^2 / 4 of a side of 1; l^2 is even from 0 to 1.
    lengths = np.sqrt(np.linspace(0, 1, 10_001))
    assert np.mean(cutmix) == pytest.approx(1 - np.mean((lengths - lengths**2 / 4) ** 2), abs=0.02)


def test_cutmix_reaches_all_edges_alike():
    rng, x = generator(), numbered(2, channels=1, size=8)
    cuts = [mixed(x, Recipe(cutmix=1.0), rng)[0][0, 0].numpy() for _ in range(4000)]
    for axis in (1, 2):
        reached = np.any(cuts, axis).sum(0)
        np.testing.assert_allclose(reached, reached[::-1], rtol=0.07)
        assert 1000 < reached.min() < reached.max() < 4000


def test_of_both_each_batch_gets_either():
    rng, x = generator(), numbered(2)
    both = Recipe(mixup=5.0, cutmix=1.0)
    cuts = [set(mixed(x, both, rng)[0].unique().tolist()) <= {0.0, 1.0} for _ in range(1000)]
    assert np.mean(cuts) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("alphas", [{"mixup": 0.2}, {"cutmix": 1.0}])
def test_the_last_of_an_odd_batch_stays_as_it_is(alphas):
    result, partners, _ = mixed(numbered(5), Recipe(**alphas), generator())
    assert partners.tolist() == [1, 0, 3, 2, 4]
    np.testing.assert_allclose(result[4], numbered(5)[4], atol=1e-6)


@pytest.mark.parametrize("alphas", [{"mixup": 0.2}, {"cutmix": 1.0}])
def test_even_parts_are_mixed_as_the_whole_batch(alphas):
    x = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    whole, _, own = mixed(x, Recipe(**alphas), generator(7))
    for part, expected in zip(x.split(2), whole.split(2), strict=True):
        result, partners, share = mixed(part, Recipe(**alphas), generator(7))
        assert (partners.tolist(), share) == ([1, 0], own)
        assert torch.equal(result, expected)
