# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps one engine running where there is no systemd.

This file is a program of its own: the supervisor `process` writes it beside the runtime and starts it
detached, so it uses the standard library alone. It starts the engine without core dumps and with the
variables of the runtime's environment files, writes its output to a log that rotates, starts it again after
a failure with growing pauses, and on SIGTERM ends it with all its children before it leaves.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import logging.handlers
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import typing as t

# Above what an engine says after a start that was asked for; a start after a failure has another one.
START_LINE = "--- engine starts ---\n"
_AGAIN_LINE = "--- engine starts again ---\n"
_LOG_BYTES, _LOG_COPIES = 10_000_000, 3
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
# As many failures within this many seconds, and it stays down (systemd: StartLimitBurst=, StartLimitIntervalSec=).
_FAILURES, _INTERVAL = 5, 120.0
_PR_SET_PDEATHSIG = 1
_WORD = re.compile(r"\$(\$)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def parse_environment(text: str) -> dict[str, str]:
    """The variables of an environment file that we wrote; comments and blank lines are passed over."""
    variables: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, quoted = line.strip().partition("=")
        if not equals or name.startswith("#"):
            continue
        if len(quoted) >= 2 and quoted[0] == quoted[-1] == '"':
            quoted = re.sub(r"\\(.)", r"\1", quoted[1:-1])
        variables[name] = quoted
    return variables


def expand(words: t.Sequence[str], variables: t.Mapping[str, str]) -> list[str]:
    """Put values for `${NAME}` and `$` for `$$`, one word staying one word, as systemd does."""
    return [
        _WORD.sub(lambda found: "$" if found.group(1) else variables.get(found.group(2), ""), word) for word in words
    ]


def start_ticks(pid: int) -> int | None:
    """When a process started, in the kernel's ticks since boot (proc_pid_stat(5)); None if it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def is_alive(pid: int, ticks: int | None) -> bool:
    """Whether the very process is alive: a number that was given to another one does not count."""
    return ticks is not None and start_ticks(pid) == ticks


def end_group(pid: int, ticks: int | None, grace: float) -> None:
    """End a process group by its leader: SIGTERM, `grace` seconds, SIGKILL; children that outlive it too."""
    if is_alive(pid, ticks):
        _signal_group(pid, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while is_alive(pid, ticks) and time.monotonic() < deadline:
            time.sleep(0.02)
        _signal_group(pid, signal.SIGKILL)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


class Keeper:
    """One engine, from the first start to the last."""

    def __init__(self, definition_path: str, state_path: str) -> None:
        self._definition_path = definition_path
        self._state_path = state_path
        self._stopping = threading.Event()
        self._restarts = 0
        self._failures: list[float] = []

    def run(self) -> int:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_arguments: self._stopping.set())
        pause = _FIRST_PAUSE
        while True:
            status = self._run_once()
            if self._stopping.is_set() or status == 0:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._state_path)
                return 0
            now = time.monotonic()
            self._failures = [moment for moment in self._failures if now - moment < _INTERVAL] + [now]
            detail = f"signal {-status}" if status < 0 else f"exit status {status}"
            if len(self._failures) >= _FAILURES:
                self._write_state(None, None, f"{detail}, given up after {_FAILURES} failures")
                return 1
            self._restarts += 1
            self._write_state(None, None, detail)
            if len(self._failures) == 1:
                pause = _FIRST_PAUSE
            self._stopping.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            if self._stopping.is_set():
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._state_path)
                return 0

    def _run_once(self) -> int:
        with open(self._definition_path, encoding="utf-8") as file:
            definition = json.load(file)
        variables: dict[str, str] = {}
        for path in definition["environment_files"]:
            with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
                variables.update(parse_environment(file.read()))
        log = _open_log(definition["log"])
        log.info((_AGAIN_LINE if self._restarts else START_LINE).rstrip("\n"))
        try:
            child = subprocess.Popen(
                expand(definition["command"], variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**os.environ, **variables},
                start_new_session=True,
                # Only the main thread is alive here: the one that reads the log has ended with its engine.
                preexec_fn=_die_with_parent,  # noqa: PLW1509
                **_account(definition["user"]),
            )
        except OSError as failure:
            log.info("cannot start: %s", failure)
            return 127
        ticks = start_ticks(child.pid)
        self._write_state(child.pid, ticks, "")
        pump = threading.Thread(target=_pump, args=(child.stdout, log), daemon=True)
        pump.start()
        while child.poll() is None and not self._stopping.is_set():
            # A child's end does not wake an event: look often enough that a crash is seen at once.
            self._stopping.wait(0.1)
        if child.poll() is None:
            end_group(child.pid, ticks, float(definition["stop_timeout"]))
        status = child.wait()
        _signal_group(child.pid, signal.SIGKILL)
        pump.join(timeout=5)
        return status

    def _write_state(self, pid: int | None, ticks: int | None, detail: str) -> None:
        state = {
            "keeper_pid": os.getpid(),
            "keeper_ticks": start_ticks(os.getpid()),
            "pid": pid,
            "ticks": ticks,
            "started_at": time.time(),
            "restarts": self._restarts,
            "detail": detail,
        }
        temporary = f"{self._state_path}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(state, file)
        os.replace(temporary, self._state_path)


def _open_log(path: str) -> logging.Logger:
    log = logging.getLogger("engine")
    for handler in list(log.handlers):
        handler.close()
        log.removeHandler(handler)
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=_LOG_BYTES, backupCount=_LOG_COPIES, encoding="utf-8", errors="replace"
    )
    handler.setFormatter(logging.Formatter("%(message)s"))
    os.chmod(path, 0o640)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    return log


def _pump(stream: t.IO[bytes] | None, log: logging.Logger) -> None:
    for line in stream or ():
        log.info("%s", line.decode("utf-8", "replace").rstrip("\n"))


def _account(user: str | None) -> dict[str, t.Any]:
    """Popen's words for running as an account with its own group and no others."""
    return {"user": user, "group": user, "extra_groups": []} if user else {}


def _die_with_parent() -> None:
    """Should the keeper be killed, its engine must not live on unseen (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    raise SystemExit(Keeper(sys.argv[1], sys.argv[2]).run())
