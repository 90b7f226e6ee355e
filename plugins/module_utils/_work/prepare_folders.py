# SPDX-License-Identifier: GPL-3.0-or-later
"""Make or remove the folder tree of a host, and tell where it is."""

from __future__ import annotations

import typing as t

from .._core.outcome import Outcome
from .._host import tree
from .._host.place import layout_here, python_ready
from .._host.supervisors import choose


class FoldersTask:
    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._layout = layout_here(params.get("prefix") or "")
        self._absent = params["state"] == "absent"

    def run(self, *, check_mode: bool) -> Outcome:
        result = {"layout": self._layout.as_dict()}
        if self._absent:
            roots = tree.existing_roots(self._layout)
            if roots and not check_mode:
                tree.remove(self._layout)
            return Outcome(bool(roots), {"folders": roots}, {"folders": []}, result)
        wrong = tree.differences(self._layout, self._layout.user)
        if wrong and not check_mode:
            tree.make(self._layout, self._layout.user)
        before = {path: is_now for path, (is_now, _must_be) in wrong.items()}
        after = {path: must_be for path, (_is_now, must_be) in wrong.items()}
        return Outcome(bool(wrong), before, after, result)


class LayoutTask:
    """Looks, and changes nothing."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._layout = layout_here(params.get("prefix") or "")

    def run(self, *, check_mode: bool) -> Outcome:
        del check_mode
        result = {
            "layout": self._layout.as_dict(),
            "venv_ready": python_ready(self._layout),
            "supervisor": choose("auto", self._layout).name,
        }
        return Outcome(False, result=result)
