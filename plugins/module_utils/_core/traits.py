# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a model decides where it can run and how much memory it takes there."""

from __future__ import annotations

from dataclasses import dataclass

GGUF, SAFETENSORS = "gguf", "safetensors"


@dataclass(frozen=True)
class Traits:
    """None is unknown.

    `quantization` is in the words of the format: `Q4_K_M` of a GGUF file, `awq`, `gptq` or `fp8` of a `config.json`.
    `max_context` is in tokens, `weights_bytes` is the size of the files that are loaded. `layers`, `kv_heads` and the
    sizes of one head's key and value (elements) give the size of the cache.
    """

    format: str | None = None
    architecture: str | None = None
    quantization: str | None = None
    max_context: int | None = None
    weights_bytes: int | None = None
    layers: int | None = None
    kv_heads: int | None = None
    key_size: int | None = None
    value_size: int | None = None
