# SPDX-License-Identifier: GPL-3.0-or-later
"""What of Ollama bit in practice, against a daemon that answers as the recordings say, and its program."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
import typing as t
from dataclasses import replace
from pathlib import Path

import ollama_command
import psutil
import pytest
import requests
from ansible_collections.llmops.fleet.plugins.module_utils._core.digest import Digest
from ansible_collections.llmops.fleet.plugins.module_utils._core.engine import Endpoint, Served, Settings
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.model import FileEntry, InstalledModel
from ansible_collections.llmops.fleet.plugins.module_utils._core.proof import fault_in_facts, fault_in_tokens
from ansible_collections.llmops.fleet.plugins.module_utils._core.traits import Traits
from ansible_collections.llmops.fleet.plugins.module_utils._engines.ollama import Ollama
from docker_model_runner import Runner
from ollama_daemon import Daemon
from reciter import gguf, sentence_of
from recorded import Case, Recorded, answer, cases, named

HERE = "127.0.0.1"
SETTINGS = Settings("alpha:latest", ("chat", "gpt"), HERE, 11434, 256)
SERVING, UPDATES = "ollama/serving.json", "ollama/updates.json"


class Quick(Ollama):
    patience = 5.0
    last_try = 0.6


ENGINE = Quick()


class World:
    """A daemon over HTTP, whoever runs it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.endpoint = Endpoint(HERE, port)

    def ask(self, method: str, path: str, **body: t.Any) -> t.Any:
        response = requests.request(method, f"{self.endpoint.url}{path}", json=body or None, timeout=10)
        assert response.ok, response.text
        return response.json() if response.content.startswith(b"{") else None

    def make(self, name: str, says: str = "", **more: t.Any) -> str:
        """A model of its own weights under that name; its digest."""
        data = gguf(sentence_of(says or name), says or name)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        requests.post(f"{self.endpoint.url}/api/blobs/{digest}", data=data, timeout=10)
        return self.create(name, files={"model.gguf": digest}, **more)

    def create(self, name: str, **body: t.Any) -> str:
        self.ask("POST", "/api/create", model=name, stream=False, **body)
        return self.tags()[f"{name}:latest"]

    def request(self, name: str) -> str:
        answered = self.ask("POST", "/v1/chat/completions", model=name, messages=[{"role": "user", "content": "Who?"}])
        return str(answered["choices"][0]["message"]["content"])

    def tags(self) -> dict[str, str]:
        return {tag["name"]: tag["digest"] for tag in self.ask("GET", "/api/tags")["models"]}

    def loaded(self) -> list[tuple[str, str]]:
        return [(entry["name"], entry["digest"]) for entry in self.ask("GET", "/api/ps")["models"]]

    def settings(self, model: str = "alpha", **more: t.Any) -> Settings:
        """As a generation has them: of the bytes that the name means now."""
        name = f"{model}:latest"
        return replace(SETTINGS, port=self.port, model_path=name, digest=self.tags()[name], **more)

    def load(self, settings: Settings) -> None:
        ENGINE.load(self.endpoint, settings, 10)

    def served(self, settings: Settings) -> Served:
        return ENGINE.served(self.endpoint, settings)


@pytest.fixture
def daemon(tmp_path: Path) -> t.Iterator[Daemon]:
    with Daemon(tmp_path / "models") as running:
        running.set(unload_seconds=0.3, context_length=256)
        yield running


@pytest.fixture
def world(daemon: Daemon) -> World:
    made = World(daemon.port)
    made.make("alpha")
    made.make("beta")
    return made


@pytest.fixture
def recorded() -> t.Iterator[Recorded]:
    with Recorded() as server:
        yield server


# --- a switch, and back ---


