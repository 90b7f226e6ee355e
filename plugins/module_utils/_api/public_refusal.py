# SPDX-License-Identifier: GPL-3.0-or-later
"""What it means when a public list, or a part of one, is not given: other remedies than for bytes that are pulled."""

from __future__ import annotations

import typing as t

from .._core.errors import LlmError
from .http_client import refused, shown

_LATER = "Ask again later: meanwhile the last answer is used where there is one."
_ADDRESS = "Check the address: a proxy or a login page may answer in its place."
_REMEDIES = {
    "gated": "Accept its licence on the hub and pass token.",
    "auth_error": "Correct token or address, or leave the credentials out: a public list needs none.",
    "forbidden": "Check the address, and what a proxy or mirror on the way allows: a public list is open to everybody.",
    "not_found": "Check the address: no list of models is there.",
    "hub_error": _LATER,
}
# Of one model among many: the list is there all the same.
_ONE = {**_REMEDIES, **dict.fromkeys(("auth_error", "forbidden", "not_found"), "Its size stays open.")}


def list_refused(status: int, place: str, headers: t.Mapping[str, str], *, model: str = "") -> LlmError:
    """The error for an answer that is not the wished one; `model` is the one that was asked for, if it was one."""
    found = refused(status, place, headers)
    what = f"{place} answered {status} for {model}." if model else found.what
    remedy = (_ONE if model else _REMEDIES).get(found.reason, found.remedy)
    return LlmError(found.reason, what, remedy=remedy, **found.details)


def no_list(place: str, seen: str) -> LlmError:
    """The error for a good answer that is not what the other side would say."""
    return LlmError("hub_error", f"{place} answered with {seen}.", remedy=_ADDRESS)


def too_long(
    status: int, place: str, asked: float | None, seconds: float, *, headers: t.Mapping[str, str], model: str = ""
) -> LlmError:
    """The error for an answer after which there is no time for another try."""
    if asked is None:
        return list_refused(status, place, headers, model=model)
    about = f" for {model}" if model else ""
    return LlmError(
        "hub_error",
        f"{place} answered {status}{about} and asks to wait {asked:g} seconds, longer than the timeout of {seconds:g} leaves.",
        remedy="Ask again after that time.",
        status=status,
        retry_after=asked,
    )


def hub_at(address: str) -> str:
    """A hub's name for a message, without the credentials of its address."""
    return f"The hub {shown(address)}"
