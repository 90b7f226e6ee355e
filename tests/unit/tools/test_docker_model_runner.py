# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for Docker Model Runner answers as the real one was recorded to."""

from __future__ import annotations

import http.client
import json
import re
import socket
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from docker_model_runner import Runner
from reciter import gguf, sentence_of

RECORDINGS = Path(__file__).resolve().parents[2] / "fixtures/contracts/docker_model_runner"
ALPHA, BETA = "127.0.0.1:5003/ai/alpha", "127.0.0.1:5003/ai/beta"
FILES = {name: {"model.gguf": gguf(sentence_of(name), name)} for name in ("alpha", "beta")}
# When the recorded models were made.
CREATED = 1795224995
# Cases whose answers come out of a real engine or hold its whole text; the stand-in's chat has tests of its own.
INFERENCE = {"chat, stream with usage", "requests", "anthropic messages"}
DIGEST = re.compile(r"(?<=sha256[:/])[0-9a-f]{64}")
Document = dict[str, t.Any]


class Answer(t.NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


def ask(runner: Runner, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", runner.port, timeout=20)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read().decode())
    finally:
        connection.close()


def create(runner: Runner, reference: str) -> Answer:
    return ask(runner, "POST", "/models/create", json.dumps({"from": reference}).encode(), Accept="application/json")


def messages(answer: Answer) -> list[Document]:
    return [json.loads(line) for line in answer.text.splitlines() if line.startswith("{")]


# What cannot be the same is compared by its shape: digests of other bytes must stand for one another throughout a
# recording; times of use, speeds, ids and sizes of disks are only there; of a model's metadata the tokenizer's part is
# left out, as that of the recorded model is another; progress lines that are alike count as one, whatever their
# number, and differ only in whether a layer is complete.
VOLATILE = {
    "last_used": "TIME", "models_disk_usage": "BYTES", "total": "BYTES", "timings": "TIMINGS", "usage": "USAGE",
    "id": "ID", "created": "CREATED",
}  # fmt: skip


class Comparison:
    """What the recording's digests are called here."""

    def __init__(self) -> None:
        self.ours: dict[str, str] = {}

    def translated(self, text: str) -> str:
        return DIGEST.sub(lambda match: self.ours.get(match[0], match[0]), text)

    def learn(self, recorded: str, ours: str) -> None:
        for known, found in zip(DIGEST.findall(recorded), DIGEST.findall(ours)):
            self.ours.setdefault(known, found)

    def shape(self, text: str) -> t.Any:
        try:
            return _without_volatile(json.loads(text))
        except ValueError:
            return text


def _without_volatile(value: t.Any) -> t.Any:
    if isinstance(value, list):
        return [_without_volatile(item) for item in value]
    if not isinstance(value, dict):
        return re.sub(r"[^ ]*(?=/bundles/)", "", value) if isinstance(value, str) else value
    if value.get("type") == "progress":
        layer = value["layer"]
        complete = value["total"] == layer["size"] == layer["current"]
        return {**value, "message": re.sub(r"\d+\.\d\d", "N", value["message"]), "total": 0,
                "layer": {"id": layer["id"], "complete": complete, "size": 0, "current": sorted(layer)}}  # fmt: skip
    chat = "choices" in value
    hidden = VOLATILE if chat else {key: VOLATILE[key] for key in ("last_used", "models_disk_usage")}
    return {
        key: {name: text for name, text in part.items() if not name.startswith("tokenizer.")}
        if key == "gguf"
        else hidden.get(key) or _without_volatile(part)
        for key, part in value.items()
    }


def _collapsed(lines: t.Iterable[t.Any]) -> list[t.Any]:
    result: list[t.Any] = []
    for line in lines:
        if isinstance(line, str) and line.startswith("... "):
            continue
        if not result or result[-1] != line:
            result.append(line)
    return result


def compare(case: Document, answer: Answer, comparison: Comparison) -> None:
    recorded = case["response"]
    assert answer.status == recorded["status"]
    for name in ("Content-Type", "X-Content-Type-Options", "Cache-Control", "Transfer-Encoding"):
        assert answer.headers.get(name) == recorded["headers"].get(name), name
    if "lines" in recorded:
        comparison.learn("\n".join(_alike(recorded["lines"])), "\n".join(_alike(answer.text.splitlines())))
        expected = [comparison.shape(comparison.translated(line)) for line in recorded["lines"]]
        assert _collapsed(comparison.shape(line) for line in answer.text.splitlines()) == _collapsed(expected)
        assert answer.text.endswith("\n") == recorded["ends_with_newline"]
    else:
        comparison.learn(recorded["body"], answer.text)
        assert comparison.shape(answer.text) == comparison.shape(comparison.translated(recorded["body"]))
        assert answer.text.endswith("\n") == recorded["body"].endswith("\n")


def _alike(lines: list[str]) -> list[str]:
    """One line of each row of progress, so that digests of both sides stand in the same places."""
    progress = [line for line in lines if '"progress"' in line]
    return [*progress[:1], *(line for line in lines if '"progress"' not in line)]


def replay(runner: Runner, case: Document, comparison: Comparison) -> Answer:
    request = case["request"]
    body = request.get("body")
    data = request["raw_bytes"].encode() if "raw_bytes" in request else json.dumps(body).encode() if body else None
    path = comparison.translated(request["path"])
    answer = ask(runner, request["method"], path, data, **request.get("headers", {}))
    compare(case, answer, comparison)
    return answer


def cases(recording: str) -> list[Document]:
    found: list[Document] = json.loads((RECORDINGS / recording).read_text())["cases"]
    return found


@pytest.fixture
def runner(tmp_path: Path) -> t.Iterator[Runner]:
    with Runner(tmp_path / "models") as running:
        yield running


def _published(runner: Runner) -> None:
    runner.publish(ALPHA, FILES["alpha"], created=CREATED)
    runner.publish(BETA, FILES["beta"], created=CREATED)
    runner.engine.answers[f"{BETA}:latest"] = "Model beta answers you instead."


def _before(runner: Runner, name: str) -> None:
    """What the recorder did between two requests."""
    runner.faults.reset()
    if status := re.fullmatch(r"create, manifest answers (\d+)", name):
        runner.fault(ALPHA, manifest=int(status[1]))
    elif name == "create from an unreachable registry":
        runner.fault(r"127\.0\.0\.1:9/", unreachable=True)
    elif name == "create, a bit flipped":
        runner.fault(ALPHA, flip=1_000_000)
    elif name in ("create, cut in the middle", "create, first time, slow link, JSON"):
        runner.store.purge()
        runner.pulls.lines = 30 if "slow" in name else 2
        runner.fault(ALPHA, cut=1_000_000 if "cut" in name else None)


def test_models_are_kept_as_recorded(runner: Runner) -> None:
    _published(runner)
    comparison = Comparison()
    for case in cases("models.json"):
        _before(runner, case["case"])
        try:
            replay(runner, case, comparison)
        except AssertionError as error:
            error.add_note(f"case: {case['case']}")
            raise
        if case["case"] == "create, cut in the middle":
            assert runner.faults.resumed == {f"{ALPHA}:latest": 1}
    assert len(set(comparison.ours.values())) == len(comparison.ours)


def test_models_are_served_as_recorded(runner: Runner) -> None:
    _published(runner)
    runner.engine.reload_seconds = 30
    for reference in (ALPHA, BETA):
        create(runner, reference)
    comparison = Comparison()
    for case in cases("serving.json"):
        if case["case"] in INFERENCE:
            continue
        try:
            replay(runner, case, comparison)
        except AssertionError as error:
            error.add_note(f"case: {case['case']}")
            raise
    assert runner.store.size() < 200, "the purge leaves the index"


@pytest.mark.parametrize(
    ("change", "case_name"),
    [
        (lambda response: response.update(status=201), "create second, JSON"),
        (lambda response: response["headers"].update({"Content-Type": "text/html"}), "models, none"),
        (lambda response: response["lines"].pop(0), "create, a bit flipped"),
        (lambda response: response["lines"].pop(), "create, a bit flipped"),
        (lambda response: response.update(body="[{}]\n"), "models, none"),
        (lambda response: response.update(body=response["body"].replace("676.80K", "676.80 K")), "models after cut"),
        (lambda response: response.update(body=response["body"].replace('"created"', '"made"')), "models after cut"),
    ],
)
def test_a_replay_can_fail(runner: Runner, change: t.Callable[[Document], t.Any], case_name: str) -> None:
    _published(runner)
    case = next(case for case in cases("models.json") if case["case"] == case_name)
    if case_name == "models after cut":
        create(runner, ALPHA)
    _before(runner, case_name)
    change(case["response"])
    with pytest.raises(AssertionError):
        replay(runner, case, Comparison())


def test_a_chat_streams_as_recorded(runner: Runner) -> None:
    _published(runner)
    create(runner, ALPHA)
    case = next(case for case in cases("serving.json") if case["case"] == "chat, stream with usage")
    answer = ask(runner, "POST", case["request"]["path"], json.dumps(case["request"]["body"]).encode())
    assert answer.headers["Content-Type"] == case["response"]["headers"]["Content-Type"]
    recorded = [json.loads(line[6:]) for line in case["response"]["lines"] if line.startswith("data: {")]
    ours = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert [ours[0].keys(), ours[-1].keys()] == [recorded[0].keys(), recorded[-1].keys()]
    assert answer.text.endswith("data: [DONE]\n\n")
    said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in ours if chunk["choices"])
    assert said == sentence_of("alpha")
    assert recorded[1]["choices"] == ours[1]["choices"]


def test_a_moved_tag_is_followed(runner: Runner) -> None:
    first = runner.publish("ai/smollm2", FILES["alpha"])
    assert messages(create(runner, "smollm2"))[-1]["message"] == "Model pulled successfully"
    second = runner.publish("ai/smollm2", FILES["beta"])
    assert json.loads(ask(runner, "GET", "/models/ai/smollm2?remote=true").text)["id"] == second != first
    assert json.loads(ask(runner, "GET", "/models/ai/smollm2").text)["id"] == first
    assert messages(create(runner, "AI/SmolLM2:latest"))[-1]["message"] == "Model pulled successfully"
    listed = json.loads(ask(runner, "GET", "/models").text)
    assert [(model["id"], model.get("tags")) for model in listed] == [
        (first, None),
        (second, ["docker.io/ai/smollm2:latest"]),
    ]
    assert messages(create(runner, "smollm2"))[-1]["message"].startswith("Using cached model: ")


def test_a_model_of_hugging_face_is_never_looked_up_again(runner: Runner) -> None:
    runner.publish("hf.co/Org/Model:Q8_0", FILES["alpha"])
    create(runner, "hf.co/Org/Model:Q8_0")
    runner.publish("hf.co/Org/Model:Q8_0", FILES["beta"])
    assert messages(create(runner, "huggingface.co/Org/Model:Q8_0"))[-1]["message"].startswith("Using cached")


def test_a_failure_after_progress_is_told_twice_and_resumed(runner: Runner) -> None:
    runner.publish("ai/smollm2", FILES["alpha"])
    runner.fault("smollm2", error="unexpected EOF", times=1)
    answer = create(runner, "smollm2")
    assert answer.status == 200
    assert [message["type"] for message in messages(answer)] == ["progress", "error"]
    assert answer.text.splitlines()[-1] == "error while pulling model: writing image to store: unexpected EOF"
    assert json.loads(ask(runner, "GET", "/models").text) == []
    assert messages(create(runner, "smollm2"))[-1]["type"] == "success"
    assert runner.faults.resumed == {"docker.io/ai/smollm2:latest": 1}
    assert runner.faults.fetched["docker.io/ai/smollm2:latest"] == len(FILES["alpha"]["model.gguf"])


def test_a_model_of_two_tags_is_deleted_by_force(runner: Runner) -> None:
    digest = runner.publish("ai/smollm2", FILES["alpha"])
    create(runner, "smollm2")
    ask(runner, "POST", "/models/smollm2/tag?repo=other&tag=v1")
    assert ask(runner, "DELETE", f"/models/{digest}").status == 409
    assert json.loads(ask(runner, "DELETE", f"/models/{digest}?force=true").text) == [
        {"Untagged": "docker.io/ai/smollm2:latest"},
        {"Untagged": "docker.io/ai/other:v1"},
        {"Deleted": digest},
    ]
    assert runner.store.size() < 200


def test_models_outlive_the_program(tmp_path: Path) -> None:
    with Runner(tmp_path / "models") as first:
        first.publish("ai/smollm2", FILES["alpha"])
        create(first, "smollm2")
    with pytest.raises(ConnectionError):
        ask(first, "GET", "/")
    with Runner(tmp_path / "models") as second:
        assert json.loads(ask(second, "GET", "/models/smollm2").text)["tags"] == ["docker.io/ai/smollm2:latest"]
        assert json.loads(ask(second, "GET", "/engines/ps").text) == []


def test_it_listens_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "model-runner.sock"
    with Runner(tmp_path / "models", socket_path=path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        text = b"".join(iter(lambda: client.recv(4096), b""))
    assert text.endswith(b"Docker Model Runner is running")
    assert not path.exists()


def test_the_switchboard_is_reached_from_outside(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "model.gguf").write_bytes(FILES["alpha"]["model.gguf"])
    words: Document = {"reference": "ai/smollm2", "folder": str(tmp_path / "published")}
    ask(runner, "POST", "/_control/publish", json.dumps(words).encode())
    words = {"path": "GET /models$", "status": 503, "text": "busy", "times": 1}
    ask(runner, "POST", "/_control/fault", json.dumps(words).encode())
    ask(runner, "POST", "/_control/set", b'{"answer": "I am {name}.", "version": "v9"}')
    create(runner, "smollm2")
    assert [ask(runner, "GET", "/models").status for _time in range(2)] == [503, 200]
    chat = json.loads(ask(runner, "POST", "/v1/chat/completions", b'{"model": "ai/smollm2"}').text)
    assert chat["choices"][0]["message"]["content"] == "I am alpha."
    assert json.loads(ask(runner, "GET", "/_control/log").text)["requests"]["GET /models"] == 2


def test_a_dropped_connection_is_resumed_by_the_next_call(runner: Runner) -> None:
    runner.publish("ai/smollm2", FILES["alpha"])
    runner.fault("smollm2", truncate=True, times=1)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        create(runner, "smollm2")
    assert messages(create(runner, "smollm2"))[-1]["type"] == "success"
    assert runner.faults.resumed == {"docker.io/ai/smollm2:latest": 1}


def test_pulls_at_once_fetch_a_model_once(runner: Runner) -> None:
    runner.publish("ai/smollm2", FILES["alpha"])
    runner.fault("smollm2", rate=10_000_000)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _index: create(runner, "smollm2"), range(4)))
    assert {messages(answer)[-1]["type"] for answer in answers} == {"success"}
    assert runner.faults.fetched == {"docker.io/ai/smollm2:latest": len(FILES["alpha"]["model.gguf"])}
    assert len(json.loads(ask(runner, "GET", "/models").text)) == 1


def test_it_pulls_and_deletes_as_ollama_would(runner: Runner) -> None:
    runner.publish("ai/smollm2", FILES["alpha"])
    pulled = messages(ask(runner, "POST", "/api/pull", b'{"name": "smollm2"}'))
    assert pulled[0]["status"].startswith("pulling ")
    assert pulled[-1] == {"status": "success"}
    chat = ask(runner, "POST", "/api/chat", b'{"model": "smollm2", "messages": []}')
    assert json.loads(chat.text)["message"]["content"] == sentence_of("alpha")
    assert json.loads(ask(runner, "GET", "/api/ps").text)["models"][0]["name"] == "docker.io/ai/smollm2:latest"
    assert ask(runner, "DELETE", "/api/delete", b'{"model": "smollm2"}').text == "{}"
    assert ask(runner, "DELETE", "/api/delete", b'{"model": "smollm2"}').status == 500
    assert json.loads(ask(runner, "GET", "/models").text) == []
