# SPDX-License-Identifier: GPL-3.0-or-later
"""What Docker Model Runner serves: the recorded answers are understood, and the stand-in is left as it should be."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
import typing as t
from pathlib import Path

import pytest
import requests
from ansible_collections.llmops.fleet.plugins.module_utils._api.docker_model_runner import DockerModelRunnerApi
from ansible_collections.llmops.fleet.plugins.module_utils._core.engine import Endpoint, Settings
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.model import InstalledModel
from ansible_collections.llmops.fleet.plugins.module_utils._core.proof import fault_in_facts, fault_in_tokens
from ansible_collections.llmops.fleet.plugins.module_utils._core.traits import Traits
from ansible_collections.llmops.fleet.plugins.module_utils._engines.docker_model_runner import DockerModelRunner
from docker_model_runner import Runner
from reciter import gguf, sentence_of
from recorded import Case, Recorded, answer, cases, named

ENGINE = DockerModelRunner()
SERVING = "docker_model_runner/serving.json"
ALPHA, BETA = "ai/alpha:latest", "ai/beta:latest"
FILES = {name: {"model.gguf": gguf(sentence_of(name), name)} for name in ("alpha", "beta")}
CHAT = "POST /engines/v1/chat/completions$"


class Host:
    """A runner that has alpha and beta."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.endpoint = Endpoint("127.0.0.1", runner.port)
        self.digest = {name: self.pull(f"ai/{name}", name) for name in FILES}

    def ask(self, method: str, path: str, body: t.Any = None) -> t.Any:
        got = requests.request(method, f"{self.runner.url}{path}", json=body, timeout=20)
        is_json = got.headers.get("Content-Type", "").startswith("application/json")
        return got.json() if is_json and "create" not in path else got.text

    def pull(self, reference: str, name: str) -> str:
        digest = self.runner.publish(reference, FILES[name])
        self.ask("POST", "/models/create", {"from": reference})
        return digest

    def settings(self, name: str = "alpha", *served: str, context: int = 256, **options: str) -> Settings:
        served = served or ("chat",)
        return Settings(f"ai/{name}:latest", served, "127.0.0.1", 12434, context, options, self.digest[name])

    @property
    def tags(self) -> dict[str, list[str]]:
        return {model["id"]: model.get("tags", []) for model in self.ask("GET", "/models")}

    @property
    def running(self) -> list[str]:
        return [entry["model_name"] for entry in self.ask("GET", "/engines/ps")]

    def context(self, name: str = "alpha") -> int | None:
        return self.runner.engine.loaded[self.digest[name]].context

    def asked(self, request: str) -> int:
        return self.runner.faults.requests[request]


@pytest.fixture
def host(tmp_path: Path) -> t.Iterator[Host]:
    with Runner(tmp_path / "models") as runner:
        runner.engine.reload_seconds = 0.1
        yield Host(runner)


@pytest.fixture
def recorded() -> t.Iterator[Recorded]:
    with Recorded() as server:
        yield server


def failure_of(act: t.Callable[[], t.Any]) -> LlmError:
    with pytest.raises(LlmError) as caught:
        act()
    return caught.value


# --- recordings ---

# Requests that the engine never makes.
NOT_ASKED = {"metrics", "requests", "anthropic messages", "props through the engine"}


