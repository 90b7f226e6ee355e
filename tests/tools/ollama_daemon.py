# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the Ollama daemon: its HTTP API over real state on the disk, with faults on a switchboard.

As a program: python ollama_daemon.py --models DIR --port N [--host H] [--name NAME...]
In tests: `daemon = Daemon(models)`, `port = daemon.start()`, `daemon.stop()`; also as a context manager.

`--name` are further host names that the guard of the Host header lets through. `daemon.waits` and `daemon.memory`
hold the seconds of waits and of loads and unloads, and the sentence that models say. Over HTTP:
    POST /_control/fault  one Fault as JSON        POST /_control/set    {"retry": 0, "sentence": "…", "version": "…"}
    POST /_control/reset  forget faults and log    GET  /_control/log    {"requests": {"GET /api/tags": 3, …}}
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import re
import signal
import socket
import threading
import typing as t
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ollama_inference import Memory
from ollama_models import Models
from ollama_pull import Puller, Waits
from ollama_routes import Handler
from ollama_store import Store
from stand_in import Listener

_SETTINGS = {
    "waits": ("retry", "tick", "network"),
    "memory": ("sentence", "keep_alive", "context_length", "load_seconds", "unload_seconds", "vram_share"),
}

_TURN = 0.5


@dataclass
class Fault:
    """One fault. `path` is a regular expression on the request's path; it is used up after `times` requests.

    `hang` seconds pass before the answer; `status` with `body` answers instead; `drop` ends the connection without an
    answer; `cut` ends a stream after that many lines.
    """

    path: str = ""
    times: int = 1_000_000
    method: str = ""
    status: int = 0
    body: str = ""
    hang: float = 0.0
    drop: bool = False
    cut: int | None = None


class Daemon(Listener):
    def __init__(
        self, models: Path, port: int = 0, host: str = "127.0.0.1", names: t.Iterable[str] = (), version: str = "0.33.0"
    ) -> None:
        super().__init__(host, port)
        self.version = version
        self.names = {name.lower() for name in names}
        self.store = Store(models)
        self.models = Models(self.store)
        self.memory = Memory(self.models)
        # As without OLLAMA_NOPRUNE.
        self.prunes = True
        self.waits = Waits()
        self.puller = Puller(self.store, self.waits)
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget faults and the log of requests; models stay."""
        self.faults: list[Fault] = []
        self.requests: Counter[str] = Counter()

    def start(self) -> int:
        if self.prunes:
            self.store.prune()
        daemon_ = self

        class Bound(Handler):
            daemon = daemon_

        return self.listen(Bound)

    def stop(self) -> None:
        """End as on a signal: connections end, and what was loaded is gone."""
        super().stop()
        self.memory.end()

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def fault(self, path: str = "", **words: t.Any) -> None:
        self.faults.append(Fault(path=path, **words))

    def set(self, **words: t.Any) -> None:
        for word, value in words.items():
            owner = next((owner for owner, own in _SETTINGS.items() if word in own), "")
            if not owner and word != "version":
                raise ValueError(f"unknown setting: {word}")
            setattr(getattr(self, owner) if owner else self, word, value)

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.requests[f"{method} {path}"] += 1
            for fault in self.faults:
                if fault.times > 0 and fault.method in ("", method) and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    def allows(self, host: str) -> bool:
        """The guard of the Host header; it stands only before a loopback address."""
        if not ipaddress.ip_address(socket.gethostbyname(self.host)).is_loopback:
            return True
        name = urlsplit(f"//{host}").hostname or ""
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(name)
            return address.is_loopback or address.is_private or address.is_unspecified
        known = {"", "localhost", socket.gethostname().lower(), *self.names}
        return name in known or name.endswith((".localhost", ".local", ".internal"))


def serve(daemon: Daemon) -> None:
    """Be the daemon's program: until a signal, with a process for each model in memory."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_arguments: ended.set())
    daemon.memory.spawns = True
    daemon.start()
    print(f"listening on {daemon.url}", flush=True)
    while not ended.wait(_TURN):
        # What has expired ends without being asked for.
        daemon.memory.listed()
    daemon.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="Stand in for the Ollama daemon.")
    parser.add_argument("--models", type=Path, required=True, help="the folder of manifests and blobs")
    parser.add_argument("--port", type=int, default=11434)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--name", action="append", default=[], help="a host name that may be asked for besides")
    parser.add_argument("--version", default="0.33.0", help="what it says of itself")
    parser.add_argument("--set", action="append", default=[], metavar="WORD=JSON", help="as POST /_control/set")
    options = parser.parse_args()
    daemon = Daemon(options.models, options.port, options.host, options.name, options.version)
    daemon.set(**{word: json.loads(value) for word, _, value in (pair.partition("=") for pair in options.set)})
    serve(daemon)


if __name__ == "__main__":
    main()
