# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of Docker Model Runner beside a real Docker Engine, which is the same afterwards.

Run it as root: pytest tests/integration/test_docker_engine.py
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
SCRIPT = TOP / "tests" / "tools" / "docker_engine.sh"
MODULE = "ansible_collections.llmops.fleet.plugins.modules.docker_model_runner_facts"
NAME = "docker-model-runner"
LABELS = ("--label=com.docker.desktop.service=model-runner", "--label=com.docker.model-runner.role=controller")
NOBODY = 65534
# All is imported before the account is left: the interpreter's own files may be closed to others.
_AS = """import importlib, os, sys
program = importlib.import_module(sys.argv.pop(1))
account = int(sys.argv.pop(1))
if account != os.getuid():
    os.setgroups([])
    os.setgid(account)
    os.setuid(account)
program.main()
"""
# Answers what every plugin is asked for its description, and keeps what else it is called for.
_PLUGIN = """#!/bin/sh
[ "$1" = docker-cli-plugin-metadata ] || { echo "$*" >> "$0.called"; exit 1; }
echo '{"SchemaVersion": "0.1.0", "Vendor": "Docker Inc.", "Version": "v1.2.6", "ShortDescription": "Docker Model Runner"}'
"""

Document = dict[str, t.Any]


class Engine:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.environment = {**os.environ, "DOCKER_HOST": f"unix://{folder}/docker.sock", "HOME": str(self.home)}
        self.environment.pop("DOCKER_CONTEXT", None)

    def docker(self, *words: str) -> str:
        ended = subprocess.run(["docker", *words], env=self.environment, capture_output=True, text=True, check=True)
        return ended.stdout

    @property
    def pid(self) -> int:
        return int((self.folder / "pid").read_text())

    def state(self) -> Document:
        """All that looking must leave as it is."""
        listed = self._lines("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}} {{.CreatedAt}}")
        identities = [line.split()[0] for line in listed]
        return {
            "containers": listed,
            "details": json.loads(self.docker("inspect", *identities)) if identities else [],
            "images": self._lines("images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"),
            "volumes": self._lines("volume", "ls", "--quiet"),
            "networks": self._lines("network", "ls", "--no-trunc", "--quiet"),
        }

    def _lines(self, *words: str) -> list[str]:
        """Sorted: what was made in the same second is listed in any order."""
        return sorted(self.docker(*words).splitlines())

    def events(self, since: float) -> str:
        return self.docker("events", "--since", f"{since:.3f}", "--until", f"{time.time():.3f}")

    def look(
        self, port: int, *, user: int | None = None, check: bool = False, **params: t.Any
    ) -> tuple[Document, float]:
        """The fact, as a process of its own, and the seconds that it took."""
        words = {"endpoint": f"http://127.0.0.1:{port}", "_ansible_check_mode": check, **params}
        environment = {
            **self.environment,
            "PYTHONPATH": str(TOP / ".cache" / "collections"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        begun = time.monotonic()
        ended = subprocess.run(
            [sys.executable, "-c", _AS, MODULE, str(os.getuid() if user is None else user)], env=environment, cwd="/",
            capture_output=True, text=True, check=False, input=json.dumps({"ANSIBLE_MODULE_ARGS": words}),
        )  # fmt: skip
        seconds = time.monotonic() - begun
        assert ended.returncode == 0, ended.stdout + ended.stderr
        result = json.loads(ended.stdout.splitlines()[-1])
        assert result["changed"] is False
        return result["ansible_facts"]["docker_model_runner"], seconds


@pytest.fixture(scope="module")
def engine() -> t.Iterator[Engine]:
    # Not below pytest's own folder, which is closed to others; a socket's path has 107 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="engine"))
    folder.chmod(0o755)
    started = subprocess.run([SCRIPT, "start", folder], capture_output=True, text=True, check=False)
    if started.returncode == 3:
        folder.rmdir() if not any(folder.iterdir()) else None
        pytest.skip(f"no Docker Engine: {started.stderr.strip()}")
    assert started.returncode == 0, started.stderr
    try:
        yield Engine(folder)
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True)


@pytest.fixture
def port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(autouse=True)
def _as_before(engine: Engine) -> t.Iterator[None]:
    yield
    found = engine.docker("ps", "--all", "--quiet").split()
    if found:
        engine.docker("rm", "--force", *found)


def looked(engine: Engine, port: int) -> Document:
    """The fact, with and without check mode; the engine is the same afterwards and had no event."""
    # Events of what was set up before belong to the time before.
    time.sleep(0.3)
    before, since = engine.state(), time.time()
    fact, seconds = engine.look(port)
    predicted, _seconds = engine.look(port, check=True)
    assert engine.events(since) == ""
    assert engine.state() == before
    assert seconds < 2
    assert predicted == fact
    assert (fact["installed"], fact["desktop"], fact["docker"]["daemon"]["reachable"]) == (True, False, True)
    return fact


def wait_for(port: int) -> None:
    for _try in range(100):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)


