# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of an Ollama server: what its disk and memory have after a run, and what the run said."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.ports import SourceOptions
from ansible_collections.llmops.fleet.plugins.module_utils._sources.ollama import Ollama as Source
from docker_model_runner import Runner
from ollama_store import digest_of

if t.TYPE_CHECKING:
    from .conftest import Ollama, Run

GONE = "http://127.0.0.1:9"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_model_is_pulled_kept_and_removed(foreseen: Run, ollama: Ollama) -> None:
    digest = sha(ollama.registry.manifest_path("acme/model").read_bytes())
    record = foreseen(**ollama.params)["models"][0]
    assert ollama.tags() == {f"{ollama.name}:latest": digest}
    assert (record["revision"], record["sha256"], record["folder"]) == (digest, digest, "")
    assert foreseen(**ollama.params)["changed"] is False
    ollama.ask("POST", "/api/copy", source=ollama.name, destination="other")
    assert foreseen(**ollama.params, state="absent")["changed"]
    assert list(ollama.tags()) == ["other:latest"]
    assert foreseen(**ollama.params, state="absent")["changed"] is False


def test_a_removal_asks_the_server_that_has_the_model(model: Run, ollama: Ollama) -> None:
    model(**ollama.params)
    assert model(state="absent")["changed"]
    assert ollama.tags() == {}


def test_nobody_is_asked_about_a_model_that_is_there(model: Run, ollama: Ollama) -> None:
    model(**ollama.params)
    ollama.registry.reset()
    ollama.publish("second")
    assert model(**ollama.params)["changed"] is False
    assert not ollama.registry.requests
    ollama.registry.stop()
    assert model(**ollama.params)["changed"] is False


def test_refresh_compares_without_a_pull(foreseen: Run, ollama: Ollama) -> None:
    foreseen(**ollama.params)
    ollama.registry.reset()
    ollama.daemon.reset()
    assert foreseen(**ollama.params, refresh=True)["changed"] is False
    assert list(ollama.registry.requests) == ["GET /v2/acme/model/manifests/latest"]
    assert "POST /api/pull" not in ollama.daemon.requests
    digest = sha(ollama.publish("second"))
    assert foreseen(**ollama.params, refresh=True)["changed"]
    assert ollama.tags() == {f"{ollama.name}:latest": digest}


def test_the_same_contents_under_a_manifest_written_anew_are_kept(model: Run, ollama: Ollama) -> None:
    model(**ollama.params)
    path = next((ollama.models / "manifests").rglob("latest"))
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=1))
    digest = sha(path.read_bytes())
    ollama.daemon.reset()
    ollama.publish("first")
    # The record has to learn the digest once; nothing is pulled for it.
    assert model(**ollama.params, refresh=True)["plan"]["bytes_to_fetch"] == 0
    assert model(**ollama.params, refresh=True)["changed"] is False
    assert "POST /api/pull" not in ollama.daemon.requests
    assert ollama.tags() == {f"{ollama.name}:latest": digest}


def test_the_plan_tells_the_layers_that_are_to_come(model: Run, ollama: Ollama) -> None:
    raw = json.loads(ollama.registry.manifest_path("acme/model").read_bytes())
    sizes = {entry["digest"].replace(":", "-"): entry["size"] for entry in (*raw["layers"], raw["config"])}
    plan = model(check=True, **ollama.params)["plan"]
    assert set(plan["steps"][0]["files_to_fetch"]) == set(sizes)
    assert (plan["bytes_to_fetch"], plan["steps"][0]["bytes_here"]) == (sum(sizes.values()), 0)
    model(**ollama.params)
    raw = json.loads(ollama.publish("second"))
    new = {entry["digest"].replace(":", "-"): entry["size"] for entry in (*raw["layers"], raw["config"])}
    step = model(check=True, **ollama.params, refresh=True)["plan"]["steps"][0]
    coming = set(new) - set(sizes)
    assert set(step["files_to_fetch"]) == coming
    assert step["bytes_to_fetch"] == sum(new[name] for name in coming)
    assert step["bytes_here"] == sum(new[name] for name in set(new) & set(sizes)) > 0


def test_a_registry_that_is_not_insecure_is_not_asked_in_clear(model: Run, ollama: Ollama) -> None:
    result = model(**{**ollama.params, "insecure": False})
    assert result["reason"] == "unreachable"
    assert not ollama.registry.requests


def test_a_private_model_is_refused_with_a_remedy(model: Run, ollama: Ollama) -> None:
    ollama.registry.fault("/manifests/", status=401)
    result = model(**ollama.params)
    assert result["reason"] == "auth_error"
    assert "id_ed25519.pub" in result["msg"]
    assert ollama.tags() == {}


