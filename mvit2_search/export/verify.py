"""Whether an exported file computes what its network does: how far the two agree, and how far they must.

An `.mlpackage` is executed by `export.mil`, everything else by its own runtime on this computer.
"""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mvit2_search.errors import MeasurementError, SpecError
from mvit2_search.export.formats import FORMATS
from mvit2_search.models import MobileViT, for_inference
from mvit2_search.models.attention import MultiHeadAttention
from mvit2_search.records import Artifact, Precision

MAX_ERROR: dict[Precision, float] = {"float32": 1e-4, "float16": 1e-2}  # absolute, of outputs
MIN_COSINE = 0.9999
MAX_WEIGHTS_SHARE = 5e-5  # of the largest output; correct files have up to 2e-5, one wrong weight 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """A figure and what it must be. What is not a number passes nothing."""

    name: str
    figure: float
    limit: float
    passed: bool
    needed: str  # "< 0.01"

    def __str__(self) -> str:
        text = str(self.figure) if isinstance(self.figure, int) else f"{self.figure:.3g}"
        if 0.999 < self.figure < 1:
            text = f"{self.figure:.8f}"
        return f"{'ok  ' if self.passed else 'FAIL'}  {self.name}: {text}, needed {self.needed}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How far a file and its network agree.

    Attributes:
        weights_share: the largest difference, as a share of the largest output, when the file is run in
            double precision and the network has its weights rounded as the file's are; None where the file
            cannot be run so. It finds one wrong weight, which the rounding of every result would hide.
        condition: how far the outputs move, where every weight moves a little, compared with those of usual
            networks. What rounding and a wrong weight do grows with it, and so do the gates.
    """

    images: int
    max_error: float  # largest difference of an output
    cosine: float  # the lowest over the images
    same_top1: int | None  # images on which both name the same class; None where the outputs are no classes
    weights_share: float | None
    condition: float = 1.0
    gates: tuple[Gate, ...]

    @property
    def passed(self) -> bool:
        return all(gate.passed for gate in self.gates)

    def lines(self) -> list[str]:
        """Each figure beside its gate."""
        return list(map(str, self.gates))


def judge(
    precision: Precision,
    expected: np.ndarray,
    found: np.ndarray,
    weights_share: float | None,
    *,
    condition: float = 1.0,
) -> Agreement:
    """Hold the outputs that were found, [N, ...], to the expected ones; the others are as in `Agreement`."""
    images, error, cosine = len(expected), _max_error(expected, found), _lowest_cosine(expected, found)
    same = int((expected.argmax(1) == found.argmax(1)).sum()) if expected.ndim == 2 else None
    poor = max(condition, 1.0)
    gates = [_below("largest error of an output", error, MAX_ERROR[precision] * poor)]
    if precision == "float16":
        gates.append(_above("lowest cosine", cosine, 1 - (1 - MIN_COSINE) * poor**2))
        if same is not None:
            gates.append(_all("images with the same top-1", same, images))
    if weights_share is not None:
        what = "share of the largest output that the weights' rounding leaves open"
        gates.append(_below(what, weights_share, MAX_WEIGHTS_SHARE * condition))
    return Agreement(
        images=images,
        max_error=error,
        cosine=cosine,
        same_top1=same,
        weights_share=weights_share,
        condition=condition,
        gates=tuple(gates),
    )


def share_of_largest(expected: np.ndarray, found: np.ndarray) -> float:
    """Of the largest output. Outputs that are all zero have none, and pass nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.float64(_max_error(expected, found)) / np.abs(expected).max())


def _max_error(expected: np.ndarray, found: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.abs(found.astype(np.float64) - expected).max())  # NaN stays NaN


def _lowest_cosine(expected: np.ndarray, found: np.ndarray) -> float:
    a, b = (y.reshape(len(y), -1).astype(np.float64) for y in (expected, found))
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        return float(((a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))).min())


def _below(name: str, figure: float, limit: float) -> Gate:
    return Gate(name=name, figure=figure, limit=limit, passed=figure < limit, needed=f"< {limit:.3g}")


def _above(name: str, figure: float, limit: float) -> Gate:
    passed = math.isfinite(figure) and figure > limit
    return Gate(name=name, figure=figure, limit=limit, passed=passed, needed=f"> {limit:.6g}")


