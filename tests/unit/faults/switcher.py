# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that runs `llm_runtime` in children of its own that kill themselves at a chosen instant.

For each line of its input, `{"params": …, "at": …}`, it forks a child, prints the child's end (`killed` or `ended`) and
the result (JSON, empty for a killed one). `at` is `null`, the number of a function call inside the transaction, or
`["before" | "after", step]` for a line of the journal.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import typing as t

import requests
from ansible.module_utils.testing import patch_module_args
from ansible_collections.llmops.fleet.plugins.module_utils._host import journal
from ansible_collections.llmops.fleet.plugins.modules import llm_runtime

# The library imports its parts when it is first used.
_LOADED = requests.Session
# Whose calls are counted: whatever changes the host, and whatever decides about it.
_COUNTED = ("/_work/", "/_host/journal.py", "/_host/configuration.py", "/_host/generations.py", "/_host/process.py",
            "/_host/durable.py", "/_host/lock.py")  # fmt: skip


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(at: t.Any) -> None:
    if isinstance(at, list):
        _at_step(*at)
    elif at is not None:
        _at_call(int(at))


def _at_step(when: str, step: str) -> None:
    begin, note = journal.Journal.begin, journal.Writing.note

    def counted_begin(self: journal.Journal, **details: t.Any) -> journal.Writing:
        if (when, step) == ("before", "begin"):
            die()
        writing = begin(self, **details)
        if step == "begin":
            die()
        return writing

    def counted_note(self: journal.Writing, named: str, **details: t.Any) -> None:
        if when == "before" and named == step:
            die()
        note(self, named, **details)
        if named == step:
            die()

    journal.Journal.begin = counted_begin  # type: ignore[method-assign]
    journal.Writing.note = counted_note  # type: ignore[method-assign]


def _at_call(number: int) -> None:
    left = number

    def count(frame: t.Any, event: str, _argument: t.Any) -> None:
        nonlocal left
        if event in ("call", "return") and any(part in frame.f_code.co_filename for part in _COUNTED):
            left -= 1
            if left == 0:
                die()

    sys.setprofile(count)


def run(params: dict[str, object], at: t.Any, output: str) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    with patch_module_args({**params, "_ansible_remote_tmp": "/tmp"}):
        arm(at)
        llm_runtime.main()


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                run(asked["params"], asked["at"], sys.argv[1])
            finally:
                sys.stdout.flush()
                os._exit(0)
        _child, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else "ended", flush=True)


if __name__ == "__main__":
    main()
