# SPDX-License-Identifier: GPL-3.0-or-later
"""The folders of the collection on a host, with owner and mode: seen, made, removed."""

from __future__ import annotations

import os
import shutil
import stat
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .._core.layout import Layout
from .ownership import Owner, make_folder, owner_of


@dataclass(frozen=True)
class Folder:
    """One folder as it must be. `service` folders belong to the service account, others to root."""

    path: str
    mode: int
    service: bool = False


def folders(layout: Layout) -> tuple[Folder, ...]:
    """Parents first. Without root every folder is the user's own."""
    return (
        Folder(layout.install, 0o755),
        Folder(layout.engines, 0o755),
        Folder(layout.state, 0o755),
        Folder(layout.store, 0o750, service=True),
        Folder(layout.runtimes, 0o755),
        Folder(layout.config, 0o755),
        Folder(layout.environments, 0o750, service=True),
        Folder(layout.secrets, 0o700),
        Folder(layout.logs, 0o750, service=True),
    )


def differences(layout: Layout, user: str) -> dict[str, tuple[t.Any, t.Any]]:
    """Per path what is and what must be, for those that differ."""
    owner = owner_of(user)
    found = {}
    for folder in _unique(layout):
        is_now = _seen(folder.path, owner)
        must_be = _wanted(folder, owner)
        if is_now != must_be:
            found[folder.path] = (is_now, must_be)
    return found


def make(layout: Layout, user: str) -> None:
    owner = owner_of(user)
    for folder in _unique(layout):
        path = Path(folder.path)
        make_folder(path, Owner(), folder.mode)
        path.chmod(folder.mode)
        (owner if folder.service else _root(owner)).give(path)


def remove(layout: Layout) -> None:
    for path in existing_roots(layout):
        shutil.rmtree(path)


def existing_roots(layout: Layout) -> list[str]:
    """The top folders that are there; removing them removes everything."""
    roots = {layout.install, layout.state, layout.config, layout.logs, layout.run}
    return sorted(path for path in roots if os.path.isdir(path))


def _unique(layout: Layout) -> tuple[Folder, ...]:
    seen: dict[str, Folder] = {}
    for folder in folders(layout):
        seen.setdefault(folder.path, folder)
    return tuple(seen.values())


def _root(owner: Owner) -> Owner:
    return Owner(0, 0) if owner.uid is not None else Owner()


def _wanted(folder: Folder, owner: Owner) -> dict[str, t.Any]:
    wanted: dict[str, t.Any] = {"mode": f"{folder.mode:04o}"}
    if owner.uid is not None:
        wanted["uid"] = owner.uid if folder.service else 0
    return wanted


def _seen(path: str, owner: Owner) -> dict[str, t.Any] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    seen: dict[str, t.Any] = {"mode": f"{stat.S_IMODE(status.st_mode):04o}"}
    if owner.uid is not None:
        seen["uid"] = status.st_uid
    return seen
