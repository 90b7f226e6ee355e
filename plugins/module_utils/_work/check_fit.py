# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold a model that is to be activated against its engine and the host's memory, before anything is stopped."""

from __future__ import annotations

import typing as t

from .._core.engine import Engine
from .._core.errors import LlmError
from .._core.fit import fault_in_context
from .._core.visible_gpus import sight_of
from .._host import gpu, processes
from .._host.room import read_room
from .freed_memory import ending, given_back
from .other_runtimes import OtherRuntimes
from .read_traits import read_traits
from .runtime_place import settings_of
from .runtime_subject import Subject
from .side import side_of
from .wanted_runtime import Wanted


def check_fit(wanted: Wanted, engine: Engine, subject: Subject) -> list[str]:
    """What there is to tell of it; raises `model_unsuitable` or `does_not_fit`."""
    spec, record = wanted.spec, wanted.record
    if record is None:
        return []
    traits = read_traits(record)
    about = f"Runtime {spec.name}: model {record.name}"
    sight = sight_of(gpu.gpus(), _variables(wanted, subject))
    refusal = engine.refusal(traits, spec.options, gpu=sight.gpu)
    if refusal:
        raise LlmError("model_unsuitable", f"{about} cannot be served: {refusal}; nothing was changed.")
    if spec.fit == "off":
        return []
    leaving = [side_of(subject.active, subject.layout)] if subject.active else []
    if spec.exclusive:
        others = OtherRuntimes(subject.layout, subject.name)
        leaving += others.sides(others.running(wanted.candidate))
    room = read_room(sight, going=ending(leaving), given=given_back(leaving), unit=wanted.candidate.definition)
    verdict = engine.fit(traits, settings_of(wanted.candidate), room)
    context = fault_in_context(traits, spec.context_length)
    if spec.fit == "enforce" and context:
        said = f"{about} cannot be served: {context}; nothing was changed."
        remedy = f"Set context_length to {traits.max_context} or less."
        raise LlmError("model_unsuitable", said, remedy=remedy, fit=verdict.as_dict())
    if spec.fit == "enforce" and not verdict.fits:
        said = f"{about} does not fit: {verdict.words}; nothing was changed."
        raise LlmError("does_not_fit", said, remedy=verdict.remedy("set fit: warn"), fit=verdict.as_dict())
    notes = [f"{about} cannot be served: {context}."] if context else []
    return notes if verdict.fits else [*notes, f"{about} does not fit: {verdict.words}. {verdict.remedy()}"]


def _variables(wanted: Wanted, subject: Subject) -> t.Mapping[str, str]:
    """What it is started with; what somebody else runs has been started already."""
    if subject.place.supervisor.name != "external":
        return wanted.candidate.environment
    pid = subject.place.supervisor.process(subject.name).pid
    return (processes.environment_of(pid) if pid else None) or {}
