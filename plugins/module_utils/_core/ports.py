# SPDX-License-Identifier: GPL-3.0-or-later
"""The seam to sources: what a source of models is to the rest of the house, and what the house is to it.

Sources live in `_sources/`, the store in `_host/`. A new source joins the contract tests with one line of a registry.
The seam to engines is `engine.py`, the one to supervisors `supervisor.py`.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from .capabilities import Render
from .model import FileEntry, InstalledModel, Resolved
from .reference import ModelReference
from .request import ModelRequest


class Origin(t.Protocol):
    """Where the bytes of one file can be read, any range of them."""

    @property
    def connections(self) -> int:
        """How many ranges may be read at once; 1 where the other side gives only the whole."""

    def read(self, start: int, stop: int) -> t.Iterator[bytes]:
        """The bytes from `start` up to `stop`, in order; raises the error of the other side when they do not come."""

    def doubt(self) -> None:
        """What was read was wrong: read from somewhere else the next time, if there is somewhere else."""


class Workspace(t.Protocol):
    """What a source needs of the store while it fetches. The store implements it."""

    def receive(self, entry: FileEntry, origin: Origin) -> None:
        """Read what is missing of the file, prove the whole by the entry's digest, keep it under that."""

    def adopt(self, entry: FileEntry, path: Path) -> None:
        """Take a file of this host whose bytes were just proven: shared where the file system can, else copied."""

    def scratch(self, name: str) -> Path:
        """A folder of the store for a program that writes files itself; emptied by the next run."""

    def give_up(self) -> None:
        """Have everything that is being received end soon."""

    def report(self, done: int, total: int) -> None:
        """Say how far a program that brings bytes itself has come; bytes, 0 for a total that is not known."""


@dataclass(frozen=True)
class Fetched:
    """What is there now, and a sentence for everything on the way that a user should know.

    `capabilities` reads what the model can take from what its program says of it; it is given the renderer of chat
    templates. None where the files themselves are to be read.
    """

    resolved: Resolved
    notes: tuple[str, ...] = ()
    capabilities: t.Callable[[Render], t.Mapping[str, t.Any]] | None = None


@dataclass(frozen=True)
class HeldModel:
    """A model that a program of the host keeps. `loaded` is None where the program does not tell."""

    model: str
    revision: str
    size: int
    details: t.Mapping[str, t.Any] = field(default_factory=dict)
    loaded: bool | None = None


class Source(t.Protocol):
    """Where model bytes come from. Registered in `_sources/registry.py`.

    `keeps_own_bytes` says that a program of the host has the bytes, and the store only a record. `exclusive` names
    what one run at a time may change, beside the store; empty where there is nothing.
    """

    name: str
    keeps_own_bytes: bool
    own_options: t.ClassVar[tuple[str, ...]]

    @property
    def exclusive(self) -> str: ...

    @staticmethod
    def reference(params: t.Mapping[str, t.Any]) -> ModelReference:
        """Parse, check and normalise what a user said; raises `invalid_name` or `invalid_input`."""

    def resolve(self, request: ModelRequest, record: InstalledModel | None) -> Resolved:
        """The exact revision and files. Only reads; uses `record` to ask less where nothing can have moved."""

    def fetch(
        self, request: ModelRequest, resolved: Resolved, missing: t.Sequence[FileEntry], workspace: Workspace
    ) -> Fetched:
        """Bring the missing files' bytes."""

    def remove(self, record: InstalledModel) -> None:
        """Give up the bytes of a model that a program keeps; those of the store it removes itself."""

    def inventory(self) -> list[HeldModel]:
        """Every model that its program keeps, whoever asked for it; raises `unreachable` where it is not there."""

    def describe(self, request: ModelRequest, render: Render) -> t.Mapping[str, t.Any]:
        """What a model can take, as far as it can be told without bringing it; empty where it cannot."""


@dataclass(frozen=True)
class SourceOptions:
    """What a user may say about all sources: addresses, credentials, seconds, counts, bytes a second."""

    endpoint: str = ""
    token: str = ""
    username: str = ""
    password: str = ""
    workers: int = 4
    timeout: float = 30.0
    max_bytes_per_second: int = 0
    hub_caches: tuple[str, ...] = ()
