# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor `process` with a real program that does all that makes children hard to end."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.layout import Layout, layout_for
from ansible_collections.llmops.fleet.plugins.module_utils._core.supervisor import Service
from ansible_collections.llmops.fleet.plugins.module_utils._host import keeper
from ansible_collections.llmops.fleet.plugins.module_utils._host.process import ProcessSupervisor, definition_text

# Children that ignore SIGTERM: in the group, in a group of its own, in a session of its own and without a parent, the
# same without variables. With `die`, the main process heeds SIGTERM; with `stay`, it ignores it too.
PROGRAM = """
import os, signal, sys, time
folder, manner = sys.argv[1:3]

def note(name):
    with open(f"{folder}/{name}.new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"{folder}/{name}.new", f"{folder}/{name}")

def child(name, *acts):
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for act in acts:
            act()
        note(name)
        time.sleep(600)
        os._exit(0)

def fork_again():
    if os.fork():
        os._exit(0)

def forget():
    if not os.environ.get("PLAIN"):
        code = f"import os, signal, time; os.rename('{folder}/forgetful.new', '{folder}/forgetful'); time.sleep(600)"
        with open(f"{folder}/forgetful.new", "w") as file:
            file.write(str(os.getpid()))
        os.execve(sys.executable, [sys.executable, "-S", "-c", code], {})

child("same")
child("group", lambda: os.setpgid(0, 0))
child("session", os.setsid, fork_again)
if manner != "plain":
    child("forgetful_first", os.setsid, fork_again, forget)
if manner == "stay":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
note("main")
time.sleep(600)
"""
NAMES = ("main", "same", "group", "session", "forgetful")


class Host:
    """One host below a prefix, with one runtime `chat`."""

    def __init__(self, folder: Path, manner: str = "die") -> None:
        self.layout: Layout = layout_for(root=True, user="x", home="/", run_home=None, prefix=str(folder / "host"))
        self.supervisor = ProcessSupervisor(self.layout)
        self.service = Service("chat", 2)
        self.notes = folder / "notes"
        self.notes.mkdir()
        self.state = Path(self.layout.run) / "chat.pid"
        program = folder / "program.py"
        program.write_text(PROGRAM)
        self.define([sys.executable, "-S", str(program), str(self.notes), manner])

    def define(self, command: list[str]) -> None:
        Path(self.layout.runtime_folder("chat")).mkdir(parents=True, exist_ok=True)
        text = definition_text(command=command, layout=self.layout, runtime="chat", user=None, stop_timeout=2)
        Path(self.supervisor.definition_path("chat")).write_text(text)

    def start(self, names: t.Sequence[str] = NAMES) -> dict[str, int]:
        self.supervisor.start(self.service)
        return self.pids(names)

    def pids(self, names: t.Sequence[str] = NAMES) -> dict[str, int]:
        wait(lambda: all((self.notes / name).exists() for name in names))
        return {name: int((self.notes / name).read_text()) for name in names}

    def stop(self) -> None:
        self.supervisor.stop(self.service)

    def keeper(self) -> int:
        return int(json.loads(self.state.read_text())["keeper_pid"])


