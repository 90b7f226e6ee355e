# SPDX-License-Identifier: GPL-3.0-or-later
"""`llm_runtime` with a real llama.cpp, kept by the supervisor `process`."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import typing as t
from pathlib import Path

import psutil
import pytest
from ask import ask

Run = t.Callable[..., dict[str, t.Any]]


def says(port: int, name: str) -> bool:
    return ask(f"http://127.0.0.1:{port}") == f"Model {name} speaking from this host."


def test_the_twelve_steps(runtime: Run, first: dict[str, t.Any], prefix: Path) -> None:
    steps: list[tuple[dict[str, t.Any], bool]] = [
        (first, True),
        (first, False),
        ({"model": "beta"}, True),
        ({"model": "beta"}, False),
        ({"state": "stopped"}, True),
        ({"state": "stopped"}, False),
        ({"state": "started"}, True),
        ({"state": "restarted"}, True),
        ({"state": "absent"}, True),
        ({"state": "absent"}, False),
    ]
    for params, changes in steps:
        before = files(prefix)
        foreseen = runtime(check=True, **params)
        assert files(prefix) == before, "check mode wrote"
        real = runtime(**params)
        assert not real.get("failed"), real
        assert real["changed"] is changes, params
        assert (foreseen["changed"], foreseen.get("diff")) == (real["changed"], real.get("diff")), params
    assert not (prefix / "var/lib/llm/runtimes/chat").exists()
    assert not list((prefix / "etc/llm/runtimes").iterdir())


def files(prefix: Path) -> set[tuple[str, int]]:
    """What is there, without the log that the engine itself goes on writing."""
    return {
        (str(path), path.lstat().st_mtime_ns)
        for path in prefix.rglob("*")
        if path.is_file() and "/log/" not in str(path) and "__pycache__" not in str(path)
    }


def test_it_serves_proves_and_switches(runtime: Run, first: dict[str, t.Any], free_port: int) -> None:
    result = runtime(**first)
    assert result["reply"] == "Model alpha speaking from this host."
    assert (result["runtime"]["status"], result["runtime"]["context_length"]) == ("online", 256)
    assert result["runtime"]["proof"]["level"] == "tokens"
    assert [step["step"] for step in result["steps"]] == ["write", "restart", "wait healthy", "prove", "commit"]
    assert says(free_port, "alpha")
    switched = runtime(model="beta")
    assert (switched["changed"], switched["generation"]) == (True, 2)
    assert says(free_port, "beta")
    assert runtime()["changed"] is False
    assert runtime(initial_model="alpha")["changed"] is False


def test_what_is_not_said_stays_as_it_was(runtime: Run, first: dict[str, t.Any]) -> None:
    runtime(**first, stop_timeout=30, proof="facts", extra_args=["--no-warmup"], environment={"A": "b"})
    again = runtime()
    assert again["changed"] is False
    assert again["runtime"]["proof"]["level"] == "facts"


@pytest.mark.parametrize(
    ("model", "reason", "words"),
    [
        ("gamma", "model_unsuitable", "architecture 'lxxxx'"),
        ("cut", "model_unsuitable", "cut short"),
        ("notes", "model_unsuitable", "not GGUF"),
        ("none", "model_missing", "alpha, beta, cut, gamma, notes"),
    ],
)
def test_a_model_that_cannot_serve_leaves_the_old_one_serving(
    runtime: Run, first: dict[str, t.Any], free_port: int, model: str, reason: str, words: str
) -> None:
    runtime(**first)
    result = runtime(model=model)
    assert result["failed"]
    assert result["reason"] == reason
    assert words in result["msg"]
    assert "Runtime chat" in result["msg"]
    assert says(free_port, "alpha")
    again = runtime()
    assert (again["changed"], again["model"]) == (False, "alpha")


def test_what_was_tried_and_failed_is_told(runtime: Run, first: dict[str, t.Any]) -> None:
    runtime(**first)
    result = runtime(model="gamma")
    assert result["rolled_back"] is True
    assert "Generation 1 (model alpha) serves again." in result["msg"]
    assert any("lxxxx" in line for line in result["details"]["log"])


def test_a_first_start_that_fails_leaves_nothing_behind(runtime: Run, first: dict[str, t.Any], prefix: Path) -> None:
    result = runtime(**{**first, "model": "gamma"})
    assert result["failed"]
    assert not list((prefix / "etc/llm/runtimes").iterdir())
    assert not (prefix / "run/llm/chat.pid").exists()


def test_a_stranger_on_the_port_is_named(runtime: Run, first: dict[str, t.Any], free_port: int) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", free_port))
        stranger.listen()
        result = runtime(**first)
    assert result["reason"] == "port_in_use"
    assert f"port {free_port} is held by process {os.getpid()}" in result["msg"]
    assert runtime(**first)["changed"]


def test_a_served_name_belongs_to_one_runtime(runtime: Run, first: dict[str, t.Any], free_port: int) -> None:
    runtime(**first)
    result = runtime(**{**first, "name": "other", "port": free_port + 1, "served_names": ["chat"]})
    assert result["reason"] == "served_name_taken"
    assert "belongs to runtime chat" in result["msg"]
    assert says(free_port, "alpha")


def test_a_missing_engine_is_named(runtime: Run, first: dict[str, t.Any]) -> None:
    result = runtime(**{**first, "engine_version": "9"})
    assert result["reason"] == "engine_missing"
    assert "llama_cpp/9/bin/llama-server" in result["msg"]


@pytest.mark.parametrize(
    ("params", "reason", "words"),
    [
        ({"name": "../x"}, "invalid_name", "../x"),
        ({"host": "0.0.0.0"}, "exposed", "0.0.0.0"),
        ({"options": {"thread": 1}}, "invalid_input", "no option 'thread'"),
        ({"options": {"threads": "many"}}, "invalid_input", "not of type int"),
        ({"port": 70000}, "invalid_input", "70000"),
        ({"served_names": ["a b"]}, "invalid_name", "a b"),
        ({"extra_args": ["--nonsense"]}, "invalid_input", "--nonsense"),
        ({"model": None}, "runtime_missing", "model was not given"),
    ],
)
def test_bad_input(runtime: Run, first: dict[str, t.Any], params: dict[str, t.Any], reason: str, words: str) -> None:
    result = runtime(**{**first, **params})
    assert result["reason"] == reason
    assert words in result["msg"]


def test_an_engine_that_dies_is_brought_back(runtime: Run, first: dict[str, t.Any], free_port: int) -> None:
    pid = runtime(**first)["runtime"]["pid"]
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            assert says(free_port, "alpha")
            break
        except OSError:
            time.sleep(0.1)
    result = runtime()
    assert result["changed"] is False
    assert result["runtime"]["restarts"] == 1
    assert result["runtime"]["pid"] != pid


def test_a_dead_keeper_is_healed_with_the_reason(runtime: Run, first: dict[str, t.Any], prefix: Path) -> None:
    runtime(**first)
    state = json.loads((prefix / "run/llm/chat.pid").read_text())
    os.kill(state["keeper_pid"], signal.SIGKILL)
    deadline = time.monotonic() + 5
    while psutil.pid_exists(state["pid"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    result = runtime()
    assert result["changed"] is True
    assert "no process runs" in result["msg"]
    assert result["runtime"]["status"] == "online"


def test_an_environment_changed_by_hand_is_put_right(runtime: Run, first: dict[str, t.Any], prefix: Path) -> None:
    runtime(**first)
    path = prefix / "etc/llm/runtimes/chat.env"
    path.write_text(path.read_text().replace('"256"', '"512"'))
    assert runtime()["changed"] is True
    assert '"512"' not in path.read_text()


def test_no_core_dumps_and_nothing_is_left(runtime: Run, first: dict[str, t.Any], prefix: Path) -> None:
    pid = runtime(**first)["runtime"]["pid"]
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert next(line for line in limits.splitlines() if "core file" in line).split()[4:6] == ["0", "0"]
    runtime(state="stopped")
    assert not psutil.pid_exists(pid)
    assert not (prefix / "run/llm/chat.pid").exists()


def test_a_key_is_needed_and_shown_nowhere(
    runtime: Run,
    run_module: Run,
    first: dict[str, t.Any],
    free_port: int,
    prefix: Path,
    command_lines: t.Callable[[], list[str]],
) -> None:
    secret = "planted-secret-key"
    result = runtime(**first, api_key=secret, host="0.0.0.0")
    assert result["runtime"]["status"] == "online"
    with pytest.raises(OSError, match="401"):
        ask(f"http://127.0.0.1:{free_port}")
    assert ask(f"http://127.0.0.1:{free_port}", key=secret).startswith("Model alpha")
    other = runtime(api_key="another-secret-key")
    assert other["changed"]
    told = [result, other, runtime(model="gamma"), run_module("llm_runtime_info", prefix=str(prefix))]
    assert "secret-key" not in json.dumps(told)
    holders = [path for path in prefix.rglob("*") if path.is_file() and b"secret-key" in path.read_bytes()]
    assert [str(path.relative_to(prefix)) for path in holders] == ["etc/llm/secrets/chat.env"]
    assert oct(holders[0].stat().st_mode)[-3:] == "600"
    assert not [line for line in command_lines() if "secret-key" in line]


def test_an_interrupted_activation_is_put_right(runtime: Run, first: dict[str, t.Any], prefix: Path) -> None:
    """As after kill -9 between writing and proving: the files are of a generation that never was proven."""
    runtime(**first)
    path = prefix / "etc/llm/runtimes/chat.env"
    good = path.read_text()
    path.write_text(good.replace("alpha", "gamma"))
    result = runtime(model="gamma")
    assert result["rolled_back"] is True
    assert path.read_text() == good
    assert runtime()["changed"] is False


def test_a_full_disk_while_writing_is_rolled_back(
    runtime: Run, first: dict[str, t.Any], free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ansible_collections.llmops.fleet.plugins.module_utils._host import configuration

    runtime(**first)
    write, calls = configuration.write_text, []

    def full(path: Path, text: str, **words: t.Any) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise OSError(28, "No space left on device", str(path))
        write(path, text, **words)

    with monkeypatch.context() as patched:
        patched.setattr(configuration, "write_text", full)
        result = runtime(model="beta")
    assert result["reason"] == "no_space"
    assert result["rolled_back"] is True
    assert says(free_port, "alpha")


def test_a_newer_engine_is_taken_and_given_up_again(runtime: Run, first: dict[str, t.Any], prefix: Path) -> None:
    runtime(**first)
    engines = prefix / "opt/llm/engines/llama_cpp"
    (engines / "2/bin").mkdir(parents=True)
    broken = engines / "2/bin/llama-server"
    broken.write_text("#!/bin/sh\necho cannot run here >&2\nexit 1\n")
    broken.chmod(0o755)
    result = runtime(engine_version="2")
    assert result["reason"] == "start_failed"
    assert "cannot run here" in result["msg"]
    assert result["rolled_back"] is True
    assert os.readlink(prefix / "var/lib/llm/runtimes/chat/engine").endswith("/1")


def test_information_is_one_record_a_runtime(
    runtime: Run, run_module: Run, first: dict[str, t.Any], free_port: int, prefix: Path
) -> None:
    assert run_module("llm_runtime_info", prefix=str(prefix))["runtimes"] == []
    runtime(**first)
    runtime(**{**first, "name": "other", "port": free_port + 1})
    runtime(name="other", state="stopped")
    seen = run_module("llm_runtime_info", prefix=str(prefix))
    assert seen["changed"] is False
    assert [(record["name"], record["status"]) for record in seen["runtimes"]] == [
        ("chat", "online"),
        ("other", "offline"),
    ]
    assert run_module("llm_runtime_info", prefix=str(prefix), names=["nobody"])["missing"] == ["nobody"]


def test_a_model_in_use_is_not_removed(runtime: Run, run_module: Run, first: dict[str, t.Any], prefix: Path) -> None:
    runtime(**first)
    result = run_module("llm_model", prefix=str(prefix), name="alpha", state="absent")
    assert result["reason"] == "in_use"
    assert "runtime chat" in result["msg"]
    assert run_module("llm_model", prefix=str(prefix), name="beta", state="absent")["changed"]
