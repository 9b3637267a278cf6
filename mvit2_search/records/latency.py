"""A latency, measured or predicted. The two are different records and never mixed unlabelled."""

from dataclasses import asdict
from typing import Any, Literal

from mvit2_search.records.measurement import Measurement
from mvit2_search.records.prediction import Prediction

Latency = Measurement | Prediction
LatencyKind = Literal["measured", "predicted"]

_KEYS: dict[type[Latency], str] = {Measurement: "measurement", Prediction: "prediction"}


def latency_kind(latency: Latency) -> LatencyKind:
    return "measured" if isinstance(latency, Measurement) else "predicted"


def latency_to_json(latency: Latency) -> dict[str, Any]:
    """One entry, whose name says which of the two it is."""
    return {_KEYS[type(latency)]: asdict(latency)}


def latency_from_json(row: dict[str, Any]) -> Latency:
    """The latency that `row` has under one of those names; KeyError where it has none."""
    return Measurement.from_json(row["measurement"]) if "measurement" in row else Prediction(**row["prediction"])
