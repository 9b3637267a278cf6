"""YAML read so that a typo is an error with its line: no duplicate keys, aliases or tags, no surprises.

`load` gives plain data and remembers where every value stood, so that whoever understands the data
can say `file:line:column: key: what is wrong`.
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
_MAX_VALUES = 5_000  # keys, values and lists of a file: reading a million takes minutes


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """The data of one file and where each value stood, by its keys from the top."""

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
    """Read one YAML file.

    Raises:
        SpecError: the file is missing, too large, not UTF-8 or not strict YAML.
    """
    text = _read(path)
    try:
        _refuse_more_than_plain_values(path, text)
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


def _refuse_more_than_plain_values(path: Path, text: str) -> None:
    depth = count = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line, column = _place(event)
        if isinstance(event, yaml.AliasEvent):
            raise SpecError(f"{path}:{line}:{column}: alias *{event.anchor}: write the value out")
        if tag := getattr(event, "tag", None):
            raise SpecError(f"{path}:{line}:{column}: tag {tag}: write the value without it")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise SpecError(f"{path}:{line}:{column}: nested too deeply")
        count += isinstance(event, yaml.NodeEvent)
        if count > _MAX_VALUES:
            raise SpecError(f"{path}:{line}:{column}: more than {_MAX_VALUES:,} values in one file")


def _data(path: Path, node: yaml.Node, keys: Keys, places: dict[Keys, tuple[int, int]]) -> Any:
    places.setdefault(keys, _place(node))
    if isinstance(node, yaml.SequenceNode):
        return [_data(path, child, (*keys, i), places) for i, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _mapping(path, node, keys, places)
    return _scalar(path, node)


def _mapping(
    path: Path, node: yaml.MappingNode, keys: Keys, places: dict[Keys, tuple[int, int]]
) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        line, column = _place(key_node)
        if key is None:
            raise SpecError(f"{path}:{line}:{column}: keys must be plain words")
        if key in data:
            raise SpecError(f"{path}:{line}:{column}: {key}: given twice")
        places[(*keys, key)] = (line, column)
        data[key] = _data(path, value_node, (*keys, key), places)
    return data


def _scalar(path: Path, node: yaml.Node) -> Any:
    line, column = _place(node)
    try:
        value = yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError) as err:
        raise SpecError(f"{path}:{line}:{column}: cannot read {reprlib.repr(node.value)}") from err
    if isinstance(value, int) and abs(value) > _MAX_NUMBER:
        raise SpecError(f"{path}:{line}:{column}: {reprlib.repr(node.value)} is too large a number")
    return value


def _place(thing: yaml.Node | yaml.Event) -> tuple[int, int]:
    mark: Any = thing.start_mark  # every node and event that comes from text has one
    return mark.line + 1, mark.column + 1
