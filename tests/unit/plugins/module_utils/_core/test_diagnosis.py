# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a diagnosis, from values alone."""

from __future__ import annotations

import typing as t
from pathlib import Path

import yaml
from ansible_collections.llmops.fleet.plugins.module_utils._core import diagnosis as module
from ansible_collections.llmops.fleet.plugins.module_utils._core.clock import read
from ansible_collections.llmops.fleet.plugins.module_utils._core.diagnosis import diagnosis
from ansible_collections.llmops.fleet.plugins.module_utils._core.diagnosis_summary import Answer, duration, size
from ansible_collections.llmops.fleet.plugins.module_utils._core.text_table import WIDTH, fold, table

TOP = Path(__file__).resolve().parents[5]
NOW = read("2026-11-21T12:00:00Z") or 0.0
GB = 1_000_000_000


def status(**other: t.Any) -> Answer:
    return Answer(
        {
            "status": "online", "phase": "ready", "reasons": [], "model": "qwen", "port": 8080, "pid": 4711,
            "memory_mb": 5120, "vram_mb": None, "uptime_seconds": 93784, "restarts": 0, "generation": 3,
            "proof": {"level": "tokens", "ok": True, "age_seconds": 300, "tokens_per_second": 42.0},
            "served_names": ["chat", "gpt-4o-mini"], "context_length": 8192, "supervisor": "systemd",
            "unit": "llm-chat.service", "engine": "llama_cpp", "address": "http://127.0.0.1:8080", "interrupted": None,
            **other,
        }
    )  # fmt: skip


ANSWERS = {
    ("names", ""): Answer(["big", "chat", "small"]),
    ("status", "big"): Answer(error="it did not answer in time"),
    ("status", "chat"): status(status="degraded", reasons=["nothing answers on its port 8080", "memory is at 91 %, above 85 %"]),
    ("status", "small"): status(unit=None, supervisor="process", port=8081, address="http://127.0.0.1:8081"),
    ("transactions", "chat"): Answer(
        {
            "transactions": [
                {"number": 4, "from_generation": 3, "to_generation": 4, "at": "2026-11-21T11:59:00Z", "ended": False,
                 "step": "wait healthy", "seconds": {"restart": 1.5}, "why": None},
                {"number": 3, "from_generation": None, "to_generation": 3, "at": "2026-11-20T09:00:00Z", "ended": True,
                 "step": "committed", "seconds": {"restart": 1.5, "prove": 0.5}, "why": None},
            ],
            "unreadable": 1,
        }
    ),
    ("strangers", ""): Answer(
        [{"kind": "engine", "pid": 812, "owner": "joe", "engine": "ollama", "memory_bytes": 2.1 * GB, "vram_bytes": None,
          "since": NOW - 60, "place": None, "command": "ollama serve " + "--flag " * 40}]
    ),
    ("memory", ""): Answer({"total": 64 * GB, "available": 3 * GB, "swap_total": 2 * GB, "swap_free": 2 * GB,
                            "pressure": "", "load": "0.10 0.20 0.30 on 8 processors"}),
    ("oom", ""): Answer({"count": 1, "why_not": "", "events": [
        {"at": "2026-11-21T11:00:00Z", "said": "Out of memory: Killed process 17 (llama-server)"}]}),
    ("gpu", ""): Answer({"cards": [{"name": "NVIDIA L4", "usage_percent": 97.0, "used_mb": 22000, "total_mb": 23034}],
                         "why_none": "", "silent": False, "notes": [], "processes": {4711: 21 * GB}}),
    ("disk", ""): Answer({"store": "/var/lib/llm/models", "models": 1, "used": 60 * GB, "limit": 50.0 * GB, "partial": 0,
                          "file_systems": [{"holds": ["store", "logs"], "free": 2 * GB, "total": 100 * GB,
                                            "inodes_percent": 3, "type": "ext4", "path": "/"}]}),
}  # fmt: skip

