# SPDX-License-Identifier: GPL-3.0-or-later
"""Look for models in hubs side by side, and remember what they said for when they do not answer.

This runs on the controller, once for all hosts. What a host knows of itself is put to it by `told`.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import traceback
import typing as t
from dataclasses import replace
from functools import partial
from pathlib import Path

from .._api.background import Background
from .._api.public_get import LATER
from .._core.catalogue_answer import Answer, Asked, CatalogueHost
from .._core.catalogue_entry import BUILT_IN, Entry, Hub, Query, merged
from .._core.errors import LlmError
from .._core.seconds import seconds_of
from .._host.answers import Answers, Kept, Question
from .._sources.catalogues import (
    ADDRESSES,
    CATALOGUES,
    catalogue_from,
    check_address,
    identities,
    identities_of_held,
    identity,
)

# A hub keeps to its time itself; one that lets single bytes drip is left alone this many seconds later.
_GRACE = 0.5


class Catalog:
    """One question to hubs. Writes nothing but the kept answers, and in check mode not even those."""

    def __init__(self, params: t.Mapping[str, t.Any], clock: t.Callable[[], float] = time.time) -> None:
        self._params = params
        self._clock = clock
        self._query = _query(params)
        asked = params.get("source") or list(CATALOGUES)
        self._hubs: dict[str, Hub] = {name: catalogue_from(name, params) for name in CATALOGUES if name in asked}
        self._folder = Path(params.get("cache_path") or Path.home() / ".cache" / "llm" / "catalog")
        self._answers = Answers(self._folder)

    @property
    def key(self) -> str:
        """A name for all that decides the answers, so that hosts that ask the same share them. No secret is in it."""
        scopes = {name: dict(hub.scope) for name, hub in self._hubs.items()}
        decides = [scopes, self._query.as_dict(), str(self._folder), self._params["cache_minutes"]]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def longest(self) -> float:
        """Seconds after which `ask` has ended."""
        return float(self._params["timeout"]) + _GRACE

    def ask(self, *, keep: bool) -> Asked:
        answers = {name: kept for name, hub in self._hubs.items() for kept in [self._from_cache(name, hub)] if kept}
        jobs = {name: Background(partial(self._look, hub)) for name, hub in self._hubs.items() if name not in answers}
        until = time.monotonic() + self.longest
        for name, job in jobs.items():
            answer = self._heard(job, until)
            answers[name] = answer if answer.known else self._from_before(name, self._hubs[name], answer)
        notes = self._keep(answers) if keep else []
        # In the registry's order, by which they are merged.
        answers = {name: answers[name] for name in self._hubs}
        hubs = [answer for name, answer in answers.items() if name != BUILT_IN]
        if hubs and not any(answer.known for answer in hubs):
            built_in = catalogue_from(BUILT_IN, self._params).look(self._query)
            answers[BUILT_IN] = Answer(built_in.entries, stale=True)
        return Asked(answers, tuple(notes))

    def told(self, asked: Asked, host: CatalogueHost) -> dict[str, t.Any]:
        """The records as a host's user gets them. Nothing is looked at here."""
        given = self._params.get("memory_gb")
        return told(asked, host, self._query, host.memory_gb if given is None else float(given))

    def _look(self, hub: Hub) -> Answer:
        listing = hub.look(self._query)
        return Answer(listing.entries, " ".join(listing.problems), fresh=True)

    def _heard(self, job: Background[Answer], until: float) -> Answer:
        """One hub's surprise must not hide what the others say."""
        passed = LlmError("timeout", f"It did not answer within {self._params['timeout']:g} seconds.", remedy=LATER)
        late = Answer((), str(passed), known=False)
        try:
            return job.result(until, late)
        except Exception as failure:
            return Answer((), _sentence(failure), known=False)

    def _from_cache(self, name: str, hub: Hub) -> Answer | None:
        """The last answer that is young enough; one with a gap tells it again."""
        for kept in self._answers.last(self._question(name, hub)) if hub.scope else ():
            age = kept.age(self._clock())
            entries = _entries(kept.records)
            if age is not None and age < self._params["cache_minutes"] * 60 and len(entries) == len(kept.records):
                return Answer(entries, kept.gap)
        return None

    def _from_before(self, name: str, hub: Hub, failed: Answer) -> Answer:
        """The last answer to this question, whatever its age, else what the hub ever said that matches."""
        question = self._question(name, hub)
        for kept in self._answers.last(question):
            entries = _entries(kept.records)
            # One that was empty by itself is an answer, one of which nothing can be read is not.
            if entries or not kept.records:
                error = " ".join(text for text in (failed.error, kept.gap) if text)
                return replace(failed, entries=entries, error=error, stale=True, known=True)
        others: dict[str, Entry] = {}
        for kept in self._answers.others(question):
            for entry in _entries(kept.records):
                if self._query.matches(entry):
                    others.setdefault(entry.model_name, entry)
        return replace(failed, entries=tuple(others.values()), stale=True, known=True) if others else failed

    def _keep(self, answers: t.Mapping[str, Answer]) -> list[str]:
        """Keep what is new; sentences on what could not be kept."""
        notes = []
        for name, answer in answers.items():
            hub = self._hubs[name]
            if answer.fresh and hub.scope:
                records = [entry.as_dict() for entry in answer.entries]
                try:
                    self._answers.keep(self._question(name, hub), Kept(self._clock(), records, answer.error))
                except OSError as failure:
                    notes.append(f"The answer of {name} could not be kept: {failure}.")
        return notes

    def _question(self, name: str, hub: Hub) -> Question:
        return Question(name, hub.scope, self._query.as_dict())


