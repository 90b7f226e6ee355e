# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures stay whole in a line of any width; names give."""

from __future__ import annotations

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.operation import IN_PROGRESS, Operation
from ansible_collections.llmops.fleet.plugins.module_utils._core.progress_line import (
    progress_line,
    shortened,
    summary_line,
)

GB = 10**9
PULL = Operation("a", "qwen", status=IN_PROGRESS, bytes_total=10 * GB, started_at="2026-11-21T10:00:00Z")
FIGURES = "25 %, 2.50 GB of 10.00 GB, 100.0 MB/s, 1:15 to go"


def pull(name: str = "qwen", **more: int) -> Operation:
    moved = PULL.moved(25 * GB // 10, 10 * GB, 0, 100_000_000)
    return Operation(**{**moved.__dict__, "model_name": name, **more})


def test_a_line_has_all_figures() -> None:
    assert progress_line(pull(), 79, "host") == f"host | qwen: {FIGURES}"


@pytest.mark.parametrize("host", ["h", "host-" + "h" * 60, "worker-17.rack-4.berlin.example.com"])
@pytest.mark.parametrize("name", ["q", "mistral-small-3.2-24b-instruct-2506-" + "x" * 60 + "-q4_k_m"])
@pytest.mark.parametrize("width", [79, 100, 199])
def test_long_names_give_and_figures_do_not(host: str, name: str, width: int) -> None:
    line = progress_line(pull(name), width, host)
    assert len(line) <= width
    assert line.endswith(f": {FIGURES}")
    summary = summary_line(pull(name, step=2, steps=5, bytes_after=30 * GB), width, host)
    assert len(summary) <= width
    assert "model 2 of 5, " in summary
    assert summary.endswith(": 6 %, 2.50 GB of 40.00 GB, 100.0 MB/s, 6:15 to go")


def test_the_shorter_of_two_names_stays_whole() -> None:
    line = progress_line(pull("m" * 90), 79, "web1")
    assert line.startswith("web1 | mmm")
    assert "…" in line


def test_a_line_that_is_far_too_narrow_keeps_its_figures() -> None:
    assert progress_line(pull("a-long-name"), 10, "a-long-host") == f"a…t | a…e: {FIGURES}"


def test_a_summary_counts_the_bytes_of_all_models() -> None:
    line = summary_line(pull(step=3, steps=4, bytes_before=10 * GB, bytes_after=5 * GB), 100, "h")
    assert line == "h | model 3 of 4, qwen: 50 %, 12.50 GB of 25.00 GB, 100.0 MB/s, 2:05 to go"
    assert summary_line(pull(), 100, "h") == progress_line(pull(), 100, "h")


def test_a_stalled_pull_has_no_time_to_go() -> None:
    stalled = PULL.moved(GB, 10 * GB, 0, 0)
    assert progress_line(stalled, 79, "h") == "h | qwen: 10 %, 1.00 GB of 10.00 GB, 0.0 MB/s"


@pytest.mark.parametrize(("length", "told"), [(9, "abcdefghi"), (8, "abcd…ghi"), (4, "ab…i"), (3, "a…i"), (0, "a…i")])
def test_a_name_keeps_its_beginning_and_its_end(length: int, told: str) -> None:
    assert shortened("abcdefghi", length) == told
