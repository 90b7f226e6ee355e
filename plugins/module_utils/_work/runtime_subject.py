# SPDX-License-Identifier: GPL-3.0-or-later
"""The runtime that a task is about: what was asked, what serves, where it is and who keeps it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._core.engine import Engine
from .._core.errors import LlmError
from .._core.generation import Generation
from .._core.layout import Layout
from .._core.runtime import HOST, STOP_TIMEOUT
from .._engines.registry import engine_named
from .._host.generations import Generations
from .._host.store import Store
from .._host.supervisors import choose
from .activate import Activation, Patience
from .runtime_place import RuntimePlace

_STARTS = ("started", "restarted", None)


@dataclass(frozen=True)
class Subject:
    """Made anew after anything has changed the runtime."""

    name: str
    params: t.Mapping[str, t.Any]
    layout: Layout
    store: Store
    place: RuntimePlace
    active: Generation | None

    @property
    def remembered(self) -> t.Mapping[str, t.Any] | None:
        return self.active.spec if self.active else None

    def engine(self) -> Engine:
        """The engine that was asked for, or the one that serves."""
        name = self.params.get("engine") or (self.remembered or {}).get("engine")
        if not name:
            raise LlmError("runtime_missing", f"Runtime {self.name} is not on this host, and no engine was given.")
        return engine_named(str(name))

    def serving(self) -> Generation:
        if self.active is None:
            raise LlmError("runtime_missing", f"Runtime {self.name} is not on this host.")
        return self.active

    def activation(self) -> Activation:
        patience = Patience(float(self.params["start_timeout"]), float(self.params["proof_timeout"]))
        return Activation(self.name, self.layout, patience)


def subject_of(name: str, params: t.Mapping[str, t.Any], layout: Layout, store: Store) -> Subject:
    """Look which generation serves, and who keeps it."""
    return subject_with(Generations(layout, name).active(), name, params, layout, store)


def subject_with(
    active: Generation | None, name: str, params: t.Mapping[str, t.Any], layout: Layout, store: Store
) -> Subject:
    """The runtime where this generation is the one that serves."""
    remembered = active.spec if active else {}
    # Only a start takes it elsewhere: it is stopped, put to sleep or removed where it serves.
    asked = params if active is None or params.get("state") in _STARTS else {}
    wish = asked.get("supervisor") or remembered.get("supervisor") or "auto"
    engine = asked.get("engine") or remembered.get("engine")
    port = asked.get("port") or remembered.get("port") or (engine_named(str(engine)).default_port if engine else 0)
    host = asked.get("host") or remembered.get("host") or HOST
    grace = params.get("stop_timeout") or remembered.get("stop_timeout") or STOP_TIMEOUT
    place = RuntimePlace(name, layout, choose(str(wish), layout, port=int(port), host=str(host)), int(grace))
    return Subject(name, params, layout, store, place, active)
