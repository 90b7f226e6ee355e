# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task on a runtime reports: what is different afterwards, and what serves."""

from __future__ import annotations

import typing as t

from .._core.decision import ACTIVATE, KEEP, NOTE, Decision
from .._core.engine import Engine
from .._core.generation import Generation
from .._core.outcome import Difference, Outcome
from .._core.runtime import RuntimeSpec
from .._core.status import judge, record
from .._host.configuration import Configuration
from .._host.keeper import parse_environment
from .prove import Proven
from .runtime_place import place_of, settings_of
from .runtime_subject import Subject
from .wanted_runtime import Wanted


def foreseen(subject: Subject, spec: RuntimeSpec) -> Outcome:
    """In check mode, where an earlier task of the run would have brought what is missing yet."""
    shown = Difference(f"runtime {subject.name}", _model_of(subject.active), {"model": spec.model})
    return Outcome(True, result={"msg": f"Would activate {spec.model}"}, differences=(shown,))


def differences_of(
    subject: Subject, before: Configuration, wanted: Wanted, decision: Decision
) -> tuple[Difference, ...]:
    """Files, and what is not in files: the model of a program that stays up, what is remembered, a new start."""
    files, place = wanted.files, subject.place.files
    header = f"runtime {subject.name}"
    found = [
        Difference(str(place.definition), before.definition, files.definition),
        Difference(str(place.environment), before.environment, files.environment),
        Difference(str(place.engine_link), _line(before.engine_folder), _line(files.engine_folder)),
        Difference(str(place.secrets), _names(before.secrets), _names(files.secrets)),
    ]
    if subject.active:
        left = place_of(subject.active, subject.layout).files
        if left.definition != place.definition:
            found.insert(0, Difference(str(left.definition), left.read().definition, None))
    if before.secrets != files.secrets and _names(before.secrets) == _names(files.secrets):
        found.append(Difference(str(place.secrets), "a value, not shown\n", "another value, not shown\n"))
    if decision.action == ACTIVATE:
        found.append(Difference(header, _shown(subject.active), _shown(wanted.candidate)))
    elif decision.action == NOTE:
        known = subject.serving().spec
        changed = [key for key, value in wanted.candidate.spec.items() if known.get(key, value) != value]
        found.append(
            Difference(
                header, {key: known[key] for key in changed}, {key: wanted.candidate.spec[key] for key in changed}
            )
        )
    elif decision.action != KEEP:
        found.append(Difference(header, f"{decision.why or 'running'}\n", "started anew\n"))
    return tuple(difference for difference in found if difference.before != difference.after)


def outcome_of(
    subject: Subject,
    decision: Decision,
    differences: tuple[Difference, ...],
    wanted: Wanted,
    proven: Proven | None,
    steps: list[dict[str, t.Any]],
    engine: Engine | None = None,
    *,
    notes: t.Sequence[str] = (),
) -> Outcome:
    """`proven` and `engine` are there when it was really done."""
    result: dict[str, t.Any] = {
        "msg": f"{decision.action}: {decision.why}" if decision.why else decision.action,
        "rolled_back": False,
        "steps": steps,
        "model": wanted.spec.model or None,
        "generation_before": subject.active.number if subject.active else None,
    }
    if notes:
        result["notes"] = list(notes)
    if proven and engine:
        generation = proven.generation
        seen = subject.place.observe(generation, engine, settings_of(generation), wanted.spec.port)
        result["runtime"] = record(subject.name, seen, judge(seen))
        result["generation"] = generation.number
        result["reply"] = proven.reply
    return Outcome(decision.changes, result=result, differences=differences, warnings=tuple(notes))


def _shown(generation: Generation | None) -> dict[str, t.Any]:
    """What a diff shows of a generation beside its files."""
    if generation is None:
        return {}
    return {
        **_model_of(generation),
        "engine": f"{generation.engine} {generation.engine_version}".strip(),
        "served_names": list(generation.served_names),
    }


def _model_of(generation: Generation | None) -> dict[str, t.Any]:
    if generation is None:
        return {}
    return {"model": generation.model.name, "revision": generation.model.revision}


def _line(text: str | None) -> str | None:
    return f"{text}\n" if text else None


def _names(secrets: str | None) -> str | None:
    """Which secrets there are, not what they are."""
    return "".join(f"{name}=…\n" for name in sorted(parse_environment(secrets or ""))) or None