@pytest.mark.parametrize("case", cases(SERVING), ids=[case["case"] for case in cases(SERVING)])
def test_each_recorded_answer_is_understood(recorded: Recorded, case: Case) -> None:
    client, endpoint = DockerModelRunnerApi(recorded.url), Endpoint("127.0.0.1", recorded.port)
    request, response = case["request"], case["response"]
    path, body = request["path"], response.get("body", "")
    recorded.play(case)
    if case["case"] in NOT_ASKED:
        return
    if case["case"] == "preload":
        client.preload("x", timeout=5)
        assert recorded.asked[0].headers["x-preload-only"] == "true"
        assert recorded.asked[0].document == {"model": "x", "messages": []}
    elif path.endswith("/chat/completions") and body.startswith("{"):
        reply = ENGINE.complete(endpoint, "x", "Who are you?", max_tokens=16, timeout=5)
        assert fault_in_tokens(reply) is None
        assert (reply.text.split()[0], reply.finish_reason) == ("Model", "stop")
        assert reply.tokens in (6, 7)
        assert reply.digest in (
            "sha256:45ffd2e9b776f663f6ce4145f9f218cb198c0a36e217a9f91905e1d5b014c8bd",
            "sha256:7c6ab17645dcfe0d8767a30efb0db460276c71478ee59503cd7aec34edf25b0d",
        )
        assert str(reply.digest)[7:] in body
    elif path.endswith("/chat/completions"):
        error = failure_of(lambda: ENGINE.complete(endpoint, "x", "Who are you?", max_tokens=16, timeout=5))
        assert error.reason == "proof_failed"
        assert body.strip() in error.details["said"]
    elif path == "/engines/ps":
        running = client.running()
        assert [entry.model for entry in running] == [entry["model_name"] for entry in json.loads(body)]
        assert [entry.loading for entry in running] == ["loading" in entry for entry in json.loads(body)]
    elif path == "/engines/status":
        recorded.play(answer("<html>A page of a proxy</html>"), case)
        assert client.stranger() == ""
    elif path == "/engines/_configure" and response["status"] == 202:
        assert client.configure("x", context_length=128, keep_alive="-1", flags="") is True
    elif path == "/engines/_configure":
        error = failure_of(lambda: client.configure("x", context_length=128, keep_alive="-1", flags="--log-file /x"))
        assert error.reason == "invalid_input"
        assert "--log-file" in error.what
    elif path == "/engines/unload":
        assert client.unload(["x"]) == json.loads(body)["unloaded_runners"]
    elif path == "/engines/df":
        assert client.disk_usage().models == 5430022
    elif request["method"] == "DELETE":
        assert client.delete("127.0.0.1:5003/ai/beta", force=False) is True
    else:
        assert (request["method"], path, client.models()) == ("GET", "/models", [])


def test_a_recorded_tag_is_given_and_taken(recorded: Recorded) -> None:
    client = DockerModelRunnerApi(recorded.url)
    recorded.play(
        *(named("docker_model_runner/models.json", name) for name in ("tag", "models after tag", "delete a tag"))
    )
    client.tag("sha256:" + 64 * "a", "Chat")
    assert recorded.asked[0].path == f"/models/sha256:{64 * 'a'}/tag?repo=ai%2Fchat&tag=latest"
    model = client.models()[0]
    assert model.is_called("chat")
    assert model.is_called("docker.io/ai/chat:latest")
    assert model.is_called(model.id)
    assert model.is_called(model.id[7:19])
    assert not model.is_called("alpha")
    assert client.delete("chat", force=False) is True
    recorded.play(named("docker_model_runner/models.json", "tag, missing model"))
    assert failure_of(lambda: client.tag("ai/none", "chat")).reason == "not_found"


@pytest.mark.parametrize("name", ["a@sha256:0", "0123456789ab", "../purge"])
def test_a_name_that_would_not_be_found_is_not_given(recorded: Recorded, name: str) -> None:
    assert failure_of(lambda: DockerModelRunnerApi(recorded.url).tag("ai/alpha", name)).reason == "invalid_name"
    assert recorded.asked == []


def test_who_answers_is_told(host: Host, recorded: Recorded, free_port: int) -> None:
    assert ENGINE.health(Endpoint("127.0.0.1", free_port)).state == "refused"
    assert ENGINE.health(host.endpoint).state == "ready"
    other = Endpoint("127.0.0.1", recorded.port)
    recorded.play(answer("Ollama is running"), answer("404 page not found", 404))
    health = ENGINE.health(other)
    assert (health.state, health.said) == (
        "broken", "it is not Docker Model Runner: it answered 200 and said 'Ollama is running'",
    )  # fmt: skip
    # It answers Ollama's questions too; the greeting tells the two apart.
    assert host.ask("GET", "/api/version") == {"version": "0.1.0"}


