# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a model decides where it can run and how much memory it takes there.

A cache that does not grow by the same bytes with every token of every layer (latent attention, sliding windows,
layers with a state instead of a cache) counts as unknown: a figure from the plain heads would be many times too large.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from . import capabilities
from .gguf import LONGEST_ARRAY

GGUF, SAFETENSORS = "gguf", "safetensors"

# Keys of a GGUF header, behind the architecture's name, that say that the cache is not plain (llama.cpp, llama-arch.cpp).
_GGUF_NOT_PLAIN = (
    "attention.kv_lora_rank", "attention.key_length_mla", "attention.shared_kv_layers", "attention.compress_ratios",
    "full_attention_interval",
)  # fmt: skip
# The same in config.json of transformers: DeepSeek, Llama 4, Jamba, Bamba, Nemotron-H, Qwen3-Next, Gemma 3n.
_CONFIG_NOT_PLAIN = (
    "kv_lora_rank", "attention_chunk_size", "attn_layer_period", "attn_layer_indices", "layers_block_type",
    "hybrid_override_pattern", "full_attention_interval", "num_kv_shared_layers", "linear_attn_config", "ssm_cfg",
)  # fmt: skip
_LANGUAGE_PARTS = ("text_config", "llm_config", "language_config")


@dataclass(frozen=True)
class Traits:
    """None is unknown.

    `quantization` is in the words of the format: `Q4_K_M` of a GGUF file, `awq`, `gptq` or `fp8` of a `config.json`.
    `max_context` is in tokens, `weights_bytes` is the size of the files that are loaded. `layers`, `kv_heads` (of one
    layer, or of each layer where they differ) and the sizes of one head's key and value (elements) give the size of
    the cache.
    """

    format: str | None = None
    architecture: str | None = None
    quantization: str | None = None
    max_context: int | None = None
    weights_bytes: int | None = None
    layers: int | None = None
    kv_heads: int | tuple[int, ...] | None = None
    key_size: int | None = None
    value_size: int | None = None

    def cache_bytes_per_token(self, element_bytes: float = 2.0) -> float | None:
        """Bytes that one token takes in the cache of all layers, at so many bytes an element (2: 16 bits)."""
        if self.layers is None or self.kv_heads is None or self.key_size is None or self.value_size is None:
            return None
        heads = self.kv_heads * self.layers if isinstance(self.kv_heads, int) else sum(self.kv_heads)
        return heads * (self.key_size + self.value_size) * element_bytes


def from_gguf(metadata: t.Mapping[str, t.Any], weights_bytes: int | None) -> Traits:
    """From the pairs of a GGUF header; its key names are those of ggml, docs/gguf.md.

    They are also what a program may answer that reads the header for others (`model_info`).
    """
    # Nothing of the tokenizer is asked here, so that no template is rendered.
    told = capabilities.from_gguf({key: metadata[key] for key in metadata if key[:10] != "tokenizer."}, _unrendered)
    architecture = metadata.get("general.architecture")
    own = _Own(metadata, f"{architecture}.")
    layers, heads = _count(own.get("block_count")), own.get("attention.head_count")
    key_size, value_size = _count(own.get("attention.key_length")), _count(own.get("attention.value_length"))
    width = _divided(own.get("embedding_length"), heads[0] if isinstance(heads, list) and heads else heads)
    return Traits(
        GGUF,
        architecture if isinstance(architecture, str) else None,
        told["quantization"],
        told["max_context_length"],
        weights_bytes,
        layers,
        _gguf_kv_heads(own, heads, layers, told["max_context_length"]),
        key_size or width,
        value_size or width,
    )


class _Own:
    """The pairs of the model's own architecture."""

    def __init__(self, metadata: t.Mapping[str, t.Any], prefix: str) -> None:
        self._metadata = metadata
        self._prefix = prefix

    def get(self, key: str) -> t.Any:
        return self._metadata.get(self._prefix + key)

    def has_states(self) -> bool:
        return any(key.startswith(f"{self._prefix}ssm.") for key in self._metadata)