def test_served_names_stay_while_models_come_and_go(world: World) -> None:
    alpha, beta = world.settings("alpha"), world.settings("beta")
    world.load(alpha)
    served = world.served(alpha)
    assert (served.names, served.model_path, served.context_length) == (("chat", "gpt"), "alpha:latest", 256)
    assert (served.digest, served.faults, served.asleep) == (alpha.digest, (), False)
    assert served.vram_bytes == 0
    assert fault_in_facts(served, alpha) is None
    assert [world.request(name) for name in ("chat", "gpt")] == [sentence_of("alpha")] * 2

    ENGINE.release(world.endpoint, alpha, beta.served_names)
    world.load(beta)
    assert [digest for _name, digest in world.loaded()] == [beta.digest]
    assert [world.request(name) for name in ("chat", "gpt")] == [sentence_of("beta")] * 2
    assert fault_in_facts(world.served(beta), beta) is None
    # What was served before is no more, and is said by name.
    assert world.served(alpha).names == ()
    assert len(world.served(alpha).faults) == 2

    world.load(alpha)
    assert [digest for _name, digest in world.loaded()] == [alpha.digest]
    assert world.request("chat") == sentence_of("alpha")


def test_a_switch_asks_for_no_other_environment() -> None:
    other = replace(SETTINGS, model_path="beta:latest", served_names=("x",), digest="1" * 64)
    assert ENGINE.environment(SETTINGS) == ENGINE.environment(other)
    assert ENGINE.environment(SETTINGS) != ENGINE.environment(replace(SETTINGS, context_length=512))


def test_a_name_that_is_right_already_is_not_written(world: World, daemon: Daemon) -> None:
    settings = world.settings(served_names=("alpha", "chat"))
    world.load(settings)
    daemon.reset()
    world.load(settings)
    assert "POST /api/copy" not in daemon.requests
    assert sorted(world.tags()) == ["alpha:latest", "beta:latest", "chat:latest"]


def test_release_takes_names_and_memory_and_no_bytes(world: World) -> None:
    settings = world.settings(served_names=("alpha", "chat", "gpt"))
    world.load(settings)
    ENGINE.release(world.endpoint, settings, ("gpt",))
    assert sorted(world.tags()) == ["alpha:latest", "beta:latest", "gpt:latest"]
    assert world.loaded() == []


def test_release_leaves_the_last_name_of_bytes(world: World) -> None:
    settings = world.settings()
    world.load(settings)
    world.ask("DELETE", "/api/delete", model="alpha")
    ENGINE.release(world.endpoint, settings, ())
    assert list(world.tags().values()).count(settings.digest) == 1
    assert world.loaded() == []


def test_release_leaves_a_name_that_means_something_else_by_now(world: World) -> None:
    settings = world.settings()
    world.load(settings)
    world.ask("POST", "/api/copy", source="beta", destination="gpt")
    ENGINE.release(world.endpoint, settings, ())
    assert sorted(world.tags()) == ["alpha:latest", "beta:latest", "gpt:latest"]


def test_names_match_whatever_their_case(world: World) -> None:
    settings = world.settings(served_names=("Chat", "ALPHA"))
    world.load(settings)
    assert sorted(world.tags()) == ["Chat:latest", "alpha:latest", "beta:latest"]
    assert world.served(replace(settings, served_names=("CHAT", "Alpha"))).names == ("CHAT", "Alpha")
    assert world.request("cHAT") == sentence_of("alpha")


def test_the_same_weights_with_other_settings_are_told_apart(world: World) -> None:
    base = world.settings("alpha", served_names=("base",))
    world.load(base)
    world.create("tuned", **{"from": "alpha"}, system="You are short.")
    tuned = world.settings("tuned")
    world.load(tuned)
    assert [digest for _name, digest in world.loaded()] == [tuned.digest]


# --- sleep ---


