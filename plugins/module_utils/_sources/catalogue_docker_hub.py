# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of Docker Hub's namespace `ai`, for Docker Model Runner."""

from __future__ import annotations

import re
import typing as t
from functools import partial

from .._api import docker_hub
from .._api.docker_hub import HubRepository, HubTag
from .._api.docker_model_runner import normal_reference
from .._api.public_get import Deadline
from .._core.catalogue_entry import Entry, HubOptions, Listing, Query
from .._core.hardware import parameters_in, parameters_written, quantization_in
from .catalogue_families import expanded

_NAMESPACE = "ai"
# One quantization a size is listed; the first of these that there is.
_PREFERRED = ("Q4_K_M", "MXFP4", "Q4_0", "Q8_0", "F16", "BF16")
# Smaller than any model: what the hub calls a size where it does not count an artifact's layers.
_SMALLEST = 1_000_000


class DockerHubCatalogue:
    """One entry for each size of a repository."""

    name = "docker_model_runner"

    def __init__(self, options: HubOptions) -> None:
        self._address = (options.address or docker_hub.DEFAULT_ADDRESS).rstrip("/")
        self.scope = {"address": self._address}
        self._seconds = options.seconds

    @staticmethod
    def normal(name: str) -> str:
        return normal_reference(name)

    def look(self, query: Query) -> Listing:
        deadline = Deadline(self._seconds)
        family = query.of_families()
        listed = docker_hub.repositories(self._address, _NAMESPACE, deadline)
        if query.sort == "likes":
            listed.sort(key=lambda repository: -(repository.stars or 0))
        wanted = [
            repository
            for repository in listed
            if family.found_in(f"{_NAMESPACE}/{repository.name}", *_tags(repository))
            and query.tagged(_tags(repository))
        ]
        return expanded(wanted, partial(self._members, deadline=deadline), _plain, query)

    def _members(self, repository: HubRepository, *, deadline: Deadline) -> t.Sequence[Entry]:
        tags = docker_hub.tags(self._address, _NAMESPACE, repository.name, deadline)
        return [_entry(repository, chosen, tags) for chosen in _chosen(tags)] or _plain(repository)


def label(model: str, parameters: str | None) -> str:
    """`ai/llama3.2` of 3B is Llama 3.2 3B."""
    words = re.sub(r"(?<=[a-z])(?=\d)|[-_]", " ", model.rpartition("/")[2]).split()
    return " ".join([word[:1].upper() + word[1:] for word in words] + ([parameters] if parameters else []))


def _tags(repository: HubRepository) -> tuple[str, ...]:
    return tuple(dict.fromkeys(repository.categories))


def _chosen(tags: t.Sequence[HubTag]) -> list[HubTag]:
    """For each number of weights the tag of the preferred quantization, in the order of sizes."""
    best: dict[float, HubTag] = {}
    for tag in tags:
        count = parameters_in(tag.tag)
        if count is not None and (count not in best or _preference(tag) < _preference(best[count])):
            best[count] = tag
    return [best[count] for count in sorted(best)]


def _preference(tag: HubTag) -> tuple[int, str]:
    quantization = quantization_in(tag.tag) or ""
    return (_PREFERRED.index(quantization) if quantization in _PREFERRED else len(_PREFERRED)), tag.tag


def _entry(repository: HubRepository, chosen: HubTag, tags: t.Sequence[HubTag]) -> Entry:
    name = f"{_NAMESPACE}/{repository.name}"
    parameters = parameters_written(chosen.tag)
    quantization = quantization_in(chosen.tag)
    same = [tag.tag for tag in tags if tag.digest and tag.digest == chosen.digest and tag.tag != chosen.tag]
    return Entry(
        provider=DockerHubCatalogue.name,
        model_name=f"{name}:{chosen.tag}",
        display_name=label(name, parameters),
        size_bytes=chosen.size if chosen.size and chosen.size >= _SMALLEST else None,
        # The runner has vLLM for safetensors too; which one serves a tag is its own affair.
        runtime=DockerHubCatalogue.name,
        tags=_tags(repository),
        downloads=repository.pulls,
        likes=repository.stars,
        quantization=quantization,
        parameters=parameters,
        aliases=tuple(f"{name}:{tag}" for tag in same),
    )


def _plain(repository: HubRepository) -> t.Sequence[Entry]:
    name = f"{_NAMESPACE}/{repository.name}"
    return [
        Entry(
            provider=DockerHubCatalogue.name,
            model_name=name,
            display_name=label(name, None),
            runtime=DockerHubCatalogue.name,
            tags=_tags(repository),
            downloads=repository.pulls,
            likes=repository.stars,
        )
    ]
