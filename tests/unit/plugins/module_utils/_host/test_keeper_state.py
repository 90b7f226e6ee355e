# SPDX-License-Identifier: GPL-3.0-or-later
"""What a keeper wrote is read by one reader, which takes nothing that no keeper writes."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._host import keeper
from ansible_collections.llmops.fleet.plugins.module_utils._host.keeper_state import KeeperState, read_keeper_state

WRITTEN: dict[str, t.Any] = {
    "keeper_pid": 7, "keeper_ticks": 70, "pid": 8, "ticks": 80, "started_at": 1.5, "restarts": 2, "detail": "signal 9",
    "ending": True,
}  # fmt: skip


def read(path: Path, **changes: t.Any) -> KeeperState | None:
    path.write_text(json.dumps({**WRITTEN, **changes}))
    return read_keeper_state(str(path))


def test_what_the_keeper_itself_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "chat.pid"
    assert read_keeper_state(str(path)) is None
    kept = keeper.Keeper("/nowhere", str(path))
    own = keeper.start_ticks(os.getpid())
    kept._write_state(os.getpid(), own, "", ending=True)
    seen = read_keeper_state(str(path))
    assert seen
    assert (seen.keeper_pid, seen.pid, seen.ticks, seen.restarts, seen.ending) == (
        os.getpid(),
        os.getpid(),
        own,
        0,
        True,
    )
    assert (seen.keeper_lives, seen.engine_lives) == (True, True)
    kept._write_state(None, None, "exit status 1")
    seen = read_keeper_state(str(path))
    assert seen
    assert (seen.pid, seen.ticks, seen.detail, seen.ending, seen.engine_lives) == (
        None,
        None,
        "exit status 1",
        False,
        False,
    )


def test_a_number_that_was_given_away_does_not_live(tmp_path: Path) -> None:
    seen = read(tmp_path / "chat.pid", keeper_pid=os.getpid(), pid=os.getpid())
    assert seen
    assert (seen.keeper_lives, seen.engine_lives) == (False, False)
    assert read(tmp_path / "chat.pid") == KeeperState(**WRITTEN)


@pytest.mark.parametrize(
    "text", ["", "no json", "[]", "{}", "17", "null", '"x"', '{"pid": 1}', "[" * 100_000, "\udcff"]
)
def test_what_no_keeper_writes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "chat.pid"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    assert read_keeper_state(str(path)) is None


@pytest.mark.parametrize(
    "changes",
    [{"keeper_pid": None}, {"keeper_pid": "x"}, {"pid": "8"}, {"ticks": [1]}, {"restarts": {}}, {"started_at": "soon"}],
)
def test_odd_values(tmp_path: Path, changes: dict[str, t.Any]) -> None:
    assert read(tmp_path / "chat.pid", **changes) is None
