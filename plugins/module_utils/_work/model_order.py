# SPDX-License-Identifier: GPL-3.0-or-later
"""What one task asks of the store."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

from .._core.errors import LlmError
from .._core.model import InstalledModel
from .._core.ports import SourceOptions
from .._core.reference import check_name
from .._core.request import ModelRequest
from .._sources.registry import DEFAULT, request_from

ABSENT, VERIFIED = "absent", "verified"
_TOKEN_VARIABLE = "HF_TOKEN"
# What numbers can be meant: GB, MB a second, connections, seconds.
_BOUNDS = {
    "max_disk_gb": (0, 1e9),
    "max_model_gb": (0, 1e9),
    "max_mb_per_second": (0, 1e6),
    "workers": (1, 64),
    "timeout": (0.01, 86_400),
    "lock_timeout": (0, 1e6),
}


@dataclass(frozen=True)
class Wish:
    """One model that is wanted, and how its source is to be reached."""

    request: ModelRequest
    options: SourceOptions


@dataclass(frozen=True)
class Order:
    """The models, the state, the limits, in the module's own units (GB, seconds, a share from 0 to 1)."""

    wishes: tuple[Wish, ...]
    names: tuple[str, ...]
    state: str
    force: bool
    evict: bool
    verify_share: float
    max_disk_gb: float
    max_model_gb: float
    lock_timeout: float
    options: SourceOptions
    items: t.Mapping[str, t.Mapping[str, t.Any]]

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Order:
        """Raises `invalid_name`, `invalid_input` or `unknown_source` with the model that is meant."""
        listed = params.get("models") is not None
        items = params["models"] if listed else [params]
        state = params["state"]
        names = tuple(check_name(item.get("name") or "", "Model name") for item in items)
        double = next((name for name in names if names.count(name) > 1), None)
        if double:
            raise LlmError("invalid_input", f"The model name '{double}' is used twice in one list.")
        share = float(params["verify_share"])
        if not 0 < share <= 1:
            raise LlmError("invalid_input", f"verify_share {share:g} is not above 0 and at most 1.")
        for key, (least, most) in _BOUNDS.items():
            value = float(params[key])
            if not least <= value <= most:
                raise LlmError("invalid_input", f"{key} {value:g} is not between {least:g} and {most:g}.")
        shared = SourceOptions(
            endpoint=_without_credentials(params.get("endpoint") or "", "The task"),
            token=_token(params),
            username=params.get("username") or "",
            password=params.get("password") or "",
            workers=int(params["workers"]),
            timeout=float(params["timeout"]),
            max_bytes_per_second=int(float(params["max_mb_per_second"]) * 1e6),
            hub_caches=tuple(params.get("hub_caches") or ()),
        )
        wishes = () if state == ABSENT else tuple(_wish(item, shared, state, listed=listed) for item in items)
        return cls(
            wishes=wishes,
            names=names,
            state=state,
            force=bool(params["force"]),
            evict=params["evict"] == "unused",
            verify_share=share,
            max_disk_gb=float(params["max_disk_gb"]),
            max_model_gb=float(params["max_model_gb"]),
            lock_timeout=float(params["lock_timeout"]),
            options=shared,
            items=dict(zip(names, items)),
        )

    def removal_options(self, record: InstalledModel, asked_as: str) -> SourceOptions:
        """How the program that keeps a model is reached to remove it: what its record says, unless the task says of
        this very source. Address and token of the hub must not go to a program. `asked_as` is the name in the task."""
        item = self.items.get(asked_as, {})
        own = item if item.get("source") == record.provider else {}
        return replace(
            self.options,
            endpoint=own.get("endpoint") or str(record.origin.get("endpoint") or ""),
            token=own.get("token") or "",
            username="",
            password="",
        )


def _wish(item: t.Mapping[str, t.Any], shared: SourceOptions, state: str, *, listed: bool) -> Wish:
    request = request_from(item)
    if state == VERIFIED:
        request = replace(request, verify="always")
    return Wish(request, options_for(item, shared, listed=listed))


def options_for(item: t.Mapping[str, t.Any], shared: SourceOptions, *, listed: bool) -> SourceOptions:
    """How one model's source is reached. In a list, address and credentials above it are those of the hub alone:
    a token for the hub must not reach anybody else."""
    if not listed:
        return shared
    endpoint = _without_credentials(item.get("endpoint") or "", f"Model {item.get('name')}")
    if (item.get("source") or DEFAULT) == DEFAULT:
        return replace(shared, endpoint=endpoint or shared.endpoint, token=item.get("token") or shared.token)
    return replace(
        shared,
        endpoint=endpoint,
        token=item.get("token") or "",
        username=item.get("username") or "",
        password=item.get("password") or "",
    )


def _without_credentials(endpoint: str, name: str) -> str:
    """An address is written down and shown; what is secret has options of its own."""
    if "@" in endpoint.partition("://")[2].partition("/")[0]:
        raise LlmError(
            "invalid_input",
            f"{name}: endpoint has a user or password in it.",
            remedy="Give the address alone, and the secret as token.",
        )
    return endpoint


def _token(params: t.Mapping[str, t.Any]) -> str:
    """The hub's token from the option, from a file on the host, or from its environment."""
    if params.get("token"):
        return str(params["token"])
    if params.get("token_file"):
        return Path(params["token_file"]).read_text(encoding="utf-8").strip()
    source = params.get("source") or DEFAULT
    return os.environ.get(_TOKEN_VARIABLE, "") if source == DEFAULT else ""
