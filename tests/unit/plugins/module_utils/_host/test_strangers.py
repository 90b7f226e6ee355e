# SPDX-License-Identifier: GPL-3.0-or-later
"""Strangers with real processes; what systemd would say is said by a stand-in."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._host import keeper, strangers
from ansible_collections.llmops.fleet.plugins.module_utils._host.strangers import (
    Stranger,
    Territory,
    engine_of,
    evict,
    find,
)

LISTEN = """
import os, signal, socket, sys, time
server = socket.socket()
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen()
print("ready", flush=True)
time.sleep(600)
"""
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setpgid(0, 0)
    print("ready", flush=True)
time.sleep(600)
"""


class Start(t.Protocol):
    def __call__(self, program: str, *words: str, title: str = ..., **popen: t.Any) -> subprocess.Popen[bytes]: ...


@pytest.fixture
def start() -> t.Iterator[Start]:
    """Start programs, and wait until they say that they are ready."""
    started: list[subprocess.Popen[bytes]] = []
    families: set[tuple[int, int]] = set()

    def run(program: str, *words: str, title: str = "python", **popen: t.Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [title, "-S", "-c", program, *words], executable=sys.executable, stdout=subprocess.PIPE, **popen
        )
        started.append(process)
        assert process.stdout
        process.stdout.readline()
        entries = keeper.table()
        session = {each.pid for each in entries.values() if each.session == process.pid}
        families.update((pid, entries[pid].ticks) for pid in keeper.with_descendants({process.pid, *session}, entries))
        return process

    yield run
    for pid, ticks in families:
        keeper.send(pid, ticks, signal.SIGKILL)
    for process in started:
        process.wait()
        assert process.stdout
        process.stdout.close()


@pytest.fixture
def territory(tmp_path: Path, free_port: int) -> Territory:
    return Territory(free_port, frozenset(), "llm-chat.service", str(tmp_path / "run/llm/chat.pid"))


def _record(pid: int) -> Stranger:
    entry = keeper.entry_of(pid)
    assert entry
    return Stranger(pid, entry.ticks, "listener", None, "x", "x", 0, None, 0.0, entry.parent, None, None, None)


def _gone(pid: int) -> bool:
    return keeper.start_ticks(pid) is None


@pytest.mark.parametrize(
    ("words", "engine"),
    [
        (["/usr/local/bin/ollama", "serve"], "ollama"),
        (["/usr/lib/ollama/llama-server", "--model", "x"], "llama_cpp"),
        (["/opt/v/bin/python3.12", "/opt/v/bin/vllm", "serve", "m"], "vllm"),
        (["/opt/v/bin/python3", "-u", "-m", "vllm.entrypoints.openai.api_server"], "vllm"),
        (["VLLM::EngineCore"], "vllm"),
        (["python", "-m", "llama_cpp.server"], "llama_cpp"),
        (["/opt/LM Studio/lm-studio", "--run-as-service"], "lm_studio"),
        (["com.docker.llama-server"], "docker_model_runner"),
        (["python", "-c", "print('ollama')"], None),
        (["grep", "ollama"], None),
        (["vim", "vllm"], None),
        (["tail", "-f", "/var/log/ollama"], None),
        (["python"], None),
        ([""], None),
        ([], None),
    ],
)
def test_engines_are_known_by_what_they_run(words: list[str], engine: str | None) -> None:
    assert engine_of(words) == engine


def test_a_listener_is_told(start: Start, territory: Territory) -> None:
    before = time.time()
    process = start(LISTEN, str(territory.port), "--api-key", "SECRET")
    vram = {process.pid: 5}
    # Engines that others run on this machine are told too.
    found = [each for each in find(territory, vram=vram) if each.kind != "engine"]
    assert [(each.pid, each.kind, each.vram_bytes) for each in found] == [(process.pid, "listener", 5)]
    told = found[0]
    assert "SECRET" not in repr(told)
    assert told.command.endswith(f"{territory.port} --api-key ***")
    assert told.memory_bytes > 1_000_000
    assert before - 5 < told.since < time.time() + 5
    assert told.owner
    # A member is no stranger.
    ours = replace(territory, members=frozenset({process.pid}))
    assert [each for each in find(ours) if each.pid == process.pid] == []


@pytest.mark.parametrize(
    ("host", "there"),
    [("127.0.0.1", True), ("", True), ("localhost", True), ("::", True), ("127.0.0.2", False), ("::1", False)],
)
def test_a_listener_on_another_address_is_in_nobodys_way(
    start: Start, territory: Territory, host: str, there: bool
) -> None:
    process = start(LISTEN, str(territory.port))
    kinds = {each.pid: each.kind for each in find(replace(territory, host=host))}
    assert kinds.get(process.pid) == ("listener" if there else None)


