# SPDX-License-Identifier: GPL-3.0-or-later
"""One activated configuration of a runtime: enough to come back to it without a download."""

from __future__ import annotations

import hashlib
import json
import typing as t
from dataclasses import asdict, dataclass, field

TRYING, ACTIVE, FAILED = "trying", "active", "failed"


@dataclass(frozen=True)
class ModelIdentity:
    """Which bytes a generation serves."""

    name: str
    provider: str
    model: str
    revision: str
    sha256: str
    folder: str
    path: str
    size_bytes: int


# What a resident engine serves that is up without a model.
NO_MODEL = ModelIdentity("", "", "", "", "", "", "", 0)


@dataclass(frozen=True)
class Generation:
    """`status` is `trying` until it is proven, then `active`, or `failed` with the reason.

    The newest `active` record is the one that serves. `spec` is what was asked, for the next task that
    leaves options out. `restores` is the number of the generation that it is a copy of, made by a rollback. No secret
    is ever part of it.
    """

    number: int
    runtime: str
    time: str
    status: str
    engine: str
    engine_version: str
    model: ModelIdentity
    served_names: tuple[str, ...]
    spec: t.Mapping[str, t.Any]
    environment: t.Mapping[str, str]
    definition: str
    proof: t.Mapping[str, t.Any] = field(default_factory=dict)
    reason: str = ""
    restores: int | None = None

    @property
    def unit_hash(self) -> str:
        return hashlib.sha256(self.definition.encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        """One hash over everything that decides what is served and how."""
        what = [self.engine, self.engine_version, asdict(self.model), list(self.served_names)]
        # Where a program is asked for these, they are in no variable of its process.
        asked = {key: self.spec.get(key) for key in ("host", "port", "context_length", "options")}
        parts = [*what, dict(self.environment), self.unit_hash, asked]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, t.Any]:
        return {
            **asdict(self),
            "served_names": list(self.served_names),
            "unit_hash": self.unit_hash,
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def from_dict(cls, record: t.Mapping[str, t.Any]) -> Generation:
        fields = {name: record[name] for name in cls.__dataclass_fields__ if name in record}
        fields["model"] = ModelIdentity(**record["model"])
        fields["served_names"] = tuple(record["served_names"])
        return cls(**fields)
