# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.decision import decide
from ansible_collections.llmops.fleet.plugins.module_utils._core.engine import (
    Completion,
    Endpoint,
    Health,
    Served,
    Settings,
)
from ansible_collections.llmops.fleet.plugins.module_utils._core.journal import Transaction
from ansible_collections.llmops.fleet.plugins.module_utils._core.proof import fault_in_facts, fault_in_tokens
from ansible_collections.llmops.fleet.plugins.module_utils._core.status import (
    Observation,
    PortOwner,
    Stranger,
    Verdict,
    judge,
    record,
)
from ansible_collections.llmops.fleet.plugins.module_utils._core.supervisor import Process

SETTINGS = Settings("/m/a.gguf", ("chat", "alias"), "127.0.0.1", 8080, 256)
SERVED = Served(("chat", "alias"), "/m/a.gguf", 256)
RUNNING = Process(active=True, pid=7, started_at=100.0)
ONLINE = Observation(
    generation=None,
    process=RUNNING,
    health=Health("ready"),
    served=SERVED,
    settings=SETTINGS,
    memory_bytes=10_000_000,
    memory_percent=1.0,
    port=8080,
    port_owner=None,
    supervisor="systemd",
    unit="llm-chat.service",
    now=160.0,
)
LEFT = Transaction(1, 1, 2, "2026-11-21T10:00:00Z", "restart")
ORPHAN = Stranger("orphan", 12, "llm", "llama-server", None, 900, None, None)
STATUS_FIELDS = [
    "name",
    "engine",
    "status",
    "reasons",
    "model",
    "served_names",
    "context_length",
    "pid",
    "memory_mb",
    "vram_mb",
    "uptime_seconds",
    "restarts",
    "port",
    "supervisor",
    "unit",
    "generation",
    "last_model",
    "proof",
    "port_owner",
]

CASES = {
    "all holds": ({}, "online", ""),
    "no process": ({"process": Process()}, "offline", "no process"),
    "keeps ending": ({"process": Process(failing=True, detail="exit status 1")}, "offline", "exit status 1"),
    "loading": ({"health": Health("loading"), "served": None}, "degraded", "loading"),
    "does not listen": ({"health": Health("refused", "…"), "served": None}, "degraded", "nothing answers on its port"),
    "hangs": ({"health": Health("broken", "timed out"), "served": None}, "degraded", "timed out"),
    "sleeps": ({"health": Health("sleeping"), "served": None}, "degraded", "it sleeps"),
    "has put its model out of memory": ({"served": replace(SERVED, asleep=True)}, "degraded", "it sleeps"),
    "stale": ({"served": replace(SERVED, faults=("stale weights: a, not b",))}, "degraded", "stale weights"),
    "restarted often": ({"process": replace(RUNNING, restarts=4)}, "degraded", "restarted 4 times"),
    "restarted": ({"process": replace(RUNNING, restarts=3)}, "online", ""),
    "much VRAM": ({"vram_percent": 90.0}, "degraded", "VRAM is at 90 %"),
    "left unfinished": ({"left": LEFT}, "degraded", "generation 2 was interrupted at step 'restart'"),
    "left before anything": ({"left": replace(LEFT, step="drain")}, "online", ""),
    "an orphan": ({"strangers": (ORPHAN,)}, "degraded", "process 12 is left of it and holds 900 MB"),
    "an orphan with a card": (
        {"strangers": (replace(ORPHAN, vram_mb=7000),)},
        "degraded",
        "holds 900 MB and 7000 MB of GPU memory",
    ),
    "other model": ({"served": Served(("chat", "alias"), "/m/b.gguf", 256)}, "degraded", "/m/b.gguf"),
    "name missing": ({"served": Served(("chat",), "/m/a.gguf", 256)}, "degraded", "alias"),
    "short context": ({"served": Served(("chat", "alias"), "/m/a.gguf", 128)}, "degraded", "128"),
    "much memory": ({"memory_percent": 85.1}, "degraded", "85"),
    "memory at the threshold": ({"memory_percent": 85.0}, "online", ""),
    "stranger on the port": ({"port_owner": PortOwner(9, "nginx")}, "degraded", "nginx"),
    "answers nonsense": ({"served": None, "fault": "it answered 500"}, "degraded", "500"),
}


@pytest.mark.parametrize(("seen", "status", "reason"), CASES.values(), ids=list(CASES))
def test_status(seen: dict, status: str, reason: str) -> None:
    verdict = judge(replace(ONLINE, **seen))
    assert verdict.status == status
    assert reason in " ".join(verdict.reasons)
    assert bool(verdict.reasons) is (status != "online")


def test_the_record_has_the_promised_fields() -> None:
    told = record("chat", ONLINE, judge(ONLINE))
    assert not [name for name in STATUS_FIELDS if name not in told]
    assert told["uptime_seconds"] == 60
    assert told["memory_mb"] == 10
    assert told["address"] == "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Model alpha speaking from this host.", None),
        ("", "empty"),
        (" \n ", "empty"),
        ("\ufffd\ufffd\ufffda", "noise"),
        ("no no no no no", "repeats"),
        ("no no no", None),
        ("日本語のモデルです。", None),
    ],
)
def test_replies_are_judged(text: str, fault: str | None) -> None:
    told = fault_in_tokens(Completion(text, "chat", 5, 1.0, "stop"))
    assert (fault in told) if fault else told is None


def test_a_reply_that_echoes_the_name_proves_nothing() -> None:
    assert fault_in_facts(Served(("chat", "alias"), "/m/other.gguf", 256), SETTINGS)


@pytest.mark.parametrize(
    ("options", "action"),
    [
        ({}, "keep"),
        ({"differs": True}, "activate"),
        ({"process": Process()}, "heal"),
        ({"enabled": False}, "heal"),
        ({"verdict": Verdict("degraded", ("x",), ("x",))}, "heal"),
        ({"verdict": Verdict("degraded", ("memory is at 90 %",))}, "keep"),
        ({"asleep": True, "verdict": Verdict("degraded", ("it sleeps",), ("it sleeps",))}, "wake"),
        ({"asleep": True, "restart": True, "verdict": Verdict("degraded", ("it sleeps",), ("it sleeps",))}, "heal"),
        ({"noted": False}, "note"),
        ({"others": ("big",)}, "stop others"),
        ({"restart": True}, "restart"),
    ],
)
def test_decisions(options: dict, action: str) -> None:
    given = {"differs": False, "process": RUNNING, "enabled": True, "verdict": Verdict("online"), "restart": False}
    given |= {"asleep": False, "noted": True, "others": ()}
    decision = decide(**{**given, **options})
    assert decision.action == action
    assert decision.changes is (action != "keep")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("fe80::1", "http://[fe80::1]:1"),
    ],
)
def test_a_wildcard_is_reached_over_loopback(host: str, url: str) -> None:
    assert Endpoint(host, 1).url == url
