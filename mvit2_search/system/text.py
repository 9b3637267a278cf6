"""Text helpers: counts and lists in words, safe printing on a terminal, nested JSON as dotted keys."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_JOINERS = "\u200c\u200d"  # format characters that several scripts need inside words


def counted(count: int, what: str) -> str:
    """`1 link`, `3 links`."""
    return f"{count} {what}" + ("s" if count != 1 else "")


def printable(text: str, *, keep: str = "") -> str:
    """Escape every character that controls a terminal, but those to `keep`: `\\x1b`, `\\n`, `\\u202e`."""
    return "".join(c if c in keep or not _controls(c) else c.encode("unicode_escape").decode() for c in text)


def _controls(character: str) -> bool:
    """Control and format characters (text direction), lone surrogates, line and paragraph separators."""
    kind = unicodedata.category(character)
    return (kind.startswith("C") or kind in ("Zl", "Zp")) and character not in _JOINERS


def flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """`{"a": {"b": 1}}` gives `("a.b", 1)`; lists stay whole."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from flat(inner, f"{key}.{name}" if key else name)
    else:
        yield key, value


def first_few(names: Sequence[str], most: int = 5) -> str:
    """`a; b`, or the first of many and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return "; ".join(names[:most]) + more
