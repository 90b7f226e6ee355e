# SPDX-License-Identifier: GPL-3.0-or-later
"""A runtime that is given another engine, or another supervisor: one transaction, with a way back, like any other."""

from __future__ import annotations

import contextlib
import socket
import typing as t
from pathlib import Path

import pytest
from contract.runtimes import GOOD, HOSTS, OTHER, Host, InLlamaCpp, Resident, Run

from .test_runtimes import failure, files


def another_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


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
        vllm.runtime(state="absent")
