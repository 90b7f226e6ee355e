# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.masking import masked

DIGEST = "60e05f2100071479f596b964f89f510f057ce397ea22f2833a0cfe029bfc2463"


@pytest.mark.parametrize(
    "line",
    [
        "vllm serve m --api-key SECRET --port 8000",
        "vllm serve m --api_key SECRET",
        "x --api-key=SECRET --port 1",
        "x --apiKey SECRET",
        "x --token SECRET",
        "x --hf-token SECRET",
        "x --hf_token=SECRET",
        "x --password SECRET",
        "x --api-key --SECRET1--",
        "env HF_TOKEN=SECRET OLLAMA_HOST=1",
        "env API_KEY=SECRET python",
        "x key=SECRET",
        "x https://user:SECRET@host/v1",
        "x https://host/v1?token=SECRET&key=SECRET",
        "x --url=https://host/v1?api_key=SECRET",
        'x {"api_key":"SECRET","a":1}',
        "x Authorization:SECRET",
        "x hf_SECRETabcdefghij",
        "x --anything=sk-SECRETabcdefghij",
        "x ghp_SECRETabcdefghij",
        "x nvapi-SECRETabcdefghij",
        "x eyJSECRETab.eyJSECRETab.SECRET",
        "x SECRET0123456789abcdefABCDEF",
    ],
)
def test_a_secret_is_not_shown(line: str) -> None:
    assert "SECRET" in line
    assert "SECRET" not in masked(line.split(" "))
    assert "***" in masked(line.split(" "))


def test_a_header_is_one_word() -> None:
    shown = masked(["curl", "-H", "Authorization: Bearer SECRET123", "http://h"])
    assert shown == "curl -H Authorization: Bearer *** http://h"


@pytest.mark.parametrize(
    "line",
    [
        "vllm serve mistralai/Mistral-Small-3.2-24B-Instruct-2506 --port 8000 --tokenizer x/y --tokenizer-mode auto",
        f"ollama runner --model /root/.ollama/models/blobs/sha256-{DIGEST} --ctx-size 4096",
        f"llama-server -m /var/lib/llm/models/url/x@{DIGEST[:12]}/x.gguf --host 127.0.0.1",
        f"vllm serve a/b --revision {DIGEST[:40]}",
        "x --max-num-batched-tokens 8192 --max-tokens=7 --n-predict-tokens 5",
        "x --api-key-file /etc/llm/key --kv-cache-dtype=fp8 --keep-alive 5m",
        "/usr/bin/python3 -m vllm.entrypoints.openai.api_server --host 0.0.0.0",
        "x --rope-scaling linear --override-kv general.name=str:x http://127.0.0.1:8000/v1",
        "x --api-key --port 8000",
    ],
)
def test_what_is_no_secret_stays_readable(line: str) -> None:
    assert masked(line.split(" ")) == line


def test_nothing_is_nothing() -> None:
    assert masked([]) == ""
