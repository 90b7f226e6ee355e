# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._api.lm_studio import Job, LmStudioApi
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from recorded import Case, Recorded, answer, named

MODEL = {
    "type": "llm", "publisher": "google", "key": "google/gemma-4-26b-a4b", "display_name": "Gemma 4",
    "architecture": "gemma4", "quantization": {"name": "Q4_K_M", "bits_per_weight": 4}, "size_bytes": 17,
    "params_string": "26B-A4B", "loaded_instances": [{"id": "k:2", "config": {"context_length": 4096, "parallel": 4}}],
    "max_context_length": 262144, "format": "gguf", "capabilities": {"vision": True, "trained_for_tool_use": True},
    "variants": ["x"], "selected_variant": "x",
}  # fmt: skip
TOKEN = "a-secret-token"


@pytest.fixture
def server() -> t.Iterator[Recorded]:
    with Recorded() as running:
        yield running


def api(server: Recorded) -> LmStudioApi:
    return LmStudioApi(server.url, token=TOKEN, timeout=10)


def status(word: str, arrived: int = 0) -> Case:
    return answer({"job_id": "job_4", "status": word, "downloaded_bytes": arrived, "total_size_bytes": 10})


def test_it_is_told_from_others(server: Recorded, free_port: int) -> None:
    server.play(answer({"lmstudio": True}), answer({}), answer("", 404), named("ollama/models.json", "unknown path"))
    assert [api(server).is_there() for _time in range(4)] == [True, False, False, False]
    assert LmStudioApi(f"http://127.0.0.1:{free_port}").is_there() is False


def test_models_tell_all(server: Recorded) -> None:
    server.play(answer({"models": [MODEL, {"key": "embed", "type": "embedding", "quantization": None}]}), answer({}))
    gemma, embed = api(server).models()
    assert (gemma.key, gemma.publisher, gemma.size, gemma.quantization) == (MODEL["key"], "google", 17, "Q4_K_M")
    assert (gemma.loaded, gemma.max_context_length, gemma.format) == (("k:2",), 262144, "gguf")
    assert (gemma.display_name, gemma.capabilities["vision"]) == ("Gemma 4", True)
    assert (embed.quantization, embed.loaded, embed.capabilities) == ("", (), {})
    assert api(server).models() == []
    assert server.asked[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_download_is_a_job_unless_it_is_there(server: Recorded) -> None:
    server.play(answer({"job_id": "job_4", "status": "downloading", "total_size_bytes": 10}),
                answer({"status": "already_downloaded"}))  # fmt: skip
    assert api(server).download("ibm/granite-4-micro", "Q4_K_M") == "job_4"
    assert api(server).download("ibm/granite-4-micro") is None
    assert server.asked[0].document == {"model": "ibm/granite-4-micro", "quantization": "Q4_K_M"}
    assert server.asked[1].document == {"model": "ibm/granite-4-micro"}


def test_waiting_ends_when_it_is_complete(server: Recorded) -> None:
    server.play(status("downloading", 1), status("paused", 2), status("downloading", 3), status("completed", 10))
    seen: list[Job] = []
    job = api(server).wait("job_4", seen.append, deadline=10, pause=0.01)
    assert job == Job("job_4", "completed", 10, 10)
    assert [entry.downloaded_bytes for entry in seen] == [1, 2, 3, 10]
    assert server.asked[0].path == "/api/v1/models/download/status/job_4"


@pytest.mark.parametrize(
    ("answers", "reason", "words"),
    [
        ([status("downloading"), status("failed", 3)], "transfer_failed", "failed"),
        ([status("paused", 3)] * 50, "timeout", "paused"),
        ([status("downloading", 3)] * 50, "timeout", "not complete"),
        ([answer({"error": {"message": "no such job"}}, 404)], "not_found", "no such job"),
    ],
)
def test_waiting_does_not_go_on_for_ever(server: Recorded, answers: list[Case], reason: str, words: str) -> None:
    server.play(*answers)
    with pytest.raises(LlmError, match=words) as caught:
        api(server).wait("job_4", lambda _job: None, deadline=0.2, paused_limit=0.1, pause=0.02)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (answer({"error": {"message": "Missing token", "type": "auth"}}, 401), "auth_error"),
        (answer({"error": "Model not found"}, 404), "not_found"),
        (answer({"error": {"message": "quantization needs a link"}}, 400), "invalid_input"),
        (answer("oops", 500), "hub_error"),
        (answer({"status": "failed"}), "transfer_failed"),
        (answer({"status": "downloading"}), "hub_error"),
        (answer([]), "hub_error"),
    ],
)
def test_refusals_have_reasons(server: Recorded, case: Case, reason: str) -> None:
    server.play(case)
    with pytest.raises(LlmError) as caught:
        api(server).download("x")
    assert caught.value.reason == reason
    assert TOKEN not in str(caught.value)


def test_unload_is_by_instance(server: Recorded) -> None:
    server.play(answer({"instance_id": "k:2"}), answer({"error": "none"}, 404))
    assert api(server).unload("k:2") is True
    assert server.asked[0].document == {"instance_id": "k:2"}
    assert api(server).unload("k:2") is False
