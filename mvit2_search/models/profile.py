"""The cost of a built network, counted by fvcore on its traced graph.

The network is counted as the papers write it, with a key for every token, to compare with their numbers.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn

from mvit2_search.arch import STAGES, ArchConfig
from mvit2_search.arch.head import IMAGENET, Head
from mvit2_search.models.formulations import formulated
from mvit2_search.models.mobilevit import MobileViT

with warnings.catch_warnings(action="ignore"):  # it compiles losses with what torch calls deprecated
    from fvcore.nn import FlopCountAnalysis

_MACS = ("conv", "linear", "addmm", "mm", "bmm", "matmul", "einsum")


@dataclass(frozen=True, kw_only=True, slots=True)
class PartCost:
    """One part of a network at batch 1.

    `macs` are multiply-adds of convolutions, linear layers and matrix products. `other_ops` count the elements of
    all other operators: the outputs of an element-wise operator, the inputs of a sum or mean, and twice the inputs
    of a norm or softmax, which read them twice.
    """

    part: str
    params: int
    macs: int
    other_ops: int


def profile(arch: ArchConfig, head: Head = IMAGENET) -> list[PartCost]:
    """One row each for stem, stages 1 to 5, classifier and total."""
    with torch.device("meta"):  # the values of the weights do not matter
        model = formulated(MobileViT(arch, head), "pixel_unshuffle")
    model = model.to_empty(device="cpu")
    counts = _counts(model, arch.image_size)
    rows = [_cost("stem", model.stem, counts["stem"])]
    rows += [_cost(f"stage{i + 1}", model.stages[i], counts[f"stages.{i}"]) for i in range(STAGES)]
    total = _cost("total", model, counts[""])
    rest = {  # with the pooling, which is no module
        name: getattr(total, name) - sum(getattr(row, name) for row in rows)
        for name in ("params", "macs", "other_ops")
    }
    return [*rows, PartCost(part="classifier", **rest), total]


def _counts(model: nn.Module, image_size: int) -> dict[str, Counter[str]]:
    """Operator counts by module; raises NotImplementedError if any operator has no handler."""
    analysis = FlopCountAnalysis(model, (torch.zeros(1, 3, image_size, image_size),))
    analysis.set_op_handle(**_HANDLERS)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    with warnings.catch_warnings(action="ignore"):
        counts: dict[str, Counter[str]] = analysis.by_module_and_operator()
    if missing := analysis.unsupported_ops():
        raise NotImplementedError(f"no handler counts {', '.join(sorted(missing))}")
    return counts


def _cost(name: str, module: nn.Module, counts: Counter[str]) -> PartCost:
    params = sum(p.numel() for p in module.parameters())
    macs = sum(count for operator, count in counts.items() if operator in _MACS)
    return PartCost(part=name, params=params, macs=int(macs), other_ops=int(sum(counts.values()) - macs))


def _elements(values: list[Any]) -> int:
    return prod(values[0].type().sizes())


_ELEMENT_WISE = ("add", "add_", "mul", "relu", "silu", "silu_", "upsample_bilinear2d")
_NORMS = ("softmax", "group_norm", "layer_norm", "batch_norm")
_HANDLERS: dict[str, Callable[[list[Any], list[Any]], int] | None] = {
    # fvcore's own handler leaves out the batch where a matrix multiplies a batch of matrices
    "aten::matmul": lambda inputs, outputs: _elements(outputs) * int(inputs[0].type().sizes()[-1]),
    **{f"aten::{name}": lambda inputs, outputs: _elements(outputs) for name in _ELEMENT_WISE},
    **{f"aten::{name}": lambda inputs, outputs: _elements(inputs) for name in ("sum", "mean")},
    **{f"aten::{name}": lambda inputs, outputs: 2 * _elements(inputs) for name in _NORMS},
    **{f"aten::{name}": None for name in ("pixel_shuffle", "pixel_unshuffle")},  # they move values only
}
