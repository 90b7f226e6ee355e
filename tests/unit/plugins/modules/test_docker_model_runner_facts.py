# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorded states of Docker and its Model Runner, and what the fact says of each.

`docker` is a program that plays recordings and keeps what it was asked; runners and strangers are real servers.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import socket
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._api.docker_command import DockerCommand, published
from ansible_collections.llmops.fleet.plugins.module_utils._core.reasons import REASONS
from ansible_collections.llmops.fleet.plugins.module_utils._engines.docker_model_runner_seen import local_port
from ansible_collections.llmops.fleet.plugins.module_utils._host import processes
from docker_model_runner import Runner
from docker_states import DENIED, PLUGIN, VERSION, Docker, Document, Pages, at, inspected, runner_pages
from recorded import named

Run = t.Callable[..., Document]
LOOKS = ("version", "info", "ps", "inspect", "context")


@pytest.fixture
def docker(tmp_path: Path) -> Docker:
    return Docker(tmp_path / "d")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "h"))
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "MODEL_RUNNER_SOCK"):
        monkeypatch.delenv(name, raising=False)


Look = t.Callable[..., Document]


@pytest.fixture
def look(run_module: Run, docker: Docker, free_port: int) -> Look:
    """The fact. Whatever the state: nothing changed, only looks, in time, every reason one of the list."""

    def looked(port: int | None = None, **params: t.Any) -> Document:
        words = {"endpoint": f"http://127.0.0.1:{port or free_port}", "executable": str(docker.path), "timeout": 10}
        words.update(params)
        begun = time.monotonic()
        result = run_module("docker_model_runner_facts", **words)
        took = time.monotonic() - begun
        assert "ansible_facts" in result, result
        assert (result["changed"], list(result["ansible_facts"])) == (False, ["docker_model_runner"])
        fact: Document = result["ansible_facts"]["docker_model_runner"]
        assert took < words["timeout"] + 0.5
        assert {line.split()[0] for line in docker.asked} <= set(LOOKS)
        assert all(line.startswith("context inspect") for line in docker.asked if line.startswith("context"))
        codes = [why["reason"] for why in fact["reasons"].values()]
        codes += [entry["reason"] for entry in fact["endpoints"] if entry["reason"]]
        assert set(codes) <= set(REASONS)
        assert all(why["message"] for why in fact["reasons"].values())
        return fact

    return looked


def why(fact: Document, name: str) -> str:
    return str(fact["reasons"][name]["reason"])


# Docker itself


def test_no_docker_at_all(look: Look) -> None:
    fact = look(executable="no-such-docker")
    assert {name: fact[name] for name in ("installed", "desktop", "version", "meets_minimum", "runner_enabled")} == {
        "installed": False, "desktop": False, "version": None, "meets_minimum": False, "runner_enabled": False,
    }  # fmt: skip
    assert fact["docker"]["client"] == {"present": False, "version": None, "path": None, "context": None}
    assert fact["docker"]["plugin"]["present"] is False
    assert [fact[name] for name in ("models", "backends", "containers", "endpoint", "disk")] == [None] * 5
    for name in ("installed", "docker.client", "docker.daemon", "docker.plugin", "desktop", "version", "meets_minimum"):
        assert fact["reasons"][name] == {
            "reason": "engine_missing", "message": "There is no program 'no-such-docker' on the host.",
        }  # fmt: skip
    assert why(fact, "runner_enabled") == "runtime_missing"


def test_a_client_without_daemon(look: Look, docker: Docker) -> None:
    docker.down()
    docker.plugins([PLUGIN])
    fact = look()
    assert (fact["installed"], fact["desktop"], fact["version"], fact["meets_minimum"]) == (True, None, None, None)
    assert fact["docker"]["client"]["version"] == "28.2.2"
    assert fact["docker"]["plugin"] == {"present": True, "version": "dev", "path": PLUGIN["Path"]}
    assert fact["docker"]["daemon"]["reachable"] is False
    assert (fact["runner_enabled"], fact["runner_running"]) == (None, False)
    for name in ("docker.daemon", "desktop", "version", "meets_minimum", "containers", "runner_enabled"):
        assert why(fact, name) == "unreachable"
    assert fact["reasons"]["docker.daemon"]["message"].endswith("Is the docker daemon running?")