def test_what_loads_is_told(host: Host) -> None:
    host.runner.engine.reload_seconds = 30
    assert ENGINE.served(host.endpoint, host.settings()).asleep is True
    host.ask("POST", "/engines/_configure", {"model": "alpha"})
    assert ENGINE.health(host.endpoint).state == "ready"
    assert ENGINE.served(host.endpoint, host.settings()).asleep is False
    assert ENGINE.in_flight(host.endpoint) == 1


# --- loading ---


def test_a_model_is_loaded_named_and_proven(host: Host) -> None:
    settings = host.settings("alpha", "chat", "gpt-4o-mini")
    before = ENGINE.served(host.endpoint, settings)
    assert (before.asleep, before.digest) == (True, None)
    assert fault_in_facts(before, settings) == "it serves ai/alpha:latest, not chat, gpt-4o-mini"
    ENGINE.load(host.endpoint, settings, 10)
    served = ENGINE.served(host.endpoint, settings)
    assert served.names == ("chat", "gpt-4o-mini", "ai/alpha:latest")
    assert (served.model_path, served.context_length, served.digest) == (ALPHA, 256, host.digest["alpha"])
    assert (served.asleep, served.faults, fault_in_facts(served, settings)) == (False, (), None)
    assert host.context() == 256
    # Only by its digest does the list of what is loaded say which bytes those are.
    assert host.running == [host.digest["alpha"]]
    for name in settings.served_names:
        reply = ENGINE.complete(host.endpoint, name, "Who are you?", max_tokens=16, timeout=5)
        assert (reply.text, reply.digest) == (sentence_of("alpha"), host.digest["alpha"])


def test_what_is_loaded_as_it_should_be_is_left_alone(host: Host) -> None:
    ENGINE.load(host.endpoint, host.settings(), 10)
    loaded = host.runner.engine.loaded[host.digest["alpha"]]
    ENGINE.load(host.endpoint, host.settings(), 10)
    assert host.runner.engine.loaded[host.digest["alpha"]] is loaded
    assert host.asked("POST /engines/_configure") == 1
    ENGINE.load(host.endpoint, host.settings(context=128), 10)
    assert host.runner.engine.loaded[host.digest["alpha"]] is not loaded
    assert host.context() == 128


def test_it_stays_in_memory_unless_told_otherwise(host: Host) -> None:
    ENGINE.load(host.endpoint, host.settings(), 10)
    assert host.ask("GET", "/engines/ps")[0]["keep_alive"] == "-1"
    ENGINE.load(host.endpoint, host.settings(keep_alive="30m", runtime_flags="--threads 1"), 10)
    configured = host.ask("GET", "/engines/_configure")[0]["Config"]
    assert configured == {"context-size": 256, "keep_alive": "30m", "runtime-flags": ["--threads", "1"]}
    wrong: tuple[dict[str, str], ...] = (
        {"runtime_flags": "--log-file x"},
        {"runtime_flags": "--seed '1"},
        {"keep_alive": "0s"},
    )
    for options in wrong:
        settings = host.settings(**options)
        assert failure_of(lambda settings=settings: ENGINE.load(host.endpoint, settings, 10)).reason == "invalid_input"  # type: ignore[misc]
    assert host.ask("GET", "/engines/_configure")[0]["Config"] == configured


def test_what_loads_otherwise_is_waited_for(host: Host) -> None:
    """A configuration that comes meanwhile would be kept and not used."""
    host.runner.engine.reload_seconds = 0.6
    host.ask("POST", "/engines/_configure", {"model": "alpha", "context-size": 64})
    ENGINE.load(host.endpoint, host.settings(), 10)
    assert host.context() == 256


def test_what_is_in_use_is_not_loaded_anew(host: Host) -> None:
    ENGINE.load(host.endpoint, host.settings(), 10)
    loaded = host.runner.engine.loaded[host.digest["alpha"]]
    with loaded.used():
        assert ENGINE.in_flight(host.endpoint) == 1
        error = failure_of(lambda: ENGINE.load(host.endpoint, host.settings(context=128), 0.5))
    assert error.reason == "timeout"
    assert "in use" in error.what
    assert host.context() == 256
    assert ENGINE.in_flight(host.endpoint) == 0


