# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file's bytes must hash to."""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass

SHA256 = "sha256"
GIT_BLOB = "git-sha1"


@dataclass(frozen=True)
class Digest:
    """`algorithm` is `sha256`, or `git-sha1` for small files that a hub keeps in git itself."""

    algorithm: str
    value: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"

    @property
    def file_name(self) -> str:
        """What a file with these bytes is called where it goes by them alone."""
        return f"{self.algorithm}-{self.value}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        algorithm, _colon, value = text.partition(":")
        return cls(algorithm, value)

    def hasher(self, size: int) -> t.Any:
        """A fresh hash object whose final hexdigest is comparable with `value`; `size` in bytes."""
        if self.algorithm == GIT_BLOB:
            # Git hashes a header before the content (git-hash-object(1)). It is an identity, not security.
            return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        return hashlib.sha256()
