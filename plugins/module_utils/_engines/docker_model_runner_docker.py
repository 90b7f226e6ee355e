# SPDX-License-Identifier: GPL-3.0-or-later
"""What the docker command told of a host: client, daemon, plugin, Desktop or Engine, containers of a runner."""

from __future__ import annotations

import re
import typing as t
from urllib.parse import urlsplit

from .._api.address import shown_address
from .._api.daemon import entries
from .._api.docker_command import Said
from .docker_model_runner_seen import (
    CONTAINER_NAME,
    LOCAL,
    MINIMUM,
    Because,
    Seen,
    local_port,
    mapping,
    number,
    platform_name,
    text,
    wears_label,
)

_BY_NETWORK = ("tcp", "http", "https")
_NOTHING = Said(None, "", "", late=True)


def docker_of(seen: Seen, because: Because) -> dict[str, t.Any]:
    told = mapping(seen.version.document() if seen.version else None)
    client, server = mapping(told.get("Client")), mapping(told.get("Server"))
    mine = seen.info.document() if seen.info else None
    context = mapping(seen.context.document() if seen.context else None)
    host = text(mapping(mapping(context.get("Endpoints")).get("docker")).get("Host"))
    remote = _is_remote(host) if host else None
    plugin = next((entry for entry in entries(mapping(mine).get("Plugins")) if entry.get("Name") == "model"), None)
    if seen.executable is None:
        nothing = f"There is no program '{seen.asked}' on the host."
        for fact in ("installed", "docker.client", "docker.daemon", "docker.plugin"):
            because.say(fact, "engine_missing", nothing)
    else:
        if not server:
            failure = (seen.version or _NOTHING).complaint("tell the version of the daemon")
            because.failed("docker.daemon", failure)
        elif remote:
            because.say("docker.daemon", "unsupported", f"The daemon is on another host: {shown_address(host or '')}.")
        if mine is None:
            because.failed("docker.plugin", (seen.info or _NOTHING).complaint("list its plugins"))
        elif plugin is None:
            because.say("docker.plugin", "engine_missing", "The docker command has no plugin 'model'.")
        elif plugin.get("Err"):
            why = (text(plugin["Err"]) or "it does not say why")[:200]
            because.say("docker.plugin", "hub_error", f"The plugin 'model' cannot be used: {why}.")
    version = text(client.get("Version")) or text(mapping(mine).get("Version"))
    if seen.executable and not version:
        because.say("docker.client", "timeout", "The docker command did not tell its version.")
    return {
        "client": {
            "present": seen.executable is not None,
            "version": version,
            "path": seen.executable,
            "context": text(context.get("Name")) or text(client.get("Context")) or text(mapping(mine).get("Context")),
        },
        "daemon": {
            "reachable": bool(server),
            "version": text(server.get("Version")),
            "platform_name": platform_name(server) if server else None,
            "os": text(server.get("Os")),
            "architecture": text(server.get("Arch")),
            "host": shown_address(host) if host else None,
            "remote": remote,
        },
        "plugin": {
            "present": None if mine is None and seen.executable else bool(plugin) and not (plugin or {}).get("Err"),
            "version": text((plugin or {}).get("Version")),
            "path": text((plugin or {}).get("Path")),
        },
    }