def test_sleep_ends_when_memory_is_free_though_the_answer_comes_before(world: World, daemon: Daemon) -> None:
    settings = world.settings()
    world.load(settings)
    daemon.set(unload_seconds=0.8)
    began = time.monotonic()
    ENGINE.sleep(world.endpoint, settings, 1)
    assert time.monotonic() - began >= 0.8
    assert world.loaded() == []
    served = world.served(settings)
    assert (served.names, served.memory_bytes, served.context_length) == (("chat", "gpt"), None, None)
    assert (served.asleep, served.faults) == (True, ())
    assert ENGINE.health(world.endpoint).state == "ready"
    ENGINE.wake(world.endpoint, settings)
    assert (world.served(settings).asleep, world.served(settings).memory_bytes is None) == (False, False)


def test_what_does_not_leave_memory_is_an_error(world: World, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = world.settings()
    world.load(settings)
    monkeypatch.setattr(Quick, "patience", 0.3)
    daemon.set(unload_seconds=3)
    with pytest.raises(LlmError, match=r"still in the memory of .* after 0.3 seconds") as caught:
        ENGINE.sleep(world.endpoint, settings, 1)
    assert caught.value.reason == "timeout"


# --- what moves under it ---


def test_a_tag_that_moved_is_stale_weights(world: World) -> None:
    settings = world.settings(served_names=("alpha",))
    world.load(settings)
    world.make("alpha", says="newer")
    before = world.served(settings)
    assert before.names == ()
    assert any(fault.startswith("stale weights: alpha:latest") for fault in before.faults)
    # The next request brings the new ones in beside the old.
    assert world.request("alpha") == sentence_of("newer")
    new = world.settings(served_names=("alpha",))
    assert [name for name, _digest in world.loaded()] == ["alpha:latest"] * 2
    after = world.served(new)
    assert (after.names, after.digest) == (("alpha",), new.digest)
    assert len(after.faults) == 1
    assert "stale weights" in after.faults[0]


def test_stale_weights_without_a_name_need_a_restart(world: World, daemon: Daemon) -> None:
    settings = world.settings(served_names=("alpha",))
    world.load(settings)
    world.make("alpha", says="newer")
    new = world.settings(served_names=("alpha", "chat"))
    with pytest.raises(LlmError, match="stale weights of alpha:latest") as caught:
        world.load(new)
    assert (caught.value.reason, "Restart" in caught.value.remedy) == ("proof_failed", True)
    assert "chat:latest" not in world.tags()
    daemon.memory.end()
    world.load(new)
    assert world.served(new).faults == ()


def test_stale_weights_go_while_a_served_name_stands_for_them(world: World) -> None:
    world.load(world.settings())
    old = world.settings()
    world.make("alpha", says="newer")
    # The served name was not moved by the pull: what it promises is still served.
    assert (world.served(old).names, world.served(old).faults) == (("chat", "gpt"), ())
    assert world.served(old).model_path is None
    new = world.settings()
    world.load(new)
    assert [digest for _name, digest in world.loaded()] == [new.digest]
    assert world.request("chat") == sentence_of("newer")


def test_a_served_name_brings_the_bytes_back_where_the_model_s_own_has_moved(world: World) -> None:
    old = world.settings()
    world.load(old)
    world.make("alpha", says="newer")
    ENGINE.sleep(world.endpoint, old, 1)
    ENGINE.wake(world.endpoint, old)
    assert world.request("chat") == sentence_of("alpha")


def test_a_tag_that_moved_to_the_same_weights_is_mended(world: World) -> None:
    world.load(world.settings(served_names=("alpha",)))
    world.create("alpha", **{"from": "alpha"}, system="You are short.")
    new = world.settings(served_names=("alpha",))
    assert world.served(new).faults != ()
    world.load(new)
    assert [digest for _name, digest in world.loaded()] == [new.digest]
    assert world.served(new).faults == ()


def test_a_deleted_model_that_stays_in_memory_is_said(world: World) -> None:
    settings = world.settings(served_names=("chat",))
    world.load(settings)
    world.request("beta")
    world.ask("DELETE", "/api/delete", model="beta")
    assert world.served(settings).faults == ("stale weights: beta:latest is in memory and was deleted",)


def test_a_name_for_other_bytes_is_said(world: World) -> None:
    settings = world.settings()
    world.load(settings)
    world.ask("POST", "/api/copy", source="beta", destination="gpt")
    served = world.served(settings)
    assert served.names == ("chat",)
    assert served.faults[0].startswith("the name gpt stands for other bytes")


def test_what_is_not_there_is_not_loaded(world: World) -> None:
    with pytest.raises(LlmError, match="has no none:latest") as caught:
        world.load(replace(SETTINGS, model_path="none:latest"))
    assert caught.value.reason == "model_missing"
    with pytest.raises(LlmError, match="other bytes as alpha:latest"):
        world.load(replace(SETTINGS, digest="0" * 64))
    assert sorted(world.tags()) == ["alpha:latest", "beta:latest"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("model requires more system memory (8.1 GiB) than is available (7.3 GiB)", "out_of_memory"),
        ("llama-server process has terminated: exit status 1: cudaMalloc failed: out of memory", "out_of_memory"),
        ("llama runner process has terminated: signal: killed", "out_of_memory"),
        ("llama-server process has terminated: unknown model architecture: 'mllama'", "model_unsuitable"),
        ("llama runner process has terminated: exit status 2", "start_failed"),
        ("something else", "start_failed"),
    ],
)
def test_a_load_that_fails_says_why(world: World, daemon: Daemon, said: str, reason: str) -> None:
    daemon.fault("/api/generate", status=500, body=f'{{"error": "{said}"}}')
    with pytest.raises(LlmError, match=r"was asked to load chat and answered 500") as caught:
        world.load(world.settings())
    assert caught.value.reason == reason


