# SPDX-License-Identifier: GPL-3.0-or-later
"""How an interrupted activation is ended, by its journal and its records."""

from __future__ import annotations

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.generation import (
    ACTIVE,
    NO_MODEL,
    TRYING,
    Generation,
)
from ansible_collections.llmops.fleet.plugins.module_utils._core.journal import Transaction
from ansible_collections.llmops.fleet.plugins.module_utils._core.recovery import (
    CLOSE,
    COMMIT,
    FINISH,
    GO_BACK,
    difference_of,
    way_out,
)


def candidate(status: str) -> Generation:
    return Generation(
        number=2, runtime="chat", time="", status=status, engine="vllm", engine_version="1", model=NO_MODEL,
        served_names=("chat",), spec={}, environment={}, definition="",
    )  # fmt: skip


def left(step: str, before: int | None = 1) -> Transaction:
    return Transaction(1, before, 2, "", step)


@pytest.mark.parametrize(
    ("step", "before", "record", "finish", "way"),
    [
        ("begin", 1, TRYING, True, CLOSE),
        ("drain", 1, TRYING, False, CLOSE),
        ("write", 1, TRYING, True, GO_BACK),
        ("restart", 1, TRYING, True, FINISH),
        ("prove", None, TRYING, True, FINISH),
        ("prove", 1, TRYING, False, GO_BACK),
        ("prove", 1, None, True, GO_BACK),
        ("commit", 1, ACTIVE, False, COMMIT),
        # A new start of the same generation, which was active all the time.
        ("restart", 2, ACTIVE, True, FINISH),
        ("restart", 2, ACTIVE, False, GO_BACK),
    ],
)
def test_the_way_out(step: str, before: int | None, record: str | None, finish: bool, way: str) -> None:
    known = candidate(record) if record else None
    assert way_out(left(step, before), known, finish=finish) == way


def test_only_what_was_changed_is_shown() -> None:
    (shown,) = difference_of(left("write"), "chat")
    assert shown.header == "runtime chat"
    assert "generation 2 was interrupted at step 'write'" in shown.before
    assert difference_of(left("drain"), "chat") == ()
