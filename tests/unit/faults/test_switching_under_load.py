# SPDX-License-Identifier: GPL-3.0-or-later
"""A runtime is switched to and fro while clients ask it 20 times a second.

Every reply is wholly of the old or the new model, and nobody is refused outside of the pause that the journal tells of:
from the announcement of `restart` to the end of `wait healthy`. The engine is a real llama.cpp.
"""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._host import journal
from clients import Clients
from reciter import sentence_of

Run = t.Callable[..., dict[str, t.Any]]
SWITCHES = 100
REQUESTS_PER_SECOND = 20
OTHER = {"alpha": "beta", "beta": "alpha"}
SENTENCES = {name: sentence_of(name) for name in OTHER}


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """The moment of each line of the journal; the journal itself has whole seconds."""
    told: list[tuple[str, float]] = []
    note = journal.Writing.note

    def noted(self: journal.Writing, step: str, **details: t.Any) -> None:
        told.append((step, time.monotonic()))
        note(self, step, **details)

    monkeypatch.setattr(journal.Writing, "note", noted)
    return told


@pytest.fixture
def switch(prefix: Path, reciters: Path, free_port: int, run_module: Run) -> t.Iterator[Run]:
    models = [{"name": name, "source": "file", "path": str(reciters / f"{name}.gguf")} for name in OTHER]
    assert run_module("llm_model", prefix=str(prefix), models=models)["changed"]

    def call(**params: t.Any) -> dict[str, t.Any]:
        return run_module("llm_runtime", **{"name": "chat", "prefix": str(prefix), "start_timeout": 20, **params})

    first = {"engine": "llama_cpp", "engine_version": "1", "supervisor": "process", "options": {"threads": 1}}
    assert call(**first, model="alpha", port=free_port, context_length=256)["changed"]
    yield call
    call(state="absent")


def test_every_reply_is_of_one_model(switch: Run, moments: list[tuple[str, float]], free_port: int) -> None:
    serving, windows = "alpha", []
    with Clients(free_port, REQUESTS_PER_SECOND) as clients:
        for _number in range(SWITCHES):
            time.sleep(0.1)
            moments.clear()
            result = switch(model=OTHER[serving])
            assert (result["changed"], result["reply"]) == (True, SENTENCES[OTHER[serving]]), result
            at = dict(moments)
            windows.append((at["restart"], at["prove"]))
            serving = OTHER[serving]
        time.sleep(0.2)
    answered = [request for request in clients.requests if request.reply is not None]
    assert len(answered) > len(clients.requests) / 4
    for request in clients.requests:
        passed = sum(request.sent > end for _begin, end in windows)
        in_pause = any(request.meets(*window) for window in windows)
        if request.reply is None:
            assert in_pause, f"refused outside of a pause, after {passed} switches"
        elif in_pause:
            assert request.reply in SENTENCES.values()
        else:
            assert request.reply == SENTENCES[("alpha", "beta")[passed % 2]]
