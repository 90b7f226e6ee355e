# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of LM Studio: what its folder and its memory have after a run, and what the run said."""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

import lms
import pytest
import requests
from lm_studio import LmStudio

from .conftest import snapshot, weights

if t.TYPE_CHECKING:
    from .conftest import Run

KEY = "ibm/granite-4-micro"
HUB = "https://huggingface.co/Org/Model-GGUF"


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[LmStudio]:
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    with LmStudio(tmp_path / "lm-studio") as running:
        running.publish(KEY, "Q4_K_M", weights("first"))
        yield running


@pytest.fixture
def params(studio: LmStudio) -> dict[str, t.Any]:
    return {
        "source": "lm_studio",
        "model": KEY,
        "endpoint": studio.url,
        "models_path": str(studio.home.models),
        "timeout": 0.1,
    }


def files(studio: LmStudio) -> list[str]:
    return sorted(path.relative_to(studio.home.models).as_posix() for path in studio.home.models.rglob("*.gguf"))


def test_a_model_is_downloaded_kept_and_removed(foreseen: Run, studio: LmStudio, params: dict[str, t.Any]) -> None:
    made = foreseen(**params)
    assert made["models"][0]["revision"] == "Q4_K_M"
    assert files(studio) == ["ibm/granite-4-micro/granite-4-micro-Q4_K_M.gguf"]
    assert made["models"][0]["capabilities"]["max_context_length"] == 512
    assert made["models"][0]["size_bytes"] == len(weights("first"))
    studio.faults.reset()
    assert foreseen(**params)["changed"] is False
    assert not [request for request in studio.faults.requests if request.startswith("POST")]
    requests.post(f"{studio.url}/api/v1/models/load", json={"model": KEY}, timeout=5)
    assert foreseen(**params, state="absent")["changed"]
    assert (files(studio), studio.instances) == ([], {})
    assert not (studio.home.models / KEY).exists()
    assert foreseen(**params, state="absent")["changed"] is False


def test_what_is_there_already_is_taken_up(model: Run, studio: LmStudio, params: dict[str, t.Any]) -> None:
    entry = studio.home.published(KEY)
    assert entry
    studio.home.download(KEY, entry)
    assert model(**params)["plan"]["bytes_to_fetch"] == 0
    assert "POST /api/v1/models/download" not in studio.faults.requests
    assert model(**params)["changed"] is False


def test_a_download_that_another_finished_meanwhile(model: Run, studio: LmStudio, params: dict[str, t.Any]) -> None:
    """It is listed nowhere when the plan is made, and there when the download is asked for."""
    begin = studio.download

    def raced(name: str, quantization: str) -> dict[str, t.Any]:
        entry = studio.home.published(name)
        assert entry
        studio.home.download(name, entry)
        return begin(name, quantization)

    studio.download = raced  # type: ignore[method-assign]
    assert model(**params)["changed"]
    assert not studio.jobs
    assert len(files(studio)) == 1


def test_a_pause_is_waited_for(model: Run, studio: LmStudio, params: dict[str, t.Any]) -> None:
    studio.states[KEY] = ["downloading", "paused", "paused", "downloading", "completed"]
    assert model(**params)["changed"]
    assert len(files(studio)) == 1


def test_a_pause_without_end_is_a_timeout(model: Run, studio: LmStudio, params: dict[str, t.Any]) -> None:
    studio.states[KEY] = ["downloading", "paused"]
    began = time.monotonic()
    result = model(**params)
    assert time.monotonic() - began < 10
    assert result["reason"] == "timeout"
    assert "has been paused for 1 seconds" in result["msg"]
    assert files(studio) == []


def test_a_failed_download_is_a_failure(model: Run, studio: LmStudio, params: dict[str, t.Any]) -> None:
    studio.states[KEY] = ["downloading", "failed"]
    result = model(**params)
    assert (result["reason"], result["changed"]) == ("transfer_failed", False)
    assert files(studio) == []
    studio.states.clear()
    assert model(**params)["changed"]


def test_a_token_is_asked_for(model: Run, studio: LmStudio, params: dict[str, t.Any]) -> None:
    studio.token = "lm-token"
    for more in ({}, {"token": "wrong-token"}):
        result = model(**params, **more)
        assert result["reason"] == "auth_error"
        assert "Pass an API token of LM Studio." in result["msg"]
        assert "wrong-token" not in str(result)
    assert model(**params, token="lm-token")["changed"]
    # A token goes to a program only when the task names it: the usual one is the hub's.
    assert model(state="absent", token="lm-token")["reason"] == "auth_error"
    assert model(state="absent", source="lm_studio", token="lm-token")["changed"]
    assert files(studio) == []


def test_one_quantization_of_an_address(foreseen: Run, studio: LmStudio, params: dict[str, t.Any]) -> None:
    for quantization in ("Q4_K_M", "Q8_0"):
        studio.publish(HUB, quantization, weights(quantization))
    params = {**params, "model": HUB}
    foreseen(**params, quantization="Q4_K_M", name="small")
    assert foreseen(**params, quantization="q8_0")["models"][0]["revision"] == "Q8_0"
    assert files(studio) == ["Org/Model-GGUF/Model-GGUF-Q4_K_M.gguf", "Org/Model-GGUF/Model-GGUF-Q8_0.gguf"]
    assert foreseen(**params, quantization="Q8_0")["changed"] is False
    # The other quantization is another model, and stays.
    assert foreseen(state="absent", endpoint=studio.url)["changed"]
    assert files(studio) == ["Org/Model-GGUF/Model-GGUF-Q4_K_M.gguf"]
    assert foreseen(state="absent", name="small")["changed"]
    assert files(studio) == []


