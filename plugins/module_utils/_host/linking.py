# SPDX-License-Identifier: GPL-3.0-or-later
"""The same bytes under another name, without copying them where the file system can."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from pathlib import Path

# Shares a file's blocks with another one (linux/fs.h, ioctl_ficlonerange(2)).
_FICLONE = 0x40049409


def clone(source: Path, target: Path) -> bool:
    """Make `target` a file of its own that shares the blocks of `source`; False where that cannot be."""
    with source.open("rb") as original, target.open("wb") as made, contextlib.suppress(OSError):
        fcntl.ioctl(made.fileno(), _FICLONE, original.fileno())
        return True
    target.unlink()
    return False


def link_shared(source: Path, target: Path) -> bool:
    """Link a file of somebody else's: only one that everybody may read, because its mode stays what it is."""
    if not source.stat().st_mode & 0o004:
        return False
    with contextlib.suppress(OSError):
        os.link(source, target)
        return True
    return False


def link_own(source: Path, target: Path) -> None:
    """Link a file of the store; copy it on a file system without links."""
    try:
        os.link(source, target)
    except OSError as failure:
        # EPERM is how link(2) says that the file system has no links; EACCES is what it sounds like.
        if failure.errno == errno.EACCES:
            raise
        shutil.copyfile(source, target)
        shutil.copymode(source, target)
