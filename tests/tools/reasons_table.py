# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the troubleshooting table from the list of reason codes: reasons_table.py [--check]."""

from __future__ import annotations

import importlib
import sys

from generated import TOP, write

sys.path.insert(0, str(TOP / ".cache" / "collections"))


def main() -> None:
    reasons = importlib.import_module("ansible_collections.llmops.fleet.plugins.module_utils._core.reasons").REASONS
    lines = [
        "# Troubleshooting",
        "",
        "A task that fails says in one line what is wrong and what to do. Its result has a `reason`, one of these codes,",
        "for playbooks that act on it, and `details` for a bug report.",
        "",
        "| reason | what it means | what to do |",
        "| --- | --- | --- |",
        *(f"| `{code}` | {reason.meaning} | {reason.remedy} |" for code, reason in sorted(reasons.items())),
        "",
        "Written from `plugins/module_utils/_core/reasons.py` by `make docs`.",
        "",
    ]
    write({TOP / "docs" / "troubleshooting.md": "\n".join(lines)})


if __name__ == "__main__":
    main()
