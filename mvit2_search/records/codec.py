"""Records to and from JSON. Reading is strict: a wrong type, a missing or an unknown key is an error."""

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar, cast, get_args, get_origin

from cattrs import Converter
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.strategies import configure_tagged_union

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import MeasurementError, SpecError, TrainingError
from mvit2_search.records.artifact import About
from mvit2_search.records.latency import Latency
from mvit2_search.records.trial import Failed, Outcome, Role

T = TypeVar("T")

NO_RECORD = (
    *(ValueError, TypeError, KeyError, AttributeError, ForbiddenExtraKeysError),
    *(SpecError, MeasurementError, TrainingError),
    *(OverflowError, RecursionError),  # a number of hundreds of digits, lists in lists
)
"""What reading raises where JSON is no record of the kind that is asked for."""


def to_json(record: Any) -> Any:
    """Plain lists, mappings, texts and numbers."""
    return _converter.unstructure(record)


def from_json(row: Any, kind: type[T]) -> T:
    """The record in `row`; raises one of `NO_RECORD`."""
    found: T = _converter.structure(row, kind)
    return found


def parse(text: str, kind: type[T]) -> T:
    """The record in JSON text; raises one of `NO_RECORD`."""
    return from_json(json.loads(text), kind)


def _exactly(kind: type) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"expected {kind.__name__}, found {value!r}")
        return value

    return structure


def _number(value: Any, _: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise TypeError(f"expected a number, found {value!r}")
    return float(value)


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _tuple_of(kind: Any) -> Callable[[Any, Any], Any]:
    """cattrs takes a text for its letters."""
    kinds = get_args(kind)

    def structure(value: Any, _: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise TypeError(f"expected a list, found {value!r}")
        of = [kinds[0]] * len(value) if kinds[-1] is ... else kinds
        return tuple(_converter.structure(one, inner) for one, inner in zip(value, of, strict=True))

    return structure


def _tag(kind: type) -> str:
    """`finished`, `measurement`, `published`, `network`."""
    return kind.__name__.removeprefix("About").lower()


_converter = Converter(forbid_extra_keys=True, detailed_validation=False)
for _kind in (int, str, bool):
    _converter.register_structure_hook(_kind, _exactly(_kind))
_converter.register_structure_hook(float, _number)
_converter.register_structure_hook_factory(_is_tuple, _tuple_of)
_converter.register_structure_hook(ArchConfig, lambda row, _: ArchConfig.from_json(row))
_converter.register_unstructure_hook(ArchConfig, ArchConfig.to_json)
for _union in (Latency, About, Outcome, Role):
    configure_tagged_union(_union, _converter, tag_name="kind", tag_generator=_tag)
_converter.register_structure_hook(
    float | Failed, lambda row, _: _converter.structure(row, Failed if isinstance(row, dict) else float)
)
_converter.register_structure_hook(
    About | None, lambda row, _: None if row is None else _converter.structure(row, cast(Any, About))
)
_converter.register_unstructure_hook(
    About | None, lambda about: about and _converter.unstructure(about, unstructure_as=About)
)
