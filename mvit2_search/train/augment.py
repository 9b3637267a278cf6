"""Random changes of training images. Each draws from the generator that it is given, and from nothing else."""

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from mvit2_search.records import Recipe
from mvit2_search.task.data.dataset import centre

_RATIO = (3 / 4, 4 / 3)  # of the sides of a random crop
_CROP_TRIES = 10
_ERASED_AREA, _ERASED_RATIO = (0.02, 0.33), (0.3, 3.3)  # as in torchvision
_BINS = 31  # of RandAugment's magnitudes, from 0 to 30


def augmented(pixels_HWC: np.ndarray, recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """A training image, uint8, of `recipe.image_size` pixels from one that is not smaller.

    In the order of ml-cvnets: crop, flip, RandAugment, erasing.
    """
    size = recipe.image_size
    if recipe.crop_area < 1:
        pixels_SSC = resized_crop(pixels_HWC, size, recipe.crop_area, rng)
    else:
        pixels_SSC = centre(pixels_HWC, size)
    if recipe.flip and rng.random() < 0.5:
        pixels_SSC = mirrored(pixels_SSC)
    if recipe.randaugment_ops:
        pixels_SSC = rand_augment(pixels_SSC, recipe.randaugment_ops, recipe.randaugment_magnitude, rng)
    if recipe.erasing and rng.random() < recipe.erasing:
        pixels_SSC = erased(pixels_SSC, rng)
    return pixels_SSC


def resized_crop(pixels_HWC: np.ndarray, size: int, least_area: float, rng: np.random.Generator) -> np.ndarray:
    """A random part of the image, scaled to `size`."""
    height, width, _ = pixels_HWC.shape
    part = _image(pixels_HWC[random_part(height, width, least_area, rng)])
    return _array(part.resize((size, size), Image.Resampling.BICUBIC), pixels_HWC)


def random_part(height: int, width: int, least_area: float, rng: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a random rectangle in an image (Szegedy et al., arXiv 1409.4842).

    Its sides are in a ratio of 3/4 to 4/3. Where none is found in ten tries, the largest such one in the centre.
    """
    for _ in range(_CROP_TRIES):
        area, ratio = height * width * rng.uniform(least_area, 1), _log_uniform(rng, *_RATIO)
        rows, columns = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < rows <= height and 0 < columns <= width:
            return _somewhere(height, rows, rng), _somewhere(width, columns, rng)
    rows, columns = min(height, round(width / _RATIO[0])), min(width, round(height * _RATIO[1]))
    top, left = (height - rows) // 2, (width - columns) // 2
    return slice(top, top + rows), slice(left, left + columns)


def _somewhere(side: int, length: int, rng: np.random.Generator) -> slice:
    start = int(rng.integers(0, side - length, endpoint=True))
    return slice(start, start + length)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def mirrored(pixels_SSC: np.ndarray) -> np.ndarray:
    """A copy with left and right exchanged. By torch: NumPy would copy it byte by byte."""
    return torch.from_numpy(pixels_SSC.copy()).flip(1).numpy()


def erased(pixels_SSC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy with a black rectangle (Zhong et al., arXiv 1708.04896)."""
    side = len(pixels_SSC)
    for _ in range(_CROP_TRIES):
        area, ratio = side**2 * rng.uniform(*_ERASED_AREA), _log_uniform(rng, *_ERASED_RATIO)
        height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if height < side and width < side:
            pixels_SSC = pixels_SSC.copy()
            pixels_SSC[_somewhere(side, height, rng), _somewhere(side, width, rng)] = 0
            break
    return pixels_SSC


Operation = Callable[[Image.Image, float, float], Image.Image]
"""Changes an image by a strength from 0 to 1, in the direction 1 or -1 where there are two."""


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    return lambda image, strength, sign: kind(image).enhance(1 + sign * 0.9 * strength)


def _moved(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def _translation(image: Image.Image, strength: float, sign: float) -> int:
    return int(sign * strength * image.width * 150 / 331)


OPERATIONS: dict[str, Operation] = {  # with the ranges of torchvision's RandAugment, which ml-cvnets uses
    "identity": lambda image, strength, sign: image,
    "shear x": lambda image, strength, sign: _moved(image, 1, sign * 0.3 * strength, 0, 0, 1, 0),
    "shear y": lambda image, strength, sign: _moved(image, 1, 0, 0, sign * 0.3 * strength, 1, 0),
    "translate x": lambda image, strength, sign: _moved(image, 1, 0, _translation(image, strength, sign), 0, 1, 0),
    "translate y": lambda image, strength, sign: _moved(image, 1, 0, 0, 0, 1, _translation(image, strength, sign)),
    "rotate": lambda image, strength, sign: image.rotate(sign * 30 * strength, Image.Resampling.BILINEAR),
    "brightness": _enhanced(ImageEnhance.Brightness),
    "colour": _enhanced(ImageEnhance.Color),
    "contrast": _enhanced(ImageEnhance.Contrast),
    "sharpness": _enhanced(ImageEnhance.Sharpness),
    "posterize": lambda image, strength, sign: ImageOps.posterize(image, 8 - round(4 * strength)),
    "solarize": lambda image, strength, sign: ImageOps.solarize(image, math.ceil(255 - 255 * strength)),
    "autocontrast": lambda image, strength, sign: ImageOps.autocontrast(image),
    "equalize": lambda image, strength, sign: ImageOps.equalize(image),
}


def rand_augment(pixels_SSC: np.ndarray, count: int, magnitude: int, rng: np.random.Generator) -> np.ndarray:
    """So many random operations of one magnitude from 0 to 30 (Cubuk et al., arXiv 1909.13719)."""
    image = _image(pixels_SSC)
    operations = list(OPERATIONS.values())
    for number in rng.integers(len(operations), size=count):
        image = operations[number](image, magnitude / (_BINS - 1), 1.0 if rng.random() < 0.5 else -1.0)
    return _array(image, pixels_SSC)


def _image(pixels_SSC: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels_SSC if pixels_SSC.shape[2] == 3 else pixels_SSC[..., 0]))


def _array(image: Image.Image, like_HWC: np.ndarray) -> np.ndarray:
    """Its pixels, with as many channels as those that it was made of."""
    return np.asarray(image).reshape(image.height, image.width, like_HWC.shape[2])


def mixed(x_BCHW: Tensor, recipe: Recipe, rng: np.random.Generator) -> tuple[Tensor, Tensor, float]:
    """The images of a batch, each mixed with its neighbour, which of them each got, and what is left of its own.

    MixUp (Zhang et al., arXiv 1710.09412) or CutMix (Yun et al., 1905.04899), of both either with the same chance.
    Neighbours are the first and second, third and fourth: a batch that is divided into parts of even size is mixed
    as the whole one.
    """
    count = len(x_BCHW)
    partners_B = torch.arange(count, device=x_BCHW.device).bitwise_xor(1).clamp(max=count - 1)
    cuts = recipe.cutmix > 0 and (recipe.mixup == 0 or rng.random() < 0.5)
    alpha = recipe.cutmix if cuts else recipe.mixup
    own = float(rng.beta(alpha, alpha))
    other_BCHW = x_BCHW[partners_B]
    if not cuts:
        return x_BCHW * own + other_BCHW * (1 - own), partners_B, own
    height, width = x_BCHW.shape[-2:]
    rows, columns = _strip(height, own, rng), _strip(width, own, rng)
    x_BCHW = x_BCHW.clone()
    x_BCHW[..., rows, columns] = other_BCHW[..., rows, columns]
    cut = (rows.stop - rows.start) * (columns.stop - columns.start)
    return x_BCHW, partners_B, 1 - cut / (height * width)


def _strip(side: int, own: float, rng: np.random.Generator) -> slice:
    """A random part of a side. Two of them cover the share 1 - `own` of the image, less what its edges cut off."""
    half, middle = side * math.sqrt(1 - own) / 2, rng.uniform(0, side)
    return slice(max(0, round(middle - half)), min(side, round(middle + half)))
