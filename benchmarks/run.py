# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure against peers, in the same run on the same machine: `make bench`.

Prints a table, and a JSON line a figure: {"name", "value", "unit", "peer", "ratio"}. A ratio is ours over the peer's,
the median over alternating pairs, so that it holds when the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from byte_figures import information, many_models, no_op_pulls, proofs, pulls
from fleet_figures import playbooks
from measuring import Figure, table
from runtime_figures import runtimes


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure against peers in the same run.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mebibytes", type=int, default=1024, help="size of the cold pull")
    parser.add_argument("--only", choices=("pulls", "no-op", "proofs", "many", "information", "playbooks", "runtimes"))
    parser.add_argument("--switches", type=int, default=100, help="switches under load")
    options = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="llm-bench-") as name:
        work = Path(name)
        if options.only in (None, "pulls"):
            figures += pulls(work, options.rounds, options.mebibytes)
        if options.only in (None, "no-op"):
            figures += no_op_pulls(work, options.rounds)
        if options.only in (None, "proofs"):
            figures += proofs(work, options.rounds, options.mebibytes)
        if options.only in (None, "many"):
            figures += many_models(work, options.rounds)
        if options.only in (None, "information"):
            figures += information(work, options.rounds)
        if options.only in (None, "playbooks"):
            figures += playbooks(work, options.rounds)
        if options.only in (None, "runtimes"):
            figures += runtimes(work / "runtimes", options.rounds, options.switches)
    print(table(figures))
    print()
    for item in figures:
        print(json.dumps(asdict(item)))


if __name__ == "__main__":
    main()