def test_accepted_is_not_believed(host: Host) -> None:
    """`_configure` says 202 of a model that is not there."""
    assert host.ask("POST", "/engines/_configure", {"model": "none", "context-size": 1}) == ""
    gone = dataclasses.replace(host.settings(), model_path="ai/none:latest", digest="")
    assert failure_of(lambda: ENGINE.load(host.endpoint, gone, 5)).reason == "model_missing"
    assert host.running == []
    assert host.asked("POST /engines/_configure") == 1, "it was not even asked"


def test_other_bytes_under_the_name_are_not_loaded(host: Host) -> None:
    other = dataclasses.replace(host.settings(), digest="sha256:" + 64 * "0")
    error = failure_of(lambda: ENGINE.load(host.endpoint, other, 5))
    assert error.reason == "model_missing"
    assert f"{ALPHA} is {host.digest['alpha']}" in error.what
    assert host.running == []


def test_what_was_said_to_be_loaded_is_looked_for(host: Host) -> None:
    host.runner.fault(path="GET /engines/ps$", status=200, text="[]")
    error = failure_of(lambda: ENGINE.load(host.endpoint, host.settings(), 0.5))
    assert (error.reason, "does not list it" in error.what) == ("timeout", True)
    assert host.tags[host.digest["alpha"]] == ["docker.io/ai/alpha:latest"], (
        "no name for what is not proven to be there"
    )


LLAMA = (
    "unable to load runner: error waiting for runner to be ready: llama.cpp terminated unexpectedly: llama.cpp failed: "
)


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (404, "error while getting model: get model '\"x\"': model not found", "model_missing"),
        (412, "vLLM binary not found", "engine_missing"),
        (412, 'backend "vllm" is not installed; run: docker model install-runner --backend vllm', "engine_missing"),
        (503, "backend installation failed: not supported", "engine_missing"),
        (500, f"{LLAMA}not enough GPU memory to load the model (CUDA)", "out_of_memory"),
        (500, f"{LLAMA}failed to load model\n\nVerbose output:\nunknown model architecture: 'odd'", "model_unsuitable"),
        (500, "unable to load runner: inference backend took too long to initialize", "timeout"),
        (500, "something new", "start_failed"),
    ],
)
def test_why_it_did_not_load_is_understood(host: Host, status: int, text: str, reason: str) -> None:
    ENGINE.load(host.endpoint, host.settings("beta"), 10)
    host.runner.fault(path=CHAT, status=status, text=text)
    error = failure_of(lambda: ENGINE.load(host.endpoint, host.settings("alpha"), 5))
    assert error.reason == reason
    assert error.details["said"] == text
    host.runner.faults.reset()
    served = ENGINE.served(host.endpoint, host.settings("beta"))
    assert served.digest == host.digest["beta"], "the name goes on meaning the model before"


def test_a_load_ends_in_time(host: Host) -> None:
    host.runner.fault(path=CHAT, hang=3)
    begun = time.monotonic()
    assert failure_of(lambda: ENGINE.load(host.endpoint, host.settings(), 0.5)).reason == "timeout"
    assert time.monotonic() - begun < 2


def test_a_model_of_hugging_face_has_one_name(host: Host) -> None:
    digest = host.pull("hf.co/Org/Model:Q8_0", "beta")
    for path in ("hf.co/Org/Model:Q8_0", "huggingface.co/org/model:Q8_0"):
        settings = Settings(path, ("hugging",), "127.0.0.1", 12434, 128, {}, digest)
        ENGINE.load(host.endpoint, settings, 10)
        served = ENGINE.served(host.endpoint, settings)
        assert (served.names[0], served.model_path, served.digest) == ("hugging", path, digest)


# --- switching and releasing ---


