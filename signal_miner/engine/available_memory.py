"""How much memory this process may use: what is free on the machine, or within its container's limit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_FILES = {  # by version of Linux's control groups: limit, use, and the lines of memory.stat that can be given back
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
    2: ("memory.max", "memory.current", ("inactive_file", "active_file")),
}


def available_bytes() -> int:
    """Return the bytes that this process may use, those that it holds already included.

    This is the least of what is free on the machine and within the limit of each of the process's control groups,
    which limit containers and are not part of the machine's own figures. Cached files count as free.
    """
    held = int(psutil.Process().memory_info().rss)
    groups = (min(limit, held + left) for limit, left in _limits_of_groups(_CGROUPS, _OWN_GROUPS))
    return min([held + int(psutil.virtual_memory().available), *groups])


def _limits_of_groups(root: Path, own: Path) -> Iterator[tuple[int, int]]:
    """Yield the limit of each limited group of this process, and what is left of it, in bytes."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            version, mount = 1, root / "memory"
        elif not controllers:
            version, mount = 2, root
        else:
            continue
        inside = mount / path.lstrip("/")
        # A container sees its own group as the root, though its path is that of the machine.
        for group in dict.fromkeys([inside, *inside.parents, mount]):
            if group.is_relative_to(mount):
                yield from _limit(group, version)


def _limit(group: Path, version: int) -> Iterator[tuple[int, int]]:
    limit_name, used_name, reclaimable = _FILES[version]
    try:
        limit = (group / limit_name).read_text(encoding="ascii").strip()
        used = int((group / used_name).read_text(encoding="ascii"))
        statistics = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        return
    if limit.isdigit():  # else "max"
        free = int(limit) - used + sum(int(statistics.get(name, 0)) for name in reclaimable)
        yield int(limit), max(0, free)
