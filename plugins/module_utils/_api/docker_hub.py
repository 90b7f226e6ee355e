# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker Hub's list of a namespace's repositories and their tags (docs.docker.com/reference/api/hub/latest)."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from urllib.parse import quote

from .daemon import entries, number
from .http_client import shown
from .public_get import Deadline, get_document
from .public_refusal import no_list

DEFAULT_ADDRESS = "https://hub.docker.com"
_PAGE = 100
# Pages that are read at most: the namespace `ai` has about 110 repositories (September 2026).
_MOST_PAGES = 10


@dataclass(frozen=True)
class HubRepository:
    name: str
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
    """All repositories of models in a namespace, most pulled first.

    Raises the errors of `get_document`, and `hub_error` where the answer is no list of some.
    """
    found: list[HubRepository] = []
    url = f"{address}/v2/repositories/{quote(namespace)}/"
    for page in range(1, _MOST_PAGES + 1):
        document = _page(url, page, deadline, ordering="-pull_count")
        for record in _results(document, url):
            kinds = record.get("content_types")
            if not isinstance(kinds, list) or not kinds or "model" in kinds:
                found.append(_repository(record))
        if not document.get("next"):
            break
    if not found:
        raise no_list(shown(url), "a list without a model")
    return sorted(found, key=lambda repository: -(repository.pulls or 0))


def tags(address: str, namespace: str, name: str, deadline: Deadline) -> list[HubTag]:
    """The newest tags of a repository; raises as `repositories` does."""
    url = f"{address}/v2/repositories/{quote(namespace)}/{quote(name)}/tags"
    document = _page(url, 1, deadline, model=f"{namespace}/{name}")
    return [
        HubTag(record["name"], number(record.get("full_size")) or None, str(record.get("digest") or ""))
        for record in _results(document, url)
    ]


def _results(document: t.Mapping[str, t.Any], url: str) -> list[dict[str, t.Any]]:
    """The records of a page, each with a name; Go writes an empty list as null."""
    if "results" in document and document["results"] is None:
        return []
    found = document.get("results")
    if not isinstance(found, list) or not all(
        isinstance(record, dict) and isinstance(record.get("name"), str) and record["name"] for record in found
    ):
        raise no_list(shown(url), "something that is no list of names")
    return found


def _page(url: str, page: int, deadline: Deadline, *, model: str = "", **more: str) -> dict[str, t.Any]:
    # The address of the next page that the answer names is not followed: a mirror would send us past itself.
    return get_document(url, deadline, params={"page_size": str(_PAGE), "page": str(page), **more}, model=model)


def _repository(record: t.Mapping[str, t.Any]) -> HubRepository:
    slugs = (category.get("slug") for category in entries(record.get("categories")))
    return HubRepository(
        record["name"],
        _count(record.get("pull_count")),
        _count(record.get("star_count")),
        tuple(slug for slug in slugs if slug and isinstance(slug, str)),
    )


def _count(found: t.Any) -> int | None:
    return found if isinstance(found, int) and not isinstance(found, bool) else None
