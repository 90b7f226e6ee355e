# SPDX-License-Identifier: GPL-3.0-or-later
"""What a row of the table of faults is made of.

A row is a function that brings the fault about; as a generator it takes the fault away again after its `yield`.
"""

from __future__ import annotations

import contextlib
import inspect
import typing as t
from dataclasses import dataclass, field

from faults.bench import CONFIGURATION, SIZE, Bench, Result

ALL = SIZE + len(CONFIGURATION)
Harm = t.Callable[[Bench], t.Any]


@dataclass
class Row:
    """`sent`: the most bytes that the hub may send in the run with the fault, and `again` in the run after it.

    Without a `reason` the run must succeed. With one, `kept` is the least that must be left for the next run, and
    `says` are words of the message. `look` looks closer.
    """

    harm: Harm
    reason: str = ""
    says: tuple[str, ...] = ()
    sent: int = ALL
    again: int = ALL
    kept: int = 0
    names_model: bool = True
    params: dict[str, t.Any] = field(default_factory=dict)
    look: t.Callable[[Bench, Result], None] | None = None
    as_nobody: bool = False


ROWS: dict[str, Row] = {}


def row(name: str, **words: t.Any) -> t.Callable[[Harm], Harm]:
    def take(harm: Harm) -> Harm:
        ROWS[name] = Row(harm, **words)
        return harm

    return take


def faulty(name: str, *faults: dict[str, t.Any], **words: t.Any) -> None:
    """A row of nothing but faults of the hub."""

    def harm(bench: Bench) -> None:
        for fault in faults:
            bench.hub.fault(**{"path": "model.gguf", **fault})

    ROWS[name] = Row(harm, **words)


@contextlib.contextmanager
def happening(harm: Harm, bench: Bench) -> t.Iterator[None]:
    if inspect.isgeneratorfunction(harm):
        with contextlib.contextmanager(harm)(bench):
            yield
    else:
        harm(bench)
        yield


def waited(*seconds: float) -> t.Callable[[Bench, Result], None]:
    def look(bench: Bench, _result: Result) -> None:
        assert set(seconds) <= set(bench.clock.naps)

    return look


def waited_at_most(seconds: float) -> t.Callable[[Bench, Result], None]:
    def look(bench: Bench, _result: Result) -> None:
        assert 0 < max(bench.clock.naps) <= seconds

    return look