# --- as recorded ---


def played(case: str, file: str = SERVING) -> Case:
    return named(file, case)


def test_ps_with_one_name_twice_as_recorded(recorded: Recorded) -> None:
    name = "127.0.0.1:5001/acme/alpha:latest"
    settings = replace(SETTINGS, model_path=name, served_names=(name,), digest="b499240364")
    recorded.play(played("tags after the pull", UPDATES), played("ps after the chat", UPDATES))
    served = ENGINE.served(Endpoint(HERE, recorded.port), settings)
    assert served.names == (name,)
    assert (served.memory_bytes, served.vram_bytes, served.context_length) == (7822376, 0, 512)
    assert served.faults == (f"stale weights: {name} is in memory as 56607e926989 and on the disk as b4992403645a",)


def test_ps_after_a_delete_as_recorded(recorded: Recorded) -> None:
    recorded.play(answer({"models": None}), played("ps after deleting a loaded model"))
    served = ENGINE.served(Endpoint(HERE, recorded.port), replace(SETTINGS, model_path="", served_names=()))
    assert (served.names, served.model_path, served.asleep) == ((), None, False)
    assert len(served.faults) == 2
    assert all("was deleted" in fault for fault in served.faults)


def test_a_reply_as_recorded(recorded: Recorded) -> None:
    recorded.play(played("v1 chat"))
    reply = ENGINE.complete(Endpoint(HERE, recorded.port), "beta", "Who?", max_tokens=16, timeout=5)
    assert (reply.text, reply.tokens) == ("Model beta answers you instead.", 6)
    assert fault_in_tokens(reply) is None
    recorded.play(played("v1 chat, unknown model"))
    with pytest.raises(LlmError, match="404"):
        ENGINE.complete(Endpoint(HERE, recorded.port), "none", "Who?", max_tokens=16, timeout=5)


def test_what_cannot_be_read_is_no_proof(recorded: Recorded) -> None:
    recorded.play(answer("nonsense"))
    with pytest.raises(LlmError) as caught:
        ENGINE.served(Endpoint(HERE, recorded.port), SETTINGS)
    assert caught.value.reason == "proof_failed"


# --- health ---


