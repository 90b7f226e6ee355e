# SPDX-License-Identifier: GPL-3.0-or-later
"""`llm_runtime` and `llm_runtime_info` with a real llama.cpp: who is in a runtime's way, and what they hold."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._host import gpu, keeper
from ask import ask

Run = t.Callable[..., dict[str, t.Any]]
SLEEPS = "x = bytearray(64_000_000); print(flush=True); import time; time.sleep(600)"


@pytest.fixture
def start() -> t.Iterator[t.Callable[..., int]]:
    """Start something that holds 64 MB under a title, with more variables."""
    started: list[subprocess.Popen[bytes]] = []

    def run(title: str, **variables: str) -> int:
        words = [title, "-S", "-c", SLEEPS]
        process = subprocess.Popen(
            words, executable=sys.executable, stdout=subprocess.PIPE, env={**os.environ, **variables}
        )
        started.append(process)
        assert process.stdout
        process.stdout.readline()
        return process.pid

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_a_stranger_on_another_address_is_in_nobodys_way(
    runtime: Run, run_module: Run, first: dict[str, t.Any], prefix: Path, free_port: int
) -> None:
    with socket.create_server(("127.0.0.2", free_port)):
        served = runtime(**first)
        assert served.get("runtime", {}).get("status") == "online", served
        assert ask(f"http://127.0.0.1:{free_port}") == "Model alpha speaking from this host."
        (told,) = run_module("llm_runtime_info", prefix=str(prefix))["runtimes"]
        assert (told["status"], told["reasons"], told["port_owner"]) == ("online", [], None)
        assert [each for each in told["strangers"] if each["kind"] == "listener"] == []
        assert runtime(**first)["changed"] is False


@pytest.mark.parametrize(("address", "host"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.2", "0.0.0.0")])
def test_a_stranger_and_a_wildcard_want_the_same_port(
    runtime: Run, first: dict[str, t.Any], free_port: int, address: str, host: str
) -> None:
    with socket.create_server((address, free_port)):
        refused = runtime(**first, host=host, allow_unauthenticated=True)
        assert refused["reason"] == "port_in_use"
        assert f"held by process {os.getpid()}" in refused["msg"]


def test_strangers_are_told_with_the_gpu_memory_that_they_hold(
    runtime: Run,
    run_module: Run,
    first: dict[str, t.Any],
    prefix: Path,
    free_port: int,
    tmp_path: Path,
    start: t.Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime(**first)
    for number, name in enumerate(("other", "third"), 1):
        runtime(**{**first, "name": name, "port": free_port + number, "served_names": [name]})
    pid = start("ollama")

    def told() -> list[dict[str, t.Any]]:
        seen = run_module("llm_runtime_info", prefix=str(prefix))["runtimes"]
        return [each for one in seen for each in one["strangers"] if each["pid"] == pid]

    try:
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.setattr(gpu, "PLACES", ())
        assert [(each["kind"], each["vram_mb"]) for each in told()] == [("engine", None)] * 3
        tool = tmp_path / "bin/nvidia-smi"
        tool.parent.mkdir()
        tool.write_text(
            f'#!/bin/sh\necho "$1" >> {tmp_path}/asked\ncase "$1" in\n'
            f'*compute-apps*) echo "{pid}, 7000, GPU-1";;\n*) echo "L4, 1, 7000, 24000, GPU-1";;\nesac\n'
        )
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
        begun = time.monotonic()
        assert [(each["memory_mb"] > 64, each["vram_mb"]) for each in told()] == [(True, 7340)] * 3
        assert time.monotonic() - begun < 2
        # Once for the cards and once for the processes, for three runtimes.
        assert len((tmp_path / "asked").read_text().splitlines()) == 2
    finally:
        runtime(name="third", state="absent")


def test_a_stranger_that_outlived_its_keeper_is_told_as_left(
    runtime: Run, run_module: Run, first: dict[str, t.Any], prefix: Path, start: t.Callable[..., int]
) -> None:
    runtime(**first)
    path = prefix / "run/llm/chat.pid"
    state = json.loads(path.read_text())
    pid = start("python", **keeper.marker(str(path)))
    for each in (state["keeper_pid"], state["pid"]):
        os.kill(each, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while keeper.start_ticks(state["pid"]) and time.monotonic() < deadline:
        time.sleep(0.02)
    (told,) = run_module("llm_runtime_info", prefix=str(prefix))["runtimes"]
    (left,) = [each for each in told["strangers"] if each["pid"] == pid]
    assert (told["status"], left["kind"], left["memory_mb"] > 64) == ("offline", "orphan", True)
    assert f"process {pid} is left of it and holds {left['memory_mb']} MB" in told["reasons"]
    # A start ends it, as it is its own.
    assert runtime(**first)["runtime"]["reasons"] == []
    assert keeper.start_ticks(pid) is None
