# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._api.ollama import (
    OllamaApi,
    PullLine,
    failure_of,
    is_kept_name,
    kept_name,
    normal_name,
    parameters,
    same_name,
)
from ansible_collections.llmops.fleet.plugins.module_utils._api.ollama_command import OllamaCommand
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from hypothesis import given
from hypothesis import strategies as st
from recorded import CONTRACTS, Case, Recorded, answer, cases, lines, named

FILES = [f"ollama/{name}.json" for name in ("models", "serving", "updates", "corruption")]
ALPHA = "127.0.0.1:5001/acme/alpha:latest"
LONE = "pull, not found, no stream"
# What a case must be refused with; each other one is to be read without an error.
REASONS = {
    "foreign Host header": "forbidden",
    "wrong method": "hub_error",
    "pull, not found": "not_found",
    LONE: "not_found",
    "pull without insecure from a plain-http registry": "unreachable",
    "pull, empty body": "invalid_input",
    "pull, not JSON": "invalid_input",
    "pull, bad name": "invalid_name",
    "pull, empty name": "invalid_name",
    "pull, 401": "auth_error",
    "pull, 412": "engine_too_old",
    "pull, 500": "hub_error",
    "pull, a bit flipped in a layer": "checksum_mismatch",
    "pull, blobs answered directly with 200 instead of 307": "hub_error",
    "pull, a bit flipped in a layer, and the link lost before the last small blob": "checksum_mismatch",
    "pull: one bit of the big layer flipped on the way, link lost before the last small blob": "unreachable",
    "show, empty": "invalid_input",
    "copy, missing": "not_found",
    "copy, bad destination": "invalid_name",
    "delete, bad name": "invalid_name",
    "delete, empty body": "invalid_input",
    "blob upload, wrong digest": "checksum_mismatch",
    "blob, bad digest": "invalid_input",
    "create, nothing given": "invalid_input",
    "create, missing blob": "path_missing",
    "create from a missing base": "unreachable",
    "create from a file that is not GGUF": "model_unsuitable",
}


@pytest.fixture
def server() -> t.Iterator[Recorded]:
    with Recorded() as running:
        yield running


def api(server: Recorded, **more: t.Any) -> OllamaApi:
    return OllamaApi(server.url, timeout=10, **more)


def ask(api: OllamaApi, case: Case, file: Path, seen: list[PullLine]) -> t.Any:
    """The call of the client that makes a recorded request; NotImplemented for what no client asks."""
    request = case["request"]
    body = request.get("body")
    body = body if isinstance(body, dict) else {}
    name = body.get("model", "x")
    method, path = request["method"], request["path"]
    calls: dict[tuple[str, str], t.Callable[[], t.Any]] = {
        ("GET", "/"): api.version,
        ("GET", "/api/tags"): api.tags,
        ("GET", "/api/ps"): api.running,
        ("GET", "/api/pull"): lambda: api.pull("x", insecure=False, progress=seen.append),
        ("POST", "/api/pull"): lambda: api.pull(name, insecure=body.get("insecure", False), progress=seen.append),
        ("POST", "/api/create"): lambda: api.create(name, body, seen.append),
        ("POST", "/api/show"): lambda: api.show(name),
        ("POST", "/api/copy"): lambda: api.copy(body["source"], body["destination"]),
        ("DELETE", "/api/delete"): lambda: api.delete(name),
    }
    if path.startswith("/api/blobs/"):
        digest = path.rpartition("/")[2]
        return api.has_blob(digest) if method == "HEAD" else api.upload_blob(digest, file)
    return calls[method, path]() if (method, path) in calls else NotImplemented


@pytest.mark.parametrize("file", FILES)
def test_every_recorded_case_is_read(server: Recorded, file: str, tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"x" * 100_000)
    for case in cases(file):
        server.play(case, answer({"version": "0.33.0"}))
        seen: list[PullLine] = []
        reason, what = "", server.url
        try:
            given = ask(api(server), case, blob, seen)
        except LlmError as error:
            reason, what = error.reason, error.what
        else:
            if given is NotImplemented:
                continue
        assert reason == REASONS.get(case["case"], ""), case["case"]
        assert server.url in what
        if "lines" in case["response"] and not reason:
            assert [line.status for line in seen] == [json.loads(line)["status"] for line in case["response"]["lines"]]


