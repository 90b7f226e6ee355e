# SPDX-License-Identifier: GPL-3.0-or-later
"""A task that ends at a step of its journal, as by kill -9."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._host.journal import Writing


class KilledError(BaseException):
    """Nothing of ours catches it, as nothing catches SIGKILL: nothing is tidied up."""


def killed_at(step: str, call: t.Callable[[], object]) -> None:
    """Call it; it is killed when it begins this step, which is in the journal by then."""
    note = Writing.note

    def noted(self: Writing, begun: str, **details: t.Any) -> None:
        note(self, begun, **details)
        if begun == step:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(Writing, "note", noted)
        call()
