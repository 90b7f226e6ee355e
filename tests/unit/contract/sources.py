# SPDX-License-Identifier: GPL-3.0-or-later
"""How each source is offered the same model. A new source joins the contract with a line in `OFFERS`."""

from __future__ import annotations

import typing as t
from pathlib import Path

from hub import Hub

Files = t.Mapping[str, bytes]
# Given a scratch folder, a hub and files, make them available and return the module's parameters for them.
Offer = t.Callable[[Path, Hub, Files], dict[str, t.Any]]


def on_the_hub(_folder: Path, hub: Hub, files: Files) -> dict[str, t.Any]:
    hub.publish("org/model", files)
    return {"source": "huggingface", "model": "org/model", "endpoint": hub.url}


def in_a_folder(folder: Path, _hub: Hub, files: Files) -> dict[str, t.Any]:
    root = folder / "offered"
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    for path in [path for path in root.rglob("*") if path.is_file() and path.relative_to(root).as_posix() not in files]:
        path.unlink()
    return {"source": "file", "path": str(root)}


OFFERS: dict[str, Offer] = {
    "file": in_a_folder,
    "huggingface": on_the_hub,
}
