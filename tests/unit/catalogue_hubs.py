# SPDX-License-Identifier: GPL-3.0-or-later
"""The Hugging Face hub, Ollama's library and Docker Hub on one port, answering with the saved answers."""

from __future__ import annotations

import contextlib
import json
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from stand_in import Answers, DroppedError, Listener

SAVED = Path(__file__).resolve().parents[1] / "fixtures" / "catalogue"


@dataclass
class Fault:
    """What happens to requests whose path begins with `path`, `times` times."""

    path: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = "no"
    wait: float = 0
    drip: float = 0
    times: int = 1_000


class CatalogueHubs(Listener):
    """`with CatalogueHubs() as hubs: hubs.fault("/library", status=503)`; `hubs.asked` has the paths with queries."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.tokens: dict[str, str] = {}
        self.faults: list[Fault] = []

    def __enter__(self) -> CatalogueHubs:
        self.listen(_Site)
        return self

    def __exit__(self, *_arguments: object) -> None:
        self.stop()

    def fault(self, path: str, **words: t.Any) -> None:
        self.faults.append(Fault(path, **words))

    def take(self, path: str) -> Fault | None:
        for fault in self.faults:
            if path.startswith(fault.path) and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    @property
    def addresses(self) -> dict[str, str]:
        return {"huggingface_url": self.url, "ollama_url": self.url, "docker_hub_url": self.url}


class _Site(Answers):
    listener: CatalogueHubs

    def handle(self) -> None:
        # A client that leaves in the middle is part of some tests.
        with contextlib.suppress(ConnectionError):
            super().handle()

    def answer(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        self.listener.asked.append(self.path)
        self.listener.tokens[path] = self.headers.get("Authorization") or ""
        fault = self.listener.take(path)
        if fault:
            time.sleep(fault.wait)
            if fault.drip:
                self._drip(fault.drip)
            if fault.status:
                self.send(fault.status, "text/html", fault.body.encode(), fault.headers)
                return
        if path.startswith("/api/models"):
            self._hugging_face(path[len("/api/models") :].strip("/"), query)
        elif path == "/library":
            self._saved("ollama/library.html")
        elif path.startswith("/library/") and path.endswith("/tags"):
            self._saved(f"ollama/{path.split('/')[2]}.html")
        elif path == "/v2/repositories/ai/":
            self._saved(f"docker_hub/repositories_{query['page'][0]}.json")
        elif path.startswith("/v2/repositories/ai/") and path.endswith("/tags"):
            self._saved(f"docker_hub/{path.split('/')[4]}.json")
        else:
            self.plain(404, "not found")

    def _hugging_face(self, model: str, query: dict[str, list[str]]) -> None:
        if model:
            self._saved(f"huggingface/{model.replace('/', '--')}.json")
            return
        models = json.loads((SAVED / "huggingface" / "models.json").read_text())
        words, tags = query.get("search", [""])[0].lower().split(), set(query.get("filter", []))
        found = [one for one in models if all(word in one["id"].lower() for word in words) and tags <= set(one["tags"])]
        found.sort(key=lambda one: -one[query["sort"][0]])
        self.json(200, found[: int(query["limit"][0])])

    def _saved(self, name: str) -> None:
        path = SAVED / name
        if not path.is_file():
            self.plain(404, "not found")
            return
        self.send(200, "text/html" if path.suffix == ".html" else "application/json", path.read_bytes())

    def _drip(self, pause: float) -> None:
        """One byte at a time, without end."""
        self.begin(200, {"Content-Type": "text/html"})
        while True:
            try:
                self.chunk("x")
            except OSError:
                raise DroppedError from None
            time.sleep(pause)
