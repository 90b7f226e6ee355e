# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of documents that are made from the code: written between two marks, or compared with --check."""

from __future__ import annotations

import re
import sys
import typing as t
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


def put(document: str, name: str, text: str) -> str:
    """The document with `text` between its marks `<!-- NAME -->` and `<!-- /NAME -->`."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(document):
        raise SystemExit(f"error: the document has no marks <!-- {name} --> and <!-- /{name} -->")
    return pattern.sub(lambda found: f"{found[1]}{text}\n{found[2]}", document)


def write(documents: t.Mapping[Path, str]) -> None:
    """Write the documents; with --check only say which are not fresh, and fail."""
    stale = [path for path, text in documents.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"error: {path.relative_to(TOP)} is not fresh. Run: make docs", file=sys.stderr)
        raise SystemExit(1 if stale else 0)
    for path in stale:
        path.write_text(documents[path])
        print(f"written: {path.relative_to(TOP)}")
