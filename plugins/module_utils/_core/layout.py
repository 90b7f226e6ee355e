# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things lie on a host."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from pathlib import PurePosixPath

SERVICE_USER = "llm"


@dataclass(frozen=True)
class Layout:
    """The folders of one host. All paths are absolute and without a trailing slash."""

    root: bool
    prefixed: bool
    user: str
    install: str
    state: str
    config: str
    logs: str
    run: str
    units: str

    @property
    def venv(self) -> str:
        return f"{self.install}/venv"

    @property
    def engines(self) -> str:
        return f"{self.install}/engines"

    @property
    def store(self) -> str:
        return f"{self.state}/models"

    @property
    def runtimes(self) -> str:
        return f"{self.state}/runtimes"

    @property
    def environments(self) -> str:
        return f"{self.config}/runtimes"

    @property
    def secrets(self) -> str:
        return f"{self.config}/secrets"

    def environment_file(self, runtime: str) -> str:
        return f"{self.environments}/{runtime}.env"

    def secrets_file(self, runtime: str) -> str:
        return f"{self.secrets}/{runtime}.env"

    def runtime_folder(self, runtime: str) -> str:
        return f"{self.runtimes}/{runtime}"

    def engine_link(self, runtime: str) -> str:
        return f"{self.runtimes}/{runtime}/engine"

    def pid_file(self, runtime: str) -> str:
        """Where the keeper of a runtime says who it is and what it keeps."""
        return f"{self.run}/{runtime}.pid"

    def unit_file(self, runtime: str) -> str:
        return f"{self.units}/{unit_name(runtime)}"

    def log_file(self, runtime: str) -> str:
        return f"{self.logs}/{runtime}.log"

    def as_dict(self) -> dict[str, t.Any]:
        names = [
            "root",
            "user",
            "install",
            "venv",
            "engines",
            "state",
            "store",
            "runtimes",
            "config",
            "environments",
            "secrets",
            "logs",
            "run",
            "units",
        ]
        return {name: getattr(self, name) for name in names} | {"venv_python": f"{self.venv}/bin/python"}


def unit_name(runtime: str) -> str:
    return f"llm-{runtime}.service"


def layout_for(*, root: bool, user: str, home: str, run_home: str | None, prefix: str = "") -> Layout:
    """The layout of a host.

    `prefix` works as DESTDIR does: the same tree below one folder. `home` is the login user's home, used
    without root and prefix; `run_home` is its XDG_RUNTIME_DIR, if it has one.
    """
    if prefix or root:
        base = "" if prefix in ("", "/") else str(PurePosixPath(prefix))
        return Layout(
            root=root,
            prefixed=bool(base),
            # A tree of its own has no account of its own: nothing outside it is touched.
            user=SERVICE_USER if root and not base else user,
            install=f"{base}/opt/llm",
            state=f"{base}/var/lib/llm",
            config=f"{base}/etc/llm",
            logs=f"{base}/var/log/llm",
            run=f"{base}/run/llm",
            units="/etc/systemd/system",
        )
    data = f"{home}/.local/share/llm"
    return Layout(
        root=False,
        prefixed=False,
        user=user,
        install=data,
        state=data,
        config=f"{home}/.config/llm",
        logs=f"{home}/.local/state/llm",
        run=f"{run_home}/llm" if run_home else f"{data}/run",
        units=f"{home}/.config/systemd/user",
    )
