# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of catalogues: kept and read, matched, merged and sorted."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.catalogue_entry import Entry, Query, merged, numbered

SMALL = Entry("here", "a/small", "Small", size_bytes=10**9, tags=("chat",), downloads=5, likes=None, rank=0)
LARGE = Entry("here", "a/large", "Large", size_bytes=10**10, tags=("chat", "Tools"), downloads=50, likes=2, rank=1)
ODD = Entry("there", "b/odd", "An odd one", tags=(), downloads=None, likes=9, rank=0)
KNOWN = Entry("there", "b/known", "Known", size_bytes=10**8)


def names(entries: t.Iterable[Entry]) -> list[str]:
    return [entry.model_name.rpartition("/")[2] for entry in entries]


def merge(query: Query, *answers: t.Sequence[Entry]) -> list[str]:
    return names(merged(answers or ([SMALL, LARGE], [ODD], [KNOWN]), query, lambda entry: entry.model_name))


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("downloads", ["large", "small", "odd", "known"]),
        ("likes", ["odd", "large", "small", "known"]),
        ("trending", ["small", "odd", "large", "known"]),
        ("size", ["known", "small", "large", "odd"]),
        ("name", ["odd", "known", "large", "small"]),
    ],
)
def test_orders_put_what_is_unknown_last(sort: str, order: list[str]) -> None:
    assert merge(Query(sort=sort)) == order
    assert merge(Query(sort=sort, limit=2)) == order[:2]


def test_a_model_is_there_once_and_the_first_word_on_it_counts() -> None:
    later = Entry("there", "a/small", "Small from elsewhere", downloads=10**9)
    assert merge(Query(), [SMALL], [later, ODD]) == ["small", "odd"]


def test_every_word_and_every_tag_must_be_there_in_any_case() -> None:
    assert merge(Query(search="A LARGE")) == ["large"]
    assert merge(Query(search="large small")) == []
    assert merge(Query(search="tools")) == ["large"]
    assert merge(Query(tags=("CHAT",))) == ["large", "small"]
    assert merge(Query(tags=("chat", "tools"))) == ["large"]


def test_an_entry_comes_back_as_it_was_kept() -> None:
    entry = Entry("here", "a", "A", 1, "engine", ("x", "y"), 2, 3, "Q4_K_M", "7B", ("b",), 4)
    assert Entry.from_dict(json.loads(json.dumps(entry.as_dict()))) == entry
    assert Entry.from_dict({**entry.as_dict(), "of a later version": 1}) == entry


@pytest.mark.parametrize(
    "change",
    [{"model_name": None}, {"provider": 5}, {"size_bytes": "5"}, {"downloads": True}, {"likes": 0.5}, {"tags": "chat"},
     {"tags": [1]}, {"aliases": 5}, {"quantization": []}, {"display_name": {}}, {"rank": "1"}, {"runtime": False}],
)  # fmt: skip
def test_a_kept_field_of_another_type_is_refused(change: dict[str, t.Any]) -> None:
    with pytest.raises(ValueError):
        Entry.from_dict({**SMALL.as_dict(), **change})


def test_the_record_has_the_promised_fields() -> None:
    shown = LARGE.shown(installed=True, memory_gb=64)
    assert list(shown) == [
        "provider", "model_name", "display_name", "size_gb", "runtime", "tags", "downloads", "likes", "quantization",
        "parameters", "installed", "recommended", "ram_min_gb", "ram_recommended_gb",
    ]  # fmt: skip
    assert (shown["size_gb"], shown["installed"], shown["recommended"]) == (10.0, True, True)
    assert LARGE.shown(installed=False, memory_gb=8)["recommended"] is False
    assert ODD.shown(installed=False, memory_gb=64)["ram_min_gb"] is None


def test_places_are_given_in_order() -> None:
    assert [entry.rank for entry in numbered([ODD, LARGE])] == [0, 1]
