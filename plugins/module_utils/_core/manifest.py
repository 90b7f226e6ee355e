# SPDX-License-Identifier: GPL-3.0-or-later
"""The store's catalogue as a value: parsed from text, changed by copy, printed in a stable order."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field

from .errors import LlmError
from .model import InstalledModel, total_size


@dataclass(frozen=True)
class Manifest:
    """All models of a store by name. `extra` holds top-level fields of other versions."""

    models: t.Mapping[str, InstalledModel] = field(default_factory=dict)
    updated_at: str = ""
    extra: t.Mapping[str, t.Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return total_size(self.models.values())

    def with_model(self, record: InstalledModel, at: str) -> Manifest:
        return Manifest({**self.models, record.name: record}, at, self.extra)

    def without(self, name: str, at: str) -> Manifest:
        kept = {key: record for key, record in self.models.items() if key != name}
        return Manifest(kept, at, self.extra)

    def others_files(self, record: InstalledModel) -> set[str]:
        """Paths in the record's folder that other names of the store need (two choices of one revision)."""
        others = (other for other in self.models.values() if other.name != record.name)
        return {entry.path for other in others if other.folder == record.folder for entry in other.files}

    def render(self) -> str:
        records = [self.models[name].as_dict() for name in sorted(self.models)]
        document = {**self.extra, "models": records, "updated_at": self.updated_at}
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def parse(cls, text: str, place: str) -> Manifest:
        """Read a manifest; raises `invalid_input` naming `place` when it cannot be read as one."""
        try:
            document = json.loads(text)
            records = [InstalledModel.from_dict(record) for record in document["models"]]
        except (ValueError, KeyError, TypeError, AttributeError) as cause:
            raise LlmError(
                "invalid_input",
                f"The manifest {place} cannot be read as one.",
                remedy="Restore it from a backup, or move it away and pull the models again: their bytes are reused.",
            ) from cause
        extra = {key: value for key, value in document.items() if key not in ("models", "updated_at")}
        return cls({record.name: record for record in records}, str(document.get("updated_at") or ""), extra)
