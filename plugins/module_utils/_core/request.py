# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user asks for: one model of one source."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from .errors import LlmError
from .model import CAPABILITIES, InstalledModel
from .quantization import has_quantization
from .reference import ModelReference, check_name

_NEVER, _NEW, _ALWAYS = VERIFY = ("never", "new", "always")


@dataclass(frozen=True)
class ModelRequest:
    """One model as a user asks for it. `details` is what only its source understands."""

    name: str
    reference: ModelReference
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    quantization: str = ""
    path: str = ""
    sha256: str = ""
    allow_large: bool = False
    pinned: bool = False
    refresh: bool = False
    verify: str = _NEW
    capabilities: t.Mapping[str, t.Any] = field(default_factory=dict)
    details: t.Mapping[str, t.Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"Model {self.name} ({self.reference})"

    def wants(self, file: str) -> bool:
        """Whether a file of the repository is part of the choice; patterns are shell-like and match the path."""
        chosen = not self.include or any(fnmatchcase(file, pattern) for pattern in self.include)
        if self.quantization and not self.include:
            chosen = has_quantization(file, self.quantization)
        return chosen and not any(fnmatchcase(file, pattern) for pattern in self.exclude)

    @property
    def selection(self) -> dict[str, t.Any]:
        """What decides, beside the reference, which bytes the model has."""
        chosen: dict[str, t.Any] = {"include": list(self.include), "exclude": list(self.exclude)}
        if self.quantization:
            chosen["quantization"] = self.quantization.lower()
        return {**chosen, **{key: value for key, value in self.details.items() if key in ("create", "placement")}}

    def answered_by(self, record: InstalledModel) -> bool:
        """Whether the record came from the same question, so that only the revision can differ."""
        return (
            record.provider == self.reference.source
            and record.model == self.reference.model
            and dict(record.selection) == self.selection
        )

    @classmethod
    def from_params(
        cls, params: t.Mapping[str, t.Any], reference: ModelReference, own: t.Container[str]
    ) -> ModelRequest:
        """Build from module parameters; `own` are the options of one source alone that this source reads.

        Raises `invalid_name` or `invalid_input`.
        """
        name = check_name(params.get("name") or "", "Model name")
        verify = params.get("verify") or _NEW
        overrides = params.get("capabilities") or {}
        unknown = sorted(set(overrides) - set(CAPABILITIES))
        if unknown or verify not in VERIFY:
            said = f"capability '{unknown[0]}' is unknown" if unknown else f"verify '{verify}' is unknown"
            known = CAPABILITIES if unknown else VERIFY
            raise LlmError("invalid_input", f"Model {name}: the {said}.", remedy=f"Use one of: {', '.join(known)}.")
        for key, value in overrides.items():
            if value is not None and not _fits(key, value):
                raise LlmError("invalid_input", f"Model {name}: the capability {key} cannot be {value!r}.")
        details = {key: params[key] for key in DETAILS if params.get(key) and params[key] != _USUAL.get(key)}
        foreign = next((key for key in details if key not in own), None)
        if foreign:
            raise LlmError(
                "invalid_input",
                f"Model {name}: {foreign} is no option of the source {reference.source}.",
                remedy="Leave it out, or name the source that is meant.",
            )
        return cls(
            name=name,
            reference=reference,
            include=tuple(params.get("include") or ()),
            exclude=tuple(params.get("exclude") or ()),
            quantization=params.get("quantization") or "",
            path=params.get("path") or "",
            sha256=(params.get("sha256") or "").lower(),
            allow_large=bool(params.get("allow_large")),
            pinned=bool(params.get("pinned")),
            refresh=bool(params.get("refresh")),
            verify=verify,
            capabilities=overrides,
            details=details,
        )


# Options of a model that one source alone reads, and the values that say nothing.
DETAILS = (
    "from_controller",
    "controller_files",
    "controller_staging",
    "url",
    "mirrors",
    "checksum_url",
    "placement",
    "insecure",
    "create",
    "transfer",
    "models_path",
    "executable",
)
_USUAL = {"placement": "copy", "transfer": "http"}


def _fits(capability: str, value: t.Any) -> bool:
    """Whether a capability can have that value: yes or no, a count of tokens, a list of roles, or a text."""
    if capability.startswith("supports_"):
        return isinstance(value, bool)
    if capability == "max_context_length":
        return isinstance(value, int) and not isinstance(value, bool) and value > 0
    if capability == "allowed_roles":
        return isinstance(value, list) and all(isinstance(role, str) for role in value)
    return isinstance(value, str)
