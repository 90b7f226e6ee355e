# SPDX-License-Identifier: GPL-3.0-or-later
"""One runtime on this host: where its files are, who keeps it, what is seen of it."""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

from .._core import clock
from .._core.collision import EVERYWHERE
from .._core.engine import Endpoint, Engine, Settings
from .._core.environment_file import render
from .._core.generation import Generation
from .._core.gpu import summed
from .._core.layout import Layout, unit_name
from .._core.status import Observation, Stranger
from .._core.supervisor import Process, Service, Supervisor
from .._host import processes, strangers
from .._host.configuration import Configuration, ConfigurationFiles
from .._host.durable import read_text
from .._host.generations import Generations
from .._host.gpu_look import GpuLook, look_at_gpus
from .._host.journal import Journal
from .._host.keeper import parse_environment
from .._host.ownership import owner_of
from .._host.supervisors import choose
from .ask_engine import Said, ask

# Seconds after its start from which a runtime that does not answer is looked at twice.
_SETTLED = 30.0
_HEADING = "Written by llmops.fleet at activation; changes by hand are lost."


class RuntimePlace:
    """Everything a verb needs of one runtime. Making one touches nothing."""

    def __init__(self, name: str, layout: Layout, supervisor: Supervisor, stop_timeout: int) -> None:
        self.name = name
        self.layout = layout
        self.supervisor = supervisor
        self.service = Service(name, stop_timeout)
        self.generations = Generations(layout, name)
        self.files = ConfigurationFiles(layout, name, supervisor.definition_path(name), owner_of(layout.user))

    def runs(self, generation: Generation, process: Process) -> bool:
        """Whether the process was started with what the generation says; True where that cannot be seen."""
        variables = processes.environment_of(process.pid) if process.pid else None
        return variables is None or generation.environment.items() <= variables.items()

    def strangers(
        self, host: str, port: int, process: Process, vram: t.Mapping[int, int] | None = None
    ) -> list[strangers.Stranger]:
        """All that is in its way where it listens, by what the host tells; `vram` is GPU memory by process in bytes."""
        state = self.layout.pid_file(self.name)
        territory = strangers.Territory(port, process.members, self.unit or "", state, host, process.left)
        return strangers.find(territory, vram=vram)

    def listens_on(self, engine: Engine, host: str) -> str:
        """The address that it takes its port on, which for some programs is every one, whatever they are told."""
        ours = self.supervisor.name != "external"
        return EVERYWHERE if ours and engine.listens_everywhere else host

    @property
    def unit(self) -> str | None:
        return unit_name(self.name) if self.supervisor.name == "systemd" else None

    def endpoint(self, engine: Engine, settings: Settings) -> Endpoint:
        secrets = parse_environment(read_text(Path(self.layout.secrets_file(self.name))) or "")
        return Endpoint(settings.host, settings.port, secrets.get(engine.api_key_variable, ""))

    def observe(
        self,
        generation: Generation | None,
        engine: Engine,
        settings: Settings | None,
        port: int,
        gpus: GpuLook | None = None,
        patience: float | None = None,
    ) -> Observation:
        """Look once, within seconds, whatever state it is in. `gpus` is what others of the same time look at too.

        `patience` is the seconds for all questions to its engine; without it each has its own.
        """
        gpus = gpus or look_at_gpus()
        process = self.supervisor.process(self.name)
        said = Said()
        if process.active and settings:
            endpoint = self.endpoint(engine, settings)
            said = ask(engine, endpoint, settings, settled=_has_settled(process), seconds=patience)
        memory = processes.memory_of(process.members) if process.active else None
        vram = processes.vram_of(process.members, gpus.held()) if process.active else None
        host = self.listens_on(engine, settings.host) if settings else ""
        return Observation(
            generation=generation,
            process=process,
            health=said.health,
            served=said.served,
            settings=settings,
            memory_bytes=memory,
            memory_percent=100 * memory / processes.total_memory() if memory is not None else None,
            port=port,
            port_owner=processes.listener(port, besides=process.members, host=host),
            supervisor=self.supervisor.name,
            unit=self.unit,
            now=time.time(),
            fault=said.fault,
            unanswered=said.unanswered,
            vram_bytes=vram,
            vram_percent=summed(gpus.cards())["vram_usage_percent"] if vram is not None else None,
            running=self._running(generation, process),
            left=Journal(self.layout, self.name).pending(),
            proven_at=clock.read(str(generation.proof.get("at"))) if generation else None,
            strangers=tuple(_told(each) for each in self.strangers(host, port, process, gpus.held())),
        )

    def _running(self, generation: Generation | None, process: Process) -> int | None:
        """The number of the generation that the process was started with, the active one first; 0 where it is none."""
        if generation is None or not process.active or not process.pid or self.supervisor.name == "external":
            return None
        variables = processes.environment_of(process.pid)
        if variables is None:
            return None
        for known in (generation, *self.generations.all()):
            if known.environment.items() <= variables.items():
                return known.number
        # A program that wrote over its variables tells nothing.
        return 0 if generation.environment.keys() <= variables.keys() else None


def _told(stranger: strangers.Stranger) -> Stranger:
    return Stranger(
        kind=stranger.kind,
        pid=stranger.pid,
        owner=stranger.owner,
        command=stranger.command,
        engine=stranger.engine,
        memory_mb=round(stranger.memory_bytes / 1e6),
        vram_mb=None if stranger.vram_bytes is None else round(stranger.vram_bytes / 1e6),
        unit=stranger.unit,
    )


def _has_settled(process: Process) -> bool:
    return process.started_at is not None and time.time() - process.started_at > _SETTLED


def place_of(generation: Generation, layout: Layout) -> RuntimePlace:
    """The place of a runtime as a generation of it has it."""
    spec = generation.spec
    supervisor = choose(str(spec["supervisor"]), layout, port=int(spec["port"]), host=str(spec["host"]))
    return RuntimePlace(generation.runtime, layout, supervisor, int(spec["stop_timeout"]))


def configuration_of(generation: Generation, layout: Layout, secrets: str | None) -> Configuration:
    """The files that make a generation the one that serves; secrets are not part of its record."""
    return Configuration(
        definition=generation.definition,
        environment=render(generation.environment, _HEADING),
        secrets=secrets,
        engine_folder=_engine_folder(generation, layout),
    )


def _engine_folder(generation: Generation, layout: Layout) -> str | None:
    if generation.spec.get("supervisor") == "external":
        return None
    return f"{layout.engines}/{generation.engine}/{generation.engine_version}"


def settings_of(generation: Generation) -> Settings:
    """What a generation runs with, as its engine takes it."""
    spec = generation.spec
    return Settings(
        model_path=generation.model.path,
        served_names=generation.served_names,
        host=str(spec["host"]),
        port=int(spec["port"]),
        context_length=int(spec["context_length"]),
        options=spec["options"],
        digest=generation.model.revision if not generation.model.folder else "",
    )
