# SPDX-License-Identifier: GPL-3.0-or-later
"""Models: what was asked for, what a source says it is, and what the store has."""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from .digest import Digest
from .errors import LlmError
from .reference import ModelReference, check_name

GB = 1_000_000_000
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
class ModelRequest:
    """One model as a user asks for it. `path` is for the source `file`, `sha256` for a single file."""

    name: str
    reference: ModelReference
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    path: str = ""
    sha256: str = ""
    allow_large: bool = False

    def __str__(self) -> str:
        return f"Model {self.name} ({self.reference})"

    def wants(self, file: str) -> bool:
        """Whether a file of the repository is part of the choice; patterns are shell-like and match the path."""
        chosen = not self.include or any(fnmatchcase(file, pattern) for pattern in self.include)
        return chosen and not any(fnmatchcase(file, pattern) for pattern in self.exclude)

    @property
    def selection(self) -> dict[str, list[str]]:
        return {"include": list(self.include), "exclude": list(self.exclude)}

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> ModelRequest:
        """Build from module parameters; raises `invalid_name` or `invalid_input`."""
        name = check_name(params.get("name") or "", "Model name")
        source = params.get("source") or "huggingface"
        path = params.get("path") or ""
        model = params.get("model") or ""
        if source == "file":
            if not path.startswith("/"):
                raise LlmError(
                    "invalid_input",
                    f"Model {name} (file): path '{path}' is not absolute.",
                    remedy="Give the file's or folder's absolute path on the host as path.",
                )
            model, revision = path, ""
        else:
            check_name(model, f"Model {name} ({source}): model")
            revision = params.get("revision") or "main"
            check_name(revision, f"Model {name} ({source}): revision")
        return cls(
            name=name,
            reference=ModelReference(source, model, revision),
            include=tuple(params.get("include") or ()),
            exclude=tuple(params.get("exclude") or ()),
            path=path,
            sha256=(params.get("sha256") or "").lower(),
            allow_large=bool(params.get("allow_large")),
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
    """An exact revision with its files. `origin` lets a source see next time, cheaply, that nothing moved."""

    revision: str
    files: tuple[FileEntry, ...]
    origin: t.Mapping[str, t.Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.files)

    @property
    def sha256(self) -> str:
        """One hash that names these bytes: the file's own, or that of the sorted list for several."""
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
    status: str = "installed"
    runtime: str | None = None
    capabilities: t.Mapping[str, t.Any] = field(default_factory=dict)
    extra: t.Mapping[str, t.Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.files)

    @property
    def local_path(self) -> str:
        """What to hand to an engine: the file where there is one, else the folder."""
        return f"{self.folder}/{self.files[0].path}" if len(self.files) == 1 else self.folder

    @property
    def resolved(self) -> Resolved:
        return Resolved(self.revision, self.files, self.origin)

    def answers(self, request: ModelRequest) -> bool:
        """Whether the record came from the same question, so that only the revision can differ."""
        return (
            self.provider == request.reference.source
            and self.model == request.reference.model
            and dict(self.selection) == request.selection
        )

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
            "capabilities": {key: self.capabilities.get(key) for key in CAPABILITIES},
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
        known = set(cls.__dataclass_fields__) | {"size_bytes", "size_gb", "local_path"}
        return cls(
            name=str(record["name"]),
            provider=str(record["provider"]),
            model=str(record.get("model") or ""),
            requested_revision=str(record.get("requested_revision") or ""),
            revision=str(record.get("revision") or ""),
            selection=record.get("selection") or {"include": [], "exclude": []},
            folder=str(record["folder"]),
            files=tuple(FileEntry.from_dict(entry) for entry in record.get("files") or ()),
            sha256=str(record.get("sha256") or ""),
            installed_at=str(record.get("installed_at") or ""),
            origin=record.get("origin") or {},
            display_name=str(record.get("display_name") or ""),
            status=str(record.get("status") or "installed"),
            runtime=record.get("runtime"),
            capabilities=record.get("capabilities") or {},
            extra={key: value for key, value in record.items() if key not in known},
        )


def total_size(records: t.Iterable[InstalledModel]) -> int:
    """Bytes on the disk; a file that two names share counts once."""
    return sum({(record.folder, entry.path): entry.size for record in records for entry in record.files}.values())
