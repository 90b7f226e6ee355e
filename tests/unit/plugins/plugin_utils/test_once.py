# SPDX-License-Identifier: GPL-3.0-or-later
"""One of many processes makes something, the others have it from there."""

from __future__ import annotations

import json
import multiprocessing
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.plugin_utils import once as once_module
from ansible_collections.llmops.fleet.plugins.plugin_utils.once import once


@pytest.fixture(autouse=True)
def _of_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once_module, "_taken", {})


def counted(folder: Path) -> t.Callable[[], dict[str, t.Any]]:
    def make() -> dict[str, t.Any]:
        number = len(list(folder.glob("made-*")))
        (folder / f"made-{number}-{time.monotonic_ns()}").touch()
        time.sleep(0.3)
        return {"number": number}

    return make


def test_processes_make_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    told = context.Queue()

    def host() -> None:
        told.put(once(tmp_path, "name", counted(tmp_path), wait=10)["number"])

    hosts = [context.Process(target=host) for _host in range(8)]
    for one in hosts:
        one.start()
    assert [told.get(timeout=20) for _host in hosts] == [0] * 8
    for one in hosts:
        one.join()


def test_who_comes_again_gets_something_new_and_others_get_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = counted(tmp_path)
    assert [once(tmp_path, "name", make, wait=1)["number"] for _time in range(2)] == [0, 1]
    assert once(tmp_path, "another", make, wait=1)["number"] == 2
    monkeypatch.setattr(once_module, "_taken", {})
    assert once(tmp_path, "name", make, wait=1)["number"] == 1


def test_what_is_old_or_cannot_be_read_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = counted(tmp_path)
    for text in ("", "{", "[]", '{"at": "x"}', json.dumps({"at": time.monotonic() + 1e6, "made": {}}),
                 json.dumps({"at": time.monotonic(), "made": 5}), '{"at": 0.0001, "made": {}}'):  # fmt: skip
        (tmp_path / "name.json").write_text(text)
        monkeypatch.setattr(once_module, "_taken", {})
        assert "number" in once(tmp_path, "name", make, wait=1), text


def test_without_a_lock_or_a_folder_it_is_made_all_the_same(tmp_path: Path) -> None:
    from ansible_collections.llmops.fleet.plugins.module_utils._host.lock import hold
    from ansible_collections.llmops.fleet.plugins.module_utils._host.ownership import Owner

    with hold(tmp_path / "name.lock", what="it", timeout=1, owner=Owner()):
        assert once(tmp_path, "name", counted(tmp_path), wait=0.1)["number"] == 0
    (tmp_path / "file").touch()
    assert "number" in once(tmp_path / "file" / "no", "name", counted(tmp_path), wait=0.1)
