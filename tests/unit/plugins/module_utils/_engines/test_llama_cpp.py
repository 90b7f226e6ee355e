# SPDX-License-Identifier: GPL-3.0-or-later
"""The client reads what a real llama-server was recorded to answer."""

from __future__ import annotations

import json
import threading
import typing as t
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.engine import Endpoint, Settings
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.room import CardRoom, Room
from ansible_collections.llmops.fleet.plugins.module_utils._core.traits import Traits
from ansible_collections.llmops.fleet.plugins.module_utils._engines.llama_cpp import LlamaCpp

RECORDING = Path(__file__).resolve().parents[4] / "fixtures/contracts/llama_cpp/server.json"
CASES = {case["case"]: case for case in json.loads(RECORDING.read_text())["cases"]}
ENGINE = LlamaCpp()
SETTINGS = Settings("/m/alpha.gguf", ("alpha",), "127.0.0.1", 8080, 256)


@pytest.fixture
def recorded() -> t.Iterator[t.Callable[..., int]]:
    """A server that answers each path as in the named cases; returns its port."""
    servers: list[HTTPServer] = []

    def serve(*names: str) -> int:
        answers = {
            (CASES[name]["request"]["method"], CASES[name]["request"]["path"]): CASES[name]["response"]
            for name in names
        }

        class Replay(BaseHTTPRequestHandler):
            def log_message(self, *_arguments: t.Any) -> None:
                pass

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer = answers[self.command, self.path]
                self.send_response(answer["status"])
                self.send_header("Content-Type", answer["headers"]["Content-Type"])
                self.end_headers()
                self.wfile.write(answer["body"].encode())

            do_POST = do_GET

        server = HTTPServer(("127.0.0.1", 0), Replay)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return int(server.server_address[1])

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_loading_is_told_from_ready(recorded: t.Callable[..., int]) -> None:
    assert ENGINE.health(Endpoint("127.0.0.1", recorded("first answer while starting"))).state == "loading"
    assert ENGINE.health(Endpoint("127.0.0.1", recorded("health", "props without key"))).state == "ready"


def test_what_it_serves(recorded: t.Callable[..., int]) -> None:
    served = ENGINE.served(Endpoint("127.0.0.1", recorded("v1 models", "props"), "secret"), SETTINGS)
    assert served.names == ("alpha", "chat")
    assert served.context_length == 256
    assert served.model_path is not None
    assert served.model_path.endswith("alpha.gguf")


def test_a_wrong_key_is_said(recorded: t.Callable[..., int]) -> None:
    with pytest.raises(LlmError, match="401"):
        ENGINE.served(Endpoint("127.0.0.1", recorded("v1 models, wrong key"), "nope"), SETTINGS)


def test_a_reply_and_its_figures(recorded: t.Callable[..., int]) -> None:
    reply = ENGINE.complete(
        Endpoint("127.0.0.1", recorded("chat"), "secret"), "alpha", "Who?", max_tokens=16, timeout=5
    )
    assert reply.text == "Model alpha speaking from this host."
    assert (reply.tokens, reply.finish_reason, reply.model) == (7, "stop", "alpha")


def test_the_reply_never_names_what_was_asked(recorded: t.Callable[..., int]) -> None:
    reply = ENGINE.complete(
        Endpoint("127.0.0.1", recorded("chat, unknown model name"), "secret"),
        "nonsense",
        "Who?",
        max_tokens=16,
        timeout=5,
    )
    assert reply.model == "alpha"


def test_no_completion_is_no_proof(recorded: t.Callable[..., int]) -> None:
    with pytest.raises(LlmError) as caught:
        ENGINE.complete(Endpoint("127.0.0.1", recorded("chat without key")), "alpha", "Who?", max_tokens=16, timeout=5)
    assert caught.value.reason == "proof_failed"
    assert "Invalid API Key" in str(caught.value.details)


def test_what_is_in_flight(recorded: t.Callable[..., int]) -> None:
    assert ENGINE.in_flight(Endpoint("127.0.0.1", recorded("slots"), "secret")) == 0


GIB = 2**30
# 16 GiB of weights in 31 layers and what comes after them, and 2 GiB of cache.
BIG = Traits("gguf", weights_bytes=16 * GIB, layers=31, kv_heads=8, key_size=128, value_size=128)


@pytest.mark.parametrize(
    ("options", "ram", "vram", "fits", "said"),
    [
        # Automatic is its default: what the GPUs have no room for stays in the host's memory.
        ({}, 10, (6, 6), True, "memory, the GPU's included,"),
        ({"n_gpu_layers": -1}, 10, (6, 6), True, "memory, the GPU's included,"),
        ({}, 4, (6, 6), False, "16.0 GiB are there (4.0 of the host, 12.0 on GPUs 0 and 1 (NVIDIA L4))"),
        ({}, 20, (), True, "GiB of memory (weights 16.0"),
        # All of them, or as many as are asked for.
        ({"n_gpu_layers": 99}, 30, (6, 6), False, "memory on GPUs 0 and 1 (NVIDIA L4) (weights 16.0"),
        ({"n_gpu_layers": -2}, 30, (6, 6), False, "(weights 16.0"),
        ({"n_gpu_layers": "16"}, 12, (6, 6), True, "(weights 8.0"),
        ({"n_gpu_layers": 0}, 30, (1,), True, "GiB of memory (weights 16.0"),
    ],
)
def test_where_its_layers_go(options: dict[str, t.Any], ram: int, vram: tuple[int, ...], fits: bool, said: str) -> None:
    cards = tuple(CardRoom("NVIDIA L4", index, 24 * GIB, free * GIB) for index, free in enumerate(vram))
    room = Room(64 * GIB, ram * GIB, cards=cards)
    verdict = ENGINE.fit(BIG, replace(SETTINGS, context_length=16384, options=options), room)
    assert verdict.fits is fits, verdict.sentence
    assert said in verdict.sentence
