# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that plays back recorded answers, one for each request, and keeps what it was asked."""

from __future__ import annotations

import contextlib
import json
import select
import threading
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from stand_in import Answers, DroppedError, Listener

CONTRACTS = Path(__file__).resolve().parents[1] / "fixtures" / "contracts"
Case = dict[str, t.Any]


def cases(file: str) -> list[Case]:
    """The exchanges of a recording that came to an answer, in order: `cases("ollama/models.json")`.

    Where a recording was shortened, a line says so; it is left out.
    """
    recorded = json.loads((CONTRACTS / file).read_text())["cases"]
    answered = [case for case in recorded if "status" in case.get("response", {})]
    for response in (case["response"] for case in answered):
        if "lines" in response:
            response["lines"] = [line for line in response["lines"] if not line.startswith("... ")]
    return answered


def named(file: str, name: str) -> Case:
    return next(case for case in cases(file) if case["case"] == name)


def answer(body: t.Any = "", status: int = 200, **more: t.Any) -> Case:
    """An answer made by hand in the form of a recorded one: `body` as it is, or a document that becomes JSON."""
    text = body if isinstance(body, str) else json.dumps(body)
    return {"response": {"status": status, "headers": {}, "body": text, **more}}


def lines(*texts: str, **more: t.Any) -> Case:
    """A stream made by hand. `cut` ends the connection after its last line; `silent` waits (seconds) before that.

    A client that leaves while it waits is seen in `script.left_early`.
    """
    response = {"status": 200, "headers": {"Transfer-Encoding": "chunked"}, "lines": list(texts), **more}
    return {"response": {"ends_with_newline": True, **response}}


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> t.Any:
        return json.loads(self.body)


@dataclass
class Script:
    left: list[Case] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    left_early: threading.Event = field(default_factory=threading.Event)


class Recorded(Listener):
    """`with Recorded() as server: server.play(case, …)`; a request beyond the script is answered with 599."""

    def __init__(self, socket_path: Path | None = None) -> None:
        super().__init__(socket_path=socket_path)
        self.script = Script()

    def __enter__(self) -> Recorded:
        self.listen(_Player)
        return self

    def __exit__(self, *_arguments: object) -> None:
        self.stop()

    @property
    def asked(self) -> list[Asked]:
        return self.script.asked

    def play(self, *next_cases: Case) -> None:
        """Forget what was before, and answer with these from now on."""
        self.script.left, self.script.asked = list(next_cases), []


class _Player(Answers):
    listener: Recorded

    def handle(self) -> None:
        # A client that ends the connection in the middle is part of some scripts.
        with contextlib.suppress(ConnectionError):
            super().handle()

    def answer(self) -> None:
        script = self.listener.script
        sent = {name.lower(): value for name, value in self.headers.items()}
        script.asked.append(Asked(self.command, self.path, sent, self.body))
        response = script.left.pop(0)["response"] if script.left else {"status": 599, "headers": {}, "body": "no more"}
        parts, chunked = _parts(response), "Transfer-Encoding" in response["headers"]
        self.send_response_only(response["status"])
        for name, value in response["headers"].items():
            if name not in ("Content-Length", "Connection"):
                self.send_header(name, value)
        if not chunked:
            recorded = response["headers"].get("Content-Length")
            length = recorded if self.command == "HEAD" and recorded else sum(map(len, parts))
            self.send_header("Content-Length", str(int(length) + response.get("promised", 0)))
        self.end_headers()
        if self.command == "HEAD":
            return
        for part in parts:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
            self.wfile.flush()
        # A client sends nothing more: the connection is readable only when it has ended it.
        if response.get("silent") and select.select([self.connection], [], [], response["silent"])[0]:
            script.left_early.set()
            raise DroppedError
        if response.get("cut"):
            raise DroppedError
        if chunked:
            self.wfile.write(b"0\r\n\r\n")


def _parts(response: t.Mapping[str, t.Any]) -> list[bytes]:
    if "lines" not in response:
        return [response["body"].encode()] if response.get("body") else []
    parts = [f"{line}\n".encode() for line in response["lines"]]
    if parts and not response.get("ends_with_newline"):
        parts[-1] = parts[-1][:-1]
    return [part for part in parts if part]
