# SPDX-License-Identifier: GPL-3.0-or-later
"""Engines that lie: every kind, again and again with other words, is caught; those that tell the truth are believed."""

from __future__ import annotations

import json
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.generation import Generation
from ansible_collections.llmops.fleet.plugins.module_utils._core.proof import PROMPT
from ansible_collections.llmops.fleet.plugins.module_utils._engines.registry import engine_named
from ansible_collections.llmops.fleet.plugins.module_utils._host.generations import Generations
from ansible_collections.llmops.fleet.plugins.module_utils._host.place import layout_here
from ansible_collections.llmops.fleet.plugins.module_utils._work.prove import Proven, prove
from ansible_collections.llmops.fleet.plugins.module_utils._work.runtime_place import place_of
from liar import LIES, Liar, Truth
from reciter import sentence_of

Run = t.Callable[..., dict[str, t.Any]]
RUNS, HEALTHY_RUNS = 25, 200
# Seconds for a proof.
PATIENCE = 2.0
SENTENCE = sentence_of("alpha")
REPLIES = Path(__file__).resolve().parents[2] / "fixtures" / "replies" / "healthy.json"
# What the proof is asked for, where a lie is told only to those who ask for more than tokens.
WISHES: dict[str, dict[str, t.Any]] = {
    "slow": {"min_tokens_per_second": 100.0},
    "CPU instead of GPU": {"accelerator": "gpu"},
    "other answers": {"proof": "golden", "golden": [{"prompt": "Who speaks?", "reply": SENTENCE}]},
}
# A word of the sentence that tells what was found.
SAID = {
    "empties": "empty", "white space": "empty", "noise of bytes": "noise", "noise of characters": "noise",
    "echo of the name": "name", "echo of the prompt": "question", "one token repeated": "repeats",
    "wrong context": "context", "wrong model": "loaded", "names not served": "serves", "slow": "a second",
    "CPU instead of GPU": "GPU", "other answers": "is right", "hangs": "instead of a completion",
}  # fmt: skip


@dataclass(frozen=True)
class Host:
    """A host whose runtime `chat` somebody else runs: whoever listens on its port."""

    prefix: Path
    port: int
    run_module: Run

    def runtime(self, **params: t.Any) -> dict[str, t.Any]:
        base = {"name": "chat", "prefix": str(self.prefix), "start_timeout": 5, "proof_timeout": PATIENCE}
        return self.run_module("llm_runtime", **{**base, **params})

    def serve(self, **params: t.Any) -> dict[str, t.Any]:
        first = {"engine": "llama_cpp", "model": "alpha", "port": self.port, "context_length": 256}
        return self.runtime(**{**first, "supervisor": "external", **params})

    @property
    def truth(self) -> Truth:
        path = next((self.prefix / "var/lib/llm/models/file").glob("alpha@*/alpha.gguf"))
        return Truth(str(path), ("chat",), 256, SENTENCE)

    def generation(self) -> Generation:
        found = Generations(layout_here(str(self.prefix)), "chat").active()
        assert found
        return found

    def prove(self, generation: Generation, port: int, **wishes: t.Any) -> Proven:
        """The proof as an activation takes it, of what listens on a port."""
        spec = {**generation.spec, "port": port, **wishes}
        asked = replace(generation, spec=spec)
        place = place_of(asked, layout_here(str(self.prefix)))
        return prove(place, engine_named(asked.engine), asked, PATIENCE)


@pytest.fixture
def host(prefix: Path, reciters: Path, free_port: int, run_module: Run) -> Host:
    model = {"name": "alpha", "source": "file", "path": str(reciters / "alpha.gguf")}
    assert run_module("llm_model", prefix=str(prefix), models=[model])["changed"]
    return Host(prefix, free_port, run_module)


@pytest.fixture
def generation(host: Host) -> Generation:
    """One that an honest engine has proven."""
    with Liar(host.truth, port=host.port):
        assert host.serve()["changed"]
    return host.generation()


@pytest.mark.parametrize("kind", LIES)
def test_a_lie_is_caught_every_time(host: Host, generation: Generation, kind: str) -> None:
    def caught(port: int) -> str:
        try:
            return f"believed: {host.prove(generation, port, **WISHES.get(kind, {})).reply!r}"
        except LlmError as failure:
            assert failure.reason in ("proof_failed", "timeout")
            return failure.what

    with Liar(host.truth, kind) as liar, ThreadPoolExecutor(RUNS) as pool:
        told = list(pool.map(caught, [liar.port] * RUNS))
    wrong = [what for what in told if what.startswith("believed") or SAID.get(kind, "") not in what]
    assert not wrong


@pytest.mark.parametrize("kind", LIES)
def test_a_liar_is_not_activated(host: Host, kind: str) -> None:
    with Liar(host.truth, kind, port=host.port):
        result = host.serve(**WISHES.get(kind, {}))
        assert (result["failed"], result["reason"]) == (True, "proof_failed"), result
        assert result["rolled_back"]
        assert result["steps"][-1]["step"] == "roll back"
        assert "Traceback" not in json.dumps(result)
        # Nothing is left of it.
        assert host.run_module("llm_runtime_info", prefix=str(host.prefix))["runtimes"] == []


def test_an_engine_that_comes_to_hang_is_not_kept(host: Host) -> None:
    """Its health says 200 all the time."""
    with Liar(host.truth, port=host.port) as engine:
        assert host.serve()["changed"]
        assert host.runtime()["changed"] is False
        engine.lie = "hangs"
        result = host.runtime()
        assert (result["failed"], result["reason"]) == (True, "proof_failed"), result
        engine.lie = None
        assert host.runtime()["runtime"]["status"] == "online"


def test_an_honest_engine_is_always_believed(host: Host, generation: Generation) -> None:
    """Foolish, short, in any language, cut: whatever a working model says."""
    texts = [text for texts in json.loads(REPLIES.read_text()).values() for text in texts]
    assert len(set(texts)) >= HEALTHY_RUNS
    with Liar(host.truth) as engine:
        for number, text in enumerate(texts):
            engine.truth = replace(host.truth, reply=text)
            golden = [{"prompt": PROMPT, "reply": text}]
            level = ("facts", "tokens", "golden")[number % 3]
            proven = host.prove(generation, engine.port, proof=level, golden=golden, min_tokens_per_second=0.1)
            assert proven.generation.proof["ok"], text
            assert proven.reply == (None if level == "facts" else text)


def test_a_real_engine_is_always_believed(host: Host) -> None:
    try:
        assert host.serve(supervisor="process", engine_version="1", options={"threads": 1})["reply"] == SENTENCE
        generation = host.generation()
        golden = [{"prompt": "Who speaks?", "reply": SENTENCE}]
        for number in range(HEALTHY_RUNS):
            level = ("facts", "tokens", "golden")[number % 3]
            assert host.prove(generation, host.port, proof=level, golden=golden).generation.proof["ok"]
    finally:
        host.runtime(state="absent")
