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
    parts: list[tuple[str, nn.Module, str]] = [("stem", model.stem, "stem")]
    parts += [(f"stage{i + 1}", model.stages[i], f"stages.{i}") for i in range(STAGES)]
    rows = [_cost(name, module, counts[path]) for name, module, path in parts]
    total = _cost("total", model, counts[""])
    return [*rows, _rest(rows, total), total]


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
    macs = sum(count for operator, count in counts.items() if operator in _MACS)
    return PartCost(
        part=name,
        params=sum(p.numel() for p in module.parameters()),
        macs=int(macs),
        other_ops=int(sum(counts.values()) - macs),
    )


def _rest(rows: list[PartCost], total: PartCost) -> PartCost:
    """The classifier, with the pooling before it, which is no module."""
    return PartCost(
        part="classifier",
        params=total.params - sum(row.params for row in rows),
        macs=total.macs - sum(row.macs for row in rows),
        other_ops=total.other_ops - sum(row.other_ops for row in rows),
    )


def _elements(values: list[Any]) -> int:
    return prod(values[0].type().sizes())


def _per_output(inputs: list[Any], outputs: list[Any]) -> int:
    return _elements(outputs)


def _per_input(inputs: list[Any], outputs: list[Any]) -> int:
    return _elements(inputs)


def _twice_per_input(inputs: list[Any], outputs: list[Any]) -> int:
    return 2 * _elements(inputs)


def _product(inputs: list[Any], outputs: list[Any]) -> int:
    """fvcore's own handler leaves out the batch where a matrix multiplies a batch of matrices."""
    return _elements(outputs) * int(inputs[0].type().sizes()[-1])


_ELEMENT_WISE = ("add", "add_", "mul", "relu", "silu", "silu_", "upsample_bilinear2d")
_HANDLERS: dict[str, Callable[[list[Any], list[Any]], int] | None] = {
    "aten::matmul": _product,
    **dict.fromkeys([f"aten::{name}" for name in _ELEMENT_WISE], _per_output),
    **dict.fromkeys(("aten::sum", "aten::mean"), _per_input),
    **dict.fromkeys(
        ("aten::softmax", "aten::group_norm", "aten::layer_norm", "aten::batch_norm"), _twice_per_input
    ),
    **dict.fromkeys(("aten::pixel_shuffle", "aten::pixel_unshuffle"), None),  # they move values only
}
