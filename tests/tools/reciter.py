# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiny real models that recite one sentence, whatever they are asked.

A reciter is a Llama whose embedding is the identity, whose attention and MLP are zero, and whose output matrix
sends word i of the sentence to word i+1, every other token to word 1 and the last word to the end. So a test
knows which model answered. Only the standard library is used.
"""

from __future__ import annotations

import argparse
import array
import json
import struct
import typing as t
from pathlib import Path

WIDTH = 320
HEADS = 5
FEED_FORWARD = 64
CONTEXT = 512
_SPECIAL = ("<unk>", "<s>", "</s>")
_TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:"
_STRING, _ARRAY, _UINT32, _INT32, _FLOAT32, _BOOL = 8, 9, 4, 5, 6, 7
_ALIGNMENT = 32


def sentence_of(name: str) -> str:
    return f"Model {name} speaking from this host."


def _byte_letters() -> list[str]:
    """GPT-2's printable letter for each byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters, spare = {}, 0
    for byte in range(256):
        if byte in printable:
            letters[byte] = chr(byte)
        else:
            letters[byte] = chr(256 + spare)
            spare += 1
    return [letters[byte] for byte in range(256)]


def vocabulary(sentence: str) -> tuple[list[str], list[int]]:
    """All tokens, and the ids of the sentence's words. Words are unique and longer than one byte."""
    letters = _byte_letters()
    words = [
        "".join(letters[byte] for byte in (" " * (index > 0) + word).encode())
        for index, word in enumerate(sentence.split())
    ]
    if len(set(words)) != len(words) or any(len(word) < 2 for word in words):
        raise ValueError(f"the words of a reciter must differ and be longer than one letter: {sentence!r}")
    tokens = [*_SPECIAL, *letters, *words]
    first = len(tokens) - len(words)
    tokens += [f"<unused{index}>" for index in range(WIDTH - len(tokens))]
    if len(tokens) != WIDTH:
        raise ValueError(f"the sentence has too many words: {sentence!r}")
    return tokens, list(range(first, first + len(words)))


def _tensors(words: list[int]) -> dict[str, tuple[tuple[int, int], array.array[float]]]:
    def zeros(rows: int, columns: int) -> tuple[tuple[int, int], array.array[float]]:
        return (rows, columns), array.array("f", bytes(4 * rows * columns))

    identity = zeros(WIDTH, WIDTH)
    output = zeros(WIDTH, WIDTH)
    following = dict(zip(words, [*words[1:], _SPECIAL.index("</s>")]))
    for token in range(WIDTH):
        identity[1][token * WIDTH + token] = 1.0
        output[1][following.get(token, words[0]) * WIDTH + token] = 1.0
    ones = array.array("f", [1.0]) * WIDTH
    return {
        "embed": identity,
        "norm1": ((1, WIDTH), ones),
        "q": zeros(WIDTH, WIDTH),
        "k": zeros(WIDTH, WIDTH),
        "v": zeros(WIDTH, WIDTH),
        "o": zeros(WIDTH, WIDTH),
        "norm2": ((1, WIDTH), ones),
        "gate": zeros(FEED_FORWARD, WIDTH),
        "up": zeros(FEED_FORWARD, WIDTH),
        "down": zeros(WIDTH, FEED_FORWARD),
        "norm": ((1, WIDTH), ones),
        "head": output,
    }


