# SPDX-License-Identifier: GPL-3.0-or-later
"""What every source must do, run over each of them."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._sources.registry import SOURCES
from contract.sources import OFFERS, Offer
from hub import Hub

FILES = {
    "config.json": b"{}",
    "sub/model.gguf": b"GGUF" + bytes(5000),
    "empty.txt": b"",
    "copy.gguf": b"GGUF" + bytes(5000),
}

Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture(params=sorted(OFFERS))
def offer(request: pytest.FixtureRequest) -> Offer:
    return OFFERS[request.param]


@pytest.fixture
def model(run_module: Run, tmp_path: Path) -> Run:
    def call(**params: t.Any) -> dict[str, t.Any]:
        return run_module("llm_model", prefix=str(tmp_path / "host"), name="m", **params)

    return call


def content(folder: str) -> dict[str, bytes]:
    root = Path(folder)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_every_source_is_under_the_contract() -> None:
    assert sorted(OFFERS) == sorted(SOURCES)


def test_the_twelve_steps(model: Run, offer: Offer, tmp_path: Path, hub: Hub) -> None:
    params = offer(tmp_path, hub, FILES)

    def both(changes: bool, **more: t.Any) -> dict[str, t.Any]:
        foreseen = model(check=True, **params, **more)
        real = model(**params, **more)
        assert (foreseen["changed"], real["changed"]) == (changes, changes)
        assert foreseen["diff"] == real["diff"]
        return real

    created = both(True)
    assert content(created["models"][0]["folder"]) == FILES
    both(False)
    newer = {**FILES, "config.json": b'{"newer": true}'}
    offer(tmp_path, hub, newer)
    modified = both(True)
    assert content(modified["models"][0]["folder"]) == newer
    assert modified["models"][0]["revision"] != created["models"][0]["revision"]
    both(False)
    both(True, state="absent")
    both(False, state="absent")
    assert not Path(modified["models"][0]["folder"]).exists()


def test_only_what_is_chosen_comes(model: Run, offer: Offer, tmp_path: Path, hub: Hub) -> None:
    params = offer(tmp_path, hub, FILES)
    result = model(**params, include=["*.gguf"], exclude=["copy*"])
    assert list(content(result["models"][0]["folder"])) == ["sub/model.gguf"]


def test_a_choice_of_nothing_is_refused(model: Run, offer: Offer, tmp_path: Path, hub: Hub) -> None:
    result = model(**offer(tmp_path, hub, FILES), include=["*.bin"])
    assert result["failed"]
    assert result["reason"] in ("not_found", "path_missing")


def test_a_lost_file_is_brought_back(model: Run, offer: Offer, tmp_path: Path, hub: Hub) -> None:
    params = offer(tmp_path, hub, FILES)
    folder = model(**params)["models"][0]["folder"]
    (Path(folder) / "sub/model.gguf").unlink()
    assert model(**params)["changed"]
    assert content(folder) == FILES


def test_the_quota_holds(model: Run, offer: Offer, tmp_path: Path, hub: Hub) -> None:
    result = model(**offer(tmp_path, hub, FILES), max_disk_gb=0.000001)
    assert result["reason"] == "quota_exceeded"
    assert result["plan"]["steps"][0]["action"] == "refuse"
