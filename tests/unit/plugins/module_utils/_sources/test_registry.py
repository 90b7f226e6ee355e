# SPDX-License-Identifier: GPL-3.0-or-later
"""References of every source: parsed, checked and normalised once, printed one way."""

from __future__ import annotations

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.reference import ModelReference
from ansible_collections.llmops.fleet.plugins.module_utils._sources.registry import SOURCES, request_from
from hypothesis import given
from hypothesis import strategies as st

NAMED = sorted(set(SOURCES) - {"file", "url"})
names = st.one_of(
    st.text(max_size=40),
    st.from_regex(r"[A-Za-z0-9][\w.-]{0,10}(/[A-Za-z0-9][\w.-]{0,10}){0,2}(:[\w.-]{1,8})?", fullmatch=True),
    st.from_regex(
        r"(127\.0\.0\.1:50|hf\.co|docker\.io|Example\.com)/[a-zA-Z]{1,8}/[a-z]{1,8}(:[A-Z]{1,4})?", fullmatch=True
    ),
)


def _read(params: dict[str, str]) -> tuple[ModelReference | None, LlmError | None]:
    try:
        return request_from(params).reference, None
    except LlmError as failure:
        return None, failure


@pytest.mark.parametrize("source", NAMED)
@given(name=names)
def test_a_name_is_normalised_once_or_refused(source: str, name: str) -> None:
    reference, failure = _read({"name": "m", "source": source, "model": name})
    if reference is None:
        assert failure
        assert failure.reason in ("invalid_name", "invalid_input", "unsupported")
        assert "Model m" in failure.what
        return
    again = request_from({"name": "m", "source": source, "model": reference.model}).reference
    assert again == reference
    assert ".." not in reference.model
    assert not reference.model.startswith("/")


@pytest.mark.parametrize(
    ("source", "name", "shown"),
    [
        ("ollama", "phi3", "phi3:latest"),
        ("ollama", "registry.ollama.ai/library/phi3:mini", "phi3:mini"),
        ("ollama", "hf.co/bartowski/X-GGUF:Q4_K_M", "hf.co/bartowski/X-GGUF:Q4_K_M"),
        ("docker_model_runner", "smollm2", "ai/smollm2:latest"),
        ("docker_model_runner", "docker.io/ai/SmolLM2:latest", "ai/smollm2:latest"),
        ("docker_model_runner", "hf.co/Bartowski/X", "huggingface.co/bartowski/x:latest"),
        ("huggingface", "Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B"),
    ],
)
def test_how_names_are_printed(source: str, name: str, shown: str) -> None:
    assert request_from({"name": "m", "source": source, "model": name}).reference.model == shown


@given(st.text(max_size=60))
def test_an_address_is_one_or_refused(url: str) -> None:
    reference, failure = _read({"name": "m", "source": "url", "url": url})
    if reference is None:
        assert failure
        assert failure.reason == "invalid_input"
        return
    assert "?" not in reference.model
    assert "@" not in reference.model.split("/")[2]
