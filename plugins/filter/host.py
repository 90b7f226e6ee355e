# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory's picture of a host: checked as a whole, merged by name."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._core.host_description import merged, problems
from ..module_utils._engines.registry import ENGINES
from ..module_utils._sources.registry import request_from


def host_problems(description: t.Mapping[str, t.Any]) -> list[str]:
    """Sentences on what cannot work in `models`, `runtimes` and `store` of one host; empty when all fits."""
    ports = {name: engine.default_port for name, engine in ENGINES.items()}
    options = {name: engine.option_types for name, engine in ENGINES.items()}
    return problems(description, check_model=request_from, default_ports=ports, option_types=options)


def merge_by_name(
    records: t.Sequence[t.Mapping[str, t.Any]], extra: t.Sequence[t.Mapping[str, t.Any]]
) -> list[dict[str, t.Any]]:
    """`records` with those of `extra` put over them by `name`; new names come last, order is kept."""
    try:
        return merged(records, extra)
    except (KeyError, TypeError, ValueError) as failure:
        raise AnsibleFilterError(f"records without name cannot be merged: {records!r}, {extra!r}") from failure


def runtime_names(hosts: t.Sequence[str], hostvars: t.Mapping[str, t.Any]) -> list[str]:
    """The names in `llm_runtimes` of any of the hosts, sorted."""
    return sorted({str(runtime["name"]) for host in hosts for runtime in hostvars[host].get("llm_runtimes") or ()})


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"host_problems": host_problems, "merge_by_name": merge_by_name, "runtime_names": runtime_names}
