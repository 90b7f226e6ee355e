# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of other sides, kept in a folder of the user that asked, so that they are there when nobody answers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .._core.clock import written
from .durable import read_text, write_text
from .ownership import Owner, make_folder

_VERSION = 1
# Answers of one folder; the oldest go first. One of twenty models has about ten kilobytes.
_MOST = 200
# Side, scope, question; whether it has a gap. What has another name in the folder is somebody else's.
_OWN = re.compile(r"[a-z_]+-[0-9a-f]{16}-[0-9a-f]{16}(\.part)?\.json")


@dataclass(frozen=True)
class Kept:
    """An answer and when it was given, in seconds since 1970; `gap` says what is missing in it, if something is."""

    at: float
    records: t.Sequence[t.Mapping[str, t.Any]]
    gap: str = ""

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
        """The file of the whole answer."""
        return f"{self.stem}-{_digest(self.asked)}.json"

    @property
    def part(self) -> str:
        """The file of an answer with a gap: it never stands in the way of a whole one."""
        return f"{self.stem}-{_digest(self.asked)}.part.json"


class Answers:
    """Files of a folder that is made when the first one is written. Only their owner can read them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def last(self, question: Question) -> list[Kept]:
        """The last answers to this very question, a whole one before one with a gap; unreadable files are none."""
        found = (_read(self._folder / name) for name in (question.name, question.part))
        return [kept for kept in found if kept]

    def others(self, question: Question) -> list[Kept]:
        """What the same side answered to other questions, newest first."""
        own = (question.name, question.part)
        paths = [path for path in self._own() if path.name.startswith(f"{question.stem}-") and path.name not in own]
        found = [kept for kept in map(_read, sorted(paths)) if kept]
        return sorted(found, key=lambda kept: -kept.at)

    def keep(self, question: Question, kept: Kept) -> None:
        """Raises OSError where the folder cannot be written."""
        make_folder(self._folder, Owner(), 0o700)
        document = {
            "version": _VERSION,
            "at": kept.at,
            "written": written(kept.at),
            "side": question.side,
            "asked": dict(question.asked),
            "gap": kept.gap,
            "records": list(kept.records),
        }
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        write_text(self._folder / (question.part if kept.gap else question.name), text, mode=0o600)
        if not kept.gap:
            _remove(self._folder / question.part)
        self._sweep()

    def _own(self) -> list[Path]:
        return [path for path in self._folder.glob("*.json") if _OWN.fullmatch(path.name)]

    def _sweep(self) -> None:
        for path in sorted(self._own(), key=_changed, reverse=True)[_MOST:]:
            _remove(path)


def _read(path: Path) -> Kept | None:
    """None where there is no file of ours, or one whose fields have other types than they should."""
    try:
        document = json.loads(read_text(path) or "null")
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("version") != _VERSION:
        return None
    at, records, gap = document.get("at"), document.get("records"), document.get("gap", "")
    if not isinstance(at, (int, float)) or isinstance(at, bool) or not math.isfinite(at):
        return None
    if not isinstance(records, list) or not isinstance(gap, str):
        return None
    return Kept(float(at), [record for record in records if isinstance(record, dict)], gap)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _changed(path: Path) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _digest(document: t.Mapping[str, t.Any]) -> str:
    """A name for what may hold a secret: the hash of a token does not lead back to it."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
