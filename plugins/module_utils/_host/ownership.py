# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose files these are: the service account's when we are root, our own otherwise."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """User and group ids that new files get; None leaves them as they come."""

    uid: int | None = None
    gid: int | None = None

    def give(self, path: Path | str) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def owner_of(user: str) -> Owner:
    """The owner for files of `user`; nobody special without root, or while the account does not exist."""
    if os.geteuid() != 0:
        return Owner()
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return Owner()
    return Owner(entry.pw_uid, entry.pw_gid)


def make_folder(path: Path, owner: Owner, mode: int = 0o750) -> None:
    """Make a folder and its missing parents; only folders made here get owner and mode."""
    missing = []
    current = path
    while not current.exists():
        missing.append(current)
        current = current.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        folder.chmod(mode if folder == path else 0o755)
        if folder == path:
            owner.give(folder)
