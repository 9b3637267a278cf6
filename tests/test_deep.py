"""Images of more than 8 bits: one range for a whole data set."""

import random

import numpy as np
import pytest
from PIL import Image

from mvit2_search.errors import DataError
from mvit2_search.task.data.load import load_dataset, load_images


def write_deep(folder, values, *, dtype=np.uint16, ending="png", count=10):
    """Two classes of noise up to each value: `values` are the brightest of the images in turn."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.uniform(0, 1, (12, 12)) * values[i % len(values)]
            Image.fromarray(pixels.astype(dtype)).save(folder / name / f"{i}.{ending}")
    return folder


def load(folder, size=12):
    return load_dataset(str(folder), image_size=size, max_train=10_000)


def pixels_of(data):
    return np.concatenate([part.pixels_NSSC for part in (data.train, data.selection, data.confirmation)])


@pytest.mark.slow
@pytest.mark.parametrize("top", [255, 4095, 16383, 65535])
def test_sensors_of_fewer_bits_in_files_of_16(tmp_path, run_on, top):
    folder = write_deep(tmp_path / "images", [top])
    pixels = pixels_of(load(folder))
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert pixels.std() > 60  # even noise has 74
    result = run_on(folder)
    assert result.exit_code == 0
    assert "(white), in all parts alike" in result.output


@pytest.mark.parametrize(
    ("values", "dtype", "ending"),
    [
        ([0.5, 1.0], np.float32, "tiff"),
        ([100.0, 200.0], np.float32, "tiff"),
        ([-1000.0, 3000.0], np.float32, "tiff"),
        ([1e-5, 1e-4], np.float32, "tiff"),
        ([300, 2000], np.int32, "tiff"),
        ([-500, 2000], np.int32, "tiff"),
        ([10**6, 2 * 10**9], np.int32, "tiff"),
        ([800, 1600], np.uint16, "tiff"),
    ],
)
def test_any_values_become_black_to_white(tmp_path, values, dtype, ending):
    pixels = pixels_of(load(write_deep(tmp_path, values, dtype=dtype, ending=ending)))
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_brighter_images_stay_brighter_in_every_part(tmp_path):
    """One image in five is four times as bright, wherever it lies."""
    data = load(write_deep(tmp_path, [1000, 1000, 1000, 1000, 4000], count=50))
    for part in (data.train, data.selection, data.confirmation):
        means = part.pixels_NSSC.mean((1, 2, 3))
        bright = means > 80
        assert 0 < bright.sum() < len(part)
        assert means[bright].mean() / means[~bright].mean() == pytest.approx(4, rel=0.1)


def test_the_order_of_reading_makes_no_difference(tmp_path):
    folder = write_deep(tmp_path, [random.Random(0).randrange(300, 5000) for _ in range(10)], count=30)
    first, second = load(folder), load(folder)
    np.testing.assert_array_equal(pixels_of(first), pixels_of(second))
    assert first.notes == second.notes


def test_the_range_is_that_of_deep_images_alone(tmp_path):
    folder = write_deep(tmp_path, [1000])
    Image.new("RGB", (12, 12), (200, 100, 50)).save(folder / "a" / "colour.png")
    pixels = pixels_of(load(folder)).reshape(-1, 3)
    assert [200, 100, 50] in pixels.tolist()
    assert pixels.max() == 255


def test_what_is_no_number_is_black(tmp_path):
    folder = write_deep(tmp_path, [1.0], dtype=np.float32, ending="tiff")
    odd = np.full((12, 12), 0.5, np.float32)
    odd[:6] = np.nan
    odd[0] = np.inf
    Image.fromarray(odd).save(folder / "a" / "0.tiff")
    assert pixels_of(load(folder)).max() == 255
    for path in folder.rglob("*.tiff"):
        Image.fromarray(np.full((12, 12), np.nan, np.float32)).save(path)
    with pytest.raises(DataError, match="no value is a finite number"):
        load(folder)


def test_what_is_infinite_is_white_or_black(tmp_path):
    folder = write_deep(tmp_path, [1.0], dtype=np.float32, ending="tiff")
    for path in folder.rglob("*.tiff"):
        Image.fromarray(np.repeat([[-np.inf, 0, 1, np.inf]], 4, axis=0).astype(np.float32)).save(path)
    rows = pixels_of(load(folder, size=4))[..., 0].reshape(-1, 4)
    assert np.array_equal(rows, np.repeat([[0, 0, 255, 255]], len(rows), axis=0))


def test_images_to_verify_with_are_not_black(tmp_path):
    images = load_images(str(write_deep(tmp_path, [200])), image_size=12, count=3)
    assert images.shape == (3, 12, 12, 3)
    assert images.max() == 255


def test_images_without_a_difference_are_refused(tmp_path, run_on):
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(5):
            Image.new("RGB", (8 + i, 8)).save(tmp_path / "images" / name / f"{i}.png")
    result = run_on("images")
    assert result.exit_code == 4
    assert "all pixels of all training images are equal" in result.stderr


def test_images_with_hardly_a_difference_are_noted(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(5):
            Image.fromarray(rng.integers(0, 16, (8, 8, 3), dtype=np.uint8)).save(tmp_path / name / f"{i}.png")
    assert any("low contrast" in note for note in load(tmp_path).notes)


def test_an_outlier_that_leaves_hardly_a_difference_is_noted(tmp_path):
    folder = write_deep(tmp_path, [1.0], dtype=np.float32, ending="tiff", count=30)
    assert not any("low contrast" in note for note in load(folder).notes)
    Image.fromarray(np.full((12, 12), -9999, np.float32)).save(folder / "a" / "0.tiff")
    assert any(
        "low contrast: 90 % of the training images' values lie from 255 to 255" in note
        for note in load(folder).notes
    )


@pytest.mark.parametrize("dots", [0, 1])
def test_drawings_of_few_lines_and_plain_colours_have_differences(tmp_path, dots):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(10):
            image = Image.new("L", (12, 12 + i), 255 if dots else 20 * i)
            image.putpixel((6, 6 + i // 2), 0)
            image.save(tmp_path / name / f"{i}.png")
    assert not any("low contrast" in note for note in load(tmp_path).notes)
