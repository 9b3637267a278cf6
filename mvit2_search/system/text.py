"""Text: counts in words, other people's text made safe to print, nested JSON as dotted keys."""

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any


def counted(count: int, what: str) -> str:
    """`1 link`, `3 links`."""
    return f"{count} {what}" + ("s" if count != 1 else "")


_JOINERS = "\u200c\u200d"  # which the letters of several scripts need


def printable(text: str, *, keep: str = "") -> str:
    """One line, with whatever a terminal would act on escaped as Python does: `\\x1b`, `\\n`, `\\u202e`.

    Args:
        keep: characters that stay as they are.
    """
    return "".join(c if c in keep or not _is_hidden(c) else c.encode("unicode_escape").decode() for c in text)


def _is_hidden(character: str) -> bool:
    """Whether it is a control, a format such as a change of direction, half of a pair, the end of a line."""
    kind = unicodedata.category(character)
    return (kind.startswith("C") or kind in ("Zl", "Zp")) and character not in _JOINERS


def flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """`{"a": {"b": 1}}` gives `("a.b", 1)`; lists stay whole."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from flat(inner, f"{key}.{name}" if key else name)
    else:
        yield key, value
