# SPDX-License-Identifier: GPL-3.0-or-later
"""Look for models in hubs side by side, and remember what they said for when they do not answer."""

from __future__ import annotations

import threading
import time
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

from .._core.catalogue_entry import BUILT_IN, Entry, Hub, Query, merged
from .._core.errors import LlmError
from .._core.model import GB
from .._core.outcome import Outcome
from .._host import processes
from .._host.answers import Answers, Question
from .._host.ownership import owner_of
from .._host.place import layout_here
from .._host.store import Store
from .._sources.catalogues import CATALOGUES, catalogue_from, identities, identity

# A hub keeps to its time itself; one that lets single bytes drip is left alone this many seconds later.
_GRACE = 0.5


@dataclass(frozen=True)
class Answer:
    """What is known of one hub: from now, from before (`stale` where that is too long ago), or nothing."""

    entries: tuple[Entry, ...]
    error: str = ""
    stale: bool = False
    fresh: bool = False
    known: bool = True


class CatalogTask:
    """Looks at hubs and at the store, and writes nothing but the kept answers; in check mode not even those."""

    def __init__(self, params: t.Mapping[str, t.Any], clock: t.Callable[[], float] = time.time) -> None:
        self._params = params
        self._clock = clock
        self._query = Query(
            (params.get("search") or "").strip(), tuple(params["filter"] or ()), params["sort"], params["limit"]
        )
        if self._query.limit < 1:
            raise LlmError("invalid_input", "The option limit must be at least 1.")
        if params["timeout"] <= 0:
            raise LlmError("invalid_input", "The option timeout must be above 0 seconds.")
        asked = params.get("source") or list(CATALOGUES)
        self._sources = [name for name in CATALOGUES if name in asked]
        self._answers = Answers(Path(params.get("cache_path") or Path.home() / ".cache" / "llm" / "catalog"))
        self._notes: list[str] = []

    def run(self, *, check_mode: bool) -> Outcome:
        answers = self._ask_all()
        if not check_mode:
            self._keep(answers)
        hubs = [answer for name, answer in answers.items() if name != BUILT_IN]
        if hubs and not any(answer.known for answer in hubs):
            built_in = catalogue_from(BUILT_IN, self._params).look(self._query)
            answers[BUILT_IN] = Answer(built_in.entries, stale=True)
        entries = merged(
            [answer.entries for answer in answers.values()],
            self._query,
            lambda entry: identity(entry.provider, entry.model_name),
        )
        memory, installed = self._memory_gb(), self._installed()
        models = [
            entry.shown(installed=not identities(entry).isdisjoint(installed), memory_gb=memory) for entry in entries
        ]
        errors = {name: answer.error for name, answer in answers.items() if answer.error}
        return Outcome(
            False,
            result={
                "models": models,
                "count": len(models),
                "stale": any(answer.stale for answer in answers.values()),
                "error": " ".join(f"{name}: {error}" for name, error in errors.items()) or None,
                "errors": errors,
                "notes": self._notes,
                "memory_gb": None if memory is None else round(memory, 1),
            },
        )

    # --- asking ---

    def _ask_all(self) -> dict[str, Answer]:
        """All at once, each in a thread that is not waited for longer than its time: it ends with the process."""
        answers: dict[str, Answer] = {}
        hubs = {name: catalogue_from(name, self._params) for name in self._sources}
        for name, hub in hubs.items():
            kept = self._from_cache(name, hub)
            if kept:
                answers[name] = kept
        results: dict[str, Answer] = {}
        threads = {
            name: threading.Thread(target=_ask, args=(name, hub, self._query, results), daemon=True)
            for name, hub in hubs.items()
            if name not in answers
        }
        for thread in threads.values():
            thread.start()
        end = time.monotonic() + self._params["timeout"] + _GRACE
        for name, thread in threads.items():
            thread.join(max(0.0, end - time.monotonic()))
            silent = Answer((), f"It did not answer within {self._params['timeout']:g} seconds.", known=False)
            answer = results.get(name, silent)
            answers[name] = answer if answer.known else self._from_before(name, hubs[name], answer)
        return {name: answers[name] for name in self._sources}

    def _from_cache(self, name: str, hub: Hub) -> Answer | None:
        """The last answer if it is young enough."""
        kept = self._answers.last(self._question(name, hub)) if hub.scope else None
        age = kept.age(self._clock()) if kept else None
        if kept is None or age is None or age >= self._params["cache_minutes"] * 60:
            return None
        entries = _entries(kept.records)
        return None if entries is None else Answer(entries)

    def _from_before(self, name: str, hub: Hub, failed: Answer) -> Answer:
        """The last answer to this question, whatever its age, else what the hub ever said that matches."""
        question = self._question(name, hub)
        last = self._answers.last(question)
        entries = _entries(last.records) if last else None
        if entries is not None:
            return replace(failed, entries=entries, stale=True, known=True)
        others: dict[str, Entry] = {}
        for kept in self._answers.others(question):
            for entry in _entries(kept.records) or ():
                if self._query.matches(entry):
                    others.setdefault(entry.model_name, entry)
        return replace(failed, entries=tuple(others.values()), stale=True, known=True) if others else failed

    def _keep(self, answers: t.Mapping[str, Answer]) -> None:
        for name, answer in answers.items():
            hub = catalogue_from(name, self._params)
            if answer.fresh and not answer.error and hub.scope:
                records = [entry.as_dict() for entry in answer.entries]
                try:
                    self._answers.keep(self._question(name, hub), records, self._clock())
                except OSError as failure:
                    self._notes.append(f"The answer of {name} could not be kept: {failure}.")

    def _question(self, name: str, hub: Hub) -> Question:
        return Question(name, hub.scope, self._query.as_dict())

    # --- the host ---

    def _memory_gb(self) -> float | None:
        if self._params.get("memory_gb") is not None:
            return float(self._params["memory_gb"])
        try:
            return processes.total_memory() / GB
        except LlmError as failure:
            self._notes.append(f"The memory of the host is not known, so nothing is recommended: {failure}")
            return None

    def _installed(self) -> set[tuple[str, str]]:
        """The models of the store's manifest, by the hub's own names."""
        layout = layout_here(self._params.get("prefix") or "")
        store = Store(self._params.get("store") or layout.store, owner_of(layout.user))
        return {identity(record.provider, record.model) for record in store.manifest().models.values() if record.model}


def _ask(name: str, hub: Hub, query: Query, results: dict[str, Answer]) -> None:
    try:
        listing = hub.look(query)
        results[name] = Answer(listing.entries, " ".join(listing.problems), fresh=True)
    except LlmError as failure:
        results[name] = Answer((), str(failure), known=False)
    except Exception as failure:
        # One hub's surprise must not hide what the others say.
        results[name] = Answer((), f"Something unexpected: {type(failure).__name__}: {failure}.", known=False)


def _entries(records: t.Iterable[t.Mapping[str, t.Any]]) -> tuple[Entry, ...] | None:
    """None where the records are of a form that is not known."""
    try:
        return tuple(Entry.from_dict(record) for record in records)
    except (KeyError, TypeError, ValueError):
        return None
