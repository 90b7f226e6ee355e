# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model is made of: known models to the byte, what is not plain unknown."""

from __future__ import annotations

import io
import json
import typing as t

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.gguf import read_metadata
from ansible_collections.llmops.fleet.plugins.module_utils._core.traits import (
    GGUF,
    SAFETENSORS,
    Traits,
    from_config,
    from_gguf,
)
from hypothesis import given
from hypothesis import strategies as st
from reciter import CONTEXT, gguf, safetensors, sentence_of

KIB = 1024
# Layers, heads, heads of keys and values, size of a head, width, context, bytes of cache a token at 16 bits.
# Sources: config.json of meta-llama/Llama-3.1-8B-Instruct, meta-llama/Llama-3.2-3B-Instruct, Qwen/Qwen2.5-14B-Instruct,
# meta-llama/Llama-3.1-70B-Instruct, mistralai/Mistral-7B-Instruct-v0.3, meta-llama/Llama-2-7b-chat-hf, Qwen/Qwen3-8B,
# mistralai/Mistral-Nemo-Instruct-2407 (its heads are smaller than its width says).
KNOWN = {
    "Llama 3.1 8B": (32, 32, 8, 128, 4096, 131072, 128 * KIB),
    "Llama 3.2 3B": (28, 24, 8, 128, 3072, 131072, 112 * KIB),
    "Qwen 2.5 14B": (48, 40, 8, 128, 5120, 32768, 192 * KIB),
    "Llama 3.1 70B": (80, 64, 8, 128, 8192, 131072, 320 * KIB),
    "Mistral 7B v0.3": (32, 32, 8, 128, 4096, 32768, 128 * KIB),
    "Llama 2 7B": (32, 32, 32, 128, 4096, 4096, 512 * KIB),
    "Qwen 3 8B": (36, 32, 8, 128, 4096, 40960, 144 * KIB),
    "Mistral Nemo": (40, 32, 8, 128, 5120, 131072, 160 * KIB),
}
Row = tuple[int, int, int, int, int, int, int]


def header(row: Row, **more: t.Any) -> dict[str, t.Any]:
    layers, heads, kv_heads, size, width, context, _cache = row
    found: dict[str, t.Any] = {
        "general.architecture": "llama",
        "general.file_type": 15,
        "llama.block_count": layers,
        "llama.embedding_length": width,
        "llama.context_length": context,
        "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": kv_heads,
    }
    if size * heads != width:
        found.update({"llama.attention.key_length": size, "llama.attention.value_length": size})
    found.update({f"llama.{key.replace('__', '.')}": value for key, value in more.items()})
    return {key: value for key, value in found.items() if value is not None}


def config(row: Row, **more: t.Any) -> dict[str, t.Any]:
    layers, heads, kv_heads, size, width, context, _cache = row
    found = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "hidden_size": width,
        "max_position_embeddings": context,
        "torch_dtype": "bfloat16",
        **({"head_dim": size} if size * heads != width else {}),
        **more,
    }
    return {key: value for key, value in found.items() if value is not None}


LLAMA = KNOWN["Llama 3.1 8B"]


@pytest.mark.parametrize("row", KNOWN.values(), ids=list(KNOWN))
def test_known_models(row: Row) -> None:
    layers, _heads, kv_heads, size, _width, context, cache = row
    expected = Traits(GGUF, "llama", "Q4_K_M", context, 5_000, layers, kv_heads, size, size)
    assert from_gguf(header(row), 5_000) == expected
    assert expected.cache_bytes_per_token() == cache
    assert expected.cache_bytes_per_token(1.0) == cache / 2
    found = from_config(config(row), 5_000)
    assert found == Traits(SAFETENSORS, "LlamaForCausalLM", None, context, 5_000, layers, kv_heads, size, size)
    assert found.cache_bytes_per_token() == cache


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_a_reciter_is_read_from_its_own_bytes(name: str) -> None:
    data = gguf(sentence_of(name), name)
    expected = Traits(GGUF, "llama", "F32", CONTEXT, len(data), 1, 5, 64, 64)
    assert from_gguf(read_metadata(io.BytesIO(data)), len(data)) == expected
    files = safetensors(sentence_of(name), name)
    read = from_config(json.loads(files["config.json"]), 7)
    assert read == Traits(SAFETENSORS, "LlamaForCausalLM", None, CONTEXT, 7, 1, 5, 64, 64)
    assert read.cache_bytes_per_token() == 1280