def test_a_switch_keeps_the_name_and_the_bytes(host: Host) -> None:
    old, new = host.settings("alpha", "chat", "old"), host.settings("beta", "chat")
    ENGINE.load(host.endpoint, old, 10)
    ENGINE.load(host.endpoint, new, 10)
    ENGINE.release(host.endpoint, old, {"chat"})
    assert host.running == [host.digest["beta"]]
    assert host.tags == {
        host.digest["alpha"]: ["docker.io/ai/alpha:latest"],
        host.digest["beta"]: ["docker.io/ai/beta:latest", "docker.io/ai/chat:latest"],
    }
    reply = ENGINE.complete(host.endpoint, "chat", "Who are you?", max_tokens=16, timeout=5)
    assert (reply.text, reply.digest) == (sentence_of("beta"), host.digest["beta"])
    served = ENGINE.served(host.endpoint, old)
    assert served.faults == (f"the name chat means {host.digest['beta'][:19]}, not {host.digest['alpha'][:19]}",)
    assert served.digest == host.digest["beta"]


def test_names_that_are_kept_stay(host: Host) -> None:
    settings = host.settings("alpha", "chat", "gpt")
    ENGINE.load(host.endpoint, settings, 10)
    ENGINE.release(host.endpoint, settings, {"gpt"})
    assert host.tags[host.digest["alpha"]] == ["docker.io/ai/alpha:latest", "docker.io/ai/gpt:latest"]
    assert host.runner.engine.configured == {}, "the next one who loads it gets its own context"


@pytest.mark.parametrize("served", [("alpha",), ("ai/alpha", "alpha:latest")])
def test_the_models_own_name_is_never_taken(host: Host, served: tuple[str, ...]) -> None:
    settings = host.settings("alpha", *served)
    ENGINE.load(host.endpoint, settings, 10)
    host.ask("POST", "/models/alpha/tag?repo=theirs&tag=latest")
    ENGINE.release(host.endpoint, settings, ())
    assert host.tags[host.digest["alpha"]] == ["docker.io/ai/alpha:latest", "docker.io/ai/theirs:latest"]


def test_the_last_name_stays_so_that_the_bytes_do(host: Host) -> None:
    settings = host.settings()
    ENGINE.load(host.endpoint, settings, 10)
    # A pull moved its own name to newer bytes.
    host.ask("POST", "/models/beta/tag?repo=alpha&tag=latest")
    assert host.tags[host.digest["alpha"]] == ["docker.io/ai/chat:latest"]
    ENGINE.release(host.endpoint, settings, ())
    assert host.tags[host.digest["alpha"]] == ["docker.io/ai/chat:latest"]
    assert host.running == []


def test_bytes_without_a_name_are_loaded_again(host: Host) -> None:
    """A rollback after the name moved: the digest says which model is meant."""
    ENGINE.load(host.endpoint, host.settings("beta"), 10)
    host.ask("POST", "/models/beta/tag?repo=alpha&tag=latest")
    assert host.tags[host.digest["alpha"]] == []
    ENGINE.load(host.endpoint, host.settings("alpha"), 10)
    reply = ENGINE.complete(host.endpoint, "chat", "Who are you?", max_tokens=16, timeout=5)
    assert (reply.text, reply.digest) == (sentence_of("alpha"), host.digest["alpha"])


def test_what_loads_is_waited_for_and_unloaded_then(host: Host) -> None:
    host.runner.engine.reload_seconds = 0.6
    host.ask("POST", "/engines/_configure", {"model": "alpha", "context-size": 64})
    assert host.ask("POST", "/engines/unload", {"models": ["alpha"]}) == {"unloaded_runners": 0}
    ENGINE.release(host.endpoint, host.settings(), ())
    assert host.running == []
    assert host.runner.engine.loaded == {}


def test_what_is_in_use_is_waited_for(host: Host) -> None:
    ENGINE.load(host.endpoint, host.settings(), 10)
    loaded = host.runner.engine.loaded[host.digest["alpha"]]
    loaded.in_use = 1
    threading.Timer(0.5, lambda: setattr(loaded, "in_use", 0)).start()
    ENGINE.sleep(host.endpoint, host.settings(), 1)
    assert loaded.in_use == 0
    assert host.runner.engine.loaded == {}