def test_a_hanging_daemon_asked_by_a_new_client(look: Look, docker: Docker) -> None:
    """The client says what it knows when it is asked to end; plugins and context it knows without the daemon."""
    client = json.dumps({"Client": VERSION["Client"], "Server": None})
    docker.hangs("version", last=client)
    docker.hangs("ps")
    docker.plugins([PLUGIN])
    fact = look(timeout=2)
    assert fact["docker"]["client"]["version"] == "28.2.2"
    assert fact["docker"]["plugin"]["present"] is True
    assert (fact["docker"]["daemon"]["reachable"], fact["docker"]["daemon"]["version"]) == (False, None)
    for name in ("docker.daemon", "version", "containers"):
        assert why(fact, name) == "timeout"


@pytest.mark.parametrize("timeout", [2, 0.5])
def test_a_hanging_daemon_asked_by_an_old_client(look: Look, docker: Docker, timeout: float) -> None:
    docker.hangs("version", "info", "ps", "context")
    fact = look(timeout=timeout)
    assert (fact["installed"], fact["docker"]["client"]["version"]) == (True, None)
    assert (fact["docker"]["plugin"]["present"], fact["docker"]["daemon"]["remote"]) == (None, None)
    for name in ("docker.client", "docker.daemon", "docker.plugin", "desktop", "containers", "runner_enabled"):
        assert why(fact, name) == "timeout"
    time.sleep(0.1)
    mine = str(docker.path)
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and mine in _command_line(pid)]


def _command_line(pid: str) -> str:
    with contextlib.suppress(OSError):
        return Path("/proc", pid, "cmdline").read_text(errors="replace")
    return ""


def test_a_runner_is_found_though_the_daemon_hangs(look: Look, docker: Docker) -> None:
    docker.hangs("version", "info", "ps", "context")
    with Pages(runner_pages()) as runner:
        fact = look(runner.port, timeout=2)
    assert (fact["runner_enabled"], fact["runner_running"], fact["runner_version"]) == (True, True, "1.2.6")
    assert (fact["listener"]["kind"], why(fact, "listener")) == ("unknown", "timeout")


def test_docker_whose_socket_is_not_ours(look: Look, docker: Docker) -> None:
    docker.says("version", json.dumps({"Client": VERSION["Client"], "Server": None}), DENIED, 1)
    docker.says("ps", error=DENIED, status=1)
    docker.plugins([PLUGIN])
    fact = look()
    assert (fact["installed"], fact["docker"]["plugin"]["present"]) == (True, True)
    assert (fact["containers"], fact["runner_enabled"]) == (None, None)
    for name in ("docker.daemon", "desktop", "version", "meets_minimum", "containers", "runner_enabled"):
        assert why(fact, name) == "permission_denied"


def test_a_client_too_new_for_its_daemon(look: Look, docker: Docker) -> None:
    said = "Error response from daemon: client version 1.50 is too new. Maximum supported API version is 1.24"
    docker.says("version", json.dumps({"Client": VERSION["Client"], "Server": None}), said, 1)
    docker.says("ps", error=said, status=1)
    fact = look()
    assert why(fact, "docker.daemon") == "hub_error"
    assert "client version 1.50 is too new" in fact["reasons"]["docker.daemon"]["message"]


@pytest.mark.parametrize("out", ["", "Segmentation fault", "[]", "null", '{"Client": [], "Server": "up"}', '{"Client"'])
def test_a_docker_that_says_nonsense(look: Look, docker: Docker, out: str) -> None:
    for command in LOOKS:
        docker.says(command, out)
    fact = look()
    assert (fact["installed"], fact["docker"]["client"]["version"], fact["version"]) == (True, None, None)
    assert why(fact, "docker.daemon") == "hub_error"
    assert (fact["docker"]["plugin"]["present"] is True, fact["runner_running"]) == (False, False)


def test_a_docker_that_cannot_be_started(look: Look, docker: Docker) -> None:
    docker.path.write_text("#!/no/such/interpreter\n")
    fact = look()
    assert (fact["installed"], fact["docker"]["client"]["version"]) == (True, None)
    assert why(fact, "docker.daemon") == "unreachable"


@pytest.mark.parametrize("host", ["tcp://build.example.com:2376", "ssh://me@build.example.com"])
def test_a_daemon_on_another_host(look: Look, docker: Docker, host: str) -> None:
    docker.context("build", host)
    docker.container(inspected())
    fact = look()
    assert fact["docker"]["daemon"]["remote"] is True
    assert fact["docker"]["daemon"]["version"] == "20.10.24+dfsg1"
    assert "me@" not in json.dumps(fact)
    # What is over there says nothing of this host.
    assert (fact["desktop"], fact["version"], fact["meets_minimum"]) == (None, None, None)
    assert (fact["containers"], fact["runner_enabled"]) == (None, None)
    for name in ("desktop", "version", "meets_minimum", "containers", "runner_enabled"):
        assert why(fact, name) == "unsupported"


