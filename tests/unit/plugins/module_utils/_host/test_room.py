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
from ansible_collections.llmops.fleet.plugins.module_utils._core.gpu import NVIDIA, Holding, from_nvidia
from ansible_collections.llmops.fleet.plugins.module_utils._core.room import Given
from ansible_collections.llmops.fleet.plugins.module_utils._core.visible_gpus import sight_of
from ansible_collections.llmops.fleet.plugins.module_utils._host import keeper
from ansible_collections.llmops.fleet.plugins.module_utils._host import room as room_module
from ansible_collections.llmops.fleet.plugins.module_utils._host.room import cgroup_limits, private_memory, read_room

GB = 10**9
MIB = 1024 * 1024
UNLIMITED = 9223372036854771712
BLIND = sight_of([], {})
TWO = from_nvidia("NVIDIA L4, 1, 4096, 24576, GPU-aa\nNVIDIA L4, 1, 0, 8192, GPU-bb\n")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., None]:
    """A machine of so many GB, and what its GPU tool tells of processes."""

    def make(total: float, available: float, *holdings: Holding) -> None:
        monkeypatch.setattr(room_module.processes, "memory", lambda: (total * GB, available * GB))
        monkeypatch.setattr(room_module.gpu, "holdings", lambda: list(holdings))

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
    room = read_room(BLIND, root=root)
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
    assert read_room(BLIND, root=root).ram == 50 * GB
    group(root, "/", 2, "max", GB, 0)
    assert read_room(BLIND, root=root).ram == 50 * GB


def test_a_machine_without_cgroups(tmp_path: Path, machine: t.Callable[..., None]) -> None:
    machine(16, 12)
    assert read_room(BLIND, root=tmp_path).ram == 12 * GB


def test_a_limit_that_is_used_up(tmp_path: Path, machine: t.Callable[..., None]) -> None:
    machine(64, 50)
    root = first_process(tmp_path, V2.format(path="/"))
    group(root, "/", 2, GB, 2 * GB, 0)
    assert read_room(BLIND, root=root).ram == 0
    group(root, "/", 2, GB, GB, 3 * GB)
    assert read_room(BLIND, root=root).ram == GB


def test_the_limit_of_a_unit_and_what_comes_free(tmp_path: Path, machine: t.Callable[..., None]) -> None:
    machine(64, 10)
    statm = tmp_path / "proc" / str(os.getpid()) / "statm"
    statm.parent.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir()
    statm.write_text(f"9 {5 * GB // mmap.PAGESIZE + 7} 7 0 0 0 0\n")
    going = [os.getpid()]
    assert read_room(BLIND, going=going, root=tmp_path).ram == pytest.approx(15 * GB, rel=1e-5)
    limited = read_room(BLIND, going=going, unit="[Service]\nMemoryMax=12000000000\n", root=tmp_path)
    assert (limited.ram_total, limited.memory_max, limited.ram) == (64 * GB, 12 * GB, 12 * GB)
    assert read_room(BLIND, unit="[Service]\nMemoryMax=100%\n", root=tmp_path).memory_max == 64 * GB


def test_what_comes_free_is_not_known_where_there_is_no_process_table(
    tmp_path: Path, machine: t.Callable[..., None]
) -> None:
    machine(64, 10)
    room = read_room(BLIND, going=[os.getpid()], root=tmp_path)
    assert (room.ram_freed, room.ram) == (None, 10 * GB)
    assert read_room(BLIND, root=tmp_path).ram_freed == 0


def test_cards_and_what_processes_that_go_hold_on_them(tmp_path: Path, machine: t.Callable[..., None]) -> None:
    machine(64, 50, Holding(7, 1024 * MIB, NVIDIA, "GPU-aa"), Holding(8, 3072 * MIB, NVIDIA, "GPU-aa"))
    room = read_room(sight_of(TWO, {}), going=[7], root=tmp_path)
    assert [(card.index, card.total, card.available, card.freed) for card in room.cards] == [
        (0, 24576 * MIB, 20480 * MIB, 1024 * MIB),
        (1, 8192 * MIB, 8192 * MIB, 0),
    ]
    assert [card.freed for card in read_room(sight_of(TWO, {}), root=tmp_path).cards] == [0, 0]
    one = read_room(sight_of(TWO, {"CUDA_VISIBLE_DEVICES": "1"}), root=tmp_path)
    assert [card.index for card in one.cards] == [1]
    assert not read_room(BLIND, root=tmp_path).gpu


@pytest.mark.parametrize(
    ("ram", "vram", "freed", "on_card"),
    [
        (2 * GB, 1024 * MIB, 2 * GB, 1024 * MIB),
        (9 * GB, 9999 * MIB, 5 * GB, 3072 * MIB),
        (None, None, None, None),
        (0, 0, 0, 0),
    ],
)
def test_one_that_goes_on_gives_back_what_its_model_holds(
    ram: int | None,
    vram: int | None,
    freed: int | None,
    on_card: int | None,
    tmp_path: Path,
    machine: t.Callable[..., None],
) -> None:
    me = os.getpid()
    machine(64, 10, Holding(me, 3072 * MIB, NVIDIA, "GPU-aa"), Holding(7, 512 * MIB, NVIDIA, "GPU-aa"))
    (tmp_path / "proc" / str(me)).mkdir(parents=True)
    (tmp_path / "proc/self").mkdir()
    (tmp_path / f"proc/{me}/statm").write_text(f"9 {-(-5 * GB // mmap.PAGESIZE)} 0 0 0 0 0\n")
    room = read_room(sight_of(TWO, {}), given=[Given(frozenset([me]), ram, vram)], root=tmp_path)
    assert room.ram_freed == (None if freed is None else pytest.approx(freed, rel=1e-5))
    assert [card.freed for card in room.cards] == [on_card, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_process_table_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read, table = [], keeper.table
    monkeypatch.setattr(keeper, "table", lambda: read.append(1) or table())
    private_memory([os.getpid(), os.getppid(), 1])
    assert len(read) == 1


def test_this_machine() -> None:
    room = read_room(BLIND)
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
        # It goes on to read, which takes it a page or two.
        assert private_memory([process.pid, process.pid]) == pytest.approx(held, abs=100_000)
        assert process.stdin is not None
        process.stdin.close()
    assert resident > 140_000_000
    assert 60_000_000 < held < 75_000_000
    assert private_memory([process.pid]) == 0
    assert private_memory([]) == 0
