# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that make a runtime what it is: definition, environment, secrets, and the link to its engine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .._core.layout import Layout
from .durable import read_link, read_text, replace_link, write_text
from .ownership import Owner, make_folder


@dataclass(frozen=True)
class Configuration:
    """Texts and link target; None where there is no such file."""

    definition: str | None
    environment: str | None
    secrets: str | None
    engine_folder: str | None


class ConfigurationFiles:
    """One runtime's files. Each is replaced whole; only those that differ are touched."""

    def __init__(self, layout: Layout, runtime: str, definition_path: str, service: Owner) -> None:
        self.definition = Path(definition_path)
        self.environment = Path(layout.environment_file(runtime))
        self.secrets = Path(layout.secrets_file(runtime))
        self.engine_link = Path(layout.engine_link(runtime))
        self._aside = self.secrets.with_name(f"{self.secrets.name}.before")
        self._service = service

    def read(self) -> Configuration:
        return Configuration(
            read_text(self.definition),
            read_text(self.environment),
            read_text(self.secrets),
            read_link(self.engine_link),
        )

    def write(self, wanted: Configuration) -> None:
        root_reads_service = Owner(0, self._service.gid) if self._service.gid is not None else Owner()
        _put(self.definition, wanted.definition, 0o644, Owner())
        _put(self.environment, wanted.environment, 0o640, root_reads_service)
        _put(self.secrets, wanted.secrets, 0o600, Owner())
        if read_link(self.engine_link) != wanted.engine_folder:
            if wanted.engine_folder is None:
                self.engine_link.unlink(missing_ok=True)
            else:
                make_folder(self.engine_link.parent, Owner(), 0o755)
                replace_link(self.engine_link, wanted.engine_folder)

    def remove(self) -> None:
        self.write(Configuration(None, None, None, None))
        self.drop_secrets_aside()

    def set_secrets_aside(self) -> None:
        """Keep the secrets as they are for a way back: they are not part of a generation's record."""
        _put(self._aside, read_text(self.secrets) or "", 0o600, Owner())

    def secrets_before(self) -> str | None:
        """The secrets that were set aside; those in use where none were."""
        aside = read_text(self._aside)
        return read_text(self.secrets) if aside is None else aside or None

    def drop_secrets_aside(self) -> None:
        self._aside.unlink(missing_ok=True)

    def existing(self) -> list[str]:
        paths = (self.definition, self.environment, self.secrets, self.engine_link)
        return [str(path) for path in paths if os.path.lexists(path)]


def _put(path: Path, text: str | None, mode: int, owner: Owner) -> None:
    if read_text(path) == text:
        return
    if text is None:
        path.unlink(missing_ok=True)
        return
    make_folder(path.parent, Owner(), 0o755)
    write_text(path, text, mode=mode, owner=owner)
