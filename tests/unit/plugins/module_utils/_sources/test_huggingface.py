# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories of a hub: tokens, one quantization, its own cache on this host, and its own way of transfer."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from hub import Hub

from .conftest import snapshot

if t.TYPE_CHECKING:
    from .conftest import Run

DATA = b"GGUF" + bytes(range(256)) * 2000
FILES = {"config.json": b'{"a": 1}', "model.gguf": DATA}
REPOSITORY = "org/model"
TOKEN = "hf_planted7f3a"
CACHE_PROGRAM = """
import sys, huggingface_hub
huggingface_hub.snapshot_download(sys.argv[1], cache_dir=sys.argv[2], endpoint=sys.argv[3], token=False)
"""


@pytest.fixture
def params(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    hub.publish(REPOSITORY, FILES)
    return {"model": REPOSITORY, "endpoint": hub.url, "timeout": 2}


def content(result: dict[str, t.Any]) -> dict[str, bytes]:
    root = Path(result["models"][0]["folder"])
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("way", ["option", "file", "environment"])
def test_a_token_comes_from_three_places(
    model: Run, hub: Hub, params: dict[str, t.Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    hub.token = TOKEN
    if way != "environment":
        # What is said is stronger than what stands in the environment.
        monkeypatch.setenv("HF_TOKEN", "hf_another")
    if way == "option":
        params["token"] = TOKEN
    elif way == "file":
        (tmp_path / "token").write_text(f"{TOKEN}\n")
        params["token_file"] = str(tmp_path / "token")
    else:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    result = model(**params)
    assert content(result) == FILES
    assert set(hub.authorized) == {f"Bearer {TOKEN}"}
    assert TOKEN not in json.dumps(result)


def test_nobody_is_shown_a_token_that_was_not_given(
    model: Run, hub: Hub, params: dict[str, t.Any], tmp_path: Path
) -> None:
    """The one that the hub's client has stored for its own user stays with it."""
    (tmp_path / "hf-home").mkdir()
    (tmp_path / "hf-home/token").write_text(TOKEN)
    assert content(model(**params)) == FILES
    assert set(hub.authorized) == {""}


def test_the_environment_names_the_hub(
    model: Run, hub: Hub, params: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    del params["endpoint"]
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/")
    assert content(model(**params)) == FILES


QUANTIZED = [
    "model-Q4_K_M-00001-of-00002.gguf",
    "model-Q4_K_M-00002-of-00002.gguf",
    "model-Q4_K_S.gguf",
    "model-Q4_K.gguf",
    "model-IQ4_K_M.gguf",
    "model-Q4_K_M.md",
    "README.md",
]


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [("Q4_K_M", QUANTIZED[:2]), ("q4_k_m", QUANTIZED[:2]), ("Q4_K_S", [QUANTIZED[2]]), ("Q4_K", [QUANTIZED[3]])],
)
def test_one_quantization_and_no_other(
    foreseen: Run, hub: Hub, params: dict[str, t.Any], quantization: str, expected: list[str]
) -> None:
    hub.publish(REPOSITORY, {name: name.encode() for name in QUANTIZED})
    assert sorted(content(foreseen(**params, quantization=quantization))) == expected
    assert foreseen(**params, quantization=quantization.lower())["changed"] is False


def test_a_quantization_that_is_not_there(model: Run, hub: Hub, params: dict[str, t.Any]) -> None:
    hub.publish(REPOSITORY, {name: name.encode() for name in QUANTIZED})
    result = model(**params, quantization="Q8_0")
    assert result["reason"] == "not_found"
    assert "quantization 'Q8_0'" in result["msg"]
    assert result["details"]["files"] == sorted(QUANTIZED)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": 403, "headers": {"X-Error-Code": "GatedRepo"}}, "gated"),
        ({"status": 401, "headers": {"X-Error-Code": "RepoNotFound"}}, "auth_error"),
        ({"status": 404, "headers": {"X-Error-Code": "RepoNotFound"}}, "not_found"),
        ({"status": 401}, "auth_error"),
        ({"status": 403}, "forbidden"),
    ],
    ids=["gated", "private", "private without a token", "wrong token", "forbidden"],
)
@pytest.mark.parametrize("place", ["/api/models/", "/resolve/"])
@pytest.mark.parametrize("transfer", ["http", "xet"])
def test_a_refusal_has_its_reason(
    model: Run, hub: Hub, params: dict[str, t.Any], answer: dict[str, t.Any], reason: str, place: str, transfer: str
) -> None:
    hub.fault(place, **answer)
    hub.fault(place, **answer, method="HEAD")
    result = model(**params, transfer=transfer, token=TOKEN)
    assert result["reason"] == reason
    assert TOKEN not in json.dumps(result)


def make_cache(hub: Hub, folder: Path, *, shared: bool = False) -> Path:
    """The cache that the hub's own client makes, in a process of its own."""
    off = {} if shared else {"HF_HUB_DISABLE_SHARED_BLOBS": "1"}
    environment = {**os.environ, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", **off}
    words = [sys.executable, "-c", CACHE_PROGRAM, REPOSITORY, str(folder), hub.url]
    subprocess.run(words, env=environment, check=True, timeout=60, capture_output=True)
    hub.reset()
    return folder


def state(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    found = {}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        status = path.stat()
        found[str(path)] = (status.st_mode, status.st_uid, status.st_gid, path.read_bytes())
    return found


@pytest.mark.parametrize("way", ["option", "HF_HUB_CACHE", "HF_HOME"])
def test_files_of_the_hubs_cache_are_taken_up(
    foreseen: Run, hub: Hub, params: dict[str, t.Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    cache = make_cache(hub, tmp_path / "cache/hub", shared=way == "HF_HOME")
    if way == "option":
        params["hub_caches"] = [str(cache)]
    else:
        monkeypatch.setenv(way, str(cache if way == "HF_HUB_CACHE" else cache.parent))
    before = state(cache)
    made = foreseen(**params)
    assert made["plan"]["bytes_to_fetch"] == 0
    assert content(made) == FILES
    assert not hub.settled()
    assert state(cache) == before
    assert foreseen(**params, state="absent")["changed"]
    assert state(cache) == before


def test_a_private_cache_is_taken_up_by_a_copy(
    foreseen: Run, hub: Hub, params: dict[str, t.Any], tmp_path: Path
) -> None:
    cache = make_cache(hub, tmp_path / "cache")
    for path in (path for path in cache.rglob("*") if path.is_file()):
        path.chmod(0o600)
    before = state(cache)
    assert content(foreseen(**params, hub_caches=[str(cache)])) == FILES
    assert not hub.settled()
    assert state(cache) == before


def test_a_corrupted_file_of_the_cache_is_fetched(
    foreseen: Run, hub: Hub, params: dict[str, t.Any], tmp_path: Path
) -> None:
    cache = make_cache(hub, tmp_path / "cache")
    blob = next(cache.rglob(f"blobs/{hashlib.sha256(DATA).hexdigest()}"))
    blob.write_bytes(DATA[:-1] + b"!")
    before = state(cache)
    made = foreseen(**params, hub_caches=[str(cache)])
    assert made["plan"]["bytes_to_fetch"] == len(DATA)
    assert content(made) == FILES
    assert dict(hub.settled()) == {"model.gguf": len(DATA)}
    assert state(cache) == before


def test_what_is_mended_does_not_change_the_cache(
    foreseen: Run, hub: Hub, params: dict[str, t.Any], tmp_path: Path
) -> None:
    cache = make_cache(hub, tmp_path / "cache")
    params["hub_caches"] = [str(cache)]
    file = Path(foreseen(**params)["models"][0]["folder"]) / "model.gguf"
    file.chmod(0o640)
    file.write_bytes(bytes(len(DATA)))
    before = state(cache)
    mended = foreseen(**params, state="verified")
    assert mended["changed"]
    assert content(mended) == FILES
    assert state(cache) == before


@pytest.mark.parametrize("transfer", ["http", "xet"])
def test_a_cache_is_no_answer_to_a_refusal(
    model: Run, hub: Hub, params: dict[str, t.Any], tmp_path: Path, transfer: str
) -> None:
    cache = make_cache(hub, tmp_path / "cache")
    hub.token = TOKEN
    result = model(**params, hub_caches=[str(cache)], transfer=transfer, token="hf_expired")
    assert (result["reason"], result.get("changed", False)) == ("auth_error", False)
    # The refusal is in the host's history, and nothing else of it is there.
    assert {path.name for path in (tmp_path / "host").rglob("*") if path.is_file()} <= {
        "operations.jsonl",
        "operations.lock",
    }


def test_the_hubs_client_brings_files_that_are_proven(foreseen: Run, hub: Hub, params: dict[str, t.Any]) -> None:
    params["transfer"] = "xet"
    made = foreseen(**params)
    assert content(made) == FILES
    assert hub.settled()["model.gguf"] == len(DATA)
    assert foreseen(**params)["changed"] is False
    assert foreseen(**params, state="verified")["changed"] is False


def test_wrong_bytes_of_the_hubs_client_are_not_kept(
    model: Run, hub: Hub, params: dict[str, t.Any], tmp_path: Path
) -> None:
    hub.fault("/resolve/.*model.gguf", flip=5000)
    result = model(**params, transfer="xet")
    assert result["reason"] == "checksum_mismatch"
    assert not list((tmp_path / "host/var/lib/llm/models/huggingface").rglob("*"))
    hub.reset()
    assert content(model(**params)) == FILES
    assert not list((tmp_path / "host/var/lib/llm/models/partial").iterdir())


def announce_xet(hub: Hub, store: str) -> None:
    """Have the hub say that a large file lies in a content store, and where that is."""

    class Announcing(hub._server.RequestHandlerClass):  # type: ignore[name-defined, misc]
        def _answer(self, method: str) -> None:
            if "/xet-read-token/" in self.path:
                given = {"casUrl": store, "accessToken": "t", "exp": int(time.time()) + 600}
                names = {
                    "X-Xet-Cas-Url": "casUrl",
                    "X-Xet-Access-Token": "accessToken",
                    "X-Xet-Token-Expiration": "exp",
                }
                self._json(200, given, {header: str(given[key]) for header, key in names.items()})
            else:
                super()._answer(method)

        def end_headers(self) -> None:
            if "/resolve/" in self.path and self.path.endswith(".gguf"):
                commit = self.path.split("/resolve/")[1].split("/")[0]
                self.send_header("X-Xet-Hash", hashlib.sha256(DATA).hexdigest())
                route = f"{hub.url}/api/models/{REPOSITORY}/xet-read-token/{commit}"
                self.send_header("Link", f'<{route}>; rel="xet-auth"')
            super().end_headers()

    hub._server.RequestHandlerClass = Announcing


def test_a_content_store_out_of_reach_is_said_soon(
    model: Run, hub: Hub, params: dict[str, t.Any], tmp_path: Path, free_port: int
) -> None:
    announce_xet(hub, f"http://127.0.0.1:{free_port}")
    began = time.monotonic()
    result = model(**params, transfer="xet")
    assert time.monotonic() - began < 30
    assert result["reason"] == "transfer_failed"
    assert "Use transfer: http" in result["msg"]
    assert not hub.settled()["model.gguf"], "it came by plain http"
    before = snapshot(tmp_path / "host/var/lib/llm/models/huggingface")
    assert not before
    assert content(model(**params)) == FILES
