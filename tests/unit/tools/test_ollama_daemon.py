# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ollama stand-ins against recordings of the real daemon and command, in their order and with their state.

ollama_comparison.py says what is compared by its shape because it cannot be the same; small layers have the recorded
digests themselves.
"""

from __future__ import annotations

import copy
import hashlib
import http.client
import json
import os
import re
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import ollama_command
import pytest
from ollama_comparison import ANY_NUMBER, Comparison
from ollama_daemon import Daemon
from ollama_registry import Registry
from ollama_store import MODEL_LAYER, PARAMETERS_LAYER, SYSTEM_LAYER, TEMPLATE_LAYER
from reciter import gguf

RECORDINGS = Path(__file__).resolve().parents[2] / "fixtures/contracts/ollama"
ORDER = ("models", "serving", "corruption", "command_line", "updates")
HOST = "127.0.0.1:5001"
NOTES = b"These are notes, not a model.\n"
SENTENCE = "Model beta answers you instead."
WEIGHTS = {name: gguf(SENTENCE, name) for name in ("alpha", "beta5", "delta", "gamma")}
RECORDED_WEIGHTS = {
    "cdaa3dfb95d6dab7718ba26466bdafc8ae7cbe7d300dd18f36d2dcf766124a3f": "alpha",
    "bd4005a4849f95e811e39935c064c9b87a2ceabc5078c9aa94d8a7c575332a61": "beta5",
    "15ec1ccab38372f6499ddfdc379b97ea879d6728fe4d3c4bd1f9bea6d14ed190": "delta",
}
TEMPLATE, SYSTEM = (TEMPLATE_LAYER, b"{{ .Prompt }}"), (SYSTEM_LAYER, b"You recite.")
STOPS = (PARAMETERS_LAYER, b'{"temperature": 0, "stop": ["</s>", "###"]}')
COLD = (PARAMETERS_LAYER, b'{"temperature": 0}')
SMALL = (PARAMETERS_LAYER, b'{"num_ctx": 64}')
SMALL_DIGESTS = [hashlib.sha256(data).hexdigest() for _kind, data in (TEMPLATE, SYSTEM, STOPS, COLD)]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class World:
    """The stand-ins, and what happened beside the recorded requests."""

    def __init__(self, folder: Path) -> None:
        self.registry = Registry(folder / "registry")
        self.daemon = Daemon(folder / "models")
        self.daemon.set(sentence=SENTENCE, unload_seconds=0, tick=5, retry=0.01)
        self.registry.start()
        self.daemon.start()
        same = {digest: sha(WEIGHTS[name]) for digest, name in RECORDED_WEIGHTS.items()}
        same |= {digest: digest for digest in SMALL_DIGESTS}
        self.comparison = Comparison(self.registry.port, folder / "models", same)

    def publish(self, name: str, weights: str, *layers: tuple[str, bytes]) -> None:
        digests = ["sha256:" + sha(data) for data in (WEIGHTS[weights], *(data for _kind, data in layers))]
        config = {
            "model_format": "gguf", "model_family": "llama", "model_families": ["llama"], "model_type": "0.9M",
            "file_type": "F32", "architecture": "amd64", "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": digests},
        }  # fmt: skip
        self.registry.publish(f"acme/{name}", [(MODEL_LAYER, WEIGHTS[weights]), *layers], config)

    def ask(
        self, method: str, path: str, body: t.Any = None, headers: dict[str, str] | None = None
    ) -> dict[str, t.Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=20)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, data, headers or {})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return {"status": response.status, "headers": dict(response.getheaders()), "body": text}

    def replay(self, request: dict[str, t.Any]) -> dict[str, t.Any]:
        raw = request.get("raw_bytes")
        body = request.get("body")
        if body is not None:
            body = json.loads(self.comparison.ours(json.dumps(body)))
        elif raw is not None:
            body = raw.encode() if isinstance(raw, str) else WEIGHTS["beta5"]
        return self.ask(request["method"], self.comparison.ours(request["path"]), body, request.get("headers"))

    def run(self, case: dict[str, t.Any]) -> dict[str, t.Any]:
        words = self.comparison.ours(case["command"]).split()[1:]
        own = {"OLLAMA_HOST": f"127.0.0.1:{self.daemon.port}", "OLLAMA_MODELS": str(self.daemon.store.models)}
        done = subprocess.run(
            [sys.executable, str(ollama_command.__file__), *words],
            env={**os.environ, **own, **case.get("environment", {})}, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        out = {"stdout": done.stdout, "stderr": done.stderr.replace(own["OLLAMA_HOST"], "DAEMON")}
        return {"rc": done.returncode, **out}

    def name(self, model: str) -> str:
        return f"127.0.0.1:{self.registry.port}/acme/{model}"

    def pull(self, model: str) -> list[dict[str, t.Any]]:
        body = self.ask("POST", "/api/pull", {"model": self.name(model), "insecure": True})["body"]
        return [json.loads(line) for line in body.splitlines()]

    def cdn(self, weights: str, **words: t.Any) -> None:
        self.registry.fault(f"/cdn/sha256:{sha(WEIGHTS[weights])}", **words)

    def config_of(self, model: str) -> str:
        raw = self.registry.manifest_path(f"acme/{model}").read_bytes()
        return str(json.loads(raw)["config"]["digest"])


def _first_models(world: World) -> None:
    world.publish("alpha", "alpha", TEMPLATE, SYSTEM, STOPS)
    world.publish("beta", "beta5", TEMPLATE, SYSTEM, STOPS)


def _slow_link(world: World) -> None:
    world.ask("DELETE", "/api/delete", {"model": world.name("alpha")})
    world.daemon.set(tick=0.15)
    world.cdn("alpha", rate=4_000_000)


def _flip(world: World) -> None:
    world.cdn("beta5", flip=1_000_000)


def _not_gguf(world: World) -> None:
    world.ask("POST", f"/api/blobs/sha256:{sha(NOTES)}", NOTES)
    recorded = "7a002ee6221dd668e7b8ad1d0b7d2146b576f938686a2b5bcc4b067ed0879723"
    world.comparison.stands("digest", recorded, sha(NOTES))


def _gamma(world: World) -> None:
    world.publish("gamma", "gamma", TEMPLATE)
    world.pull("gamma")
    world.ask("POST", "/api/generate", {"model": world.name("gamma"), "keep_alive": "4m"})


def _link_lost(world: World) -> None:
    world.publish("delta", "delta", TEMPLATE, COLD)
    world.cdn("delta", flip=1_000_000)
    world.registry.fault(f"/cdn/{world.config_of('delta')}", drop=True)


def _only_alpha_loaded(world: World) -> None:
    world.ask("POST", "/api/generate", {"model": world.name("gamma"), "keep_alive": 0})


def _fault(path: str, **words: t.Any) -> t.Callable[[World], object]:
    return lambda world: world.registry.fault(path, **words)


# What was done before a recorded request.
BEFORE: dict[str, t.Callable[[World], object]] = {
    "root": _first_models,
    "pull, first time, slow link": _slow_link,
    "pull, 401": _fault("/manifests/", status=401),
    "pull, 412": _fault(
        "/manifests/", status=412, text="The model you are attempting to pull requires a newer version of Ollama."
    ),
    "pull, 500": _fault("/manifests/", status=500, text="oops"),
    "pull, a bit flipped in a layer": _flip,
    "pull, blobs answered directly with 200 instead of 307": _fault("/blobs/", direct=True),
    "pull, a bit flipped in a layer, and the link lost before the last small blob": _flip,
    "create from a file that is not GGUF": _not_gguf,
    "ps, nothing loaded": _gamma,
    "pull: one bit of the big layer flipped on the way, link lost before the last small blob": _link_lost,
    "version, daemon down": lambda world: world.publish("alpha", "alpha", TEMPLATE, COLD),
    "load": _only_alpha_loaded,
    "pull: the tag has moved to other weights": lambda world: world.publish("alpha", "beta5", TEMPLATE, COLD),
    "pull: the tag has moved, same weights, other parameters": (
        lambda world: world.publish("alpha", "beta5", TEMPLATE, SMALL)
    ),
}


class Outcome(t.NamedTuple):
    recording: str
    case: dict[str, t.Any]
    ours: dict[str, t.Any]
    differences: list[str]


def _recorded(recording: str) -> list[dict[str, t.Any]]:
    cases: list[dict[str, t.Any]] = json.loads((RECORDINGS / f"{recording}.json").read_text())["cases"]
    return cases


def _outcome(world: World, recording: str, case: dict[str, t.Any]) -> Outcome:
    BEFORE.get(case["case"], lambda _world: None)(world)
    if "request" in case:
        ours = world.replay(case["request"])
        differences = world.comparison.answers(case["response"], ours)
    elif "command" in case:
        ours = world.run(case)
        differences = world.comparison.commands(case, ours)
    else:
        data = (world.daemon.store.models / world.comparison.ours(case["file"])).read_bytes()
        ours = {"sha256_of_its_bytes": sha(data)}
        differences = world.comparison.differ(case["sha256_of_its_bytes"], sha(data))
    world.registry.reset()
    world.daemon.set(tick=5)
    return Outcome(recording, case, ours, differences)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[tuple[World, list[Outcome]]]:
    """All recordings, one after the other, over one state."""
    world = World(tmp_path_factory.mktemp("ollama"))
    yield world, [_outcome(world, recording, case) for recording in ORDER for case in _recorded(recording)]
    world.daemon.stop()
    world.registry.stop()


CASES = [(recording, index) for recording in ORDER for index in range(len(_recorded(recording)))]


@pytest.mark.parametrize(("recording", "index"), CASES, ids=[f"{name}-{index}" for name, index in CASES])
def test_recorded_case(replayed: tuple[World, list[Outcome]], recording: str, index: int) -> None:
    outcome = [outcome for outcome in replayed[1] if outcome.recording == recording][index]
    assert not outcome.differences, outcome.case["case"]


def _spoilt(value: t.Any) -> t.Iterator[t.Any]:
    """The document with one thing changed, for each thing that is compared."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield {**value, f"{key} ": inner} if len(value) == 1 else {k: v for k, v in value.items() if k != key}
            if not (key.endswith("_at") or ANY_NUMBER.match(key) or (key == "size" and "size_vram" in value)):
                yield from ({**value, key: other} for other in _spoilt(inner))
    elif isinstance(value, list):
        yield [*value, value[0] if value else "more"]
        for index, inner in enumerate(value):
            yield from ([*value[:index], other, *value[index + 1 :]] for other in _spoilt(inner))
    else:
        yield not value if isinstance(value, bool) else value + 1 if isinstance(value, (int, float)) else f"{value}x"


