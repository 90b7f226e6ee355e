# SPDX-License-Identifier: GPL-3.0-or-later
"""What was seen of Docker Model Runner becomes its fact. Nothing here looks at anything.

What is unknown is None, and what is not so has a reason: a code of `_core/reasons.py` and a sentence.
"""

from __future__ import annotations

import typing as t

from .docker_model_runner_docker import containers_of, docker_of, product_of
from .docker_model_runner_models import backends_of, models_of, usage_of
from .docker_model_runner_seen import DETAILS, MINIMUM, STATES, Because, Probe, Seen, socket_of, text

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_PLATFORMS = {"Darwin": "macos", "Linux": "linux", "Windows": "windows"}
# Names of processes that hold a port for a container, and for a runner without one.
_FOR_CONTAINERS, _ALONE = ("docker-proxy", "rootlesskit", "dockerd"), ("dmr", "model-runner")


def fact_of(seen: Seen) -> dict[str, t.Any]:
    because = Because()
    docker = docker_of(seen, because)
    product = product_of(seen, docker, because)
    containers = containers_of(seen, docker, because)
    runner = next((probe for probe in seen.probes if probe.state == "runner"), None)
    own = next((entry for entry in containers or () if entry["labelled"]), None)
    listener = _listener(seen, runner, containers, product["desktop"], because)
    enabled = _enabled(seen, runner, own, containers, product, because)
    if runner is None:
        because.say("runner_running", *_why_not_running(seen, own, product, enabled))
        for fact in ("endpoint", "runner_version", "backends", "models", "disk"):
            because.say(fact, "unreachable", "No runner answers that could be asked.")
    return {
        "installed": docker["client"]["present"],
        **product,
        "minimum": ".".join(map(str, MINIMUM)),
        "platform": _PLATFORMS.get(seen.system, seen.system.lower() or None),
        "architecture": _architecture(seen),
        "docker": docker,
        "runner_enabled": enabled,
        "runner_running": runner is not None,
        "runner_version": _runner_version(seen, because) if runner else None,
        "endpoint": runner.shown if runner else None,
        "endpoints": [probe.record() for probe in seen.probes],
        "listener": listener,
        "containers": containers,
        "backends": backends_of(_detail(seen, "backends", because)),
        "models": models_of(_detail(seen, "models", because), _detail(seen, "models.loaded", because), because.say),
        "disk": usage_of(_detail(seen, "disk", because)),
        "reasons": because.found,
    }


def _architecture(seen: Seen) -> str | None:
    # An Intel Python on Apple silicon is told x86_64; the kernel's own name says what it is.
    if seen.system == "Darwin" and "ARM64" in seen.build.upper():
        return "arm64"
    return _ARCHITECTURES.get(seen.machine.lower(), seen.machine.lower() or None)


def _detail(seen: Seen, name: str, because: Because) -> t.Any:
    """The parsed answer; None, and why, where there is none of the form that it should have."""
    found = seen.details.get(name)
    if found is None:
        return None
    if found.value is None:
        if found.failure:
            because.failed(name, found.failure)
        return None
    kind = list if name in ("models", "models.loaded") else dict
    document = found.value.document()
    # Go writes an empty list as null.
    if found.value.good and (isinstance(document, kind) or (kind is list and found.value.text.strip() == "null")):
        return document or kind()
    what = "something else than it should" if found.value.good else str(found.value.status)
    because.say(name, "hub_error", f"The runner was asked for {DETAILS[name]} and answered {what}.")
    return None


def _runner_version(seen: Seen, because: Because) -> str | None:
    told = _detail(seen, "runner_version", because)
    said = text((told or {}).get("version")) or ""
    if told is not None and not said:
        because.say("runner_version", "hub_error", "The runner does not tell its version.")
    return said.lstrip("v") or None


