# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that is not ours on a runtime's port: named, ended or taken over, as the user wishes."""

from __future__ import annotations

from dataclasses import replace

from .._core.errors import LlmError
from .._core.runtime import RuntimeSpec
from .._host import processes, strangers
from .._host.supervisors import choose
from .other_runtimes import OtherRuntimes
from .port_holder import holder_of
from .runtime_place import RuntimePlace
from .runtime_subject import Subject

# Seconds between SIGTERM and SIGKILL for one that is ended.
_GRACE = 10.0


def clear_the_port(spec: RuntimeSpec, place: RuntimePlace, wish: str, *, check_mode: bool) -> list[str]:
    """End whoever else listens on the port if `wish` is `evict`, and tell whom; raises `port_in_use` otherwise."""
    process = place.supervisor.process(place.name)
    owner = holder_of(spec.port, process)
    if owner is None:
        return []
    runtimes = OtherRuntimes(place.layout, place.name)
    if owner.pid in runtimes.members():
        raise LlmError(
            "port_in_use",
            f"Runtime {spec.name}: port {spec.port} is that of another runtime of this host; nothing was changed.",
            remedy="Choose another port.",
            port_owner={"pid": owner.pid, "command": owner.command},
        )
    found = [each for each in place.strangers(spec.port, process) if each.kind == strangers.LISTENER]
    if wish != "evict" or not found:
        named = ", ".join(f"process {each.pid} of {each.owner} ({each.command})" for each in found) or str(owner)
        raise LlmError(
            "port_in_use",
            f"Runtime {spec.name}: port {spec.port} is held by {named}; nothing was changed.",
            port_owner={"pid": owner.pid, "command": owner.command},
        )
    if check_mode:
        return [f"Process {each.pid} of {each.owner} ({each.command}) would be ended." for each in found]
    return [strangers.evict(each, _GRACE) for each in found]


def adopted(subject: Subject) -> Subject:
    """The subject as one that somebody else runs, if its port is held by a process that is not ours."""
    if subject.params["on_stranger"] != "adopt" or subject.place.supervisor.name == "external":
        return subject
    process = subject.place.supervisor.process(subject.name)
    port = int(subject.params.get("port") or (subject.remembered or {}).get("port") or subject.engine().default_port)
    if process.active or processes.listener(port, besides=process.members) is None:
        return subject
    params = {**subject.params, "supervisor": "external"}
    supervisor = choose("external", subject.layout, port=port)
    place = RuntimePlace(subject.name, subject.layout, supervisor, subject.place.service.stop_timeout)
    return replace(subject, params=params, place=place)
