#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for LM Studio's command `lms`, on the home and the server of the stand-in for LM Studio.

    lms [--home DIR] daemon status --json | server status --json | ls --json | ps --json | get NAME -y
        | load KEY [--exact] [--identifier NAME] [--context-length N] -y
The home is `--home`, `$LM_STUDIO_HOME` or `~/.lmstudio`. As the real one starts the daemon with every command but the
two for status, this one leaves the file `<home>/daemon-started` then; status tells a daemon as running that left it.
With `--port` it starts nothing, and ends where no server answers there.
`install(folder, home)` puts a program `lms` into a folder for PATH.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

from lm_studio_home import Document, Home, Model

VERSION = "0.4.0"
HARMLESS = (["daemon", "status"], ["server", "status"])


def install(folder: Path, home: Path) -> Path:
    """A program `lms` in this folder, for this home."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "lms"
    words = [sys.executable, str(Path(__file__).resolve()), "--home", str(home)]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    program.chmod(0o755)
    return program


def daemon_status(home: Home) -> Document:
    server = home.server()
    if server["running"] or home.marker.exists():
        return {"status": "running", "pid": server.get("pid", 1), "isDaemon": True, "version": VERSION}
    return {"status": "not-running"}


def server_status(home: Home) -> Document:
    """The port is missing if there never was a server."""
    server = home.server()
    return {"running": server["running"], **({"port": server["port"]} if server.get("port") else {})}


def listed(home: Home) -> list[Document]:
    return [_described(home, model) for model in home.listed()]


def _described(home: Home, model: Model) -> Document:
    facts = model.facts()
    return {
        "type": "llm",
        "modelKey": model.key,
        "format": "gguf",
        "displayName": facts["name"],
        "publisher": model.publisher,
        "path": model.chosen.path.relative_to(home.models).as_posix(),
        "sizeBytes": facts["size"],
        "paramsString": facts["parameters"],
        "architecture": facts["architecture"],
        "quantization": {"name": model.chosen.quantization, "bits": model.chosen.bits},
        "vision": False,
        "maxContextLength": facts["context"],
        "variants": model.variants,
        "selectedVariant": facts["selected"],
    }


def loaded(home: Home) -> list[Document]:
    """What the server has in memory."""
    instances = []
    for model in _asked(home):
        described = next((one for one in listed(home) if one["modelKey"] == model["key"]), {})
        for instance in model["loaded_instances"]:
            config = instance["config"]
            state = {"identifier": instance["id"], "ttlMs": None, "lastUsedTime": None, "status": "idle", "queued": 0}
            sizes = {"parallel": config["parallel"], "contextLength": config["context_length"]}
            instances.append({**described, **state, **sizes})
    return instances


def _asked(home: Home) -> list[t.Any]:
    server = home.server()
    if not server["running"]:
        return []
    token = os.environ.get("LM_API_TOKEN", "")
    request = urllib.request.Request(f"http://127.0.0.1:{server['port']}/api/v1/models")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=10) as response:
        models: list[t.Any] = json.load(response)["models"]
    return models


def get(home: Home, name: str, yes: bool) -> int:
    """Download a model at once; 1 if there is none, or if it would have to ask."""
    entry = home.published(name)
    if entry is None:
        print(f"Error: No model found for {name}", file=sys.stderr)
        return 1
    if home.has(entry):
        print("Model already downloaded.")
        return 0
    if not yes:
        print("Error: stdin is not a terminal; use --yes", file=sys.stderr)
        return 1
    home.download(name, entry)
    print("Finished downloading 1 file(s).")
    return 0


def load(home: Home, options: argparse.Namespace) -> int:
    """As the open client does it: with `--exact` the path, else the first key that has the letters in this order."""
    letters = re.compile(".*".join(map(re.escape, options.name)), re.IGNORECASE)
    model = next(
        (
            one
            for one in listed(home)
            if (one["path"] == options.name if options.exact else letters.search(one["modelKey"]))
        ),
        None,
    )
    port = options.port or home.server().get("port")
    if model is None or not port:
        print(f"Error: Model not found: {options.name}", file=sys.stderr)
        return 1
    words = {"key": model["modelKey"], "identifier": options.identifier, "context_length": options.context_length}
    request = urllib.request.Request(f"http://{options.host}:{port}/_control/load", json.dumps(words).encode())
    try:
        urllib.request.urlopen(request, timeout=60).close()
    except urllib.error.HTTPError as error:
        print(f"Error: {json.load(error)['error']['message']}", file=sys.stderr)
        return 1
    print("Model loaded successfully in 0.10s.")
    return 0


def greets(host: str, port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/lmstudio-greeting", timeout=10) as response:
            return bool(json.load(response).get("lmstudio"))
    except (OSError, ValueError):
        return False


def _show(document: t.Any, as_json: bool) -> int:
    print(json.dumps(document) if as_json else json.dumps(document, indent=2))
    return 0


def parser_of_home(default: Path | str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--home", type=Path, default=Path(default))
    return parser


def _add_place(command: argparse.ArgumentParser) -> None:
    command.add_argument("--host", default="127.0.0.1")
    command.add_argument("--port", type=int, default=0)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="lms", description="The command of LM Studio, in part.")
    default = os.environ.get("LM_STUDIO_HOME") or Path.home() / ".lmstudio"
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("daemon", "server"):
        command = commands.add_parser(name)
        command.add_argument("action", choices=["status"])
        command.add_argument("--json", action="store_true")
    for name in ("ls", "ps"):
        command = commands.add_parser(name)
        command.add_argument("--json", action="store_true")
        _add_place(command)
    command = commands.add_parser("load")
    command.add_argument("name")
    command.add_argument("--exact", action="store_true")
    command.add_argument("--identifier", default="")
    command.add_argument("-c", "--context-length", type=int, default=4096)
    command.add_argument("-y", "--yes", action="store_true", required=True)
    _add_place(command)
    command = commands.add_parser("get")
    command.add_argument("name")
    command.add_argument("-y", "--yes", action="store_true")
    command.add_argument("--gguf", action="store_true")
    arguments = sys.argv[1:] if arguments is None else arguments
    known, words = parser_of_home(default).parse_known_args(arguments)
    home = Home(known.home)
    if words[:2] not in HARMLESS and "--port" not in words:
        home.start_daemon()
    options = parser.parse_args(words)
    if getattr(options, "port", 0) and not greets(options.host, options.port):
        print(f"Error: The server does not appear to be running at {options.host}:{options.port}.", file=sys.stderr)
        return 1
    if options.command == "load":
        return load(home, options)
    if options.command == "daemon":
        return _show(daemon_status(home), options.json)
    if options.command == "server":
        return _show(server_status(home), options.json)
    if options.command == "get":
        return get(home, options.name, options.yes)
    try:
        return _show(listed(home) if options.command == "ls" else loaded(home), options.json)
    except urllib.error.URLError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