@pytest.mark.parametrize(
    "name", ["tags, with copy", "show", "ps, kept for ever", "ps after the chat, other parameters"]
)
def test_every_other_body_is_a_difference(replayed: tuple[World, list[Outcome]], name: str) -> None:
    world, outcomes = replayed
    outcome = next(outcome for outcome in outcomes if outcome.case["case"] == name)
    ours = json.loads(outcome.ours["body"])
    others = list(_spoilt(json.loads(outcome.case["response"]["body"])))
    assert len(others) > 20
    for other in others:
        comparison = copy.deepcopy(world.comparison)
        assert comparison.differ(other, ours), other


def test_every_other_line_and_status_is_a_difference(replayed: tuple[World, list[Outcome]]) -> None:
    world, outcomes = replayed
    for outcome in outcomes:
        response = outcome.case.get("response", {})
        lines = [line for line in response.get("lines", []) if line]
        others = [{**response, "lines": [line for line in lines if line != gone]} for gone in lines[-1:]]
        for other in [{**response, "status": 299}, *others] if response else []:
            assert world.comparison.answers(other, outcome.ours), outcome.case["case"]


@pytest.fixture
def world(tmp_path: Path) -> t.Iterator[World]:
    world = World(tmp_path)
    world.publish("alpha", "alpha", TEMPLATE, COLD)
    yield world
    world.daemon.stop()
    world.registry.stop()


