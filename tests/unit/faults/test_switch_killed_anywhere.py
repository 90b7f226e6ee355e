# SPDX-License-Identifier: GPL-3.0-or-later
"""A switch that is killed at any instant: what is told afterwards is the truth, and the next run ends it right.

The engine is a real llama.cpp. Half of the instants kill the module, at every line of the journal and at calls drawn
from all of the transaction; the others kill the engine while the module waits for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import llama_cpp_python_server
import psutil
import pytest
from ask import ask

RunModule = t.Callable[..., dict[str, t.Any]]
STEPS = ["begin", "drain", "write", "restart", "wait healthy", "prove", "commit", "committed"]
FAILING = ["roll back", "rolled back"]
SEED = int(os.environ.get("KILL_SEED", "20240229"))
# Calls of a whole switch; polling makes it differ a little from run to run.
CALLS = 1500
OTHER = {"alpha": "beta", "beta": "alpha"}
# Both serve the same models, so that the engine can be changed with the model.
ENGINES = {
    "alpha": {"engine": "llama_cpp", "engine_version": "1", "options": {"threads": 1}, "model": "alpha"},
    "beta": {"engine": "llama_cpp_python", "engine_version": "1", "options": {"n_threads": 1}, "model": "beta"},
}
PROGRAMS = ("/engine/bin/llama-server", "/llama_cpp_python_server.py")


class Host:
    """A runtime, and runs of the module in processes that can be killed."""

    def __init__(
        self, prefix: Path, port: int, run_module: RunModule, switcher: subprocess.Popen[str], output: Path
    ) -> None:
        self.prefix, self.port, self._run, self._switcher, self._output = prefix, port, run_module, switcher, output
        self.kills = 0

    def run(self, *, at: t.Any = None, **params: t.Any) -> dict[str, t.Any] | None:
        """The result of one run; None if it was killed."""
        base = {"name": "chat", "prefix": str(self.prefix), "start_timeout": 20}
        assert self._switcher.stdin
        assert self._switcher.stdout
        self._switcher.stdin.write(json.dumps({"params": {**base, **params}, "at": at}) + "\n")
        self._switcher.stdin.flush()
        killed = self._switcher.stdout.readline() == "killed\n"
        self.kills += killed
        return None if killed else dict(json.loads(self._output.read_text()))

    def status(self) -> dict[str, t.Any]:
        return dict(self._run("llm_runtime_info", prefix=str(self.prefix))["runtimes"][0])

    def engines(self) -> list[psutil.Process]:
        """The engine's processes; its keeper has another command line."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                ours = any(word.startswith(f"{self.prefix}/") for word in words)
                if ours and any(word.endswith(PROGRAMS) for word in words):
                    found.append(process)
        return found

    def answer(self) -> str | None:
        """The model that answers, by its own words."""
        try:
            return ask(f"http://127.0.0.1:{self.port}", timeout=5).split()[1]
        except OSError:
            return None

    def settled(self) -> tuple[dict[str, t.Any], str | None]:
        """Status and answer of one and the same moment: a killed run's engine may just be starting."""
        deadline = time.monotonic() + 20
        while True:
            before, answer, after = self.status(), self.answer(), self.status()
            still = (before["phase"], before["pid"]) == (after["phase"], after["pid"])
            if (still and after["phase"] not in ("loading", "starting")) or time.monotonic() > deadline:
                return after, answer
            time.sleep(0.05)

    def check_truth(self, old: str, new: str) -> None:
        """After a kill: at most one engine, and what is told of it is so."""
        status, answer = self.settled()
        assert len(self.engines()) <= 1
        if answer is None:
            assert status["status"] == "offline", json.dumps(status)
        else:
            assert answer in (old, new)
            told = status["status"] == "online" and status["model"] == answer
            assert told or (status["status"] == "degraded" and status["reasons"]), (answer, status)

    def check_serves(self, *models: str) -> str:
        """Exactly one of these serves, and everything says so."""
        status, answer = self.status(), self.answer()
        assert (status["status"], status["reasons"], status["interrupted"]) == ("online", [], None), status
        assert answer == status["model"]
        assert answer in models
        assert len(self.engines()) == 1
        return str(answer)


@pytest.fixture(scope="module")
def switcher(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[tuple[subprocess.Popen[str], Path]]:
    output = tmp_path_factory.mktemp("switcher") / "result.json"
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("switcher.py")), str(output)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process, output
        assert process.stdin
        process.stdin.close()


