# SPDX-License-Identifier: GPL-3.0-or-later
"""Engines that lie: every kind, again and again with other words, is caught; those that tell the truth are believed."""

from __future__ import annotations

import contextlib
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
# Those that are given up when the time for the proof is over.
ENDLESS = {kind for kind in LIES if "hangs" in kind or "for ever" in kind}
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
    "drips for ever": "instead of a completion", "drips its head for ever": "instead of a completion",
    "hangs at its names": "what it serves", "drips its names for ever": "what it serves",
    "hangs at its facts": "what it serves", "floods": "instead of a completion",
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


def misjudged(host: Host, generation: Generation, kinds: t.Iterable[str], at_once: int) -> list[tuple[str, str]]:
    """Every kind `RUNS` times: what was believed, or found to be wrong for another reason than it is."""

    def judge(case: tuple[str, int]) -> str:
        kind, port = case
        try:
            return f"believed: {host.prove(generation, port, **WISHES.get(kind, {})).reply!r}"
        except LlmError as failure:
            return f"{failure.reason}: {failure.what}"

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(at_once) as pool:
        liars = {kind: stack.enter_context(Liar(host.truth, kind)) for kind in kinds}
        cases = [(kind, liar.port) for kind, liar in liars.items() for _run in range(RUNS)]
        verdicts = [(kind, said) for (kind, _port), said in zip(cases, pool.map(judge, cases))]
    assert len(verdicts) == RUNS * len(liars)
    return [
        (kind, said)
        for kind, said in verdicts
        if not said.startswith("proof_failed: ") or SAID.get(kind, "") not in said
    ]


def test_a_lie_is_caught_every_time(host: Host, generation: Generation) -> None:
    quick = sorted(set(LIES) - ENDLESS)
    assert len(quick) >= 8
    assert misjudged(host, generation, quick, at_once=4) == []


def test_what_never_ends_is_caught_every_time(host: Host, generation: Generation) -> None:
    assert misjudged(host, generation, sorted(ENDLESS), at_once=RUNS * len(ENDLESS)) == []


def test_a_liar_is_not_activated(host: Host) -> None:
    for kind in LIES:
        with Liar(host.truth, kind, port=host.port):
            result = host.serve(proof_timeout=1 if kind in ENDLESS else PATIENCE, **WISHES.get(kind, {}))
        assert (result.get("failed"), result.get("reason")) == (True, "proof_failed"), (kind, result)
        assert (result["rolled_back"], result["steps"][-1]["step"]) == (True, "roll back"), kind
        # Nothing is left of it but the word that it failed.
        (told,) = host.run_module("llm_runtime_info", prefix=str(host.prefix))["runtimes"]
        assert (told["status"], told["pid"], told["generation"]) == ("offline", None, None), kind


def test_the_status_of_a_liar_is_no_good_one(host: Host) -> None:
    """What it tells of itself is looked at by everybody who asks for the status; bad words break no report."""
    with Liar(host.truth, port=host.port) as engine:
        assert host.serve()["changed"]
        for kind in (
            "wrong context",
            "wrong model",
            "names not served",
            "malformed names",
            "malformed facts",
            "no facts",
        ):
            engine.lie = kind
            for _time in range(8):
                (told,) = host.run_module("llm_runtime_info", prefix=str(host.prefix))["runtimes"]
                assert (told["status"], bool(told["reasons"])) == ("degraded", True), kind


def test_an_engine_that_comes_to_hang_is_not_kept(host: Host) -> None:
    """Its health says 200 all the time."""
    with Liar(host.truth, port=host.port) as engine:
        assert host.serve()["changed"]
        assert host.runtime()["changed"] is False
        engine.lie = "hangs"
        result = host.runtime(proof_timeout=1)
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
