# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are whole after any kill or power cut: write beside, flush to disk, rename, flush the folder."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from .ownership import Owner


def flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str, *, mode: int, owner: Owner | None = None) -> None:
    """Replace `path` by `text` in one step; a reader sees the old file or the new one."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if owner:
            owner.give(temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    flush_folder(path.parent)


def read_text(path: Path) -> str | None:
    """The file's text, or None where there is no such file. A byte that is no UTF-8 is for the reader to refuse."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def replace_link(path: Path, target: str) -> None:
    """Point the symbolic link `path` at `target` in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    temporary.symlink_to(target)
    os.replace(temporary, path)
    flush_folder(path.parent)


def read_link(path: Path) -> str | None:
    try:
        return os.readlink(path)
    except (FileNotFoundError, NotADirectoryError, OSError):
        return None
