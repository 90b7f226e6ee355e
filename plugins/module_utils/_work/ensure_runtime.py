# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring one runtime to the state that was asked."""

from __future__ import annotations

import typing as t
from dataclasses import replace
from pathlib import Path

from .._core.errors import LlmError
from .._core.outcome import Outcome
from .._core.runtime import check_runtime_name
from .._engines.registry import engine_named
from .._host.journal import Journal
from .._host.lock import hold
from .._host.ownership import Owner, owner_of
from .._host.place import layout_here
from .._host.store import Store
from .restore_generation import restore
from .runtime_subject import Subject, subject_of
from .sleep_runtime import sleep
from .start_runtime import start
from .stop_runtime import remove, stop

_ACTS: dict[str, t.Callable[..., Outcome]] = {
    "started": start,
    "restarted": start,
    "stopped": stop,
    "absent": remove,
    "sleeping": sleep,
    "rolled_back": restore,
}


class RuntimeTask:
    """One run of the module against one runtime."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._params = params
        self._name = check_runtime_name(params["name"])
        self._layout = layout_here(params.get("prefix") or "")
        self._store = Store(params.get("store") or self._layout.store, owner_of(self._layout.user))
        self._state = str(params["state"])
        # Whether what a killed run left had changed the host.
        self._touched = False

    def run(self, *, check_mode: bool) -> Outcome:
        act = _ACTS[self._state]
        if check_mode:
            return act(self._subject(), check_mode=True)
        lock = Path(self._layout.run) / f"{self._name}.lock"
        with hold(lock, what=f"Runtime {self._name}", timeout=float(self._params["lock_timeout"]), owner=Owner()):
            # Only now: another task may just have activated something else.
            recovered = self._recover(self._subject())
            try:
                outcome = act(self._subject(), check_mode=False)
            except LlmError as failure:
                if recovered:
                    failure.details = {**failure.details, "changed": True, "recovered": recovered}
                raise
        if not recovered:
            return outcome
        return replace(
            outcome,
            changed=outcome.changed or self._touched,
            result={**outcome.result, "recovered": recovered},
            warnings=(recovered, *outcome.warnings),
        )

    def _subject(self) -> Subject:
        return subject_of(self._name, self._params, self._layout, self._store)

    def _recover(self, subject: Subject) -> str | None:
        """Finish or undo what a killed run left; a sentence if anything was left."""
        left = Journal(self._layout, self._name).pending()
        if left is None or self._state == "absent":
            return None
        self._touched = left.touched
        generations = subject.place.generations
        known = generations.find(left.to_generation) or generations.find(left.from_generation)
        asked = self._params.get("model")
        finish = self._state in ("started", "restarted") and known is not None and asked in (None, known.model.name)
        activation = subject.activation(engine_named(known.engine) if known else subject.engine())
        try:
            told = activation.recover(left, finish=finish, start=self._state != "stopped")
        except (LlmError, OSError) as failure:
            # Files are as they were; that it does not serve is what the task now sees, and heals or replaces.
            return f"Runtime {self._name}: an interrupted activation was undone, and what served before it does not: {failure}"
        return f"Runtime {self._name}: {told}"
