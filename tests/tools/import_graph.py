# SPDX-License-Identifier: GPL-3.0-or-later
"""The imports between the files of `plugins/`, read from the code: import_graph.py [--check].

It writes the picture of the floors into docs/architecture.md. The floors test reads the same imports.
"""

from __future__ import annotations

import ast
import typing as t
from collections import Counter
from pathlib import Path

from generated import TOP, put, write

PLUGINS = TOP / "plugins"
UTILS = PLUGINS / "module_utils"

# From the top down. Rooms of one floor do not know each other.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("modules", "filter", "action", "callback"),
    ("plugin_utils",),
    ("_ansible",),
    ("_work",),
    ("_sources", "_engines", "_host"),
    ("_api",),
    ("_core",),
)


def room_of(path: Path) -> str:
    parts = path.relative_to(PLUGINS).parts
    return parts[1] if parts[0] == "module_utils" else parts[0]


def floor_of(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def imports(path: Path) -> t.Iterator[Path]:
    """The files of `plugins/` that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        folder = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        if folder.with_suffix(".py").is_file():
            yield folder.with_suffix(".py")
        else:
            for alias in node.names:
                yield (folder / alias.name).with_suffix(".py")


def files() -> list[Path]:
    return sorted(path for path in PLUGINS.rglob("*.py") if room_of(path) != "doc_fragments")


def edges() -> Counter[tuple[str, str]]:
    """How many imports lead from one room to another."""
    found: Counter[tuple[str, str]] = Counter()
    for path in files():
        for target in imports(path):
            if room_of(path) != room_of(target):
                found[room_of(path), room_of(target)] += 1
    return found


def picture() -> str:
    rooms = {room_of(path) for path in files()}
    counts = Counter(room_of(path) for path in files())
    lines = ["```mermaid", "flowchart TD"]
    for number, floor in enumerate(FLOORS):
        here = [room for room in floor if room in rooms]
        lines.append(f"  subgraph floor{number}[ ]")
        lines += [f'    {room}["{room}<br/>{counts[room]} files"]' for room in here]
        lines.append("  end")
    lines += [f"  {source} -->|{count}| {target}" for (source, target), count in sorted(edges().items())]
    return "\n".join([*lines, "```"])


def main() -> None:
    document = TOP / "docs" / "architecture.md"
    write({document: put(document.read_text(), "imports", picture())})


if __name__ == "__main__":
    main()