def test_no_runner(engine: Engine, port: int) -> None:
    fact = looked(engine, port)
    assert (fact["version"], fact["meets_minimum"]) == (
        engine.docker("version", "--format", "{{.Server.Version}}").strip(),
        False,
    )
    assert (fact["containers"], fact["runner_enabled"], fact["runner_running"]) == ([], False, False)
    assert fact["listener"]["kind"] == "none"
    assert fact["reasons"]["runner_running"]["reason"] == "runtime_missing"


@pytest.mark.parametrize("name", [NAME, "another-name"])
def test_a_runners_container(engine: Engine, port: int, name: str) -> None:
    engine.docker("run", "--detach", f"--name={name}", *LABELS, f"--publish=127.0.0.1:{port}:80", "test/runner")
    wait_for(port)
    fact = looked(engine, port)
    assert (fact["runner_enabled"], fact["runner_running"], fact["runner_version"]) == (True, True, "1.2.6")
    assert (fact["listener"]["kind"], fact["listener"]["container"]) == ("container", name)
    assert fact["containers"][0]["publishes"] == [
        {"container_port": "80/tcp", "host_ip": "127.0.0.1", "host_port": port}
    ]
    assert [model["tags"][0] for model in fact["models"]] == [
        "127.0.0.1:5003/ai/alpha:latest",
        "127.0.0.1:5003/ai/beta:latest",
    ]
    assert [model["state"] for model in fact["models"]] == ["unloaded", "unloaded"]


def test_a_runners_container_on_the_hosts_network(engine: Engine, port: int) -> None:
    command = ("/bin/busybox", "httpd", "-f", "-p", f"127.0.0.1:{port}", "-h", "/www")
    engine.docker("run", "--detach", f"--name={NAME}", *LABELS, "--network=host", "test/runner", *command)
    wait_for(port)
    fact = looked(engine, port)
    assert (fact["listener"]["kind"], fact["listener"]["container"]) == ("container", NAME)
    assert (fact["listener"]["process"] or {}).get("command") == "busybox"


def test_a_stopped_runners_container(engine: Engine, port: int) -> None:
    engine.docker("run", "--detach", f"--name={NAME}", *LABELS, f"--publish=127.0.0.1:{port}:80", "test/runner")
    engine.docker("kill", NAME)
    engine.docker("wait", NAME)
    fact = looked(engine, port)
    assert (fact["runner_enabled"], fact["runner_running"], fact["listener"]["kind"]) == (True, False, "none")
    assert (fact["containers"][0]["state"], fact["containers"][0]["exit_code"]) == ("exited", 137)
    assert "does not run: it is exited with code 137" in fact["reasons"]["runner_running"]["message"]


