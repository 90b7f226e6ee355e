# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model can take, told before it is brought: by the program that has it, else by the hub it would come from."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.ports import SourceOptions
from ansible_collections.llmops.fleet.plugins.module_utils._host.chat_template import render
from ansible_collections.llmops.fleet.plugins.module_utils._sources.registry import request_from, source_named
from docker_model_runner import Runner
from hub import Hub
from lm_studio import LmStudio
from ollama_store import MODEL_LAYER, TEMPLATE_LAYER
from reciter import gguf

if t.TYPE_CHECKING:
    from conftest import Ollama

NOWHERE = "http://127.0.0.1:9"
CHAT = "{{ if .System }}{{ .System }}{{ end }}{{ .Prompt }}{{ .Tools }}"
CONFIG = {"model_format": "gguf", "model_family": "llama", "model_type": "8B", "file_type": "Q4_K_M"}


def told(source: str, model: str, endpoint: str, **more: t.Any) -> dict[str, t.Any]:
    options = SourceOptions(endpoint=endpoint, token="of-the-program", timeout=2)
    request = request_from({"name": "asked", "source": source, "model": model, **more})
    return dict(source_named(source, options).describe(request, render))


def refused(source: str, model: str, endpoint: str, **more: t.Any) -> str:
    with pytest.raises(LlmError) as caught:
        told(source, model, endpoint, **more)
    return caught.value.reason


@pytest.fixture
def face(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub that has read a GGUF file, in the place of Hugging Face."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    hub.publish("org/alpha", {"a.gguf": b"GGUF"})
    hub.facts["org/alpha"] = {"gguf": {"architecture": "llama", "context_length": 4096, "chat_template": "{{ 1 }}"}}
    return hub


@pytest.mark.parametrize("reachable", [True, False])
def test_ollama_asks_the_registry_for_what_the_server_does_not_have(ollama: Ollama, reachable: bool) -> None:
    layers = [(MODEL_LAYER, bytes(100_000)), (TEMPLATE_LAYER, CHAT.encode())]
    ollama.registry.publish("acme/big", layers, CONFIG)
    endpoint = ollama.daemon.url if reachable else NOWHERE
    found = told("ollama", f"{ollama.registry.place}/acme/big", endpoint, insecure=True)
    assert (found["quantization"], found["prompt_template"], found["supports_system_role"]) == ("Q4_K_M", CHAT, True)
    assert (found["supports_function_calling"], found["max_context_length"]) == (True, None)
    assert ollama.tags() == {}
    assert sum(ollama.registry.sent.values()) < 10_000
    assert refused("ollama", f"{ollama.registry.place}/acme/none", endpoint, insecure=True) == "not_found"


def test_ollama_tells_of_what_it_has_itself(ollama: Ollama) -> None:
    ollama.pull(ollama.name)
    before = dict(ollama.registry.requests)
    assert told("ollama", ollama.name, ollama.daemon.url, insecure=True)["max_context_length"]
    assert dict(ollama.registry.requests) == before


@pytest.mark.parametrize("host", ["hf.co", "huggingface.co"])
def test_models_of_hugging_face_by_their_names_elsewhere(face: Hub, ollama: Ollama, tmp_path: Path, host: str) -> None:
    with Runner(tmp_path / "runner") as runner:
        for source, endpoint in (("ollama", ollama.daemon.url), ("docker_model_runner", runner.url)):
            for place in (endpoint, NOWHERE):
                found = told(source, f"{host}/org/alpha:Q4_K_M", place)
                assert (found["max_context_length"], found["quantization"]) == (4096, "Q4_K_M")
            assert refused(source, f"{host}/org/none:Q4_K_M", endpoint) == "not_found"
    # The program's token is not the hub's.
    assert set(face.authorized) == {""}
    assert not face.sent


def test_lm_studio(face: Hub, tmp_path: Path) -> None:
    with LmStudio(tmp_path / "studio") as studio:
        studio.publish("ibm/granite-4-micro", "Q4_K_M", gguf("This model is small.", "model"))
        for endpoint in (f"http://127.0.0.1:{studio.port}", NOWHERE):
            found = told("lm_studio", "https://huggingface.co/org/alpha", endpoint, quantization="Q8_0")
            assert (found["max_context_length"], found["quantization"]) == (4096, "Q8_0")
        assert refused("lm_studio", "ibm/granite-4-micro", f"http://127.0.0.1:{studio.port}") == "unsupported"
    assert refused("lm_studio", "ibm/granite-4-micro", NOWHERE) == "unreachable"
    assert refused("lm_studio", "https://huggingface.co/org/none", NOWHERE) == "not_found"
