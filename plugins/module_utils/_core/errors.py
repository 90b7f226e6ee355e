# SPDX-License-Identifier: GPL-3.0-or-later
"""The one kind of failure that code of this collection raises on purpose."""

from __future__ import annotations

import typing as t

from .reasons import REASONS


class LlmError(Exception):
    """Something a user can understand and act on.

    `what` is one sentence with thing, place and cause. The remedy is the one of the reason code unless a
    better one is given. `details` are fields for a bug report: JSON values, never a secret.
    """

    def __init__(self, reason: str, what: str, *, remedy: str | None = None, **details: t.Any) -> None:
        self.reason = reason
        self.what = what
        self.remedy = REASONS[reason].remedy if remedy is None else remedy
        self.details = details
        super().__init__(f"{what} {self.remedy}".rstrip())

    def about(self, subject: str) -> LlmError:
        """The same failure with the thing it happened to put in front."""
        return LlmError(self.reason, f"{subject}: {self.what}", remedy=self.remedy, **self.details)
