# SPDX-License-Identifier: GPL-3.0-or-later
"""All places where models can be looked for, by the source they are pulled from. A new one is its file and a line."""

from __future__ import annotations

import typing as t

from .._core.catalogue_entry import Entry, Hub, HubOptions
from .catalogue_builtin import BuiltInCatalogue
from .catalogue_docker_hub import DockerHubCatalogue
from .catalogue_huggingface import HuggingFaceCatalogue
from .catalogue_ollama import OllamaCatalogue

# In this order answers are merged: what a hub says now comes before what is only known.
CATALOGUES: dict[str, type[t.Any]] = {
    HuggingFaceCatalogue.name: HuggingFaceCatalogue,
    OllamaCatalogue.name: OllamaCatalogue,
    DockerHubCatalogue.name: DockerHubCatalogue,
    BuiltInCatalogue.name: BuiltInCatalogue,
}
# The module's option for the base address of each, and the hub that its token is for.
ADDRESSES = {
    HuggingFaceCatalogue.name: "huggingface_url",
    OllamaCatalogue.name: "ollama_url",
    DockerHubCatalogue.name: "docker_hub_url",
}
WITH_TOKEN = HuggingFaceCatalogue.name


def catalogue_named(name: str, options: HubOptions) -> Hub:
    made: Hub = CATALOGUES[name](options)
    return made


def catalogue_from(name: str, params: t.Mapping[str, t.Any]) -> Hub:
    """The hub as a module's parameters have it."""
    address = params.get(ADDRESSES.get(name, "")) or ""
    token = (params.get("token") or "") if name == WITH_TOKEN else ""
    return catalogue_named(name, HubOptions(address, token, float(params["timeout"])))


def identity(provider: str, name: str) -> tuple[str, str]:
    """What two names of one model have in common."""
    known = CATALOGUES.get(provider)
    return provider, known.normal(name) if known else name


def identities(entry: Entry) -> set[tuple[str, str]]:
    return {identity(entry.provider, name) for name in entry.names}
