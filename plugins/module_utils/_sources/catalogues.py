# SPDX-License-Identifier: GPL-3.0-or-later
"""All places where models can be looked for, by the source they are pulled from. A new one is its file and a line."""

from __future__ import annotations

import re
import typing as t
from urllib.parse import urlsplit

from .._core.catalogue_answer import HostModel
from .._core.catalogue_entry import Entry, Hub, HubOptions
from .._core.errors import LlmError
from .catalogue_builtin import BuiltInCatalogue
from .catalogue_docker_hub import DockerHubCatalogue
from .catalogue_huggingface import HuggingFaceCatalogue
from .catalogue_ollama import OllamaCatalogue
from .lm_studio import LmStudio

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
    hub = catalogue_named(name, HubOptions(address, token, float(params["timeout"])))
    if hub.scope and not address:
        check_address(hub.scope["address"], f"The address of {name} in the controller's environment")
    return hub


def check_address(address: str, subject: str) -> None:
    """Raises `invalid_input`; the address is not in the message, since credentials may be in it."""
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or re.search(r"\s", address):
        raise LlmError(
            "invalid_input",
            f"{subject} is no base address: it must begin with http:// or https:// and a host, and have no query.",
        )


def identity(provider: str, name: str) -> tuple[str, str]:
    """What two names of one model have in common."""
    known = CATALOGUES.get(provider)
    return provider, known.normal(name) if known else name


def identities(entry: Entry) -> set[tuple[str, str]]:
    return {identity(entry.provider, name) for name in entry.names}


def identities_of_held(model: HostModel) -> set[tuple[str, str]]:
    """All names under which hubs may offer what a host has."""
    if model.provider != LmStudio.name:
        return {identity(model.provider, model.model)}
    # Its models are repositories of the Hugging Face hub: called by their address, or without publisher and "-GGUF".
    publisher, _slash, name = re.sub(r"^https://[^/]+/", "", model.model).rpartition("/")
    ends = ("-GGUF",) if model.format == "gguf" else ("",) if model.format else ("", "-GGUF")
    names = {f"{publisher or model.publisher}/{name}{end}" for end in ends}
    return {identity(HuggingFaceCatalogue.name, name) for name in names}
