# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps one engine running where there is no systemd.

This file is a program of its own: the supervisor `process` writes it beside the runtime and starts it
detached, so it uses the standard library alone. It starts the engine without core dumps and with the
variables of the runtime's environment files, writes its output to a log that rotates, starts it again after
a failure with growing pauses, and on SIGTERM ends it with all its children before it leaves.

What belongs to an engine is its session, and every descendant: the keeper adopts those whose parent ends, so that
none gets away while it lives. Should it be killed, the engine's variables still tell whose its processes are.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import logging.handlers
import os
import pathlib
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
AGAIN_LINE = "--- engine starts again ---\n"
_LOG_BYTES, _LOG_COPIES = 10_000_000, 3
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
# As many failures within this many seconds, and it stays down (systemd: StartLimitBurst=, StartLimitIntervalSec=).
_FAILURES, _INTERVAL = 5, 120.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
# Seconds: for what an engine leaves behind to heed SIGTERM, and for a process to be gone after SIGKILL.
CHILD_GRACE = 2.0
_KILL_PATIENCE = 5.0
_LOOK_PAUSE = 0.02
# The kernel gives what there is at once: less than this was all.
_PROC_BYTES = 65536
_KERNEL = 2
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


class Entry(t.NamedTuple):
    """One line of the process table (proc_pid_stat(5)); `ticks` is its start, in the kernel's ticks since boot."""

    pid: int
    name: str
    state: str
    parent: int
    group: int
    session: int
    ticks: int


