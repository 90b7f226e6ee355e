# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that can be had: what hubs say of one, what was asked, and how answers of several hubs become one list."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from .hardware import Needs, needs, parameters_in, quantization_in
from .model import GB

BUILT_IN = "builtin"


@dataclass(frozen=True)
class Entry:
    """One model as a hub offers it; None is what the hub does not say.

    `model_name` is what `llm_model` takes as its model, `runtime` an engine that serves it. `aliases` are other names
    of the same bytes. `rank` is its place in the hub's own order, None where there is none.
    """

    provider: str
    model_name: str
    display_name: str
    size_bytes: int | None = None
    runtime: str | None = None
    tags: tuple[str, ...] = ()
    downloads: int | None = None
    likes: int | None = None
    quantization: str | None = None
    parameters: str | None = None
    aliases: tuple[str, ...] = ()
    rank: int | None = None

    @property
    def needs(self) -> Needs:
        return needs(parameters_in(self.parameters or ""), self.quantization, self.size_bytes)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.model_name, *self.aliases)

    def as_dict(self) -> dict[str, t.Any]:
        """As it is kept; `from_dict` reads it."""
        return {key: getattr(self, key) for key in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, record: t.Mapping[str, t.Any]) -> Entry:
        """Read a kept entry of this or another version; raises ValueError where a field has another type."""
        known: dict[str, t.Any] = {key: record.get(key) for key in cls.__dataclass_fields__}
        for key, kinds in _KINDS.items():
            # What says true is no number.
            if not isinstance(known[key], tuple(kinds)) or isinstance(known[key], bool):
                raise ValueError(f"{key} is {type(known[key]).__name__}")
        for key in ("tags", "aliases"):
            words = known[key] if known[key] is not None else []
            if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
                raise ValueError(f"{key} is no list of words")
            known[key] = tuple(words)
        return cls(**known)

    def shown(self, *, installed: bool, memory_gb: float | None) -> dict[str, t.Any]:
        """The record as users get it."""
        need = self.needs
        return {
            "provider": self.provider,
            "model_name": self.model_name,
            "display_name": self.display_name,
            "size_gb": None if self.size_bytes is None else round(self.size_bytes / GB, 3),
            "runtime": self.runtime,
            "tags": list(self.tags),
            "downloads": self.downloads,
            "likes": self.likes,
            "quantization": self.quantization,
            "parameters": self.parameters,
            "installed": installed,
            "recommended": need.fits(memory_gb),
            "ram_min_gb": need.ram_min_gb,
            "ram_recommended_gb": need.ram_recommended_gb,
        }


_TEXT, _NONE = (str,), (type(None),)
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("provider", "model_name", "display_name"), _TEXT),
    **dict.fromkeys(("runtime", "quantization", "parameters"), _TEXT + _NONE),
    **dict.fromkeys(("size_bytes", "downloads", "likes", "rank"), (int, *_NONE)),
}


@dataclass(frozen=True)
class Query:
    """What is looked for: words that all stand in the name or tags, tags that all are there, an order, how many."""

    search: str = ""
    tags: tuple[str, ...] = ()
    sort: str = "downloads"
    limit: int = 20

    def as_dict(self) -> dict[str, t.Any]:
        return {"search": self.search, "tags": sorted(self.tags), "sort": self.sort, "limit": self.limit}

    def found_in(self, *texts: str) -> bool:
        """Whether every word of the search stands in one of the texts, whatever its case."""
        whole = " ".join(texts).lower()
        return all(word in whole for word in self.search.lower().split())

    def of_families(self, *, sized: bool = False) -> Query:
        """The same for lists that have families only: without words for quantizations and, unless `sized`, sizes."""
        words = (word for word in self.search.split() if not quantization_in(word))
        return replace(self, search=" ".join(word for word in words if sized or not parameters_in(word)))

    def tagged(self, tags: t.Iterable[str]) -> bool:
        return {tag.lower() for tag in self.tags} <= {tag.lower() for tag in tags}

    def matches(self, entry: Entry) -> bool:
        return self.tagged(entry.tags) and self.found_in(entry.model_name, entry.display_name, *entry.tags)


@dataclass(frozen=True)
class Listing:
    """A hub's answer; `problems` are sentences on what it did not tell."""

    entries: tuple[Entry, ...]
    problems: tuple[str, ...] = ()


class Hub(t.Protocol):
    """Where models can be looked for. One instance is one place, for one run."""

    @property
    def scope(self) -> t.Mapping[str, str]:
        """Which place it is and as whom it is asked, for kept answers; empty for a list that needs no network."""

    def look(self, query: Query) -> Listing:
        """At most about `limit` entries, in the hub's order for that sort; raises the error of the other side."""

    @staticmethod
    def normal(name: str) -> str:
        """A model's name as names of this hub are compared."""


@dataclass(frozen=True)
class HubOptions:
    """What a hub is made with. `seconds` is the time it has in all; `token` goes to the hub it is for alone."""

    address: str = ""
    token: str = field(default="", repr=False)
    seconds: float = 10.0


def numbered(entries: t.Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries with their places in this order."""
    return tuple(replace(entry, rank=place) for place, entry in enumerate(entries))


def merged(
    answers: t.Iterable[t.Sequence[Entry]], query: Query, identity: t.Callable[[Entry], t.Hashable]
) -> list[Entry]:
    """One list of several answers: each model once (the first that says it), matched, sorted, cut to the limit."""
    found: dict[t.Hashable, Entry] = {}
    for answer in answers:
        for entry in answer:
            if query.matches(entry):
                found.setdefault(identity(entry), entry)
    return sorted(found.values(), key=_order(query.sort))[: query.limit]


def _order(sort: str) -> t.Callable[[Entry], t.Any]:
    """Most first, unknown last; sizes and names rise. Trending takes the hubs' own orders in turn."""

    def falling(value: int | None) -> tuple[bool, int]:
        return value is None, -(value or 0)

    def rising(value: int | None) -> tuple[bool, int]:
        return value is None, value or 0

    orders: dict[str, t.Callable[[Entry], t.Any]] = {
        "downloads": lambda entry: falling(entry.downloads),
        "likes": lambda entry: falling(entry.likes),
        "trending": lambda entry: rising(entry.rank),
        "size": lambda entry: rising(entry.size_bytes),
        "name": lambda entry: entry.display_name.lower(),
    }
    return orders[sort]
