# SPDX-License-Identifier: GPL-3.0-or-later
"""Which models may go when the store is full."""

from __future__ import annotations

import typing as t

from .model import InstalledModel


def evictable(
    models: t.Iterable[InstalledModel],
    *,
    asked_for: t.Container[str],
    generations: t.Container[str],
    last_used: t.Mapping[str, str],
) -> list[InstalledModel]:
    """The models that nobody would miss, least recently used first.

    Never one that is `asked_for` by name in this run, that is pinned, whose folder a generation kept for a rollback
    (or active) names, or whose bytes are not the store's. `last_used` has a time (UTC, ISO 8601) by folder; a model
    that never served counts from its installation.
    """
    free = [
        record
        for record in models
        if record.name not in asked_for
        and not record.pinned
        and not record.kept_elsewhere
        and record.folder not in generations
    ]
    return sorted(free, key=lambda record: (last_used.get(record.folder, record.installed_at), record.name))
