# SPDX-License-Identifier: GPL-3.0-or-later
"""What LM Studio serves, over its stand-in: one instance a model, under one name, with the asked context."""

from __future__ import annotations

import dataclasses
import threading
import time
import typing as t
from pathlib import Path

import lms
import pytest
import requests
from ansible_collections.llmops.fleet.plugins.module_utils._api.lm_studio_command import LmStudioCommand, find_command
from ansible_collections.llmops.fleet.plugins.module_utils._core.engine import Endpoint, Settings
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.model import InstalledModel
from ansible_collections.llmops.fleet.plugins.module_utils._core.proof import fault_in_facts, fault_in_tokens
from ansible_collections.llmops.fleet.plugins.module_utils._core.traits import Traits
from ansible_collections.llmops.fleet.plugins.module_utils._engines.lm_studio import LmStudio
from lm_studio import LmStudio as Program
from reciter import gguf, sentence_of
from recorded import Recorded, answer

ENGINE = LmStudio()
KEY, OTHER = "ibm/granite-4-micro", "acme-ibm/granite-4-micro"


class Host:
    """LM Studio with two models whose keys are alike, and its command in a folder of its own."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.program = program
        self.endpoint = Endpoint("127.0.0.1", program.port)
        self.command = str(lms.install(folder, program.home.root))
        # The one that a careless search finds first.
        for key, name in ((OTHER, "more"), (KEY, "granite")):
            program.publish(key, "Q4_K_M", gguf(sentence_of(name), name))
            program.home.download(key, program.home.published(key) or {})

    def ask(self, path: str, body: t.Any = None) -> t.Any:
        return requests.request("POST" if body else "GET", f"{self.program.url}{path}", json=body, timeout=20).json()

    def settings(self, *served: str, context: int = 256, key: str = KEY, **options: t.Any) -> Settings:
        return Settings(key, served or (key,), "127.0.0.1", 1234, context, {"executable": self.command, **options})

    @property
    def instances(self) -> dict[str, tuple[str, int]]:
        """Names of what is in memory: its key and context."""
        return {name: (key, config["context_length"]) for name, (key, config) in self.program.instances.items()}

    def asked(self, request: str) -> int:
        return self.program.faults.requests[request]

    @property
    def daemon_started(self) -> bool:
        return self.program.home.marker.exists()


@pytest.fixture
def host(tmp_path: Path) -> t.Iterator[Host]:
    with Program(tmp_path / "home") as program:
        yield Host(program, tmp_path / "bin")


@pytest.fixture
def recorded() -> t.Iterator[Recorded]:
    with Recorded() as server:
        yield server


def failure_of(act: t.Callable[[], t.Any]) -> LlmError:
    with pytest.raises(LlmError) as caught:
        act()
    return caught.value


def test_who_answers_is_told(host: Host, recorded: Recorded, free_port: int) -> None:
    assert ENGINE.health(Endpoint("127.0.0.1", free_port)).state == "refused"
    assert ENGINE.health(host.endpoint).state == "ready"
    other = Endpoint("127.0.0.1", recorded.port)
    recorded.play(answer("Ollama is running"))
    health = ENGINE.health(other)
    assert (health.state, health.said) == (
        "broken",
        "it is not LM Studio: it answered 200 and said 'Ollama is running'",
    )
    recorded.play(answer({"lmstudio": False}))
    assert ENGINE.health(other).state == "broken"


# --- loading ---


def test_a_model_is_loaded_under_its_key(host: Host) -> None:
    settings = host.settings()
    before = ENGINE.served(host.endpoint, settings)
    assert (before.names, before.asleep, before.faults) == ((), True, ())
    assert [one["id"] for one in host.ask("/v1/models")["data"]] == [OTHER, KEY], "this list proves nothing"
    assert fault_in_facts(before, settings) is not None
    ENGINE.load(host.endpoint, settings, 10)
    served = ENGINE.served(host.endpoint, settings)
    assert (served.names, served.model_path, served.context_length) == ((KEY,), KEY, 256)
    assert (served.asleep, served.digest, served.faults) == (False, None, ())
    assert fault_in_facts(served, settings) is None
    reply = ENGINE.complete(host.endpoint, KEY, "Who are you?", max_tokens=16, timeout=5)
    assert (reply.text, reply.model, reply.digest, fault_in_tokens(reply)) == (sentence_of("granite"), KEY, None, None)
    assert reply.tokens > 0
    assert not host.daemon_started


def test_what_is_loaded_is_not_loaded_twice(host: Host) -> None:
    """A second load would make `key:2`, with as much memory again."""
    for _time in range(3):
        ENGINE.load(host.endpoint, host.settings(), 10)
    assert host.instances == {KEY: (KEY, 256)}
    assert host.asked("POST /api/v1/models/load") == 1


def test_instances_that_are_not_ours_go(host: Host) -> None:
    for context in (64, 256, 128):
        host.ask("/api/v1/models/load", {"model": KEY, "context_length": context})
    served = ENGINE.served(host.endpoint, host.settings())
    assert served.faults == (f"{KEY} is in memory 3 times, as {KEY}, {KEY}:2, {KEY}:3",)
    ENGINE.load(host.endpoint, host.settings(), 10)
    assert host.instances == {KEY: (KEY, 256)}


def test_another_context_is_loaded_anew(host: Host) -> None:
    ENGINE.load(host.endpoint, host.settings(), 10)
    ENGINE.load(host.endpoint, host.settings(context=128), 10)
    assert host.instances == {KEY: (KEY, 128)}
    host.program.instances.clear()
    # Loaded by a request in between, as it likes.
    ENGINE.complete(host.endpoint, KEY, "Who are you?", max_tokens=16, timeout=5)
    assert host.instances == {KEY: (KEY, 4096)}
    ENGINE.load(host.endpoint, host.settings(context=128), 10)
    assert host.instances == {KEY: (KEY, 128)}


def test_somebody_else_who_loads_at_once_doubles_nothing(host: Host) -> None:
    host.program.load_seconds = 0.5

    def load_theirs() -> None:
        time.sleep(0.2)
        host.program.instances[KEY] = (KEY, {"context_length": 256, "parallel": 4})

    theirs = threading.Thread(target=load_theirs)
    theirs.start()
    ENGINE.load(host.endpoint, host.settings(), 10)
    theirs.join()
    assert host.instances == {KEY: (KEY, 256)}


def test_flash_attention_goes_with_the_model(host: Host) -> None:
    ENGINE.load(host.endpoint, host.settings(flash_attention="no"), 10)
    assert host.program.instances[KEY][1]["flash_attention"] is False


def test_a_token_is_passed(host: Host) -> None:
    host.program.token = "secret"
    settings = host.settings()
    error = failure_of(lambda: ENGINE.served(host.endpoint, settings))
    assert (error.reason, "401" in error.what, error.remedy) == (
        "proof_failed",
        True,
        "Pass an API token of LM Studio.",
    )
    assert failure_of(lambda: ENGINE.load(host.endpoint, settings, 5)).reason == "auth_error"
    endpoint = dataclasses.replace(host.endpoint, api_key="secret")
    ENGINE.load(endpoint, settings, 10)
    assert ENGINE.served(endpoint, settings).names == (KEY,)
    assert ENGINE.complete(endpoint, KEY, "Who?", max_tokens=16, timeout=5).text == sentence_of("granite")


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (404, "Model not found", "not_found"),
        (500, "Model loading was stopped due to insufficient system resources", "out_of_memory"),
        (500, "error loading model: unknown model architecture: 'odd'", "model_unsuitable"),
        (500, "something new", "start_failed"),
        (200, "loading", "start_failed"),
    ],
)
def test_why_it_did_not_load_is_understood(host: Host, status: int, text: str, reason: str) -> None:
    if status == 200:
        host.program.load = lambda *_words: {"status": text}  # type: ignore[method-assign, assignment]
    else:
        host.program.fault("POST /api/v1/models/load", status=status, text=text)
    assert failure_of(lambda: ENGINE.load(host.endpoint, host.settings(), 5)).reason == reason
    assert host.instances == {}


def test_what_was_said_to_be_loaded_is_looked_for(host: Host) -> None:
    said = {"instance_id": KEY, "status": "loaded"}
    host.program.load = lambda *_words: said  # type: ignore[method-assign, assignment]
    error = failure_of(lambda: ENGINE.load(host.endpoint, host.settings(), 5))
    assert (error.reason, "does not list that" in error.what) == ("start_failed", True)


def test_a_smaller_context_than_asked_is_not_accepted(host: Host) -> None:
    host.program.load = (  # type: ignore[method-assign]
        lambda request, identifier="": Program.load(host.program, {**request, "context_length": 32}, identifier)
    )
    error = failure_of(lambda: ENGINE.load(host.endpoint, host.settings(), 5))
    assert "32 tokens" in error.what


def test_a_load_ends_in_time(host: Host) -> None:
    host.program.load_seconds = 3
    begun = time.monotonic()
    assert failure_of(lambda: ENGINE.load(host.endpoint, host.settings(), 1)).reason == "timeout"
    assert time.monotonic() - begun < 2.5


def test_what_is_not_there_is_not_loaded(host: Host) -> None:
    settings = host.settings(key="no/model")
    assert failure_of(lambda: ENGINE.load(host.endpoint, settings, 5)).reason == "model_missing"
    assert ENGINE.served(host.endpoint, settings).faults == ("LM Studio does not list no/model any more",)


# --- other names than the key ---


def test_another_name_needs_the_command(host: Host) -> None:
    settings = host.settings("chat")
    ENGINE.load(host.endpoint, settings, 20)
    assert host.instances == {"chat": (KEY, 256)}, "the exact model, not the first that is alike"
    served = ENGINE.served(host.endpoint, settings)
    assert (served.names, served.context_length, fault_in_facts(served, settings)) == (("chat",), 256, None)
    reply = ENGINE.complete(host.endpoint, "chat", "Who are you?", max_tokens=16, timeout=5)
    assert (reply.text, reply.model) == (sentence_of("granite"), "chat")
    ENGINE.load(host.endpoint, settings, 20)
    assert host.instances == {"chat": (KEY, 256)}
    assert host.asked("POST /api/v1/models/load") == 0
    assert not host.daemon_started, "with a port the command starts nothing"


def test_without_the_command_the_key_is_the_name(host: Host, tmp_path: Path) -> None:
    ENGINE.load(host.endpoint, host.settings(), 10)
    settings = host.settings("chat")
    settings = dataclasses.replace(settings, options={"executable": str(tmp_path / "none")})
    error = failure_of(lambda: ENGINE.load(host.endpoint, settings, 5))
    assert (error.reason, f"served_names: [{KEY}]" in error.remedy) == ("unsupported", True)
    assert host.instances == {KEY: (KEY, 256)}, "what serves goes on"
    flash = host.settings("chat", flash_attention=True)
    assert "flash_attention" in failure_of(lambda: ENGINE.load(host.endpoint, flash, 5)).what


def test_nothing_is_started_where_nothing_runs(host: Host, free_port: int) -> None:
    error = failure_of(lambda: ENGINE.load(Endpoint("127.0.0.1", free_port), host.settings("chat"), 5))
    assert error.reason == "unreachable"
    command = LmStudioCommand(host.command, "127.0.0.1", free_port)
    assert failure_of(lambda: command.load(KEY, "chat", context_length=1, timeout=20)).reason == "start_failed"
    assert not host.daemon_started


def test_what_the_command_says_is_told(host: Host) -> None:
    command = LmStudioCommand(host.command, "127.0.0.1", host.program.port)
    assert failure_of(lambda: command.load("no/model", "x", context_length=1, timeout=20)).reason == "model_missing"
    command.load(KEY, "chat", context_length=64, timeout=20)
    error = failure_of(lambda: command.load(KEY, "chat", context_length=64, timeout=20))
    assert (error.reason, "The identifier chat is taken" in error.what) == ("start_failed", True)
    assert find_command(host.command) == host.command
    assert find_command("/no/lms") is None


def test_several_names_are_refused(host: Host) -> None:
    error = failure_of(lambda: ENGINE.load(host.endpoint, host.settings("chat", "gpt"), 5))
    assert (error.reason, error.remedy) == ("unsupported", "Give one served name.")
    assert host.instances == {}


# --- switching and releasing ---


def test_a_switch_moves_the_name(host: Host) -> None:
    old, new = host.settings("chat"), host.settings("chat", key=OTHER)
    ENGINE.load(host.endpoint, old, 20)
    assert ENGINE.served(host.endpoint, new).faults == (f"the name chat means {KEY}, not {OTHER}",)
    ENGINE.load(host.endpoint, new, 20)
    ENGINE.release(host.endpoint, old, {"chat"})
    assert host.instances == {"chat": (OTHER, 256)}
    assert ENGINE.complete(host.endpoint, "chat", "Who?", max_tokens=16, timeout=5).text == sentence_of("more")


def test_a_release_leaves_the_files_and_other_models(host: Host) -> None:
    ENGINE.load(host.endpoint, host.settings(), 10)
    ENGINE.load(host.endpoint, host.settings(key=OTHER), 10)
    ENGINE.release(host.endpoint, host.settings(), ())
    ENGINE.release(host.endpoint, host.settings(), ())
    assert host.instances == {OTHER: (OTHER, 256)}
    assert [model["key"] for model in host.ask("/api/v1/models")["models"]] == [OTHER, KEY]


def test_an_unload_that_does_nothing_is_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    ENGINE.load(host.endpoint, host.settings(), 10)
    host.program.unload = lambda name: {"instance_id": name}  # type: ignore[method-assign]
    monkeypatch.setattr(f"{LmStudio.__module__}._OUT", 0.5)
    assert failure_of(lambda: ENGINE.release(host.endpoint, host.settings(), ())).reason == "stop_failed"


def test_it_sleeps_and_wakes_as_it_was(host: Host) -> None:
    settings = host.settings()
    ENGINE.load(host.endpoint, settings, 10)
    ENGINE.sleep(host.endpoint, settings, 1)
    assert (host.instances, ENGINE.served(host.endpoint, settings).asleep) == ({}, True)
    ENGINE.wake(host.endpoint, settings)
    assert host.instances == {KEY: (KEY, 256)}
    assert failure_of(lambda: ENGINE.sleep(host.endpoint, settings, 2)).reason == "unsupported"


def test_a_server_without_a_model_is_up(host: Host, free_port: int) -> None:
    ENGINE.load(host.endpoint, host.settings(), 10)
    nothing = Settings("", (KEY,), "127.0.0.1", 1234, 256)
    assert ENGINE.served(host.endpoint, nothing).names == (KEY,)
    assert ENGINE.in_flight(host.endpoint) is None
    assert failure_of(lambda: ENGINE.served(Endpoint("127.0.0.1", free_port), nothing)).reason == "unreachable"


# --- words ---


def test_there_is_nothing_to_supervise() -> None:
    error = failure_of(lambda: ENGINE.command("/opt/lms", {}, []))
    assert (error.reason, "supervisor: external" in error.remedy) == ("unsupported", True)
    assert ENGINE.environment(Settings(KEY, (KEY,), "127.0.0.1", 1234, 256)) == {}


def test_only_its_own_models() -> None:
    record = InstalledModel(
        "m", "lm_studio", "https://huggingface.co/Org/Model", "", "Q4_K_M", {}, "", (), "", "", {"key": "org/model"}
    )
    assert ENGINE.model_path(record) == "org/model"
    assert ENGINE.model_path(dataclasses.replace(record, model=KEY, origin={})) == KEY
    other = dataclasses.replace(record, provider="huggingface")
    assert failure_of(lambda: ENGINE.model_path(other)).reason == "model_unsuitable"


def test_formats() -> None:
    assert [ENGINE.refusal(Traits(kind), {}, gpu=False) for kind in (None, "gguf", "mlx")] == [None, None, None]
    assert "safetensors" in str(ENGINE.refusal(Traits("safetensors"), {}, gpu=True))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Error: listen EADDRINUSE: address already in use 127.0.0.1:1234", "port_in_use"),
        ("error loading model: unknown model architecture: 'odd'", "model_unsuitable"),
        ("Failed to load model", "model_unsuitable"),
        ("ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory", "out_of_memory"),
    ],
)
def test_its_log_is_understood(line: str, reason: str) -> None:
    meaning = ENGINE.meaning(f"all is well\n{line}\nmore")
    assert meaning is not None
    assert meaning.reason == reason
    assert ENGINE.meaning("all is well") is None
