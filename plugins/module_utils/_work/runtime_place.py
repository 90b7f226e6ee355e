# SPDX-License-Identifier: GPL-3.0-or-later
"""One runtime on this host: where its files are, who keeps it, what is seen of it."""

from __future__ import annotations

import time
from pathlib import Path

from .._core.engine import Endpoint, Engine, Health, Served, Settings
from .._core.environment_file import render
from .._core.errors import LlmError
from .._core.generation import Generation
from .._core.layout import Layout, unit_name
from .._core.status import Observation
from .._core.supervisor import Service, Supervisor
from .._host import processes
from .._host.configuration import Configuration, ConfigurationFiles
from .._host.durable import read_text
from .._host.generations import Generations
from .._host.keeper import parse_environment
from .._host.ownership import owner_of

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

    @property
    def unit(self) -> str | None:
        return unit_name(self.name) if self.supervisor.name == "systemd" else None

    def endpoint(self, engine: Engine, settings: Settings) -> Endpoint:
        secrets = parse_environment(read_text(Path(self.layout.secrets_file(self.name))) or "")
        return Endpoint(settings.host, settings.port, secrets.get(engine.api_key_variable, ""))

    def observe(
        self, generation: Generation | None, engine: Engine, settings: Settings | None, port: int
    ) -> Observation:
        """Look once, within seconds, whatever state it is in."""
        process = self.supervisor.process(self.name)
        health, served, fault = Health("refused"), None, None
        if process.active and settings:
            endpoint = self.endpoint(engine, settings)
            health = engine.health(endpoint)
            if health.state == "ready":
                served, fault = _served(engine, endpoint, settings)
        memory = processes.memory_of(process.pid) if process.active and process.pid else None
        return Observation(
            generation=generation,
            process=process,
            health=health,
            served=served,
            settings=settings,
            memory_bytes=memory,
            memory_percent=100 * memory / processes.total_memory() if memory is not None else None,
            port=port,
            port_owner=processes.listener(port, besides=process.pid),
            supervisor=self.supervisor.name,
            unit=self.unit,
            now=time.time(),
            fault=fault,
        )


def _served(engine: Engine, endpoint: Endpoint, settings: Settings) -> tuple[Served | None, str | None]:
    try:
        return engine.served(endpoint, settings), None
    except LlmError as failure:
        return None, failure.what


def configuration_of(generation: Generation, layout: Layout, secrets: str | None) -> Configuration:
    """The files that make a generation the one that serves; secrets are not part of its record."""
    return Configuration(
        definition=generation.definition,
        environment=render(generation.environment, _HEADING),
        secrets=secrets,
        engine_folder=f"{layout.engines}/{generation.engine}/{generation.engine_version}",
    )


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
    )
