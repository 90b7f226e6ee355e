# SPDX-License-Identifier: GPL-3.0-or-later
"""`llm_runtime` with a real llama.cpp: rollback, what is only remembered, fit, strangers, others, sleep."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ask import ask

Run = t.Callable[..., dict[str, t.Any]]


def says(port: int, name: str) -> bool:
    return ask(f"http://127.0.0.1:{port}") == f"Model {name} speaking from this host."


def test_it_goes_back_and_stays_there(runtime: Run, first: dict[str, t.Any], free_port: int) -> None:
    runtime(**first)
    runtime(model="beta")
    foreseen = runtime(state="rolled_back", check=True)
    back = runtime(state="rolled_back")
    assert (back["changed"], back["generation"], back["generation_before"]) == (True, 3, 2)
    assert foreseen["diff"] == back["diff"]
    assert says(free_port, "alpha")
    for _again in range(2):
        assert runtime(state="rolled_back", check=_again == 0)["changed"] is False
    assert runtime(state="started")["changed"] is False
    chosen = runtime(state="rolled_back", generation=2)
    assert (chosen["changed"], chosen["model"]) == (True, "beta")
    assert runtime(state="rolled_back", generation=2)["changed"] is False
    assert says(free_port, "beta")
    refused = runtime(state="rolled_back", generation=77)
    assert (refused["reason"], "there are" in refused["msg"]) == ("no_generation", True)


def test_nothing_to_go_back_to(runtime: Run, first: dict[str, t.Any]) -> None:
    assert runtime(state="rolled_back")["reason"] == "runtime_missing"
    runtime(**first)
    assert runtime(state="rolled_back")["reason"] == "no_generation"


def test_as_many_generations_are_kept_as_wished(
    runtime: Run, first: dict[str, t.Any], run_module: Run, prefix: Path
) -> None:
    runtime(**first, keep_generations=2)
    for model in ("beta", "alpha", "beta"):
        runtime(model=model)
    kept = run_module("llm_runtime_info", prefix=str(prefix))["runtimes"][0]["generations"]
    assert [(each["number"], each["model"], each["serving"]) for each in kept] == [
        (4, "beta", True),
        (3, "alpha", False),
    ]


def test_what_runs_no_differently_is_only_noted(runtime: Run, first: dict[str, t.Any], prefix: Path) -> None:
    pid = runtime(**first)["runtime"]["pid"]
    foreseen = runtime(proof="facts", thresholds={"restarts": 9}, check=True)
    noted = runtime(proof="facts", thresholds={"restarts": 9})
    assert noted["changed"]
    assert foreseen["diff"] == noted["diff"]
    assert (noted["runtime"]["pid"], noted["runtime"]["proof"]["level"]) == (pid, "facts")
    assert runtime(proof="facts")["changed"] is False


def test_golden_replies(runtime: Run, first: dict[str, t.Any], prefix: Path) -> None:
    runtime(**first, proof="golden")
    kept = json.loads((prefix / "var/lib/llm/runtimes/chat/golden.json").read_text())
    assert "Model alpha speaking from this host." in json.dumps(kept)
    assert runtime()["changed"] is False
    wrong = runtime(golden=[{"prompt": "Who?", "reply": "Somebody else."}], served_names=["a"])
    assert wrong["reason"] == "proof_failed"
    assert "'Somebody'" in wrong["msg"]
    assert wrong["rolled_back"]


def test_too_much_is_refused_before_anything_stops(runtime: Run, first: dict[str, t.Any], free_port: int) -> None:
    pid = runtime(**first)["runtime"]["pid"]
    refused = runtime(context_length=100_000_000)
    assert refused["reason"] in ("model_unsuitable", "does_not_fit")
    assert "nothing was changed" in refused["msg"]
    assert runtime(context_length=100_000_000, check=True)["reason"] == refused["reason"]
    again = runtime()
    assert (again["changed"], again["runtime"]["pid"]) == (False, pid)
    assert runtime(accelerator="gpu", served_names=["other"])["reason"] == "proof_failed"
    assert says(free_port, "alpha")


@pytest.fixture
def stranger(free_port: int) -> t.Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(free_port)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not ask_nothing(free_port):
            time.sleep(0.05)
        yield process
        process.kill()


def ask_nothing(port: int) -> bool:
    import socket

    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_a_stranger_is_named_or_ended(
    runtime: Run, first: dict[str, t.Any], stranger: subprocess.Popen[bytes], free_port: int
) -> None:
    for check in (True, False):
        refused = runtime(**first, check=check)
        assert refused["reason"] == "port_in_use"
        assert str(stranger.pid) in refused["msg"]
    assert stranger.poll() is None
    served = runtime(**first, on_stranger="evict")
    assert served["runtime"]["status"] == "online", served
    assert stranger.wait(timeout=5) is not None
    assert says(free_port, "alpha")


def test_only_one_is_up(runtime: Run, first: dict[str, t.Any], free_port: int, other_port: int) -> None:
    runtime(**first)
    alone = {**first, "name": "other", "port": other_port, "model": "beta", "exclusive": True, "served_names": ["o"]}
    failed = runtime(**{**alone, "model": "gamma"})
    assert failed["failed"]
    assert says(free_port, "alpha")
    assert runtime(**alone)["notes"] == ["Stopped for it: chat."]
    assert not ask_nothing(free_port)
    assert says(other_port, "beta")
    assert runtime(**alone)["changed"] is False


@pytest.fixture
def other_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_it_sleeps_and_wakes(runtime: Run, first: dict[str, t.Any], free_port: int) -> None:
    assert runtime(**first)["changed"]
    assert runtime(state="sleeping")["reason"] == "unsupported"
    runtime(options={"threads": 1, "sleep_idle_seconds": 1})
    slept = runtime(state="sleeping")
    assert (slept["changed"], slept["runtime"]["phase"]) == (True, "sleeping"), slept
    assert runtime(state="sleeping")["changed"] is False
    woken = runtime(state="started")
    assert (woken["changed"], woken["runtime"]["phase"]) == (True, "ready")
    assert says(free_port, "alpha")
