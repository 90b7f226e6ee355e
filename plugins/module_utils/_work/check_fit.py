# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold a model that is to be activated against its engine and the host's memory, before anything is stopped."""

from __future__ import annotations

from .._core.engine import Engine
from .._core.errors import LlmError
from .._core.fit import fault_in_context
from .._host import gpu, processes
from .._host.room import private_memory, read_room
from .other_runtimes import OtherRuntimes
from .read_traits import read_traits
from .runtime_place import place_of, settings_of
from .runtime_subject import Subject
from .wanted_runtime import Wanted


def check_fit(wanted: Wanted, engine: Engine, subject: Subject) -> list[str]:
    """What there is to tell of it; raises `model_unsuitable` or `does_not_fit`."""
    spec, record = wanted.spec, wanted.record
    if record is None:
        return []
    traits = read_traits(record)
    about = f"Runtime {spec.name}: model {record.name}"
    cards = gpu.gpus()
    refusal = engine.refusal(traits, spec.options, gpu=bool(cards))
    if refusal:
        raise LlmError("model_unsuitable", f"{about} cannot be served: {refusal}; nothing was changed.")
    if spec.fit == "off":
        return []
    freed = _members(subject)
    if spec.exclusive:
        freed |= OtherRuntimes(subject.layout, subject.name).members()
    room = read_room(freed_ram=private_memory(freed), freed_vram=processes.vram_of(freed) or 0)
    verdict = engine.fit(traits, settings_of(wanted.candidate), room)
    found = [] if verdict.fits else [("does_not_fit", f"does not fit: {verdict.sentence}")]
    context = fault_in_context(traits, spec.context_length)
    if context:
        found.insert(0, ("model_unsuitable", f"cannot be served: {context}"))
    if found and spec.fit == "enforce":
        reason, said = found[0]
        raise LlmError(reason, f"{about} {said}; nothing was changed.", fit=verdict.as_dict())
    return [f"{about} {said}." for _reason, said in found]


def _members(subject: Subject) -> frozenset[int]:
    """The processes that the activation ends."""
    if subject.active is None:
        return frozenset()
    place = place_of(subject.active, subject.layout)
    return place.supervisor.process(subject.name).members
