# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model can take, from what a Hugging Face hub itself read of its files: nothing is brought for it."""

from __future__ import annotations

import typing as t

from .._api.huggingface import endpoint_or_default, model_facts
from .._core.capabilities import LLAMA_FTYPE, Render, from_config, from_gguf
from .._core.ports import SourceOptions

# The names under which programs that keep models know the hub.
HUB_HOSTS = ("huggingface.co", "hf.co", "www.huggingface.co")


def described_by_hub(model: str, revision: str, options: SourceOptions, render: Render) -> dict[str, t.Any]:
    """From the GGUF header, or from config and tokenizer's config. Raises the hub's errors."""
    told = model_facts(
        endpoint_or_default(options.endpoint), model, revision, token=options.token, timeout=options.timeout
    )
    gguf, config = _mapping(told.get("gguf")), _mapping(told.get("config"))
    if not gguf:
        template = config.get("chat_template_jinja")
        return from_config(
            config, _mapping(config.get("tokenizer_config")), template if isinstance(template, str) else None, render
        )
    architecture = str(gguf.get("architecture") or "")
    header = {
        "general.architecture": architecture,
        f"{architecture}.context_length": gguf.get("context_length"),
        "tokenizer.chat_template": gguf.get("chat_template"),
    }
    return from_gguf({key: value for key, value in header.items() if value is not None}, render)


def described_for_program(model: str, quantization: str, options: SourceOptions, render: Render) -> dict[str, t.Any]:
    """The same for a model that a program would bring from the hub, in the quantization that its name says.

    The program's address and token are not the hub's, so the hub gets neither.
    """
    told = described_by_hub(model, "main", SourceOptions(timeout=options.timeout), render)
    if told.get("quantization") is None and quantization.upper() in LLAMA_FTYPE.values():
        told["quantization"] = quantization.upper()
    return told


def _mapping(found: t.Any) -> dict[str, t.Any]:
    return found if isinstance(found, dict) else {}
