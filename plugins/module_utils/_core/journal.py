# SPDX-License-Identifier: GPL-3.0-or-later
"""What the journal of a runtime's transactions says: which one was left unfinished, and where.

A step is written down before it is begun, so whatever a kill leaves, the last line names the step that may be half
done. A line that a kill cut short was never begun.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field

# The steps of an activation in their order; those after WRITE have the new files on the disk, whole.
DRAIN, STOP_OTHERS, LEAVE, WRITE, RESTART = "drain", "stop others", "leave", "write", "restart"
WAIT, LOAD, PROVE, COMMIT = "wait healthy", "load", "prove", "commit"
ROLL_BACK = "roll back"
# How a transaction ends; `given up` is one that nobody will finish, because the runtime was stopped or removed.
COMMITTED, ROLLED_BACK, GIVEN_UP = "committed", "rolled back", "given up"
_ENDS = (COMMITTED, ROLLED_BACK, GIVEN_UP)
_BEGIN = "begin"
# Transactions that are kept for whoever asks what happened.
KEPT = 20


@dataclass(frozen=True)
class Entry:
    """One line: a transaction's number, what is begun or done, when, and what belongs to it."""

    transaction: int
    step: str
    at: str
    details: t.Mapping[str, t.Any] = field(default_factory=dict)

    def as_line(self) -> str:
        record = {"transaction": self.transaction, "step": self.step, "at": self.at, **self.details}
        return json.dumps(record, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Transaction:
    """One attempt to make generation `to_generation` serve instead of `from_generation` (None: nothing served)."""

    number: int
    from_generation: int | None
    to_generation: int
    at: str
    step: str
    # Whether the runtime was up, or meant to be, when it began; a rollback leaves it so.
    was_up: bool = True
    # Runtimes of the host that it stopped.
    stopped: tuple[str, ...] = ()
    ended: bool = False
    seconds: t.Mapping[str, float] = field(default_factory=dict)
    why: str = ""

    @property
    def has_written(self) -> bool:
        """Whether the new files are on the disk, whole."""
        return self.step in (RESTART, WAIT, LOAD, PROVE, COMMIT)

    @property
    def touched(self) -> bool:
        """Whether it may have changed what serves."""
        return self.step not in (_BEGIN, DRAIN)

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "from_generation": self.from_generation,
            "to_generation": self.to_generation,
            "at": self.at,
            "step": self.step,
            "ended": self.ended,
            "seconds": dict(self.seconds),
            "why": self.why or None,
        }


def begin(number: int, at: str, *, from_generation: int | None, to_generation: int, was_up: bool) -> Entry:
    details = {"from_generation": from_generation, "to_generation": to_generation, "was_up": was_up}
    return Entry(number, _BEGIN, at, details)


def parse(text: str) -> list[Entry]:
    """Every line that can be read; others are passed over, as a line that was cut short must be."""
    found = []
    for line in text.splitlines():
        try:
            record = json.loads(line)
            entry = Entry(int(record.pop("transaction")), str(record.pop("step")), str(record.pop("at")), record)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
        found.append(entry)
    return found


def transactions(entries: t.Iterable[Entry]) -> list[Transaction]:
    """The transactions in their order, each as far as it came."""
    found: dict[int, Transaction] = {}
    for entry in entries:
        known = found.get(entry.transaction)
        if entry.step == _BEGIN:
            found[entry.transaction] = _begun(entry)
        elif known is not None:
            found[entry.transaction] = _after(known, entry)
    return list(found.values())


def pending(entries: t.Iterable[Entry]) -> Transaction | None:
    """The last transaction, if it was left unfinished."""
    found = transactions(entries)
    return found[-1] if found and not found[-1].ended else None


def trimmed(entries: t.Sequence[Entry]) -> list[Entry]:
    """The newest transactions' lines."""
    kept = {transaction.number for transaction in transactions(entries)[-KEPT:]}
    return [entry for entry in entries if entry.transaction in kept]


def _begun(entry: Entry) -> Transaction:
    said = entry.details
    before = said.get("from_generation")
    return Transaction(
        number=entry.transaction,
        from_generation=before if isinstance(before, int) else None,
        to_generation=said["to_generation"] if isinstance(said.get("to_generation"), int) else 0,
        at=entry.at,
        step=_BEGIN,
        was_up=said.get("was_up") is not False,
    )


def _after(known: Transaction, entry: Entry) -> Transaction:
    said = entry.details
    seconds = {**known.seconds, **(said["seconds"] if isinstance(said.get("seconds"), dict) else {})}
    stopped = said.get("stopped")
    return Transaction(
        number=known.number,
        from_generation=known.from_generation,
        to_generation=known.to_generation,
        at=known.at,
        step=entry.step,
        was_up=known.was_up,
        stopped=tuple(str(name) for name in stopped) if isinstance(stopped, list) else known.stopped,
        ended=entry.step in _ENDS,
        seconds=seconds,
        why=str(said.get("why") or known.why),
    )
