# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.quantization import has_quantization


@pytest.mark.parametrize(
    ("path", "quantization", "taken"),
    [
        ("qwen2.5-7b-instruct-q4_k_m.gguf", "Q4_K_M", True),
        ("Qwen2.5-7B.Q4_K_M.gguf", "q4_k_m", True),
        ("big-Q4_K_M-00001-of-00003.gguf", "Q4_K_M", True),
        ("Q4_K_M/big-00001-of-00003.gguf", "Q4_K_M", True),
        ("qwen-q4_k_m.gguf", "Q4_K", False),
        ("qwen-q4_k_s.gguf", "Q4_K_M", False),
        ("qwen-iq4_xs.gguf", "Q4_XS", False),
        ("qwen-q4_k_m.gguf.sha256", "Q4_K_M", False),
        ("README-Q4_K_M.md", "Q4_K_M", False),
        ("model-F16.gguf", "F16", True),
        ("model-BF16.gguf", "F16", False),
    ],
)
def test_a_quantization_stands_alone(path: str, quantization: str, taken: bool) -> None:
    assert has_quantization(path, quantization) is taken
