"""Strict YAML: duplicate keys, aliases and tags are errors.

`load` gives plain data and the place of every value, so errors can say `file:line:column: key: what is wrong`.
"""

import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from mvit2_search.errors import SpecError

Keys = tuple[str | int, ...]

_MAX_BYTES = 1_000_000
_MAX_DEPTH = 20
_MAX_NUMBER = 10**15
_MAX_VALUES = 5_000  # keys, values and lists in a file: a million take minutes to read


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """The data of one file, and the line and column of each value by its keys from the top."""

    path: Path
    data: Any
    places: dict[Keys, tuple[int, int]]

    def error(self, keys: Keys, problem: str) -> SpecError:
        """`file:line:column: key.key: problem`; a missing key is placed at its parent."""
        known = keys
        while known not in self.places:
            known = known[:-1]
        line, column = self.places[known]
        name = f"{'.'.join(map(str, keys))}: " if keys else ""
        return SpecError(f"{self.path}:{line}:{column}: {name}{problem}")

    def check_keys(self, keys: Keys, found: Any, *, known: Iterable[str], needed: Iterable[str] = ()) -> None:
        """Raises SpecError unless `found` is a mapping with no unknown and no missing key."""
        if not isinstance(found, dict):
            raise self.error(keys, f"expected a mapping, found {found!r}")
        known = list(known)
        for key in found:
            if key not in known:
                raise self.error((*keys, key), f"unknown key{nearest(key, known)}")
        for key in needed:
            if key not in found:
                raise self.error((*keys, key), "missing")


def nearest(name: object, known: Iterable[str]) -> str:
    """`; did you mean 'width'?`, or the list of what there is."""
    known = list(known)
    close = get_close_matches(str(name), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; expected one of {', '.join(known)}"


def load(path: Path) -> Document:
    """Read one YAML file. Raises SpecError if it is missing, too large, not UTF-8 or not strict YAML."""
    text = _read(path)
    try:
        _refuse_aliases_tags_and_excess(path, text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        places: dict[Keys, tuple[int, int]] = {(): (1, 1)}
        data = None if node is None else _data(path, node, (), places)
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise SpecError(f"{path}{place}: not YAML: {err.problem or err.context}") from err
    except yaml.YAMLError as err:
        raise SpecError(f"{path}: not YAML: {' '.join(str(err).split())}") from err
    return Document(path=path, data=data, places=places)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise SpecError(f"{path}: larger than {_MAX_BYTES:,} bytes; is this the right file?")
        return path.read_text(encoding="utf-8")
    except OSError as err:
        raise SpecError(f"{path}: {err.strerror}") from err
    except UnicodeDecodeError as err:
        raise SpecError(f"{path}: not UTF-8 text at byte {err.start}") from err


def _refuse_aliases_tags_and_excess(path: Path, text: str) -> None:
    depth = count = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise _error(path, event, f"alias *{event.anchor}: write the value out")
        if tag := getattr(event, "tag", None):
            raise _error(path, event, f"tag {tag}: write the value without it")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise _error(path, event, "nested too deeply")
        count += isinstance(event, yaml.NodeEvent)
        if count > _MAX_VALUES:
            raise _error(path, event, f"more than {_MAX_VALUES:,} values in one file")


def _data(path: Path, node: yaml.Node, keys: Keys, places: dict[Keys, tuple[int, int]]) -> Any:
    places.setdefault(keys, _place(node))
    if isinstance(node, yaml.SequenceNode):
        return [_data(path, child, (*keys, i), places) for i, child in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(path, node)
    data: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise _error(path, key_node, "keys must be plain words")
        key = key_node.value
        if key in data:
            raise _error(path, key_node, f"{key}: given twice")
        places[(*keys, key)] = _place(key_node)
        data[key] = _data(path, value_node, (*keys, key), places)
    return data


def _scalar(path: Path, node: yaml.Node) -> Any:
    try:
        value = yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError) as err:
        raise _error(path, node, f"cannot read {reprlib.repr(node.value)}") from err
    if isinstance(value, int) and abs(value) > _MAX_NUMBER:
        raise _error(path, node, f"{reprlib.repr(node.value)} is too large a number")
    return value


def _place(thing: yaml.Node | yaml.Event) -> tuple[int, int]:
    mark: Any = thing.start_mark  # every node and event that comes from text has one
    return mark.line + 1, mark.column + 1


def _error(path: Path, thing: yaml.Node | yaml.Event, problem: str) -> SpecError:
    line, column = _place(thing)
    return SpecError(f"{path}:{line}:{column}: {problem}")
