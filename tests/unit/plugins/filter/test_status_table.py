# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.llmops.fleet.plugins.filter.status_table import status_table

RECORD = {
    "host": "node1",
    "name": "chat",
    "engine": "llama_cpp",
    "model": "alpha",
    "served_names": ["chat", "gpt"],
    "status": "online",
    "pid": 42,
    "memory_mb": 123,
    "uptime_seconds": 93784,
    "address": "http://127.0.0.1:8080",
    "reasons": [],
}


def test_a_table_lines_up() -> None:
    lines = status_table([{**RECORD, "host": "node10", "status": "offline", "reasons": ["no process runs"]}, RECORD])
    assert lines[0].split() == "HOST RUNTIME ENGINE MODEL SERVED NAME STATUS PID MEMORY UPTIME ADDRESS".split()
    assert lines[1].startswith("node1   chat")
    assert "1d 2h" in lines[1]
    assert lines[3] == "  ! no process runs"
    column = lines[0].index("STATUS")
    assert lines[1][column:].startswith("online")
    assert lines[2][column:].startswith("offline")


def test_nothing_known_is_a_dash_and_nothing_at_all_is_said() -> None:
    assert status_table([{"host": "a", "name": "b"}])[1].split()[2:] == ["-"] * 8
    assert status_table([])[-1] == "no runtimes"