# --- GGUF ---

GGUF_CASES: dict[str, tuple[dict[str, t.Any], float | None]] = {
    # OpenELM has other heads in each layer, LFM2 and Granite 4 layers without a cache.
    "a number a layer": ({"block_count": 4, "attention__head_count_kv": [3, 3, 4, 5]}, 15 * 256 * 2),
    "layers without a cache": ({"block_count": 4, "attention__head_count_kv": [0, 0, 8, 0]}, 8 * 256 * 2),
    "the same number a layer": ({"block_count": 4, "attention__head_count_kv": [8, 8, 8, 8]}, 32 * 256 * 2),
    "no cache at all": ({"block_count": 4, "attention__head_count_kv": [0, 0, 0, 0]}, 0),
    "states, and which layers": (
        {"block_count": 4, "attention__head_count_kv": [0, 0, 0, 8], "ssm__state_size": 128}, 8 * 256 * 2
    ),
    "heads by layer too": ({"block_count": 2, "attention__head_count": [32, 32], "attention__head_count_kv": None}, 2**15),
    "as many keys as heads": ({"attention__head_count_kv": None}, 512 * KIB),
    "keys larger than values": ({"attention__key_length": 192, "attention__value_length": 128}, 32 * 8 * 320 * 2),
    "a window as wide as the context": ({"attention__sliding_window": 131072}, 128 * KIB),
    # Unknown, rather than wrong.
    "states, not which layers": ({"ssm__state_size": 128}, None),
    "one layer in so many": ({"full_attention_interval": 4}, None),
    "a sliding window": ({"attention__sliding_window": 4096}, None),
    "latent attention": ({"attention__kv_lora_rank": 512, "attention__head_count_kv": 1}, None),
    "latent attention by its sizes": ({"attention__key_length_mla": 192}, None),
    "layers that share": ({"attention__shared_kv_layers": 20}, None),
    "a list for other layers": ({"attention__head_count_kv": [8, 8]}, None),
    "a list of no numbers": ({"block_count": 2, "attention__head_count_kv": ["8", None]}, None),
    # read_metadata has the length in place of a list above 64.
    "a long list": ({"block_count": 80, "attention__head_count_kv": 80}, None),
    "no layers": ({"block_count": None}, None),
    "no heads": ({"attention__head_count": None, "attention__head_count_kv": None}, None),
    "no width": ({"embedding_length": None}, None),
    "a width that heads do not divide": ({"embedding_length": 4097}, None),
    "texts": ({"block_count": "32"}, None),
}  # fmt: skip


@pytest.mark.parametrize(("more", "cache"), GGUF_CASES.values(), ids=list(GGUF_CASES))
def test_a_header(more: dict[str, t.Any], cache: float | None) -> None:
    found = from_gguf(header(LLAMA, **more), 1)
    assert found.cache_bytes_per_token() == cache
    assert (found.format, found.architecture, found.weights_bytes) == (GGUF, "llama", 1)


def test_a_header_without_anything() -> None:
    assert from_gguf({}, None) == Traits(format=GGUF)
    assert from_gguf({"general.file_type": 9999, "general.architecture": 5}, None) == Traits(format=GGUF)


# --- config.json ---

