# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of one runtime on the disk: lines are only added, each flushed before what it announces is done."""

from __future__ import annotations

import os
import time
import typing as t
from pathlib import Path

from .._core import journal
from .._core.clock import written
from .._core.layout import Layout
from .durable import flush_folder, read_text, write_text
from .ownership import Owner, make_folder


class Journal:
    """`journal.jsonl` of a runtime. Who writes holds the runtime's lock."""

    def __init__(self, layout: Layout, runtime: str) -> None:
        self._path = Path(layout.runtime_folder(runtime)) / "journal.jsonl"

    def pending(self) -> journal.Transaction | None:
        """The transaction that was left unfinished, if there is one."""
        return journal.pending(self._entries())

    def transactions(self) -> list[journal.Transaction]:
        return journal.transactions(self._entries())

    def begin(self, *, from_generation: int | None, to_generation: int, was_up: bool) -> Writing:
        """Begin a transaction; old ones beyond those that are kept go."""
        entries = self._entries()
        number = max((entry.transaction for entry in entries), default=0) + 1
        make_folder(self._path.parent, Owner(), 0o755)
        kept = journal.trimmed(entries)
        begun = journal.begin(
            number,
            written(time.time()),
            from_generation=from_generation,
            to_generation=to_generation,
            was_up=was_up,
        )
        write_text(self._path, "".join(entry.as_line() for entry in [*kept, begun]), mode=0o640)
        return Writing(self._path, number)

    def resume(self, transaction: journal.Transaction) -> Writing:
        """Go on writing one that was left."""
        return Writing(self._path, transaction.number)

    def _entries(self) -> list[journal.Entry]:
        return journal.parse(read_text(self._path) or "")


class Writing:
    """One transaction while it goes on."""

    def __init__(self, path: Path, number: int) -> None:
        self._path = path
        self._number = number

    def note(self, step: str, **details: t.Any) -> None:
        """Say what is begun, or how it ended. A line that an earlier kill cut short is closed first."""
        line = journal.Entry(self._number, step, written(time.time()), details).as_line().encode()
        fresh = not self._path.exists()
        with self._path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        if fresh:
            flush_folder(self._path.parent)
