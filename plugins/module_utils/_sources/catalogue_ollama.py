# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of Ollama's library."""

from __future__ import annotations

import typing as t
from functools import partial

from .._api import ollama_library
from .._api.ollama import normal_name
from .._api.ollama_library import LibraryModel, LibraryTag
from .._api.public_get import Deadline
from .._core.catalogue_entry import Entry, HubOptions, Listing, Query
from .._core.hardware import parameters_written, quantization_in
from .catalogue_docker_hub import label
from .catalogue_families import expanded


class OllamaCatalogue:
    """One entry for each size of a family. The library knows no likes; its own order is by popularity."""

    name = "ollama"

    def __init__(self, options: HubOptions) -> None:
        self._address = (options.address or ollama_library.DEFAULT_ADDRESS).rstrip("/")
        self.scope = {"address": self._address}
        self._seconds = options.seconds

    @staticmethod
    def normal(name: str) -> str:
        return normal_name(name).lower()

    def look(self, query: Query) -> Listing:
        deadline = Deadline(self._seconds)
        family = query.of_families(sized=True)
        wanted = [
            model
            for model in ollama_library.list_models(self._address, deadline)
            if family.found_in(model.name, label(model.name, None), *model.sizes, *model.capabilities)
            and query.tagged(model.capabilities)
        ]
        if query.sort == "downloads":
            wanted.sort(key=lambda model: -(model.pulls or 0))
        return expanded(wanted, partial(self._members, deadline=deadline), _plain, query)

    def _members(self, model: LibraryModel, *, deadline: Deadline) -> t.Sequence[Entry]:
        tags = {tag.tag.lower(): tag for tag in ollama_library.list_tags(self._address, model.name, deadline)}
        sizes = model.sizes or ("latest",)
        # A size without a tag of its own, or in the cloud only, cannot be pulled.
        offered = [tags[size] for size in sizes if size in tags and tags[size].size is not None]
        return [_entry(model, tag, tuple(tags.values())) for tag in offered]


def _entry(model: LibraryModel, tag: LibraryTag, tags: t.Sequence[LibraryTag]) -> Entry:
    same = [other.tag for other in tags if other.digest and other.digest == tag.digest and other.tag != tag.tag]
    named = [quantization_in(word) for word in (tag.tag, *same)]
    parameters = next((word for word in map(parameters_written, (tag.tag, *same)) if word), None)
    return Entry(
        provider=OllamaCatalogue.name,
        model_name=f"{model.name}:{tag.tag}",
        display_name=label(model.name, parameters),
        size_bytes=tag.size,
        runtime=OllamaCatalogue.name,
        tags=model.capabilities,
        downloads=model.pulls,
        quantization=next((word for word in named if word), None),
        parameters=parameters,
        aliases=tuple(f"{model.name}:{other}" for other in same),
    )


def _plain(model: LibraryModel) -> t.Sequence[Entry]:
    bare = [LibraryTag(size, None, "") for size in model.sizes or ("latest",)]
    return [_entry(model, tag, ()) for tag in bare]
