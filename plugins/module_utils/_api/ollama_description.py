# SPDX-License-Identifier: GPL-3.0-or-later
"""What an Ollama registry says of a model without its weights, in the form in which a server shows one that it has.

Facts are of Ollama's `types/model/config.go`: the configuration names family, size and quantization, may name the
context (of models that run elsewhere) and capabilities; the template is a layer of its own.
"""

from __future__ import annotations

import json
import typing as t

from .ollama_registry import Blob, ollama_blob, ollama_manifest

_TEMPLATE = "application/vnd.ollama.image.template"
# Bytes that a configuration or a template may have; real ones have a few thousand.
_LONGEST = 1024**2


def ollama_description(name: str, *, insecure: bool, timeout: float) -> dict[str, t.Any]:
    """`template`, `details`, `model_info` and perhaps `capabilities`; raises as `ollama_manifest` does."""
    manifest = ollama_manifest(name, insecure=insecure, timeout=timeout)

    def bytes_of(blob: Blob) -> bytes:
        return ollama_blob(name, blob, longest=_LONGEST, insecure=insecure, timeout=timeout)

    config = _object(bytes_of(manifest.config))
    template = next((layer for layer in manifest.layers if layer.media_type == _TEMPLATE), None)
    family = str(config.get("model_family") or "")
    told: dict[str, t.Any] = {
        "details": {"family": family, "quantization_level": config.get("file_type")},
        "model_info": {"general.architecture": family, f"{family}.context_length": config.get("context_length")},
    }
    if template is not None:
        told["template"] = bytes_of(template).decode("utf-8", "replace")
    # A list that nobody declared is a hint alone: the server finds more.
    if config.get("capabilities_explicit") is True:
        told["capabilities"] = config.get("capabilities")
    return told


def _object(body: bytes) -> dict[str, t.Any]:
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}
