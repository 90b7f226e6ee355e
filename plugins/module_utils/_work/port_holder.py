# SPDX-License-Identifier: GPL-3.0-or-later
"""Who else holds a runtime's port."""

from __future__ import annotations

from .._core.status import PortOwner
from .._core.supervisor import Process
from .._host import processes
from .._host.waiting import until

# Seconds that the kernel may take to clear up after a process.
_LAST_BREATH = 2.0


def holder_of(host: str, port: int, process: Process) -> PortOwner | None:
    """Who else has the port that a runtime on `host` is to have.

    A socket whose process is just ending is waited for: it is nobody's any more.
    """
    _done, owner = until(
        lambda: processes.listener(port, besides=process.members, host=host),
        lambda found: found is None or found.pid is not None,
        _LAST_BREATH,
    )
    return owner