def test_a_daemon_by_tcp_on_this_host_is_not_remote(look: Look, docker: Docker) -> None:
    docker.context("default", "tcp://127.0.0.1:2375")
    assert look()["docker"]["daemon"]["remote"] is False


# Desktop or Engine


@pytest.mark.parametrize(
    ("name", "version", "new"),
    [
        ("Docker Desktop 4.25.2 (129061)", "4.25.2", False),
        ("Docker Desktop 4.39.9 (184744)", "4.39.9", False),
        ("Docker Desktop 4.40.0 (187762)", "4.40.0", True),
        ("Docker Desktop 4.47.0 (206054)", "4.47.0", True),
        ("Docker Desktop 5.1 (1)", "5.1", True),
    ],
)
def test_versions_of_desktop(look: Look, docker: Docker, name: str, version: str, new: bool) -> None:
    docker.server(name, "24.0.6")
    docker.plugins([PLUGIN])
    fact = look()
    assert (fact["desktop"], fact["version"], fact["meets_minimum"]) == (True, version, new)
    assert (fact["docker"]["daemon"]["version"], fact["docker"]["daemon"]["platform_name"]) == ("24.0.6", name)
    assert fact["runner_running"] is False
    if new:
        assert "meets_minimum" not in fact["reasons"]
        # Its socket is not at the place the context names, so whether it has a runner is not known.
        assert (fact["runner_enabled"], why(fact, "runner_enabled")) == (None, "unreachable")
    else:
        assert (why(fact, "meets_minimum"), why(fact, "runner_running")) == ("engine_too_old", "engine_too_old")
        assert fact["runner_enabled"] is False


def test_a_desktop_without_a_version(look: Look, docker: Docker) -> None:
    docker.server("Docker Desktop", "28.0.0")
    fact = look()
    assert (fact["desktop"], fact["version"], fact["meets_minimum"]) == (True, None, None)
    assert why(fact, "version") == "hub_error"


def test_a_desktop_that_is_not_started(look: Look, docker: Docker, tmp_path: Path) -> None:
    docker.down()
    docker.context("desktop-linux", f"unix://{tmp_path}/h/.docker/run/docker.sock")
    fact = look()
    assert (fact["desktop"], fact["version"], fact["meets_minimum"]) == (True, None, None)
    assert (why(fact, "version"), why(fact, "docker.daemon")) == ("unreachable", "unreachable")


def test_a_desktop_with_its_runner_off(look: Look, docker: Docker, tmp_path: Path) -> None:
    docker.server("Docker Desktop 4.47.0 (206054)", "28.4.0")
    path = tmp_path / "docker.sock"
    docker.context("desktop-linux", f"unix://{path}")
    with Pages({"*": (404, '{"message":"page not found"}')}, socket_path=path):
        fact = look()
    assert (fact["runner_enabled"], fact["runner_running"]) == (False, False)
    assert why(fact, "runner_enabled") == why(fact, "runner_running") == "runtime_missing"
    assert "docker desktop enable model-runner" in fact["reasons"]["runner_running"]["message"]
    assert fact["endpoints"][-1]["state"] == "not_enabled"


def test_a_desktop_whose_runner_has_its_socket_only(look: Look, docker: Docker, tmp_path: Path) -> None:
    docker.server("Docker Desktop 4.47.0 (206054)", "28.4.0")
    path = tmp_path / "h/.docker/run/docker.sock"
    path.parent.mkdir(parents=True)
    docker.context("desktop-linux", f"unix://{path}")
    with Runner(tmp_path / "models", socket_path=path):
        fact = look()
    assert (fact["desktop"], fact["runner_enabled"], fact["runner_running"]) == (True, True, True)
    assert fact["endpoint"] == f"unix://{path}#/exp/vDD4.40"
    assert fact["listener"] == {"kind": "desktop", "address": fact["endpoint"], "container": None, "process": None}
    assert [entry["state"] for entry in fact["endpoints"]] == ["refused", "runner", "missing", "missing"]


