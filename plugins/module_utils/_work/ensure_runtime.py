# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring one runtime to the state that was asked."""

from __future__ import annotations

import typing as t
from dataclasses import replace
from pathlib import Path

from .._core.errors import LlmError
from .._core.journal import Transaction
from .._core.outcome import Outcome
from .._core.recovery import difference_of, told_of
from .._core.runtime import check_runtime_name
from .._host.journal import Journal
from .._host.lock import hold
from .._host.ownership import Owner, owner_of
from .._host.place import layout_here
from .._host.store import Store
from .foresee_recovery import foresee
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

    def run(self, *, check_mode: bool) -> Outcome:
        if check_mode:
            return self._bring(check_mode=True)
        lock = Path(self._layout.run) / f"{self._name}.lock"
        with hold(lock, what=f"Runtime {self._name}", timeout=float(self._params["lock_timeout"]), owner=Owner()):
            return self._bring(check_mode=False)

    def _bring(self, *, check_mode: bool) -> Outcome:
        act = _ACTS[self._state]
        # Only now: another task may just have activated something else.
        subject = self._subject()
        left = Journal(self._layout, self._name).pending() if self._state != "absent" else None
        if left is None:
            return act(subject, check_mode=check_mode)
        if check_mode:
            subject, told = foresee(subject, left, finish=self._finishes(left, subject), start=self._state != "stopped")
        else:
            told = self._recover(left, subject)
            subject = self._subject()
        try:
            outcome = act(subject, check_mode=check_mode)
        except LlmError as failure:
            changed = left.touched or bool(failure.details.get("changed"))
            failure.details = {**failure.details, "changed": changed, "recovered": told}
            raise
        return replace(
            outcome,
            changed=outcome.changed or left.touched,
            result={**outcome.result, "recovered": told},
            differences=(*difference_of(left, self._name), *outcome.differences),
            warnings=(told, *outcome.warnings),
        )

    def _subject(self) -> Subject:
        return subject_of(self._name, self._params, self._layout, self._store)

    def _finishes(self, left: Transaction, subject: Subject) -> bool:
        """Whether what was interrupted is what is asked for."""
        generations = subject.place.generations
        known = generations.find(left.to_generation) or generations.find(left.from_generation)
        asked = self._params.get("model")
        return self._state in ("started", "restarted") and known is not None and asked in (None, known.model.name)

    def _recover(self, left: Transaction, subject: Subject) -> str:
        """Finish or undo what a killed run left; a sentence on what became of it."""
        finish = self._finishes(left, subject)
        try:
            told = subject.activation().recover(left, finish=finish, start=self._state != "stopped")
        except (LlmError, OSError) as failure:
            # What is not as it should be is what the task now sees, and heals or replaces.
            return f"Runtime {self._name}: {told_of(left)}, and could not be ended in full: {failure}"
        return f"Runtime {self._name}: {told}"
