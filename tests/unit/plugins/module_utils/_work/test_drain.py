# SPDX-License-Identifier: GPL-3.0-or-later
"""What is waited for before a runtime stops, with real connections to a real port."""

from __future__ import annotations

import os
import socket
import threading
import time
import typing as t
from dataclasses import dataclass

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.engine import Endpoint, Engine
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.runtime import RuntimeSpec
from ansible_collections.llmops.fleet.plugins.module_utils._core.supervisor import Process
from ansible_collections.llmops.fleet.plugins.module_utils._host import connections
from ansible_collections.llmops.fleet.plugins.module_utils._work.drain import drain
from ansible_collections.llmops.fleet.plugins.module_utils._work.runtime_place import RuntimePlace

# Seconds: a wait that should not be, and one that must be.
LONG, SHORT = 20.0, 0.6


class Runtime:
    """An engine that works on so many requests, None where it does not tell, and its port with one client."""

    name = "chat"

    def __init__(self, count: int | None, members: frozenset[int]) -> None:
        self.count = count
        self.supervisor = self
        self.seen = Process(active=True, members=members)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = Endpoint("127.0.0.1", self.listener.getsockname()[1])
        self.client = socket.create_connection(self.listener.getsockname())
        self.server, _address = self.listener.accept()

    def process(self, name: str) -> Process:
        del name
        return self.seen

    def in_flight(self, endpoint: Endpoint) -> int | None:
        del endpoint
        return self.count

    def leave(self) -> None:
        for each in (self.client, self.server):
            each.close()

    def drain(self, seconds: float, wish: str = "proceed") -> tuple[str | None, float]:
        began = time.monotonic()
        spec = t.cast(RuntimeSpec, Wish(seconds, wish))
        told = drain(t.cast(RuntimePlace, self), t.cast(Engine, self), self.endpoint, spec)
        return told, time.monotonic() - began


@dataclass
class Wish:
    drain_timeout: float
    on_drain_timeout: str


@pytest.fixture(params=["ours", "hidden"])
def members(request: pytest.FixtureRequest) -> frozenset[int]:
    """Of a container's program no process may be seen from here."""
    return frozenset((os.getpid(),)) if request.param == "ours" else frozenset()


@pytest.fixture
def make(members: frozenset[int]) -> t.Iterator[t.Callable[[int | None], Runtime]]:
    made: list[Runtime] = []

    def one(count: int | None) -> Runtime:
        made.append(Runtime(count, members))
        return made[-1]

    yield one
    for runtime in made:
        runtime.leave()
        runtime.listener.close()


def test_an_engine_that_tells_is_not_waited_for_because_of_an_idle_connection(
    make: t.Callable[[int | None], Runtime],
) -> None:
    told, seconds = make(0).drain(LONG)
    assert told is None
    assert seconds < LONG / 4


def test_of_one_that_does_not_tell_whoever_is_connected_is_waited_for(
    make: t.Callable[[int | None], Runtime],
) -> None:
    runtime = make(None)
    told, seconds = runtime.drain(SHORT)
    assert told == "Runtime chat: 1 requests were in flight after 0.6 s, and were cut off."
    assert seconds >= SHORT
    with pytest.raises(LlmError, match="1 requests were in flight") as caught:
        runtime.drain(SHORT, "fail")
    assert caught.value.reason == "drain_timeout"
    threading.Timer(SHORT, runtime.leave).start()
    told, seconds = runtime.drain(LONG)
    assert told is None
    assert SHORT / 2 <= seconds < LONG / 4


def test_where_nobody_tells_that_is_told(
    make: t.Callable[[int | None], Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "established", lambda *_arguments: None)
    told, seconds = make(None).drain(LONG)
    assert told
    assert "neither it nor the host tells" in told
    assert seconds < LONG / 4
