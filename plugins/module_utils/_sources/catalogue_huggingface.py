# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of the Hugging Face hub, with the sizes of what an engine would load."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import replace

from .._api.huggingface import endpoint_or_default
from .._api.huggingface_search import HubSearch, searching
from .._api.public_get import Deadline
from .._core.catalogue_entry import Entry, HubOptions, Listing, Query, numbered
from .._core.errors import LlmError
from .._core.hardware import parameters_label, parameters_written, quantization_in
from .._core.quantization import has_quantization
from .catalogue_threads import at_once

# Without a filter the list is of models that write text.
_USUAL = "text-generation"
_PREFERRED = ("Q4_K_M", "Q4_K_S", "MXFP4", "Q4_0", "IQ4_XS", "Q5_K_M", "Q6_K", "Q8_0", "F16", "BF16")
# Bits a weight of the types that a safetensors header names (huggingface/safetensors, `Dtype`); packed ones count as
# they are stored.
_STORED_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "BF16": 16, "F16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F4": 4,
}  # fmt: skip


class HuggingFaceCatalogue:
    """One entry a repository; of a repository of GGUF files the most usual quantization."""

    name = "huggingface"

    def __init__(self, options: HubOptions) -> None:
        self._address = endpoint_or_default(options.address)
        self._token = options.token or os.environ.get("HF_TOKEN", "")
        self.scope = {"address": self._address, "token": self._token}
        self._seconds = options.seconds

    @staticmethod
    def normal(name: str) -> str:
        return name.lower()

    def look(self, query: Query) -> Listing:
        deadline = Deadline(self._seconds)
        with searching(self._address, token=self._token, deadline=deadline) as hub:
            found = hub.models(search=query.search, tags=query.tags or (_USUAL,), sort=query.sort, limit=query.limit)
            read = at_once(lambda model: _entry(model, hub), found)
        problems = [problem for _model, problem in read if problem]
        return Listing(numbered(entry for entry, _told in read), tuple(problems[:1]))


def _entry(model: t.Any, hub: HubSearch) -> tuple[Entry, str]:
    """The entry, and a sentence where the sizes of its files could not be read."""
    told = [*(model.tags or ()), model.pipeline_tag, model.library_name]
    tags = tuple(dict.fromkeys(str(tag) for tag in told if tag))
    entry = Entry(
        provider=HuggingFaceCatalogue.name,
        model_name=str(model.id),
        display_name=re.sub(r"[-_]+", " ", str(model.id).rpartition("/")[2]),
        tags=tags,
        downloads=model.downloads,
        likes=model.likes,
    )
    if "gguf" in tags:
        return _of_gguf(entry, model, hub)
    return _of_safetensors(entry, model), ""


def _of_gguf(entry: Entry, model: t.Any, hub: HubSearch) -> tuple[Entry, str]:
    header = model.gguf if isinstance(model.gguf, dict) else {}
    count = header.get("total")
    entry = replace(
        entry,
        runtime="llama_cpp",
        parameters=parameters_written(entry.model_name) or parameters_label(count if isinstance(count, int) else None),
    )
    quantization = _usual([sibling.rfilename for sibling in model.siblings or ()])
    try:
        sizes = hub.sizes(entry.model_name)
    except LlmError as failure:
        return replace(entry, quantization=quantization), str(failure)
    quantization = quantization or _usual(list(sizes))
    size = sum(size for path, size in sizes.items() if quantization and _weights(path, quantization))
    return replace(entry, quantization=quantization, size_bytes=size or None), ""


def _usual(paths: t.Iterable[str]) -> str | None:
    files = list(paths)
    return next((word for word in _PREFERRED if any(_weights(path, word) for path in files)), None)


def _weights(path: str, quantization: str) -> bool:
    """Whether a file is part of the model itself: projectors for images lie beside it."""
    return has_quantization(path, quantization) and "mmproj" not in path.lower()


def _of_safetensors(entry: Entry, model: t.Any) -> Entry:
    stored = model.safetensors.parameters if model.safetensors else {}
    total = model.safetensors.total if model.safetensors else None
    known = bool(stored) and set(stored) <= set(_STORED_BITS)
    named = quantization_in(entry.model_name)
    return replace(
        entry,
        runtime="vllm" if stored or "safetensors" in entry.tags else None,
        # The name says it better than a count of packed numbers, which is what quantized repositories have.
        parameters=parameters_written(entry.model_name) or parameters_label(total),
        quantization=named or _main_type(stored),
        size_bytes=sum(count * _STORED_BITS[kind] for kind, count in stored.items()) // 8 if known else None,
    )


def _main_type(stored: t.Mapping[str, int]) -> str | None:
    """The type of most weights where it is one that says how exact they are: integers are packed weights."""
    main = max(stored, key=lambda kind: stored[kind], default="")
    return main if main in ("F32", "F16", "BF16") else "FP8" if main.startswith("F8") else None
