# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's history says of runs with models: also of those that failed before the first byte."""

from __future__ import annotations

import json
import shutil
import threading
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._host.lock import hold
from ansible_collections.llmops.fleet.plugins.module_utils._host.operations import Operations
from ansible_collections.llmops.fleet.plugins.module_utils._host.ownership import Owner
from ansible_collections.llmops.fleet.plugins.module_utils._host.place import layout_here
from contract.sources import Run
from hub import Hub

SIZE = 1000


@pytest.fixture
def model(run_module: Run, hub: Hub, tmp_path: Path) -> Run:
    hub.publish("org/m", {"w.bin": bytes(SIZE)})
    hub.publish("org/n", {"w.bin": b"n" * SIZE})

    def call(**params: t.Any) -> dict[str, t.Any]:
        asked = {"name": "m", "model": "org/m", "endpoint": hub.url, "timeout": 1, **params}
        if "models" in asked:
            asked = {key: value for key, value in asked.items() if key not in ("name", "model")}
        return run_module("llm_model", prefix=str(tmp_path / "host"), **asked)

    return call


@pytest.fixture
def last(tmp_path: Path) -> t.Callable[[], list[dict[str, t.Any]]]:
    """What has ended, newest first."""

    def call() -> list[dict[str, t.Any]]:
        found = Operations(layout_here(str(tmp_path / "host")), Owner()).all()
        return [operation.as_dict() for operation in found if not operation.running][::-1]

    return call


Last = t.Callable[[], list[dict[str, t.Any]]]


def of(operations: list[dict[str, t.Any]]) -> list[tuple[str, str, str, str | None]]:
    keys = ("model_name", "operation_type", "status", "reason")
    return [tuple(found[key] for key in keys) for found in operations]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("reason", "params"),
    [
        ("not_found", {"model": "org/none"}),
        ("gated", {"model": "org/m"}),
        ("unreachable", {"endpoint": "http://127.0.0.1:9"}),
        ("quota_exceeded", {"max_disk_gb": 0.0000001}),
        ("too_large", {"max_model_gb": 0.0000001}),
        ("no_space", {}),
    ],
)
def test_a_pull_that_is_refused_is_in_the_history(
    model: Run,
    last: Last,
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
    params: dict[str, t.Any],
) -> None:
    if reason == "gated":
        hub.fault("/api", status=403, headers={"X-Error-Code": "GatedRepo"})
    if reason == "no_space":
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1))
    # Looking leaves nothing.
    assert model(check=True, **params)["reason"] == reason
    assert not (tmp_path / "host").exists()
    result = model(**params)
    assert (result["reason"], result.get("changed", False)) == (reason, False)
    assert of(last()) == [("m", "install", "failed", reason)]
    (noted,) = last()
    assert noted["error"]
    assert noted["message"] == result["msg"]
    assert noted["finished_at"] >= noted["started_at"]


def test_of_a_list_those_are_noted_that_it_concerns(model: Run, last: Last) -> None:
    models = [{"name": "m", "model": "org/m"}, {"name": "n", "model": "org/n"}]
    assert model(models=models, max_disk_gb=0.0000015)["reason"] == "quota_exceeded"
    assert of(last()) == [("n", "install", "failed", "quota_exceeded")]
    models[1]["model"] = "org/none"
    model(models=models)
    assert of(last())[0] == ("n", "install", "failed", "not_found")


def test_a_removal_has_the_bytes_that_go(model: Run, last: Last) -> None:
    model()
    model(state="absent")
    removal = last()[0]
    assert (removal["operation_type"], removal["bytes_done"], removal["bytes_total"]) == ("remove", SIZE, SIZE)


def test_who_waits_in_vain_is_noted(model: Run, last: Last, tmp_path: Path) -> None:
    with hold(tmp_path / "host/var/lib/llm/models/locks/store.lock", what="x", timeout=0, owner=Owner()):
        assert model(lock_timeout=0)["reason"] == "locked"
    assert of(last())[0] == ("m", "install", "failed", "locked")


def test_a_live_pull_says_which_of_how_many_it_is(model: Run, hub: Hub, tmp_path: Path) -> None:
    hub.publish("org/n", {"w.bin": b"n" * 400_000})
    hub.fault("w.bin", rate=100_000)
    seen: list[dict[str, t.Any]] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.1):
            for path in (tmp_path / "host/run/llm/progress").glob("*.json"):
                seen.append(json.loads(path.read_text()))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        model(models=[{"name": "m", "model": "org/m"}, {"name": "n", "model": "org/n"}], timeout=20)
    finally:
        ended.set()
        watcher.join()
    second = [found for found in seen if found["model_name"] == "n"]
    assert {(found["step"], found["steps"], found["bytes_before"], found["bytes_after"]) for found in second} == {
        (2, 2, SIZE, 0)
    }