def test_an_engine_that_was_started_by_hand_is_told(start: Start, territory: Territory) -> None:
    by_hand = start("import time; print(flush=True); time.sleep(600)", title="ollama")
    other = {**os.environ, **keeper.marker("/elsewhere/other.pid")}
    of_another = start("import time; print(flush=True); time.sleep(600)", title="ollama", env=other)
    kinds = {each.pid: (each.kind, each.engine) for each in find(territory)}
    assert kinds[by_hand.pid] == ("engine", "ollama")
    assert of_another.pid not in kinds
    assert by_hand.pid not in {each.pid for each in find(territory, others={by_hand.pid})}


def test_what_is_left_of_a_runtime_is_told(start: Start, territory: Territory) -> None:
    marked = {**os.environ, **keeper.marker(territory.state_path)}
    left = start("import time; print(flush=True); time.sleep(600)", env=marked)
    found = {each.pid: each.kind for each in find(territory)}
    assert found[left.pid] == "orphan"
    assert left.pid not in {each.pid for each in find(replace(territory, members=frozenset({left.pid})))}
    assert evict(next(each for each in find(territory) if each.pid == left.pid), 2).startswith("ended process")
    assert _gone(left.pid)


def test_members_that_outlived_it_are_told_with_their_memory(start: Start, territory: Territory) -> None:
    """As children of an engine whose keeper was killed with it: the supervisor has them as members."""
    child = start("x = bytearray(64_000_000); print(flush=True); import time; time.sleep(600)")
    members = frozenset({child.pid})
    mine = replace(territory, members=members, left=members)
    told = next(each for each in find(mine, vram={child.pid: 7}) if each.pid == child.pid)
    assert (told.kind, told.vram_bytes) == ("orphan", 7)
    assert told.memory_bytes > 64_000_000
    assert child.pid not in {each.pid for each in find(replace(mine, left=frozenset()))}
    # A keeper that lives is about to end them.
    state = {"keeper_pid": os.getpid(), "keeper_ticks": keeper.start_ticks(os.getpid()), "pid": None, "ticks": None,
             "started_at": 0, "restarts": 1, "detail": ""}  # fmt: skip
    path = Path(territory.state_path)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(state))
    assert child.pid not in {each.pid for each in find(mine)}
    path.write_text(json.dumps({**state, "keeper_ticks": 1}))
    assert child.pid in {each.pid for each in find(mine)}


def test_zombies_are_told(start: Start, territory: Territory) -> None:
    process = start("print(flush=True); input()", title="x", stdin=subprocess.PIPE)
    assert process.stdin
    process.stdin.close()
    while not _gone(process.pid):
        time.sleep(0.02)
    found = [each for each in find(territory, vram={process.pid: 7}) if each.pid == process.pid]
    assert [(each.kind, each.parent, each.vram_bytes) for each in found] == [("zombie", os.getpid(), 7)]
    with pytest.raises(LlmError, match=f"its parent {os.getpid()} has to reap it"):
        evict(found[0], 1)


def test_where_a_process_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = "0123456789abcdef" * 4
    places = {
        1: f"0::/docker/{identity}/system.slice/ssh.service",
        2: "0::/system.slice/ollama.service",
        3: "0::/user.slice/user-0.slice/user@0.service/app.slice/ollama.service",
        4: "0::/user.slice/user-0.slice/user@0.service/init.scope",
        5: f"0::/system.slice/docker-{identity}.scope",
        6: f"4:memory:/\n1:name=systemd:/libpod_parent/libpod-{identity}/system.slice/x.service\n0::/",
        7: "0::/user.slice/user-1000.slice/session-3.scope",
        8: "",
    }
    monkeypatch.setattr(keeper, "read_proc", lambda pid, _name: places[pid].encode())
    found = {pid: tuple(strangers._Place.of(pid)) for pid in places}
    assert found == {
        1: (None, None, identity[:12]),
        2: ("ollama.service", None, None),
        3: ("ollama.service", "root", None),
        4: (None, None, None),
        5: (None, None, identity[:12]),
        6: (None, None, identity[:12]),
        7: (None, None, None),
        8: (None, None, None),
    }
    assert strangers._Place.of(1, own=identity[:12]).unit == "ssh.service"


def test_evict_ends_it_with_its_descendants(start: Start) -> None:
    process = start(STUBBORN)
    family = keeper.with_descendants({process.pid}, keeper.table())
    assert len(family) == 2
    started = time.monotonic()
    assert evict(_record(process.pid), 0.3) == f"ended process {process.pid} and 1 that belonged to it"
    assert time.monotonic() - started < 3
    assert all(map(_gone, family))
    assert evict(replace(_record(os.getpid()), pid=process.pid), 1).endswith("is gone already")