def test_names_in_another_case_are_the_same_model(model: Run, ollama: Ollama) -> None:
    ollama.pull(ollama.name)
    ollama.ask("POST", "/api/copy", source=ollama.name, destination="phi3")
    ollama.daemon.reset()
    params = {**ollama.params, "model": "phi3:latest"}
    assert model(**params)["plan"]["bytes_to_fetch"] == 0
    for name in ("Phi3", "phi3", "PHI3:latest", "library/phi3", "registry.ollama.ai/library/phi3"):
        assert model(**{**params, "model": name})["changed"] is False, name
    assert "POST /api/pull" not in ollama.daemon.requests
    assert model(**{**params, "model": "Phi3"}, state="absent")["changed"]
    assert list(ollama.tags()) == [f"{ollama.name}:latest"]


def test_a_name_of_the_hub_is_normalised(model: Run, ollama: Ollama) -> None:
    ollama.pull(ollama.name)
    manifests = ollama.models / "manifests"
    here = manifests / "hf.co/Org/Model-GGUF"
    here.mkdir(parents=True)
    for tag in ("latest", "Q4_K_M"):
        (here / tag).write_bytes(next(manifests.rglob("acme/model/latest")).read_bytes())
    result = model(**{**ollama.params, "model": "hf.co/Org/Model-GGUF"})
    assert result["models"][0]["model"] == "hf.co/Org/Model-GGUF:latest"
    assert result["plan"]["bytes_to_fetch"] == 0
    result = model(**{**ollama.params, "model": "hf.co/org/model-gguf:q4_k_m"}, name="other")
    assert (result["changed"], result["plan"]["bytes_to_fetch"]) == (True, 0)
    assert not [request for request in ollama.daemon.requests if "pull" in request][1:]


def test_capabilities_are_what_the_server_tells(model: Run, ollama: Ollama) -> None:
    record = model(**ollama.params)["models"][0]
    assert record["capabilities_read"]["max_context_length"] == 512
    assert record["capabilities_read"]["quantization"] == "F32"
    assert record["capabilities_read"]["supports_function_calling"] is False


def test_the_command_is_used_where_the_port_does_not_answer(foreseen: Run, ollama: Ollama) -> None:
    params = {**ollama.params, "endpoint": GONE, "executable": str(ollama.command())}
    digest = sha(ollama.registry.manifest_path("acme/model").read_bytes())
    assert foreseen(**params)["models"][0]["revision"] == digest
    assert ollama.tags() == {f"{ollama.name}:latest": digest}
    assert foreseen(**params)["changed"] is False
    digest = sha(ollama.publish("second"))
    assert foreseen(**params, refresh=True)["models"][0]["revision"] == digest
    # How it is reached is part of the record: a removal goes by it.
    assert foreseen(**ollama.params)["changed"]
    assert foreseen(**ollama.params)["changed"] is False
    assert foreseen(**params)["changed"]
    assert foreseen(name="m", state="absent")["changed"]
    assert ollama.tags() == {}


