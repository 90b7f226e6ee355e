# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._api import background
from ansible_collections.llmops.fleet.plugins.module_utils._api.background import Background


def test_a_job_gives_what_it_has_or_what_it_raised() -> None:
    until = time.monotonic() + 5
    assert Background(lambda: 7).result(until, None) == 7
    assert Background(lambda: None).result(until, "late") is None
    assert Background(lambda: time.sleep(0.1) or 7).result(None, "late") == 7
    with pytest.raises(ZeroDivisionError):
        Background(lambda: 1 // 0).result(until, None)


def test_nobody_waits_longer_than_was_said() -> None:
    began = time.monotonic()
    job = Background(threading.Event().wait)
    assert job.result(began + 0.2, "late") == "late"
    assert job.result(began - 1, "late") == "late"
    assert time.monotonic() - began < 1


def test_the_end_of_the_program_waits_for_nothing() -> None:
    program = (
        f"import sys, time; sys.path[:0] = {sys.path!r}\n"
        f"from {background.__name__} import Background\n"
        "Background(lambda: time.sleep(60)).result(time.monotonic() + 0.1, None)\n"
    )
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
    assert time.monotonic() - began < 10
