# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources whose bytes the store owns: beside it there is no program to ask, to change or to keep from others."""

from __future__ import annotations

import typing as t

from .._core.capabilities import Render
from .._core.model import InstalledModel
from .._core.ports import HeldModel
from .._core.request import ModelRequest


class StoreOwned:
    """What such a source has to say where `Source` asks about a program."""

    keeps_own_bytes = False
    exclusive = ""

    def remove(self, record: InstalledModel) -> None:
        """Nothing: the store has the bytes, or they are used in place and are the user's own."""

    def inventory(self) -> list[HeldModel]:
        return []

    def describe(self, request: ModelRequest, render: Render) -> t.Mapping[str, t.Any]:
        """Nothing, unless a source can tell before the bytes are here."""
        del request, render
        return {}
