# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import socket

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.layout import Layout, layout_for
from ansible_collections.llmops.fleet.plugins.module_utils._core.supervisor import Process, Service
from ansible_collections.llmops.fleet.plugins.module_utils._host.supervisors import choose


@pytest.fixture
def layout() -> Layout:
    return layout_for(root=True, user="x", home="/", run_home=None, prefix="/nowhere")


def test_somebody_listens(layout: Layout, free_port: int) -> None:
    supervisor = choose("external", layout, free_port)
    assert supervisor.name == "external"
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port))
        server.listen()
        seen = supervisor.process("chat")
        assert (seen.active, seen.pid) == (True, os.getpid())
        assert seen.started_at
        assert os.getpid() in seen.members
        supervisor.start(Service("chat", 1))
        supervisor.stop(Service("chat", 1))
        supervisor.reload()
        supervisor.forget("chat")
        assert supervisor.enabled("chat")
        assert supervisor.log("chat", 0) == ""
        assert supervisor.definition_path("chat") == "/nowhere/var/lib/llm/runtimes/chat/external.json"


@pytest.mark.parametrize(
    ("host", "there"),
    [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", True), ("127.0.0.2", False), ("::1", False)],
)
def test_who_listens_elsewhere_is_somebody_else(layout: Layout, free_port: int, host: str, there: bool) -> None:
    supervisor = choose("external", layout, free_port, host)
    with socket.create_server(("127.0.0.1", free_port)):
        assert supervisor.process("chat").active is there
        if not there:
            with pytest.raises(LlmError, match="nothing listens"):
                supervisor.start(Service("chat", 1))


def test_what_makes_room_is_not_what_somebody_else_runs(layout: Layout, free_port: int) -> None:
    supervisor = choose("external", layout, free_port)
    service = Service("chat", 1)
    with socket.create_server(("127.0.0.1", free_port)):
        supervisor.check_start(service, besides=[1])
        with pytest.raises(LlmError, match="nothing listens"):
            supervisor.check_start(service, besides=[os.getpid()])


def test_nobody_listens(layout: Layout, free_port: int) -> None:
    supervisor = choose("external", layout, free_port)
    assert supervisor.process("chat") == Process()
    with pytest.raises(LlmError, match=f"nothing listens on port {free_port}; it is not ours to start") as failure:
        supervisor.start(Service("chat", 1))
    assert failure.value.reason == "supervisor_failed"
    supervisor.stop(Service("chat", 1))


def test_it_is_known_by_its_port(layout: Layout) -> None:
    with pytest.raises(LlmError) as failure:
        choose("external", layout)
    assert failure.value.reason == "invalid_input"
