# SPDX-License-Identifier: GPL-3.0-or-later
"""The layout of this very host."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from .._core.layout import Layout, layout_for


def layout_here(prefix: str = "") -> Layout:
    """Where things lie for the user that runs this; see `layout_for` for `prefix`."""
    entry = pwd.getpwuid(os.geteuid())
    return layout_for(
        root=os.geteuid() == 0,
        user=entry.pw_name,
        home=entry.pw_dir,
        run_home=os.environ.get("XDG_RUNTIME_DIR"),
        prefix=prefix,
    )


def has_systemd() -> bool:
    """Whether systemd runs this host (sd_booted(3)); only root can use it for services of the host."""
    return Path("/run/systemd/system").is_dir() and os.geteuid() == 0


def python_ready(layout: Layout) -> bool:
    return os.access(f"{layout.venv}/bin/python", os.X_OK)
