# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of runtimes of which some do not answer: it is told in any case, and says which answer is missing."""

from __future__ import annotations

import contextlib
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._work import runtime_status
from liar import Liar, Truth
from reciter import sentence_of
from stand_in import Connection, DroppedError

Run = t.Callable[..., dict[str, t.Any]]
NAMES = ("one", "two", "three", "four", "five")
HEALTH, MODELS = "/health", "/v1/models"


class Held(Liar):
    """An honest engine, but for what it is told to do first when it is asked at a path."""

    def __init__(self, truth: Truth) -> None:
        super().__init__(truth)
        self.before: dict[str, t.Callable[[], None]] = {}

    def listen(self, handler: type[Connection]) -> int:
        class Waiting(handler):  # type: ignore[valid-type, misc]
            def answer(self) -> None:
                self.listener.before.get(self.path, lambda: None)()
                super().answer()

        return super().listen(Waiting)

    def hang(self) -> None:
        self.over.wait()
        raise DroppedError


class Host:
    """Runtimes that somebody else runs: engines of these tests, all proven good."""

    def __init__(self, prefix: Path, run: Run, stack: contextlib.ExitStack) -> None:
        self._prefix, self._run, self._stack = prefix, run, stack
        path = next((prefix / "var/lib/llm/models/file").glob("alpha@*/alpha.gguf"))
        self._truth = str(path)

    def serve(self, name: str) -> Held:
        engine = self._stack.enter_context(Held(Truth(self._truth, (name,), 256, sentence_of("alpha"))))
        params = {"engine": "llama_cpp", "model": "alpha", "port": engine.port, "context_length": 256}
        served = self._run("llm_runtime", prefix=str(self._prefix), name=name, supervisor="external", **params)
        assert served.get("changed"), served
        return engine

    def status(self) -> dict[str, dict[str, t.Any]]:
        found = self._run("llm_runtime_info", prefix=str(self._prefix))["runtimes"]
        return {record["name"]: record for record in found}


@pytest.fixture
def host(prefix: Path, reciters: Path, run_module: Run) -> t.Iterator[Host]:
    model = {"name": "alpha", "source": "file", "path": str(reciters / "alpha.gguf")}
    assert run_module("llm_model", prefix=str(prefix), models=[model])["changed"]
    with contextlib.ExitStack() as stack:
        yield Host(prefix, run_module, stack)


@pytest.mark.parametrize(
    ("path", "unanswered", "words"), [(HEALTH, "health", "whether it is well"), (MODELS, "served", "what it serves")]
)
def test_one_that_hangs_is_told_with_what_it_did_not_answer(host: Host, path: str, unanswered: str, words: str) -> None:
    hanging, _well = host.serve("one"), host.serve("two")
    hanging.before[path] = hanging.hang
    seen = host.status()
    assert (seen["one"]["status"], seen["one"]["unanswered"]) == ("degraded", unanswered)
    (reason,) = seen["one"]["reasons"]
    assert words in reason
    assert f"it was proven {seen['one']['proof']['age_seconds']} s ago" in reason
    assert (seen["two"]["status"], seen["two"]["reasons"], seen["two"]["unanswered"]) == ("online", [], None)


def test_one_slow_answer_is_no_fault(host: Host) -> None:
    """The first question hangs until the second was answered."""
    engine = host.serve("one")

    def hang_once() -> None:
        del engine.before[HEALTH]
        engine.hang()

    engine.before[HEALTH] = hang_once
    seen = host.status()["one"]
    assert (seen["status"], seen["reasons"], seen["unanswered"]) == ("online", [], None)


def test_all_are_asked_at_the_same_time(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """None answers before all have been asked."""
    monkeypatch.setattr(runtime_status, "PATIENCE", 60.0)
    engines = [host.serve(name) for name in NAMES]
    together = threading.Barrier(len(NAMES))

    def wait() -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait()

    for engine in engines:
        engine.before[HEALTH] = wait
    seen = host.status()
    together.abort()
    assert {name: record["status"] for name, record in seen.items()} == dict.fromkeys(NAMES, "online")


def test_none_is_waited_for_after_another(host: Host) -> None:
    """That all of them hang is told of each."""
    for name in NAMES:
        engine = host.serve(name)
        engine.before[HEALTH] = engine.hang
    seen = host.status()
    assert {name: record["unanswered"] for name, record in seen.items()} == dict.fromkeys(NAMES, "health")