@pytest.fixture
def host(
    prefix: Path,
    reciters: Path,
    free_port: int,
    run_module: RunModule,
    switcher: tuple[subprocess.Popen[str], Path],
) -> t.Iterator[Host]:
    models = [{"name": path.stem, "source": "file", "path": str(path)} for path in sorted(reciters.iterdir())]
    assert run_module("llm_model", prefix=str(prefix), models=models)["changed"]
    host = Host(prefix, free_port, run_module, *switcher)
    first = {"engine": "llama_cpp", "engine_version": "1", "supervisor": "process", "options": {"threads": 1}}
    result = host.run(**first, model="alpha", port=free_port, context_length=256)
    assert result
    assert not result.get("failed"), result
    yield host
    host.run(state="absent")
    assert not host.engines()


def converge(host: Host, old: str, new: str, kind: int) -> str:
    """The next run: the same switch again, the runtime as it is, or the way back; it always ends in one that serves."""
    params: dict[str, t.Any] = [{"model": new}, {}, {"model": old}][kind % 3]
    result = host.run(**params)
    assert result
    assert not result.get("failed"), result
    serving = host.check_serves(*([params["model"]] if params else [old, new]))
    assert result["model"] == serving
    again = host.run()
    assert again
    assert again["changed"] is False, again
    return serving


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_every_line_of_the_journal(host: Host, when: str) -> None:
    serving = "alpha"
    for kind in range(3):
        for step in STEPS:
            new = OTHER[serving]
            assert host.run(model=new, at=[when, step]) is None, step
            host.check_truth(serving, new)
            serving = converge(host, serving, new, kind)
    assert host.kills == 3 * len(STEPS)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_on_the_way_back(host: Host, when: str) -> None:
    """A model that cannot be served: the old one serves again, whenever the way back was cut."""
    for number, step in enumerate([*STEPS[:5], *FAILING]):
        assert host.run(model="gamma", at=[when, step]) is None, step
        host.check_truth("alpha", "gamma")
        result = host.run(**[{}, {"model": "alpha"}][(number + (when == "after")) % 2])
        assert result
        assert not result.get("failed"), result
        host.check_serves("alpha")
    assert host.kills == 5 + len(FAILING)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_it_gets_another_engine(host: Host, when: str) -> None:
    program = host.prefix / "opt/llm/engines/llama_cpp_python/1/bin/llama-cpp-python-server"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {llama_cpp_python_server.__file__} "$@"\n')
    program.chmod(0o755)
    serving = "alpha"
    for kind, step in enumerate([*STEPS[:2], "leave", *STEPS[2:]]):
        new = OTHER[serving]
        assert host.run(**ENGINES[new], at=[when, step]) is None, step
        host.check_truth(serving, new)
        result = host.run(**[ENGINES[new], {}, ENGINES[serving]][kind % 3])
        assert result
        assert not result.get("failed"), result
        serving = host.check_serves(*[(new,), (serving, new), (serving,)][kind % 3])
        assert host.status()["engine"] == ENGINES[serving]["engine"]
        again = host.run()
        assert again
        assert again["changed"] is False, again


@pytest.mark.parametrize("part", range(4))
def test_killed_at_any_call(host: Host, part: int) -> None:
    draw = random.Random(f"{SEED} {part}")
    serving = "alpha"
    for kind in range(30):
        new = OTHER[serving]
        if host.run(model=new, at=draw.randrange(1, CALLS)) is None:
            host.check_truth(serving, new)
        serving = converge(host, serving, new, kind)
    assert host.kills >= 20


def test_the_engine_is_killed_in_any_phase(host: Host) -> None:
    """The module lives: it either switched or went back, says which, and that is what serves."""
    draw = random.Random(SEED)
    serving = "alpha"
    for _number in range(25):
        new = OTHER[serving]
        results: list[dict[str, t.Any] | None] = []
        switch = threading.Thread(target=lambda new=new, results=results: results.append(host.run(model=new)))
        switch.start()
        time.sleep(draw.uniform(0, 0.7))
        # On a slow machine it is an earlier phase, on a fast one perhaps the end: some engine is always killed.
        while not kill(host.engines()):
            time.sleep(0.001)
        switch.join()
        (result,) = results
        assert result
        if result.get("failed"):
            assert result.get("rolled_back") or "was restarted" in result["msg"], result
        host.settled()
        serving = converge(host, serving, new, 1)
        assert result.get("failed") or serving == new


def kill(processes: list[psutil.Process]) -> int:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
    return len(processes)
