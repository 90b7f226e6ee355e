# SPDX-License-Identifier: GPL-3.0-or-later
"""Our command line and environment bring up a server that answers as llama-cpp-python's does."""

from __future__ import annotations

import os
import re
import string
import subprocess
import sys
import threading
import time
import typing as t
from dataclasses import replace
from pathlib import Path

import llama_cpp_python_server as stand_in
import pytest
import requests
from ansible_collections.llmops.fleet.plugins.module_utils._core.engine import Endpoint, Settings
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.proof import fault_in_facts, fault_in_tokens
from ansible_collections.llmops.fleet.plugins.module_utils._core.room import CardRoom, Room
from ansible_collections.llmops.fleet.plugins.module_utils._core.traits import Traits
from ansible_collections.llmops.fleet.plugins.module_utils._engines.llama_cpp_python import LlamaCppPython
from reciter import sentence_of

ENGINE = LlamaCppPython()
KEY = "secret"
SETTINGS = Settings("/m/alpha.gguf", ("chat",), "127.0.0.1", 8000, 256)


class Running:
    def __init__(self, process: subprocess.Popen[str], settings: Settings) -> None:
        self.process, self.settings = process, settings
        self.endpoint = Endpoint("127.0.0.1", settings.port, KEY)

    @property
    def log(self) -> str:
        return t.cast(t.IO[str], self.process.stderr).read()

    def wait(self) -> None:
        until = time.monotonic() + 10
        while ENGINE.health(self.endpoint).state != "ready":
            assert time.monotonic() < until
            assert self.process.poll() is None, self.log
            time.sleep(0.02)


Start = t.Callable[..., Running]


@pytest.fixture
def start(reciters: Path, free_port: int) -> t.Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def begin(
        model: str = "alpha", *extra: str, options: t.Mapping[str, t.Any] | None = None, **variables: str
    ) -> Running:
        settings = replace(
            SETTINGS, model_path=str(reciters / f"{model}.gguf"), port=free_port, options=dict(options or {})
        )
        words = ENGINE.command(stand_in.__file__, settings.options, extra)
        values = ENGINE.environment(settings)
        given = {**os.environ, **values, ENGINE.api_key_variable: KEY, **variables}
        process = subprocess.Popen(
            [sys.executable, *(string.Template(word).substitute(values) for word in words)],
            env=given, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        return Running(process, settings)

    yield begin
    for process in processes:
        process.kill()
        process.wait()
        t.cast(t.IO[str], process.stderr).close()


def test_it_serves_one_name_and_says_what_it_is(start: Start) -> None:
    running = start(options={"n_threads": 2, "verbose": False})
    running.wait()
    served = ENGINE.served(running.endpoint, running.settings)
    assert (served.names, served.model_path, served.context_length) == (("chat",), None, None)
    assert fault_in_facts(served, running.settings) is None
    reply = ENGINE.complete(running.endpoint, "chat", "Who?", max_tokens=16, timeout=5)
    assert reply.text == sentence_of("alpha")
    assert fault_in_tokens(reply) is None
    assert ENGINE.in_flight(running.endpoint) is None


def test_an_unknown_name_is_answered_and_echoed(start: Start) -> None:
    running = start()
    running.wait()
    reply = ENGINE.complete(running.endpoint, "nonsense", "Who?", max_tokens=16, timeout=5)
    assert (reply.model, reply.text) == ("nonsense", sentence_of("alpha"))


def test_other_names_are_a_fault(start: Start) -> None:
    running = start()
    running.wait()
    other = replace(running.settings, served_names=("other",))
    assert fault_in_facts(ENGINE.served(running.endpoint, other), other) == "it serves chat, not other"


def test_a_second_name_is_refused_before_anything_runs() -> None:
    with pytest.raises(LlmError, match="one name, and these are chat, gpt") as caught:
        ENGINE.environment(replace(SETTINGS, served_names=("chat", "gpt")))
    assert caught.value.reason == "invalid_input"


def test_no_variable_of_ours_is_a_setting_of_the_server() -> None:
    names = ENGINE.environment(replace(SETTINGS, options={"n_gpu_layers": 1, "verbose": True, "chat_format": "chatml"}))
    assert all(name.startswith("LLM_") for name in names)
    assert {name: names[name] for name in ("LLM_VERBOSE", "LLM_N_GPU_LAYERS")} == {
        "LLM_VERBOSE": "true",
        "LLM_N_GPU_LAYERS": "1",
    }


def test_variables_of_the_host_change_nothing_that_we_set(start: Start) -> None:
    leaked = {"MODEL": "/none", "MODEL_ALIAS": "leak", "N_CTX": "1", "HOST": "192.0.2.1", "PORT": "1"}
    running = start("alpha", INTERRUPT_REQUESTS="true", **leaked)
    running.wait()
    assert ENGINE.served(running.endpoint, running.settings).names == ("chat",)


def test_a_wrong_key_is_no_health(start: Start) -> None:
    running = start()
    running.wait()
    health = ENGINE.health(replace(running.endpoint, api_key="other"))
    assert (health.state, "Invalid API key" in health.said) == ("broken", True)
    with pytest.raises(LlmError, match="401"):
        ENGINE.served(replace(running.endpoint, api_key=""), running.settings)


def test_nobody_there_is_refused(free_port: int) -> None:
    assert ENGINE.health(Endpoint("127.0.0.1", free_port)).state == "refused"


def test_a_long_reply_is_no_failure_of_health(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    running = start("alpha", "--seconds", "2")
    running.wait()
    monkeypatch.setattr(f"{LlamaCppPython.__module__}._LOOK", 0.3)
    asking = threading.Thread(
        target=ENGINE.complete, args=(running.endpoint, "chat", "Who?"), kwargs={"max_tokens": 16, "timeout": 10}
    )
    asking.start()
    time.sleep(0.2)
    health = ENGINE.health(running.endpoint)
    asking.join()
    assert (health.state, health.said) == ("ready", "busy with a reply")


@pytest.mark.parametrize(("more", "whole"), [((), True), (("--interrupt_requests", "true"), False)])
def test_a_stream_is_whole_though_another_request_waits(start: Start, more: tuple[str, ...], whole: bool) -> None:
    running = start("alpha", "--seconds", "1", *more)
    running.wait()
    url, headers = f"{running.endpoint.url}/v1/chat/completions", {"Authorization": f"Bearer {KEY}"}
    with requests.post(url, json={"model": "chat", "stream": True}, headers=headers, stream=True, timeout=10) as answer:
        waiting = threading.Thread(
            target=ENGINE.complete, args=(running.endpoint, "chat", "Who?"), kwargs={"max_tokens": 1, "timeout": 10}
        )
        waiting.start()
        events = [line for line in answer.iter_lines() if line]
        waiting.join()
    assert events[-1] == b"data: [DONE]"
    assert (len(events) == len(sentence_of("alpha").split()) + 1) is whole


@pytest.mark.parametrize(
    ("model", "extra", "reason", "sentence"),
    [
        ("none", (), "path_missing", "the model file .*none.gguf is not there"),
        ("notes", (), "model_unsuitable", "the model file is not GGUF"),
        ("alpha", ("--surprise", "1"), "invalid_input", "it does not know the arguments --surprise 1"),
    ],
)
def test_what_a_start_that_failed_means(
    start: Start, model: str, extra: tuple[str, ...], reason: str, sentence: str
) -> None:
    running = start(model, *extra)
    assert running.process.wait(10) != 0
    meaning = ENGINE.meaning(running.log)
    assert meaning is not None
    assert meaning.reason == reason
    assert re.fullmatch(sentence, meaning.sentence)


def test_a_taken_port_is_said(start: Start) -> None:
    start().wait()
    second = start("beta")
    assert second.process.wait(10) == 1
    meaning = ENGINE.meaning(second.log)
    assert meaning is not None
    assert (meaning.reason, meaning.sentence) == ("port_in_use", f"its port {second.settings.port} is taken")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("llama_model_load: error loading model architecture: unknown model architecture: 'x'", "model_unsuitable"),
        ("ValueError: Failed to create llama_context", "out_of_memory"),
        ("ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory", "out_of_memory"),
        ("ModuleNotFoundError: No module named 'starlette_context'", "start_failed"),
    ],
)
def test_lines_of_its_log(line: str, reason: str) -> None:
    meaning = ENGINE.meaning(f"INFO: something\n{line}\n")
    assert meaning is not None
    assert meaning.reason == reason


