# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of other sides, kept in a folder of the user that asked, so that they are there when nobody answers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .._core.clock import written
from .durable import read_text, write_text
from .ownership import Owner, make_folder

_VERSION = 1
# Answers of one folder; the oldest go first. One of twenty models has about ten kilobytes.
_MOST = 200


@dataclass(frozen=True)
class Kept:
    """An answer and when it was given, in seconds since 1970."""

    at: float
    records: t.Sequence[t.Mapping[str, t.Any]]

    def age(self, now: float) -> float | None:
        """Seconds; None where the clock stood later then, so that nothing can be said."""
        return now - self.at if now >= self.at else None


@dataclass(frozen=True)
class Question:
    """Whom (`side` names it, `scope` is what it was asked as: address and credentials) and what was asked."""

    side: str
    scope: t.Mapping[str, t.Any]
    asked: t.Mapping[str, t.Any]

    @property
    def stem(self) -> str:
        return f"{self.side}-{_digest(self.scope)}"

    @property
    def name(self) -> str:
        return f"{self.stem}-{_digest(self.asked)}.json"


class Answers:
    """Files of a folder that is made when the first one is written. Only their owner can read them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def last(self, question: Question) -> Kept | None:
        """The last answer to this very question; a file that cannot be read is none."""
        return _read(self._folder / question.name)

    def others(self, question: Question) -> list[Kept]:
        """What the same side answered to other questions, newest first."""
        paths = [path for path in self._folder.glob(f"{question.stem}-*.json") if path.name != question.name]
        found = [kept for kept in map(_read, sorted(paths)) if kept]
        return sorted(found, key=lambda kept: -kept.at)

    def keep(self, question: Question, records: t.Sequence[t.Mapping[str, t.Any]], now: float) -> None:
        """Raises OSError where the folder cannot be written."""
        make_folder(self._folder, Owner(), 0o700)
        document = {
            "version": _VERSION,
            "at": now,
            "written": written(now),
            "side": question.side,
            "asked": dict(question.asked),
            "records": list(records),
        }
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        write_text(self._folder / question.name, text, mode=0o600)
        self._sweep()

    def _sweep(self) -> None:
        paths = sorted(self._folder.glob("*-*-*.json"), key=_changed, reverse=True)
        for path in paths[_MOST:]:
            with contextlib.suppress(OSError):
                path.unlink()


def _read(path: Path) -> Kept | None:
    try:
        document = json.loads(read_text(path) or "")
        if document["version"] == _VERSION:
            return Kept(float(document["at"]), [dict(record) for record in document["records"]])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _changed(path: Path) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _digest(document: t.Mapping[str, t.Any]) -> str:
    """A name for what may hold a secret: the hash of a token does not lead back to it."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
