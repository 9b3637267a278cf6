"""Counts, in words."""


def counted(count: int, what: str) -> str:
    """`1 link`, `3 links`."""
    return f"{count} {what}" + ("s" if count != 1 else "")
