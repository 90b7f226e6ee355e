# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._api.ollama_registry import (
    MEDIA_TYPE,
    blob_path,
    manifest_path,
    ollama_manifest,
    parse_manifest,
)
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from recorded import Case, Recorded, answer

LAYER = {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + "a" * 64, "size": 100}
CONFIG = {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": "sha256:" + "c" * 64, "size": 5}
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": MEDIA_TYPE, "config": CONFIG, "layers": [LAYER]}, indent=3)


@pytest.fixture
def server() -> t.Iterator[Recorded]:
    with Recorded() as running:
        yield running


def host(server: Recorded) -> str:
    return server.url.partition("://")[2]


def test_a_manifest_has_the_digest_of_its_bytes(server: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.play(answer(MANIFEST))
    manifest = ollama_manifest(f"{host(server)}/acme/alpha", insecure=True, timeout=5)
    assert manifest.digest == hashlib.sha256(MANIFEST.encode()).hexdigest()
    assert manifest.config == ("sha256:" + "c" * 64, 5, CONFIG["mediaType"])
    assert manifest.layers == (("sha256:" + "a" * 64, 100, LAYER["mediaType"]),)
    assert manifest.contents == {"sha256:" + "c" * 64, "sha256:" + "a" * 64}
    assert manifest.size == 105
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("GET", "/v2/acme/alpha/manifests/latest")
    assert asked.headers["accept"] == MEDIA_TYPE


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (answer("{}", 404), "not_found"),
        (answer("", 401), "auth_error"),
        (answer("", 403), "auth_error"),
        (answer("The model you are attempting to pull requires a newer version of Ollama.", 412), "engine_too_old"),
        (answer({"error": "Repository is not GGUF or is not compatible with llama.cpp"}, 400), "model_unsuitable"),
        (answer("oops", 501), "hub_error"),
        (answer("<html>"), "hub_error"),
        (answer({"config": CONFIG}), "hub_error"),
        (answer({"config": CONFIG, "layers": [{"digest": "../x", "size": 1}]}), "hub_error"),
        (answer({"config": CONFIG, "layers": [{"digest": 5, "size": 1}]}), "hub_error"),
        (answer([1]), "hub_error"),
        (answer("{", promised=5, cut=True), "unreachable"),
    ],
)
def test_each_refusal_has_its_reason(server: Recorded, case: Case, reason: str) -> None:
    server.play(case)
    with pytest.raises(LlmError) as caught:
        ollama_manifest(f"{host(server)}/acme/alpha:7b", insecure=True, timeout=5)
    assert caught.value.reason == reason
    assert f"{server.url}/v2/acme/alpha/manifests/7b" in caught.value.what


def test_nobody_there_is_unreachable(free_port: int) -> None:
    with pytest.raises(LlmError) as caught:
        ollama_manifest(f"127.0.0.1:{free_port}/acme/alpha", insecure=False, timeout=2)
    assert caught.value.reason == "unreachable"
    assert caught.value.what.startswith("https://")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/../b", "a/b/c/d", "", "a/b?x=y", "a b", "/x/..:y", "x@y/a/b"])
def test_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(LlmError) as caught:
        ollama_manifest(name, insecure=True, timeout=1)
    assert caught.value.reason == "invalid_name"
    with pytest.raises(LlmError):
        manifest_path(tmp_path, name)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("llama3.2:3b", "registry.ollama.ai/library/llama3.2/3b"),
        ("hf.co/bartowski/X-GGUF:Q4_K_M", "hf.co/bartowski/X-GGUF/Q4_K_M"),
        ("127.0.0.1:5001/acme/alpha", "127.0.0.1:5001/acme/alpha/latest"),
    ],
)
def test_a_manifest_on_the_disk_is_found(name: str, path: str, tmp_path: Path) -> None:
    expected = tmp_path / "manifests" / path
    assert manifest_path(tmp_path, name) == expected
    expected.parent.mkdir(parents=True)
    expected.write_text(MANIFEST)
    assert manifest_path(tmp_path, name) == expected
    assert manifest_path(tmp_path, name.upper()) == expected
    assert parse_manifest(expected.read_bytes()).size == 105


def test_a_blob_lies_under_its_digest(tmp_path: Path) -> None:
    assert blob_path(tmp_path, "sha256:" + "a" * 64) == tmp_path / "blobs" / ("sha256-" + "a" * 64)
    with pytest.raises(LlmError):
        blob_path(tmp_path, "sha256:../x")
