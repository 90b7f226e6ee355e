# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sources' tests share: one model `m` through the real module, and an Ollama with its registry."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import ollama_command
import pytest
import requests
from ollama_daemon import Daemon
from ollama_registry import Registry
from ollama_store import MODEL_LAYER, SYSTEM_LAYER, digest_of
from reciter import gguf

Result = dict[str, t.Any]
Run = t.Callable[..., Result]


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below a folder, to show that nothing was touched."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


def weights(word: str) -> bytes:
    return gguf(f"This model is {word}.", "model")


@pytest.fixture
def model(run_module: Run, tmp_path: Path) -> Run:
    def call(**params: t.Any) -> Result:
        return run_module("llm_model", **{"prefix": str(tmp_path / "host"), "name": "m", **params})

    return call


@pytest.fixture
def foreseen(model: Run, tmp_path: Path) -> Run:
    """A run after the same in check mode, which writes nothing and tells the same."""

    def call(**params: t.Any) -> Result:
        before = snapshot(tmp_path)
        told = model(check=True, **params)
        assert snapshot(tmp_path) == before, "check mode wrote"
        done = model(**params)
        assert (told.get("changed"), told.get("diff")) == (done.get("changed"), done.get("diff")), done
        return done

    return call


class Ollama:
    """A daemon, its folder of models, and a registry with `acme/model`."""

    def __init__(self, folder: Path, daemon: Daemon, registry: Registry) -> None:
        self.folder, self.daemon, self.registry = folder, daemon, registry
        self.models = daemon.store.models
        self.name = f"{registry.place}/acme/model"
        self.params = {
            "source": "ollama",
            "model": self.name,
            "endpoint": daemon.url,
            "insecure": True,
            "models_path": str(self.models),
        }

    def publish(self, word: str = "first", name: str = "acme/model") -> bytes:
        """Point the name at these weights; the manifest's bytes."""
        return self.registry.publish(name, [(MODEL_LAYER, weights(word)), (SYSTEM_LAYER, b"You recite.")])

    def ask(self, method: str, path: str, **body: t.Any) -> t.Any:
        answer = requests.request(method, f"{self.daemon.url}{path}", json=body or None, timeout=10)
        return answer.json() if answer.content.startswith(b"{") else None

    def pull(self, name: str) -> None:
        answer = requests.post(f"{self.daemon.url}/api/pull", json={"model": name, "insecure": True}, timeout=10)
        assert '"success"' in answer.text

    def tags(self) -> dict[str, str]:
        return {tag["name"]: tag["digest"] for tag in self.ask("GET", "/api/tags")["models"]}

    def loaded(self) -> list[tuple[str, str]]:
        return [(entry["name"], entry["digest"]) for entry in self.ask("GET", "/api/ps")["models"]]

    def load(self, name: str) -> None:
        self.ask("POST", "/api/generate", model=name, keep_alive=-1)

    def blob(self, word: str = "first") -> Path:
        return self.daemon.store.blob(digest_of(weights(word)))

    def flip(self, path: Path) -> bytes:
        """Turn one bit of a file; its bytes from before."""
        whole = path.read_bytes()
        path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
        return whole

    def command(self, name: str = "ollama") -> Path:
        """The command, which asks the daemon wherever it was told to ask."""
        program = self.folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        host = f"{self.daemon.host}:{self.daemon.port}"
        words = f'"{sys.executable}" "{ollama_command.__file__}"'
        program.write_text(f'#!/bin/sh\nOLLAMA_HOST={host} exec {words} "$@"\n')
        program.chmod(0o755)
        return program


@pytest.fixture
def ollama(tmp_path: Path) -> t.Iterator[Ollama]:
    folder = tmp_path / "ollama"
    folder.mkdir()
    with Registry(folder / "registry") as registry, Daemon(folder / "models") as daemon:
        daemon.set(unload_seconds=0.3, retry=0)
        made = Ollama(folder, daemon, registry)
        made.publish()
        yield made


def manifest(tmp_path: Path) -> dict[str, t.Any]:
    """The store's records by name."""
    text = (tmp_path / "host/var/lib/llm/models/manifest.json").read_text()
    return {record["name"]: record for record in json.loads(text)["models"]}
