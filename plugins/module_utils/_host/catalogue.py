# SPDX-License-Identifier: GPL-3.0-or-later
"""The store's manifest on the disk, and how it comes back when it is lost or wrong.

Every folder of models has a record of its own in `records/`, written before the folder appears. So the manifest is
a view that can be made anew: a missing, empty or cut one is, and folders it does not know are taken up again.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

from .._core.errors import LlmError
from .._core.manifest import Manifest
from .._core.model import FAILED, INSTALLED, InstalledModel
from .durable import read_text, write_text
from .leftovers import record_name
from .ownership import Owner, make_folder


@dataclass(frozen=True)
class Reading:
    """The manifest as it should be; `healed` has a sentence for everything that the file did not say so."""

    manifest: Manifest
    healed: tuple[str, ...] = ()


class Catalogue:
    """`manifest.json` and `records/` of one store."""

    def __init__(self, store: Path, owner: Owner) -> None:
        self._store = store
        self._path = store / "manifest.json"
        self._records = store / "records"
        self._owner = owner

    def read(self) -> Reading:
        """Look only: nothing is written."""
        text = read_text(self._path)
        healed: list[str] = []
        if text is None:
            manifest = Manifest()
            lost = self._recorded(manifest)
            if not lost:
                return Reading(manifest)
            healed.append(f"The manifest {self._path} was missing; it is made anew from the records of the store.")
            return Reading(_with(manifest, lost), tuple(healed))
        try:
            manifest = Manifest.parse(text, str(self._path))
        except LlmError as failure:
            healed.append(
                f"{failure.what} It is made anew from the records of the store, and the old one is kept aside."
            )
            return Reading(_with(Manifest(), self._recorded(Manifest())), tuple(healed))
        unknown = self._recorded(manifest)
        healed += [
            f"Model {record.name} is in {record.folder}, and the manifest did not know it." for record in unknown
        ]
        seen = seen_on_disk(_with(manifest, unknown))
        return Reading(seen.manifest, (*healed, *seen.healed))

    def _recorded(self, manifest: Manifest) -> list[InstalledModel]:
        """Models whose folder and record are there, and whose name and folder the manifest does not have."""
        if not self._records.is_dir():
            return []
        folders = {record.folder for record in manifest.models.values()}
        found: dict[str, InstalledModel] = {}
        for path in sorted(self._records.glob("*.json")):
            with contextlib.suppress(LlmError):
                for record in Manifest.parse(read_text(path) or "", str(path)).models.values():
                    there = Path(record.folder).is_dir() if record.folder else record.name not in manifest.models
                    if there and (not record.folder or record.folder not in folders):
                        newest = found.get(record.name)
                        if record.name not in manifest.models and (
                            newest is None or record.installed_at > newest.installed_at
                        ):
                            found[record.name] = record
        return list(found.values())

    def write(self, manifest: Manifest) -> None:
        text = read_text(self._path)
        if text is not None:
            try:
                Manifest.parse(text, str(self._path))
            except LlmError:
                # Never lose a byte: what could not be read may still be of use to somebody.
                names = (self._store / f"manifest.json.broken{number or ''}" for number in itertools.count())
                os.replace(self._path, next(name for name in names if not name.exists()))
        write_text(self._path, manifest.render(), mode=0o644, owner=self._owner)

    def note(self, record: InstalledModel, manifest: Manifest) -> None:
        """Write the record of a folder: this model and the others that live there; or of a model without one."""
        make_folder(self._records, self._owner)
        others = [other for other in manifest.models.values() if record.folder and other.folder == record.folder]
        models = {other.name: other for other in [*others, record]}
        document = {"models": [models[name].as_dict() for name in sorted(models)]}
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        write_text(self._records / record_name(record), text, mode=0o640, owner=self._owner)

    def forget(self, record: InstalledModel) -> None:
        (self._records / record_name(record)).unlink(missing_ok=True)


def seen_on_disk(manifest: Manifest) -> Reading:
    """A manifest whose models are installed or failed as their files say."""
    healed = []
    for record in manifest.models.values():
        gone = bool(record.folder) and not _is_whole(record)
        if gone != (record.status == FAILED):
            there = Path(record.folder).is_dir()
            said = ("has not all of its files" if there else "is gone") if gone else "is back"
            healed.append(f"Model {record.name}: its folder {record.folder} {said}.")
            mended = replace(record, status=FAILED if gone else INSTALLED)
            manifest = manifest.with_model(mended, manifest.updated_at)
    return Reading(manifest, tuple(healed))


def _is_whole(record: InstalledModel) -> bool:
    """Whether all files are there with their sizes; their bytes are not read for that."""
    try:
        return all((Path(record.folder) / entry.path).stat().st_size == entry.size for entry in record.files)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _with(manifest: Manifest, records: t.Iterable[InstalledModel]) -> Manifest:
    for record in records:
        manifest = manifest.with_model(record, manifest.updated_at)
    return manifest
