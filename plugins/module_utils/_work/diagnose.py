# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything of a host that somebody may ask for who has to find out what is wrong, as one text. Only looks."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import time
import typing as t
from pathlib import Path

from .._core.diagnosis import diagnosis
from .._core.diagnosis_summary import Answer
from .._core.hiding import Hiding, secrets_in_variables, secrets_in_words
from .._core.outcome import Outcome
from .._core.supervisor import Process
from .._host import keeper, processes, strangers
from .._host.generations import runtime_names
from .._host.gpu_look import look_at_gpus
from .._host.keeper import parse_environment
from .._host.place import layout_here
from .asked import Asked
from .diagnose_host import HostParts
from .diagnose_runtime import RuntimeParts

# Share of the time after which parts go on without what they would have liked to know of others.
_PATIENCE = 0.6
# Of what may hold any secret, nothing is told where it is not known what the secrets are.
_TELLTALE = ("log", "service", "processes", "strangers")


class DiagnosisTask:
    """Every part is asked for by itself, and what has not answered by the end of the time says so."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._layout = layout_here(params.get("prefix") or "")
        self._params = params

    def run(self, *, check_mode: bool) -> Outcome:
        del check_mode
        begun = time.monotonic()
        seconds = float(self._params["timeout"])
        deadline, patience = begun + seconds, begun + seconds * _PATIENCE
        listed = Asked(lambda: runtime_names(self._layout))
        gpus = look_at_gpus()
        vram = Asked(gpus.held)
        names = listed.answer(patience)
        parts = {
            name: RuntimeParts(
                name,
                self._layout,
                lines=int(self._params["lines"]),
                deadline=deadline,
                gpus=gpus,
            )
            for name in names.value or ()
        }
        members = {name: Asked(part.process) for name, part in parts.items()}
        held = functools.partial(vram.answer, patience)
        own = functools.partial(_known_members, members, patience)
        secrets = Asked(lambda: self._secrets(own()))
        host = HostParts(self._layout, self._params, parts, own, held, gpus)
        asked = {(what, ""): Asked(question) for what, question in host.questions().items()}
        for name, part in parts.items():
            process = functools.partial(_process_of, members[name], patience)
            for what, question in part.questions(process, held).items():
                asked[what, name] = Asked(question)
        answers = {about: each.answer(deadline) for about, each in asked.items()} | {("names", ""): names}
        told = diagnosis(socket.gethostname(), time.time(), _hidden(answers, secrets.answer(deadline)))
        return Outcome(False, result={"report": told.text, "sections": dict(told.sections), "summary": told.summary})

    def _secrets(self, members: t.Mapping[str, Process]) -> set[str]:
        """All values that must not be shown, by the secrets files and by what runs; raises for a file it cannot read."""
        found: set[str] = set()
        names: set[str] = set()
        for text in _texts(Path(self._layout.secrets)):
            for name, value in parse_environment(text).items():
                names.add(name)
                # A value can be made of several lines, and a log has one of them.
                found |= {value, *value.splitlines()}
        for text in _texts(Path(self._layout.environments)):
            found |= secrets_in_variables(parse_environment(text))
        ours = {pid for process in members.values() for pid in process.members}
        for pid in keeper.pids():
            words = keeper.read_proc(pid, "cmdline").decode("utf-8", "replace").rstrip("\0").split("\0")
            if pid in ours or strangers.engine_of(words):
                found |= secrets_in_words(words)
                found |= secrets_in_variables(processes.environment_of(pid) or {}, names)
        return found


def _texts(folder: Path) -> t.Iterator[str]:
    """All environment files of a folder; raises where any of them cannot be read."""
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(folder)):
            if name.endswith(".env"):
                yield (folder / name).read_text(encoding="utf-8", errors="replace")


def _known_members(asked: t.Mapping[str, Asked], deadline: float) -> dict[str, Process]:
    """The processes of the runtimes whose supervisor tells of them."""
    answers = {name: each.answer(deadline) for name, each in asked.items()}
    return {name: answer.value for name, answer in answers.items() if answer.value is not None}


def _process_of(asked: Asked, deadline: float) -> Answer:
    return asked.answer(deadline)


def _hidden(answers: t.Mapping[tuple[str, str], Answer], secrets: Answer) -> dict[tuple[str, str], Answer]:
    hiding = Hiding(secrets.value or ())
    found = {}
    for about, answer in answers.items():
        if secrets.error and about[0] in _TELLTALE:
            found[about] = Answer(
                error=f"left out, because the secrets that it may have are not known: {secrets.error}"
            )
        else:
            found[about] = Answer(hiding.value(answer.value), hiding.line(answer.error))
    return found