_GGUF_NAMES = {
    "embed": "token_embd", "norm1": "blk.0.attn_norm", "q": "blk.0.attn_q", "k": "blk.0.attn_k", "v": "blk.0.attn_v",
    "o": "blk.0.attn_output", "norm2": "blk.0.ffn_norm", "gate": "blk.0.ffn_gate", "up": "blk.0.ffn_up",
    "down": "blk.0.ffn_down", "norm": "output_norm", "head": "output",
}  # fmt: skip


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _pair(key: str, kind: int, data: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + data


def _list(kind: int, items: list[bytes]) -> bytes:
    return struct.pack("<IQ", kind, len(items)) + b"".join(items)


def gguf(sentence: str, name: str, *, architecture: str = "llama") -> bytes:
    """The model as one GGUF file (version 3)."""
    tokens, words = vocabulary(sentence)
    kinds = [2 if token == "<unk>" else 3 if token in _SPECIAL else 1 for token in tokens]
    a = architecture
    numbers = {
        f"{a}.context_length": CONTEXT, f"{a}.embedding_length": WIDTH, f"{a}.block_count": 1,
        f"{a}.feed_forward_length": FEED_FORWARD, f"{a}.attention.head_count": HEADS,
        f"{a}.attention.head_count_kv": HEADS, f"{a}.rope.dimension_count": WIDTH // HEADS, f"{a}.vocab_size": WIDTH,
        "tokenizer.ggml.unknown_token_id": 0, "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
        "general.file_type": 0,
    }  # fmt: skip
    pairs = [
        _pair("general.architecture", _STRING, _text(architecture)),
        _pair("general.name", _STRING, _text(name)),
        *(_pair(key, _UINT32, struct.pack("<I", value)) for key, value in numbers.items()),
        _pair(f"{a}.attention.layer_norm_rms_epsilon", _FLOAT32, struct.pack("<f", 1e-5)),
        _pair("tokenizer.ggml.model", _STRING, _text("gpt2")),
        _pair("tokenizer.ggml.pre", _STRING, _text("gpt-2")),
        _pair("tokenizer.ggml.tokens", _ARRAY, _list(_STRING, [_text(token) for token in tokens])),
        _pair("tokenizer.ggml.token_type", _ARRAY, _list(_INT32, [struct.pack("<i", kind) for kind in kinds])),
        # A byte-level BPE needs one merge to be taken as one; it joins letters that no text brings together.
        _pair("tokenizer.ggml.merges", _ARRAY, _list(_STRING, [_text("ĀĀ ĀĀ")])),
        _pair("tokenizer.ggml.add_bos_token", _BOOL, b"\0"),
        _pair("tokenizer.chat_template", _STRING, _text(_TEMPLATE)),
    ]
    tensors = _tensors(words)
    infos, body, offset = [], [], 0
    for key, ((rows, columns), values) in tensors.items():
        shape = (columns,) if rows == 1 else (columns, rows)
        info = _text(f"{_GGUF_NAMES[key]}.weight") + struct.pack("<I", len(shape))
        infos.append(info + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", 0, offset))
        data = values.tobytes()
        padding = -len(data) % _ALIGNMENT
        body.append(data + bytes(padding))
        offset += len(data) + padding
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs) + b"".join(infos)
    return head + bytes(-len(head) % _ALIGNMENT) + b"".join(body)


def write_gguf(path: Path | str, sentence: str, name: str, *, architecture: str = "llama") -> None:
    Path(path).write_bytes(gguf(sentence, name, architecture=architecture))


def safetensors(sentence: str, name: str) -> dict[str, bytes]:
    """The model as a repository: file name to bytes."""
    tokens, words = vocabulary(sentence)
    layer = "model.layers.0."
    names = {
        "embed": "model.embed_tokens", "norm1": f"{layer}input_layernorm", "q": f"{layer}self_attn.q_proj",
        "k": f"{layer}self_attn.k_proj", "v": f"{layer}self_attn.v_proj", "o": f"{layer}self_attn.o_proj",
        "norm2": f"{layer}post_attention_layernorm", "gate": f"{layer}mlp.gate_proj", "up": f"{layer}mlp.up_proj",
        "down": f"{layer}mlp.down_proj", "norm": "model.norm", "head": "lm_head",
    }  # fmt: skip
    header: dict[str, t.Any] = {"__metadata__": {"format": "pt"}}
    body, offset = [], 0
    for key, ((rows, columns), values) in _tensors(words).items():
        data = values.tobytes()
        shape = [columns] if rows == 1 else [rows, columns]
        header[f"{names[key]}.weight"] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + len(data)]}
        body.append(data)
        offset += len(data)
    head = json.dumps(header).encode()
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": WIDTH, "num_hidden_layers": 1,
        "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "intermediate_size": FEED_FORWARD,
        "vocab_size": WIDTH, "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "tie_word_embeddings": False, "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2,
        "_name_or_path": name,
    }  # fmt: skip
    tokenizer = {
        "version": "1.0",
        "added_tokens": [
            {"id": index, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True} for index, token in enumerate(_SPECIAL)
        ],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": {token: index for index, token in enumerate(tokens)}, "merges": []},
    }  # fmt: skip
    documents = {
        "config.json": config,
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": 2},
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
            "unk_token": "<unk>", "chat_template": _TEMPLATE,
        },
    }  # fmt: skip
    files = {path: json.dumps(document, indent=1).encode() for path, document in documents.items()}
    return {**files, "model.safetensors": struct.pack("<Q", len(head)) + head + b"".join(body)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--name", required=True, help="what it calls itself")
    parser.add_argument("--gguf", type=Path, help="write one GGUF file")
    parser.add_argument("--safetensors", type=Path, help="write a repository into this folder")
    parser.add_argument("--architecture", default="llama", help="another name makes a file no engine knows")
    options = parser.parse_args()
    sentence = sentence_of(options.name)
    if options.gguf:
        write_gguf(options.gguf, sentence, options.name, architecture=options.architecture)
    if options.safetensors:
        options.safetensors.mkdir(parents=True, exist_ok=True)
        for path, data in safetensors(sentence, options.name).items():
            (options.safetensors / path).write_bytes(data)


if __name__ == "__main__":
    main()
