"""What the facts of a study look like: JSON of another kind was not written by this program."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from mvit2_search.records import ConfirmationPlan, Passport, Score, Trial, latency_from_json

PLAN, PROBING = "finalists", "probing"  # names of facts
OUTSIDE, CONTROL, SCORE = "outside:", "control:", "score:"  # and how the names of others begin


def check_fact(name: str, value: Any) -> None:
    """Raises TypeError, ValueError, KeyError, AttributeError or SpecError where `value` is no such fact."""
    prefix, colon, _ = name.partition(":")
    if check := _CHECKS.get(prefix + colon):
        check(value)


def _expect(kind: Any, *values: Any) -> None:
    for value in values:
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TypeError(f"expected {kind}, found {value!r}")


def _inputs(row: Any) -> None:
    data = row["data"]
    _expect(list, data["classes"])
    _expect(str, *data["classes"], data["name"], row["latency_budget"], row.get("stopping", "none"))
    _expect(int, data["train"], data["selection"], data["confirmation"], row["seed"])
    _expect(int | None, row["max_params"])
    _expect(Mapping, row.get("space", {}), row.get("training", {}))


def _passport(row: Any) -> None:
    passport = Passport(**row)
    _expect(int, passport.batch, passport.threads, passport.protocol)
    _expect(str, passport.device, passport.chip, passport.system, passport.runtime)
    _expect(str, passport.compute_units, passport.precision)


def _request(row: Any) -> None:
    _expect(int, row["trials"], row["confirm_seeds"], row.get("control", 0))
    _expect(int | float | None, row.get("max_hours"))


def _ended(row: Any) -> None:
    if row is not None:
        _expect(str, row["why"])
        _expect(int, *(goal for name, goal in row.items() if name != "why"))


def _milliseconds(value: Any) -> None:
    _expect(int | float, value)
    if not 0 < value < math.inf:
        raise ValueError(f"{value} ms")


def _reference(value: Any) -> None:
    if value is not None:  # an estimate has none
        _milliseconds(value)


def _budget_latency(row: Any) -> None:
    _expect(str, row["key"])
    _milliseconds(latency_from_json(row).latency_ms)


def _names(row: Any) -> None:
    _expect(list, row)
    _expect(str, *row)


def _versions(row: Any) -> None:
    _expect(str, *row.values())


def _tries(row: Any) -> None:
    _expect(int, *row.values())


def _plan(row: Any) -> None:
    plan = ConfirmationPlan.from_json(row)
    _expect(str, *plan.keys, *plan.widths)
    _expect(int, *plan.seeds, plan.candidates)


def _score(row: Any) -> None:
    score = Score.from_json(row)
    _expect(str, score.subject)
    _expect(int, score.seed, score.tries)


_CHECKS: dict[str, Callable[[Any], object]] = {
    "accuracies_from": _names,
    "budget_latency": _budget_latency,
    "budget_ms": _milliseconds,
    "ended": _ended,
    "inputs": _inputs,
    "passport": _passport,
    "reference_ms": _reference,
    "request": _request,
    "versions": _versions,
    PLAN: _plan,
    PROBING: _tries,
    OUTSIDE: Trial.from_json,
    CONTROL: Trial.from_json,
    SCORE: _score,
}
