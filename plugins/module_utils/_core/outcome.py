# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task reports: the host before and after, and what there is to show."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Difference:
    """One thing before and after: a text or a small mapping, empty where it is not there. Free of secrets."""

    header: str
    before: t.Any
    after: t.Any

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "before_header": self.header,
            "after_header": self.header,
            "before": self.before or "",
            "after": self.after or "",
        }


@dataclass(frozen=True)
class Outcome:
    """`before` and `after`, or several `differences`, are what `--diff` prints; `warnings` are shown in any case."""

    changed: bool
    before: t.Any = None
    after: t.Any = None
    result: t.Mapping[str, t.Any] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    warnings: tuple[str, ...] = ()

    def as_result(self, *, diff: bool) -> dict[str, t.Any]:
        answer: dict[str, t.Any] = {"changed": self.changed, **self.result}
        if diff and self.differences:
            answer["diff"] = [difference.as_dict() for difference in self.differences]
        elif diff and (self.before is not None or self.after is not None):
            answer["diff"] = {"before": self.before or {}, "after": self.after or {}}
        return answer