def test_a_lost_link_is_taken_up_where_it_ended(world: World) -> None:
    world.cdn("alpha", cut=1_000_000, times=1)
    world.cdn("alpha", drop=True)
    assert world.pull("alpha")[-1]["error"].startswith("max retries exceeded: ")
    partial = world.daemon.store.blob(f"sha256-{sha(WEIGHTS['alpha'])}-partial-0")
    assert json.loads(partial.read_text())["Completed"] == 1_000_000
    world.registry.reset()
    assert world.pull("alpha")[-1] == {"status": "success"}
    assert world.registry.sent[f"/cdn/sha256:{sha(WEIGHTS['alpha'])}"] == len(WEIGHTS["alpha"]) - 1_000_000
    assert not list(world.daemon.store.blobs_folder.glob("*-partial*"))


def test_a_client_that_leaves_ends_the_pull(world: World) -> None:
    world.daemon.set(tick=0.02)
    world.cdn("alpha", rate=1_000_000)
    connection = http.client.HTTPConnection("127.0.0.1", world.daemon.port)
    connection.request("POST", "/api/pull", json.dumps({"model": world.name("alpha"), "insecure": True}))
    response = connection.getresponse()
    while b"completed" not in response.readline():
        pass
    response.close()
    connection.close()
    partial = world.daemon.store.blob(f"sha256-{sha(WEIGHTS['alpha'])}-partial-0")
    _until(lambda: json.loads(partial.read_text() or "{}").get("Completed", 0) > 0)
    assert not world.daemon.store.manifests()