CONFIG_CASES: dict[str, tuple[dict[str, t.Any], float | None]] = {
    "a size of its own": ({"head_dim": 256}, 256 * KIB),
    "a size of null": ({"head_dim": None}, 128 * KIB),
    "as many keys as heads": ({"num_key_value_heads": None}, 512 * KIB),
    "a window that is not used": ({"sliding_window": 4096, "use_sliding_window": False}, 128 * KIB),
    "a window of null": ({"sliding_window": None}, 128 * KIB),
    "a window as wide as the context": ({"sliding_window": 131072}, 128 * KIB),
    "full layers": ({"layer_types": ["full_attention"] * 32}, 128 * KIB),
    "names of GPT-2": ({"num_hidden_layers": None, "num_attention_heads": None, "num_key_value_heads": None,
                        "hidden_size": None, "n_layer": 12, "n_head": 12, "n_embd": 768}, 36 * KIB),
    "a sliding window": ({"sliding_window": 4096}, None),
    "layers with windows": ({"layer_types": ["sliding_attention", "full_attention"] * 16}, None),
    "linear layers": ({"layer_types": ["linear_attention", "full_attention"] * 16}, None),
    "latent attention (DeepSeek)": ({"kv_lora_rank": 512, "num_key_value_heads": 32}, None),
    "chunks (Llama 4)": ({"attention_chunk_size": 8192}, None),
    "states (Jamba)": ({"mamba_d_state": 16, "attn_layer_period": 8}, None),
    "a pattern (Nemotron-H)": ({"hybrid_override_pattern": "M-M*"}, None),
    "one head for all (Falcon)": ({"num_key_value_heads": None, "multi_query": True}, None),
    "groups (Falcon, ChatGLM)": ({"num_key_value_heads": None, "num_kv_heads": 8}, None),
    "no layers": ({"num_hidden_layers": None}, None),
    "texts": ({"num_hidden_layers": "32"}, None),
}  # fmt: skip


@pytest.mark.parametrize(("more", "cache"), CONFIG_CASES.values(), ids=list(CONFIG_CASES))
def test_a_configuration(more: dict[str, t.Any], cache: float | None) -> None:
    found = from_config(config(LLAMA, **more), 1)
    assert found.cache_bytes_per_token() == cache
    assert (found.format, found.architecture) == (SAFETENSORS, "LlamaForCausalLM")


def test_the_language_part_of_a_multimodal_model() -> None:
    inner = config(LLAMA, head_dim=128, architectures=None)
    outer = {"architectures": ["LlavaForConditionalGeneration"], "hidden_size": 1, "text_config": inner}
    found = from_config(outer, 1)
    assert found.architecture == "LlavaForConditionalGeneration"
    assert found.cache_bytes_per_token() == 128 * KIB
    assert found.max_context == 131072
    # A nested part leaves out its class's defaults: what is missing is no sign of anything.
    for missing in ("head_dim", "num_key_value_heads", "num_hidden_layers"):
        less = {key: value for key, value in inner.items() if key != missing}
        assert from_config({**outer, "text_config": less}, 1).cache_bytes_per_token() is None


@pytest.mark.parametrize(
    ("written", "word"),
    [
        ({"quant_method": "awq", "bits": 4}, "awq"),
        ({"quant_method": "GPTQ"}, "gptq"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"),
        ({"bits": 4}, None),
        ({"quant_method": 4}, None),
        ("awq", None),
        (None, None),
    ],
)
def test_how_weights_are_quantized(written: t.Any, word: str | None) -> None:
    assert from_config(config(LLAMA, quantization_config=written), 1).quantization == word
    assert from_config({"text_config": {"quantization_config": written}}, 1).quantization == word


def test_a_configuration_without_anything() -> None:
    assert from_config({}, None) == Traits(format=SAFETENSORS)
    assert from_config({"architectures": [], "model_type": "gpt2"}, None).architecture == "gpt2"


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
                    max_leaves=5)  # fmt: skip
KEYS = st.sampled_from(
    [*config(LLAMA, head_dim=1, sliding_window=1), "text_config", "quantization_config", "layer_types"]
)


@given(st.dictionaries(KEYS, JSON))
def test_any_configuration_is_read_or_unknown(document: dict[str, t.Any]) -> None:
    cache = from_config(document, 1).cache_bytes_per_token()
    assert cache is None or cache > 0


@given(st.dictionaries(st.sampled_from(sorted(header(LLAMA, attention__sliding_window=1))), JSON))
def test_any_header_is_read_or_unknown(metadata: dict[str, t.Any]) -> None:
    cache = from_gguf({**metadata, "general.architecture": "llama"}, 1).cache_bytes_per_token()
    assert cache is None or cache >= 0
