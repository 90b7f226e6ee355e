# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at Docker Model Runner on this host, side by side and with an end; what it means is decided elsewhere."""

from __future__ import annotations

import platform
import re
import time
import typing as t

from .._api.address import parse_address, shown_address
from .._api.background import Background
from .._api.bounded_get import Answer, get
from .._api.docker_command import DockerCommand, Said, find_docker, published
from .._core.errors import LlmError
from .._core.seconds import seconds_of
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
    mapping,
    socket_of,
    text,
    wears_label,
    words_of,
)
from .docker_model_runner_verdict import fact_of

OwnerOf = t.Callable[[int], t.Optional[PortOwner]]
# Shares of the time that is allowed: until when addresses are tried, until when commands and details may take, and
# how long a command that is being ended is waited for.
_TRIED, _ENDED, _GRACE = 0.5, 0.8, 0.06


def look(params: t.Mapping[str, t.Any], owner_of: OwnerOf) -> dict[str, t.Any]:
    """The fact. `params` are `endpoint`, `sockets`, `executable` and `timeout` in seconds, for all of it.

    Raises `invalid_input` for an endpoint or a time that is none.
    """
    seconds = seconds_of(params["timeout"])
    parse_address(str(params["endpoint"]), "The option endpoint")
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
        tries = [self._probing(address, self._tried) for address in addresses]
        probes = [_probed(address, job, self._ended) for address, job in zip(addresses, tries)]
        owner = Background(lambda: self._owner(probes[0]))
        answering = next((probe for probe in probes if probe.state == "runner"), None)
        details = self._details(answering.address) if answering else {}
        version, info, context, listed, inspected = commands.result(self._end, (None,) * 5)
        beside = None if answering else self._beside(version, context, addresses)
        if beside:
            probes.append(_probed(beside, self._probing(beside, self._ended), self._ended))
            details = self._details(beside) if probes[-1].state == "runner" else {}
        late = LlmError("timeout", "Who listens was not told in time.")
        return Seen(
            system=platform.system(), machine=platform.machine(), build=platform.version(), executable=executable,
            asked=self._name, version=version, info=info, context=context, listed=listed, inspected=inspected,
            probes=tuple(probes), details=details, owner=owner.result(self._ended, Found(None, late)),
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
        named = [str(text(entry.get("ID"))) for entry in listed.documents() if self._matters(entry)]
        # An identity and nothing else: what begins with a dash would be an option.
        chosen = [identity for identity in named if re.fullmatch(r"[0-9a-f]{1,64}", identity)]
        inspected = docker.ask("inspect", "--type", "container", *chosen) if chosen else None
        return (
            version.result(self._end, None), info.result(self._end, None), context.result(self._end, None), listed,
            inspected,
        )  # fmt: skip

    def _matters(self, container: t.Mapping[str, t.Any]) -> bool:
        port = local_port(self._endpoint)
        return (
            CONTAINER_NAME in words_of(container.get("Names"))
            or wears_label(container.get("Labels"))
            or (port is not None and published(",".join(words_of(container.get("Ports"))), port))
        )

    def _probing(self, address: str, until: float) -> Background[Probe]:
        return Background(lambda: self._probe(address, until))

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
            return Probe(
                address,
                "not_enabled",
                f"Docker answers at {shown_address(address)}, without Model Runner.",
                answer.status,
            )
        said = f"What answers at {shown_address(address)} is not Docker Model Runner: it answered {answer.status}."
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
        endpoints = mapping(mapping(context.document()).get("Endpoints"))
        host = text(mapping(endpoints.get("docker")).get("Host")) or ""
        address = address_of_socket(host[len("unix://") :]) if host.startswith("unix:///") else ""
        return address if address and address not in addresses else None

    def _details(self, address: str) -> dict[str, Found[Answer]]:
        """What the runner says of itself, all at once."""
        asked = {name: self._asking(address, path) for name, path in DETAILS.items()}
        found: dict[str, Found[Answer]] = {}
        for name, job in asked.items():
            late = LlmError("timeout", f"{shown_address(address)} did not answer {DETAILS[name]} in time.")
            try:
                answer = job.result(self._end, None)
                found[name] = Found(answer, None if answer else late)
            except LlmError as failure:
                found[name] = Found(None, failure)
        return found

    def _asking(self, address: str, path: str) -> Background[Answer]:
        return Background(lambda: get(address, path, seconds=max(0.01, self._ended - time.monotonic())))


def _probed(address: str, job: Background[Probe], until: float) -> Probe:
    return job.result(until, Probe(address, "timeout", f"{shown_address(address)} did not answer in time."))
