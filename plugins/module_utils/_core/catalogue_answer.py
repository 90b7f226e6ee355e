# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of hubs, as one host's task hands it to the others; and what a host knows of itself."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .catalogue_entry import Entry


@dataclass(frozen=True)
class Answer:
    """What is known of one hub: from now, from before (`stale` where that is too long ago), or nothing."""

    entries: tuple[Entry, ...]
    error: str = ""
    stale: bool = False
    known: bool = True
    fresh: bool = False

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "entries": [entry.as_dict() for entry in self.entries],
            "error": self.error,
            "stale": self.stale,
            "known": self.known,
        }

    @classmethod
    def from_dict(cls, record: t.Mapping[str, t.Any]) -> Answer:
        entries = tuple(Entry.from_dict(entry) for entry in record["entries"])
        return cls(entries, str(record["error"]), bool(record["stale"]), bool(record["known"]))


@dataclass(frozen=True)
class Asked:
    """The answers of all hubs by name, and sentences that a user should know."""

    answers: t.Mapping[str, Answer]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "answers": {name: answer.as_dict() for name, answer in self.answers.items()},
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, record: t.Mapping[str, t.Any]) -> Asked:
        answers = {str(name): Answer.from_dict(answer) for name, answer in record["answers"].items()}
        return cls(answers, tuple(str(note) for note in record["notes"]))


@dataclass(frozen=True)
class HostModel:
    """A model of a host by its provider's name.

    `publisher` and `format` are there where a program says them beside the name.
    """

    provider: str
    model: str
    publisher: str = ""
    format: str = ""

    def as_dict(self) -> dict[str, t.Any]:
        return {key: getattr(self, key) for key in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, record: t.Mapping[str, t.Any]) -> HostModel:
        return cls(**{key: str(record[key]) for key in cls.__dataclass_fields__})


@dataclass(frozen=True)
class CatalogueHost:
    """What only the host knows; None is unknown."""

    memory_gb: float | None = None
    gpu_memory_gb: float | None = None
    models: tuple[HostModel, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "memory_gb": self.memory_gb,
            "gpu_memory_gb": self.gpu_memory_gb,
            "models": [model.as_dict() for model in self.models],
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, record: t.Mapping[str, t.Any]) -> CatalogueHost:
        return cls(
            record["memory_gb"],
            record["gpu_memory_gb"],
            tuple(HostModel.from_dict(model) for model in record["models"]),
            tuple(str(note) for note in record["notes"]),
        )
