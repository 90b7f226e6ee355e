# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama's library of models, read from its web pages: it has no API for searching (ollama/ollama issue 9142).

The only file that knows how these pages are built. `/library` lists every model as `li[x-test-model]` with a link to
`/library/<name>` and `x-test-size`, `x-test-capability` and `x-test-pull-count` inside; `/library/<name>/tags` links to
`/library/<name>:<tag>` for every tag, with the first 12 digits of its digest, its size and its context in the same row
(as the pages were in September 2026). The marks `x-test-…` are the site's own handles for tests, steadier than classes.
"""

from __future__ import annotations

import re
import sys
import typing as t
from dataclasses import dataclass
from urllib.parse import quote

from .._core.errors import LlmError
from .daemon import size_of
from .http_client import shown
from .public_get import Deadline, get_text
from .public_refusal import no_list

DEFAULT_ADDRESS = "https://ollama.com"
_NAME = re.compile(r"/library/([\w.-]+)/?")
_DIGEST = re.compile(r"\b[0-9a-f]{12}\b")
_SIZE = re.compile(r"\b(\d+(?:\.\d+)?)\s*([KMGT]B)\b")
_PULLS = re.compile(r"([\d.,]+)\s*([KMB]?)", re.IGNORECASE)
_SCALE = {"": 1, "K": 1_000, "M": 1_000_000, "B": 1_000_000_000}


@dataclass(frozen=True)
class LibraryModel:
    """A family of the library: `sizes` are tags (`7b`), `capabilities` words such as `tools`."""

    name: str
    sizes: tuple[str, ...]
    capabilities: tuple[str, ...]
    pulls: int | None


@dataclass(frozen=True)
class LibraryTag:
    """One tag; tags of one digest are the same bytes. No size: it runs in Ollama's cloud only."""

    tag: str
    size: int | None
    digest: str


def list_models(address: str, deadline: Deadline) -> list[LibraryModel]:
    """The whole library, most popular first; raises `page_changed` and the errors of `get_text`."""
    url = f"{address}/library"
    return parse_library(_page(url, deadline), shown(url))


def list_tags(address: str, model: str, deadline: Deadline) -> list[LibraryTag]:
    """All tags of a model; raises as `list_models` does."""
    url = f"{address}/library/{quote(model)}/tags"
    return parse_tags(_page(url, deadline, model), model, shown(url))


def _page(url: str, deadline: Deadline, model: str = "") -> str:
    page = get_text(url, deadline, model=model)
    # Not a page that has changed: something else answers.
    if "<" not in page:
        raise no_list(shown(url), "something that is no page")
    return page


def parse_library(page: str, place: str) -> list[LibraryModel]:
    found: dict[str, LibraryModel] = {}
    items = _soup(page).select("li[x-test-model]")
    for item in items:
        link = item.select_one('a[href^="/library/"]')
        name = _NAME.fullmatch(link["href"]) if link else None
        if name is None:
            continue
        found[name[1]] = LibraryModel(
            name[1],
            tuple(_text(mark).lower() for mark in item.select("[x-test-size]")),
            tuple(_text(mark).lower() for mark in item.select("[x-test-capability]")),
            _pulls(item.select_one("[x-test-pull-count]")),
        )
    # Parts that are gone one by one are a changed page too: an empty column must not pass for "nobody knows".
    if not found or all(model.pulls is None for model in found.values()):
        raise _changed(place, f"{len(items)} models were found on it, {len(found)} of them with a name")
    return list(found.values())


def parse_tags(page: str, model: str, place: str) -> list[LibraryTag]:
    start = f"/library/{model}:"
    found: dict[str, LibraryTag] = {}
    links = _soup(page).select(f'a[href^="{start}"]')
    for link in links:
        tag = str(link["href"])[len(start) :]
        row = _row(link, start)
        size, digest = _SIZE.search(row), _DIGEST.search(row)
        known = found.get(tag)
        # A page may show a tag twice, for narrow and for wide screens, each with a part of what is known.
        found[tag] = LibraryTag(
            tag,
            size_of(f"{size[1]} {size[2]}") if size else known.size if known else None,
            digest[0] if digest else known.digest if known else "",
        )
    if not found or all(tag.size is None for tag in found.values() if "cloud" not in tag.tag):
        if found and all("cloud" in tag.tag for tag in found.values()):
            return list(found.values())
        raise _changed(place, f"{len(found)} tags were found on it, none with a size")
    return list(found.values())


def _row(link: t.Any, start: str) -> str:
    """The text of the widest part of the page around a link that is about this tag alone."""
    row = link
    while row.parent is not None:
        others = {other["href"] for other in row.parent.select(f'a[href^="{start}"]')}
        if others != {link["href"]}:
            break
        row = row.parent
    return _text(row)


def _pulls(mark: t.Any) -> int | None:
    """`110.4M` as a number."""
    found = _PULLS.fullmatch(_text(mark)) if mark else None
    if not found or not re.fullmatch(r"\d+(\.\d+)?", found[1].replace(",", "")):
        return None
    return round(float(found[1].replace(",", "")) * _SCALE[found[2].upper()])


def _text(element: t.Any) -> str:
    return " ".join(str(element.get_text(" ")).split())


def _soup(page: str) -> t.Any:
    try:
        from bs4 import BeautifulSoup
    except ImportError as cause:
        raise LlmError(
            "library_missing",
            f"The Python library beautifulsoup4, which reads the pages of Ollama's library, is not there for "
            f"{sys.executable}: {cause}.",
            remedy="Install beautifulsoup4 for that interpreter, or leave this source out.",
        ) from cause
    return BeautifulSoup(page, "html.parser")


def _changed(place: str, seen: str) -> LlmError:
    return LlmError("page_changed", f"The page {place} is not built as it was: {seen}.")
