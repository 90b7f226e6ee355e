# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of models, and where their bytes come from: parsed, checked and printed in one place."""

from __future__ import annotations

import hashlib
import re
import typing as t
from dataclasses import dataclass

from .errors import LlmError

_ALLOWED = re.compile(r"[\w\-.:/]+", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
NAME_LIMIT = 255
_LONGEST_FOLDER = 150


def check_name(name: str, place: str) -> str:
    """Return `name` if it can be used as a name, else raise `invalid_name` saying what is wrong with it."""
    problem = None
    if not name:
        problem = "it is empty"
    elif len(name) > NAME_LIMIT:
        problem = f"it has {len(name)} characters, {NAME_LIMIT} are allowed"
    elif name.startswith("/"):
        problem = "it starts with '/'"
    elif not _ALLOWED.fullmatch(name):
        problem = "it has characters that are not allowed"
    elif any(part in ("", ".", "..") for part in name.split("/")) or ".." in name:
        problem = "it has '..' or an empty part"
    if problem:
        shown = name if len(name) <= 60 else f"{name[:60]}…"
        raise LlmError("invalid_name", f"{place} '{shown}' is refused: {problem}.", name=name[:NAME_LIMIT])
    return name


def model_of(params: t.Mapping[str, t.Any], place: str, example: str) -> str:
    """The source's own name of a model; raises `invalid_input` where none is given, `invalid_name` for a bad one."""
    if not params.get("model"):
        raise LlmError("invalid_input", f"{place}: model is missing.", remedy=f"Give it, as in {example}.")
    return check_name(str(params["model"]), f"{place}: model")


@dataclass(frozen=True)
class ModelReference:
    """Source, the source's own name of the model, and the revision asked for (branch, tag or commit)."""

    source: str
    model: str
    revision: str

    @property
    def pinned(self) -> bool:
        """Whether the revision can never mean other bytes: only a full lower-case commit hash cannot move."""
        return bool(_COMMIT.fullmatch(self.revision))

    def __str__(self) -> str:
        return f"{self.source} {self.model}@{self.revision}" if self.revision else f"{self.source} {self.model}"


def folder_name(model: str) -> str:
    """A model's own name as one folder name: `org/name` becomes `org--name`, as hubs' caches write it."""
    name = model.replace("/", "--")
    if len(name) <= _LONGEST_FOLDER:
        return name
    # With revision and suffix it would be longer than a file system takes (NAME_MAX); the hash keeps it apart.
    return f"{name[: _LONGEST_FOLDER - 13]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