def product_of(seen: Seen, docker: t.Mapping[str, t.Any], because: Because) -> dict[str, t.Any]:
    """Desktop or Engine, its version, and whether that is new enough."""
    daemon, plugin = docker["daemon"], docker["plugin"]["present"]
    if seen.executable is None:
        for fact in ("desktop", "version", "meets_minimum"):
            because.say(fact, "engine_missing", f"There is no program '{seen.asked}' on the host.")
        return {"desktop": False, "version": None, "meets_minimum": False}
    if daemon["remote"]:
        for fact in ("desktop", "version", "meets_minimum"):
            because.say(fact, "unsupported", f"The docker command asks another host, {daemon['host']}.")
        return {"desktop": None, "version": None, "meets_minimum": None}
    if not daemon["reachable"]:
        socket, context = str(daemon["host"] or ""), str(docker["client"]["context"] or "")
        hinted = "/.docker/run/" in socket or "/.docker/desktop/" in socket or context.startswith("desktop-")
        why = because.found["docker.daemon"]
        for fact in ("version", "meets_minimum", *(() if hinted else ("desktop",))):
            because.say(fact, why["reason"], why["message"])
        return {"desktop": True if hinted else None, "version": None, "meets_minimum": None}
    name = daemon["platform_name"]
    if "Docker Desktop" in name:
        found = re.search(r"Docker Desktop v?([0-9]{1,9}(?:[.][0-9]{1,9})+)", name)
        if not found:
            for fact in ("version", "meets_minimum"):
                because.say(fact, "hub_error", f"Docker Desktop calls itself '{name[:100]}', without a version.")
            return {"desktop": True, "version": None, "meets_minimum": None}
        new = tuple(int(part) for part in found[1].split(".")) >= MINIMUM
        if not new:
            because.say("meets_minimum", "engine_too_old", f"Docker Desktop is {found[1]}; Model Runner needs 4.40.")
        return {"desktop": True, "version": found[1], "meets_minimum": new}
    because.say("desktop", "unsupported", f"The daemon is an Engine: {name or 'a build without a name'}.")
    if plugin is not True:
        why = because.found["docker.plugin"]
        because.say("meets_minimum", why["reason"], why["message"])
    return {"desktop": False, "version": daemon["version"], "meets_minimum": plugin}


def containers_of(seen: Seen, docker: t.Mapping[str, t.Any], because: Because) -> list[dict[str, t.Any]] | None:
    """Containers with the runner's labels, its name or the endpoint's port; None if they could not be listed."""
    if seen.executable is None or docker["daemon"]["remote"]:
        why = because.found.get("docker.daemon")
        because.say("containers", why["reason"] if why else "unsupported", why["message"] if why else "")
        return None
    if seen.listed is None or seen.listed.status != 0:
        because.failed("containers", (seen.listed or _NOTHING).complaint("list containers"))
        return None
    port = local_port(seen.endpoint)
    documents = seen.inspected.documents() if seen.inspected else []
    if seen.inspected and not documents:
        because.failed("containers", seen.inspected.complaint("look at containers"))
        return None
    found = [_container(document, port) for document in documents]
    return sorted(
        found, key=lambda entry: (not entry["labelled"], entry["name"] != CONTAINER_NAME, entry["name"] or "")
    )


def _container(document: t.Mapping[str, t.Any], port: int | None) -> dict[str, t.Any]:
    state, host = mapping(document.get("State")), mapping(document.get("HostConfig"))
    config = mapping(document.get("Config"))
    live = mapping(mapping(document.get("NetworkSettings")).get("Ports"))
    bound = live if any(live.values()) else mapping(host.get("PortBindings"))
    publishes = [
        {"container_port": text(inner), "host_ip": text(entry.get("HostIp")), "host_port": port_number}
        for inner, places in sorted(bound.items())
        for entry in entries(places)
        for port_number in [number(entry.get("HostPort"))]
        if port_number is not None
    ]
    labelled = wears_label(config.get("Labels"))
    on_host = host.get("NetworkMode") == "host" and labelled
    running = state.get("Running") is True
    return {
        "id": text(document.get("Id")),
        "name": (text(document.get("Name")) or "").lstrip("/") or None,
        "image": text(config.get("Image")),
        "state": text(state.get("Status")),
        "running": running,
        "exit_code": None if running else number(state.get("ExitCode")),
        "restart_policy": text(mapping(host.get("RestartPolicy")).get("Name")),
        "labelled": labelled,
        "publishes": publishes,
        "holds_endpoint": running and (on_host or port in [entry["host_port"] for entry in publishes]),
    }


def _is_remote(host: str) -> bool:
    scheme, _separator, rest = host.partition("://")
    if scheme == "ssh":
        return True
    try:
        name = urlsplit(f"//{rest}").hostname or ""
    except ValueError:
        # What cannot be read is no address of this host either.
        return scheme in _BY_NETWORK
    return scheme in _BY_NETWORK and name not in LOCAL