def test_it_sleeps_and_wakes_as_it_was(host: Host) -> None:
    settings = host.settings()
    ENGINE.load(host.endpoint, settings, 10)
    ENGINE.sleep(host.endpoint, settings, 1)
    asleep = ENGINE.served(host.endpoint, settings)
    assert (asleep.asleep, asleep.names[0], asleep.faults) == (True, "chat", ())
    ENGINE.wake(host.endpoint, settings)
    assert (host.context(), ENGINE.served(host.endpoint, settings).asleep) == (256, False)
    assert host.asked("POST /engines/_configure") == 1, "it still knows how"
    assert host.running == [host.digest["alpha"]]
    assert failure_of(lambda: ENGINE.sleep(host.endpoint, settings, 2)).reason == "unsupported"


# --- what is wrong ---


def test_a_deleted_model_that_stays_in_memory_is_told(host: Host) -> None:
    settings = host.settings()
    host.ask("POST", "/v1/chat/completions", {"model": "ai/alpha"})
    host.ask("DELETE", "/models/ai/alpha")
    served = ENGINE.served(host.endpoint, settings)
    assert served.faults == (
        f"the runner does not have {host.digest['alpha']} any more", "ai/alpha is in memory, though it was deleted",
    )  # fmt: skip
    assert (served.names, served.model_path, served.digest) == ((), None, None)
    ENGINE.release(host.endpoint, settings, ())
    assert host.running == [], "its digest still reaches it"


def test_a_deleted_model_that_cannot_be_reached_is_told(host: Host) -> None:
    host.ask("POST", "/v1/chat/completions", {"model": "ai/alpha"})
    host.ask("DELETE", "/models/ai/alpha")
    nameless = dataclasses.replace(host.settings(), digest="")
    error = failure_of(lambda: ENGINE.release(host.endpoint, nameless, ()))
    assert (error.reason, "ai/alpha" in error.what) == ("stop_failed", True)


def test_weights_that_are_not_those_of_the_name_are_told(host: Host) -> None:
    settings = host.settings("beta")
    # Loaded by the name while that meant alpha, which somebody moves then.
    host.ask("POST", "/models/alpha/tag?repo=chat&tag=latest")
    for name in ("chat", host.digest["beta"]):
        host.ask("POST", "/v1/chat/completions", {"model": name})
    host.ask("POST", "/models/beta/tag?repo=chat&tag=latest")
    assert ENGINE.served(host.endpoint, settings).faults == (
        f"2 models are in memory under names of {BETA}: one has other weights",
    )
    ENGINE.release(host.endpoint, host.settings("alpha"), {"chat"})
    assert ENGINE.served(host.endpoint, settings).faults == ()


def test_what_was_loaded_by_a_name_goes_before_the_name_moves(host: Host) -> None:
    """Afterwards it would be taken for the model that has the name then."""
    host.ask("POST", "/models/alpha/tag?repo=chat&tag=latest")
    host.ask("POST", "/v1/chat/completions", {"model": "chat"})
    ENGINE.load(host.endpoint, host.settings("beta"), 10)
    assert host.running == [host.digest["beta"]]
    assert ENGINE.served(host.endpoint, host.settings("beta")).faults == ()


def test_what_was_loaded_by_a_name_is_waited_for_no_longer_than_told(host: Host) -> None:
    host.ask("POST", "/models/alpha/tag?repo=chat&tag=latest")
    host.ask("POST", "/v1/chat/completions", {"model": "chat"})
    with host.runner.engine.loaded[host.digest["alpha"]].used():
        failure = failure_of(lambda: ENGINE.load(host.endpoint, host.settings("beta"), 1))
    assert failure.reason == "timeout"
    assert "in use all the time" in failure.what
    # The name goes on meaning what it meant.
    assert "docker.io/ai/chat:latest" in host.tags[host.digest["alpha"]]


