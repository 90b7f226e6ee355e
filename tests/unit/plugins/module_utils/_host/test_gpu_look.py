# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading
import time

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.gpu import Gpu
from ansible_collections.llmops.fleet.plugins.module_utils._host import gpu, gpu_look
from ansible_collections.llmops.fleet.plugins.module_utils._host.gpu_look import look_at_gpus


def test_all_who_look_share_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    card = Gpu("L4", 1.0, 2, 3)
    monkeypatch.setattr(gpu, "vram_by_pid", lambda: asked.append("processes") or {7: 5})
    monkeypatch.setattr(gpu, "gpus", lambda: asked.append("cards") or [card])
    look = look_at_gpus()
    assert [look.held() for _each in range(5)] == [{7: 5}] * 5
    assert [look.cards() for _each in range(5)] == [[card]] * 5
    assert sorted(asked) == ["cards", "processes"]


def test_nobody_waits_for_a_tool_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(gpu_look, "_PATIENCE", 0.2)
    monkeypatch.setattr(gpu, "vram_by_pid", lambda: over.wait(10))
    monkeypatch.setattr(gpu, "gpus", lambda: over.wait(10))
    begun = time.monotonic()
    look = look_at_gpus()
    # The time is that of the look, not of each question.
    assert [look.held(), look.cards(), look.held()] == [{}, [], {}]
    assert time.monotonic() - begun < 1.0
    over.set()