def test_the_version_is_that_of_ollama_only(server: Recorded) -> None:
    server.play(named("ollama/models.json", "root"), named("ollama/models.json", "version"))
    assert api(server).version() == "0.33.0"
    server.play(named("docker_model_runner/models.json", "root"), answer({"version": "0.1.0"}))
    assert api(server).version() is None
    server.play(answer("<html>", status=404))
    assert api(server).version() is None
    server.play(answer("", status=401))
    with pytest.raises(LlmError, match="token") as caught:
        api(server).version()
    assert caught.value.reason == "auth_error"


def test_tags_tell_all_of_a_model(server: Recorded) -> None:
    server.play(named("ollama/models.json", "tags, one"))
    (tag,) = api(server).tags()
    assert (tag.name, tag.size, tag.capabilities) == (ALPHA, 2714171, ("completion",))
    assert tag.digest == "56607e926989a444c644a48bec358d59b8fb85a5ee7ab9f07ea23ce8b8717620"
    assert tag.details["quantization_level"] == "F32"
    server.play(named("docker_model_runner/models.json", "ollama: tags"), answer({"models": None}))
    assert len(api(server).tags()[0].digest) == 64
    assert api(server).tags() == []


def test_one_name_can_be_loaded_twice(server: Recorded) -> None:
    server.play(named("ollama/updates.json", "ps after the chat"))
    loaded = [entry for entry in api(server).running() if entry.name == ALPHA]
    assert len({entry.digest for entry in loaded}) == 2
    assert loaded[0].context_length == 512
    assert (loaded[0].size, loaded[0].size_vram) == (7822376, 0)


def test_what_is_missing_is_no_error_where_one_asks_for_it(server: Recorded) -> None:
    server.play(named("ollama/models.json", "show, missing"), named("ollama/models.json", "delete, missing"),
                answer(status=404))  # fmt: skip
    assert api(server).show("none") is None
    assert api(server).delete("none") is False
    assert api(server).has_blob("sha256:" + "0" * 64) is False


def test_a_pull_says_what_it_does(server: Recorded) -> None:
    server.play(named("ollama/models.json", "pull, again: nothing to do"))
    seen: list[PullLine] = []
    api(server, token="t").pull(ALPHA, insecure=True, progress=seen.append)
    assert server.asked[0].document == {"model": ALPHA, "insecure": True, "stream": True}
    assert seen[1].total == seen[1].completed == 2713600
    assert seen[1].digest.startswith("sha256:cdaa")


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (lines('{"status":"pulling manifest"}'), "transfer_failed"),
        (lines(), "transfer_failed"),
        (lines('{"status":"pulling manifest"}', cut=True), "transfer_failed"),
        (lines('{"status":"success"}', cut=True), "transfer_failed"),
        (lines("<html>"), "hub_error"),
        (lines('["status"]'), "hub_error"),
        (lines('{"error":"write x: no space left on device"}', ends_with_newline=False), "no_space"),
        (lines('{"error":"pull model manifest: unauthorized: access denied"}'), "auth_error"),
        (lines('{"error":"max retries exceeded: unexpected EOF"}'), "unreachable"),
        (lines('{"error":"pull model manifest: 404"}'), "auth_error"),
        (lines('{"error":"pull model manifest: 403: no"}'), "auth_error"),
        (answer({"error": "server busy, please try again.  maximum pending requests exceeded"}, 503), "hub_error"),
        (answer(status=301, headers={"Location": "http://elsewhere/"}), "hub_error"),
    ],
)
def test_a_pull_without_success_is_an_error(server: Recorded, stream: Case, reason: str) -> None:
    server.play(stream)
    with pytest.raises(LlmError) as caught:
        api(server).pull("alpha", insecure=False, progress=lambda _line: None)
    assert caught.value.reason == reason


def test_leaving_a_pull_ends_the_connection(server: Recorded) -> None:
    server.play(lines('{"status":"one"}', '{"status":"two"}', silent=5))

    def leave(_line: PullLine) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        api(server).pull("alpha", insecure=False, progress=leave)
    # At once, and not when the last trace of the exception is forgotten.
    assert caught.value
    assert server.script.left_early.wait(3)


