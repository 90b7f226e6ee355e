# SPDX-License-Identifier: GPL-3.0-or-later
"""The seams: what a source and an engine are to the rest of the house, and what the house is to them.

Sources live in `_sources/`, engines in `_engines/`, the store and the supervisors in `_host/`. Tests join
the contract tests with one line of a registry.
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


@dataclass(frozen=True)
class Endpoint:
    """Where a runtime answers, and the key it asks for."""

    host: str
    port: int
    api_key: str = ""

    @property
    def url(self) -> str:
        # A wildcard address is where it listens; it is reached over loopback.
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{self.port}"


@dataclass(frozen=True)
class Settings:
    """What an engine needs to serve one model: everything a generation restores."""

    model_path: str
    served_names: tuple[str, ...]
    host: str
    port: int
    context_length: int
    options: t.Mapping[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Health:
    """`refused` (nothing answers), `loading`, `ready` or `broken`, with what was said."""

    state: str
    said: str = ""


@dataclass(frozen=True)
class Served:
    """What a running engine says of itself; None where it does not tell."""

    names: tuple[str, ...]
    model_path: str | None
    context_length: int | None


@dataclass(frozen=True)
class Meaning:
    """What lines of an engine's log mean: a reason code and one sentence."""

    reason: str
    sentence: str


class Engine(t.Protocol):
    """A program that serves models. Registered in `_engines/registry.py`."""

    name: str
    executable: str
    default_port: int
    api_key_variable: str
    option_types: t.Mapping[str, str]
    write_execute_memory: bool

    def command(self, executable: str, options: t.Mapping[str, t.Any], extra_args: t.Sequence[str]) -> tuple[str, ...]:
        """The words of the command line, values that change as one `${WORD}` each."""

    def environment(self, settings: Settings) -> dict[str, str]:
        """The values of those words."""

    def model_path(self, record: InstalledModel) -> str:
        """The path to load; raises `model_unsuitable` where the engine cannot take the model."""

    def health(self, endpoint: Endpoint) -> Health: ...

    def served(self, endpoint: Endpoint) -> Served: ...

    def complete(self, endpoint: Endpoint, model: str, timeout: float) -> Completion: ...

    def meaning(self, log: str) -> Meaning | None: ...


@dataclass(frozen=True)
class Completion:
    """One greedy reply: text, the model it names, tokens, seconds."""

    text: str
    model: str
    tokens: int
    seconds: float
    finish_reason: str | None

    @property
    def tokens_per_second(self) -> float | None:
        return round(self.tokens / self.seconds, 1) if self.tokens and self.seconds > 0 else None


@dataclass(frozen=True)
class Process:
    """What a supervisor knows of a runtime's process. Times are seconds since the epoch."""

    active: bool = False
    pid: int | None = None
    started_at: float | None = None
    restarts: int = 0
    failing: bool = False
    detail: str = ""


@dataclass(frozen=True)
class Service:
    """What a supervisor is to start or stop; `stop_timeout` is the engine's grace in seconds."""

    name: str
    stop_timeout: int


class Supervisor(t.Protocol):
    """What keeps a runtime's process: systemd, or a small keeper of ours where there is none."""

    name: str

    def definition_path(self, runtime: str) -> str: ...

    def process(self, runtime: str) -> Process: ...

    def reload(self) -> None:
        """Make changed definitions known."""

    def start(self, service: Service) -> None:
        """Start it, or start it anew if it runs, and have it started at boot."""

    def stop(self, service: Service) -> None:
        """End it with all its children, and have it stay so at boot."""

    def enabled(self, runtime: str) -> bool:
        """Whether it would come back after a boot, as far as the supervisor can promise that."""

    def forget(self, runtime: str) -> None:
        """Undo what `start` registered, after the definition is gone."""

    def log(self, runtime: str, since: float) -> str:
        """The last lines of the runtime's log that were written after `since`."""
