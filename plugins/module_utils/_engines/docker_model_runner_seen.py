# SPDX-License-Identifier: GPL-3.0-or-later
"""What a look at Docker Model Runner on a host can find, and what its addresses, labels and greetings mean."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .._api.address import parse_address, shown_address
from .._api.bounded_get import Answer
from .._api.docker_command import Said
from .._core.errors import LlmError
from .._core.status import PortOwner

T = t.TypeVar("T")
CONTAINER_NAME = "docker-model-runner"
# How the command-line plugin itself finds its container, whatever that is called.
_LABEL, _ROLE = "com.docker.model-runner.role", "controller"
_GREETING = "Docker Model Runner is running"
# Docker Desktop has the runner below its own socket, with this version in the path from its first one on.
_BELOW = "/exp/vDD4.40"
MINIMUM = (4, 40)
_LONGEST_TEXT, _MOST = 2000, 1e18
DETAILS = {
    "runner_version": "/version",
    "backends": "/engines/status",
    "models": "/models",
    "models.loaded": "/engines/ps",
    "disk": "/engines/df",
}
LOCAL = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "::", "")
STATES = {
    "missing": "path_missing",
    "denied": "permission_denied",
    "refused": "unreachable",
    "closed": "transfer_failed",
    "other": "port_in_use",
    "not_enabled": "runtime_missing",
}


@dataclass(frozen=True)
class Found(t.Generic[T]):
    """A value, or the failure that it has in its place. Both are None where there is nothing."""

    value: T | None
    failure: LlmError | None = None


@dataclass(frozen=True)
class Probe:
    """What an address is: `runner`, `other`, `not_enabled`, or why it is not known; `said` is empty for a runner."""

    address: str
    state: str
    said: str
    status: int | None = None

    def record(self) -> dict[str, t.Any]:
        reason = None if self.state == "runner" else STATES.get(self.state, self.state)
        return {
            "address": self.shown, "state": self.state, "status": self.status, "reason": reason, "message": self.said,
        }  # fmt: skip

    @property
    def shown(self) -> str:
        """The address without credentials, for the fact."""
        return shown_address(self.address)


class Because:
    """Reasons by the fact that they are of."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, str]] = {}

    def say(self, fact: str, reason: str, message: str) -> None:
        self.found.setdefault(fact, {"reason": reason, "message": message})

    def failed(self, fact: str, failure: LlmError) -> None:
        self.say(fact, failure.reason, failure.what)


def address_of_socket(path: str) -> str:
    """The address behind a socket: Docker's own has the runner below a path."""
    return f"unix://{path}{'#' + _BELOW if path.endswith('docker.sock') else ''}"


def socket_of(address: str) -> str:
    """The path of an address's socket; empty for others."""
    try:
        return parse_address(address).socket
    except LlmError:
        return ""


def local_port(address: str) -> int | None:
    """The TCP port of an address of this host; None for others and for sockets."""
    try:
        place = parse_address(address)
    except LlmError:
        return None
    return place.port if not place.socket and place.host in LOCAL else None


def is_greeting(answer: Answer) -> bool:
    return answer.good and answer.text.strip() == _GREETING


def is_status(answer: Answer) -> bool:
    found = answer.document()
    return answer.good and isinstance(found, dict) and isinstance(found.get("llama.cpp"), str)


def wears_label(labels: t.Any) -> bool:
    """Whether labels, as `docker ps` (a text) or `docker inspect` (a mapping) has them, are the runner's."""
    if isinstance(labels, dict):
        return bool(labels.get(_LABEL) == _ROLE)
    return f"{_LABEL}={_ROLE}" in words_of(labels)


def is_desktop(version: Said) -> bool:
    return "Docker Desktop" in platform_name(mapping((version.document() or {}).get("Server")))


@dataclass(frozen=True)
class Seen:
    """All that was seen, at one time. Commands that were not run are None."""

    system: str
    machine: str
    build: str
    executable: str | None
    asked: str
    endpoint: str
    version: Said | None
    info: Said | None
    context: Said | None
    listed: Said | None
    inspected: Said | None
    probes: tuple[Probe, ...]
    details: t.Mapping[str, Found[Answer]]
    owner: Found[PortOwner]


def platform_name(server: t.Mapping[str, t.Any]) -> str:
    return text(mapping(server.get("Platform")).get("Name")) or ""


def mapping(found: t.Any) -> dict[str, t.Any]:
    return found if isinstance(found, dict) else {}


def text(found: t.Any) -> str | None:
    """A text of an answer, as one that every reader of the fact can have; None where there is none."""
    if not isinstance(found, str) or not found:
        return None
    # JSON can write halves of characters, which no encoding has.
    return found[:_LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")


def number(found: t.Any) -> int | None:
    """A whole number of an answer, also where it is written as text; None for none and for what is beyond all."""
    if isinstance(found, str):
        return int(found) if re.fullmatch(r"[0-9]{1,18}", found) else None
    counts = isinstance(found, (int, float)) and not isinstance(found, bool) and abs(found) < _MOST
    return int(found) if counts else None


def words_of(found: t.Any) -> list[str]:
    """Words of a column of `docker ps`: apart by commas, or a list (as Podman's docker has it)."""
    if isinstance(found, list):
        return [word for word in found if isinstance(word, str)]
    return found.split(",") if isinstance(found, str) else []
