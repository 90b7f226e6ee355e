# SPDX-License-Identifier: GPL-3.0-or-later
"""A runtime that is given another engine, or another supervisor: one transaction, with a way back, like any other."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

import pytest
import requests
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._engines.ollama import Ollama
from contract.runtimes import GOOD, HOSTS, OTHER, Host, InLlamaCpp, Resident, Run
from ports import another_port

from .test_runtimes import failure, files


@pytest.fixture(params=sorted(set(HOSTS) - {"llama_cpp"}))
def hosts(
    request: pytest.FixtureRequest, prefix: Path, free_port: int, run_module: Run
) -> t.Iterator[tuple[Host, Host]]:
    """llama.cpp and another engine, with their models in one store; what somebody else runs has its own port."""
    with contextlib.ExitStack() as stack:
        first = InLlamaCpp(prefix, free_port, run_module, stack)
        made = HOSTS[request.param]
        port = another_port() if made.supervisor == "external" else free_port
        second = made(prefix, port, run_module, stack, mark="their-")
        try:
            yield first, second
        finally:
            second.runtime(state="absent")


def own(host: Host) -> t.Any:
    """What a program has that runs already; one of ours does not yet."""
    return host.own() if host.supervisor == "external" else None


def nothing_runs(host: Host) -> bool:
    return not list((host.prefix / "run/llm").glob("*.pid"))


def test_it_is_taken_over_and_goes_back(hosts: tuple[Host, Host]) -> None:
    ours, theirs = hosts
    assert ours.runtime(**ours.first)["changed"]
    old = ours.members()
    before = files(ours.prefix), own(theirs)
    foreseen = theirs.runtime(check=True, **theirs.first)
    assert not failure(foreseen)
    assert (files(ours.prefix), own(theirs)) == before
    real = theirs.runtime(**theirs.first)
    assert not failure(real), real
    assert (foreseen["changed"], foreseen["diff"]) == (True, real["diff"])
    assert theirs.answers() == dict.fromkeys(theirs.names, GOOD)
    assert not [process for process in old if process.is_running()]
    assert nothing_runs(ours) is (theirs.supervisor == "external")
    assert theirs.runtime()["changed"] is False
    assert theirs.runtime(model="their-" + OTHER)["changed"]

    back = ours.runtime(state="rolled_back", generation=1)
    assert not failure(back), back
    assert ours.answers() == dict.fromkeys(ours.names, GOOD)
    assert ours.status()["engine"] == "llama_cpp"
    if isinstance(theirs, Resident):
        # The bytes stay; the names that it had for us are gone.
        assert theirs.has(GOOD)
        assert theirs.supervisor == "process" or not theirs.called() & set(theirs.names)
    assert ours.runtime()["changed"] is False


def test_one_that_fails_leaves_the_other_serving(hosts: tuple[Host, Host]) -> None:
    ours, theirs = hosts
    assert ours.runtime(**ours.first)["changed"]
    never = {"proof": "golden", "golden": [{"prompt": "Who are you?", "reply": "Nobody."}]}
    failed = theirs.runtime(**theirs.first, **never)
    assert (failed["failed"], failed["rolled_back"]) == (True, True), failed
    assert "serves again" in failed["msg"]
    assert ours.answers() == dict.fromkeys(ours.names, GOOD)
    assert ours.status()["engine"] == "llama_cpp"
    if isinstance(theirs, Resident) and theirs.supervisor == "external":
        assert not theirs.called() & set(theirs.names)
    assert ours.runtime(**ours.first)["changed"] is False


def test_a_key_goes_with_it(prefix: Path, free_port: int, run_module: Run) -> None:
    with contextlib.ExitStack() as stack:
        ours = InLlamaCpp(prefix, free_port, run_module, stack)
        vllm = HOSTS["vllm"](prefix, free_port, run_module, stack, mark="their-")
        assert ours.runtime(**ours.first, api_key="planted")["changed"]
        assert vllm.runtime(**vllm.first)["changed"]
        assert (prefix / "etc/llm/secrets/chat.env").read_text().splitlines()[-1] == 'VLLM_API_KEY="planted"'
        ollama = HOSTS["ollama"](prefix, free_port, run_module, stack, mark="its-")
        refused = ollama.runtime(**ollama.first, api_key="planted")
        assert refused["reason"] == "invalid_input"
        assert "asks for none" in refused["msg"]
        assert vllm.runtime()["changed"] is False
        without = ollama.runtime(**ollama.first)
        assert not failure(without), without
        # The engine between had no use for it, and it is there again for one that has.
        assert ours.runtime(**ours.first)["changed"]
        assert (prefix / "etc/llm/secrets/chat.env").read_text().splitlines()[-1] == 'LLAMA_API_KEY="planted"'
        assert not failure(vllm.runtime(**vllm.first))
        back = ours.runtime(state="rolled_back")
        assert not failure(back), back
        assert requests.get(f"http://127.0.0.1:{free_port}/v1/models", timeout=10).status_code in (200, 401)
        asked = {"model": "chat", "prompt": "hi", "max_tokens": 3}
        answer = requests.post(f"http://127.0.0.1:{free_port}/v1/completions", json=asked, timeout=10)
        assert answer.status_code == 401
        ours.runtime(state="absent")


def test_a_program_that_will_not_let_go_keeps_nobody_from_going_back(
    prefix: Path, free_port: int, run_module: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.ExitStack() as stack:
        ours = InLlamaCpp(prefix, free_port, run_module, stack)
        theirs = HOSTS["ollama, external"](prefix, another_port(), run_module, stack, mark="their-")
        assert ours.runtime(**ours.first)["changed"]

        def keeps(*_arguments: t.Any) -> t.NoReturn:
            raise LlmError("timeout", "chat is still in the memory after 60 seconds.")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Ollama, "release", keeps)
            failed = theirs.runtime(**{**theirs.first, "accelerator": "gpu"})
        assert failed["rolled_back"], failed
        assert "chat is still in the memory after 60 seconds." in failed["notes"]
        assert ours.answers() == dict.fromkeys(ours.names, GOOD)
        ours.runtime(state="absent")


def test_names_of_a_failed_activation_of_a_stopped_runtime_are_free_again(
    prefix: Path, free_port: int, run_module: Run
) -> None:
    with contextlib.ExitStack() as stack:
        host = HOSTS["ollama"](prefix, free_port, run_module, stack)
        assert host.runtime(**host.first)["changed"]
        assert host.runtime(state="stopped")["changed"]
        assert host.runtime(model=OTHER, served_names=["x"], accelerator="gpu")["rolled_back"]
        named = host.runtime(model=GOOD, served_names=["x"], accelerator="any")
        assert not failure(named), named
        host.runtime(state="absent")


@pytest.mark.parametrize("kind", ["docker_model_runner", "lm_studio, external"])
def test_another_context_is_a_generation_of_its_own(kind: str, prefix: Path, free_port: int, run_module: Run) -> None:
    with contextlib.ExitStack() as stack:
        host = HOSTS[kind](prefix, free_port, run_module, stack)
        assert host.runtime(**host.first)["changed"]
        longer = host.runtime(context_length=512)
        assert (longer["changed"], longer["generation"]) == (True, 2), longer
        assert host.status()["context_length"] in (512, None)
        back = host.runtime(state="rolled_back")
        assert (back["changed"], back["generation"]) == (True, 3), back
        assert host.runtime()["changed"] is False
        host.runtime(state="absent")
