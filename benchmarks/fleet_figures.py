# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet: a run of site with nothing to do, and the pause that a switch makes."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

from ask import ask
from measuring import BIN, TOP, Figure, figure, free_port, module, seconds
from reciter import sentence_of, write_gguf

REQUESTS_PER_SECOND = 20


def playbooks(work: Path, rounds: int) -> t.Iterator[Figure]:
    """A run of site that has nothing to do, on three hosts; the peer is as many tasks that do nothing at all."""
    models = work / "models"
    models.mkdir()
    for name in ("alpha", "beta"):
        write_gguf(models / f"{name}.gguf", sentence_of(name), name)
    ports = [free_port() for _host in range(3)]
    hosts = {
        f"host{number}": {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "llm_prefix": str(work / f"host{number}"),
            "llm_models": [{"name": n, "source": "file", "path": str(models / f"{n}.gguf")} for n in ("alpha", "beta")],
            "llm_runtimes": [
                {"name": "chat", "engine": "llama_cpp", "initial_model": "alpha", "port": port, "context_length": 256,
                 "options": {"threads": 1}, "supervisor": "process"}
            ],
        }
        for number, port in enumerate(ports)
    }  # fmt: skip
    inventory = work / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    environment = {
        "ANSIBLE_COLLECTIONS_PATH": str(TOP / ".cache" / "collections"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",
    }
    run = [str(BIN / "ansible-playbook"), "-i", str(inventory)]
    seconds([*run, "llmops.fleet.site"], environment)
    try:
        ours, theirs, tasks = [], [], 0
        for _round in range(rounds):
            wall, out = seconds([*run, "llmops.fleet.site"], environment)
            if re.search(r"changed=[1-9]", out):
                raise SystemExit("error: a second run of site changed something")
            ours.append(wall)
            tasks = len(re.findall(r"^TASK ", out, re.MULTILINE))
            remote = len(
                re.findall(r"^TASK .*(Look where|Make the|Bring all|Serve and|own environment)", out, re.MULTILINE)
            )
            pings = work / "pings.yml"
            pings.write_text(
                json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.ping": {}}] * remote}])
            )
            theirs.append(seconds([*run, str(pings)], environment)[0])
        yield Figure("no-op site, 3 hosts: tasks", tasks, "tasks", "", None)
        yield figure("no-op site, 3 hosts", ours, theirs, f"{remote} tasks of ansible.builtin.ping")
        yield from switch_pause(f"http://127.0.0.1:{ports[0]}", hosts["host0"], rounds)
    finally:
        seconds([*run, "llmops.fleet.remove", "-e", "llm_remove_all=true"], environment)


def switch_pause(url: str, host: dict[str, t.Any], rounds: int) -> t.Iterator[Figure]:
    """The longest time without a reply that a client at 20 requests a second sees while the model is switched.

    The peer is the engine alone: SIGKILL, start by hand, first reply.
    """
    replies: list[tuple[float, str]] = []
    running = threading.Event()
    running.set()

    def client() -> None:
        while running.is_set():
            started = time.monotonic()
            with contextlib.suppress(OSError, ValueError):
                replies.append((time.monotonic(), ask(url, timeout=2)))
            time.sleep(max(0.0, 1 / REQUESTS_PER_SECOND - (time.monotonic() - started)))

    prefix = Path(host["llm_prefix"])
    thread = threading.Thread(target=client)
    thread.start()
    pauses, alone = [], []
    try:
        for number in range(rounds):
            time.sleep(0.5)
            begin = len(replies)
            module("llm_runtime", name="chat", prefix=str(prefix), model=("beta", "alpha")[number % 2])
            time.sleep(0.5)
            moments = [moment for moment, _reply in replies[max(0, begin - 1) :]]
            pauses.append(max(later - earlier for earlier, later in zip(moments, moments[1:])))
            strange = {reply for _moment, reply in replies} - {sentence_of("alpha"), sentence_of("beta")}
            if strange:
                raise SystemExit(f"error: a reply was of neither model: {strange}")
    finally:
        running.clear()
        thread.join()
    for _round in range(rounds):
        alone.append(engine_alone(prefix))
    yield figure("switch pause at 20 requests/s", pauses, alone, "the engine alone, from start to first reply")


def engine_alone(prefix: Path) -> float:
    port = free_port()
    program = prefix / "var/lib/llm/runtimes/chat/engine/bin/llama-server"
    model = next((prefix / "var/lib/llm/models/file").glob("alpha@*/alpha.gguf"))
    started = time.monotonic()
    words = [str(program), "--model", str(model), "--port", str(port), "--ctx-size", "256", "--threads", "1"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as engine:
        while True:
            try:
                ask(f"http://127.0.0.1:{port}", timeout=2)
                break
            except (OSError, ValueError):
                time.sleep(0.01)
        wall = time.monotonic() - started
        engine.send_signal(signal.SIGTERM)
    return wall