def test_evict_ends_the_session_of_its_leader(start: Start) -> None:
    # A second fork, so that the one that is left has no parent any more.
    program = STUBBORN.replace("if os.fork() == 0:", "if os.fork() == 0:\n    if os.fork(): os._exit(0)")
    process = start(program, start_new_session=True)
    session = {each.pid for each in keeper.table().values() if each.session == process.pid and each.state != "Z"}
    assert len(session) == 2
    evict(_record(process.pid), 0.2)
    assert all(map(_gone, session))


def test_a_number_that_was_given_away_is_not_ended(start: Start) -> None:
    process = start(STUBBORN)
    record = _record(process.pid)
    assert evict(replace(record, ticks=record.ticks - 1), 0.1).endswith("is gone already")
    assert not _gone(process.pid)


@pytest.mark.parametrize("pid", [1, os.getpid(), os.getppid()], ids=["init", "ourselves", "our parent"])
def test_nobody_is_evicted_that_we_stand_on(pid: int) -> None:
    with pytest.raises(LlmError) as failure:
        evict(_record(pid), 0)
    assert failure.value.reason == "stop_failed"
    assert keeper.start_ticks(os.getpid())


def test_a_container_is_not_ended_by_its_processes(start: Start) -> None:
    process = start(STUBBORN)
    with pytest.raises(LlmError, match="it runs in the container 0123456789ab; stop that"):
        evict(replace(_record(process.pid), container="0123456789ab"), 0)
    assert not _gone(process.pid)


def test_check_mode_ends_nothing_and_refuses_the_same(start: Start) -> None:
    process = start(STUBBORN)
    assert evict(_record(process.pid), 0, check_mode=True).endswith("would be ended")
    assert not _gone(process.pid)
    with pytest.raises(LlmError, match="it runs in the container 0123456789ab; stop that"):
        evict(replace(_record(process.pid), container="0123456789ab"), 0, check_mode=True)


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., list[str]]:
    """A stand-in that stops what it is told to be the main process."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(restart: str, main: int) -> list[str]:
        tool = folder / "systemctl"
        tool.write_text(
            f'#!/bin/sh\necho "$*" >>{folder}/asked\ncase "$*" in\n'
            f"*show*) echo Restart={restart}; echo MainPID={main};;\n*stop*) kill -9 {main};;\nesac\nsleep 0.2\n"
        )
        tool.chmod(0o755)
        return [str(folder / "asked")]

    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return make


@pytest.mark.parametrize(
    ("user", "words"), [(None, "stop ollama.service"), ("alice", "--user --machine=alice@.host stop ollama.service")]
)
def test_what_systemd_would_start_again_is_stopped_by_it(
    start: Start, systemctl: t.Callable[..., list[str]], user: str | None, words: str
) -> None:
    process = start(STUBBORN)
    asked = Path(*systemctl("always", process.pid))
    done = evict(replace(_record(process.pid), unit="ollama.service", unit_user=user), 1)
    assert done.startswith("stopped the unit ollama.service (Restart=always)")
    assert asked.read_text().splitlines()[-1] == words


def test_a_part_of_a_unit_is_not_ended(start: Start, systemctl: t.Callable[..., list[str]]) -> None:
    """As a container's process behind the port: its unit does other things too, and would start it again."""
    process = start(STUBBORN)
    asked = Path(*systemctl("always", 1))
    with pytest.raises(LlmError, match=r"it belongs to docker.service, .*stop that unit"):
        evict(replace(_record(process.pid), unit="docker.service"), 1)
    assert not _gone(process.pid)
    assert "stop" not in asked.read_text()


def test_what_systemd_leaves_alone_is_ended_here(start: Start, systemctl: t.Callable[..., list[str]]) -> None:
    process = start(STUBBORN)
    asked = Path(*systemctl("no", process.pid))
    assert evict(replace(_record(process.pid), unit="once.service"), 0.1).startswith("ended process")
    assert _gone(process.pid)
    assert "stop" not in asked.read_text()


def test_a_look_is_quick(territory: Territory) -> None:
    """By the processor's time, which other work on the host does not lengthen much: 50 ms for 500 processes."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", territory.port))
        server.listen()
        seconds = []
        for _round in range(5):
            started = time.process_time()
            find(territory)
            seconds.append(time.process_time() - started)
    assert min(seconds) < 0.02 + 0.0001 * max(500, len(keeper.table()))
