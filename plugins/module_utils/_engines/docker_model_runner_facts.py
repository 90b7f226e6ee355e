# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at Docker Model Runner on this host, side by side and with an end; what it means is decided elsewhere."""

from __future__ import annotations

import math
import platform
import threading
import time
import typing as t

from .._api.bounded_get import Answer, get
from .._api.docker_command import DockerCommand, Said, find_docker, published
from .._core.errors import LlmError
from .._core.status import PortOwner
from .docker_model_runner_seen import (
    CONTAINER_NAME,
    DETAILS,
    Found,
    Probe,
    Seen,
    address_of_socket,
    is_desktop,
    is_greeting,
    is_status,
    local_port,
    socket_of,
    wears_label,
)
from .docker_model_runner_verdict import fact_of

T = t.TypeVar("T")
OwnerOf = t.Callable[[int], t.Optional[PortOwner]]
# Shares of the time that is allowed: until when addresses are tried, until when commands and details may take, and
# how long a command that is being ended is waited for.
_TRIED, _ENDED, _GRACE = 0.5, 0.8, 0.06


class Background(t.Generic[T]):
    """A job beside the others. Nobody waits for it longer than is said, not even the end of the program."""

    def __init__(self, job: t.Callable[[], T]) -> None:
        self._job = job
        self._value: list[T] = []
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._value.append(self._job())
        except Exception as failure:
            self._failure = failure

    def result(self, until: float) -> T | None:
        """What the job gave; None if it takes longer. Raises what it raised."""
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._failure is not None:
            raise self._failure
        return self._value[0] if self._value else None


def look(params: t.Mapping[str, t.Any], owner_of: OwnerOf) -> dict[str, t.Any]:
    """The fact. `params` are `endpoint`, `sockets`, `executable` and `timeout` in seconds, for all of it."""
    seconds = float(params["timeout"])
    if seconds <= 0 or not math.isfinite(seconds):
        raise LlmError("invalid_input", f"The timeout is {seconds} seconds.", remedy="Give a number above 0.")
    return fact_of(_Look(params, owner_of, seconds).seen())


