# SPDX-License-Identifier: GPL-3.0-or-later
"""What an engine loads of a repository that has the same weights several times."""

from __future__ import annotations

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.weights import bytes_loaded, usual_quantization

REPOSITORY = {
    "README.md": 7, "qwen2.5-7b-instruct-q2_k.gguf": 300, "qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf": 400,
    "qwen2.5-7b-instruct-q4_k_m-00002-of-00002.gguf": 68, "qwen2.5-7b-instruct-fp16.gguf": 1500,
    "mmproj-qwen-q4_k_m.gguf": 90, "imatrix.gguf": 80, "model.safetensors": 1500,
}  # fmt: skip


@pytest.mark.parametrize(
    ("files", "quantization", "size"),
    [
        (REPOSITORY, "", 468),
        (REPOSITORY, "Q2_K", 300),
        (REPOSITORY, "q4_k_m", 468),
        ({"a.gguf": 5, "config.json": 1}, "", 5),
        ({"a-Q2_K.gguf": 5, "a-Q3_K.gguf": 7}, "", 7),
        ({"small-Q4_0.gguf": 5, "large-Q4_0.gguf": 7}, "Q4_0", 7),
        ({"Q4_K_M/a-00001-of-00002.gguf": 5, "Q4_K_M/a-00002-of-00002.gguf": 6, "Q8_0/a.gguf": 20}, "", 11),
        (
            {"model-00001-of-00002.safetensors": 5, "model-00002-of-00002.safetensors": 6,
             "consolidated.safetensors": 11, "pytorch_model.bin": 11, "onnx/model.safetensors": 30},
            "", 11,
        ),
        ({"consolidated.safetensors": 11, "tokenizer.json": 1}, "", 11),
        ({"adapter.safetensors": 3, "other.safetensors": 4}, "", 7),
        ({"unet/model.safetensors": 3, "text/model.safetensors": 4, "x.bin": 9}, "", 7),
        ({"pytorch_model-00001-of-00002.bin": 4, "pytorch_model-00002-of-00002.bin": 4, "training_args.bin": 1}, "", 8),
        ({"original/consolidated.00.pth": 9}, "", 9),
        ({"sha256-a": 4, "sha256-b": 5}, "", 9),
        ({"a.gguf": 0}, "", None),
        ({}, "", None),
    ],
)  # fmt: skip
def test_only_what_is_loaded_counts(files: dict[str, int], quantization: str, size: int | None) -> None:
    assert bytes_loaded(files, quantization) == size


def test_the_usual_quantization_is_one_that_a_model_has() -> None:
    assert usual_quantization(REPOSITORY) == "Q4_K_M"
    assert usual_quantization(["mmproj-Q4_K_M.gguf", "a-Q8_0.gguf"]) == "Q8_0"
    assert usual_quantization(["a-Q2_K.gguf", "model.safetensors"]) is None
