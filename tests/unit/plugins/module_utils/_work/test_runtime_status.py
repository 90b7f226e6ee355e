# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of runtimes of which some do not answer: it is told in any case, and says which answer is missing."""

from __future__ import annotations

import contextlib
import json
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._work import runtime_status
from killing import killed_at
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

    def serve(self, name: str, **more: t.Any) -> Held:
        engine = self._stack.enter_context(Held(Truth(self._truth, (name,), 256, sentence_of("alpha"))))
        params = {"engine": "llama_cpp", "model": "alpha", "port": engine.port, "context_length": 256, **more}
        served = self._run("llm_runtime", prefix=str(self._prefix), name=name, supervisor="external", **params)
        assert not served.get("failed"), served
        assert served["changed"], served
        return engine

    def record_of(self, name: str) -> Path:
        return self._prefix / f"var/lib/llm/runtimes/{name}/generations/1.json"

    def kill_at(self, step: str, name: str) -> None:
        """A task that was to activate it for the first time was killed when it began this step."""
        killed_at(step, lambda: self.serve(name))

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


def test_a_first_activation_that_was_killed_is_told(host: Host) -> None:
    host.kill_at("prove", "one")
    seen = host.status()["one"]
    assert (seen["status"], seen["model"], seen["served_names"]) == ("degraded", "alpha", ["one"])
    assert "generation 1 was interrupted at step 'prove'" in seen["reasons"][0]
    assert (seen["interrupted"]["to_generation"], seen["interrupted"]["step"]) == (1, "prove")
    # None of them serves yet.
    assert (seen["generation"], [each["serving"] for each in seen["generations"]]) == (None, [False])


def test_one_that_was_killed_before_it_wrote_anything_is_told(host: Host) -> None:
    well = host.serve("two")
    host.kill_at("write", "one")
    seen = host.status()
    assert (seen["one"]["status"], seen["one"]["phase"], seen["one"]["model"]) == ("offline", "stopped", None)
    assert seen["one"]["interrupted"]["step"] == "write"
    assert (seen["one"]["port"], seen["one"]["supervisor"], seen["one"]["generations"]) == (None, None, [])
    assert seen["one"].keys() == seen["two"].keys()
    assert (seen["two"]["status"], seen["two"]["port"]) == ("online", well.port)


def test_a_first_activation_that_failed_is_told_as_offline(host: Host) -> None:
    never = {"proof": "golden", "golden": [{"prompt": "Who are you?", "reply": "Nobody."}]}
    with pytest.raises(AssertionError, match="proof_failed"):
        host.serve("one", **never)
    seen = host.status()["one"]
    assert (seen["status"], seen["model"], seen["interrupted"]) == ("offline", "alpha", None)
    assert seen["generations"][0]["status"] == "failed"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"engine": "no_such_engine"}, "no_such_engine"),
        ({"supervisor": "systemd"}, "systemd was asked for together with a prefix"),
        ({"port": "many"}, "ValueError: "),
    ],
    ids=str,
)
def test_one_that_cannot_be_looked_at_hides_no_other(host: Host, wrong: dict[str, str], words: str) -> None:
    host.serve("one")
    host.serve("two")
    record = json.loads(host.record_of("one").read_text())
    record["engine"] = wrong.pop("engine", record["engine"])
    record["spec"].update(wrong)
    host.record_of("one").write_text(json.dumps(record))
    seen = host.status()
    assert (seen["two"]["status"], seen["one"]["status"]) == ("online", "degraded")
    (reason,) = seen["one"]["reasons"]
    assert (words in reason, "\n" in reason) == (True, False)
    assert seen["one"].keys() == seen["two"].keys()
    assert (seen["one"]["model"], seen["one"]["generation"]) == ("alpha", 1)
    assert (seen["one"]["phase"], seen["one"]["pid"], seen["one"]["restarts"]) == (None, None, None)
