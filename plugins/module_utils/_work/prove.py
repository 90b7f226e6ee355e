# SPDX-License-Identifier: GPL-3.0-or-later
"""Have a runtime prove that it serves what it should, at the level that its generation asks for."""

from __future__ import annotations

import json
import time
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

from .._api.background import Background
from .._core.clock import written
from .._core.engine import Completion, Endpoint, Engine, Served, Settings
from .._core.errors import LlmError
from .._core.generation import Generation
from .._core.proof import (
    MAX_TOKENS,
    PROMPT,
    fault_in_accelerator,
    fault_in_digest,
    fault_in_facts,
    fault_in_golden,
    fault_in_speed,
    fault_in_tokens,
    golden_key,
    golden_known,
    golden_pairs,
    golden_record,
)
from .._host import processes
from .._host.durable import read_text, write_text
from .runtime_place import RuntimePlace, settings_of

TOKENS, GOLDEN, NONE = "tokens", "golden", "none"
# Long enough that other weights choose another word somewhere.
_GOLDEN_TOKENS = 32


@dataclass(frozen=True)
class Proven:
    """The generation with its proof, and the words it said for it."""

    generation: Generation
    reply: str | None


def prove(place: RuntimePlace, engine: Engine, generation: Generation, timeout: float) -> Proven:
    """Raises `proof_failed` with what is wrong; `timeout` (seconds) is for all of it."""
    level = str(generation.spec["proof"])
    if level == NONE:
        return Proven(generation, None)
    return _Proof(place, engine, generation, time.monotonic() + timeout).take(level)


class _Proof:
    def __init__(self, place: RuntimePlace, engine: Engine, generation: Generation, deadline: float) -> None:
        self._place = place
        self._engine = engine
        self._generation = generation
        self._settings: Settings = settings_of(generation)
        self._endpoint: Endpoint = place.endpoint(engine, self._settings)
        self._deadline = deadline

    def take(self, level: str) -> Proven:
        settings = self._settings
        served = self._served()
        self._refuse(fault_in_facts(served, settings))
        self._refuse(next(iter(served.faults), None))
        self._refuse(fault_in_digest(served.digest, settings.digest))
        self._refuse(self._accelerator(served))
        completion = None
        if settings.model_path and level in (TOKENS, GOLDEN):
            completion = self._tokens()
        if settings.model_path and level == GOLDEN:
            self._golden()
        proof: dict[str, t.Any] = {"level": level, "at": written(time.time()), "ok": True}
        proof["tokens_per_second"] = completion.tokens_per_second if completion else None
        return Proven(replace(self._generation, proof=proof), completion.text if completion else None)

    def _served(self) -> Served:
        """An engine bounds each of its questions; all of them together have the proof's time."""
        asked = Background(lambda: self._engine.served(self._endpoint, self._settings))
        served = asked.result(self._deadline, None)
        if served is None:
            raise LlmError("proof_failed", "it is up, and does not tell in time what it serves.")
        return served

    def _tokens(self) -> Completion:
        spec, settings = self._generation.spec, self._settings
        completion = self._ask(PROMPT, MAX_TOKENS)
        self._refuse(fault_in_tokens(completion, max_tokens=MAX_TOKENS, prompt=PROMPT, names=settings.served_names))
        self._refuse(fault_in_digest(completion.digest, settings.digest))
        self._refuse(fault_in_speed(completion, float(spec.get("min_tokens_per_second") or 0)))
        return completion

    def _golden(self) -> None:
        """Replies are compared with those given, or those of the first activation on the same build."""
        generation = self._generation
        path = Path(self._place.layout.runtime_folder(self._place.name)) / "golden.json"
        records = _records(path)
        key = golden_key(
            generation.model.sha256 or generation.model.revision,
            generation.engine,
            generation.engine_version,
            str(generation.spec.get("accelerator") or "any"),
        )
        pairs = golden_known(golden_pairs(generation.spec.get("golden") or ()), records, key)
        replies = [self._ask(pair.prompt, _GOLDEN_TOKENS).text for pair in pairs]
        self._refuse(fault_in_golden(pairs, replies))
        if any(pair.reply is None for pair in pairs):
            told = [replace(pair, reply=reply) for pair, reply in zip(pairs, replies)]
            text = json.dumps({**records, key: golden_record(key, told)}, indent=2, ensure_ascii=False)
            write_text(path, text + "\n", mode=0o640)

    def _accelerator(self, served: Served) -> str | None:
        wish = str(self._generation.spec.get("accelerator") or "any")
        if wish == "any":
            return None
        members = self._place.supervisor.process(self._place.name).members
        held = processes.vram_of(members)
        return fault_in_accelerator(served, held, wish, weights_bytes=self._generation.model.size_bytes or None)

    def _ask(self, prompt: str, max_tokens: int) -> Completion:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise LlmError("timeout", "it answers, and its proof takes too long.")
        name = self._settings.served_names[0]
        return self._engine.complete(self._endpoint, name, prompt, max_tokens=max_tokens, timeout=left)

    def _refuse(self, fault: str | None) -> None:
        if fault:
            raise LlmError("proof_failed", f"it answers, but {fault}.")


def _records(path: Path) -> dict[str, t.Any]:
    """What is kept; a file that cannot be read is as if it were not there."""
    try:
        found = json.loads(read_text(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