def test_a_container_that_was_never_started(engine: Engine, port: int) -> None:
    engine.docker("create", f"--name={NAME}", *LABELS, f"--publish=127.0.0.1:{port}:80", "test/runner")
    fact = looked(engine, port)
    assert (fact["runner_enabled"], fact["containers"][0]["state"]) == (True, "created")


def test_a_strangers_container_on_the_port(engine: Engine, port: int) -> None:
    engine.docker("run", "--detach", "--name=web", f"--publish=127.0.0.1:{port}:80", "test/web")
    wait_for(port)
    fact = looked(engine, port)
    assert (fact["runner_enabled"], fact["runner_running"]) == (False, False)
    assert (fact["listener"]["kind"], fact["listener"]["container"]) == ("other", "web")
    assert fact["reasons"]["runner_running"]["reason"] == "port_in_use"


def test_a_stranger_on_the_port_and_under_the_name(engine: Engine, port: int) -> None:
    engine.docker("run", "--detach", f"--name={NAME}", f"--publish=127.0.0.1:{port}:80", "test/web")
    wait_for(port)
    fact = looked(engine, port)
    assert (fact["containers"][0]["labelled"], fact["runner_enabled"], fact["listener"]["kind"]) == (
        False,
        False,
        "other",
    )


def test_the_plugin_is_seen_and_never_called(engine: Engine, port: int) -> None:
    plugin = engine.home / ".docker" / "cli-plugins" / "docker-model"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(_PLUGIN)
    plugin.chmod(0o755)
    try:
        fact = looked(engine, port)
        called = plugin.with_name("docker-model.called").exists()
    finally:
        plugin.unlink()
    assert fact["docker"]["plugin"] == {"present": True, "version": "v1.2.6", "path": str(plugin)}
    assert (fact["meets_minimum"], called) == (True, False)


def test_an_account_that_may_not_use_the_socket(engine: Engine, port: int) -> None:
    engine.docker("run", "--detach", f"--name={NAME}", *LABELS, f"--publish=127.0.0.1:{port}:80", "test/runner")
    wait_for(port)
    before = engine.state()
    fact, seconds = engine.look(port, user=NOBODY)
    assert (engine.state(), seconds < 2) == (before, True)
    assert (fact["installed"], fact["docker"]["daemon"]["reachable"], fact["containers"]) == (True, False, None)
    assert (fact["runner_enabled"], fact["runner_running"], fact["listener"]["kind"]) == (True, True, "unknown")
    for name in ("docker.daemon", "containers", "listener", "meets_minimum"):
        assert fact["reasons"][name]["reason"] == "permission_denied"


@pytest.mark.parametrize("timeout", [1, 2])
def test_an_engine_that_hangs(engine: Engine, port: int, timeout: int) -> None:
    engine.docker("run", "--detach", f"--name={NAME}", *LABELS, f"--publish=127.0.0.1:{port}:80", "test/runner")
    wait_for(port)
    before = engine.state()
    os.kill(engine.pid, signal.SIGSTOP)
    try:
        fact, seconds = engine.look(port, timeout=timeout)
    finally:
        os.kill(engine.pid, signal.SIGCONT)
    assert engine.state() == before
    assert seconds < timeout + 0.5
    assert (fact["runner_running"], fact["docker"]["daemon"]["reachable"], fact["containers"]) == (True, False, None)
    assert fact["reasons"]["docker.daemon"]["reason"] == "timeout"


def test_it_takes_little_more_than_docker_info(engine: Engine, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    def seconds(job: t.Callable[[], t.Any]) -> float:
        times = []
        for _again in range(5):
            begun = time.monotonic()
            job()
            times.append(time.monotonic() - begun)
        return sorted(times)[2]

    alone = seconds(lambda: engine.docker("info"))
    facts = seconds(lambda: engine.look(port))
    with capsys.disabled():
        print(f"\ndocker info {alone:.2f} s, the module {facts:.2f} s (median of 5)")
    assert facts < 2
