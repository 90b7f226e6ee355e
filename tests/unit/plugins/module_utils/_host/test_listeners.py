# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import socket
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._host import connections, processes

MAPS = """
import mmap, os, sys, time
shared = mmap.mmap(-1, 128_000_000)
shared.write(b"x" * 128_000_000)
pid = os.fork()
if pid == 0:
    shared.seek(0)
    shared.read()
    print(os.getpid(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def port() -> t.Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_who_listens(port: int) -> None:
    owner = processes.listener(port, besides=None)
    assert owner
    assert owner.pid == os.getpid()
    assert processes.listener(port, besides=frozenset()) == owner
    assert processes.listener(port, besides={1}) == owner
    # A process or its family, and the members of a runtime.
    assert processes.listener(port, besides=os.getpid()) is None
    assert processes.listener(port, besides={1, os.getpid()}) is None


@pytest.mark.parametrize("proc", [True, False], ids=["/proc", "without"])
def test_another_address_is_another_place(port: int, proc: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not proc:
        monkeypatch.setattr(connections, "_TABLES", ("/nowhere",))
    for host in ("127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "::", "localhost"):
        assert processes.holders(port, host=host) == [os.getpid()]
    for host in ("127.0.0.2", "192.0.2.1", "::1"):
        assert processes.holders(port, host=host) == []
        assert processes.listener(port, besides=None, host=host) is None


def test_nobody_listens(free_port: int) -> None:
    assert processes.listener(free_port, besides=None) is None
    assert processes.holders(free_port) == []


def test_two_on_one_port(free_port: int) -> None:
    """Ours and a stranger's, as with SO_REUSEPORT or one for each family: the stranger is told."""
    program = "import socket, sys; s = socket.socket(); s.setsockopt(1, 15, 1); s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen(); print(flush=True); input()"
    with (
        subprocess.Popen(
            [sys.executable, "-c", program, str(free_port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other,
        socket.socket() as mine,
    ):
        assert other.stdout
        other.stdout.readline()
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        mine.bind(("127.0.0.1", free_port))
        mine.listen()
        assert processes.holders(free_port, ours={os.getpid()}) == [other.pid]
        assert processes.holders(free_port, ours={os.getpid(), other.pid}) == []
        other.kill()


def test_pages_that_are_shared_count_once() -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", MAPS], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        try:
            members = {parent.pid, child}
            assert processes.family(parent.pid) == members
            both = processes.memory_of(members)
            assert both is not None
            assert 128_000_000 < both < 200_000_000
            assert processes.memory_of(parent.pid) == pytest.approx(both, rel=0.1)
            alone = processes.memory_of({parent.pid})
            assert alone is not None
            assert alone > 128_000_000
        finally:
            os.kill(child, 9)
            parent.kill()


def test_memory_of_nobody() -> None:
    assert processes.memory_of(frozenset()) is None
    assert processes.memory_of({2**22 + 1}) is None


def test_a_host_without_proc(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_TABLES", ("/nowhere",))
    assert processes.holders(port) == [os.getpid()]
    assert processes.holders(port, ours={os.getpid()}) == []

    def denied(kind: str) -> t.NoReturn:
        raise processes.psutil.AccessDenied

    monkeypatch.setattr(processes.psutil, "net_connections", denied)
    assert processes.holders(port) == [None]
    assert processes.holders(port, host="127.0.0.1") == [None]
    assert processes.holders(port, host="::1") == []
    assert processes.holders(port, ours={os.getpid()}) == []
    assert processes.holders(1) == []
