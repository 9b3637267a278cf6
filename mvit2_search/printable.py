"""Texts that other people chose, to be shown in one line."""

import unicodedata

_JOINERS = "\u200c\u200d"  # which the letters of several scripts need


def printable(text: str, *, keep: str = "") -> str:
    """One line, in which whatever a terminal would act on stands as Python writes it: `\\x1b`, `\\n`, `\\u202e`.

    Args:
        keep: characters that stay as they are.
    """
    return "".join(c if c in keep or not _is_hidden(c) else c.encode("unicode_escape").decode() for c in text)


def _is_hidden(character: str) -> bool:
    """Whether it is a control, a format such as a change of direction, half of a pair, the end of a line."""
    kind = unicodedata.category(character)
    return (kind.startswith("C") or kind in ("Zl", "Zp")) and character not in _JOINERS
