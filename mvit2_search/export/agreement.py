"""How far an exported file and its network agree, and how far they must."""

import math
from dataclasses import dataclass

import numpy as np

from mvit2_search.records import Precision

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
        max_error: largest difference of an output.
        cosine: the lowest over the images.
        same_top1: images on which both name the same class; None where the outputs are no classes.
        weights_share: the largest difference, as a share of the largest output, when the file is run in
            double precision and the network has its weights rounded as the file's are; None where the file
            cannot be run so. It finds one wrong weight, which the rounding of every result would hide.
        condition: how far the outputs move, where every weight moves a little, compared with those of usual
            networks. What rounding and a wrong weight do grows with it, and so do the gates.
    """

    images: int
    max_error: float
    cosine: float
    same_top1: int | None
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
