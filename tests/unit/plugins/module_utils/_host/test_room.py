# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory a host has for a model: the machine's own, a container's, a unit's."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import psutil
import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.gpu import Gpu
from ansible_collections.llmops.fleet.plugins.module_utils._host import room as room_module
from ansible_collections.llmops.fleet.plugins.module_utils._host.room import cgroup_limits, private_memory, read_room

GB = 10**9
MIB = 1024 * 1024
UNLIMITED = 9223372036854771712


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., None]:
    """A machine of so many GB, and its cards."""

    def make(total: float, available: float, *cards: Gpu) -> None:
        monkeypatch.setattr(room_module.processes, "memory", lambda: (total * GB, available * GB))
        monkeypatch.setattr(room_module, "gpus", lambda: list(cards))

    return make


def group(root: Path, path: str, version: int, limit: int | str, used: int, pages: int) -> None:
    """A cgroup's folder as the kernel shows it."""
    folder = root / "sys/fs/cgroup" / ("memory" if version == 1 else "") / path.strip("/")
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if version == 1 else ("memory.max", "memory.current")
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    prefix = "total_" if version == 1 else ""
    stat = f"cache 5\n{prefix}inactive_file {pages - pages // 3}\n{prefix}active_file {pages // 3}\nanon 9\n"
    (folder / "memory.stat").write_text(stat)


def first_process(root: Path, text: str) -> Path:
    (root / "proc/1").mkdir(parents=True)
    (root / "proc/1/cgroup").write_text(text)
    return root


V1 = "12:hugetlb:/\n4:memory:{path}\n1:name=systemd:{path}\n0::/\n"
V2 = "0::{path}\n"


@pytest.mark.parametrize(("version", "text"), [(1, V1), (2, V2)])
def test_a_container_has_less_than_its_machine(
    version: int, text: str, tmp_path: Path, machine: t.Callable[..., None]
) -> None:
    machine(64, 50)
    root = first_process(tmp_path, text.format(path="/pods/a/init.scope"))
    group(root, "/pods/a/init.scope", version, "max" if version == 2 else UNLIMITED, GB, 0)
    # 8 GB are the limit, 6 of them used; 5 of these are pages of files, which give way.
    group(root, "/pods/a", version, 8 * GB, 6 * GB, 5 * GB)
    group(root, "/pods", version, 32 * GB, 2 * GB, 0)
    group(root, "/", version, "max" if version == 2 else UNLIMITED, 14 * GB, 0)
    room = read_room(root=root)
    assert (room.ram_total, room.ram_available, room.ram) == (8 * GB, 7 * GB, 7 * GB)


@pytest.mark.parametrize(("version", "text"), [(1, V1), (2, V2)])
def test_a_path_of_the_machine_of_which_only_the_end_is_here(version: int, text: str, tmp_path: Path) -> None:
    root = first_process(tmp_path, text.format(path="/docker/0a1b"))
    group(root, "/", version, 4 * GB, GB, 0)
    assert cgroup_limits(root) == [(4 * GB, 3 * GB)]


def test_a_path_out_of_the_namespace(tmp_path: Path) -> None:
    root = first_process(tmp_path / "here", V2.format(path="/../other"))
    group(root, "/", 2, 4 * GB, GB, 0)
    group(tmp_path, "/", 2, GB, GB, 0)
    assert cgroup_limits(root) == [(4 * GB, 3 * GB)]


@pytest.mark.parametrize(
    "text", ["", "nonsense\n", V1.format(path="/"), V2.format(path="/"), "0::/\n4:memory:/gone\n", "3:cpu:/\n"]
)
def test_a_machine_without_limits(text: str, tmp_path: Path, machine: t.Callable[..., None]) -> None:
    machine(64, 50)
    root = first_process(tmp_path, text)
    assert read_room(root=root).ram == 50 * GB
    group(root, "/", 2, "max", GB, 0)
    assert read_room(root=root).ram == 50 * GB


def test_a_machine_without_cgroups(tmp_path: Path, machine: t.Callable[..., None]) -> None:
    machine(16, 12)
    assert read_room(root=tmp_path).ram == 12 * GB


def test_a_limit_that_is_used_up(tmp_path: Path, machine: t.Callable[..., None]) -> None:
    machine(64, 50)
    root = first_process(tmp_path, V2.format(path="/"))
    group(root, "/", 2, GB, 2 * GB, 0)
    assert read_room(root=root).ram == 0
    group(root, "/", 2, GB, GB, 3 * GB)
    assert read_room(root=root).ram == GB


def test_the_limit_of_a_unit_and_what_comes_free(tmp_path: Path, machine: t.Callable[..., None]) -> None:
    machine(64, 10)
    assert read_room(freed_ram=5 * GB, root=tmp_path).ram == 15 * GB
    limited = read_room(freed_ram=5 * GB, memory_max=12 * GB, root=tmp_path)
    assert (limited.ram_total, limited.ram) == (12 * GB, 12 * GB)
    assert read_room(memory_max=100 * GB, root=tmp_path).ram_total == 64 * GB


def test_cards(tmp_path: Path, machine: t.Callable[..., None]) -> None:
    machine(64, 50, Gpu("a", 1.0, 4096, 24576), Gpu("b", None, 0, 8192))
    both = read_room(freed_vram=GB, root=tmp_path)
    assert (both.vram_total, both.vram_available) == (32768 * MIB, 28672 * MIB)
    assert both.vram == 28672 * MIB + GB
    assert read_room(cards=1, root=tmp_path).vram == 20480 * MIB
    machine(64, 50, Gpu("a", 1.0, 4096, 24576), Gpu("b", None, None, 8192))
    assert read_room(root=tmp_path).vram is None
    machine(64, 50)
    assert read_room(root=tmp_path).vram is None


def test_this_machine() -> None:
    room = read_room()
    assert 0 < room.ram_available <= room.ram_total <= psutil.virtual_memory().total


_HOLD = """
import mmap, sys
own = bytearray(60_000_000)
for at in range(0, len(own), 4096): own[at] = 1
file = open(sys.argv[1], "rb")
mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
sum(mapped[at] for at in range(0, len(mapped), 4096))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pages_of_a_file_do_not_come_free_twice(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_bytes(os.urandom(mmap.PAGESIZE) * 20_000)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(model)], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        held, resident = private_memory([process.pid]), psutil.Process(process.pid).memory_info().rss
        assert private_memory([process.pid, process.pid]) == held
        assert process.stdin is not None
        process.stdin.close()
    assert resident > 140_000_000
    assert 60_000_000 < held < 75_000_000
    assert private_memory([process.pid]) == 0
    assert private_memory([]) == 0
