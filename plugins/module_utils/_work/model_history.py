# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run with models leaves in the host's history: each step that takes bytes or gives them up, and what was refused."""

from __future__ import annotations

import contextlib
import time
import typing as t

from .._core.errors import LlmError
from .._core.plan import CHANGING, Plan, Step
from .._host.operations import Operations
from .._host.os_errors import explain
from .._host.progress import Progress
from .model_order import ABSENT, VERIFIED, Order
from .plan_models import Planner

# Which steps the history has, and under what name.
_TYPES = {"fetch": "install", "repair": "verify", "remove": "remove", "evict": "remove"}
_REMOVALS = ("remove", "evict")


class ModelHistory:
    """Looking only, as in check mode, leaves nothing."""

    def __init__(self, operations: Operations, order: Order, planner: Planner, *, silent: bool) -> None:
        self._operations = operations
        self._order = order
        self._planner = planner
        self._silent = silent
        self._began = time.time()

    @contextlib.contextmanager
    def step(self, step: Step, plan: Plan) -> t.Iterator[Progress | None]:
        """Note a step as it is taken, if the history has its kind."""
        if step.action not in _TYPES:
            yield None
            return
        # Those of one kind are counted together: their bytes all come, or all go.
        alike = [other for other in plan.steps if _kind(other) == _kind(step)]
        here = alike.index(step)
        beside = {
            "step": here + 1,
            "steps": len(alike),
            "bytes_before": sum(map(_bytes, alike[:here])),
            "bytes_after": sum(map(_bytes, alike[here + 1 :])),
        }
        with self._operations.run(step.name, _TYPES[step.action], _bytes(step), **beside) as progress:
            yield progress

    @contextlib.contextmanager
    def planning(self) -> t.Iterator[None]:
        """Note that the model at hand cannot be planned: its hub does not know it, or is not there."""
        try:
            yield
        except (LlmError, OSError) as failure:
            known = failure if isinstance(failure, LlmError) else explain(failure)
            if known:
                self._note(self._planner.subject, self._asked(self._planner.subject), 0, known)
            raise

    @contextlib.contextmanager
    def waiting(self, plan: Plan) -> t.Iterator[None]:
        """Note that what was to be done had to wait for somebody else for too long."""
        try:
            yield
        except LlmError as failure:
            for step in plan.steps:
                if step.action in _TYPES or step.refusal:
                    kind = _TYPES.get(step.action) or self._asked(step.name)
                    self._note(step.name, kind, _bytes(step), failure)
            raise

    def refused(self, plan: Plan) -> None:
        """Note the models that the plan refuses."""
        for step in plan.steps:
            if step.refusal:
                self._note(step.name, self._asked(step.name), _bytes(step), step.refusal.error())

    def _note(self, name: str, kind: str, total: int, failure: LlmError) -> None:
        if name and not self._silent:
            self._operations.note_failure(name, kind, total, self._began, failure)

    def _asked(self, name: str) -> str:
        """What was asked for, where no step says it."""
        if self._order.state == ABSENT:
            return "remove"
        return "verify" if self._order.state == VERIFIED and name in self._planner.manifest.models else "install"


def _kind(step: Step) -> str:
    return "" if step.action not in _TYPES else "remove" if step.action in _REMOVALS else "install"


def _bytes(step: Step) -> int:
    """Bytes that come with the step, or that go with it."""
    gone = step.action in _REMOVALS or (step.action not in CHANGING and step.resolved is None)
    return step.before.size if gone and step.before else step.bytes_to_fetch
