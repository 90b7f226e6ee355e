# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

from ansible_collections.llmops.fleet.plugins.filter.status_table import status_table

RECORD = {
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


def table(seen: dict[str, dict[str, t.Any]]) -> list[str]:
    hostvars = {host: {"llm_runtimes": [], "__llm_seen": result} for host, result in seen.items()}
    return status_table([*hostvars, "hub"], {**hostvars, "hub": {}})


def test_a_table_lines_up() -> None:
    down = {**RECORD, "status": "offline", "reasons": ["no process runs"]}
    lines = table({"node10": {"runtimes": [down]}, "node1": {"runtimes": [RECORD]}})
    assert lines[0].split() == [
        "HOST",
        "RUNTIME",
        "ENGINE",
        "MODEL",
        "SERVED",
        "NAME",
        "STATUS",
        "PID",
        "MEMORY",
        "UPTIME",
        "ADDRESS",
    ]
    assert lines[1].startswith("node1   chat")
    assert "1d 2h" in lines[1]
    assert lines[3] == "  ! no process runs"
    column = lines[0].index("STATUS")
    assert lines[1][column:].startswith("online")
    assert lines[2][column:].startswith("offline")


def test_hosts_that_tell_nothing_are_in_the_table() -> None:
    seen = {"a": {"unreachable": True}, "b": {}, "c": {"runtimes": []}, "d": {"failed": True}}
    told = [line.split(maxsplit=5)[5] for line in table(seen)[1:]]
    assert [line.split("  ")[0] for line in told] == ["unreachable", "not prepared", "no runtimes", "not looked at"]
