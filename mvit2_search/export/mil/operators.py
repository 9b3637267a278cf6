"""In torch, the operators of which our networks consist as ML Programs, as coremltools' MIL reference says.

Parameters have MIL's names. Their annotations say what they take: tensors are converted to the precision of the
arithmetic, everything else must be a constant of just that type.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mvit2_search.export.mil.mlpackage import require

Operator = Callable[..., Tensor | list[Tensor]]


def conv(
    *,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: list[int],
    pad_type: str,
    pad: list[int],
    dilations: list[int],
    groups: int,
) -> Tensor:
    require(pad_type in ("custom", "valid"), f"padding {pad_type!r} is not known here")
    if pad_type == "custom":
        top, bottom, left, right = pad
        x = F.pad(x, (left, right, top, bottom))
    return F.conv2d(x, weight, bias, strides, 0, dilations, groups)


def linear(*, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight, bias)


def matmul(*, x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    return (x.transpose(-1, -2) if transpose_x else x) @ (y.transpose(-1, -2) if transpose_y else y)


def batch_norm(
    *,
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    def by_channel(values: Tensor) -> Tensor:
        require(values.shape == (x.shape[1],), f"a value per channel has the shape {list(values.shape)}")
        return values.reshape(-1, *[1] * (x.ndim - 2))

    y = (x - by_channel(mean)) / (by_channel(variance) + epsilon).sqrt()
    y = y if gamma is None else y * by_channel(gamma)
    return y if beta is None else y + by_channel(beta)


def layer_norm(
    *,
    x: Tensor,
    axes: list[int],
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    are_last = [axis % x.ndim for axis in axes] == list(range(x.ndim - len(axes), x.ndim))
    require(are_last, f"axes {axes} of {x.ndim} are not the last ones")
    shape = x.shape[-len(axes) :]
    fit = all(values is None or values.shape == shape for values in (gamma, beta))
    require(fit, f"gamma and beta have the shape {list(shape)}")
    centred = x - x.mean(axes, keepdim=True)
    y = centred / (centred.square().mean(axes, keepdim=True) + epsilon).sqrt()
    y = y if gamma is None else y * gamma
    return y if beta is None else y + beta


def softmax(*, x: Tensor, axis: int = -1) -> Tensor:
    return x.softmax(axis)


def reduce_mean(*, x: Tensor, axes: list[int], keep_dims: bool = False) -> Tensor:
    return x.mean(axes, keepdim=keep_dims)


def reduce_sum(*, x: Tensor, axes: list[int], keep_dims: bool = False) -> Tensor:
    return x.sum(axes, keepdim=keep_dims)


def reshape(*, x: Tensor, shape: list[int]) -> Tensor:
    require(min(shape) >= -1 and 0 not in shape, f"the shape {shape} is not known here")
    return x.reshape(shape)


def transpose(*, x: Tensor, perm: list[int]) -> Tensor:
    return x.permute(perm)


def squeeze(*, x: Tensor, axes: list[int]) -> Tensor:
    are_single = all(x.shape[axis] == 1 for axis in axes)
    require(are_single, f"axes {axes} of {list(x.shape)} are not of size 1")
    return x.squeeze(axes)


def expand_dims(*, x: Tensor, axes: list[int]) -> Tensor:
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def split(*, x: Tensor, axis: int, split_sizes: list[int] | None = None, num_splits: int = 0) -> list[Tensor]:
    sizes = split_sizes or [x.shape[axis] // num_splits] * num_splits
    return list(torch.split(x, sizes, axis))


def concat(*, values: list[Tensor], axis: int, interleave: bool = False) -> Tensor:
    require(not interleave, "interleaving is not known here")
    return torch.cat(values, axis)


def pixel_unshuffle(*, x: Tensor, downscale_factor: int) -> Tensor:
    (batch, channels, height, width), f = x.shape, downscale_factor
    split_up = x.reshape(batch, channels, height // f, f, width // f, f)
    return split_up.permute(0, 1, 3, 5, 2, 4).reshape(batch, channels * f * f, height // f, width // f)


def pixel_shuffle(*, x: Tensor, upscale_factor: int) -> Tensor:
    (batch, channels, height, width), f = x.shape, upscale_factor
    split_up = x.reshape(batch, channels // f**2, f, f, height, width)
    return split_up.permute(0, 1, 4, 2, 5, 3).reshape(batch, channels // f**2, height * f, width * f)


def upsample_bilinear(
    *,
    x: Tensor,
    scale_factor_height: float = 1.0,
    scale_factor_width: float = 1.0,
    align_corners: bool = True,
) -> Tensor:
    """The distance of the samples follows from the sizes, not from the factors, which only give the sizes."""
    size = [math.floor(x.shape[-2] * scale_factor_height), math.floor(x.shape[-1] * scale_factor_width)]
    return F.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)


def _of_one(compute: Callable[[Tensor], Tensor]) -> Operator:
    def operator(*, x: Tensor) -> Tensor:
        return compute(x)

    return operator


def _of_two(compute: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    def operator(*, x: Tensor, y: Tensor) -> Tensor:
        return compute(x, y)

    return operator


OPERATORS: dict[str, Operator] = {
    "add": _of_two(torch.add),
    "sub": _of_two(torch.sub),
    "mul": _of_two(torch.mul),
    "real_div": _of_two(torch.div),
    "square": _of_one(lambda x: x * x),
    "sqrt": _of_one(torch.sqrt),
    "relu": _of_one(lambda x: x.clamp(min=0)),
    "silu": _of_one(lambda x: x * x.sigmoid()),
    "identity": _of_one(lambda x: x),
} | {
    function.__name__: function
    for function in (
        *(conv, linear, matmul, batch_norm, layer_norm, softmax, reduce_mean, reduce_sum),
        *(reshape, transpose, squeeze, expand_dims, split, concat),
        *(pixel_unshuffle, pixel_shuffle, upsample_bilinear),
    )
}
for _name, _operator in OPERATORS.items():
    _operator.__qualname__ = _name  # Python's errors name it