def entry_of(pid: int) -> Entry | None:
    """A process as the kernel has it, ended ones that nobody reaped included; None if it is gone."""
    head, _parenthesis, tail = read_proc(pid, "stat").rpartition(b")")
    fields = tail.split(None, 20)
    if len(fields) < 20:
        return None
    name = head.partition(b"(")[2].decode("utf-8", "replace")
    return Entry(pid, name, fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def read_proc(pid: int, name: str) -> bytes:
    """A file of a process; empty where it is gone or not ours to read."""
    try:
        descriptor = os.open(f"/proc/{pid}/{name}", os.O_RDONLY)
    except OSError:
        return b""
    try:
        text = b""
        while True:
            part = os.read(descriptor, _PROC_BYTES)
            text += part
            if len(part) < _PROC_BYTES:
                return text
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def pids() -> set[int]:
    """The numbers of all processes; none where there is no /proc."""
    with contextlib.suppress(FileNotFoundError):
        return {int(name) for name in os.listdir("/proc") if name.isdigit()}
    return set()


def table() -> dict[int, Entry]:
    return {entry.pid: entry for entry in map(entry_of, pids()) if entry}


def start_ticks(pid: int) -> int | None:
    """When a process started; None if it is gone or a zombie."""
    entry = entry_of(pid)
    return None if entry is None or entry.state in "ZX" else entry.ticks


def is_alive(pid: int, ticks: int | None) -> bool:
    """Whether the very process is alive: a number that was given to another one does not count."""
    return ticks is not None and start_ticks(pid) == ticks


def with_descendants(pids: t.Iterable[int], entries: t.Mapping[int, Entry]) -> set[int]:
    """The processes and all that they begot, as far as the parents between are still there."""
    children: dict[int, list[int]] = {}
    for entry in entries.values():
        children.setdefault(entry.parent, []).append(entry.pid)
    found: set[int] = set()
    open_ends = [pid for pid in pids if pid in entries]
    while open_ends:
        pid = open_ends.pop()
        if pid not in found:
            found.add(pid)
            open_ends += children.get(pid, [])
    return found


def ancestors(pid: int, entries: t.Mapping[int, Entry]) -> set[int]:
    """The process itself and all it descends from."""
    found: set[int] = set()
    while pid in entries and pid not in found:
        found.add(pid)
        pid = entries[pid].parent
    return found


def marker(state_path: str) -> dict[str, str]:
    """The variables by which a process of a runtime is known when its parents and its pid file are gone.

    The name is for people; the path tells it from a runtime of the same name below another prefix.
    """
    name = pathlib.Path(state_path).stem
    # A title that a process gives itself (setproctitle) must not be written over its variables.
    return {"LLM_RUNTIME": name, "LLM_RUNTIME_STATE": state_path, "SPT_NOENV": "1"}


def marked(state_path: str, entries: t.Mapping[int, Entry]) -> set[int]:
    """The processes that carry a runtime's marker; those of a container are not ours, whatever they carry."""
    wanted = [f"{name}={value}".encode() for name, value in marker(state_path).items() if name != "SPT_NOENV"]
    found = set()
    for pid, entry in entries.items():
        if entry.state in "ZX" or entry.parent == _KERNEL:
            continue
        text = read_proc(pid, "environ")
        # Cheap first: hardly any process has it.
        if wanted[1] in text and set(wanted) <= set(text.split(b"\0")) and _is_near(pid):
            found.add(pid)
    return found


def _is_near(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
    except OSError:
        return False


def send(pid: int, ticks: int | None, number: int) -> None:
    """Signal the very process: the descriptor pins it, so that its number cannot be given away in between."""
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        descriptor = None
    try:
        if is_alive(pid, ticks):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if descriptor is None:
                    os.kill(pid, number)
                else:
                    signal.pidfd_send_signal(descriptor, number)
    finally:
        if descriptor is not None:
            os.close(descriptor)


# Finds processes to end: their numbers with their start.
Look = t.Callable[[], t.Mapping[int, int]]


def end(look: Look, grace: float, known: t.Mapping[int, int] | None = None) -> dict[int, int]:
    """SIGTERM to all, `grace` seconds, SIGKILL until none is left; returns those that will not end.

    `known` are some that were seen earlier: what has lost its parent since is found by no look any more.
    """
    seen = {**(known or {}), **look()}
    for pid, ticks in seen.items():
        send(pid, ticks, signal.SIGTERM)
    _wait(lambda: not _alive(seen), grace)
    deadline = time.monotonic() + _KILL_PATIENCE
    while True:
        # Anew each time: what is killed last may have begotten more.
        seen.update(look())
        left = _alive(seen)
        if not left or time.monotonic() > deadline:
            return left
        for pid, ticks in left.items():
            send(pid, ticks, signal.SIGKILL)
        _wait(lambda: not _alive(seen), _LOOK_PAUSE * 5)


def _alive(seen: t.Mapping[int, int]) -> dict[int, int]:
    return {pid: ticks for pid, ticks in seen.items() if is_alive(pid, ticks)}


def _wait(over: t.Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not over() and time.monotonic() < deadline:
        time.sleep(_LOOK_PAUSE)


class Keeper:
    """One engine, from the first start to the last."""

    def __init__(self, definition_path: str, state_path: str) -> None:
        self._definition_path = definition_path
        self._state_path = state_path
        self._stopping = threading.Event()
        self._restarts = 0
        self._failures: list[float] = []
        self._started_at = time.time()

    def run(self) -> int:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_arguments: self._stopping.set())
        pause = _FIRST_PAUSE
        while True:
            status = self._run_once()
            if status != 0 and not self._stopping.is_set():
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
            if status == 0 or self._stopping.is_set():
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
        log.info((AGAIN_LINE if self._restarts else START_LINE).rstrip("\n"))
        try:
            child = subprocess.Popen(
                expand(definition["command"], variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**os.environ, **variables, **marker(self._state_path)},
                start_new_session=True,
                # Only the main thread is alive here: the one that reads the log has ended with its engine.
                preexec_fn=_die_with_parent,  # noqa: PLW1509
                **_account(definition["user"]),
            )
        except OSError as failure:
            log.info("cannot start: %s", failure)
            return 127
        self._started_at, ticks = time.time(), start_ticks(child.pid)
        self._write_state(child.pid, ticks, "")
        pump = threading.Thread(target=_pump, args=(child.stdout, log), daemon=True)
        pump.start()
        while not self._has_ended(child.pid) and not self._stopping.is_set():
            # A child's end does not wake an event: look often enough that a crash is seen at once.
            self._stopping.wait(0.1)
        grace = float(definition["stop_timeout"])
        known = self._belonging(child.pid)
        if not self._has_ended(child.pid):
            with contextlib.suppress(OSError):
                self._write_state(child.pid, ticks, "", ending=True)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGTERM)
            _wait(lambda: self._has_ended(child.pid), grace)
        # Until it is reaped, its number stays its own: nobody else's session can be meant.
        rest = min(grace, CHILD_GRACE) if self._has_ended(child.pid) else 0.0
        end(lambda: self._belonging(child.pid), rest, known)
        status = child.wait()
        self._has_ended(child.pid)
        pump.join(timeout=5)
        return status

    def _has_ended(self, pid: int) -> bool:
        """Whether the engine has ended; it is not reaped here, adopted processes that have ended are."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return True
            if ended is None or ended.si_pid == pid:
                return ended is not None
            os.waitpid(ended.si_pid, os.WNOHANG)

    def _belonging(self, pid: int) -> dict[int, int]:
        """The engine's session and all our descendants, which are its own and those that it left."""
        entries = table()
        own = os.getpid()
        session = {entry.pid for entry in entries.values() if entry.session == pid}
        found = with_descendants({own, *session}, entries) - {own}
        return {each: entries[each].ticks for each in found if entries[each].state not in "ZX"}

    def _write_state(self, pid: int | None, ticks: int | None, detail: str, *, ending: bool = False) -> None:
        state = {
            "keeper_pid": os.getpid(),
            "keeper_ticks": start_ticks(os.getpid()),
            "pid": pid,
            "ticks": ticks,
            "started_at": self._started_at,
            "restarts": self._restarts,
            "detail": detail,
            "ending": ending,
        }
        temporary = f"{self._state_path}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(state, file)
        os.replace(temporary, self._state_path)


class _Log(logging.handlers.RotatingFileHandler):
    """A log that is not for everybody, each new file of it too: prompts can be in it."""

    def _open(self) -> t.Any:
        stream = super()._open()
        os.fchmod(stream.fileno(), 0o640)
        return stream


def _open_log(path: str) -> logging.Logger:
    log = logging.getLogger("engine")
    for handler in list(log.handlers):
        handler.close()
        log.removeHandler(handler)
    handler = _Log(path, maxBytes=_LOG_BYTES, backupCount=_LOG_COPIES, encoding="utf-8", errors="replace")
    handler.setFormatter(logging.Formatter("%(message)s"))
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