def test_an_unload_answers_before_its_end(world: World) -> None:
    world.pull("alpha")
    world.daemon.set(unload_seconds=0.3)
    load = {"model": world.name("alpha"), "keep_alive": -1}
    assert json.loads(world.ask("POST", "/api/generate", load)["body"])["done_reason"] == "load"
    gone = world.ask("POST", "/api/generate", {**load, "keep_alive": 0})
    assert json.loads(gone["body"])["done_reason"] == "unload"
    assert json.loads(world.ask("GET", "/api/ps")["body"])["models"]
    _until(lambda: not json.loads(world.ask("GET", "/api/ps")["body"])["models"])


def test_a_start_removes_what_no_manifest_names(world: World) -> None:
    world.pull("alpha")
    stray = world.daemon.store.put(b"stray")[0]
    old, young = (world.daemon.store.blobs_folder / f"sha256-{digit * 64}-partial" for digit in "01")
    for path in (old, young):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    world.daemon.stop()
    world.daemon.start()
    assert not world.daemon.store.blob(stray).exists()
    assert not old.exists()
    assert young.exists()
    assert world.pull("alpha")[1]["completed"] == len(WEIGHTS["alpha"])


def test_switchboard(world: World) -> None:
    for fault in ({"path": "/api/tags", "status": 503, "body": "busy", "times": 1}, {"path": "/api/ps", "drop": True}):
        world.ask("POST", "/_control/fault", fault)
    assert world.ask("GET", "/api/tags")["status"] == 503
    assert world.ask("GET", "/api/tags")["status"] == 200
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        world.ask("GET", "/api/ps")
    log = json.loads(world.ask("GET", "/_control/log")["body"])
    assert log["requests"] == {"GET /api/tags": 2, "GET /api/ps": 1}
    world.ask("POST", "/_control/reset")
    world.ask("POST", "/_control/set", {"version": "0.34.0", "sentence": "Quite another text."})
    assert json.loads(world.ask("GET", "/api/version")["body"]) == {"version": "0.34.0"}
    world.pull("alpha")
    asked = {"model": world.name("alpha"), "prompt": "x", "stream": False}
    assert json.loads(world.ask("POST", "/api/generate", asked)["body"])["response"] == "Quite another text."
    world.daemon.fault("/api/pull", cut=1)
    with pytest.raises(http.client.IncompleteRead):
        world.pull("alpha")


@pytest.mark.parametrize("index", [2, 4, 10, 16])
def test_tables_are_as_wide_as_recorded(capsys: pytest.CaptureFixture[str], index: int) -> None:
    recorded = _recorded("command_line")[index]["stdout"]
    rows = [re.split(r" {2,}", line.rstrip()) for line in recorded.splitlines()]
    ollama_command._table(rows[0], rows[1:])
    assert capsys.readouterr().out == recorded


def _until(holds: t.Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