def test_a_lost_configuration_is_seen_and_mended(host: Host) -> None:
    """A container that was started again knows nothing of it."""
    settings = host.settings(context=1024)
    ENGINE.load(host.endpoint, settings, 10)
    host.runner.engine.loaded.clear()
    host.runner.engine.configured.clear()
    served = ENGINE.served(host.endpoint, settings)
    assert fault_in_facts(served, settings) == "its context is 512 tokens, 1024 were asked for"
    ENGINE.load(host.endpoint, settings, 10)
    assert ENGINE.served(host.endpoint, settings).context_length == 1024


def test_a_runner_that_does_not_tell_its_configuration(host: Host) -> None:
    host.runner.fault(path="GET /engines/_configure$", status=405, text="Method Not Allowed")
    ENGINE.load(host.endpoint, host.settings(), 10)
    assert (host.context(), ENGINE.served(host.endpoint, host.settings()).context_length) == (256, None)


def test_a_runner_without_a_model_is_up(host: Host) -> None:
    served = ENGINE.served(host.endpoint, Settings("", ("chat",), "127.0.0.1", 12434, 256))
    assert (served.names, served.model_path, served.faults) == ((ALPHA, BETA), None, ())


def test_who_cannot_be_asked_is_no_proof(host: Host, free_port: int) -> None:
    settings = host.settings()
    assert failure_of(lambda: ENGINE.served(Endpoint("127.0.0.1", free_port), settings)).reason == "unreachable"
    host.runner.fault(path="GET /models$", status=500, text="busy")
    assert failure_of(lambda: ENGINE.served(host.endpoint, settings)).reason == "proof_failed"
    assert ENGINE.in_flight(Endpoint("127.0.0.1", free_port)) is None


# --- words ---


def test_the_command_names_no_model() -> None:
    settings = Settings(ALPHA, ("chat",), "127.0.0.1", 12434, 256, {"models_path": "/m", "keep_alive": "1h"})
    command = ENGINE.command("/opt/dmr", settings.options, ["--more"])
    assert command == ("/opt/dmr", "serve", "--port", "${LLM_PORT}", "--models-path", "${LLM_MODELS_PATH}", "--more")
    assert ENGINE.environment(settings) == {"LLM_PORT": "12434", "LLM_MODELS_PATH": "/m"}
    assert ENGINE.command("/opt/dmr", {}, []) == ("/opt/dmr", "serve", "--port", "${LLM_PORT}")


def test_only_its_own_models() -> None:
    record = InstalledModel("m", "docker_model_runner", "hf.co/Org/Model:Q8_0", "", "sha256:1", {}, "", (), "", "")
    assert ENGINE.model_path(record) == "huggingface.co/org/model:Q8_0"
    other = dataclasses.replace(record, provider="ollama")
    assert failure_of(lambda: ENGINE.model_path(other)).reason == "model_unsuitable"


def test_formats() -> None:
    assert ENGINE.refusal(Traits(), {}, gpu=False) is None
    assert ENGINE.refusal(Traits("gguf"), {}, gpu=False) is None
    assert ENGINE.refusal(Traits("safetensors"), {}, gpu=True) is None
    assert "GPU" in str(ENGINE.refusal(Traits("safetensors"), {}, gpu=False))
    assert "diffusers" in str(ENGINE.refusal(Traits("diffusers"), {}, gpu=True))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('level=ERROR msg="Server error" error="listen tcp :12434: bind: address already in use"', "port_in_use"),
        ("llama_model_load: error loading model: unknown model architecture: 'odd'", "model_unsuitable"),
        ("gguf_init_from_file_impl: invalid magic characters: 'PK', expected 'GGUF'", "model_unsuitable"),
        ("ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory", "out_of_memory"),
        ('runtime flag "--log-file" is not allowed for backend "llama.cpp"', "invalid_input"),
    ],
)
def test_its_log_is_understood(line: str, reason: str) -> None:
    meaning = ENGINE.meaning(f"all is well\n{line}\nmore")
    assert meaning is not None
    assert meaning.reason == reason
    assert ENGINE.meaning("all is well") is None
