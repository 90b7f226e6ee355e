# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task reports: the host before and after, and what there is to show."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Outcome:
    """`before` and `after` are what `--diff` prints; they are small, stable and free of secrets."""

    changed: bool
    before: t.Any = None
    after: t.Any = None
    result: t.Mapping[str, t.Any] = field(default_factory=dict)

    def as_result(self, *, diff: bool) -> dict[str, t.Any]:
        answer: dict[str, t.Any] = {"changed": self.changed, **self.result}
        if diff:
            answer["diff"] = {"before": self.before or {}, "after": self.after or {}}
        return answer
