# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of a Docker Model Runner: what it has on its disk and in memory after a run, and what the run said."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import requests
from ansible_collections.llmops.fleet.plugins.module_utils._core.ports import SourceOptions
from ansible_collections.llmops.fleet.plugins.module_utils._sources.docker_model_runner import DockerModelRunner
from docker_model_runner import Runner

from .conftest import weights

if t.TYPE_CHECKING:
    from .conftest import Run

NAME = "acme/model"
TAG = "docker.io/acme/model:latest"


@pytest.fixture
def runner(tmp_path: Path) -> t.Iterator[Runner]:
    with Runner(tmp_path / "runner") as running:
        running.publish(NAME, {"model.gguf": weights("first")})
        yield running


@pytest.fixture
def params(runner: Runner) -> dict[str, t.Any]:
    return {"source": "docker_model_runner", "model": NAME, "endpoint": runner.url}


def held(runner: Runner) -> dict[str, list[str]]:
    """Tags by id."""
    return {entry.id: sorted(entry.tags) for entry in runner.store.entries()}


def loaded(runner: Runner) -> list[str]:
    return [entry["model_name"] for entry in requests.get(f"{runner.url}/engines/ps", timeout=5).json()]


def load(runner: Runner, name: str = NAME) -> None:
    body = {"model": name, "messages": [{"role": "user", "content": "hi"}]}
    assert requests.post(f"{runner.url}/engines/v1/chat/completions", json=body, timeout=5).ok


def test_a_model_is_pulled_kept_and_removed(foreseen: Run, runner: Runner, params: dict[str, t.Any]) -> None:
    made = foreseen(**params)
    identity = made["models"][0]["revision"]
    assert held(runner) == {identity: [TAG]}
    assert made["models"][0]["sha256"] == identity.partition(":")[2]
    assert foreseen(**params)["changed"] is False
    assert foreseen(**params, state="absent")["changed"]
    assert held(runner) == {}
    assert foreseen(**params, state="absent")["changed"] is False


def test_a_runner_behind_a_socket(model: Run, tmp_path: Path) -> None:
    path = tmp_path / "runner.sock"
    with Runner(tmp_path / "behind", socket_path=path) as behind:
        identity = behind.publish(NAME, {"model.gguf": weights("first")})
        params = {"source": "docker_model_runner", "model": NAME, "endpoint": f"unix://{path}"}
        assert model(**params)["models"][0]["revision"] == identity
        assert model(**params)["changed"] is False
        assert model(state="absent")["changed"]
        assert held(behind) == {}
    result = model(**params)
    assert result["reason"] == "unreachable"
    assert f"unix://{path}" in result["msg"]


def test_refresh_looks_at_the_registry_without_a_pull(foreseen: Run, runner: Runner, params: dict[str, t.Any]) -> None:
    old = foreseen(**params)["models"][0]["revision"]
    runner.faults.reset()
    assert foreseen(**params)["changed"] is False
    assert not [request for request in runner.faults.requests if NAME in request]
    assert foreseen(**params, refresh=True)["changed"] is False
    assert runner.faults.requests[f"GET /models/{NAME}:latest"] == 2
    new = runner.publish(NAME, {"model.gguf": weights("second")})
    runner.faults.reset()
    assert foreseen(**params)["changed"] is False
    assert "POST /models/create" not in runner.faults.requests
    assert foreseen(**params, refresh=True)["changed"]
    assert held(runner) == {old: [], new: [TAG]}


@pytest.mark.parametrize(
    "name", ["model", "ai/model", "docker.io/ai/model", "AI/Model:latest", "index.docker.io/ai/model"]
)
def test_names_mean_one_model(model: Run, runner: Runner, params: dict[str, t.Any], name: str) -> None:
    identity = runner.publish("ai/model", {"model.gguf": weights("first")})
    assert model(**{**params, "model": name})["models"][0]["model"] == "ai/model:latest"
    assert held(runner) == {identity: ["docker.io/ai/model:latest"]}
    assert model(**{**params, "model": "ai/model"})["changed"] is False
    assert model(**{**params, "model": name}, state="absent")["changed"]
    assert held(runner) == {}


def test_a_tag_keeps_its_case(model: Run, runner: Runner, params: dict[str, t.Any]) -> None:
    identity = runner.publish("ai/smollm2:360M-Q4_K_M", {"model.gguf": weights("first")})
    params = {**params, "model": "ai/SmolLM2:360M-Q4_K_M"}
    assert model(**params)["models"][0]["revision"] == identity
    assert held(runner) == {identity: ["docker.io/ai/smollm2:360M-Q4_K_M"]}
    assert model(**params, refresh=True)["changed"] is False
    load(runner, "ai/smollm2:360M-Q4_K_M")
    assert model(**params, state="absent")["changed"]
    assert (held(runner), loaded(runner)) == ({}, [])


def test_only_our_name_goes_where_others_share_the_model(model: Run, runner: Runner, params: dict[str, t.Any]) -> None:
    identity = model(**params)["models"][0]["revision"]
    requests.post(f"{runner.url}/models/{NAME}/tag?repo=theirs/own&tag=v1", timeout=5)
    assert model(**params, state="absent")["changed"]
    assert held(runner) == {identity: ["docker.io/theirs/own:v1"]}


