# SPDX-License-Identifier: GPL-3.0-or-later
"""Supervisor `external`: a runtime that somebody else runs. It is looked at, never started or ended."""

from __future__ import annotations

import typing as t

from .._core.errors import LlmError
from .._core.layout import Layout
from .._core.supervisor import Process, Service
from .processes import families, holders, started_at


class ExternalSupervisor:
    """A container, a desktop application, a process that was adopted: it is there while its port is listened on.

    `host` is where the runtime is asked: who listens on another address of the port is somebody else.
    """

    name = "external"

    def __init__(self, layout: Layout, port: int, host: str) -> None:
        self._layout = layout
        self._port = port
        self._host = host

    def definition_path(self, runtime: str) -> str:
        return f"{self._layout.runtime_folder(runtime)}/external.json"

    def process(self, runtime: str) -> Process:
        del runtime
        found = holders(self._port, host=self._host)
        visible = [pid for pid in found if pid is not None]
        return Process(
            active=bool(found),
            pid=visible[0] if visible else None,
            started_at=started_at(visible[0]) if visible else None,
            members=frozenset(families(visible)),
        )

    def reload(self) -> None:
        """There is nothing that could be told."""

    def check_start(self, service: Service, besides: t.Collection[int] = ()) -> None:
        if not holders(self._port, ours=besides, host=self._host):
            raise LlmError(
                "supervisor_failed",
                f"Runtime {service.name}: nothing listens on port {self._port}; it is not ours to start.",
                remedy="Start it where it is run, or choose another supervisor.",
            )

    def start(self, service: Service) -> None:
        """It runs, or is not ours to start."""
        self.check_start(service)

    def stop(self, service: Service) -> None:
        """Whoever runs it goes on; its models are unloaded by the engine's own means."""

    def enabled(self, runtime: str) -> bool:
        """Whoever runs it has to see to that."""
        del runtime
        return True

    def forget(self, runtime: str) -> None:
        """Nothing was registered."""

    def log(self, runtime: str, since: float) -> str:
        """It is kept elsewhere."""
        del runtime, since
        return ""