def _listener(
    seen: Seen, runner: Probe | None, containers: t.Sequence[t.Mapping[str, t.Any]] | None, desktop: bool | None,
    because: Because,
) -> dict[str, t.Any]:  # fmt: skip
    """What listens: at the address where the runner answers, or else at the endpoint."""
    probe = runner or seen.probes[0]
    at_endpoint = probe is seen.probes[0]
    owner = seen.owner.value if at_endpoint else None
    holder = next((entry for entry in containers or () if entry["holds_endpoint"]), None) if at_endpoint else None
    command = owner.command if owner else None
    if runner is None:
        silent = probe.state in ("refused", "missing", "invalid_input")
        kind = "none" if silent else "unknown" if probe.state == "denied" else "other"
        because.say("listener", STATES.get(probe.state, probe.state), probe.said)
    elif holder:
        kind = "container"
    elif socket_of(probe.address).endswith("docker.sock") or (desktop and command not in _ALONE):
        kind = "desktop"
    elif containers is not None or command in _ALONE:
        kind = "standalone"
    elif command in _FOR_CONTAINERS:
        kind = "container"
    elif seen.executable is None:
        kind = "standalone"
    else:
        kind = "unknown"
        because.say("listener", *_values(because.found.get("containers")))
    if kind not in ("none", "container") and at_endpoint and owner is None and seen.owner.failure:
        because.failed("listener.process", seen.owner.failure)
    return {
        "kind": kind,
        "address": None if kind == "none" else probe.shown,
        "container": holder["name"] if holder else None,
        "process": {"pid": owner.pid, "command": owner.command} if owner else None,
    }


def _enabled(
    seen: Seen, runner: Probe | None, own: t.Mapping[str, t.Any] | None,
    containers: t.Sequence[t.Mapping[str, t.Any]] | None, product: t.Mapping[str, t.Any], because: Because,
) -> bool | None:  # fmt: skip
    """Whether a runner is set up: it answers, or its container is there."""
    if runner or own:
        return True
    if product["desktop"]:
        asked = [probe.state for probe in seen.probes if socket_of(probe.address).endswith("docker.sock")]
        if product["meets_minimum"] is False or "not_enabled" in asked:
            why = because.found.get("meets_minimum", {"reason": "runtime_missing", "message": _NOT_ENABLED})
            because.say("runner_enabled", *_values(why))
            return False
        because.say("runner_enabled", "unreachable", "Docker Desktop's socket could not be asked for the runner.")
        return None
    if containers is not None or seen.executable is None:
        because.say("runner_enabled", "runtime_missing", "No runner answers, and there is no container of one.")
        return False
    because.say("runner_enabled", *_values(because.found.get("containers")))
    return None


_NOT_ENABLED = "Model Runner is not enabled in Docker Desktop (docker desktop enable model-runner --tcp 12434)."


def _why_not_running(
    seen: Seen, own: t.Mapping[str, t.Any] | None, product: t.Mapping[str, t.Any], enabled: bool | None
) -> tuple[str, str]:
    first = seen.probes[0]
    if own and not own["running"]:
        code = f" with code {own['exit_code']}" if own["exit_code"] is not None else ""
        return "runtime_missing", f"The runner's container {own['name']} does not run: it is {own['state']}{code}."
    if first.state in ("other", "closed", "timeout", "denied"):
        owner = f" The port is held by {seen.owner.value}." if seen.owner.value else ""
        return STATES.get(first.state, first.state), first.said + owner
    if own:
        return "unreachable", f"The runner's container {own['name']} runs, and does not answer. {first.said}"
    if product["desktop"] and enabled is False:
        if product["meets_minimum"] is False:
            return "engine_too_old", f"Docker Desktop {product['version']} has no Model Runner; 4.40 has it."
        return "runtime_missing", _NOT_ENABLED
    return ("invalid_input" if first.state == "invalid_input" else "runtime_missing"), first.said


def _values(why: t.Mapping[str, str] | None) -> tuple[str, str]:
    return (why["reason"], why["message"]) if why else ("unreachable", "It could not be looked at.")