def test_a_blob_is_sent_whole(server: Recorded, tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"x" * 300_000)
    server.play(answer(status=201))
    api(server).upload_blob("sha256:" + "0" * 64, tmp_path / "b")
    assert server.asked[0].body == b"x" * 300_000
    with pytest.raises(LlmError) as caught:
        api(server).upload_blob("sha256:" + "0" * 64, tmp_path / "none")
    assert caught.value.reason == "path_missing"


LOADED = answer({"models": [{"name": "chat:latest"}, {"name": "other:latest"}]})
UNLOADED = answer({"models": [{"name": "other:latest"}]})
DONE = named("ollama/serving.json", "unload")
UNKNOWN = named("ollama/serving.json", "unload an unknown one")


def test_unload_waits_until_it_is_out(server: Recorded) -> None:
    server.play(LOADED, DONE, LOADED, LOADED, UNLOADED)
    assert api(server).unload("Chat", pause=0.01) is True
    assert server.asked[1].document == {"model": "Chat", "keep_alive": 0}
    assert len(server.asked) == 5
    server.play(UNLOADED)
    assert api(server).unload("chat") is False


def test_what_no_request_unloads_is_an_error(server: Recorded) -> None:
    server.play(LOADED, DONE, *[LOADED] * 50)
    with pytest.raises(LlmError) as caught:
        api(server).unload("chat", deadline=0.05, pause=0.02)
    assert caught.value.reason == "timeout"
    server.play(LOADED, UNKNOWN, LOADED)
    with pytest.raises(LlmError) as caught:
        api(server).unload("chat")
    assert caught.value.reason == "in_use"


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("llama3.2", "llama3.2:latest"),
        ("llama3.2:3b", "llama3.2:3b"),
        ("library/llama3.2", "llama3.2:latest"),
        ("registry.ollama.ai/library/llama3.2:3b", "llama3.2:3b"),
        ("Registry.Ollama.AI/acme/x", "acme/x:latest"),
        ("acme/x:y", "acme/x:y"),
        ("hf.co/bartowski/X-GGUF:Q4_K_M", "hf.co/bartowski/X-GGUF:Q4_K_M"),
        ("hf.co/bartowski/X-GGUF", "hf.co/bartowski/X-GGUF:latest"),
        ("http://127.0.0.1:5001/acme/alpha", "127.0.0.1:5001/acme/alpha:latest"),
        ("localhost:5001/library/x", "localhost:5001/library/x:latest"),
    ],
)
def test_names_have_one_form(name: str, normal: str) -> None:
    assert normal_name(name) == normal
    assert same_name(name.upper(), normal)


@given(st.lists(st.from_regex(r"[a-z0-9.]{1,6}", fullmatch=True), min_size=1, max_size=4), st.sampled_from(["", ":t"]))
def test_the_one_form_stays(parts: list[str], tag: str) -> None:
    once = normal_name("/".join(parts) + tag)
    assert normal_name(once) == once


def test_parameters_are_read_with_their_repeats(server: Recorded) -> None:
    server.play(named("ollama/models.json", "show"))
    shown = api(server).show(ALPHA)
    assert shown is not None
    assert parameters(shown["parameters"]) == {"temperature": ["0"], "stop": ["</s>", "###"]}
    assert parameters('stop   "a\\nb"\nstop "\\x00"\n\nnum_ctx   4096') == {
        "stop": ["a\nb", "\\x00"],
        "num_ctx": ["4096"],
    }
    assert parameters("") == {}


def test_the_words_of_hugging_face_have_reasons() -> None:
    for text, reason in (
        ('pull model manifest: 400: {"error":"Repository is not GGUF or is not compatible with llama.cpp"}', "model_unsuitable"),
        ('pull model manifest: 400: {"error":"The specified tag is not a valid quantization scheme."}', "not_found"),
        ("model requires more system memory (5.6 GiB) than is available (2.0 GiB)", "out_of_memory"),
    ):  # fmt: skip
        assert failure_of(text, "x").reason == reason


