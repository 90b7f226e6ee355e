# SPDX-License-Identifier: GPL-3.0-or-later
"""What is stopped, put to sleep or removed is what serves, and what a killed switch left of it, whatever is asked beside."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

import psutil
import pytest
from contract.runtimes import GOOD, OTHER, Host, InLlamaCpp, InSomebodysOllama, InVllm, Run
from killing import killed_at
from ports import another_port

from .test_runtimes import failure


def ours(prefix: Path) -> list[psutil.Process]:
    """The processes of the runtimes below a prefix."""
    folder = str(prefix / "var/lib/llm/runtimes")
    return [each for each in psutil.process_iter(["cmdline"]) if folder in " ".join(each.info["cmdline"] or ())]


@pytest.fixture
def stack(prefix: Path) -> t.Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as made:
        yield made
    for process in ours(prefix):
        # Those that should not be here any more.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()


@pytest.fixture
def theirs(prefix: Path, free_port: int, run_module: Run, stack: contextlib.ExitStack) -> InSomebodysOllama:
    return InSomebodysOllama(prefix, free_port, run_module, stack, mark="their-")


@pytest.fixture
def llama(prefix: Path, run_module: Run, stack: contextlib.ExitStack) -> InLlamaCpp:
    return InLlamaCpp(prefix, another_port(), run_module, stack)


@pytest.mark.parametrize("step", ["restart", "prove"])
def test_absent_ends_what_a_killed_switch_had_started(theirs: InSomebodysOllama, llama: InLlamaCpp, step: str) -> None:
    assert theirs.runtime(**theirs.first)["changed"]
    killed_at(step, lambda: llama.runtime(**llama.first))
    foreseen = theirs.runtime(state="absent", check=True)
    removed = theirs.runtime(state="absent")
    assert not failure(removed)
    assert (foreseen["changed"], foreseen["diff"]) == (True, removed["diff"])
    assert ours(llama.prefix) == []
    assert not theirs.called() & set(theirs.names)
    assert theirs.runtime(state="absent")["changed"] is False


@pytest.mark.parametrize("step", ["load", "prove"])
def test_absent_takes_back_what_a_killed_switch_gave_to_another_program(
    theirs: InSomebodysOllama, llama: InLlamaCpp, step: str
) -> None:
    assert llama.runtime(**llama.first)["changed"]
    killed_at(step, lambda: theirs.runtime(**theirs.first))
    removed = theirs.runtime(state="absent")
    assert not failure(removed)
    assert ours(llama.prefix) == []
    assert not theirs.called() & set(theirs.names)
    assert (theirs.has(GOOD), theirs.loaded()) == (True, [])


@pytest.mark.parametrize("step", ["write", "load", "prove"])
def test_absent_takes_back_both_models_of_a_switch_in_one_program(theirs: InSomebodysOllama, step: str) -> None:
    assert theirs.runtime(**theirs.first)["changed"]
    killed_at(step, lambda: theirs.runtime(model="their-" + OTHER, served_names=["new"]))
    assert not failure(theirs.runtime(state="absent"))
    assert not theirs.called() & {*theirs.names, "new"}
    assert (theirs.has(GOOD), theirs.has(OTHER), theirs.loaded()) == (True, True, [])


def test_absent_starts_again_what_had_made_room(theirs: InSomebodysOllama, llama: InLlamaCpp) -> None:
    beside = {"name": "beside", "port": another_port(), "served_names": ["beside"]}
    assert llama.runtime(**{**llama.first, **beside})["changed"]
    killed_at("prove", lambda: llama.runtime(**llama.first, exclusive=True))
    removed = llama.runtime(state="absent")
    assert not failure(removed)
    assert ("beside" in removed["notes"][0], llama.status()["name"]) == (True, "beside")
    assert llama.status()["status"] == "online"
    assert llama.runtime(name="beside", state="absent")["changed"]


def test_stopped_is_told_to_the_program_that_serves(theirs: InSomebodysOllama) -> None:
    assert theirs.runtime(**theirs.first)["changed"]
    foreseen = theirs.runtime(state="stopped", supervisor="auto", check=True)
    stopped = theirs.runtime(state="stopped", supervisor="auto")
    assert (foreseen["changed"], foreseen["diff"]) == (True, stopped["diff"])
    assert (stopped["changed"], stopped["msg"], theirs.loaded()) == (True, "Stopped", [])
    assert theirs.runtime(state="stopped", supervisor="auto")["changed"] is False
    theirs.runtime(state="absent")


@pytest.mark.parametrize(("state", "told"), [("stopped", "Stopped"), ("absent", "Removed")])
def test_a_process_of_ours_is_ended_whoever_is_asked_for(llama: InLlamaCpp, state: str, told: str) -> None:
    assert llama.runtime(**llama.first)["changed"]
    foreseen = llama.runtime(state=state, supervisor="external", check=True)
    ended = llama.runtime(state=state, supervisor="external", port=another_port())
    assert (foreseen["changed"], foreseen["diff"]) == (True, ended["diff"])
    assert (ended["changed"], ended["msg"], ended.get("notes")) == (True, told, None)
    assert ours(llama.prefix) == []
    llama.runtime(state="absent")


@pytest.mark.parametrize("asked", [{"supervisor": "external"}, {"engine": "ollama"}], ids=str)
def test_what_sleeps_is_what_serves(
    prefix: Path, free_port: int, run_module: Run, stack: contextlib.ExitStack, asked: dict[str, str]
) -> None:
    vllm: Host = InVllm(prefix, free_port, run_module, stack)
    assert vllm.runtime(**{**vllm.first, **vllm.sleeping})["changed"]
    slept = vllm.runtime(state="sleeping", **asked)
    assert not failure(slept), slept
    assert (vllm.status()["phase"], slept["runtime"]["supervisor"]) == ("sleeping", "process")
    vllm.runtime(state="absent")