def test_an_early_desktop_without_a_greeting(look: Look, docker: Docker, tmp_path: Path) -> None:
    """It has only what is below /engines and /models; the client's context names the socket."""
    docker.server("Docker Desktop 4.40.0 (187762)", "28.0.4")
    path = tmp_path / "docker.sock"
    docker.context("desktop-linux", f"unix://{path}")
    pages = {f"/exp/vDD4.40{name}": page for name, page in runner_pages().items() if name not in ("/", "/version")}
    with Pages(pages, socket_path=path) as server:
        fact = look()
    assert server.methods == {"GET"}
    assert (fact["runner_running"], fact["runner_version"], fact["listener"]["kind"]) == (True, None, "desktop")
    assert why(fact, "runner_version") == "hub_error"
    assert fact["endpoint"] == f"unix://{path}#/exp/vDD4.40"


def test_a_desktop_whose_socket_drips(look: Look, docker: Docker, tmp_path: Path) -> None:
    """The socket is found last, by the client's context, when a part of the time has gone."""
    docker.server("Docker Desktop 4.47.0 (206054)", "28.4.0")
    path = tmp_path / "docker.sock"
    docker.context("desktop-linux", f"unix://{path}")
    with Pages({"*": "trickle"}, socket_path=path):
        fact = look(timeout=1)
    assert (fact["endpoints"][-1]["address"], fact["endpoints"][-1]["state"]) == (
        f"unix://{path}#/exp/vDD4.40",
        "timeout",
    )


def test_a_desktop_with_tcp(look: Look, docker: Docker) -> None:
    docker.server("Docker Desktop 4.47.0 (206054)", "28.4.0")
    with Pages(runner_pages()) as runner:
        fact = look(runner.port)
    assert (fact["listener"]["kind"], fact["endpoint"]) == ("desktop", f"http://127.0.0.1:{runner.port}")


@pytest.mark.parametrize(
    ("name", "version"),
    [("Docker Engine - Community", "28.2.2"), ("", "20.10.24+dfsg1"), ("Docker Engine - Enterprise", "19.03.18")],
)
@pytest.mark.parametrize("plugin", [True, False])
def test_engines(look: Look, docker: Docker, name: str, version: str, plugin: bool) -> None:
    docker.server(name, version)
    docker.plugins([{"Name": "compose", "Version": "v2"}, *([PLUGIN] if plugin else [])])
    fact = look()
    assert (fact["desktop"], fact["version"], fact["meets_minimum"]) == (False, version, plugin)
    assert fact["docker"]["daemon"] == {
        "reachable": True, "version": version, "platform_name": name, "os": "linux", "architecture": "amd64",
        "host": "unix:///var/run/docker.sock", "remote": False,
    }  # fmt: skip
    assert (fact["containers"], fact["runner_enabled"], fact["runner_running"]) == ([], False, False)
    assert fact["listener"] == {"kind": "none", "address": None, "container": None, "process": None}
    assert (why(fact, "runner_enabled"), why(fact, "runner_running")) == ("runtime_missing", "runtime_missing")
    assert ("meets_minimum" in fact["reasons"]) is not plugin
    assert plugin or why(fact, "docker.plugin") == why(fact, "meets_minimum") == "engine_missing"


def test_a_plugin_that_cannot_be_used(look: Look, docker: Docker) -> None:
    docker.plugins([{"Name": "model", "Path": "/x/docker-model", "Err": "failed to fetch metadata: exit status 1"}])
    fact = look()
    assert fact["docker"]["plugin"] == {"present": False, "version": None, "path": "/x/docker-model"}
    assert (fact["meets_minimum"], why(fact, "docker.plugin")) == (False, "hub_error")


def test_plugins_told_as_null(look: Look, docker: Docker) -> None:
    docker.says("info", '{"Debug":false,"Context":"default","Plugins":null,"Warnings":null}')
    assert look()["docker"]["plugin"]["present"] is False


# What listens


