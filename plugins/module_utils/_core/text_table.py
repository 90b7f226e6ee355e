# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of a terminal's width: lines that are folded, and columns that stand below each other."""

from __future__ import annotations

import re
import typing as t

WIDTH = 120
# Of a column that is not the last.
_WIDEST = 44
# What is left for the last column, and what the widest of the others keeps for that: well, and at the very least.
_LAST, _KEPT = 30, 9
_LAST_LEAST, _KEPT_LEAST = 12, 4
_FIGURE = re.compile(r"-|[0-9]+(?:\.[0-9]+)?(?: ?[A-Za-z%]+)?")


def fold(text: str, indent: str = "", *, more: str | None = None) -> list[str]:
    """The text in lines, broken at spaces or slashes if no line is half empty then; `more` goes before further lines."""
    more = indent if more is None else more
    lines: list[str] = []
    rest, lead = text.rstrip(), indent
    while True:
        room = max(_LAST_LEAST, WIDTH - len(lead))
        if len(rest) <= room:
            return [*lines, f"{lead}{rest}".rstrip()]
        cut = rest.rfind(" ", room // 2, room + 1)
        # A path is broken between its folders.
        cut = cut if cut >= 0 else rest.rfind("/", room // 2, room)
        cut = room if cut < 0 else cut
        lines.append(f"{lead}{rest[:cut]}".rstrip())
        rest, lead = rest[cut:].lstrip(), more


def table(
    titles: t.Sequence[str], rows: t.Sequence[t.Sequence[str]], indent: str = "  ", *, left: int = 0
) -> list[str]:
    """Titles and rows; figures stand to the right but in the first `left` columns, and the last column is folded."""
    cells = [[_cut(cell) for cell in row[:-1]] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip((title for title in titles[:-1]), *cells)]
    for last, kept in ((_LAST, _KEPT), (_LAST_LEAST, _KEPT_LEAST)):
        excess = len(indent) + sum(width + 2 for width in widths) + last - WIDTH
        while excess > 0 and max(widths) > kept:
            # The widest gives first.
            widths[widths.index(max(widths))] -= 1
            excess -= 1
    right = [
        number >= left and all(_FIGURE.fullmatch(cell) for cell in column) for number, column in enumerate(zip(*cells))
    ]
    lines: list[str] = []
    for row in ([title.upper() for title in titles], *rows):
        head = indent
        for cell, width, figure in zip(row[:-1], widths, right or [False] * len(widths)):
            shown = _cut(cell, width)
            head += (shown.rjust(width) if figure else shown.ljust(width)) + "  "
        lines += fold(row[-1], head, more=" " * len(head))
    return lines


def _cut(cell: str, width: int = _WIDEST) -> str:
    return cell if len(cell) <= width else cell[: width - 1] + "…"
