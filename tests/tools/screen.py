# SPDX-License-Identifier: GPL-3.0-or-later
"""A command on a real terminal of a chosen size, and what people see on it.

    python screen.py --columns 80 --keep captures.txt [--interrupt 4.5] -- ansible-playbook site.yml

The terminal is tmux's. Every look that differs from the one before goes into the file below a line of its own; the
last one has all lines, also those that were scrolled away. A line that the terminal had to wrap is one line there,
longer than the terminal is wide. `--interrupt` presses Ctrl-C so many seconds after `--since` is first to be seen. The
answer is the command's own.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

_PACE = 0.25
_HISTORY = 20_000


class Screen:
    """A context: a terminal with the command in it; it closes with the context, whatever still runs there."""

    def __init__(self, words: t.Sequence[str], columns: int, rows: int) -> None:
        self._words = words
        self._size = ("-x", str(columns), "-y", str(rows))
        self._folder = tempfile.TemporaryDirectory(prefix="screen-")
        self._answer = Path(self._folder.name, "answer")

    def __enter__(self) -> Screen:
        # Ctrl-C ends the command, not the shell that tells its answer; what the command leaves cannot hold it up.
        shell = f"trap : INT; {shlex.join(self._words)}; echo $? > {shlex.quote(str(self._answer))}; exec sleep 1000"
        history = ("set", "-g", "history-limit", str(_HISTORY), ";")
        self._tmux("start-server", ";", *history, "new-session", "-d", *self._size, shell)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._tmux("kill-server")
        self._folder.cleanup()

    def look(self, *more: str) -> str:
        """What is to be seen; with `-S -` also what was."""
        shown = self._tmux("capture-pane", "-p", "-J", *more)
        return "\n".join(line.rstrip() for line in shown.splitlines()).rstrip("\n")

    def press(self, key: str) -> None:
        self._tmux("send-keys", key)

    def ended(self) -> int | None:
        """The command's answer; None while it runs."""
        told = self._answer.read_text() if self._answer.exists() else ""
        return int(told) if told.endswith("\n") else None

    def _tmux(self, *words: str) -> str:
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        # A terminal in a terminal is refused otherwise.
        environment.pop("TMUX", None)
        command = ["tmux", "-u", "-f", os.devnull, "-S", f"{self._folder.name}/socket", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise RuntimeError(f"tmux {words[0]}: {done.stderr.strip()}")
        return done.stdout


def watch(screen: Screen, interrupt: float | None, since: str, longest: float) -> tuple[list[tuple[float, str]], int]:
    """All looks with the seconds at which they were had, and the command's answer."""
    due: float | None = None
    started = time.monotonic()
    looks: list[tuple[float, str]] = []
    while (answer := screen.ended()) is None:
        passed = time.monotonic() - started
        if passed > longest:
            raise RuntimeError(f"still running after {longest:g} s:\n{screen.look()}")
        seen = screen.look()
        if interrupt is not None and due is None and since in seen:
            due = passed + interrupt
        if due is not None and passed >= due:
            screen.press("C-c")
            interrupt = due = None
        if not looks or looks[-1][1] != seen:
            looks.append((passed, seen))
        time.sleep(_PACE)
    looks.append((time.monotonic() - started, screen.look("-S", "-")))
    return looks, answer


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a command on a terminal of a chosen size.")
    parser.add_argument("--columns", type=int, default=80)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--keep", type=Path, required=True, help="the file for what was seen")
    parser.add_argument("--interrupt", type=float, help="seconds until Ctrl-C is pressed")
    parser.add_argument("--since", default="", metavar="TEXT", help="count them from when this is to be seen")
    parser.add_argument("--longest", type=float, default=300, help="seconds that the command may take")
    parser.add_argument("words", nargs="+", help="the command, after --")
    options = parser.parse_args()
    with Screen(options.words, options.columns, options.rows) as screen:
        looks, answer = watch(screen, options.interrupt, options.since, options.longest)
    kept = (f"=== after {passed:.1f} s ===\n{seen}\n" for passed, seen in looks)
    options.keep.write_text("".join(kept), encoding="utf-8")
    return answer


if __name__ == "__main__":
    sys.exit(main())
