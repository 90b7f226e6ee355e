# SPDX-License-Identifier: GPL-3.0-or-later
"""What of an installed model decides where it fits, read from its files."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import replace
from pathlib import Path

from .._core.capabilities import LLAMA_FTYPE
from .._core.gguf import read_metadata
from .._core.model import InstalledModel
from .._core.traits import GGUF, SAFETENSORS, Traits, from_config, from_gguf

_PART = re.compile(r"-\d{5}-of-(\d{5})\.gguf$", re.IGNORECASE)


def read_traits(record: InstalledModel) -> Traits:
    """As far as its files say it; for a model that a program keeps, as far as the record does.

    Files that are gone or in no form that is understood leave unknown what they would have said.
    """
    sizes = {entry.path: entry.size for entry in record.files} if record.root else {}
    # A projector is loaded only where it is asked for.
    weights = sorted(path for path in sizes if path.lower().endswith(".gguf") and "mmproj" not in path.lower())
    if weights:
        found = _of_gguf(Path(record.root), weights, sizes)
    elif sizes:
        found = _of_repository(Path(record.root), sizes)
    else:
        found = _of_record(record)
    # The user's own word is above what is read.
    own = record.capabilities_override.get("max_context_length")
    return replace(found, max_context=own) if isinstance(own, int) else found


def _of_gguf(root: Path, paths: t.Sequence[str], sizes: t.Mapping[str, int]) -> Traits:
    first = paths[0]
    parts = [path for path in paths if _PART.sub(r"-of-\1", path) == _PART.sub(r"-of-\1", first)]
    weights_bytes = sum(sizes[path] for path in parts)
    try:
        with (root / first).open("rb") as file:
            return from_gguf(read_metadata(file), weights_bytes)
    except (OSError, ValueError):
        return Traits(format=GGUF, weights_bytes=weights_bytes)


def _of_repository(root: Path, sizes: t.Mapping[str, int]) -> Traits:
    weights = _loaded(sizes)
    weights_bytes = sum(sizes[path] for path in weights) or None
    form = SAFETENSORS if any(path.endswith(".safetensors") for path in weights) else None
    try:
        config = json.loads((root / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = None
    read = from_config(config, weights_bytes) if isinstance(config, dict) else Traits(weights_bytes=weights_bytes)
    return replace(read, format=form)


def _loaded(sizes: t.Mapping[str, int]) -> list[str]:
    """Files of weights. Folders, and a second set beside `model*` (Mistral's `consolidated`), are other copies."""
    top = [path for path in sizes if "/" not in path]
    tensors = [path for path in top if path.endswith(".safetensors")]
    return (
        [path for path in tensors if path.startswith("model")]
        or tensors
        or [path for path in top if path.startswith("pytorch_model") and path.endswith(".bin")]
    )


def _of_record(record: InstalledModel) -> Traits:
    told = record.capabilities_read
    quantization, context = told.get("quantization"), told.get("max_context_length")
    # These words are of that format alone.
    form = GGUF if quantization in LLAMA_FTYPE.values() else None
    return Traits(
        format=form,
        quantization=quantization if isinstance(quantization, str) else None,
        max_context=context if isinstance(context, int) else None,
        weights_bytes=record.size or None,
    )
