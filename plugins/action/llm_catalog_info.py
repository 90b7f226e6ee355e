# SPDX-License-Identifier: GPL-3.0-or-later
"""`llm_catalog_info` on the controller: hubs are asked here, once for all hosts; a host tells only what it has."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..module_utils._ansible.catalog_options import CATALOG, HOST
from ..module_utils._core.catalogue_answer import Asked, CatalogueHost
from ..module_utils._core.errors import LlmError
from ..module_utils._work.catalog import Catalog
from ..plugin_utils.once import once

# Seconds that a host waits for another one's question beyond the time that the question has.
_GRACE = 5.0


class ActionModule(ActionBase):  # type: ignore[misc]
    """The host first: where it cannot be reached, nobody is asked for it."""

    _supports_check_mode = True
    _supports_diff = True
    # Refused below, with more to say than Ansible has.
    _supports_async = True

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> dict[str, t.Any]:
        if self._task.async_val:
            raise AnsibleActionFail(
                "llm_catalog_info cannot be an async task: hubs are asked on the controller, which has to wait. "
                "Leave async out, and set timeout where it takes too long."
            )
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _checked, arguments = self.validate_argument_spec(CATALOG)
        # Plain values: Ansible's own kinds of text end here.
        params: dict[str, t.Any] = json.loads(json.dumps(arguments))
        try:
            catalog = Catalog(params)
        except LlmError as failure:
            result.update(failed=True, msg=str(failure), reason=failure.reason, details=failure.details)
            return result
        answer = self._execute_module(
            module_name="llmops.fleet.llm_catalog_info",
            module_args={name: params[name] for name in HOST if params.get(name) is not None},
            task_vars=task_vars,
        )
        told = answer.pop("host", None)
        result.update(answer)
        if told is not None:
            result.update(catalog.told(self._asked(catalog), CatalogueHost.from_dict(told)))
        return result

    def _asked(self, catalog: Catalog) -> Asked:
        folder = Path(constants.DEFAULT_LOCAL_TMP)
        name = f"catalog-{self._task._uuid}-{catalog.key}"
        keep = not self._task.check_mode
        made = once(folder, name, lambda: catalog.ask(keep=keep).as_dict(), wait=catalog.longest + _GRACE)
        return Asked.from_dict(made)