def _gguf_kv_heads(own: _Own, heads: t.Any, layers: int | None, context: int | None) -> int | tuple[int, ...] | None:
    window = _count(own.get("attention.sliding_window"))
    narrow = window is not None and (context is None or window < context)
    if layers is None or narrow or any(own.get(key) is not None for key in _GGUF_NOT_PLAIN):
        return None
    # Without a number of their own there are as many as of the others (llama.cpp, llama-model.cpp).
    found = own.get("attention.head_count_kv")
    found = heads if found is None else found
    if isinstance(found, list):
        plain = len(found) == layers and all(isinstance(count, int) and count >= 0 for count in found)
        return (found[0] if len(set(found)) == 1 else tuple(found)) if plain else None
    # A longer list is read as its length only, which is that of the layers. Where some layers have a state and no
    # cache, one number for all of them does not say which.
    if own.has_states() or (found == layers and layers > LONGEST_ARRAY):
        return None
    return _count(found)


def from_config(config: t.Mapping[str, t.Any], weights_bytes: int | None) -> Traits:
    """From the config.json of a repository as transformers writes it."""
    told = capabilities.from_config(config, {}, None, _unrendered)
    nested = [part for part in (config.get(name) for name in _LANGUAGE_PARTS) if isinstance(part, dict)]
    part = nested[0] if nested else config
    layers = _count(_any_of(part, "num_hidden_layers", "n_layer", "num_layers"))
    heads = _count(_any_of(part, "num_attention_heads", "n_head"))
    size = _count(part.get("head_dim"))
    if size is None and not nested:
        # A nested part leaves out what is the default of its class, and that is not known here.
        size = _divided(_any_of(part, "hidden_size", "n_embd"), heads)
    names = config.get("architectures")
    architecture = names[0] if isinstance(names, list) and names else config.get("model_type")
    return Traits(
        SAFETENSORS,
        architecture if isinstance(architecture, str) else None,
        _method([config, *nested]),
        told["max_context_length"],
        weights_bytes,
        layers,
        _config_kv_heads(part, told["max_context_length"], None if nested else heads),
        size,
        size,
    )


def _config_kv_heads(part: t.Mapping[str, t.Any], context: int | None, heads: int | None) -> int | None:
    """`heads` is what holds where nothing is said of keys and values."""
    window = _count(part.get("sliding_window")) if part.get("use_sliding_window") is not False else None
    kinds = part.get("layer_types")
    if (
        (window is not None and (context is None or window < context))
        or any(part.get(key) is not None for key in _CONFIG_NOT_PLAIN)
        or any(key.startswith(("mamba", "ssm_", "linear_num")) for key in part)
        or (isinstance(kinds, list) and any(kind != "full_attention" for kind in kinds))
    ):
        return None
    if "num_key_value_heads" in part and part["num_key_value_heads"] is not None:
        return _count(part["num_key_value_heads"])
    # Falcon and ChatGLM have words of their own for fewer heads.
    return None if any("kv" in key or "multi_query" in key for key in part) else heads


def _method(parts: t.Sequence[t.Mapping[str, t.Any]]) -> str | None:
    """How the weights are quantized; the type of their numbers is no quantization."""
    for part in parts:
        quantization = part.get("quantization_config")
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        if isinstance(method, str) and method:
            return method.lower()
    return None


def _unrendered(template: str, messages: list[capabilities.Message], special_tokens: dict[str, str], /) -> str:
    del template, messages, special_tokens
    return ""


def _any_of(part: t.Mapping[str, t.Any], *names: str) -> t.Any:
    return next((part[name] for name in names if part.get(name) is not None), None)


def _count(value: t.Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _divided(whole: t.Any, parts: t.Any) -> int | None:
    total, count = _count(whole), _count(parts)
    return total // count if total and count and total % count == 0 else None