# The command line: a program that answers as it was recorded to, its version first.
# The first lines are a shell's and a string of Python's: the interpreter's path may have a space.
PLAYER = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
'''
import json, sys
left = json.load(open({cases!r}))
wanted = " ".join(sys.argv[1:])
with open({log!r}, "a") as log:
    log.write(wanted + "\\n")
case = next(case for case in left if case["command"] == "ollama " + wanted)
for stream in ("stdout", "stderr"):
    getattr(sys, stream).write(case[stream].replace("<ESC>", "\\x1b"))
sys.exit(case["rc"])
"""


@pytest.fixture
def command(tmp_path: Path) -> t.Callable[..., OllamaCommand]:
    def make(*names: str, **more: str) -> OllamaCommand:
        recorded = json.loads((CONTRACTS / "ollama/command_line.json").read_text())["cases"]
        chosen = [case for name in (*names, "version") for case in recorded if case["case"] == name]
        (tmp_path / "cases").write_text(json.dumps(chosen))
        program = tmp_path / "ollama"
        program.write_text(
            PLAYER.format(python=sys.executable, cases=str(tmp_path / "cases"), log=str(tmp_path / "log"))
        )
        program.chmod(0o755)
        return OllamaCommand(str(program), **more)

    return make


def test_the_command_tells_what_the_api_tells(command: t.Callable[..., OllamaCommand]) -> None:
    assert command().version() == "0.33.0"
    tags = command("list").tags()
    assert [tag.name for tag in tags][:2] == ["127.0.0.1:5001/acme/delta:latest", "beta:latest"]
    assert (tags[0].digest, tags[0].size) == ("f65a8b7242ad", 2_700_000)
    loaded = command("ps, loaded").running()
    assert [(entry.name, entry.context_length, entry.size_vram) for entry in loaded][1] == ("beta:latest", 64, 0)
    shown = command("show modelfile", "show parameters").show(ALPHA)
    assert shown is not None
    assert parameters(shown["parameters"]) == {"temperature": ["0"]}
    assert "FROM /var/lib" in shown["modelfile"]


def test_the_command_pulls_and_removes(command: t.Callable[..., OllamaCommand]) -> None:
    seen: list[PullLine] = []
    command("pull").pull(ALPHA, insecure=True, progress=seen.append)
    assert seen[0].status == "pulling manifest"
    assert seen[-1].status == "success"
    assert "\x1b" not in "".join(line.status for line in seen)
    command("cp").copy("beta", "chat")
    assert command("rm").delete("chat") is True
    assert command("rm again").delete("chat") is False
    assert command("ps", "stop").unload("beta") is False


@pytest.mark.parametrize(
    ("case", "name", "insecure", "reason"),
    [
        ("pull, not found", "127.0.0.1:5001/acme/none", True, "not_found"),
        ("pull, bad name", "../x", False, "invalid_name"),
        ("pull, daemon down", "x", False, "unreachable"),
        ("pull", "-x", False, "invalid_name"),
    ],
)
def test_the_command_fails_as_the_api_does(
    command: t.Callable[..., OllamaCommand], case: str, name: str, insecure: bool, reason: str
) -> None:
    with pytest.raises(LlmError) as caught:
        command(case).pull(name, insecure=insecure, progress=lambda _line: None)
    assert caught.value.reason == reason
    assert "\x1b" not in str(caught.value)


def test_the_command_is_not_run_without_a_server(command: t.Callable[..., OllamaCommand], tmp_path: Path) -> None:
    with pytest.raises(LlmError) as caught:
        command("version, daemon down", "list").tags()
    assert caught.value.reason == "unreachable"
    assert (tmp_path / "log").read_text() == "--version\n"


def test_a_missing_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(LlmError) as caught:
        OllamaCommand(str(tmp_path / "none")).tags()
    assert caught.value.reason == "engine_missing"
    with pytest.raises(LlmError) as caught:
        OllamaCommand("ollama", address="unix:///x")
    assert caught.value.reason == "unsupported"


def test_what_is_kept_for_runtimes_is_told_apart_where_case_is_not() -> None:
    assert kept_name("chat", "0123456789abcdef") == "llmops-fleet/kept-for-chat:0123456789ab"
    names = [kept_name(runtime).lower() for runtime in ("chat", "Chat", "CHAT")]
    assert len(set(names)) == 3
    assert all(is_kept_name(name) for name in names)
    longest = kept_name("C" * 64, "0" * 64)
    # What Ollama takes as a model's name (types/model/name.go).
    assert len(longest.partition("/")[2].partition(":")[0]) <= 80
