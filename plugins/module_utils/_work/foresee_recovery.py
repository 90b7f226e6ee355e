# SPDX-License-Identifier: GPL-3.0-or-later
"""A runtime as it will be when what a killed run left has been ended: what check mode has to judge."""

from __future__ import annotations

import time
import typing as t
from dataclasses import replace

from .._core.engine import READY, Engine, Health, Settings
from .._core.generation import ACTIVE, Generation
from .._core.journal import Transaction
from .._core.recovery import CLOSE, COMMIT, FINISH, told_of, way_out
from .._core.status import Observation
from .._core.supervisor import Process, Service, Supervisor
from .._host.configuration import Configuration, ConfigurationFiles
from .._host.gpu_look import GpuLook
from .._host.ownership import owner_of
from .runtime_place import RuntimePlace, configuration_of, place_of
from .runtime_subject import Subject, subject_with

_NOTHING = Configuration(None, None, None, None)
_FORETOLD = {
    CLOSE: "before anything was changed.",
    COMMIT: "and had been done.",
    FINISH: "it would be finished.",
}


def foresee(subject: Subject, left: Transaction, *, finish: bool, start: bool) -> tuple[Subject, str]:
    """The subject after the recovery, and what is foretold of it; only looks.

    What is started on the way is taken to serve: that it does is for its proof to say.
    """
    generations = subject.place.generations
    candidate = generations.find(left.to_generation)
    previous = generations.find(left.from_generation)
    way = way_out(left, candidate, finish=finish)
    told = f"Runtime {subject.name}: {told_of(left)}, {_FORETOLD.get(way, 'it would be undone.')}"
    if way == CLOSE:
        return subject, told
    active, files, process = subject.active, subject.place.files.read(), None
    if way == FINISH and candidate:
        active = replace(candidate, status=ACTIVE)
    elif way != COMMIT and (previous or candidate):
        secrets = subject.place.files.secrets_before()
        files = configuration_of(previous, subject.layout, secrets) if previous else _NOTHING
    after = subject_with(active, subject.name, subject.params, subject.layout, subject.store)
    if previous and place_of(previous, subject.layout).files.definition != after.place.files.definition:
        # Another supervisor is asked for, whose definition is not there yet.
        files = replace(files, definition=None)
    supervisor = after.place.supervisor
    now = supervisor.process(subject.name)
    up = way == FINISH or (way != COMMIT and start and left.was_up and previous is not None)
    if supervisor.name == "external":
        # Whoever runs it goes on; whether it has the model is known where that will have been loaded.
        process = now if up and now.active else None
    elif way != COMMIT:
        # What runs now is its own, and ends on the way; nothing of it is left where it is to be down.
        members = now.members if start else frozenset()
        process = Process(active=up, pid=now.pid if up else None, members=members)
    return replace(after, place=_Foreseen(after.place, files, process)), told


class _Foreseen(RuntimePlace):
    """With these files and this process; with the process that is there where None is given."""

    def __init__(self, place: RuntimePlace, files: Configuration, process: Process | None) -> None:
        supervisor = _Kept(place.supervisor, process) if process else place.supervisor
        super().__init__(place.name, place.layout, supervisor, place.service.stop_timeout)
        self.files = _Files(self, files)
        self._process = process

    def observe(
        self,
        generation: Generation | None,
        engine: Engine,
        settings: Settings | None,
        port: int,
        gpus: GpuLook | None = None,
        patience: float | None = None,
    ) -> Observation:
        process = self._process
        if process is None:
            return replace(super().observe(generation, engine, settings, port, gpus, patience), left=None)
        return Observation(
            generation=generation,
            process=process,
            health=Health(READY),
            served=None,
            settings=settings,
            memory_bytes=None,
            memory_percent=None,
            port=port,
            port_owner=None,
            supervisor=self.supervisor.name,
            unit=self.unit,
            now=time.time(),
        )


class _Files(ConfigurationFiles):
    def __init__(self, place: RuntimePlace, foreseen: Configuration) -> None:
        layout = place.layout
        super().__init__(layout, place.name, place.supervisor.definition_path(place.name), owner_of(layout.user))
        self._foreseen = foreseen

    def read(self) -> Configuration:
        return self._foreseen


class _Kept:
    """A supervisor that tells of a process which is not there yet; it does nothing."""

    def __init__(self, supervisor: Supervisor, process: Process) -> None:
        self.name = supervisor.name
        self._supervisor = supervisor
        self._process = process

    def definition_path(self, runtime: str) -> str:
        return self._supervisor.definition_path(runtime)

    def process(self, runtime: str) -> Process:
        del runtime
        return self._process

    def enabled(self, runtime: str) -> bool:
        del runtime
        return self._process.active

    def check_start(self, service: Service, besides: t.Collection[int] = ()) -> None:
        self._supervisor.check_start(service, besides)

    def reload(self) -> None:
        raise NotImplementedError

    def start(self, service: Service) -> None:
        raise NotImplementedError

    def stop(self, service: Service) -> None:
        raise NotImplementedError

    def forget(self, runtime: str) -> None:
        raise NotImplementedError

    def log(self, runtime: str, since: float) -> str:
        raise NotImplementedError
