# SPDX-License-Identifier: GPL-3.0-or-later
"""What `llm_model` needs of the controller: files that only it has, and somebody who tells how far a pull is."""

from __future__ import annotations

import copy
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..module_utils._api.local_file import sha256_of
from ..plugin_utils.watch import Watch

# What the module answers when it needs bytes that only the controller has.
_WANTED = "controller_bytes_missing"


class ActionModule(ActionBase):  # type: ignore[misc]
    """The module decides on the host; files travel between its two runs, and only those that it asks for."""

    _supports_check_mode = True
    _supports_diff = True
    _supports_async = True

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        arguments = copy.deepcopy(self._task.args)
        listed = arguments.get("models")
        models = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else [arguments]
        known: dict[str, Path] = {}
        if self._task.async_val and any(_is_true(model.get("from_controller")) for model in models):
            raise AnsibleActionFail("Files of the controller cannot be sent by an async task. Leave async out.")
        for model in models:
            if _is_true(model.get("from_controller")) and arguments.get("state") != "absent":
                self._describe(model, known)
        names = [str(model.get("name")) for model in models]
        result.update(self._ask(arguments, names, task_vars))
        wanted = (result.get("details") or {}).get("wanted", [])
        if result.get("reason") == _WANTED and wanted:
            staging = self._stage({digest: known[digest] for digest in wanted if digest in known})
            for model in models:
                if model.get("controller_files"):
                    model["controller_staging"] = staging
            result = self._ask(arguments, names, task_vars)
        return result

    def _ask(self, arguments: dict[str, t.Any], names: list[str], task_vars: t.Any) -> dict[str, t.Any]:
        """Run the module; what it has to wait for is shown while it does."""
        # With `async` the task itself is what waits, and nothing here may.
        with Watch(self, names, str(arguments.get("prefix") or "")) if not self._task.async_val else _Nobody():
            answer: dict[str, t.Any] = self._execute_module(
                module_name="llmops.fleet.llm_model",
                module_args=arguments,
                task_vars=task_vars,
                wrap_async=self._task.async_val,
            )
        return answer

    def _describe(self, model: dict[str, t.Any], known: dict[str, Path]) -> None:
        """Put the files' names, sizes and hashes into the model's options."""
        given = str(model.get("path") or "")
        try:
            root = Path(self._find_needle("files", given))
        except Exception as failure:
            raise AnsibleActionFail(
                f"Model {model.get('name')} (file): the path '{given}' does not exist on the controller. Check the path."
            ) from failure
        files = []
        for path in [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file()):
            digest = sha256_of(path)
            known[digest] = path
            name = path.name if root.is_file() else path.relative_to(root).as_posix()
            files.append({"path": name, "size": path.stat().st_size, "sha256": digest})
        model["path"] = str(root)
        model["controller_files"] = files

    def _stage(self, files: dict[str, Path]) -> str:
        """Send the files to the task's own folder on the host, which goes with the task."""
        if not self._connection._shell.tmpdir:
            self._make_tmp_path()
        folder: str = self._connection._shell.tmpdir
        sent = []
        for digest, path in files.items():
            remote = self._connection._shell.join_path(folder, digest)
            self._transfer_file(str(path), remote)
            sent.append(remote)
        self._fixup_perms2((folder, *sent))
        return folder


class _Nobody:
    """Nobody watches."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_exception: object) -> None:
        pass


def _is_true(value: t.Any) -> bool:
    return value is True or str(value).lower() in ("true", "yes", "on", "1")