def test_a_runner_in_its_container(look: Look, docker: Docker) -> None:
    docker.plugins([PLUGIN])
    with Pages(runner_pages()) as runner:
        docker.container(inspected(HostConfig__PortBindings=at(runner.port), NetworkSettings__Ports=at(runner.port)))
        fact = look(runner.port)
    assert {line.split()[0] for line in docker.asked} == set(LOOKS)
    assert runner.methods == {"GET"}
    assert (fact["runner_enabled"], fact["runner_running"], fact["runner_version"]) == (True, True, "1.2.6")
    assert fact["listener"]["kind"] == "container"
    assert fact["listener"]["container"] == "docker-model-runner"
    assert fact["containers"] == [
        {
            "id": "61b4a757015d", "name": "docker-model-runner", "image": "docker/model-runner:latest",
            "state": "running", "running": True, "exit_code": None, "restart_policy": "always", "labelled": True,
            "publishes": [{"container_port": "12434/tcp", "host_ip": "127.0.0.1", "host_port": runner.port}],
            "holds_endpoint": True,
        }
    ]  # fmt: skip
    assert fact["backends"] == [
        {"name": "diffusers", "state": "not_installed", "detail": None},
        {"name": "llama.cpp", "state": "running", "detail": "llama.cpp unknown"},
        {"name": "mlx", "state": "not_installed", "detail": "only supported on Apple Silicon"},
        {"name": "sglang", "state": "not_installed", "detail": "package not installed"},
        {"name": "vllm", "state": "not_installed", "detail": "binary not found"},
    ]
    assert (fact["models"], fact["disk"]) == ([], {"models_bytes": 42, "backend_bytes": 15096040})
    assert set(fact["reasons"]) == {"desktop"}


def test_a_runner_in_its_container_on_the_hosts_network(look: Look, docker: Docker) -> None:
    with Pages(runner_pages()) as runner:
        document = inspected(HostConfig__PortBindings={}, NetworkSettings__Ports={}, HostConfig__NetworkMode="host")
        docker.container(document, Ports="")
        fact = look(runner.port)
    assert (fact["listener"]["kind"], fact["containers"][0]["holds_endpoint"]) == ("container", True)


def test_a_stopped_runner(look: Look, docker: Docker) -> None:
    document = inspected(State={"Status": "exited", "Running": False, "ExitCode": 137}, NetworkSettings__Ports={})
    docker.container(document, State="exited", Ports="", Status="Exited (137) 2 minutes ago")
    fact = look()
    assert (fact["runner_enabled"], fact["runner_running"], fact["listener"]["kind"]) == (True, False, "none")
    assert fact["containers"][0]["exit_code"] == 137
    assert fact["reasons"]["runner_running"] == {
        "reason": "runtime_missing",
        "message": "The runner's container docker-model-runner does not run: it is exited with code 137.",
    }


def test_a_stranger_where_a_stopped_runner_was(look: Look, docker: Docker) -> None:
    docker.container(inspected(State={"Status": "exited", "Running": False, "ExitCode": 0}), State="exited", Ports="")
    with Pages({"*": (200, "hello")}) as stranger:
        fact = look(stranger.port)
    assert (fact["runner_enabled"], fact["runner_running"], fact["listener"]["kind"]) == (True, False, "other")
    assert "does not run" in fact["reasons"]["runner_running"]["message"]
    assert why(fact, "listener") == "port_in_use"


def test_a_runners_container_of_another_name(look: Look, docker: Docker) -> None:
    with Pages(runner_pages()) as runner:
        docker.container(inspected(Name="/models", NetworkSettings__Ports=at(runner.port)), Names="models")
        fact = look(runner.port)
    assert (fact["listener"]["kind"], fact["listener"]["container"]) == ("container", "models")
    assert fact["containers"][0]["labelled"] is True


def test_a_container_under_the_runners_name_that_is_none(look: Look, docker: Docker) -> None:
    docker.container(inspected(Config__Labels={}, Config__Image="nginx", NetworkSettings__Ports={}), Labels="")
    fact = look()
    assert (fact["containers"][0]["labelled"], fact["containers"][0]["image"]) == (False, "nginx")
    assert (fact["runner_enabled"], fact["runner_running"]) == (False, False)


def test_a_container_of_a_stranger_on_the_port(look: Look, docker: Docker) -> None:
    with Pages({"*": (200, "<html>It works!</html>")}) as web:
        document = inspected(Name="/web", Config__Labels={}, NetworkSettings__Ports=at(web.port, "80/tcp"))
        docker.container(document, Names="web", Labels="", Ports=f"127.0.0.1:{web.port}->80/tcp")
        fact = look(web.port)
    assert (fact["listener"]["kind"], fact["listener"]["container"]) == ("other", "web")
    assert (fact["runner_enabled"], why(fact, "runner_running")) == (False, "port_in_use")


def test_a_running_container_that_does_not_answer_yet(look: Look, docker: Docker, free_port: int) -> None:
    docker.container(inspected(NetworkSettings__Ports=at(free_port)))
    fact = look(free_port)
    assert (fact["runner_enabled"], fact["runner_running"]) == (True, False)
    assert fact["reasons"]["runner_running"]["message"].startswith("The runner's container docker-model-runner runs,")


