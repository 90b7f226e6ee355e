# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._api.docker_model_runner import (
    DmrLine,
    DockerModelRunnerApi,
    normal_reference,
)
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from hypothesis import given
from hypothesis import strategies as st
from recorded import Case, Recorded, answer, cases, lines, named

MODELS, SERVING = "docker_model_runner/models.json", "docker_model_runner/serving.json"
ALPHA, BETA = "127.0.0.1:5003/ai/alpha", "127.0.0.1:5003/ai/beta"
# What a case must be refused with; each other one is to be read without an error.
REASONS = {
    "one model, missing, remote": "not_found",
    "foreign Origin header": "forbidden",
    "create, empty body": "invalid_input",
    "create, not JSON": "invalid_input",
    "create, empty from": "invalid_name",
    "create, bad name": "invalid_name",
    "create, not found": "not_found",
    "create, manifest answers 401": "not_found",
    "create, manifest answers 403": "auth_error",
    "create, manifest answers 404": "not_found",
    "create, manifest answers 429": "hub_error",
    "create, manifest answers 500": "hub_error",
    "create, manifest answers 503": "hub_error",
    "create from an unreachable registry": "unreachable",
    "create, a bit flipped": "checksum_mismatch",
    # The runner was asked for text there, as this client never does.
    "create again, no Accept": "hub_error",
    "create again, Accept */*": "hub_error",
    "delete by id with two tags": "in_use",
}


@pytest.fixture
def server() -> t.Iterator[Recorded]:
    with Recorded() as running:
        yield running


def api(server: Recorded) -> DockerModelRunnerApi:
    return DockerModelRunnerApi(server.url, timeout=10)


def ask(api: DockerModelRunnerApi, case: Case, seen: list[DmrLine]) -> t.Any:
    """The call of the client that makes a recorded request; NotImplemented for what no client asks."""
    request = case["request"]
    body = request.get("body")
    body = body if isinstance(body, dict) else {}
    method, path = request["method"], request["path"]
    reference = path[len("/models/") :].partition("?")[0]
    calls: dict[tuple[str, str], t.Callable[[], t.Any]] = {
        ("GET", "/"): api.is_there,
        ("GET", "/version"): api.version,
        ("GET", "/models"): api.models,
        ("GET", "/engines/ps"): api.running,
        ("GET", "/engines/df"): api.disk_usage,
        ("POST", "/models/create"): lambda: api.create(body.get("from", ""), progress=seen.append),
        ("POST", "/engines/unload"): lambda: api.unload(body.get("models", ["x"])),
    }
    if path.endswith("?remote=true"):
        return api.remote(reference)
    if method == "DELETE" and path != "/models/purge":
        return api.delete(reference, force=False)
    return calls[method, path]() if (method, path) in calls else NotImplemented


@pytest.mark.parametrize("file", [MODELS, SERVING])
def test_every_recorded_case_is_read(server: Recorded, file: str) -> None:
    for case in cases(file):
        server.play(case)
        seen: list[DmrLine] = []
        reason, what = "", server.url
        try:
            given = ask(api(server), case, seen)
        except LlmError as error:
            reason, what = error.reason, error.what
        else:
            if given is NotImplemented:
                continue
        assert reason == REASONS.get(case["case"], ""), case["case"]
        assert server.url in what
        if "lines" in case["response"] and not reason:
            assert len(seen) == len(case["response"]["lines"])


def test_the_runner_is_told_from_what_looks_like_it(server: Recorded, free_port: int) -> None:
    server.play(named(MODELS, "root"), named("ollama/models.json", "root"), answer("", 404))
    assert [api(server).is_there() for _time in range(3)] == [True, False, False]
    assert DockerModelRunnerApi(f"http://127.0.0.1:{free_port}").is_there() is False
    server.play(named(MODELS, "version"))
    assert api(server).version() == "1.2.6"


def test_a_model_is_found_by_each_of_its_whole_names(server: Recorded) -> None:
    listed = named(MODELS, "models after tag")
    for reference, found in (
        (ALPHA, True), ("127.0.0.1:5003/AI/Alpha:latest", True), ("chat", True), ("docker.io/ai/chat", True),
        ("sha256:45ffd2e9b776f663f6ce4145f9f218cb198c0a36e217a9f91905e1d5b014c8bd", True),
        ("alpha", False), ("ai/alpha", False), ("alpha:latest", False),
    ):  # fmt: skip
        server.play(listed)
        assert (api(server).find(reference) is not None) is found, reference
    server.play(listed)
    model = api(server).models()[0]
    assert model.tags == ("127.0.0.1:5003/ai/alpha:latest", "docker.io/ai/chat:latest")
    assert model.size == 2705326
    assert model.config["context_size"] == 512