def test_a_quantization_of_a_name_is_refused(model: Run, studio: LmStudio, params: dict[str, t.Any]) -> None:
    result = model(**params, quantization="Q4_K_M")
    assert result["reason"] == "unsupported"
    assert "https://huggingface.co/" in result["msg"]


def elsewhere(model: Run, studio: LmStudio, params: dict[str, t.Any]) -> dict[str, t.Any]:
    """A model whose key is not its folder."""
    studio.publish("granite", "Q4_K_M", weights("first"), folder="community/granite-GGUF")
    params = {**params, "model": "granite"}
    assert model(**params)["changed"]
    return params


def test_the_command_knows_the_folder(model: Run, studio: LmStudio, params: dict[str, t.Any], tmp_path: Path) -> None:
    params = elsewhere(model, studio, params)
    result = model(**params, state="absent")
    assert result["reason"] == "path_missing"
    assert len(files(studio)) == 1
    lms.install(tmp_path / "bin", studio.home.root)
    assert model(**params, state="absent")["changed"]
    assert files(studio) == []


def test_a_whole_path_of_the_command_is_one_below_the_folder(
    model: Run, studio: LmStudio, params: dict[str, t.Any], tmp_path: Path
) -> None:
    params = elsewhere(model, studio, params)
    path = studio.home.models / "community/granite-GGUF/granite-GGUF-Q4_K_M.gguf"
    says(tmp_path, path)
    assert model(**params, state="absent")["changed"]
    assert files(studio) == []


def says(tmp_path: Path, path: Path | str) -> None:
    program = lms.install(tmp_path / "bin", tmp_path)
    program.write_text(f'#!/bin/sh\necho \'[{{"modelKey": "granite", "path": "{path}"}}]\'\n')


@pytest.mark.parametrize("place", ["{outside}/model.gguf", "../outside/model.gguf", "a/../../outside", "/", "", "."])
def test_nothing_outside_of_the_folder_is_removed(
    model: Run, studio: LmStudio, params: dict[str, t.Any], tmp_path: Path, place: str
) -> None:
    params = elsewhere(model, studio, params)
    outside = tmp_path / "lm-studio" / "outside"
    outside.mkdir()
    (outside / "model.gguf").write_bytes(b"precious")
    (studio.home.models / "a").mkdir()
    says(tmp_path, place.format(outside=outside))
    requests.post(f"{studio.url}/api/v1/models/load", json={"model": "granite"}, timeout=5)
    before = snapshot(studio.home.root)
    result = model(**params, state="absent")
    assert (result["reason"], result["changed"]) == ("path_missing", False)
    assert snapshot(studio.home.root) == before
    assert studio.instances, "it was unloaded, and could not be removed"


@pytest.mark.parametrize("place", ["community", "community/granite-GGUF"], ids=["publisher", "model"])
def test_a_symbolic_link_is_not_followed(
    model: Run, studio: LmStudio, params: dict[str, t.Any], tmp_path: Path, place: str
) -> None:
    params = elsewhere(model, studio, params)
    lms.install(tmp_path / "bin", studio.home.root)
    theirs = tmp_path / "theirs"
    (studio.home.models / place).rename(theirs)
    (studio.home.models / place).symlink_to(theirs)
    result = model(**params, state="absent")
    assert result["reason"] == "path_missing"
    assert len(list(theirs.rglob("*.gguf"))) == 1


def test_a_linked_folder_of_models_is_that_folder(
    model: Run, studio: LmStudio, params: dict[str, t.Any], tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(studio.home.models)
    params = {**params, "models_path": str(tmp_path / "link")}
    model(**params)
    assert model(**params, state="absent")["changed"]
    assert files(studio) == []


def test_check_mode_never_runs_the_command(
    model: Run, studio: LmStudio, params: dict[str, t.Any], tmp_path: Path
) -> None:
    params = elsewhere(model, studio, params)
    lms.install(tmp_path / "bin", studio.home.root)
    for state in ("present", "verified", "absent"):
        model(check=True, **params, state=state)
    model(**params)
    assert not studio.home.marker.exists()
    model(**params, state="absent")
    assert studio.home.marker.exists()


def test_a_server_that_is_not_there_is_one_sentence(
    model: Run, studio: LmStudio, params: dict[str, t.Any], tmp_path: Path
) -> None:
    lms.install(tmp_path / "bin", studio.home.root)
    model(**params)
    studio.stop()
    for more in ({}, {"state": "absent"}):
        result = model(**params, **more)
        assert result["reason"] == "unreachable"
        assert f"LM Studio at {params['endpoint']} could not be reached: it does not answer there." in result["msg"]
        assert "lms server start" in result["msg"]
    assert not studio.home.marker.exists()
    assert len(files(studio)) == 1


def test_what_it_cannot_tell_is_said(model: Run, studio: LmStudio, params: dict[str, t.Any]) -> None:
    assert "tells no digest" in model(**params, refresh=True)["msg"]
    assert "were not proven" in model(**params, verify="always")["notes"][0]
