# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets in texts of any kind, and what is none."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.environment_file import render
from ansible_collections.llmops.fleet.plugins.module_utils._core.hiding import (
    Hiding,
    secrets_in_variables,
    secrets_in_words,
)

SECRET = 's3 cr"et/Käse%$\\'


@pytest.mark.parametrize(
    "shape",
    [str, json.dumps, lambda text: json.dumps(text, ensure_ascii=False), lambda text: quote(text, safe=""),
     lambda text: render({"NAME": text}, ""), lambda text: f"before{text}after"],
    ids=["as it is", "JSON", "JSON with letters", "address", "environment file", "inside a word"],
)  # fmt: skip
def test_a_known_value_is_found_in_every_form(shape: object) -> None:
    shown = Hiding([SECRET]).known(shape(SECRET))  # type: ignore[operator]
    assert "***" in shown
    assert "cr" not in shown.replace("fleet", "")


@pytest.mark.parametrize(
    "line",
    [
        "args: {'api_key': ['planted99'], 'port': 8000}",
        "args: {'api_key': ['other', 'planted99'], 'port': 8000}",
        r'{"message": "{\"token\": \"planted99\"}"}',
        "started as ['vllm', 'serve', '--api-key', 'planted99']",
        'ExecStart= "--api-key" "planted99"',
        "llama-server --api-key planted99 --port 1",
        "GET /?token=planted99 from 10.0.0.1",
        "Authorization: Bearer planted99",
        "clone https://user:planted99@host/x",
        'password = "planted99"',
        "\x1b[31mHF_TOKEN\x1b[0m=planted99",
    ],
)
def test_what_looks_like_a_secret_is_hidden(line: str) -> None:
    assert "planted99" not in Hiding([]).line(line)


@pytest.mark.parametrize(
    "line",
    [
        "slot print_timing: id  0 | task 0 | prompt eval time =       3.50 ms /    55 tokens",
        "loading model '/var/lib/llm/models/huggingface/a--b@0123456789abcdef0123456789abcdef01234567/m.gguf'",
        "vllm serve --max-num-batched-tokens 2048 --tokenizer-mode auto",
        "TOKENIZERS_PARALLELISM=false",
        "its last proof is 30 hours old, above 24",
    ],
)
def test_what_is_none_is_shown(line: str) -> None:
    assert Hiding(["no", ""]).line(line) == line


def test_a_short_known_value_is_hidden_where_it_stands_alone() -> None:
    assert Hiding(["abc"]).line("key abc, not abcd nor 1") == "key ***, not abcd nor 1"


def test_a_secret_in_a_line_without_end_is_not_cut_in_two() -> None:
    for length in range(1970, 2010):
        assert "hf_" not in Hiding([]).line(f"{'x' * length} hf_abcdefghijkl {'y' * 100_000}").replace("hf_***", "")


def test_whole_values_are_walked_and_controls_are_gone() -> None:
    seen = Hiding(["planted99"]).value({"a": ["x planted99", 5, None, ("planted99",)], "b": "one\ntwo\x07\x1b]0;t\x07"})
    assert seen == {"a": ["x ***", 5, None, ["***"]], "b": "one two "}


def test_secrets_by_their_names() -> None:
    words = ["ollama", "--api-key", "planted99", "--token=planted98", "--port", "11434", "--key-file", "/etc/planted97"]
    assert secrets_in_words(words) == {"planted99", "planted98"}
    variables = {"HF_TOKEN": "planted99", "ODD": "x1y", "SSH_AUTH_SOCK": "/tmp/agent", "A_KEY": "true"}
    assert secrets_in_variables(variables, {"ODD"}) == {"planted99", "x1y"}