def test_the_registry_has_the_same_identity(server: Recorded) -> None:
    server.play(named(MODELS, "models"), named(MODELS, "one model, remote"))
    local, remote = api(server).find(ALPHA), api(server).remote(ALPHA)
    assert local is not None
    assert local.id == remote.id
    assert server.asked[1].path == f"/models/{ALPHA}:latest?remote=true"


def test_a_pull_asks_for_lines_of_json(server: Recorded) -> None:
    server.play(named(MODELS, "create, first time, slow link, JSON"))
    seen: list[DmrLine] = []
    api(server).create(ALPHA, token="hub-token", progress=seen.append)
    (asked,) = server.asked
    assert asked.headers["accept"] == "application/json"
    assert asked.document == {"from": ALPHA, "bearer-token": "hub-token"}
    assert "authorization" not in asked.headers
    assert (seen[0].total, seen[0].layer_size, seen[0].completed) == (2713600, 2713600, 32768)
    assert seen[-1].message == "Model pulled successfully"


PROGRESS = '{"type":"progress","message":"x","total":10,"layer":{"id":"sha256:9f","size":10,"current":1}}'
SUCCESS = '{"type":"success","message":"Model pulled successfully"}'


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (lines(PROGRESS), "transfer_failed"),
        (lines(), "transfer_failed"),
        (lines(PROGRESS, cut=True), "transfer_failed"),
        (lines(PROGRESS, "error while pulling model: write /x: no space left on device"), "no_space"),
        (lines(PROGRESS, '{"type":"error","message":"Error: unauthorized"}', "more"), "auth_error"),
        (lines(SUCCESS, "error while pulling model: oops"), "hub_error"),
        (lines("[1]", SUCCESS), "hub_error"),
        (answer("Unauthorized\n", 401), "auth_error"),
        (answer("conflict\n", 409), "in_use"),
        (answer("unsupported model format\n", 422), "model_unsuitable"),
        (answer("oops\n", 500), "hub_error"),
        (answer("", 500), "hub_error"),
    ],
)
def test_a_pull_without_success_is_an_error(server: Recorded, stream: Case, reason: str) -> None:
    server.play(stream)
    with pytest.raises(LlmError) as caught:
        api(server).create("ai/x", token="hub-token", progress=lambda _line: None)
    assert caught.value.reason == reason
    assert "hub-token" not in str(caught.value)


def test_deleting_cannot_reach_another_route(server: Recorded) -> None:
    for reference, path in (
        ("purge", "/models/ai/purge:latest"),
        ("hf.co/A/B:Q4_K_M", "/models/huggingface.co/a/b:Q4_K_M"),
    ):
        server.play(answer("model not found\n", 404))
        assert api(server).delete(reference, force=False) is False
        assert server.asked[0].path == path
    for reference in ("../models/purge", "", "a/../purge"):
        server.play()
        with pytest.raises(LlmError) as caught:
            api(server).delete(reference, force=False)
        assert caught.value.reason == "invalid_name"
        assert server.asked == []
    server.play(answer([]))
    assert api(server).delete("x", force=True) is True
    assert server.asked[0].path == "/models/ai/x:latest?force=true"


def test_what_is_loaded_and_what_it_takes(server: Recorded) -> None:
    server.play(named(SERVING, "ps after configure"), named(SERVING, "df"), named(SERVING, "unload all"))
    running = api(server).running()
    assert [(entry.model, entry.loading) for entry in running] == [(BETA, False), (ALPHA, True)]
    assert api(server).disk_usage().models == 5430022
    assert api(server).unload([ALPHA, BETA]) == 2
    assert server.asked[2].document == {"all": False, "models": [ALPHA, BETA]}
    server.play()
    assert api(server).unload([]) == 0


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("smollm2", "ai/smollm2:latest"),
        ("ai/SmolLM2", "ai/smollm2:latest"),
        ("docker.io/ai/smollm2:latest", "ai/smollm2:latest"),
        ("index.docker.io/ai/smollm2:360M", "ai/smollm2:360m"),
        ("acme/x", "acme/x:latest"),
        ("hf.co/Bartowski/X-GGUF:Q4_K_M", "huggingface.co/bartowski/x-gguf:q4_k_m"),
        ("https://huggingface.co/A/B", "huggingface.co/a/b:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("127.0.0.1:5003/ai/alpha", "127.0.0.1:5003/ai/alpha:latest"),
        ("sha256:ABC", "sha256:abc"),
        ("ai/x@sha256:abc", "ai/x@sha256:abc"),
    ],
)
def test_references_have_one_form(name: str, normal: str) -> None:
    assert normal_reference(name) == normal


@given(
    st.lists(st.from_regex(r"[a-z0-9][a-z0-9.]{0,5}", fullmatch=True), min_size=1, max_size=4),
    st.sampled_from(["", ":T", "@sha256:1"]),
)
def test_the_one_form_stays(parts: list[str], end: str) -> None:
    once = normal_reference("/".join(parts) + end)
    assert normal_reference(once) == once
