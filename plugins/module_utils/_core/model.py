# SPDX-License-Identifier: GPL-3.0-or-later
"""Models: what a source says one is, and what the host has."""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from .digest import Digest
from .errors import LlmError

GB = 1_000_000_000
# What a model counts as in a plan where nobody can say how large it is.
ASSUMED_SIZE = 4 * GB
INSTALLED, FAILED = "installed", "failed"
CAPABILITIES = (
    "supports_system_role",
    "allowed_roles",
    "prompt_template",
    "max_context_length",
    "quantization",
    "supports_function_calling",
    "supports_structured_output",
    "supports_reasoning",
)


@dataclass(frozen=True)
class FileEntry:
    """One file of a model: its path inside the model, size in bytes, and what its bytes must hash to."""

    path: str
    size: int
    digest: Digest

    def as_dict(self) -> dict[str, t.Any]:
        return {"path": self.path, "size": self.size, "digest": str(self.digest)}

    @classmethod
    def from_dict(cls, record: t.Mapping[str, t.Any]) -> FileEntry:
        return cls(str(record["path"]), int(record["size"]), Digest.parse(str(record["digest"])))


@dataclass(frozen=True)
class Resolved:
    """An exact revision with its files. `origin` lets a source see next time, cheaply, that nothing moved.

    For a program that keeps its own bytes: `held` says that it has this revision whole, `here` which of the files it
    has, `declared_size` how many bytes it says there are where it does not list files. `damaged` names files that were
    found not to be what they must be, `identity` is its own hash of the whole model. An empty revision is one that only
    the pull can tell. `notes` are sentences on what could not be looked at. `candidates` are files of this host,
    outside the store, that should have a digest's bytes.
    """

    revision: str
    files: tuple[FileEntry, ...]
    origin: t.Mapping[str, t.Any] = field(default_factory=dict)
    held: bool = False
    here: frozenset[Digest] = frozenset()
    declared_size: int | None = None
    damaged: tuple[str, ...] = ()
    identity: str = ""
    notes: tuple[str, ...] = ()
    candidates: t.Mapping[Digest, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes; assumed where nobody says."""
        if self.files:
            return sum(entry.size for entry in self.files)
        return ASSUMED_SIZE if self.declared_size is None else self.declared_size

    @property
    def sha256(self) -> str:
        """One hash that names these bytes: the file's own, or that of the sorted list for several."""
        if self.identity or not self.files:
            return self.identity
        if len(self.files) == 1 and self.files[0].digest.algorithm == "sha256":
            return self.files[0].digest.value
        lines = "".join(sorted(f"{entry.digest}  {entry.path}\n" for entry in self.files))
        return hashlib.sha256(lines.encode()).hexdigest()


def check_files(files: t.Iterable[FileEntry], subject: str) -> None:
    """Refuse paths that would leave the model's folder, and two files of one path."""
    seen: set[str] = set()
    for entry in files:
        path = PurePosixPath(entry.path)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in entry.path or entry.path in seen:
            raise LlmError("invalid_input", f"{subject}: the source lists the path '{entry.path}', which is refused.")
        seen.add(entry.path)


@dataclass(frozen=True)
class InstalledModel:
    """One record of the manifest. `extra` holds fields of other versions, kept as they are."""

    name: str
    provider: str
    model: str
    requested_revision: str
    revision: str
    selection: t.Mapping[str, t.Any]
    folder: str
    files: tuple[FileEntry, ...]
    sha256: str
    installed_at: str
    origin: t.Mapping[str, t.Any] = field(default_factory=dict)
    display_name: str = ""
    status: str = INSTALLED
    runtime: str | None = None
    declared_size: int | None = None
    pinned: bool = False
    capabilities_read: t.Mapping[str, t.Any] = field(default_factory=dict)
    capabilities_override: t.Mapping[str, t.Any] = field(default_factory=dict)
    extra: t.Mapping[str, t.Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the model, whoever keeps them."""
        return sum(entry.size for entry in self.files) if self.files else self.declared_size or 0

    @property
    def kept_elsewhere(self) -> bool:
        """Whether another program, or the user's own folder, has the bytes: they are no part of the store."""
        return not self.folder

    @property
    def capabilities(self) -> dict[str, t.Any]:
        """What the model can take: read from it, with the user's own word above that."""
        return {key: self.capabilities_override.get(key, self.capabilities_read.get(key)) for key in CAPABILITIES}

    @property
    def root(self) -> str:
        """The folder that the files' paths are relative to; empty where another program keeps them."""
        return self.folder or str(self.origin.get("path") or "")

    @property
    def local_path(self) -> str:
        """What to hand to an engine: the file where there is one, else the folder."""
        return f"{self.root}/{self.files[0].path}" if len(self.files) == 1 and self.root else self.root

    @property
    def resolved(self) -> Resolved:
        return Resolved(self.revision, self.files, self.origin)

    def as_dict(self) -> dict[str, t.Any]:
        return {
            **self.extra,
            "name": self.name,
            "provider": self.provider,
            "display_name": self.display_name or self.name,
            "model": self.model,
            "requested_revision": self.requested_revision,
            "revision": self.revision,
            "selection": dict(self.selection),
            "size_bytes": self.size,
            "size_gb": round(self.size / GB, 3),
            "status": self.status,
            "capabilities": self.capabilities,
            "capabilities_read": dict(self.capabilities_read),
            "capabilities_override": dict(self.capabilities_override),
            "pinned": self.pinned,
            "declared_size": self.declared_size,
            "local_path": self.local_path,
            "folder": self.folder,
            "sha256": self.sha256,
            "installed_at": self.installed_at,
            "runtime": self.runtime,
            "origin": dict(self.origin),
            "files": [entry.as_dict() for entry in self.files],
        }

    @classmethod
    def from_dict(cls, record: t.Mapping[str, t.Any]) -> InstalledModel:
        """Read a record of this or another version: what it lacks is empty, what is unknown is kept."""
        known = set(cls.__dataclass_fields__) | {"size_bytes", "size_gb", "local_path", "capabilities"}
        return cls(
            name=str(record["name"]),
            provider=str(record["provider"]),
            model=str(record.get("model") or ""),
            requested_revision=str(record.get("requested_revision") or ""),
            revision=str(record.get("revision") or ""),
            selection=record.get("selection") or {"include": [], "exclude": []},
            folder=str(record.get("folder") or ""),
            files=tuple(FileEntry.from_dict(entry) for entry in record.get("files") or ()),
            sha256=str(record.get("sha256") or ""),
            installed_at=str(record.get("installed_at") or ""),
            origin=record.get("origin") or {},
            display_name=str(record.get("display_name") or ""),
            status=str(record.get("status") or INSTALLED),
            runtime=record.get("runtime"),
            declared_size=record.get("declared_size"),
            pinned=bool(record.get("pinned")),
            capabilities_read=record.get("capabilities_read") or {},
            capabilities_override=record.get("capabilities_override") or {},
            extra={key: value for key, value in record.items() if key not in known},
        )


def total_size(records: t.Iterable[InstalledModel]) -> int:
    """Bytes of the store on the disk. The same bytes count once, whatever names they have: the store links them."""
    own = (record for record in records if not record.kept_elsewhere)
    return sum({entry.digest: entry.size for record in own for entry in record.files}.values())