def test_health_is_of_the_daemon(recorded: Recorded, free_port: int) -> None:
    version = next(case for case in cases("ollama/models.json") if case["request"]["path"] == "/api/version")
    greeting = next(case for case in cases("ollama/models.json") if case["request"]["path"] == "/")
    recorded.play(greeting, version)
    health = ENGINE.health(Endpoint(HERE, recorded.port))
    assert (health.state, health.said) == ("ready", "version 0.33.0")
    recorded.play(greeting, answer("busy", 500))
    assert ENGINE.health(Endpoint(HERE, recorded.port)).state == "broken"
    recorded.play(answer("It works!"))
    assert ENGINE.health(Endpoint(HERE, recorded.port)).state == "broken"
    assert ENGINE.health(Endpoint(HERE, free_port)).state == "refused"


def test_docker_model_runner_is_not_ollama(tmp_path: Path) -> None:
    runner = Runner(tmp_path / "models")
    runner.start()
    try:
        health = ENGINE.health(Endpoint(HERE, runner.port))
    finally:
        runner.stop()
    assert (health.state, health.said) == ("broken", "that is Docker Model Runner")


# --- what it is told ---


def test_the_environment_has_booleans_that_it_can_read() -> None:
    options = {"no_cloud": "yes", "flash_attention": "false", "num_parallel": 4, "models": "/m", "keep_alive": "10m"}
    assert ENGINE.environment(replace(SETTINGS, host="::1", options=options)) == {
        "OLLAMA_HOST": "[::1]:11434",
        "OLLAMA_CONTEXT_LENGTH": "256",
        "OLLAMA_KEEP_ALIVE": "10m",
        "OLLAMA_NO_CLOUD": "1",
        "OLLAMA_FLASH_ATTENTION": "0",
        "OLLAMA_NUM_PARALLEL": "4",
        "OLLAMA_MODELS": "/m",
    }
    assert ENGINE.environment(SETTINGS)["OLLAMA_KEEP_ALIVE"] == "-1"
    assert ENGINE.command("/x/bin/ollama", options, ()) == ("/x/bin/ollama", "serve")


@pytest.mark.parametrize("keep_alive", ["0", "0s", 0])
def test_a_model_that_would_not_stay_is_refused(keep_alive: t.Any) -> None:
    with pytest.raises(LlmError, match="keeps no model in memory"):
        ENGINE.environment(replace(SETTINGS, options={"keep_alive": keep_alive}))


@pytest.mark.parametrize(("option", "told"), [({}, -1), ({"keep_alive": "300"}, 300), ({"keep_alive": "10m"}, "10m")])
def test_a_model_stays_as_long_as_is_asked(recorded: Recorded, option: dict[str, str], told: t.Any) -> None:
    tag = {"name": "alpha:latest", "digest": "ab" * 32}
    tags, ps = answer({"models": [tag]}), answer({"models": [tag]})
    recorded.play(tags, ps, played("load without prompt"), ps, tags, ps)
    ENGINE.load(Endpoint(HERE, recorded.port), replace(SETTINGS, served_names=("alpha",), options=option), 5)
    sent = next(asked for asked in recorded.asked if asked.path == "/api/generate")
    assert sent.document == {"model": "alpha", "keep_alive": told}


