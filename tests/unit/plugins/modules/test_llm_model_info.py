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
from ansible_collections.llmops.fleet.plugins.module_utils._core.model import CAPABILITIES
from contract.sources import OFFERINGS, Offering, Run
from docker_states import Pages, runner_pages
from hub import Hub
from stand_in import Connection, Listener

SCRIPT = """
import json, runpy, sys
from ansible.module_utils.testing import patch_module_args
with patch_module_args({{**json.loads(sys.argv[1]), "_ansible_remote_tmp": "/tmp"}}):
    runpy.run_module("ansible_collections.llmops.fleet.plugins.modules.{}", run_name="__main__")
"""


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
        endpoints={source: offering.params["endpoint"]} if program else {},
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
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format("llm_model"), json.dumps(arguments)], env=environment
    ) as pull:
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
    # A hub that is not there is known at once, and called so.
    assert info(model="org/alpha", endpoint="http://127.0.0.1:9")["capabilities"]["reason"] == "unreachable"
    model(name="alpha", model="org/alpha", endpoint=hub.url)
    here = info(model="org/alpha")["capabilities"]
    assert (here["from"], here["name"], here["quantization"]) == ("host", "alpha", "F32")
    # A failure is told beside everything else.
    told = info(model="org/none", endpoint=hub.url)
    assert [record["name"] for record in told["models"]] == ["alpha"]
    failed = told["capabilities"]
    assert (failed["from"], failed["name"], failed["reason"]) == (None, None, "not_found")
    assert "org/none" in failed["error"]
    for answer in (asked, here, failed):
        assert set(answer) == {*CAPABILITIES, "from", "name", "reason", "error"}


def test_a_record_of_another_source_is_not_the_model_that_is_meant(info: Run, model: Run, hub: Hub) -> None:
    hub.publish("org/a", {"w.bin": b"x"})
    model(name="phi3:mini", model="org/a", endpoint=hub.url)

    def source(**params: t.Any) -> t.Any:
        return info(**{"endpoint": "http://127.0.0.1:9", **params})["capabilities"]["from"]

    assert source(model="phi3:mini") == source(model="phi3:mini", source="huggingface") == "host"
    assert source(model="org/a") == source(model="Org/A") == source(model="org/a", source="huggingface") == "host"
    assert source(model="org/a", source="lm_studio") is None
    assert source(model="phi3:mini", source="docker_model_runner") is None


class Dripping(Listener):
    """A server that sends a byte every tenth of a second: an endless header, or an endless body."""

    def __init__(self, head: bytes) -> None:
        super().__init__()
        self.head = head

    def __enter__(self) -> Dripping:
        self.listen(_Drip)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()


class _Drip(Connection):
    listener: Dripping

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.recv(65536)
            self.connection.sendall(self.listener.head)
            for _byte in range(300):
                self.connection.sendall(b"x")
                time.sleep(0.1)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_programs_and_a_hub_that_drip_are_left_alone(info: Run, host: Path, head: bytes) -> None:
    """The whole process ends in time: no thread is waited for, not even by the interpreter."""
    with Dripping(head) as server:
        programs = ("docker_model_runner", "lm_studio", "ollama")
        arguments = {
            "prefix": str(host), "endpoints": dict.fromkeys(programs, server.url), "timeout": 1.5,
            "model": "org/a", "endpoint": server.url,
        }  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT.format("llm_model_info"), json.dumps(arguments)], env=environment,
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        took = time.monotonic() - started
    result = json.loads(done.stdout)
    assert {name: answer["reason"] for name, answer in result["programs"].items()} == dict.fromkeys(programs, "timeout")
    assert result["capabilities"]["reason"] == "timeout"
    assert result["usage"]["memory_total_gb"] > 0
    # Python and Ansible take seconds to begin on a busy machine; the server drips for thirty.
    assert took < 12


def test_a_silent_hub_costs_the_time_limit_and_no_more(info: Run) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent_hub = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for source in ("huggingface", "docker_model_runner", "lm_studio"):
            started = time.monotonic()
            asked = info(model="org/a", source=source, endpoint=silent_hub, timeout=1)["capabilities"]
            assert asked["reason"] in ("timeout", "unreachable")
            assert time.monotonic() - started < 1.6


