# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that is not ours on a runtime's port: named, ended or taken over, as the user wishes."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._core.errors import LlmError
from .._core.generation import Generation
from .._core.runtime import HOST, RuntimeSpec
from .._core.supervisor import Process
from .._engines.registry import engine_named
from .._host import processes, strangers
from .._host.supervisors import choose
from .other_runtimes import OtherRuntimes
from .port_holder import holder_of
from .runtime_place import RuntimePlace, place_of
from .runtime_subject import Subject

# Seconds between SIGTERM and SIGKILL for one that is ended.
_GRACE = 10.0


def clear_the_port(
    spec: RuntimeSpec,
    place: RuntimePlace,
    wish: str,
    *,
    check_mode: bool,
    serving: Generation | None = None,
    stopped: t.Collection[str] = (),
) -> list[str]:
    """End whoever else listens on the port if `wish` is `evict`, and tell whom; raises `port_in_use` otherwise.

    `stopped` are the names of other runtimes that make room before this one is started.
    """
    runtimes = OtherRuntimes(place.layout, place.name)
    process = _ours(place, serving)
    process = replace(process, members=process.members | runtimes.members(stopped))
    host = place.listens_on(engine_named(spec.engine), spec.host)
    owner = holder_of(host, spec.port, process)
    if owner is None:
        return []
    whose = next((side.place.name for side in runtimes.sides() if owner.pid in side.process.members), None)
    if whose:
        raise LlmError(
            "port_in_use",
            f"Runtime {spec.name}: port {spec.port} is that of runtime {whose}; nothing was changed.",
            remedy="Choose another port, or set exclusive: true for the two to take turns.",
            port_owner={"pid": owner.pid, "command": owner.command},
        )
    found = [each for each in place.strangers(host, spec.port, process) if each.kind == strangers.LISTENER]
    if wish != "evict" or not found:
        named = ", ".join(f"process {each.pid} of {each.owner} ({each.command})" for each in found) or str(owner)
        raise LlmError(
            "port_in_use",
            f"Runtime {spec.name}: port {spec.port} is held by {named}; nothing was changed.",
            remedy="Stop the runtime first: what serves already adopts nobody." if wish == "adopt" else None,
            port_owner={"pid": owner.pid, "command": owner.command},
        )
    return [strangers.evict(each, _GRACE, check_mode=check_mode) for each in found]


def _ours(place: RuntimePlace, serving: Generation | None) -> Process:
    """The runtime's processes, also those of another supervisor that keeps what serves now: they make room."""
    process = place.supervisor.process(place.name)
    now = place_of(serving, place.layout).supervisor if serving else place.supervisor
    if now.name in ("external", place.supervisor.name):
        return process
    return replace(process, members=process.members | now.process(place.name).members)


def adopted(subject: Subject) -> Subject:
    """The subject as one that somebody else runs, if its port is held by a process that is not ours."""
    if subject.params["on_stranger"] != "adopt" or subject.place.supervisor.name == "external":
        return subject
    process = subject.place.supervisor.process(subject.name)
    last = subject.remembered or {}
    port = int(subject.params.get("port") or last.get("port") or subject.engine().default_port)
    host = str(subject.params.get("host") or last.get("host") or HOST)
    if process.active or processes.listener(port, besides=process.members, host=host) is None:
        return subject
    params = {**subject.params, "supervisor": "external"}
    supervisor = choose("external", subject.layout, port=port, host=host)
    place = RuntimePlace(subject.name, subject.layout, supervisor, subject.place.service.stop_timeout)
    return replace(subject, params=params, place=place)