def test_which_models_it_takes() -> None:
    files = (FileEntry("sha256-1", 1, Digest.parse("sha256:" + "1" * 64)),)
    record = InstalledModel("m", "ollama", "Phi3", "", "1" * 64, {}, "", files, "", "")
    assert ENGINE.model_path(record) == "Phi3:latest"
    with pytest.raises(LlmError, match="has source url") as caught:
        ENGINE.model_path(replace(record, provider="url"))
    assert caught.value.reason == "model_unsuitable"
    assert ENGINE.refusal(Traits(), {}, gpu=False) is None
    assert ENGINE.in_flight(Endpoint(HERE, 1)) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Error: listen tcp 127.0.0.1:11434: bind: address already in use", "port_in_use"),
        ("Error: listen tcp 127.0.0.1:80: bind: permission denied", "permission_denied"),
        ("panic: $HOME is not defined", "start_failed"),
        ("Error: could not create directory mkdir /m/blobs: permission denied", "permission_denied"),
        ('level=ERROR msg="error loading" error="unsupported architecture \\"Foo\\""', "model_unsuitable"),
        ('level=INFO source=gpu.go:377 msg="no compatible GPUs were discovered"', None),
    ],
)
def test_lines_of_its_log(line: str, reason: str | None) -> None:
    meaning = ENGINE.meaning(f"time=2026-11-21 level=INFO\n{line}\n")
    assert (meaning.reason if meaning else None) == reason


# --- the program ---


def children_of(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children()]


def is_there(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


class Program(World):
    """`bin/ollama serve` of an engine's folder, started with the environment that the engine gives."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(port)
        program = folder / "engine" / ENGINE.executable
        program.parent.mkdir(parents=True)
        program.symlink_to(ollama_command.__file__)
        self.spec = replace(SETTINGS, port=port, options={"models": str(folder / "models")})
        self.words = ENGINE.command(str(program), self.spec.options, ())
        self.orphans: list[int] = []
        self.start()

    def start(self) -> None:
        variables = {**os.environ, **ENGINE.environment(self.spec)}
        self.process = subprocess.Popen(self.words, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        until = time.monotonic() + 10
        while ENGINE.health(self.endpoint).state != "ready":
            assert time.monotonic() < until
            time.sleep(0.02)

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(10)
        t.cast(t.IO[bytes], self.process.stderr).close()


@pytest.fixture
def program(tmp_path: Path, free_port: int) -> t.Iterator[Program]:
    made = Program(tmp_path, free_port)
    yield made
    made.end(signal.SIGTERM)
    for pid in filter(is_there, made.orphans):
        os.kill(pid, signal.SIGKILL)


def test_the_program_holds_models_in_processes_of_their_own(program: Program) -> None:
    program.make("alpha")
    program.make("beta")
    program.load(program.settings("alpha"))
    program.load(program.settings("beta", served_names=("other",)))
    children = children_of(program.process.pid)
    assert [Path(f"/proc/{pid}/comm").read_text() for pid in children] == ["llama-server\n"] * 2
    assert program.served(program.settings("alpha")).context_length == 256
    program.end(signal.SIGTERM)
    assert not any(is_there(pid) for pid in children)

    # Names and bytes are on the disk, memory is not.
    program.start()
    settings = program.settings("alpha")
    assert (program.served(settings).names, program.served(settings).asleep) == (("chat", "gpt"), True)
    ENGINE.wake(program.endpoint, settings)
    (child,) = children_of(program.process.pid)
    ENGINE.sleep(program.endpoint, settings, 1)
    assert not is_there(child)
    assert program.request("gpt") == sentence_of("alpha")


def test_a_kill_of_the_daemon_leaves_its_processes(program: Program) -> None:
    program.make("alpha")
    program.load(program.settings())
    program.orphans = children_of(program.process.pid)
    program.end(signal.SIGKILL)
    assert [is_there(pid) for pid in program.orphans] == [True]
    program.start()
    # The new daemon knows nothing of them.
    assert program.loaded() == []
    assert is_there(program.orphans[0])


def test_a_second_daemon_says_that_its_address_is_taken(program: Program) -> None:
    variables = {**os.environ, **ENGINE.environment(program.spec)}
    second = subprocess.run(program.words, env=variables, capture_output=True, text=True, timeout=20, check=False)
    assert second.returncode == 1
    meaning = ENGINE.meaning(second.stderr)
    assert meaning is not None
    assert (meaning.reason, meaning.sentence) == ("port_in_use", f"its address 127.0.0.1:{program.port} is taken")
