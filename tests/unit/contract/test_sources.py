# SPDX-License-Identifier: GPL-3.0-or-later
"""What every source must do, run over each of them."""

from __future__ import annotations

import contextlib
import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._sources.registry import SOURCES
from contract.sources import OFFERINGS, Offering, Run, content


@pytest.fixture(params=sorted(OFFERINGS))
def offering(request: pytest.FixtureRequest, tmp_path: Path) -> t.Iterator[Offering]:
    with contextlib.ExitStack() as stack:
        made = OFFERINGS[request.param](tmp_path, stack)
        made.publish(1)
        yield made


@pytest.fixture
def model(run_module: Run, tmp_path: Path) -> Run:
    def call(**params: t.Any) -> dict[str, t.Any]:
        return run_module("llm_model", prefix=str(tmp_path / "host"), name="m", **params)

    return call


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


def test_every_source_is_under_the_contract() -> None:
    assert sorted(OFFERINGS) == sorted(SOURCES)


def test_the_twelve_steps(model: Run, offering: Offering, tmp_path: Path) -> None:
    def both(changes: bool, **more: t.Any) -> dict[str, t.Any]:
        before = snapshot(tmp_path)
        foreseen = model(check=True, **offering.params, **more)
        assert snapshot(tmp_path) == before, "check mode wrote"
        real = model(**offering.params, **more)
        assert (foreseen.get("changed"), real.get("changed")) == (changes, changes), real
        assert foreseen["diff"] == real["diff"]
        return real

    created = both(True)
    assert offering.holds(created, 1)
    assert created["models"][0]["provider"] == offering.params["source"]
    assert created["models"][0]["status"] == "installed"
    both(False)
    if offering.digests:
        offering.publish(2)
        modified = both(True)
        assert offering.holds(modified, 2)
        assert modified["models"][0]["revision"] != created["models"][0]["revision"]
    else:
        modified = both(True, pinned=True)
        assert modified["models"][0]["pinned"]
        offering.params["pinned"] = True
    both(False)
    both(True, state="absent")
    assert not offering.holds({"models": modified["models"]}, 2)
    both(False, state="absent")


def test_a_model_that_is_there_already_is_taken_up_without_a_pull(
    model: Run, run_module: Run, offering: Offering, tmp_path: Path
) -> None:
    if offering.owned:
        pytest.skip("another store shares nothing with this one")
    model(**offering.params)
    again = run_module("llm_model", prefix=str(tmp_path / "other"), name="m", **offering.params)
    assert again["changed"]
    assert again["plan"]["bytes_to_fetch"] == 0
    assert again["models"][0]["revision"] == model(**offering.params)["models"][0]["revision"]


def test_only_what_is_chosen_comes(model: Run, offering: Offering) -> None:
    if not offering.many:
        pytest.skip("one file")
    result = model(**offering.params, include=["*.gguf"], exclude=["copy*"])
    assert list(content(result["models"][0]["folder"])) == ["sub/model.gguf"]


def test_a_choice_of_nothing_is_refused(model: Run, offering: Offering) -> None:
    if not offering.many:
        pytest.skip("one file")
    result = model(**offering.params, include=["*.bin"])
    assert result["failed"]
    assert result["reason"] in ("not_found", "path_missing")


def test_lost_bytes_are_brought_back(model: Run, offering: Offering) -> None:
    first = model(**offering.params)
    offering.lose(first)
    assert not offering.holds(first, 1)
    foreseen, real = model(check=True, **offering.params), model(**offering.params)
    assert foreseen["changed"]
    assert real["changed"]
    assert foreseen["diff"] == real["diff"]
    assert offering.holds(real, 1)


def test_the_quota_holds(model: Run, offering: Offering) -> None:
    result = model(**offering.params, max_disk_gb=0.000001)
    if offering.owned:
        assert result["reason"] == "quota_exceeded"
        assert result["plan"]["steps"][0]["action"] == "refuse"
    else:
        # Bytes that another program keeps are not the store's.
        assert result["changed"]


def test_a_large_model_needs_a_yes(model: Run, offering: Offering) -> None:
    refused = model(**offering.params, max_model_gb=0.000001)
    assert refused["reason"] == "too_large"
    assert model(**offering.params, max_model_gb=0.000001, allow_large=True)["changed"]


def test_what_the_user_knows_better_is_kept_apart(model: Run, offering: Offering) -> None:
    model(**offering.params)
    known = {"supports_system_role": False}
    changed = model(**offering.params, capabilities=known)
    assert changed["changed"]
    record = changed["models"][0]
    assert record["capabilities"]["supports_system_role"] is False
    assert record["capabilities_override"] == known
    assert record["capabilities_read"].get("supports_system_role") is not False
    assert model(**offering.params, capabilities=known)["changed"] is False
    assert model(**offering.params)["models"][0]["capabilities_override"] == {}


def test_an_unknown_name_says_what_is_wrong(model: Run, offering: Offering) -> None:
    wrong = {**offering.params}
    for key in ("model", "path", "url"):
        if key in wrong:
            wrong[key] = (
                wrong[key].replace("model", "nothing").replace("offered", "nothing").replace("micro", "nothing")
            )
    result = model(**wrong)
    assert result["reason"] in ("not_found", "path_missing")
    assert result["msg"].startswith(f"Model m ({wrong['source']} ")
    assert "nothing" in result["msg"]


def test_a_token_is_shown_nowhere(model: Run, offering: Offering, tmp_path: Path) -> None:
    secret = "planted-secret-7f3a"
    seen = [
        model(**offering.params, token=secret),
        model(**{**offering.params, "endpoint": "http://127.0.0.1:9"}, token=secret),
    ]
    seen.append(model(**offering.params, token=secret, state="absent"))
    assert secret not in json.dumps(seen)
    files = [path for path in (tmp_path / "host").rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if secret.encode() in path.read_bytes()]
