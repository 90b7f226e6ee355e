# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import socket
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._api.daemon import Daemon, go_reason, size_of
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from recorded import Case, Recorded, answer, cases, lines

FILES = [f"{folder}/{name}.json" for folder, name in (
    ("ollama", "models"), ("ollama", "serving"), ("ollama", "updates"), ("ollama", "corruption"),
    ("docker_model_runner", "models"), ("docker_model_runner", "serving"),
)]  # fmt: skip
TOKEN = "a-secret-token"


@pytest.fixture
def server() -> t.Iterator[Recorded]:
    with Recorded() as running:
        yield running


def daemon(address: str, **more: t.Any) -> Daemon:
    return Daemon(address, what="Program", **{"timeout": 10.0, **more})


def refusal(daemon: Daemon, **more: t.Any) -> LlmError:
    with pytest.raises(LlmError) as caught:
        list(daemon.request("GET", "/", **more).lines)
    return caught.value


def recorded(case: Case) -> tuple[str, str]:
    request = case["request"]
    return request["method"], request["path"]


@pytest.mark.parametrize("file", FILES)
def test_every_recorded_answer_is_read_whole(server: Recorded, file: str) -> None:
    for case in cases(file):
        server.play(case)
        response = case["response"]
        reply = daemon(server.url).request(*recorded(case), stream="lines" in response)
        assert reply.status == response["status"]
        if "lines" in response and reply.good:
            assert list(reply.lines) == [line for line in response["lines"] if line]
        elif "lines" in response:
            assert reply.said == "\n".join(response["lines"])[:500]
        else:
            assert reply.text == response["body"]
            if response["headers"].get("Content-Type", "").startswith("application/json") and reply.text:
                reply.json()


@pytest.mark.parametrize("file", FILES)
def test_a_unix_socket_serves_as_well(tmp_path: Path, file: str) -> None:
    with Recorded(socket_path=tmp_path / "s") as server:
        for case in cases(file):
            server.play(case)
            assert daemon(f"unix://{tmp_path}/s").request(*recorded(case)).status == case["response"]["status"]
            assert server.asked[0].headers["host"] == "localhost"


def test_a_request_says_what_it_should(server: Recorded) -> None:
    server.play(answer({"a": 1}))
    reply = daemon(server.url + "/prefix/", token=TOKEN).request(
        "POST", "/path", body={"b": 2}, headers={"Accept": "application/json"}
    )
    assert reply.json() == {"a": 1}
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.document) == ("POST", "/prefix/path", {"b": 2})
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["accept"] == "application/json"


def test_neither_proxy_nor_netrc_nor_redirect_leads_elsewhere(
    server: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password other\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.play(answer(status=307, headers={"Location": "http://127.0.0.1:9/"}))
    assert daemon(server.url).request("GET", "/").status == 307
    assert "authorization" not in server.asked[0].headers


@pytest.mark.parametrize("ends_with_newline", [True, False])
def test_lines_come_whatever_the_end(server: Recorded, ends_with_newline: bool) -> None:
    server.play(lines("één", "", "two\u2028parts", ends_with_newline=ends_with_newline))
    assert list(daemon(server.url).request("GET", "/", stream=True).lines) == ["één", "two\u2028parts"]


@pytest.mark.parametrize("chunked", [True, False])
def test_a_stream_that_breaks_off_is_an_error_after_its_whole_lines(server: Recorded, chunked: bool) -> None:
    server.play(
        lines("one", "half", ends_with_newline=False, cut=True)
        if chunked
        else answer("one\nhalf", cut=True, promised=10)
    )
    read: list[str] = []
    with pytest.raises(LlmError) as caught:
        read.extend(daemon(server.url).request("GET", "/", stream=True).lines)
    assert caught.value.reason == "transfer_failed"
    assert f"Program at {server.url}" in caught.value.what
    # What arrives in one piece with the break may be lost with it, but never is half a line taken for a whole one.
    assert read in (["one"], [])


def test_an_answer_that_breaks_off_is_an_error(server: Recorded) -> None:
    server.play(answer("{", cut=True, promised=10))
    assert refusal(daemon(server.url)).reason == "transfer_failed"


def test_silence_ends_in_time(server: Recorded) -> None:
    server.play(lines("one", silent=1))
    assert refusal(daemon(server.url, timeout=0.2), stream=True).reason == "timeout"
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        error = refusal(daemon(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout=0.2))
    assert error.reason == "timeout"


def test_nobody_there_is_unreachable(tmp_path: Path, free_port: int) -> None:
    error = refusal(daemon(f"http://somebody:{TOKEN}@127.0.0.1:{free_port}", token=TOKEN))
    assert error.reason == "unreachable"
    assert error.what == f"Program at http://127.0.0.1:{free_port} could not be reached: it refused the connection."
    error = refusal(daemon(f"unix://{tmp_path}/none"))
    assert (error.reason, "no such socket" in error.what) == ("unreachable", True)
    assert refusal(daemon(f"unix://{tmp_path}/{'x' * 200}")).reason == "unreachable"
    assert refusal(daemon("http://none.invalid")).reason == "unreachable"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every socket")
def test_a_closed_socket_is_named(tmp_path: Path) -> None:
    with Recorded(socket_path=tmp_path / "s"):
        (tmp_path / "s").chmod(0)
        assert refusal(daemon(f"unix://{tmp_path}/s")).reason == "permission_denied"


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:11434", "", "unix://x", "unix:/x", "ftp://x", "http://127.0.0.1:99999", "http://[::1", "http://",
     "http://a b", "http://x:0", "http://x?y", "unix:///x.sock#below", "http://a\nb"],
)  # fmt: skip
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(LlmError) as caught:
        daemon(address)
    assert caught.value.reason == "invalid_input"


@pytest.mark.parametrize("token", ["a\r\nX: y", "geheim…"])
def test_a_token_that_is_no_header_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(LlmError) as caught:
        daemon("http://127.0.0.1:1", token=token)
    assert token not in str(caught.value)


def test_a_failure_tells_what_was_asked_and_said(server: Recorded) -> None:
    for body, said in (({"error": "no."}, "no"), ({"error": {"message": "no"}}, "no"), ({"detail": "no"}, "no"),
                       ("no\n", "no"), ([1], "[1]")):  # fmt: skip
        server.play(answer(body, status=404))
        error = daemon(server.url, token=TOKEN).request("GET", "/").failure("do it")
        assert error.reason == "not_found"
        assert error.what == f"Program at {server.url} was asked to do it and answered 404: {said}."


def test_what_is_no_json_is_an_error(server: Recorded) -> None:
    server.play(answer("<html>"), answer([1]))
    with pytest.raises(LlmError, match="no JSON"):
        daemon(server.url).request("GET", "/").json()
    with pytest.raises(LlmError, match="no object"):
        daemon(server.url).request("GET", "/").document()


@pytest.mark.parametrize(
    ("text", "size"),
    [("2.7 MB", 2_700_000), ("256.35 MiB", 268802458), ("2.58MiB", 2705326), ("504 B", 504), ("-", 0), ("", 0), ("1 GB", 10**9)],
)  # fmt: skip
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('Get "https://x/": dial tcp: lookup x: no such host', "unreachable"),
        ('Get "https://x/": EOF', "unreachable"),
        ("unexpected EOF", None),
        ("write /x: no space left on device", "no_space"),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "tls_failed"),
        ("open /x: permission denied", "permission_denied"),
        ("oops", None),
    ],
)
def test_what_go_says_has_a_reason(text: str, reason: str | None) -> None:
    assert go_reason(text) == reason
