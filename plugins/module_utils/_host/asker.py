# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether somebody still waits for what this process will answer.

Who presses Ctrl-C on the controller ends the connection, and nothing on the host: the module would go on for hours.
Its output is a pipe to whoever reads the answer. When the reader is gone, the kernel says so at once (poll(2), POLLERR).
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import threading
import typing as t

_PACE = 0.5
# Seconds in which a run may come to an orderly end; what has arrived is kept in any case.
_GRACE = 5.0
_OUTPUT = 1


@contextlib.contextmanager
def while_asked_for(give_up: t.Callable[[], None], *, descriptor: int = _OUTPUT) -> t.Iterator[None]:
    """Call `give_up` when nobody can read the answer any more, and end the process if it does not end by itself."""
    if not _is_pipe(descriptor):
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_PACE):
            if _reader_is_gone(descriptor):
                give_up()
                if not ended.wait(_GRACE):
                    os._exit(1)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _is_pipe(descriptor: int) -> bool:
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _reader_is_gone(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _file, event in poll.poll(0))