GIB = 2**30
# 16 GiB of weights in 31 layers and what comes after them, and 2 GiB of cache.
BIG = Traits("gguf", weights_bytes=16 * GIB, layers=31, kv_heads=8, key_size=128, value_size=128)


@pytest.mark.parametrize(
    ("options", "ram", "vram", "fits", "said"),
    [
        # None on the GPU is its default.
        ({}, 30, (1, 1), True, "GiB of memory (weights 16.0"),
        ({}, 10, (24, 24), False, "GiB of memory (weights 16.0"),
        ({"n_gpu_layers": 0}, 10, (24,), False, "GiB of memory (weights 16.0"),
        ({"n_gpu_layers": -1}, 2, (24,), True, "memory on GPU 0 (NVIDIA L4) (weights 16.0"),
        # It leaves nothing in the host's memory of what it was told to take.
        ({"n_gpu_layers": -1}, 30, (6, 6), False, "memory on GPUs 0 and 1 (NVIDIA L4) (weights 16.0"),
        ({"n_gpu_layers": 16}, 12, (6, 6), True, "(weights 8.0"),
        ({"n_gpu_layers": -1, "split_mode": 0}, 30, (6, 24), False, "memory on GPU 0 (NVIDIA L4)"),
        ({"n_gpu_layers": -1, "split_mode": 0, "main_gpu": 1}, 30, (6, 24), True, "memory on GPU 1 (NVIDIA L4)"),
        ({"n_gpu_layers": -1, "split_mode": 1, "main_gpu": 1}, 30, (12, 12), True, "memory on GPUs 0 and 1"),
    ],
)
def test_where_its_layers_go(options: dict[str, t.Any], ram: int, vram: tuple[int, ...], fits: bool, said: str) -> None:
    cards = tuple(CardRoom("NVIDIA L4", index, 24 * GIB, free * GIB) for index, free in enumerate(vram))
    room = Room(64 * GIB, ram * GIB, cards=cards)
    verdict = ENGINE.fit(BIG, replace(SETTINGS, context_length=16384, options=options), room)
    assert verdict.fits is fits, verdict.sentence
    assert said in verdict.sentence