def test_a_runner_without_docker(look: Look, tmp_path: Path) -> None:
    with Runner(tmp_path / "models") as runner:
        fact = look(runner.port, executable="no-such-docker")
    assert (fact["installed"], fact["runner_enabled"], fact["runner_running"]) == (False, True, True)
    assert fact["listener"]["kind"] == "standalone"
    assert fact["listener"]["process"]["pid"] == os.getpid()


def test_a_runner_beside_docker(look: Look, docker: Docker, tmp_path: Path) -> None:
    with Runner(tmp_path / "models") as runner:
        fact = look(runner.port)
    assert (fact["listener"]["kind"], fact["containers"]) == ("standalone", [])


@pytest.mark.parametrize(
    ("pages", "state", "reason", "status"),
    [
        ({"*": (200, "hello")}, "other", "port_in_use", 200),
        ({}, "other", "port_in_use", 404),
        ({"*": (401, "no")}, "other", "port_in_use", 401),
        ({"/": (200, "Ollama is running")}, "other", "port_in_use", 200),
        ({"/": (200, "x"), "/engines/status": (200, '{"status": "ok"}')}, "other", "port_in_use", 200),
        ({"*": "hang"}, "timeout", "timeout", None),
        ({"*": "trickle"}, "timeout", "timeout", None),
        ({"*": "close"}, "closed", "transfer_failed", None),
    ],
    ids=["page", "404", "401", "ollama", "status of another", "hangs", "trickles", "closes"],
)
def test_a_stranger_on_the_port(
    look: Look, pages: Document, state: str, reason: str, status: int | None, docker: Docker
) -> None:
    with Pages(pages) as stranger:
        # Without docker: a command that is just being started would hold this process's port too, for a moment.
        fact = look(stranger.port, executable="no-such-docker", timeout=2)
    first = fact["endpoints"][0]
    assert (first["state"], first["reason"], first["status"]) == (state, reason, status)
    assert (fact["runner_enabled"], fact["runner_running"], fact["models"]) == (False, False, None)
    assert fact["listener"]["kind"] == "other"
    assert fact["listener"]["process"]["pid"] == os.getpid()
    assert (why(fact, "runner_running"), why(fact, "listener")) == (reason, reason)
    assert f"process {os.getpid()}" in fact["reasons"]["runner_running"]["message"]


def test_a_stranger_that_speaks_no_http(look: Look) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        fact = look(listener.getsockname()[1], timeout=2)
    assert (fact["endpoints"][0]["state"], fact["listener"]["kind"]) == ("timeout", "other")


def test_a_runner_without_tls_that_is_asked_by_it(look: Look, tmp_path: Path) -> None:
    with Runner(tmp_path / "models") as runner:
        fact = look(endpoint=f"https://127.0.0.1:{runner.port}")
    assert (fact["endpoints"][0]["state"], fact["runner_running"]) == ("closed", False)


def test_a_runner_below_a_path(look: Look) -> None:
    with Pages({f"/below{path}": page for path, page in runner_pages().items()}) as runner:
        fact = look(endpoint=f"http://127.0.0.1:{runner.port}/below/")
    assert (fact["runner_running"], fact["endpoint"]) == (True, f"http://127.0.0.1:{runner.port}/below")


