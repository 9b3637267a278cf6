"""Whether a data set fits into memory, before it is read."""

import os
from pathlib import Path

import numpy as np

from mvit2_search.errors import DataError

_SYSTEM, _OWN, _GROUPS = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# of both versions of control groups: the limit, what is used, the part of it that gives way: cached files
_FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def pixel_array(count: int, size: int, channels: int, *, name: str) -> np.ndarray:
    """Room for `count` square images, uint8 [N, S, S, C], not filled yet.

    Raises:
        DataError: they are larger than the memory that is free.
    """
    needed, free = count * size * size * channels, free_bytes()
    if free is not None and needed > free:
        raise out_of_memory(count, size, channels, name=name)
    try:
        return np.empty((count, size, size, channels), np.uint8)
    except MemoryError as err:
        raise out_of_memory(count, size, channels, name=name) from err


def out_of_memory(count: int, size: int, channels: int, *, name: str) -> DataError:
    """What to say where the images of a data set need more than there is."""
    needed, free = count * size * size * channels, free_bytes()
    left = (
        f"and {_size(free)} are free" if free is not None and needed > free else "more than this process may have"
    )
    return DataError(
        f"{name}: {count:,} images of {size} x {size} pixels take {_size(needed)} of memory, {left}; "
        "use a smaller --image-size, or fewer images by --images-per-epoch"
    )


def free_bytes() -> int | None:
    """Memory that can be used without swapping: what the system has left, or a container's limit if that is less.

    Where the system does not say what is left, all of its memory; None where it does not say that either.
    """
    return min([*_system_bytes(), *_group_bytes()], default=None)


def _system_bytes() -> list[int]:
    lines = _SYSTEM.read_text().splitlines() if _SYSTEM.exists() else []
    if available := [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]:
        return available
    return [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")] if hasattr(os, "sysconf") else []


def _group_bytes() -> list[int]:
    """What the limits of this process's control groups and those above them leave."""
    found = []
    for kind, folder in _own_groups():
        found += [_left_in(group, *_FILES[kind]) for group in (folder, *folder.parents)]
    return [left for left in found if left is not None]


def _own_groups() -> list[tuple[str, Path]]:
    """The control groups that may limit the memory, by what `_FILES` calls them."""
    try:
        lines = [line.split(":", 2) for line in _OWN.read_text().splitlines()]
    except OSError:  # not Linux
        return []
    own = [(kind, path.lstrip("/")) for _, kinds, path in lines for kind in kinds.split(",") if kind in _FILES]
    return [(kind, _GROUPS / kind / path) for kind, path in own]


def _left_in(group: Path, limit: str, used: str, gives_way: str) -> int | None:
    try:
        left = int((group / limit).read_text()) - int((group / used).read_text())
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or "max": no limit
        return None
    return max(0, left + int(counts.get(gives_way, 0)))


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
