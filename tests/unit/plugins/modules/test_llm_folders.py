# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t
from pathlib import Path

Run = t.Callable[..., dict[str, t.Any]]


def test_made_again_and_removed(run_module: Run, tmp_path: Path) -> None:
    prefix = str(tmp_path / "host")
    for params, changes in (({}, True), ({}, False), ({"state": "absent"}, True), ({"state": "absent"}, False)):
        foreseen = run_module("llm_folders", check=True, prefix=prefix, **params)
        real = run_module("llm_folders", prefix=prefix, **params)
        assert (foreseen["changed"], real["changed"]) == (changes, changes)
        assert foreseen["diff"] == real["diff"]
    run_module("llm_folders", prefix=prefix)
    (tmp_path / "host/etc/llm/secrets").chmod(0o777)
    assert run_module("llm_folders", prefix=prefix)["changed"] is True
    assert oct((tmp_path / "host/etc/llm/secrets").stat().st_mode)[-3:] == "700"
