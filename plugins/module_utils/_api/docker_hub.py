# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker Hub's list of a namespace's repositories and their tags (docs.docker.com/reference/api/hub/latest)."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from urllib.parse import quote

from .daemon import entries, number
from .public_get import Deadline, get_document

DEFAULT_ADDRESS = "https://hub.docker.com"
_PAGE = 100
# Pages that are read at most: the namespace `ai` has about 110 repositories (September 2026).
_MOST_PAGES = 10


@dataclass(frozen=True)
class HubRepository:
    name: str
    description: str
    pulls: int | None
    stars: int | None
    categories: tuple[str, ...]


@dataclass(frozen=True)
class HubTag:
    """One tag; tags of one digest are the same bytes."""

    tag: str
    size: int | None
    digest: str


def repositories(address: str, namespace: str, deadline: Deadline) -> list[HubRepository]:
    """All repositories of models in a namespace, most pulled first; raises the errors of `get_document`."""
    found: list[HubRepository] = []
    for page in range(1, _MOST_PAGES + 1):
        document = _page(f"{address}/v2/repositories/{quote(namespace)}/", page, deadline, ordering="-pull_count")
        for record in entries(document.get("results")):
            kinds = record.get("content_types")
            if record.get("name") and (not isinstance(kinds, list) or not kinds or "model" in kinds):
                found.append(_repository(record))
        if not document.get("next"):
            break
    return sorted(found, key=lambda repository: -(repository.pulls or 0))


def tags(address: str, namespace: str, name: str, deadline: Deadline) -> list[HubTag]:
    """The newest tags of a repository; raises the errors of `get_document`."""
    document = _page(f"{address}/v2/repositories/{quote(namespace)}/{quote(name)}/tags", 1, deadline)
    return [
        HubTag(str(record["name"]), number(record.get("full_size")) or None, str(record.get("digest") or ""))
        for record in entries(document.get("results"))
        if record.get("name")
    ]


def _page(url: str, page: int, deadline: Deadline, **more: str) -> dict[str, t.Any]:
    # The address of the next page that the answer names is not followed: a mirror would send us past itself.
    return get_document(url, deadline, params={"page_size": str(_PAGE), "page": str(page), **more})


def _repository(record: t.Mapping[str, t.Any]) -> HubRepository:
    categories = (str(category.get("slug") or "") for category in entries(record.get("categories")))
    return HubRepository(
        str(record["name"]),
        str(record.get("description") or ""),
        number(record["pull_count"]) if "pull_count" in record else None,
        number(record["star_count"]) if "star_count" in record else None,
        tuple(slug for slug in categories if slug),
    )
