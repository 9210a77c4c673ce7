"""A container's limit counts as the machine's memory does: groups as Linux writes them, and a real one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from signal_miner.engine.available_memory import _limits_of_groups, available_bytes

GB = 10**9
REAL_GROUPS = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


def write_group(group: Path, version: int, limit: str, used: int, cached: int) -> None:
    group.mkdir(parents=True, exist_ok=True)
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if version == 1 else ("memory.max", "memory.current")
    (group / names[0]).write_text(f"{limit}\n")
    (group / names[1]).write_text(f"{used}\n")
    prefix = "total_" if version == 1 else ""
    (group / "memory.stat").write_text(f"anon 5\n{prefix}inactive_file {cached}\n{prefix}active_file 0\n")


@pytest.mark.parametrize(("version", "line"), [(1, "4:cpu,memory:/pod/own"), (2, "0::/pod/own")])
def test_every_group_above_the_process_limits_it_and_cached_files_count_as_free(
    tmp_path: Path, version: int, line: str
) -> None:
    mount = tmp_path / "memory" if version == 1 else tmp_path
    write_group(mount / "pod", version, str(8 * GB), 5 * GB, 1 * GB)
    write_group(mount / "pod" / "own", version, "max" if version == 2 else str(2**63 - 4096), 2 * GB, 0)
    own = tmp_path / "own"
    own.write_text(f"{line}\n")
    assert min(left for _, left in _limits_of_groups(tmp_path, own)) == 4 * GB


def test_a_container_that_sees_its_group_as_the_root(tmp_path: Path) -> None:
    write_group(tmp_path, 2, str(4 * GB), 1 * GB, 0)
    own = tmp_path / "own"
    own.write_text("0::/machine/of/which/nothing/is/seen\n")
    assert list(_limits_of_groups(tmp_path, own)) == [(4 * GB, 3 * GB)]


def test_without_groups_the_machine_alone_counts(tmp_path: Path) -> None:
    assert not list(_limits_of_groups(tmp_path, tmp_path / "absent"))
    assert 0 < available_bytes() <= psutil.virtual_memory().total


def test_a_real_limit_is_seen_by_a_process_under_it() -> None:
    mount = next((each for each in REAL_GROUPS if (each / "cgroup.procs").exists() and os.access(each, os.W_OK)), None)
    if mount is None:
        pytest.skip("no control groups that may be written")
    group = mount / f"signal-miner-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("no control groups may be made")
    try:
        limit = group / ("memory.limit_in_bytes" if mount.name == "memory" else "memory.max")
        if not limit.exists():
            pytest.skip("the control groups do not limit memory")
        limit.write_text(str(2**31))
        program = (
            "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid()))\n"
            "from signal_miner.engine.available_memory import available_bytes; print(available_bytes())"
        )
        command = [sys.executable, "-c", program, str(group / "cgroup.procs")]
        output = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        assert 2**30 < int(output) <= 2**31
    finally:
        group.rmdir()