def test_the_owner_of_the_port_is_told_without_a_library(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MISSING", "No module named 'psutil'")
    with Pages({}) as stranger:
        fact = look(stranger.port)
    assert (fact["listener"]["kind"], fact["listener"]["process"]["pid"]) == ("other", os.getpid())


def test_a_stranger_on_the_port_and_the_runner_on_a_socket(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.sock"
    monkeypatch.setenv("MODEL_RUNNER_SOCK", str(path))
    with Pages({"*": (200, "hello")}) as stranger, Runner(tmp_path / "models", socket_path=path):
        fact = look(stranger.port)
    assert (fact["endpoint"], fact["runner_running"]) == (f"unix://{path}", True)
    assert fact["listener"] == {"kind": "standalone", "address": f"unix://{path}", "container": None, "process": None}
    assert [entry["state"] for entry in fact["endpoints"][:2]] == ["other", "runner"]


def test_a_socket_nobody_listens_on(look: Look, tmp_path: Path) -> None:
    path = tmp_path / "r.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    fact = look(sockets=[str(path), "relative.sock", "$NOT_SET"])
    assert [(entry["address"], entry["state"]) for entry in fact["endpoints"][1:]] == [(f"unix://{path}", "refused")]


@pytest.mark.parametrize(
    "params",
    [
        *({"endpoint": text} for text in (
            "", "12434", "banana", ":99999", "ftp://127.0.0.1", "http://", "http://127.0.0.1:port",
            "http://127.0.0.1:99999", "http://[", "http://a\u0000b", "unix://relative.sock",
        )),
        *({"timeout": seconds} for seconds in (0, -1, "nan", "inf", 1e300)),
    ],
    ids=str,
)  # fmt: skip
def test_an_option_that_cannot_be_meant(run_module: Run, params: Document) -> None:
    result = run_module("docker_model_runner_facts", **params)
    assert result["reason"] == "invalid_input", result
    assert "unexpected" not in result["msg"]


# Models


def test_models_as_they_were_recorded(look: Look) -> None:
    several = named("docker_model_runner/models.json", "models after tag")["response"]["body"]
    loaded = named("docker_model_runner/serving.json", "ps")["response"]["body"]
    with Pages(runner_pages(_models=(200, several), _engines_ps=(200, loaded))) as runner:
        fact = look(runner.port)
    alpha, beta = fact["models"]
    assert alpha == {
        "id": "sha256:45ffd2e9b776f663f6ce4145f9f218cb198c0a36e217a9f91905e1d5b014c8bd",
        "tags": ["127.0.0.1:5003/ai/alpha:latest", "docker.io/ai/chat:latest"],
        "size": "2.58MiB", "size_bytes": 2705326, "quantization": "MOSTLY_F32", "parameters": "676.80K",
        "architecture": "llama", "format": "gguf", "context_length": 512, "created": 1795224995,
        "state": "loaded", "loaded": True,
    }  # fmt: skip
    assert (beta["tags"], beta["state"], beta["loaded"]) == (["127.0.0.1:5003/ai/beta:latest"], "unloaded", False)


def test_models_of_a_running_runner(look: Look, tmp_path: Path) -> None:
    with Runner(tmp_path / "models") as runner:
        runner.publish("ai/alpha", {"model.gguf": b"alpha"})
        runner.pulls.pull("ai/alpha", "")
        list(runner.pulls.pull("ai/alpha", ""))
        fact = look(runner.port)
    assert [model["tags"] for model in fact["models"]] == [["docker.io/ai/alpha:latest"]]
    assert fact["disk"]["models_bytes"] > 0


@pytest.mark.parametrize(
    ("listed", "count", "reason"),
    [
        ("null", 0, None),
        ("[]", 0, None),
        ('[{"id": "sha256:1"}]', 1, None),
        ('[{"id": 7, "tags": "x", "config": [], "created": "soon"}]', 1, None),
        ('[{"id": "sha256:1", "tags": [null], "config": {"size": 5, "context_size": "x", "gguf": 1}}]', 1, None),
        ('[1, null, {"id": "sha256:1", "tags": null}]', 1, "hub_error"),
        ('{"models": []}', None, "hub_error"),
        ("<html>", None, "hub_error"),
        ("[" * 200_000, None, "hub_error"),
        ('[{"id": "sha256:1", "config": {"context_size": 1e400, "size": "9e9 GB"}, "created": -1e999}]', 1, None),
        ('[{"id": "sha256:1", "config": {"context_size": "²", "size": "%s MB"}}]' % ("9" * 400), 1, None),
    ],
)
def test_lists_of_models_that_are_odd(look: Look, listed: str, count: int | None, reason: str | None) -> None:
    with Pages(runner_pages(_models=(200, listed))) as runner:
        fact = look(runner.port)
    known = fact["models"]
    assert (None if known is None else len(known), fact["reasons"].get("models", {}).get("reason")) == (count, reason)
    for model in known or ():
        assert (model["size_bytes"], model["context_length"], model["loaded"]) == (None, None, False)


def test_context_from_the_file_where_nothing_else_tells(look: Look) -> None:
    listed = '[{"id": "sha256:1", "tags": ["a"], "config": {"architecture": "llama", "gguf": {"llama.context_length": "2048"}}}]'
    with Pages(runner_pages(_models=(200, listed))) as runner:
        assert look(runner.port)["models"][0]["context_length"] == 2048


def test_a_model_that_is_loading_and_two_of_one_name(look: Look) -> None:
    listed = json.dumps([{"id": f"sha256:{tag}", "tags": [tag]} for tag in ("ai/a:1", "ai/a:2", "ai/b", "ai/c")])
    loaded = json.dumps(
        [{"model_name": "ai/a"}, {"model_name": "ai/b", "loading": True}, {"model_name": "sha256:ai/c"}]
    )
    with Pages(runner_pages(_models=(200, listed), _engines_ps=(200, loaded))) as runner:
        fact = look(runner.port)
    states = {model["tags"][0]: (model["state"], model["loaded"]) for model in fact["models"]}
    assert states == {
        "ai/a:1": (None, None), "ai/a:2": (None, None), "ai/b": ("loading", False), "ai/c": ("loaded", True),
    }  # fmt: skip
    assert why(fact, "models.loaded") == "unsupported"


@pytest.mark.parametrize(
    ("page", "reason"), [((500, "boom"), "hub_error"), ("close", "transfer_failed"), ("hang", "timeout")]
)
def test_a_runner_that_answers_a_part(look: Look, page: t.Any, reason: str) -> None:
    changed = dict.fromkeys(("_models", "_engines_ps", "_engines_df", "_version"), page)
    with Pages(runner_pages(**changed)) as runner:
        fact = look(runner.port, timeout=2)
    assert (fact["runner_running"], fact["models"], fact["disk"], fact["runner_version"]) == (True, None, None, None)
    for name in ("models", "models.loaded", "disk", "runner_version"):
        assert why(fact, name) == reason
    assert len(fact["backends"]) == 5


def test_backends_in_every_state(look: Look) -> None:
    status = {"llama.cpp": "Not Running", "sglang": "Error: Python not found", "mlx": "Resting", "vllm": 3}
    with Pages(runner_pages(_engines_status=(200, json.dumps(status)))) as runner:
        fact = look(runner.port)
    assert {entry["name"]: (entry["state"], entry["detail"]) for entry in fact["backends"]} == {
        "llama.cpp": ("stopped", None), "mlx": ("unknown", "Resting"), "sglang": ("error", "Python not found"),
        "vllm": ("unknown", "3"),
    }  # fmt: skip


# The host


@pytest.mark.parametrize(
    ("system", "machine", "build", "told"),
    [
        ("Darwin", "arm64", "Darwin Kernel Version 24.6.0: RELEASE_ARM64_T6000", ("macos", "arm64")),
        ("Darwin", "x86_64", "Darwin Kernel Version 24.6.0: RELEASE_ARM64_T6000", ("macos", "arm64")),
        ("Darwin", "x86_64", "Darwin Kernel Version 22.6.0: RELEASE_X86_64", ("macos", "amd64")),
        ("Linux", "aarch64", "#1 SMP", ("linux", "arm64")),
        ("Linux", "x86_64", "#1 SMP", ("linux", "amd64")),
        ("Linux", "riscv64", "#1 SMP", ("linux", "riscv64")),
        ("Windows", "AMD64", "10.0.22631", ("windows", "amd64")),
    ],
)
def test_platforms(
    look: Look, monkeypatch: pytest.MonkeyPatch, system: str, machine: str, build: str, told: tuple[str, str]
) -> None:
    for name, value in {"system": system, "machine": machine, "version": build}.items():
        monkeypatch.setattr(platform, name, lambda value=value: value)
    fact = look()
    assert (fact["platform"], fact["architecture"]) == told


def test_check_mode_tells_the_same(look: Look, docker: Docker) -> None:
    docker.container(inspected())
    assert look() == look(check=True)


def test_a_command_that_could_change_something_is_refused(docker: Docker) -> None:
    command = DockerCommand(str(docker.path), until=time.monotonic() + 1, grace=0.1)
    for words in (("model", "status"), ("run", "x"), ("context", "use", "x"), ("start", "x"), ()):
        with pytest.raises(ValueError, match="is not known to change nothing"):
            command.ask(*words)
    assert docker.asked == []


@pytest.mark.parametrize(
    ("ports", "there"),
    [
        ("127.0.0.1:12434->12434/tcp", True),
        ("0.0.0.0:12430-12440->80-90/tcp, [::]:443->443/tcp", True),
        ("12434/tcp", False),
        ("127.0.0.1:8080->12434/tcp", False),
        ("", False),
    ],
)
def test_ports_as_docker_shows_them(ports: str, there: bool) -> None:
    assert published(ports, 12434) is there


def test_ports_of_this_host_only() -> None:
    assert [local_port(address) for address in ("http://localhost:12434", "http://127.0.0.1", "https://[::1]")] == [
        12434, 80, 443,
    ]  # fmt: skip
    assert [local_port(address) for address in ("http://10.0.0.9:12434", "unix:///x", "http://[", "x")] == [None] * 4
