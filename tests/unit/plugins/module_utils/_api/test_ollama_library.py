# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama's pages as they were saved, and ones that have changed."""

from __future__ import annotations

import builtins
import typing as t

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._api.ollama_library import (
    LibraryModel,
    LibraryTag,
    parse_library,
    parse_tags,
)
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from catalogue_hubs import SAVED

PLACE = "https://ollama.com/library"
LIBRARY = (SAVED / "ollama" / "library.html").read_text()
TAGS = (SAVED / "ollama" / "llama3.2.html").read_text()


def test_the_library_is_read() -> None:
    models = {model.name: model for model in parse_library(LIBRARY, PLACE)}
    assert list(models) == ["llama3.2", "qwen2.5", "nomic-embed-text", "gpt-oss"]
    assert models["qwen2.5"] == LibraryModel(
        "qwen2.5",
        ("0.5b", "7b", "72b"),
        ("tools",),
        21_300_000,
    )
    assert models["gpt-oss"].pulls == 9_876_543
    assert models["nomic-embed-text"].sizes == ()


def test_tags_are_read_with_size_and_digest() -> None:
    tags = {tag.tag: tag for tag in parse_tags(TAGS, "llama3.2", PLACE)}
    assert tags["3b"] == LibraryTag("3b", 2_000_000_000, "a80c4f17acd5")
    assert tags["latest"].digest == tags["3b-instruct-q4_K_M"].digest == tags["3b"].digest
    assert tags["1b"].size == 1_300_000_000


def test_a_tag_of_the_cloud_has_no_size() -> None:
    page = (SAVED / "ollama" / "gpt-oss.html").read_text()
    tags = {tag.tag: tag.size for tag in parse_tags(page, "gpt-oss", PLACE)}
    assert tags == {"latest": 14_000_000_000, "20b": 14_000_000_000, "120b": 65_000_000_000, "20b-cloud": None}
    alone = (
        page.replace("GB", "").replace(":latest", ":x-cloud").replace(':20b"', ':y-cloud"').replace(":120b", ":z-cloud")
    )
    assert all(tag.size is None for tag in parse_tags(alone, "gpt-oss", PLACE))


@pytest.mark.parametrize(
    "change",
    [
        lambda _page: "",
        lambda _page: "<html><body>We are moving</body></html>",
        lambda page: page.replace("x-test-model ", "x-test-card "),
        lambda page: page.replace('href="/library/', 'href="/models/'),
        lambda page: page.replace("x-test-pull-count", "x-test-downloads"),
        lambda _page: '{"models": []}',
    ],
    ids=["nothing", "another page", "no marks", "other links", "no pulls", "an API at last"],
)
def test_a_changed_library_is_told_as_such(change: t.Callable[[str], str]) -> None:
    with pytest.raises(LlmError, match="is not built as it was") as caught:
        parse_library(change(LIBRARY), PLACE)
    assert caught.value.reason == "page_changed"
    assert PLACE in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda _page: "",
        lambda page: page.replace("GB", "gigabytes"),
        lambda page: page.replace("llama3.2:", "llama3.2/"),
    ],
    ids=["nothing", "no sizes", "other links"],
)
def test_changed_tags_are_told_as_such(change: t.Callable[[str], str]) -> None:
    with pytest.raises(LlmError, match="is not built as it was"):
        parse_tags(change(TAGS), "llama3.2", PLACE)


def test_other_styles_and_more_around_it_do_not_matter() -> None:
    dressed = (
        LIBRARY.replace('class="flex', 'data-x="1" class="grid')
        .replace("<ul", "<section><ul")
        .replace("</ul>", "</ul></section>")
    )
    assert parse_library(dressed, PLACE) == parse_library(LIBRARY, PLACE)
    narrow = TAGS.replace("md:hidden", "sm:hidden").replace(" · ", " • ")
    assert parse_tags(narrow, "llama3.2", PLACE) == parse_tags(TAGS, "llama3.2", PLACE)


def test_a_missing_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: t.Any, **words: t.Any) -> t.Any:
        if name == "bs4":
            raise ImportError("No module named 'bs4'")
        return real(name, *arguments, **words)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(LlmError, match="Install beautifulsoup4") as caught:
        parse_library(LIBRARY, PLACE)
    assert caught.value.reason == "library_missing"
