# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of the Hugging Face hub, with the sizes of what an engine would load."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import replace

from .._api.huggingface import endpoint_or_default
from .._api.huggingface_search import FoundModel, HubSearch, searching
from .._api.public_get import Deadline
from .._api.public_refusal import hub_at, no_list
from .._core.catalogue_entry import Entry, HubOptions, Listing, Query, numbered
from .._core.errors import LlmError
from .._core.hardware import parameters_label, parameters_written, quantization_in
from .._core.weights import bytes_loaded, usual_quantization
from .catalogue_threads import at_once

# Without a filter the list is of models that write text.
_USUAL = "text-generation"
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
            if not found and not query.search and not query.tags:
                # Who searches may find nothing; of all models that write text there are some.
                raise no_list(hub_at(self._address), "a list without a model")
            read = at_once(lambda model: _entry(model, hub), found)
        problems = [problem for _model, problem in read if problem]
        return Listing(numbered(entry for entry, _told in read), tuple(problems[:1]))


def _entry(model: FoundModel, hub: HubSearch) -> tuple[Entry, str]:
    """The entry, and a sentence where the sizes of its files could not be read."""
    entry = Entry(
        provider=HuggingFaceCatalogue.name,
        model_name=model.name,
        display_name=re.sub(r"[-_]+", " ", model.name.rpartition("/")[2]),
        tags=model.tags,
        downloads=model.downloads,
        likes=model.likes,
    )
    return _of_gguf(entry, model, hub) if "gguf" in model.tags else (_of_safetensors(entry, model), "")


def _of_gguf(entry: Entry, model: FoundModel, hub: HubSearch) -> tuple[Entry, str]:
    entry = replace(
        entry,
        runtime="llama_cpp",
        parameters=parameters_written(entry.model_name) or parameters_label(model.gguf_weights),
        quantization=usual_quantization(model.files),
    )
    try:
        sizes = hub.sizes(entry.model_name)
    except LlmError as failure:
        return entry, str(failure)
    quantization = entry.quantization or usual_quantization(sizes)
    return replace(entry, quantization=quantization, size_bytes=bytes_loaded(sizes, quantization or "")), ""


def _of_safetensors(entry: Entry, model: FoundModel) -> Entry:
    stored = model.stored
    known = bool(stored) and set(stored) <= set(_STORED_BITS)
    return replace(
        entry,
        runtime="vllm" if stored or "safetensors" in entry.tags else None,
        # The name says it better than a count of packed numbers, which is what quantized repositories have.
        parameters=parameters_written(entry.model_name) or parameters_label(model.stored_weights),
        quantization=quantization_in(entry.model_name) or _main_type(stored),
        size_bytes=sum(count * _STORED_BITS[kind] for kind, count in stored.items()) // 8 if known else None,
    )


def _main_type(stored: t.Mapping[str, int]) -> str | None:
    """The type of most weights where it is one that says how exact they are: integers are packed weights."""
    main = max(stored, key=lambda kind: stored[kind], default="")
    return main if main in ("F32", "F16", "BF16") else "FP8" if main.startswith("F8") else None
