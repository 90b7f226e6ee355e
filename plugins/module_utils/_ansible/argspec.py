# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several modules share, once."""

from __future__ import annotations

import typing as t

PREFIX: dict[str, t.Any] = {"prefix": {"type": "path"}}
STORE: dict[str, t.Any] = {"store": {"type": "path"}}
