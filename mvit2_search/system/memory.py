"""Free memory of this machine or container."""

import os
from pathlib import Path

_SYSTEM, _OWN, _GROUPS = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")

# by version of control groups: the limit, the usage, and the part of it that is reclaimable (file cache)
_FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def free_bytes() -> int | None:
    """Memory that can be used without swapping: what the system has left, or a container's limit if that is less.

    If the system does not say what is left, all of its memory; None if it does not say that either.
    """
    return min([*_system_bytes(), *_group_bytes()], default=None)


def _system_bytes() -> list[int]:
    lines = _SYSTEM.read_text().splitlines() if _SYSTEM.exists() else []
    if available := [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]:
        return available
    return [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")] if hasattr(os, "sysconf") else []


def _group_bytes() -> list[int]:
    """What the limits of this process's control groups and of their parents leave."""
    try:
        lines = [line.split(":", 2) for line in _OWN.read_text().splitlines()]
    except OSError:  # not Linux
        return []
    own = [(kind, path.lstrip("/")) for _, kinds, path in lines for kind in kinds.split(",") if kind in _FILES]
    groups = [(kind, _GROUPS / kind / path) for kind, path in own]
    left = [_left_in(group, *_FILES[kind]) for kind, folder in groups for group in (folder, *folder.parents)]
    return [count for count in left if count is not None]


def _left_in(group: Path, limit: str, used: str, reclaimable: str) -> int | None:
    try:
        left = int((group / limit).read_text()) - int((group / used).read_text())
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or "max": no limit
        return None
    return max(0, left + int(counts.get(reclaimable, 0)))
