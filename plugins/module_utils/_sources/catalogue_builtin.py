# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that are known without a network: well-tried ones of Docker's namespace `ai`, with their sizes."""

from __future__ import annotations

from .._core.catalogue_entry import BUILT_IN, Entry, HubOptions, Listing, Query
from .._core.model import GB
from .catalogue_docker_hub import DockerHubCatalogue, label

# Name and size in GB.
MODELS = (
    ("ai/llama3.2:3B-Q4_K_M", 2.0),
    ("ai/qwen2.5:7B-Q4_K_M", 4.4),
    ("ai/mistral:7B-Q4_K_M", 4.4),
    ("ai/llama3.1:8B-Q4_K_M", 4.9),
    ("ai/gemma2:9B-Q4_K_M", 5.4),
    ("ai/qwen2.5:14B-Q4_K_M", 8.9),
)


class BuiltInCatalogue:
    """The same list everywhere and always."""

    name = BUILT_IN

    def __init__(self, options: HubOptions) -> None:
        del options
        self.scope: dict[str, str] = {}

    @staticmethod
    def normal(name: str) -> str:
        return DockerHubCatalogue.normal(name)

    def look(self, query: Query) -> Listing:
        """All of it: what matches is chosen where answers are merged."""
        del query
        return Listing(tuple(_entry(name, size) for name, size in MODELS))


def _entry(name: str, size: float) -> Entry:
    model, _colon, tag = name.rpartition(":")
    parameters, _dash, quantization = tag.partition("-")
    return Entry(
        provider=DockerHubCatalogue.name,
        model_name=name,
        display_name=label(model, parameters),
        size_bytes=round(size * GB),
        runtime=DockerHubCatalogue.name,
        tags=("gguf", "text-generation", BUILT_IN),
        quantization=quantization,
        parameters=parameters,
    )
