# SPDX-License-Identifier: GPL-3.0-or-later
"""A way back that is itself disturbed: what serves, who made room, and what is told stay true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._engines.llama_cpp import LlamaCpp
from ansible_collections.llmops.fleet.plugins.module_utils._host import configuration
from ansible_collections.llmops.fleet.plugins.module_utils._host.journal import Writing
from ansible_collections.llmops.fleet.plugins.module_utils._work import activate
from killing import killed_at
from ports import another_port

Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture
def status(run_module: Run, prefix: Path) -> t.Callable[[str], dict[str, t.Any]]:
    def call(name: str = "chat") -> dict[str, t.Any]:
        found = run_module("llm_runtime_info", prefix=str(prefix))["runtimes"]
        return dict(next(one for one in found if one["name"] == name))

    return call


@pytest.fixture
def other(first: dict[str, t.Any]) -> dict[str, t.Any]:
    return {**first, "name": "other", "port": another_port(), "model": "beta", "served_names": ["second"]}


def edit_by_hand(prefix: Path) -> None:
    path = prefix / "etc/llm/runtimes/chat.env"
    path.write_text(path.read_text() + "MORE=1\n")


def test_what_serves_is_never_tried_out_on_its_own_record(
    runtime: Run, first: dict[str, t.Any], prefix: Path, status: Run
) -> None:
    runtime(**first)
    runtime(model="beta")
    assert runtime(state="rolled_back")["generation"] == 3
    edit_by_hand(prefix)
    write, calls = configuration.write_text, []

    def full(path: Path, text: str, **words: t.Any) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device", str(path))
        write(path, text, **words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configuration, "write_text", full)
        failed = runtime(state="rolled_back")
    assert (failed["failed"], failed["rolled_back"]) == (True, True)
    assert status()["model"] == "alpha"
    assert runtime()["model"] == "alpha"
    record = json.loads((prefix / "var/lib/llm/runtimes/chat/generations/3.json").read_text())
    assert record["status"] == "active"


def test_a_kill_while_its_files_are_mended_does_not_lose_it(
    runtime: Run, first: dict[str, t.Any], prefix: Path, status: Run
) -> None:
    runtime(**first)
    edit_by_hand(prefix)
    killed_at("restart", lambda: runtime(state="rolled_back", generation=1))
    assert status()["model"] == "alpha"
    again = runtime(state="rolled_back", generation=1)
    assert not again.get("failed"), again
    assert runtime()["changed"] is False


def test_those_that_made_room_come_back_when_the_way_back_fails(
    runtime: Run, first: dict[str, t.Any], other: dict[str, t.Any], prefix: Path, status: Run
) -> None:
    runtime(**first)
    runtime(**other)
    # What served cannot be loaded any more either.
    model = next((prefix / "var/lib/llm/models").rglob("alpha.gguf"))
    new = model.with_name("new")
    new.write_bytes(b"GGUF" + b"bad" * 100)
    os.replace(new, model)
    failed = runtime(model="gamma", exclusive=True)
    assert "Going back failed too" in failed["msg"]
    assert status("other")["status"] == "online"


def test_those_that_made_room_for_one_that_serves_come_back_when_it_cannot_prove_it(
    runtime: Run, first: dict[str, t.Any], other: dict[str, t.Any], status: Run
) -> None:
    runtime(**first, exclusive=True)
    runtime(**other)

    def hangs(*_arguments: t.Any, **_words: t.Any) -> t.NoReturn:
        raise LlmError("proof_failed", "it hangs.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(activate, "prove", hangs)
        assert runtime()["failed"]
    assert status("other")["status"] == "online"


def test_a_full_journal_keeps_nobody_from_going_back(runtime: Run, first: dict[str, t.Any], status: Run) -> None:
    runtime(**first)
    note = Writing.note

    def full(self: Writing, begun: str, **details: t.Any) -> None:
        if begun in ("roll back", "rolled back"):
            raise OSError(28, "No space left on device", "journal")
        note(self, begun, **details)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Writing, "note", full)
        failed = runtime(model="gamma")
    assert failed["rolled_back"]
    assert "serves again" in failed["msg"]
    assert status()["status"] in ("online", "degraded")
    assert not runtime().get("failed")
    assert (status()["status"], status()["model"]) == ("online", "alpha")


def test_a_way_back_after_a_kill_is_foretold(runtime: Run, first: dict[str, t.Any]) -> None:
    runtime(**first)
    killed_at("restart", lambda: runtime(model="beta"))
    foreseen = runtime(state="rolled_back", generation=1, check=True)
    real = runtime(state="rolled_back", generation=1)
    assert (foreseen["changed"], foreseen["diff"]) == (real["changed"], real["diff"])


def test_that_a_stranger_was_ended_is_told_whatever_comes_after(runtime: Run, first: dict[str, t.Any]) -> None:
    runtime(**first)
    port = another_port()
    words = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as stranger:
        assert stranger.stdout
        assert stranger.stdout.readline()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LlamaCpp, "in_flight", lambda *_arguments: 1)
            failed = runtime(port=port, on_stranger="evict", drain_timeout=1, on_drain_timeout="fail")
        assert stranger.wait(10) is not None
    assert (failed["failed"], failed["changed"]) == (True, True)
    assert any(str(stranger.pid) in note for note in failed["notes"])


def test_two_may_take_turns_on_one_port(
    runtime: Run, first: dict[str, t.Any], other: dict[str, t.Any], free_port: int, status: Run
) -> None:
    runtime(**first)
    same = {**other, "port": free_port}
    refused = runtime(**same)
    assert refused["reason"] == "port_in_use"
    assert "is that of runtime chat" in refused["msg"]
    turn = runtime(**same, exclusive=True)
    assert not turn.get("failed"), turn
    assert (status()["status"], status("other")["status"]) == ("offline", "online")


def test_our_own_process_is_not_taken_for_somebody_elses(runtime: Run, first: dict[str, t.Any], status: Run) -> None:
    runtime(**first)
    pid = status()["pid"]
    for check in (True, False):
        refused = runtime(supervisor="external", check=check)
        assert refused["reason"] == "supervisor_failed", refused
    assert status()["pid"] == pid