def test_the_command_alone_knows_a_model_by_its_first_digits(model: Run, ollama: Ollama, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    params = {**ollama.params, "endpoint": GONE, "executable": str(ollama.command()), "models_path": nowhere}
    result = model(**params)
    assert "were not hashed" in result["notes"][0]
    assert model(**params)["changed"] is False
    ollama.daemon.reset()
    model(**params, refresh=True)
    assert model(**params, refresh=True)["changed"] is False
    assert "POST /api/pull" not in ollama.daemon.requests
    full = model(**{**ollama.params, "models_path": nowhere})["models"][0]["revision"]
    assert full == sha(ollama.registry.manifest_path("acme/model").read_bytes())
    assert model(**params)["models"][0]["revision"] == full
    assert model(**params)["changed"] is False


def test_the_environment_tells_the_address(model: Run, ollama: Ollama, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", f":{ollama.daemon.port}")
    del ollama.params["endpoint"]
    assert model(**ollama.params)["changed"]
    assert len(ollama.tags()) == 1
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.9")
    assert "http://127.0.0.9:11434 " in model(**ollama.params)["msg"]


def test_a_server_that_is_not_there_is_one_sentence(model: Run, ollama: Ollama) -> None:
    result = model(**{**ollama.params, "endpoint": GONE})
    assert result["reason"] == "unreachable"
    assert re.fullmatch(
        r"Model m \(ollama .*\): Ollama at http://127.0.0.1:9 could not be reached: it refused the connection\. .*",
        result["msg"],
    )


def test_an_imitation_is_told_from_the_real_one(
    model: Run, ollama: Ollama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Runner(tmp_path / "runner") as runner:
        imitated = ollama.command().read_text().replace(f":{ollama.daemon.port} ", f":{runner.port} ")
        ollama.command().write_text(imitated)
        monkeypatch.setenv("PATH", f"{ollama.folder}/bin:/usr/bin:/bin")
        for more in ({}, {"executable": str(ollama.folder / "bin/ollama")}):
            result = model(**{**ollama.params, **more, "endpoint": runner.url})
            assert result["reason"] == "unreachable"
            assert "is not Ollama" in result["msg"]
            assert "Docker Model Runner imitates" in result["msg"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("pull model manifest: unauthorized: access denied", "auth_error"),
        ("pull model manifest: 401: ", "auth_error"),
        ("pull model manifest: 412: The model you are attempting to pull requires a newer version", "engine_too_old"),
        ("pull model manifest: file does not exist", "not_found"),
        ("write /root/.ollama/models/blobs/sha256-1-partial: no space left on device", "no_space"),
        ("max retries exceeded: EOF", "unreachable"),
    ],
)
def test_an_error_line_under_200_is_a_failure(model: Run, ollama: Ollama, words: str, reason: str) -> None:
    ollama.daemon.fault("/api/pull", status=200, body=json.dumps({"error": words}) + "\n")
    result = model(**ollama.params)
    assert result["reason"] == reason
    assert words.strip().rstrip(":") in result["msg"]
    assert result["changed"] is False


@pytest.mark.parametrize(("status", "reason"), [(404, "not_found"), (412, "engine_too_old")])
def test_what_the_registry_refuses_is_known_before_a_pull(model: Run, ollama: Ollama, status: int, reason: str) -> None:
    ollama.registry.fault("/manifests/", status=status, text="a newer version of ollama")
    assert model(check=True, **ollama.params)["reason"] == reason
    assert "POST /api/pull" not in ollama.daemon.requests


def test_an_end_without_success_is_a_failure(model: Run, ollama: Ollama) -> None:
    ollama.daemon.fault("/api/pull", status=200, body='{"status":"pulling manifest"}\n', times=1)
    result = model(**ollama.params)
    assert result["reason"] == "transfer_failed"
    assert "without success" in result["msg"]
    ollama.daemon.reset()
    ollama.daemon.fault("/api/pull", cut=1, times=1)
    assert model(**ollama.params)["reason"] == "transfer_failed"
    assert model(**ollama.params)["changed"]


def test_a_loaded_model_leaves_memory_before_its_update(model: Run, ollama: Ollama) -> None:
    model(**ollama.params)
    ollama.load(ollama.name)
    digest = sha(ollama.publish("second"))
    result = model(**ollama.params, refresh=True)
    assert "was unloaded" in result["notes"][0]
    assert ollama.loaded() == []
    ollama.load(ollama.name)
    assert ollama.loaded() == [(f"{ollama.name}:latest", digest)]


def test_a_loaded_model_that_is_removed_leaves_memory(model: Run, ollama: Ollama) -> None:
    model(**ollama.params)
    ollama.load(ollama.name)
    assert model(**ollama.params, state="absent")["changed"]
    assert (ollama.tags(), ollama.loaded()) == ({}, [])
    assert not ollama.blob().exists()
    assert digest_of(b"") not in str(list(ollama.models.rglob("*")))


def test_bytes_that_the_store_has_too_are_left_alone(model: Run, foreseen: Run, ollama: Ollama, tmp_path: Path) -> None:
    """A layer of Ollama's can be a file of the store's as well; neither is of use to the other."""
    foreseen(**ollama.params)
    layer = next(path for path in ollama.models.glob("blobs/sha256-*") if path.read_bytes()[:4] == b"GGUF")
    own = {"name": "own", "source": "file", "path": str(layer)}
    model(**own)
    ollama.publish("second")
    foreseen(**ollama.params, refresh=True)
    ollama.publish("first")
    foreseen(**ollama.params, refresh=True)
    assert foreseen(**own)["changed"] is False
    assert foreseen(**ollama.params, refresh=True)["changed"] is False


def test_a_name_that_keeps_bytes_for_a_rollback_is_no_model(model: Run, ollama: Ollama) -> None:
    model(**ollama.params)
    ollama.ask("POST", "/api/copy", source=ollama.name, destination="llmops-fleet/kept-for-chat:0123456789ab")
    assert len(ollama.tags()) == 2
    held = Source(SourceOptions(endpoint=ollama.daemon.url)).inventory()
    assert [each.model for each in held] == [f"{ollama.name}:latest"]
