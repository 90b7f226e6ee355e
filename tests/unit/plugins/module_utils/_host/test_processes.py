# SPDX-License-Identifier: GPL-3.0-or-later
"""A process is known again after the clock was set, with psutil and without."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._host import keeper, processes

HERE = os.getpid()


@pytest.fixture(params=["with psutil", "without"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without":
        monkeypatch.setattr(processes, "MISSING", "not installed")


@pytest.fixture
def no_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "_PROC", tmp_path)


def step_the_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """psutil adds the ticks since the boot to the boot's time of the day, which moves with the clock."""
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: real(process) + seconds)


@pytest.mark.usefixtures("library")
def test_a_step_of_the_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = processes.running_since(HERE)
    assert noted is not None
    step_the_clock(monkeypatch, 3600)
    assert processes.is_running(HERE, noted)


def test_with_and_without_psutil_note_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = processes.running_since(HERE)
    monkeypatch.setattr(processes, "MISSING", "not installed")
    assert processes.running_since(HERE) == noted
    assert processes.is_running(HERE, noted)


@pytest.mark.usefixtures("library")
def test_another_boot_or_another_process_is_not_it() -> None:
    noted = str(processes.running_since(HERE))
    boot, _colon, ticks = noted.partition(":")
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert not processes.is_running(HERE, f"another-boot:{ticks}")
    assert not processes.is_running(HERE, f"{boot}:{int(ticks) - 1}")
    assert processes.is_running(HERE, None)
    assert not processes.is_running(2**31 - 1, None)
    assert not any(processes.is_running(pid, None) for pid in (-1, 0))


def test_a_time_of_the_day_is_understood() -> None:
    created = psutil.Process(HERE).create_time()
    assert processes.is_running(HERE, created)
    assert processes.is_running(HERE, created + 1)
    assert not processes.is_running(HERE, created - 1000)


def test_a_zombie_tells_of_the_memory_that_its_threads_keep() -> None:
    """As when an engine's first thread has ended, and another hangs in a driver."""
    number = {"x86_64": 60, "aarch64": 93}.get(os.uname().machine)
    if number is None:
        pytest.skip("the number of exit(2) is not known here")
    program = (
        "import ctypes, threading, time\n"
        "kept = bytearray(b'x' * 64_000_000)\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "print(flush=True)\n"
        f"ctypes.CDLL(None).syscall({number}, 0)"
    )
    with subprocess.Popen([sys.executable, "-S", "-c", program], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            process.stdout.readline()
            deadline = time.monotonic() + 5
            while processes.running_since(process.pid) and time.monotonic() < deadline:
                time.sleep(0.01)
            entry = keeper.entry_of(process.pid)
            assert entry
            assert entry.state == "Z"
            assert processes.resident(process.pid) > 64_000_000
        finally:
            process.kill()
    assert processes.resident(process.pid) == 0


def test_a_process_that_nobody_has_asked_for_is_gone() -> None:
    with subprocess.Popen(["true"]) as ended:
        deadline = time.monotonic() + 5
        while processes.running_since(ended.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert Path(f"/proc/{ended.pid}").exists()
        assert not processes.is_running(ended.pid, None)


@pytest.mark.usefixtures("no_proc")
def test_without_proc_the_time_is_compared_with_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = processes.running_since(HERE)
    assert isinstance(noted, float)
    step_the_clock(monkeypatch, 0.01)
    assert processes.is_running(HERE, noted)
    step_the_clock(monkeypatch, 100)
    assert not processes.is_running(HERE, noted)
    monkeypatch.setattr(processes, "MISSING", "not installed")
    assert processes.running_since(HERE) is None
