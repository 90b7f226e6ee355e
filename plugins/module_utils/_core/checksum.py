# SPDX-License-Identifier: GPL-3.0-or-later
"""A file's sha256 as others publish it: in lists of checksums and in headers."""

from __future__ import annotations

import base64
import re
import typing as t

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
# coreutils' `hash  name` and `hash *name`, and BSD's `SHA256 (name) = hash`.
_COREUTILS = re.compile(r"\\?([0-9a-fA-F]{64})\s+\*?(.+)")
_BSD = re.compile(r"SHA256 \((.+)\) = ([0-9a-fA-F]{64})")


def is_sha256(text: str) -> bool:
    return _SHA256.fullmatch(text) is not None


def from_list(text: str, file: str) -> str | None:
    """The sha256 of `file` in a list of checksums; a text that is one hash and no more is the file's own."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        coreutils, bsd = _COREUTILS.fullmatch(line.strip()), _BSD.fullmatch(line.strip())
        if coreutils:
            found[coreutils[2].rsplit("/", 1)[-1]] = coreutils[1].lower()
        elif bsd:
            found[bsd[1].rsplit("/", 1)[-1]] = bsd[2].lower()
    if file in found:
        return found[file]
    return text.strip().lower() if is_sha256(text.strip()) else None


def from_headers(headers: t.Mapping[str, str]) -> str | None:
    """The sha256 that a server says: RFC 9530 `Repr-Digest`, RFC 3230 `Digest`, a hub's `X-Linked-Etag`."""
    lower = {name.lower(): value for name, value in headers.items()}
    for name in ("repr-digest", "digest"):
        for part in lower.get(name, "").split(","):
            algorithm, _equals, value = part.strip().partition("=")
            if algorithm.lower() == "sha-256":
                try:
                    raw = base64.b64decode(value.strip(":"), validate=True)
                except ValueError:
                    continue
                if len(raw) == 32:
                    return raw.hex()
    linked = lower.get("x-linked-etag", "").strip('"').lower()
    return linked if is_sha256(linked) else None
