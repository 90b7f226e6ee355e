# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import typing as t
from pathlib import Path

Run = t.Callable[..., dict[str, t.Any]]


def test_the_layout_is_told_and_nothing_made(run_module: Run, tmp_path: Path) -> None:
    told = run_module("llm_layout_info", prefix=str(tmp_path / "host"))
    assert told["changed"] is False
    assert told["layout"]["store"] == str(tmp_path / "host/var/lib/llm/models")
    assert (told["venv_ready"], told["supervisor"]) == (False, "process")
    assert os.listdir(tmp_path) == []
