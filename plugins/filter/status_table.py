# SPDX-License-Identifier: GPL-3.0-or-later
"""Status records as a table for a terminal."""

from __future__ import annotations

import typing as t

_COLUMNS = ("host", "runtime", "engine", "model", "served name", "status", "pid", "memory", "uptime", "address")


def status_table(hosts: t.Sequence[str], hostvars: t.Mapping[str, t.Any]) -> list[str]:
    """Lines of one table of the hosts that have `llm_runtimes`, columns as wide as needed.

    Each host's result of `llm_runtime_info` is its variable `__llm_seen`. Reasons stand in a line below the runtime
    they belong to. A host that told nothing is in the table too.
    """
    described = [host for host in sorted(hosts) if hostvars[host].get("llm_runtimes") is not None]
    records = [record for host in described for record in _records(host, hostvars[host].get("__llm_seen") or {})]
    rows = [_row(record) for record in records]
    widths = [max(len(cell) for cell in column) for column in zip(_COLUMNS, *rows)]
    lines = [_line([title.upper() for title in _COLUMNS], widths)]
    for record, row in zip(records, rows):
        lines.append(_line(row, widths))
        lines += [f"  ! {reason}" for reason in record.get("reasons") or ()]
    return lines


def _records(host: str, result: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    if result.get("unreachable"):
        return [{"host": host, "status": "unreachable"}]
    if "runtimes" not in result:
        return [{"host": host, "status": "not looked at" if result.get("failed") else "not prepared"}]
    runtimes = sorted(result["runtimes"], key=lambda record: str(record["name"]))
    return [{**record, "host": host} for record in runtimes] or [{"host": host, "status": "no runtimes"}]


def _row(record: t.Mapping[str, t.Any]) -> list[str]:
    memory = record.get("memory_mb")
    return [
        str(record.get("host") or "-"),
        str(record.get("name") or "-"),
        str(record.get("engine") or "-"),
        str(record.get("model") or "-"),
        ", ".join(record.get("served_names") or ()) or "-",
        str(record.get("status") or "-"),
        str(record.get("pid") or "-"),
        "-" if memory is None else f"{memory} MB",
        _duration(record.get("uptime_seconds")),
        str(record.get("address") or "-"),
    ]


def _duration(seconds: int | None) -> str:
    """Two units are enough to see what matters: `3d 4h`, `5m 6s`."""
    if seconds is None:
        return "-"
    parts: list[str] = []
    left = int(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def _line(cells: t.Sequence[str], widths: t.Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip()


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"status_table": status_table}