def told(asked: Asked, host: CatalogueHost, query: Query, memory_gb: float | None) -> dict[str, t.Any]:
    """One result of what hubs say and what a host knows."""
    installed = {name for model in host.models for name in identities_of_held(model)}
    entries = merged(
        [answer.entries for answer in asked.answers.values()],
        query,
        lambda entry: identity(entry.provider, entry.model_name),
    )
    models = [
        entry.shown(installed=not identities(entry).isdisjoint(installed), memory_gb=memory_gb) for entry in entries
    ]
    errors = {name: answer.error for name, answer in asked.answers.items() if answer.error}
    return {
        "models": models,
        "count": len(models),
        "stale": any(answer.stale for answer in asked.answers.values()),
        "error": " ".join(f"{name}: {error}" for name, error in errors.items()) or None,
        "errors": errors,
        "notes": [*asked.notes, *host.notes],
        "memory_gb": None if memory_gb is None else round(memory_gb, 1),
        "gpu_memory_gb": host.gpu_memory_gb,
    }


def _query(params: t.Mapping[str, t.Any]) -> Query:
    """What is looked for; raises `invalid_input` for options that cannot be meant."""
    seconds_of(params["timeout"])
    _number("cache_minutes", params, zero=True)
    if params.get("memory_gb") is not None:
        _number("memory_gb", params, zero=False)
    if params["limit"] < 1:
        raise LlmError("invalid_input", "The option limit must be at least 1.")
    for option in ADDRESSES.values():
        if params.get(option):
            check_address(params[option], f"The option {option}")
    return Query((params.get("search") or "").strip(), tuple(params["filter"] or ()), params["sort"], params["limit"])


def _number(option: str, params: t.Mapping[str, t.Any], *, zero: bool) -> None:
    value = float(params[option])
    if not (math.isfinite(value) and (value > 0 or (zero and value == 0))):
        least = "at least 0" if zero else "above 0"
        raise LlmError("invalid_input", f"The option {option} is {value:g}, and must be a number {least}.")


def _sentence(failure: Exception) -> str:
    if isinstance(failure, LlmError) and failure.reason == "library_missing":
        # The reason's own remedy is for hosts.
        remedy = "Install it for that Python of the controller, or leave this source out."
        return str(LlmError(failure.reason, failure.what, remedy=remedy))
    if isinstance(failure, LlmError):
        return str(failure)
    # Not its own words: an address with credentials may be in them.
    frames = traceback.extract_tb(failure.__traceback__)
    step = frames[-1].name if frames else "?"
    return f"Something unexpected happened in step {step}: {type(failure).__name__}. Please report it."


def _entries(records: t.Iterable[t.Mapping[str, t.Any]]) -> tuple[Entry, ...]:
    """Those of a form that is known."""
    found = []
    for record in records:
        try:
            found.append(Entry.from_dict(record))
        except ValueError:
            continue
    return tuple(found)
