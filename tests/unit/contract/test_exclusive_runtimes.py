# SPDX-License-Identifier: GPL-3.0-or-later
"""A runtime that wants the host for itself, beside programs that somebody else runs, and what `stopped` is for those."""

from __future__ import annotations

import contextlib
import subprocess
import typing as t
from pathlib import Path

import pytest
import requests
from contract.runtimes import GOOD, HOSTS, Host, InSomebodysOllama, Run, SomebodyElses, until
from contract.test_runtimes import failure, host_of
from ports import another_port
from reciter import gguf, sentence_of

EXTERNAL = sorted(kind for kind in HOSTS if HOSTS[kind].supervisor == "external")


class Beside:
    """A runtime `big` of llama.cpp on the same host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.port = another_port()
        host.bring(
            tiny=host.file("tiny.gguf", gguf(sentence_of("tiny"), "tiny")),
            broken=host.file("broken.gguf", gguf(sentence_of("broken"), "broken", architecture="lxxxx")),
        )

    def runtime(self, **params: t.Any) -> dict[str, t.Any]:
        words = {
            "name": "big", "prefix": str(self.host.prefix), "engine": "llama_cpp", "engine_version": "1", "model": "tiny",
            "port": self.port, "context_length": 256, "options": {"threads": 1}, "served_names": ["big"],
            "supervisor": "process", "exclusive": True, "start_timeout": 20.0,
        }  # fmt: skip
        return self.host.run("llm_runtime", **{**words, **params})

    def phases(self) -> dict[str, str]:
        found = self.host.run("llm_runtime_info", prefix=str(self.host.prefix))["runtimes"]
        return {each["name"]: each["phase"] for each in found}


@pytest.fixture
def host(request: pytest.FixtureRequest, prefix: Path, free_port: int, run_module: Run) -> t.Iterator[Host]:
    with host_of(request.param, prefix, free_port, run_module) as made:
        yield made


@pytest.fixture
def beside(host: Host) -> t.Iterator[Beside]:
    made = Beside(host)
    yield made
    made.runtime(state="absent")


@pytest.mark.parametrize("host", EXTERNAL, indirect=True)
def test_what_somebody_else_runs_gives_its_model_back(host: SomebodyElses, beside: Beside) -> None:
    host.runtime(**host.first)
    for check in (True, False):
        assert beside.runtime(check=check)["changed"]
        assert beside.phases()["chat"] == ("ready" if check else "sleeping")
    assert host.process.poll() is None
    for check in (True, False):
        assert beside.runtime(check=check)["changed"] is False
    # A client's request brings it back, and the next task makes room again.
    assert not failure(host.runtime())
    again = beside.runtime()
    assert (again["changed"], "chat must not be up" in again["msg"]) == (True, True), again
    assert beside.phases() == {"big": "ready", "chat": "sleeping"}
    assert beside.runtime()["changed"] is False


@pytest.mark.parametrize("host", [*EXTERNAL, "ollama"], indirect=True)
def test_its_model_is_in_memory_again_when_the_activation_fails(host: Host, beside: Beside) -> None:
    host.runtime(**host.first)
    failed = beside.runtime(model="broken", fit="off")
    assert failed["rolled_back"], failed
    assert "stop others" in [step["step"] for step in failed["steps"]]
    assert beside.phases()["chat"] == "ready"
    assert host.answers() == dict.fromkeys(host.names, GOOD)
    assert host.runtime()["changed"] is False


@pytest.mark.parametrize("host", ["ollama, external"], indirect=True)
def test_two_runtimes_with_the_same_bytes_in_one_program_leave_them_to_each_other(host: InSomebodysOllama) -> None:
    host.runtime(**host.first)
    alone = {**host.first, "name": "twin", "served_names": ["twin"], "exclusive": True}
    assert not failure(host.runtime(**alone))
    assert host.runtime(**alone)["changed"] is False
    assert host.says("twin") == GOOD
    assert not failure(host.runtime(name="twin", state="absent"))


@pytest.mark.parametrize("host", ["llama_cpp"], indirect=True)
def test_one_that_cannot_give_its_model_back_is_named(host: Host, beside: Beside) -> None:
    program = host.prefix / "opt/llm/engines/llama_cpp/1/bin/llama-server"
    model = host.run("llm_model_info", prefix=str(host.prefix))["models"]
    path = next(each["local_path"] for each in model if each["name"] == GOOD)
    words = ["--model", path, "--port", str(host.port), "--alias", "chat", "--ctx-size", "256", "--threads", "1"]
    process = subprocess.Popen([str(program), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    host.stack.callback(process.wait, 10)
    host.stack.callback(process.kill)

    def answers() -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"http://127.0.0.1:{host.port}/health", timeout=5).ok
        return False

    until(answers, "llama-server did not start")
    theirs = {**host.first, "supervisor": "external", "served_names": ["chat"]}
    theirs.pop("engine_version")
    taken = host.runtime(**theirs)
    assert not failure(taken)
    note = "Runtime chat goes on: somebody else runs it, and llama_cpp unloads no model."
    for check, changed in ((True, True), (False, True), (True, False), (False, False)):
        served = beside.runtime(check=check)
        assert not failure(served)
        assert (served["changed"], served["notes"]) == (changed, [note])
    for check in (True, False):
        stopped = host.runtime(state="stopped", check=check)
        assert (stopped["changed"], stopped["notes"]) == (False, [note])
    assert host.says("chat") == GOOD
    process.kill()
    process.wait(10)