def test_what_is_loaded_is_told_by_whatever_it_was_asked_for(
    model: Run, runner: Runner, params: dict[str, t.Any], tmp_path: Path
) -> None:
    """A runtime loads a model by its digest, and clients ask for it by a served name."""
    first = model(**params)["models"][0]["revision"]
    runner.publish("acme/other", {"model.gguf": weights("other")})
    other = model(**{**params, "model": "acme/other"}, prefix=str(tmp_path / "others"))["models"][0]["revision"]
    source = DockerModelRunner(SourceOptions(endpoint=runner.url))
    requests.post(f"{runner.url}/models/{NAME}/tag?repo=ai/chat&tag=v1", timeout=5)
    for asked in (first, "ai/chat:v1", NAME):
        load(runner, asked)
        assert {entry.revision: entry.loaded for entry in source.inventory()} == {first: True, other: False}
        requests.post(f"{runner.url}/engines/unload", json={"all": True}, timeout=5)


@pytest.mark.parametrize("asked", [NAME, "ai/chat:v1", ""])
def test_a_loaded_model_leaves_memory_first(model: Run, runner: Runner, params: dict[str, t.Any], asked: str) -> None:
    identity = model(**params)["models"][0]["revision"]
    requests.post(f"{runner.url}/models/{NAME}/tag?repo=ai/chat&tag=v1", timeout=5)
    load(runner, asked or identity)
    runner.publish(NAME, {"model.gguf": weights("second")})
    result = model(**params, refresh=True)
    assert "was unloaded" in result["notes"][0]
    assert loaded(runner) == []
    load(runner)
    assert len(loaded(runner)) == 1
    model(**params, state="absent")
    assert loaded(runner) == []


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        ({"unauthorized": True}, "auth_error", "Unauthorized"),
        ({"manifest": 401}, "not_found", "Model not found"),
        ({"manifest": 404}, "not_found", "Model not found"),
        ({"manifest": 500}, "hub_error", "500 Internal Server Error"),
        ({"unreachable": True}, "unreachable", "connection refused"),
    ],
)
def test_what_the_registry_refuses(
    model: Run, runner: Runner, params: dict[str, t.Any], fault: dict[str, t.Any], reason: str, words: str
) -> None:
    runner.fault("acme/model", **fault)
    for check in (True, False):
        result = model(check=check, **params)
        assert result["reason"] == reason
        assert words in result["msg"]
    assert held(runner) == {}


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [(401, "Unauthorized", "auth_error"), (404, "Model not found", "not_found"), (500, "it broke", "hub_error")],
)
def test_what_the_runner_answers_to_a_pull(
    model: Run, runner: Runner, params: dict[str, t.Any], status: int, text: str, reason: str
) -> None:
    runner.fault(path="POST /models/create", status=status, text=text)
    result = model(**params)
    assert (result["reason"], result["changed"]) == (reason, False)
    assert f"answered {status}: {text}" in result["msg"]


def test_an_error_after_progress_is_a_failure(model: Run, runner: Runner, params: dict[str, t.Any]) -> None:
    runner.fault("acme/model", error="write /models/blobs/1: no space left on device")
    result = model(**params)
    assert result["reason"] == "no_space"
    assert held(runner) == {}
    runner.faults.reset()
    assert model(**params)["changed"]
    assert runner.faults.resumed


def test_a_flipped_bit_is_never_kept(model: Run, runner: Runner, params: dict[str, t.Any]) -> None:
    runner.fault("acme/model", flip=5000)
    assert model(**params)["reason"] == "checksum_mismatch"
    assert held(runner) == {}
    runner.faults.reset()
    identity = model(**params)["models"][0]["revision"]
    layer = runner.store.entries()[0].files[0]
    assert runner.store.blobs.get(layer) == weights("first")
    assert list(held(runner)) == [identity]


def test_a_cut_is_gone_on_from(model: Run, runner: Runner, params: dict[str, t.Any]) -> None:
    runner.fault("acme/model", cut=4000)
    assert model(**params)["changed"]
    assert runner.store.blobs.get(runner.store.entries()[0].files[0]) == weights("first")
    assert runner.faults.resumed
    assert sum(runner.faults.fetched.values()) == len(weights("first"))


def test_a_stream_that_ends_early_is_a_failure(model: Run, runner: Runner, params: dict[str, t.Any]) -> None:
    runner.fault("acme/model", truncate=True)
    result = model(**params)
    assert result["reason"] == "transfer_failed"
    assert held(runner) == {}


def test_capabilities_are_what_the_runner_tells(model: Run, runner: Runner, params: dict[str, t.Any]) -> None:
    record = model(**params)["models"][0]
    assert record["capabilities"]["max_context_length"] == 512
    assert record["capabilities"]["quantization"] == "F32"
    assert record["capabilities"]["supports_system_role"] is True


def test_a_token_reaches_the_registry_only_with_a_pull(model: Run, runner: Runner, params: dict[str, t.Any]) -> None:
    model(**params, token="read-only")
    assert runner.faults.tokens == ["read-only"]
    model(**params, token="read-only")
    assert runner.faults.tokens == ["read-only"]


def test_a_model_of_a_hub_is_not_looked_up_again(model: Run, runner: Runner, params: dict[str, t.Any]) -> None:
    runner.publish("huggingface.co/org/model", {"model.gguf": weights("first")})
    params = {**params, "model": "hf.co/Org/Model"}
    assert model(**params)["models"][0]["model"] == "huggingface.co/org/model:latest"
    assert model(**params)["changed"] is False
    assert model(**params, refresh=True)["reason"] == "unsupported"


def test_what_is_not_a_runner_is_one_sentence(model: Run, ollama: t.Any) -> None:
    for address in (ollama.daemon.url, "http://127.0.0.1:9"):
        result = model(source="docker_model_runner", model=NAME, endpoint=address)
        assert result["reason"] == "unreachable"
        assert f"Docker Model Runner at {address} could not be reached: it does not answer there." in result["msg"]