def wait(done: t.Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    return keeper.start_ticks(pid) is None


@pytest.fixture
def host(tmp_path: Path) -> t.Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.stop()


def test_all_that_it_begot_are_members(host: Host) -> None:
    pids = host.start()
    seen = host.supervisor.process("chat")
    assert seen.pid == pids["main"]
    assert set(pids.values()) <= seen.members
    assert host.keeper() not in seen.members
    assert os.getpid() not in seen.members


@pytest.mark.parametrize("manner", ["die", "stay"])
def test_stopped_leaves_nothing(tmp_path: Path, manner: str) -> None:
    host = Host(tmp_path, manner)
    pids = host.start()
    keeper_pid = host.keeper()
    started = time.monotonic()
    host.stop()
    assert time.monotonic() - started < 6
    assert all(map(gone, [*pids.values(), keeper_pid]))
    assert list(Path(host.layout.run).iterdir()) == []
    assert host.supervisor.process("chat").members == frozenset()
    host.stop()


def test_what_a_killed_engine_left_is_ended_before_it_is_started_anew(host: Host) -> None:
    first = host.start()
    for path in host.notes.iterdir():
        path.unlink()
    os.kill(first["main"], signal.SIGKILL)
    second = host.pids()
    assert all(map(gone, first.values()))
    assert host.supervisor.process("chat").pid == second["main"]
    assert host.supervisor.process("chat").restarts == 1
    assert set(second.values()) <= host.supervisor.process("chat").members


@pytest.mark.parametrize("lost", [False, True], ids=["pid file", "no pid file"])
def test_what_a_killed_keeper_left_is_found_and_ended(host: Host, lost: bool) -> None:
    names = ("main", "same", "group", "session")
    pids = host.start(names)
    os.kill(host.keeper(), signal.SIGKILL)
    # Its engine is told to end with it; what ignores that, or got away, is not.
    wait(lambda: gone(pids["main"]))
    if lost:
        host.state.unlink()
    seen = host.supervisor.process("chat")
    assert seen.active is False
    assert {pids[name] for name in names[1:]} <= seen.members
    host.stop()
    assert all(gone(pids[name]) for name in names)
    assert host.supervisor.process("chat").members == frozenset()
    # What shook off parent, session and variables after the keeper's end is nobody's any more: told in the docs.
    os.kill(int((host.notes / "forgetful").read_text()), signal.SIGKILL)


def test_a_start_ends_what_was_left(host: Host) -> None:
    first = host.start(("main", "same", "group", "session"))
    forgetful = host.pids(("forgetful",))["forgetful"]
    os.kill(host.keeper(), signal.SIGKILL)
    host.state.unlink()
    os.kill(forgetful, signal.SIGKILL)
    for path in host.notes.iterdir():
        path.unlink()
    second = host.start()
    assert all(map(gone, first.values()))
    assert not any(map(gone, second.values()))


def test_a_living_keeper_whose_pid_file_is_gone_is_ended(host: Host) -> None:
    pids = host.start()
    keeper_pid = host.keeper()
    host.state.unlink()
    host.stop()
    assert all(map(gone, [*pids.values(), keeper_pid]))


def test_a_keeper_that_hangs_is_ended(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.llmops.fleet.plugins.module_utils._host import process

    monkeypatch.setattr(process, "_KEEPER_GRACE", 0.2)
    pids = host.start()
    keeper_pid = host.keeper()
    os.kill(keeper_pid, signal.SIGSTOP)
    host.stop()
    assert all(map(gone, [*pids.values(), keeper_pid]))


def test_another_runtime_of_the_same_name_is_not_touched(host: Host, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Host(tmp_path / "other")
    kept = other.start()
    host.start()
    host.stop()
    host.stop()
    assert not any(map(gone, kept.values()))
    other.stop()
    assert all(map(gone, kept.values()))


@pytest.fixture
def foreigner() -> t.Iterator[subprocess.Popen[bytes]]:
    """A session of somebody else: its leader, and one process that the leader left in it."""
    program = "import os, time; os.fork(); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-S", "-c", program], start_new_session=True)
    wait(lambda: len(_session(process.pid)) == 2)
    yield process
    for pid in _session(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait()


def _session(pid: int) -> list[int]:
    return [entry.pid for entry in keeper.table().values() if entry.session == pid and entry.state != "Z"]


def _state(host: Host, **words: t.Any) -> None:
    known = {"keeper_pid": 1, "keeper_ticks": 1, "started_at": 0.0, "restarts": 0, "detail": ""}
    host.state.parent.mkdir(parents=True, exist_ok=True)
    host.state.write_text(json.dumps({**known, **words}))


def test_a_pid_file_that_names_somebody_else_ends_nobody(host: Host, foreigner: subprocess.Popen[bytes]) -> None:
    ticks = keeper.start_ticks(foreigner.pid)
    assert ticks is not None
    _state(host, pid=foreigner.pid, ticks=ticks - 1, keeper_pid=foreigner.pid, keeper_ticks=ticks - 1)
    assert host.supervisor.process("chat").active is False
    assert host.supervisor.process("chat").members == frozenset()
    host.stop()
    assert not gone(foreigner.pid)
    assert not host.state.exists()


def test_a_session_that_was_opened_later_and_left_by_its_leader_is_not_ours(
    host: Host, foreigner: subprocess.Popen[bytes]
) -> None:
    """As after the engine's number was given away, and the newcomer ended too."""
    foreigner.kill()
    foreigner.wait()
    assert len(_session(foreigner.pid)) == 1
    _state(host, pid=foreigner.pid, ticks=1)
    assert host.supervisor.process("chat").members == frozenset()
    host.stop()
    assert len(_session(foreigner.pid)) == 1


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", "17", '{"pid": 1}'])
def test_a_pid_file_of_nobody(host: Host, text: str) -> None:
    host.state.parent.mkdir(parents=True)
    host.state.write_text(text)
    assert host.supervisor.process("chat").active is False
    host.stop()
    assert not host.state.exists()


def test_it_survives_a_logout(host: Host, tmp_path: Path) -> None:
    """Started from a terminal whose session is hung up."""
    starter = (
        "import sys; sys.path[:0] = sys.argv[1].split(':')\n"
        "from ansible_collections.llmops.fleet.plugins.module_utils._core.layout import layout_for\n"
        "from ansible_collections.llmops.fleet.plugins.module_utils._core.supervisor import Service\n"
        "from ansible_collections.llmops.fleet.plugins.module_utils._host.process import ProcessSupervisor\n"
        "layout = layout_for(root=True, user='x', home='/', run_home=None, prefix=sys.argv[2])\n"
        "ProcessSupervisor(layout).start(Service('chat', 2))\n"
        "print('started', flush=True)\n"
        "import time; time.sleep(60)\n"
    )
    child, terminal = pty.fork()
    if child == 0:
        # Whoever runs the tests may ignore it (nohup), and that is inherited.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.execv(sys.executable, [sys.executable, "-c", starter, ":".join(sys.path), str(tmp_path / "host")])
    wait(host.state.exists, 20)
    pids = host.pids()
    # The terminal goes: the kernel hangs up its session.
    os.close(terminal)
    os.waitpid(child, 0)
    time.sleep(0.3)
    assert not any(map(gone, pids.values()))
    entry = keeper.entry_of(host.keeper())
    assert entry
    assert entry.session == entry.pid
    assert entry.parent != os.getpid()


def test_the_engine_has_a_session_and_the_marker_of_its_own(host: Host) -> None:
    pids = host.start()
    variables = keeper.read_proc(pids["main"], "environ").split(b"\0")
    assert b"LLM_RUNTIME=chat" in variables
    entry = keeper.entry_of(pids["main"])
    assert entry
    assert (entry.session, entry.group) == (entry.pid, entry.pid)


def test_an_ending_engine_is_told(tmp_path: Path) -> None:
    host = Host(tmp_path, "stay")
    pids = host.start()
    assert host.supervisor.process("chat").ending is False
    os.kill(host.keeper(), signal.SIGTERM)
    wait(lambda: host.supervisor.process("chat").ending, 1)
    host.stop()
    assert all(map(gone, pids.values()))


def test_ended_children_that_were_adopted_are_reaped(host: Host, tmp_path: Path) -> None:
    """An engine that leaves short-lived children without a parent does not fill the process table."""
    program = "import os, time\nif os.fork() == 0:\n    os.fork()\n    os._exit(0)\nos.wait()\ntime.sleep(600)"
    host.define([sys.executable, "-S", "-c", program])
    host.supervisor.start(host.service)
    wait(lambda: host.supervisor.process("chat").active)
    mine = host.keeper()
    time.sleep(0.5)
    assert [entry for entry in keeper.table().values() if entry.parent == mine and entry.state == "Z"] == []
