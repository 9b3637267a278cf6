"""Whether a data set fits into memory, before it is read."""

import os
from pathlib import Path

import numpy as np

from mvit2_search.errors import DataError

_GROUPS = Path("/sys/fs/cgroup")


def pixel_array(count: int, size: int, channels: int, *, name: str) -> np.ndarray:
    """Room for `count` square images, uint8 [N, S, S, C], not filled yet.

    Raises:
        DataError: they are larger than the memory that is free.
    """
    needed, free = count * size * size * channels, free_bytes()
    if needed > free:
        raise out_of_memory(count, size, channels, name=name)
    try:
        return np.empty((count, size, size, channels), np.uint8)
    except MemoryError as err:
        raise out_of_memory(count, size, channels, name=name) from err


def out_of_memory(count: int, size: int, channels: int, *, name: str) -> DataError:
    """What to say where the images of a data set need more than there is."""
    needed = _size(count * size * size * channels)
    return DataError(
        f"{name}: {count:,} images of {size} x {size} pixels take {needed} of memory, and {_size(free_bytes())} "
        "are free; use a smaller --image-size, or fewer images by --images-per-epoch"
    )


def free_bytes() -> int:
    """Memory that can be used without swapping: what the system has left, or a container's limit if that is less.

    Where the system does not say what is left, all of its memory.
    """
    return min([_system_bytes(), *_group_bytes()])


def _system_bytes() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # not Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _group_bytes() -> list[int]:
    """What the limits of this process's control group and those above it leave."""
    folder = _GROUPS / _own_group()
    return [left for group in (folder, *folder.parents) if (left := _left_in(group)) is not None]


def _own_group() -> str:
    try:
        return Path("/proc/self/cgroup").read_text().splitlines()[-1].rpartition(":")[2].lstrip("/")
    except OSError:  # not Linux
        return ""


def _left_in(group: Path) -> int | None:
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or "max": no limit
        return None
    # cached files give way
    return max(0, limit - used + int(counts.get("inactive_file", 0)))


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
