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
    """All of it. Bytes on their way in are none: the next run goes on with them."""
    return sorted(unfinished(store, manifest) + unused(store, manifest))


def unfinished(store: Path, manifest: Manifest) -> list[Path]:
    """In `partial/`: half-made and half-removed folders, and second names of bytes that a model has."""
    partial = store / "partial"
    found = [path for pattern in ("*.removed", "*.staging", "*.scratch") for path in partial.glob(pattern)]
    places: dict[str, list[Path]] = {}
    for record in manifest.models.values():
        for entry in record.files:
            place = Path(record.folder or "/nonexistent") / entry.path
            places.setdefault(entry.digest.file_name, []).append(place)
    return found + [path for path in partial.glob("*") if path.name in places and _is_one_of(path, places[path.name])]


def unused(store: Path, manifest: Manifest) -> list[Path]:
    """Lists and records of nothing, and manifests that were never put in place."""
    partial = store / "partial"
    known = {entry.digest.file_name for record in manifest.models.values() for entry in record.files}
    found = [
        path
        for path in (store / "chunks").glob("*.chunks")
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
    return found + list(store.glob(".manifest.json.*"))


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
