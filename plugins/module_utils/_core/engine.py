# SPDX-License-Identifier: GPL-3.0-or-later
"""The seam to engines: what a program that serves models is to the rest of the house.

An engine is one file in `_engines/` and one line of its registry; the contract tests then run over it. There are two
kinds. Most serve the one model they were started with: a switch is another environment file and a restart. Resident
ones (Ollama, Docker Model Runner, LM Studio) stay up while models come and go: a switch is `load` and `release`.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .fit import Fit
from .model import InstalledModel
from .room import Room
from .traits import Traits

# What an engine can be seen to do. `refused`: nothing answers. `broken`: something answers that is not well.
REFUSED, LOADING, READY, SLEEPING, DRAINING, BROKEN = "refused", "loading", "ready", "sleeping", "draining", "broken"


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
    """What an engine needs to serve one model: everything a generation restores.

    `model_path` is a path, or for a resident engine the name under which it keeps the model; `digest` says which
    bytes that name meant when it was installed, empty where there is no such thing. `context_length` is in tokens.
    A resident engine can be up without a model: then `model_path` is empty.
    """

    model_path: str
    served_names: tuple[str, ...]
    host: str
    port: int
    context_length: int
    options: t.Mapping[str, t.Any] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True)
class Health:
    """One of the states above, with what was said."""

    state: str
    said: str = ""


@dataclass(frozen=True)
class Served:
    """What a running engine says of itself; None where it does not tell.

    `digest` is of the bytes that answer under the first served name. `memory_bytes` is what the model takes in all,
    `vram_bytes` the part of it on an accelerator. `asleep`: a resident engine has the model, and not in memory;
    `loaded`: it has it in memory, whether or not it still has it on the disk.
    `taken`: served names that stand for other bytes in it.
    `faults` is what is seen to be wrong, one clause each, such as weights in memory that are not those under the
    name any more.
    """

    names: tuple[str, ...]
    model_path: str | None
    context_length: int | None
    digest: str | None = None
    memory_bytes: int | None = None
    vram_bytes: int | None = None
    asleep: bool = False
    loaded: bool = False
    taken: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Completion:
    """One greedy reply: text, the model it names, tokens, seconds; `digest` where it proves which bytes answered."""

    text: str
    model: str
    tokens: int
    seconds: float
    finish_reason: str | None
    digest: str | None = None

    @property
    def tokens_per_second(self) -> float | None:
        return round(self.tokens / self.seconds, 1) if self.tokens and self.seconds > 0 else None


@dataclass(frozen=True)
class Meaning:
    """What lines of an engine's log mean: a reason code and one sentence."""

    reason: str
    sentence: str


class Engine(t.Protocol):
    """A program that serves models.

    `executable` is below the engine's folder. `option_types` has the options a user may set by name: `int`, `bool`,
    `str` or `float`. Its unit must allow it to write memory and execute it (`write_execute_memory`), to set its
    threads' scheduling (`places_threads`), to list network interfaces (`reads_interfaces`). `listens_everywhere`:
    whatever host it is told, and without a key. `sleep_levels` are the levels that `sleep` takes; empty where it
    cannot sleep.
    """

    name: str
    executable: str
    default_port: int
    api_key_variable: str
    option_types: t.Mapping[str, str]
    write_execute_memory: bool
    places_threads: bool
    reads_interfaces: bool
    resident: bool
    listens_everywhere: bool
    sleep_levels: tuple[int, ...]

    def command(self, executable: str, options: t.Mapping[str, t.Any], extra_args: t.Sequence[str]) -> tuple[str, ...]:
        """The words of the command line, values that change as one `${WORD}` each."""

    def environment(self, settings: Settings) -> dict[str, str]:
        """The values of those words."""

    def model_path(self, record: InstalledModel) -> str:
        """What `Settings.model_path` is for a model; raises `model_unsuitable` where the engine cannot take it."""

    def refusal(self, traits: Traits, options: t.Mapping[str, t.Any], *, gpu: bool) -> str | None:
        """Why the engine, with or without a GPU, cannot serve a model of these traits; None where it can."""

    def fit(self, traits: Traits, settings: Settings, room: Room) -> Fit:
        """Whether a model of these traits, served so, has room in this memory."""

    def health(self, endpoint: Endpoint) -> Health:
        """Look once, within seconds."""

    def served(self, endpoint: Endpoint, settings: Settings) -> Served:
        """What it says of itself; raises `proof_failed` or `unreachable` where it cannot be asked."""

    def complete(self, endpoint: Endpoint, model: str, prompt: str, *, max_tokens: int, timeout: float) -> Completion:
        """One greedy reply; raises `proof_failed` for anything that is not one."""

    def in_flight(self, endpoint: Endpoint) -> int | None:
        """How many requests are being worked on or wait; None where the engine does not tell."""

    def check_sleep(self, settings: Settings) -> None:
        """Raise `unsupported` where one that was started with these settings cannot be put to sleep."""

    def sleep(self, endpoint: Endpoint, settings: Settings, level: int) -> None:
        """Ask it to give its memory back and stay; raises `unsupported` where it cannot."""

    def wake(self, endpoint: Endpoint, settings: Settings) -> None:
        """Ask it to be ready again."""

    def load(self, endpoint: Endpoint, settings: Settings, timeout: float) -> None:
        """Resident engines: have the model in memory under its served names; returns when it is."""

    def release(self, endpoint: Endpoint, settings: Settings, kept_names: t.Container[str]) -> None:
        """Resident engines: have it out of memory, and its names gone but for `kept_names`; never its bytes."""

    def keep(self, endpoint: Endpoint, runtime: str, digests: t.Collection[str]) -> None:
        """Have these bytes stay for a runtime's rollback, whatever happens to their names, and no others stay for it."""

    def meaning(self, log: str) -> Meaning | None:
        """What went wrong, by the lines of its log; None where they say nothing that is known."""