TOP_OF_IT = """\
Diagnosis of web-1, 2026-11-21T12:00:00Z

SUMMARY
  1 of 3 runtimes online; big is unknown: it did not answer in time; chat is degraded: nothing answers on its port 8080

  ! chat: memory is at 91 %, above 85 %
  ! chat: its journal has lines that cannot be read
  ! the kernel killed for want of memory 1h ago: Out of memory: Killed process 17 (llama-server)
  ! memory: only 3.0 GB of 64.0 GB are available
  ! GPU NVIDIA L4: 22000 of 23034 MiB are in use
  ! disk: only 2.0 GB of 100.0 GB are free for store, logs
  ! store: 60.0 GB are above its limit of 50.0 GB
  ! an engine that no runtime here started: ollama, process 812 of joe (ollama serve --flag --flag --flag --flag --flag
    -…), 2.1 GB
  ! could not be looked at: status of big

  memory 61.0 GB of 64.0 GB (95 %) · swap 0 B of 2.0 GB · load 0.10 0.20 0.30 on 8 processors · GPU 22000 of 23034 MiB ·
  store 60.0 GB of 50.0 GB, 2.0 GB free

RUNTIMES
  NAME   STATUS    PHASE  MODEL  PORT   PID  MEMORY  VRAM  UP     RESTARTS  GEN  PROOF
  big    unknown   -      -         -     -       -     -  -             -    -  -
  chat   degraded  ready  qwen   8080  4711  5.1 GB     -  1d 2h         0    3  tokens, ok, 5m ago, 42 tokens/s
  small  online    ready  qwen   8081  4711  5.1 GB     -  1d 2h         0    3  tokens, ok, 5m ago, 42 tokens/s

  big: ! it did not answer in time
  chat: llama_cpp serves chat, gpt-4o-mini at http://127.0.0.1:8080, context 8192; kept by systemd (llm-chat.service)
    ! nothing answers on its port 8080
    ! memory is at 91 %, above 85 %
  small: llama_cpp serves chat, gpt-4o-mini at http://127.0.0.1:8081, context 8192; kept by process

ACTIVATIONS
  chat
    NO  BEGUN      GENERATION  CAME TO                        TOOK  LONGEST STEP  WHY
     4  1m ago     3 > 4       INTERRUPTED at 'wait healthy'  1.5 s  restart       -
"""


def test_the_worst_stands_first() -> None:
    told = diagnosis("web-1", NOW, ANSWERS)
    wanted = TOP_OF_IT.replace("at 'wait healthy'  1.5 s", "at 'wait healthy'  1.5 s")
    got = told.text.splitlines()
    for number, line in enumerate(wanted.splitlines()):
        if "CAME TO" in line or "INTERRUPTED" in line:
            assert got[number].split() == line.split()
        else:
            assert got[number] == line
    assert told.summary == got[3].strip()
    assert max(map(len, got)) <= WIDTH
    assert list(told.sections) == ["summary", *module._SECTIONS]
    assert all(text.strip() in told.text for text in told.sections.values())


def test_a_host_of_which_nothing_is_known() -> None:
    told = diagnosis("web-1", NOW, {("names", ""): Answer(error="/var/lib/llm: Permission denied")})
    assert told.summary == "The runtimes cannot be listed: /var/lib/llm: Permission denied"
    assert told.sections["gpu"] == "  ! not looked at\n"
    assert told.sections["logs"] == "  ! /var/lib/llm: Permission denied\n"


def test_a_host_on_which_all_is_well_and_one_without_a_runtime() -> None:
    told = diagnosis("web-1", NOW, {("names", ""): Answer(["chat"]), ("status", "chat"): status()})
    assert told.summary == "1 of 1 runtime online"
    assert "  Nothing stands out.\n" in told.sections["summary"]
    assert diagnosis("web-1", NOW, {("names", ""): Answer([])}).summary == "No runtime is here"


def test_many_troubles_leave_the_first_screen_one_screen() -> None:
    answers = {
        ("status", f"r{number:02}"): status(status="offline", reasons=["no process runs", *"abc"])
        for number in range(30)
    }
    told = diagnosis("web-1", NOW, {("names", ""): Answer([]), **answers})
    assert told.summary.endswith("r02 is offline: no process runs; and 27 more")
    assert "and 76 more, in the parts below" in told.sections["summary"]
    assert len(told.sections["summary"].splitlines()) < 24


def test_lines_are_folded_and_columns_cut() -> None:
    assert fold("a" * 200, "  ") == ["  " + "a" * 118, "  " + "a" * 82]
    assert fold("word " * 40, "  ", more="    ")[1].startswith("    word")
    lines = table(["one", "two", "three"], [["x" * 200, "y" * 200, "z " * 100], ["1", "2", "3"]])
    assert max(map(len, lines)) <= WIDTH
    assert "x…" in lines[1]
    wide = table([str(number) for number in range(20)], [["w" * 40] * 20])
    assert len(wide) >= 2


def test_long_paths_are_folded_too() -> None:
    path = "/srv" + "/a-long-folder" * 9
    answers = {
        ("service", "chat"): Answer({"state": [["unit", path]], "files": [[path, [path]]]}),
        ("log", "chat"): Answer([{"source": path, "lines": [path]}]),
        ("generations", "chat"): Answer({"records": [], "unreadable": [path]}),
    }
    text = diagnosis("host", NOW, answers).text
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "".join(text.split()).count(path) >= 6


def test_figures_of_people() -> None:
    assert [size(count) for count in (0, 999, 5000, 39e6, 4.7e9, 2e12)] == [
        "0 B",
        "999 B",
        "5 kB",
        "39 MB",
        "4.7 GB",
        "2.0 TB",
    ]
    assert [duration(seconds) for seconds in (None, 0, 61, 90061)] == ["-", "0s", "1m 1s", "1d 1h"]


def test_the_version_is_that_of_the_collection() -> None:
    assert yaml.safe_load((TOP / "galaxy.yml").read_text())["version"] == module.VERSION
