# SPDX-License-Identifier: GPL-3.0-or-later
"""Generation records on disk: one JSON file a number, numbers only grow."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t
from pathlib import Path

from .._core.generation import ACTIVE, Generation
from .._core.layout import Layout
from .durable import write_text
from .ownership import Owner, make_folder


class Generations:
    """The records of one runtime."""

    def __init__(self, layout: Layout, runtime: str) -> None:
        self._folder = Path(layout.runtime_folder(runtime)) / "generations"

    def all(self) -> list[Generation]:
        """Every record that can be read, newest first."""
        found = []
        for path in self._paths():
            # One may go while we look, and one that nobody can read must not hide the others.
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                found.append(Generation.from_dict(json.loads(path.read_text(encoding="utf-8"))))
        return sorted(found, key=lambda generation: -generation.number)

    def find(self, number: int | None) -> Generation | None:
        return next((generation for generation in self.all() if generation.number == number), None)

    def active(self) -> Generation | None:
        return next((generation for generation in self.all() if generation.status == ACTIVE), None)

    def next_number(self) -> int:
        return max((int(path.stem) for path in self._paths()), default=0) + 1

    def _paths(self) -> list[Path]:
        return [path for path in self._folder.glob("*.json") if path.stem.isdigit()] if self._folder.is_dir() else []

    def write(self, generation: Generation) -> None:
        make_folder(self._folder, Owner())
        text = json.dumps(generation.as_dict(), indent=2, sort_keys=True) + "\n"
        write_text(self._folder / f"{generation.number}.json", text, mode=0o640)

    def keep_newest(self, active: int) -> None:
        """Drop the oldest records beyond those that a rollback may want."""
        records = self.all()
        proven = [record.number for record in records if record.status == ACTIVE][:active]
        for record in records:
            if record.number < min(proven, default=0):
                (self._folder / f"{record.number}.json").unlink(missing_ok=True)


def runtime_names(layout: Layout) -> list[str]:
    """The runtimes this host has, by their folders."""
    folder = Path(layout.runtimes)
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())


def active_generations(layout: Layout) -> t.Iterator[Generation]:
    for name in runtime_names(layout):
        generation = Generations(layout, name).active()
        if generation:
            yield generation


def kept_generations(layout: Layout) -> t.Iterator[Generation]:
    """All proven generations that a rollback could return to."""
    for name in runtime_names(layout):
        yield from (record for record in Generations(layout, name).all() if record.status == ACTIVE)
