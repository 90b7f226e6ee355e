# SPDX-License-Identifier: GPL-3.0-or-later
"""How each source is offered a model. A new source joins the contract with a line in `OFFERINGS`.

An offering makes a model available in versions, tells the module's parameters for it, and looks at the host itself
for what is there afterwards.
"""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

from docker_model_runner import Runner
from hub import Hub
from lm_studio import LmStudio
from ollama_daemon import Daemon
from ollama_registry import Registry
from reciter import gguf

Run = t.Callable[..., dict[str, t.Any]]


class Offering(t.Protocol):
    """`many`: files can be chosen; `owned`: the store has the bytes; `digests`: it tells when a name moves."""

    many: bool
    owned: bool
    digests: bool
    params: dict[str, t.Any]

    def publish(self, version: int) -> None: ...

    def holds(self, result: dict[str, t.Any], version: int) -> bool:
        """Whether the host has exactly the bytes of that version."""

    def lose(self, result: dict[str, t.Any]) -> None:
        """Take some of the bytes away behind everybody's back."""

    def asked(self) -> int:
        """Requests that the source's servers have seen."""


def files_of(version: int) -> dict[str, bytes]:
    return {
        "config.json": b'{"version": %d}' % version,
        "sub/model.gguf": b"GGUF" + bytes(5000),
        "empty.txt": b"",
        "copy.gguf": b"GGUF" + bytes(5000),
    }


def content(folder: str) -> dict[str, bytes]:
    root = Path(folder)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


class OnTheHub:
    many, owned, digests = True, True, True

    def __init__(self, _folder: Path, stack: contextlib.ExitStack) -> None:
        self.hub = stack.enter_context(Hub())
        self.params = {"source": "huggingface", "model": "org/model", "endpoint": self.hub.url}

    def publish(self, version: int) -> None:
        self.hub.publish("org/model", files_of(version))

    def holds(self, result: dict[str, t.Any], version: int) -> bool:
        return content(result["models"][0]["folder"]) == files_of(version)

    def lose(self, result: dict[str, t.Any]) -> None:
        (Path(result["models"][0]["folder"]) / "sub/model.gguf").unlink()

    def asked(self) -> int:
        return sum(self.hub.requests.values())


class InAFolder(OnTheHub):
    def __init__(self, folder: Path, _stack: contextlib.ExitStack) -> None:
        self.root = folder / "offered"
        self.params = {"source": "file", "path": str(self.root)}

    def publish(self, version: int) -> None:
        for path, data in files_of(version).items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_bytes(data)

    def asked(self) -> int:
        return 0


class AtAnAddress(OnTheHub):
    many = False

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        super().__init__(folder, stack)
        self.params = {"source": "url", "url": f"{self.hub.url}/org/model/resolve/main/model.gguf"}

    def _data(self, version: int) -> bytes:
        return b"GGUF" + bytes(5000) + bytes([version])

    def publish(self, version: int) -> None:
        self.hub.publish("org/model", {"model.gguf": self._data(version)})

    def holds(self, result: dict[str, t.Any], version: int) -> bool:
        return content(result["models"][0]["folder"]) == {"model.gguf": self._data(version)}

    def lose(self, result: dict[str, t.Any]) -> None:
        Path(result["models"][0]["local_path"]).unlink()


class InOllama:
    many, owned, digests = False, False, True

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.registry = stack.enter_context(Registry(folder / "registry"))
        self.models = folder / "ollama"
        self.daemon = stack.enter_context(Daemon(self.models))
        self.daemon.set(unload_seconds=0, retry=0)
        self.params = {
            "source": "ollama",
            "model": f"{self.registry.place}/acme/model",
            "endpoint": self.daemon.url,
            "insecure": True,
            "refresh": True,
            "models_path": str(self.models),
        }

    def publish(self, version: int) -> None:
        layers = [
            ("application/vnd.ollama.image.model", gguf(f"This model is number-{version}.", "model")),
            ("application/vnd.ollama.image.system", b"You recite."),
        ]
        self.registry.publish("acme/model", layers)
        self._manifest = self.registry.manifest_path("acme/model").read_bytes()
        self._versions = {**getattr(self, "_versions", {}), version: self._manifest}

    def holds(self, _result: dict[str, t.Any], version: int) -> bool:
        found = [path.read_bytes() for path in (self.models / "manifests").rglob("latest")]
        return found == [self._versions[version]]

    def lose(self, _result: dict[str, t.Any]) -> None:
        next((self.models / "manifests").rglob("latest")).unlink()

    def asked(self) -> int:
        return sum(self.registry.requests.values())


class InDockerModelRunner:
    many, owned, digests = False, False, True

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.runner = stack.enter_context(Runner(folder / "runner"))
        self.params = {
            "source": "docker_model_runner",
            "model": "acme/model",
            "endpoint": self.runner.url,
            "refresh": True,
        }
        self._ids: dict[int, str] = {}

    def publish(self, version: int) -> None:
        data = gguf(f"This model is number-{version}.", "model")
        self._ids[version] = self.runner.publish("acme/model", {"model.gguf": data})

    def _held(self) -> list[str]:
        import requests

        return [model["id"] for model in requests.get(f"{self.runner.url}/models", timeout=5).json()]

    def holds(self, _result: dict[str, t.Any], version: int) -> bool:
        return self._ids[version] in self._held()

    def lose(self, _result: dict[str, t.Any]) -> None:
        import requests

        requests.delete(f"{self.runner.url}/models/purge", timeout=5)

    def asked(self) -> int:
        return 0


class InLmStudio:
    many, owned, digests = False, False, False

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.home = folder / "lm-studio"
        self.studio = stack.enter_context(LmStudio(self.home))
        self.params = {
            "source": "lm_studio",
            "model": "ibm/granite-4-micro",
            "endpoint": f"http://127.0.0.1:{self.studio.port}",
            "models_path": str(self.home / "models"),
            "timeout": 0.2,
        }

    def publish(self, version: int) -> None:
        self.studio.publish("ibm/granite-4-micro", "Q4_K_M", gguf(f"This model is number-{version}.", "model"))

    def holds(self, _result: dict[str, t.Any], _version: int) -> bool:
        return len(list((self.home / "models").rglob("*.gguf"))) == 1

    def lose(self, _result: dict[str, t.Any]) -> None:
        next((self.home / "models").rglob("*.gguf")).unlink()

    def asked(self) -> int:
        return 0


OFFERINGS: dict[str, t.Callable[[Path, contextlib.ExitStack], Offering]] = {
    "docker_model_runner": InDockerModelRunner,
    "file": InAFolder,
    "huggingface": OnTheHub,
    "lm_studio": InLmStudio,
    "ollama": InOllama,
    "url": AtAnAddress,
}
