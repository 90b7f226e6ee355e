# SPDX-License-Identifier: GPL-3.0-or-later
"""What killed runs leave in a store that no later run has a use for."""

from __future__ import annotations

import hashlib
import shutil
import typing as t
from pathlib import Path

from .._core.manifest import Manifest
from .._core.model import InstalledModel

_ELSEWHERE = "elsewhere--"


def leftovers(store: Path, manifest: Manifest) -> list[Path]:
    """Half-made and half-removed folders, second names of bytes that a model has, lists and records of nothing.

    Bytes on their way in are none: the next run goes on with them.
    """
    partial, chunks = store / "partial", store / "chunks"
    found = [path for pattern in ("*.removed", "*.staging", "*.scratch") for path in partial.glob(pattern)]
    known: dict[str, list[Path]] = {}
    for record in manifest.models.values():
        for entry in record.files:
            place = Path(record.folder or "/nonexistent") / entry.path
            known.setdefault(f"{entry.digest.algorithm}-{entry.digest.value}", []).append(place)
    found += [path for path in partial.glob("*") if path.name in known and _is_one_of(path, known[path.name])]
    found += [
        path
        for path in chunks.glob("*.chunks")
        if path.stem not in known
        and not (partial / path.stem).exists()
        and not (partial / f"{path.stem}.partial").exists()
    ]
    names = {record_name(record) for record in manifest.models.values()}
    found += [
        path
        for path in (store / "records").glob("*.json")
        if path.name not in names
        and not path.name.startswith(_ELSEWHERE)
        and not store.joinpath(*path.stem.split("--", 1)).is_dir()
    ]
    return sorted(found + list(store.glob(".manifest.json.*")))


def _is_one_of(path: Path, others: t.Sequence[Path]) -> bool:
    """Whether the file is just another name of one of these."""
    inode = path.stat().st_ino
    return any(other.is_file() and other.stat().st_ino == inode for other in others)


def told(paths: t.Sequence[Path]) -> tuple[str, ...]:
    """One sentence for a result; none for none."""
    if not paths:
        return ()
    names = ", ".join(path.name for path in paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
    return (f"What a killed run left behind is removed: {names}.",)


def sweep(paths: t.Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def record_name(record: InstalledModel) -> str:
    """The file in `records/` that says what a folder is, or a model whose bytes are elsewhere."""
    path = Path(record.folder)
    if record.folder:
        return f"{path.parent.name}--{path.name}.json"
    return f"{_ELSEWHERE}{hashlib.sha256(record.name.encode()).hexdigest()[:32]}.json"
