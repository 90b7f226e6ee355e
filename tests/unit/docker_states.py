# SPDX-License-Identifier: GPL-3.0-or-later
"""A docker program that plays recordings and keeps what it was asked, and servers that answer like a runner or not."""

from __future__ import annotations

import contextlib
import json
import time
import typing as t
from pathlib import Path

from recorded import CONTRACTS, named
from stand_in import Answers, DroppedError, Listener

Document = dict[str, t.Any]
PLUGIN = {"SchemaVersion": "0.1.0", "Vendor": "Docker Inc.", "Version": "dev", "Name": "model",
          "Path": "/home/user/.docker/cli-plugins/docker-model"}  # fmt: skip
LABELS = {"com.docker.desktop.service": "model-runner", "com.docker.model-runner.role": "controller"}
NO_DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
DENIED = (
    'permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get '
    '"http://%2Fvar%2Frun%2Fdocker.sock/v1.24/version": dial unix /var/run/docker.sock: connect: permission denied'
)  # fmt: skip
_PROGRAM = """#!/bin/sh
cd "$(dirname "$0")/answers" || exit 99
echo "$*" >> ../asked
if [ -e "$1.last" ]; then trap 'cat "$1.last"; exit 1' TERM; sleep 60 & wait; fi
if [ -e "$1.hangs" ]; then exec sleep 60; fi
[ ! -e "$1.error" ] || cat "$1.error" >&2
[ ! -e "$1.out" ] || cat "$1.out"
exit "$(cat "$1.status")"
"""


def recorded(file: str, case: str) -> Document:
    """What the real docker said: `out`, `error`, `status`."""
    cases = json.loads((CONTRACTS / "docker_model_runner" / f"{file}.json").read_text())["cases"]
    found = next(entry for entry in cases if entry["case"] == case)
    return {"out": found["stdout"], "error": found["stderr"], "status": found["rc"]}


VERSION = json.loads(
    recorded("command_line_engine_other_listener", "docker version, engine up (distribution build)")["out"]
)
INFO = json.loads(recorded("command_line_no_daemon", "docker info, no daemon")["out"])["ClientInfo"]
LISTED = json.loads(recorded("command_line_runner", "docker ps")["out"])
_INSPECTED = recorded("command_line_runner", "docker inspect, some")["out"]


def inspected(**words: t.Any) -> Document:
    """`docker inspect` of the runner's container, from its recorded fields."""
    decoder, fields, rest = json.JSONDecoder(), [], _INSPECTED.strip()
    while rest:
        field, end = decoder.raw_decode(rest)
        fields.append(field)
        rest = rest[end:].strip()
    status, bindings, restart, labels, _mounts, _environment = fields
    document = {
        "Id": LISTED["ID"],
        "Name": "/docker-model-runner",
        "State": {"Status": status, "Running": True, "ExitCode": 0},
        "HostConfig": {"PortBindings": bindings, "RestartPolicy": restart, "NetworkMode": "bridge"},
        "NetworkSettings": {"Ports": bindings},
        "Config": {"Image": "docker/model-runner:latest", "Labels": labels},
    }
    for path, value in words.items():
        *steps, last = path.split("__")
        inner: t.Any = document
        for step in steps:
            inner = inner[step]
        inner[last] = value
    return document


def at(port: int, inner: str = "12434/tcp") -> Document:
    return {inner: [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}


class Docker:
    """The scripted program. New, it is a distribution's engine that runs, without the plugin and without containers."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "docker"
        self._answers = folder / "answers"
        self._answers.mkdir(parents=True)
        self.path.write_text(_PROGRAM)
        self.path.chmod(0o755)
        self.server("", "20.10.24+dfsg1")
        self.plugins([])
        self.context("default", "unix:///var/run/docker.sock")
        self.says("ps", **recorded("command_line_engine_other_listener", "docker ps"))

    def says(self, command: str, out: str = "", error: str = "", status: int = 0) -> None:
        for ending, text in {"out": out, "error": error, "status": str(status)}.items():
            (self._answers / f"{command}.{ending}").write_text(text)

    def hangs(self, *commands: str, last: str | None = None) -> None:
        for command in commands:
            (self._answers / f"{command}.{'hangs' if last is None else 'last'}").write_text(last or "")

    def server(self, name: str, version: str) -> None:
        server = {**VERSION["Server"], "Platform": {"Name": name}, "Version": version}
        self.says("version", json.dumps({**VERSION, "Server": server}))

    def plugins(self, plugins: list[Document]) -> None:
        self.says("info", json.dumps({**INFO, "Plugins": plugins}))

    def context(self, name: str, host: str) -> None:
        self.says("context", json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host}}}))

    def down(self) -> None:
        self.says("version", **recorded("command_line_no_daemon", "docker version, client only, no daemon"))
        self.says("ps", error=NO_DAEMON, status=1)

    def container(self, document: Document, **listed: str) -> None:
        self.says("ps", json.dumps({**LISTED, **listed}) + "\n")
        self.says("inspect", json.dumps([document]))

    @property
    def asked(self) -> list[str]:
        log = self._answers.parent / "asked"
        return log.read_text().splitlines() if log.exists() else []


class Pages(Listener):
    """A server of anything: path to status and text, or to `hang` or `close`; what has no page is 404."""

    def __init__(self, pages: t.Mapping[str, t.Any], *, port: int = 0, socket_path: Path | None = None) -> None:
        super().__init__(port=port, socket_path=socket_path)
        self.pages = dict(pages)
        self.methods: set[str] = set()

    def __enter__(self) -> Pages:
        self.listen(_Page)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()


class _Page(Answers):
    listener: Pages

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()

    def answer(self) -> None:
        self.listener.methods.add(self.command)
        page = self.listener.pages.get(self.path, self.listener.pages.get("*", (404, "404 page not found\n")))
        if page == "close":
            raise DroppedError
        if page == "trickle":
            self.begin(200, {"Content-Type": "text/plain"})
            for _second in range(100):
                self.chunk("D")
                time.sleep(0.05)
        if page == "hang":
            time.sleep(5)
            raise DroppedError
        self.plain(page[0], page[1])


def runner_pages(**changed: t.Any) -> Document:
    """A runner as it was recorded; a page is changed by its recording's path, with `_` for `/`."""

    def text(file: str, case: str) -> tuple[int, str]:
        response = named(f"docker_model_runner/{file}.json", case)["response"]
        return response["status"], response["body"]

    pages = {
        "/": text("models", "root"), "/version": text("models", "version"),
        "/engines/status": text("models", "engines status"), "/engines/ps": text("models", "engines ps, none"),
        "/engines/df": text("models", "engines df"), "/models": text("models", "models, none"),
    }  # fmt: skip
    return {**pages, **{name.replace("_", "/"): page for name, page in changed.items()}}