def test_a_stranger_in_the_place_of_a_program_is_told(info: Run) -> None:
    for body in (
        "[" * 200_000,
        '{"models": 7}',
        '{"models": [{"size": 1e400, "name": [], "details": [1]}]}',
        "Ollama is running",
    ):
        with Pages({"*": (200, body)}) as stranger:
            told = info(
                programs=None, endpoints=dict.fromkeys(("docker_model_runner", "lm_studio", "ollama"), stranger.url)
            )
        assert not any(answer["reachable"] for answer in told["programs"].values()), told["programs"]


@pytest.mark.parametrize(
    "params",
    [
        *({"timeout": seconds} for seconds in (0, -1, "nan", "inf", 1e300)),
        {"operations": -7},
        *({"max_disk_gb": limit} for limit in (-1, "nan", "inf")),
        {"endpoints": {"olama": "http://127.0.0.1:1"}},
        {"endpoints": {"ollama": 11434}},
        {"endpoints": {"ollama": ["http://127.0.0.1:1"]}},
        {"store": "/etc/passwd"},
        {"store": "/etc/passwd/models"},
        {"store": "models"},
        {"prefix": "/etc/passwd"},
        {"prefix": "relative"},
    ],
    ids=str,
)
def test_an_option_that_cannot_be_meant(run_module: Run, host: Path, params: dict[str, t.Any]) -> None:
    result = run_module("llm_model_info", **{"prefix": str(host), "programs": [], **params})
    assert result.get("reason") == "invalid_input", result
    assert next(iter(params)) in result["msg"]


SECRET = "s3cret"
WITH_SECRET = ("http://bob:s3cret@127.0.0.1:9", "http://bob:s3cret@127.0.0.1:99999", "ftp://bob:s3cret@host",
               "bob:s3cret@host:1", "unix://bob:s3cret@/x", "http://bob:s3cret@[", "https://bob:s3cret@127.0.0.1:9/p?q")  # fmt: skip


@pytest.mark.parametrize("address", WITH_SECRET)
def test_no_address_shows_its_credentials(run_module: Run, info: Run, model: Run, host: Path, address: str) -> None:
    programs = ("docker_model_runner", "lm_studio", "ollama")
    told = [info(programs=None, endpoints=dict.fromkeys(programs, address))]
    told += [info(model="org/a", source=source, endpoint=address) for source in (*programs, "huggingface")]
    told += [
        run_module("docker_model_runner_facts", endpoint=address, executable="no-such-docker", sockets=[]),
        run_module("docker_model_runner_facts", sockets=[address], executable="no-such-docker"),
    ]
    told += [model(source=source, model="org/a", endpoint=address, timeout=0.5) for source in programs]
    assert SECRET not in json.dumps(told)


def test_credentials_of_what_answers_are_not_shown(
    run_module: Run, info: Run, model: Run, host: Path, hub: Hub
) -> None:
    def with_secret(url: str) -> str:
        return url.replace("://", "://bob:s3cret@")

    hub.publish("org/a", {"w.bin": b"x"})
    with Pages(runner_pages()) as runner:
        address = with_secret(runner.url)
        facts = run_module("docker_model_runner_facts", endpoint=address, executable="no-such-docker", sockets=[])
        assert facts["ansible_facts"]["docker_model_runner"]["endpoint"] == runner.url
        told = [
            facts,
            info(programs=["docker_model_runner"], endpoints={"docker_model_runner": address}),
            info(model="none", source="docker_model_runner", endpoint=address),
            *(info(model=name, endpoint=with_secret(hub.url)) for name in ("org/a", "org/none")),
            *(model(model=name, endpoint=with_secret(hub.url)) for name in ("org/none", "org/a")),
        ]
        model(source="docker_model_runner", model="none", endpoint=address)
    assert SECRET not in json.dumps(told)
    # Not in the name of a lock either.
    assert not [path for path in host.rglob("*") if SECRET in path.name]