class _Look:
    def __init__(self, params: t.Mapping[str, t.Any], owner_of: OwnerOf, seconds: float) -> None:
        begun = time.monotonic()
        self._tried, self._ended, self._end = begun + _TRIED * seconds, begun + _ENDED * seconds, begun + seconds
        self._grace = _GRACE * seconds
        self._owner_of = owner_of
        self._endpoint = str(params["endpoint"]).rstrip("/")
        self._sockets = [str(path) for path in params["sockets"] if str(path).startswith("/")]
        self._name = str(params["executable"])

    def seen(self) -> Seen:
        executable = find_docker(self._name)
        commands = Background(lambda: self._commands(executable))
        addresses = list(dict.fromkeys([self._endpoint, *map(address_of_socket, self._sockets)]))
        tries = [Background(lambda address=address: self._probe(address, self._tried)) for address in addresses]  # type: ignore[misc]
        probes = [
            done.result(self._ended) or Probe(address, "timeout", f"{address} did not answer in time.")
            for address, done in zip(addresses, tries)
        ]
        owner = Background(lambda: self._owner(probes[0]))
        answering = next((probe for probe in probes if probe.state == "runner"), None)
        details = self._details(answering.address) if answering else {}
        version, info, context, listed, inspected = commands.result(self._end) or (None,) * 5
        beside = None if answering else self._beside(version, context, addresses)
        if beside:
            probes.append(self._probe(beside, self._ended))
            details = self._details(beside) if probes[-1].state == "runner" else {}
        late = LlmError("timeout", "Who listens was not told in time.")
        return Seen(
            system=platform.system(), machine=platform.machine(), build=platform.version(), executable=executable,
            asked=self._name, version=version, info=info, context=context, listed=listed, inspected=inspected,
            probes=tuple(probes), details=details, owner=owner.result(self._ended) or Found(None, late),
            endpoint=self._endpoint,
        )  # fmt: skip

    def _commands(self, executable: str | None) -> tuple[Said | None, ...]:
        """Version, plugins, context, all containers, and what is to be known of those that matter."""
        if executable is None:
            return (None,) * 5
        docker = DockerCommand(executable, until=self._ended, grace=self._grace)
        # Each format is one that the oldest clients know too.
        version = Background(lambda: docker.ask("version", "--format", "{{json .}}"))
        info = Background(lambda: docker.ask("info", "--format", "{{json .ClientInfo}}"))
        context = Background(lambda: docker.ask("context", "inspect", "--format", "{{json .}}"))
        listed = docker.ask("ps", "--all", "--no-trunc", "--format", "{{json .}}")
        chosen = [str(entry.get("ID")) for entry in listed.documents() if self._matters(entry)]
        inspected = docker.ask("inspect", "--type", "container", *chosen) if chosen else None
        return (
            version.result(self._end), info.result(self._end), context.result(self._end), listed, inspected,
        )  # fmt: skip

    def _matters(self, container: t.Mapping[str, t.Any]) -> bool:
        port = local_port(self._endpoint)
        return (
            CONTAINER_NAME in str(container.get("Names")).split(",")
            or wears_label(container.get("Labels"))
            or (port is not None and published(str(container.get("Ports")), port))
        )

    def _probe(self, address: str, until: float) -> Probe:
        """Whether the runner answers there. Below Docker's own socket it may have no greeting, so its engines count."""
        try:
            answer = get(address, "/", seconds=max(0.01, until - time.monotonic()))
            if is_greeting(answer):
                return Probe(address, "runner", "", answer.status)
            engines = get(address, "/engines/status", seconds=max(0.01, until - time.monotonic()))
            if is_status(engines):
                return Probe(address, "runner", "", engines.status)
        except LlmError as failure:
            states = {"path_missing": "missing", "permission_denied": "denied", "unreachable": "refused",
                      "transfer_failed": "closed"}  # fmt: skip
            return Probe(address, states.get(failure.reason, failure.reason), failure.what)
        if socket_of(address).endswith("docker.sock"):
            return Probe(address, "not_enabled", f"Docker answers at {address}, without Model Runner.", answer.status)
        said = f"What answers at {address} is not Docker Model Runner: it answered {answer.status}."
        return Probe(address, "other", said, answer.status)

    def _owner(self, probe: Probe) -> Found[PortOwner]:
        """Who listens at the endpoint, where something does."""
        port = local_port(self._endpoint)
        if port is None or probe.state in ("refused", "invalid_input"):
            return Found(None)
        try:
            return Found(self._owner_of(port))
        except LlmError as failure:
            return Found(None, failure)
        except Exception as failure:
            # What the library raises where the system does not let it look (macOS without root).
            return Found(None, LlmError("permission_denied", f"The owner of port {port} is not told: {failure}."))

    def _beside(self, version: Said | None, context: Said | None, addresses: t.Sequence[str]) -> str | None:
        """The socket of Docker Desktop where the client uses another one than was tried."""
        if version is None or context is None or not is_desktop(version):
            return None
        document = context.document() or {}
        endpoints = document.get("Endpoints")
        docker = endpoints.get("docker") if isinstance(endpoints, dict) else None
        host = str(docker.get("Host")) if isinstance(docker, dict) else ""
        address = address_of_socket(host[len("unix://") :]) if host.startswith("unix:///") else ""
        return address if address and address not in addresses else None

    def _details(self, address: str) -> dict[str, Found[Answer]]:
        """What the runner says of itself, all at once."""
        asked = {
            name: Background(lambda path=path: get(address, path, seconds=max(0.01, self._ended - time.monotonic())))  # type: ignore[misc]
            for name, path in DETAILS.items()
        }
        found: dict[str, Found[Answer]] = {}
        for name, job in asked.items():
            try:
                answer = job.result(self._end)
                late = LlmError("timeout", f"{address} did not answer {DETAILS[name]} in time.")
                found[name] = Found(answer, None if answer else late)
            except LlmError as failure:
                found[name] = Found(None, failure)
        return found
