# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host tells of its models, over every source."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from contract.sources import OFFERINGS, Offering, Run
from hub import Hub


@pytest.fixture
def host(tmp_path: Path) -> Path:
    return tmp_path / "host"


@pytest.fixture
def info(run_module: Run, host: Path) -> Run:
    def call(**params: t.Any) -> dict[str, t.Any]:
        asked = {"programs": [], **params}
        return run_module("llm_model_info", prefix=str(host), **{k: v for k, v in asked.items() if v is not None})

    return call


@pytest.fixture
def model(run_module: Run, host: Path) -> Run:
    def call(**params: t.Any) -> dict[str, t.Any]:
        return run_module("llm_model", prefix=str(host), **{"name": "m", **params})

    return call


@pytest.fixture(params=sorted(OFFERINGS))
def offering(request: pytest.FixtureRequest, tmp_path: Path) -> t.Iterator[Offering]:
    with contextlib.ExitStack() as stack:
        made = OFFERINGS[request.param](tmp_path, stack)
        made.publish(1)
        yield made


def test_a_bare_host_tells_nothing_and_stays_bare(info: Run, host: Path) -> None:
    for check in (True, False):
        result = info(check=check, names=["none"])
        assert result["changed"] is False
        assert (result["models"], result["missing"], result["problems"]) == ([], ["none"], [])
        assert result["operations"] == {"running": [], "last": []}
        assert result["usage"]["models_count"] == 0
        assert result["usage"]["vram_total_mb"] is None or shutil.which("nvidia-smi") or shutil.which("rocm-smi")
    assert not host.exists()


def test_every_source_is_told(info: Run, model: Run, offering: Offering) -> None:
    made = model(**offering.params)["models"][0]
    source, program = offering.params["source"], not offering.owned
    told = info(
        programs=[source] if program else [],
        endpoints={source: offering.params.get("endpoint", "")},
        names=["m"],
    )
    assert told["models"] == [made]
    if program:
        answer = told["programs"][source]
        assert answer["reachable"]
        assert [(found["name"], found["size_bytes"] > 0) for found in answer["models"]] == [("m", True)]
        assert told["usage"]["disk_usage_gb"] == 0
    last = told["operations"]["last"]
    assert [(found["model_name"], found["operation_type"], found["status"]) for found in last] == [
        ("m", "install", "completed")
    ]
    assert last[0]["progress"] == 100
    assert last[0]["duration_seconds"] >= 0
    model(**offering.params, state="absent")
    assert [found["operation_type"] for found in info()["operations"]["last"]] == ["remove", "install"]
    assert info()["models"] == []


def test_a_program_that_is_not_there_or_hangs_is_told(info: Run) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        hung = f"http://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        result = info(
            programs=None,
            endpoints={"ollama": hung, "docker_model_runner": hung, "lm_studio": "http://127.0.0.1:9"},
            timeout=0.5,
        )
        assert time.monotonic() - started < 5
    assert sorted(result.get("programs", result)) == ["docker_model_runner", "lm_studio", "ollama"]
    assert not any(answer["reachable"] for answer in result["programs"].values())
    assert result["programs"]["ollama"]["reason"] == "timeout"
    assert result["programs"]["lm_studio"]["reason"] == "unreachable"


def test_a_failed_run_is_in_the_history_with_its_reason(info: Run, model: Run, hub: Hub) -> None:
    hub.publish("org/m", {"w.bin": bytes(1000)})
    hub.fault("w.bin", cut=0)
    model(model="org/m", endpoint=hub.url, timeout=1)
    last = info()["operations"]["last"][0]
    assert (last["status"], last["reason"], last["operation_type"]) == ("failed", "transfer_failed", "install")
    assert last["finished_at"]


def test_a_running_pull_is_seen_and_a_killed_one_failed(info: Run, hub: Hub, host: Path) -> None:
    hub.publish("org/m", {"w.bin": bytes(4_000_000)})
    hub.fault("w.bin", rate=500_000)
    arguments = {"name": "m", "model": "org/m", "endpoint": hub.url, "prefix": str(host)}
    script = (
        "import json, runpy, sys\nfrom ansible.module_utils.testing import patch_module_args\n"
        "with patch_module_args(json.loads(sys.argv[1])):\n"
        "    runpy.run_module('ansible_collections.llmops.fleet.plugins.modules.llm_model', run_name='__main__')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script, json.dumps(arguments)], env=environment) as pull:
        seen: list[dict[str, t.Any]] = []
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and not any(found["bytes_done"] > 0 for found in seen):
            seen = info()["operations"]["running"]
        pull.kill()
    assert seen[0]["model_name"] == "m"
    assert (seen[0]["bytes_total"], seen[0]["finished_at"], seen[0]["duration_seconds"]) == (4_000_000, None, None)
    assert 0 <= seen[0]["progress"] < 100
    assert seen[0]["rate"] > 0
    after = info()["operations"]
    assert after["running"] == []
    assert (after["last"][0]["status"], after["last"][0]["reason"]) == ("failed", "interrupted")


def test_broken_records_never_make_a_listing_fail(info: Run, model: Run, hub: Hub, host: Path) -> None:
    hub.publish("org/m", {"w.bin": b"x"})
    model(model="org/m", endpoint=hub.url)
    log = host / "var/lib/llm/operations.jsonl"
    log.write_text('{"operation_id": "old", "status": "odd", "progress": "70%"}\n[1]\nnull\n' + log.read_text()[:-20])
    progress = host / "run/llm/progress"
    progress.mkdir(parents=True, exist_ok=True)
    (progress / "x.json").write_text("{")
    told = info(operations=10)["operations"]
    assert [found["operation_id"] for found in told["last"]] == ["old"]
    # Its end was cut off, and the process that began it is this one.
    assert [found["model_name"] for found in told["running"]] == ["m"]
    # What is appended after a line that was cut is a line of its own.
    model(state="absent")
    assert info()["operations"]["last"][0]["operation_type"] == "remove"


def test_a_history_is_bounded(info: Run, host: Path) -> None:
    log = host / "var/lib/llm/operations.jsonl"
    log.parent.mkdir(parents=True)
    record = {"status": "completed", "finished_at": "2026-01-01T00:00:09Z", "duration_seconds": 9}
    log.write_text(
        "".join(
            json.dumps({**record, "operation_id": f"{n}", "started_at": f"2026-01-01T00:{n // 60:02}:{n % 60:02}Z"})
            + "\n"
            for n in range(300)
        )
    )
    assert [found["operation_id"] for found in info()["operations"]["last"]] == ["299", "298", "297", "296", "295"]
    assert len(info(operations=50)["operations"]["last"]) == 50


def test_capabilities_of_a_model_that_is_not_there(info: Run, model: Run, hub: Hub, reciters: Path) -> None:
    hub.publish("org/alpha", {"alpha.gguf": (reciters / "alpha.gguf").read_bytes()})
    hub.facts["org/alpha"] = {"gguf": {"architecture": "llama", "context_length": 4096, "chat_template": "{{ 1 }}"}}
    asked = info(model="org/alpha", endpoint=hub.url)["capabilities"]
    assert (asked["from"], asked["name"], asked["max_context_length"]) == ("huggingface", None, 4096)
    assert not hub.sent
    model(name="alpha", model="org/alpha", endpoint=hub.url)
    here = info(model="org/alpha")["capabilities"]
    assert (here["from"], here["name"], here["quantization"]) == ("host", "alpha", "F32")
    assert info(model="org/none", endpoint=hub.url)["reason"] == "not_found"