def _all(name: str, figure: int, of: int) -> Gate:
    return Gate(name=name, figure=figure, limit=of, passed=figure == of, needed=f"{of} of {of}")


_SMALL = 2.0**-16  # of a weight: what it is moved by to see how well conditioned a network is
_MOVES = 3  # the middle one counts: some networks have a direction in which they move far more
_USUAL_SHARE = 4e-5  # of the largest output, by which usual networks move then
_LEAST_CONDITION = 0.4  # converters change each norm by 5e-6, and a network of few layers moves by no more


def verify(artifact: Artifact, model: nn.Module, images_NCHW: np.ndarray) -> Agreement:
    """Compare a file with the network that it should hold, on the given inputs, one at a time.

    `model` has the weights that the export had, in any formulation, and is left as it is.

    Raises:
        MeasurementError: the file is damaged, or gives outputs of another shape.
        SpecError: it takes inputs of another size.
        BackendUnavailable: what runs it is missing.
    """
    takes, found = list(artifact.input_shape[1:]), list(images_NCHW.shape[1:])
    if takes != found:
        raise SpecError(f"{artifact.path.name} takes inputs of shape {takes}, found {found}")
    format = FORMATS.entry(artifact.format).load()
    expected, outputs = _outputs(_folded(model), images_NCHW), format.run(artifact, images_NCHW)
    gives, right = list(outputs.shape[1:]), list(expected.shape[1:])
    if gives != right:
        raise MeasurementError(f"{artifact.path.name} gives outputs of shape {gives}, the network {right}")
    if format.run_exactly is None or artifact.precision != "float16":
        return judge(artifact.precision, expected, outputs, None)
    halved = _halved(model).double()
    exact = _outputs(halved, images_NCHW)
    moved = [share_of_largest(exact, _outputs(_moved(halved, seed), images_NCHW)) for seed in range(_MOVES)]
    condition = max(_LEAST_CONDITION, sorted(moved)[_MOVES // 2] / _USUAL_SHARE)
    weights_share = share_of_largest(exact, format.run_exactly(artifact, images_NCHW))
    return judge("float16", expected, outputs, weights_share, condition=condition)


def widest_leads(model: nn.Module, images_NCHW: np.ndarray, count: int = 4) -> np.ndarray:
    """The `count` images on which the network is surest of its first class over its second.

    With random weights two classes may be nearly level, and then rounding alone decides which is first.
    To ask for the same top-1 on such an image would say nothing about the file.
    """
    expected_NK = _outputs(_folded(model), images_NCHW)
    if expected_NK.shape[1] == 1:  # which is always the first
        return images_NCHW[:count]
    first_N, second_N = torch.from_numpy(expected_NK).topk(2, dim=1).values.unbind(1)
    picked = (first_N - second_N).argsort(descending=True, stable=True)[:count]
    kept: np.ndarray = images_NCHW[picked.sort().values.numpy()]
    return kept


def _folded(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode, with batch normalisation folded as converters do it."""
    return for_inference(model) if isinstance(model, MobileViT) else copy.deepcopy(model).eval()


def _halved(model: nn.Module) -> nn.Module:
    """The same with all that its file holds in half precision rounded to it, not the weights alone."""
    rounded = _folded(model)
    for parameter in rounded.parameters():
        parameter.data = parameter.data.half().float()
    for module in rounded.modules():
        if isinstance(module, MultiHeadAttention):
            module.scale = float(np.float16(module.scale))
        elif isinstance(module, nn.LayerNorm):  # of tokens, which may be nearly level
            module.eps = float(np.float16(module.eps))
    return rounded


def _moved(model: nn.Module, seed: int) -> nn.Module:
    """The same with every weight moved by up to `_SMALL` of itself, at random."""
    moved, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    for parameter in moved.parameters():
        by = 2 * torch.rand(parameter.shape, generator=generator, dtype=parameter.dtype) - 1
        parameter.data = parameter.data * (1 + _SMALL * by)
    return moved


def _outputs(model: nn.Module, images_NCHW: np.ndarray) -> np.ndarray:
    dtype = next((parameter.dtype for parameter in model.parameters()), torch.float32)
    samples: Tensor = torch.from_numpy(np.ascontiguousarray(images_NCHW, np.float32)).to(dtype)
    with torch.inference_mode():
        return torch.cat([model(sample[None]) for sample in samples]).numpy()
