# SPDX-License-Identifier: GPL-3.0-or-later
"""Each engine on a host: its program, its models, and how others meddle with it. A new one is a line in `HOSTS`.

llama.cpp is real. The others are stand-ins that answer as the recordings say, each a process of its own; what somebody
else runs (`external`) is started and ended here as a user would.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import docker_model_runner
import llama_cpp_python_server
import lm_studio
import lms
import ollama_command
import psutil
import requests
import vllm_server
from ask import ask
from docker_model_runner import Runner
from ollama_daemon import Daemon
from ollama_registry import Registry
from reciter import gguf, safetensors, sentence_of

Run = t.Callable[..., dict[str, t.Any]]
GOOD, OTHER, WRONG = "good", "other", "wrong"


def until(done: t.Callable[[], t.Any], what: str, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class Host:
    """One engine on one host; models are `good`, `other` and `wrong`, of which the last is nothing for it."""

    engine: str
    supervisor = "process"
    names: tuple[str, ...] = ("chat", "gpt")
    options: t.ClassVar[dict[str, t.Any]] = {}
    more: t.ClassVar[dict[str, t.Any]] = {}
    # With them it can be put to sleep.
    sleeping: t.ClassVar[dict[str, t.Any]] = {}
    tells_context = True
    # What somebody else may do so that other bytes, or none, are under a served name: the method that does it, and words
    # of the reasons that its status gives then.
    lies: t.ClassVar[dict[str, tuple[str, ...]]] = {"restart_with_another_model": ("other", "values of no generation")}

    def __init__(self, prefix: Path, port: int, run: Run, stack: contextlib.ExitStack, *, mark: str = "") -> None:
        """`mark` stands before the models' names in the store, where another engine's are there too."""
        self.prefix, self.port, self.run, self.stack, self.mark = prefix, port, run, stack, mark
        self.folder = prefix.parent / self.engine
        self.folder.mkdir()
        self.prepare()

    def prepare(self) -> None:
        """Have the program, and the models in the store."""
        raise NotImplementedError

    @property
    def first(self) -> dict[str, t.Any]:
        """What is asked for the first time."""
        version = {} if self.supervisor == "external" else {"engine_version": "1"}
        return {
            "engine": self.engine, "model": self.mark + GOOD, "port": self.port, "context_length": 256, "options": self.options,
            "served_names": list(self.names), "supervisor": self.supervisor, **version, **self.more,
        }  # fmt: skip

    def runtime(self, **params: t.Any) -> dict[str, t.Any]:
        return self.run("llm_runtime", **{"name": "chat", "prefix": str(self.prefix), "start_timeout": 20.0, **params})

    def status(self) -> dict[str, t.Any]:
        found: dict[str, t.Any] = self.run("llm_runtime_info", prefix=str(self.prefix))["runtimes"][0]
        return found

    def install(self, executable: str, *words: str) -> None:
        """A program that becomes this one."""
        program = self.prefix / f"opt/llm/engines/{self.engine}/1/{executable}"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        program.chmod(0o755)

    def bring(self, *, timeout: float = 30.0, **offers: dict[str, t.Any]) -> None:
        """Have models in the store, each a source with its words."""
        models = [{"name": self.mark + name, **offer} for name, offer in offers.items()]
        brought = self.run("llm_model", prefix=str(self.prefix), models=models, timeout=timeout)
        assert brought.get("changed"), brought

    def file(self, name: str, data: bytes) -> dict[str, t.Any]:
        path = self.folder / name
        path.write_bytes(data)
        return {"source": "file", "path": str(path)}

    def says(self, name: str) -> str:
        """Which of the models answers under a served name, as a client sees it."""
        reply = ask(f"http://127.0.0.1:{self.port}", model=name, timeout=10)
        return next((model for model in (GOOD, OTHER, "moved") if reply == sentence_of(model)), reply)

    def answers(self) -> dict[str, str]:
        return {name: self.says(name) for name in self.names}

    def up(self) -> bool:
        try:
            return bool(self.says(self.names[0]))
        except OSError:
            return False

    def own(self) -> t.Any:
        """What the engine itself keeps and has in memory, in a form to compare."""
        return None

    def members(self) -> list[psutil.Process]:
        """The processes of the engine, the one that listens first."""
        pid = self.status()["pid"]
        if pid is None:
            return []
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]

    def come_back(self) -> None:
        """Somebody starts it again, where it is nobody's task here."""

    def restart_with_another_model(self) -> None:
        """Its environment is edited by hand, and it is started anew."""
        path = self.prefix / "etc/llm/runtimes/chat.env"
        known = {
            model["name"]: model
            for model in json.loads((self.prefix / "var/lib/llm/models/manifest.json").read_text())["models"]
        }
        text = path.read_text()
        edited = text.replace(self.path_of(known[GOOD]), self.path_of(known[OTHER]))
        assert edited != text
        path.write_text(edited)
        os.kill(self.status()["pid"], signal.SIGKILL)
        until(lambda: self.up() and self.says("chat") == OTHER, "it did not come back with the other model")

    def path_of(self, model: dict[str, t.Any]) -> str:
        return str(model["local_path"])


class InLlamaCpp(Host):
    engine = "llama_cpp"
    options: t.ClassVar[dict[str, t.Any]] = {"threads": 1}
    sleeping: t.ClassVar[dict[str, t.Any]] = {"options": {"threads": 1, "sleep_idle_seconds": 1}}

    def prepare(self) -> None:
        """The program is there (the fixture `prefix`)."""
        self.bring(
            **{name: self.file(f"{name}.gguf", gguf(sentence_of(name), name)) for name in (GOOD, OTHER)},
            wrong=self.file("notes.gguf", b"These are notes, not a model.\n" * 100),
        )


class InLlamaCppPython(InLlamaCpp):
    """It tells neither its model nor its context."""

    engine = "llama_cpp_python"
    lies: t.ClassVar[dict[str, tuple[str, ...]]] = {"restart_with_another_model": ("values of no generation",)}
    names = ("chat",)
    options: t.ClassVar[dict[str, t.Any]] = {"n_threads": 1}
    sleeping: t.ClassVar[dict[str, t.Any]] = {}
    tells_context = False

    def prepare(self) -> None:
        super().prepare()
        self.install("bin/llama-cpp-python-server", sys.executable, llama_cpp_python_server.__file__)


class InVllm(Host):
    engine = "vllm"
    options: t.ClassVar[dict[str, t.Any]] = {"seed": 1}
    sleeping: t.ClassVar[dict[str, t.Any]] = {"options": {"seed": 1, "enable_sleep_mode": True}}

    def prepare(self) -> None:
        for name in (GOOD, OTHER):
            (self.folder / name).mkdir()
            for path, data in safetensors(sentence_of(name), name).items():
                (self.folder / name / path).write_bytes(data)
        self.bring(
            **{name: {"source": "file", "path": str(self.folder / name)} for name in (GOOD, OTHER)},
            wrong=self.file("wrong.gguf", gguf(sentence_of("wrong"), "wrong")),
        )
        self.install("bin/vllm-server", sys.executable, vllm_server.__file__)

    def path_of(self, model: dict[str, t.Any]) -> str:
        path = Path(str(model["local_path"]))
        return str(path if path.is_dir() else path.parent)


class Resident(Host):
    """It stays up while models come and go, and keeps their bytes itself."""

    def ask(self, method: str, path: str, **body: t.Any) -> t.Any:
        got = requests.request(method, f"http://127.0.0.1:{self.port}{path}", json=body or None, timeout=20)
        assert got.ok, got.text
        return got.json() if got.content[:1] in (b"{", b"[") else got.text

    def has(self, name: str) -> bool:
        """Whether it keeps the bytes of a model."""
        raise NotImplementedError

    def called(self) -> set[str]:
        """The served names that it knows."""
        raise NotImplementedError


class SomebodyElses(Resident):
    """A program that a user starts."""

    supervisor = "external"
    process: subprocess.Popen[bytes]

    def words(self) -> list[str]:
        raise NotImplementedError

    def variables(self) -> dict[str, str]:
        return {}

    def come_back(self) -> None:
        self.process = subprocess.Popen(
            self.words(), env={**os.environ, **self.variables()},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self.stack.callback(self.end, self.process)
        until(self.listens, "the stand-in did not start")

    def listens(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/", timeout=5).status_code > 0
        except requests.RequestException:
            return False

    @staticmethod
    def end(process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


class InOllama(Resident):
    """The keeper's daemon, on a folder of models that another one filled."""

    engine = "ollama"
    lies: t.ClassVar[dict[str, tuple[str, ...]]] = {
        "move_the_names": ("the name chat stands for other bytes", "stale weights: chat"),
        "unload": ("it sleeps",),
        "forget_the_name": ("it serves gpt, not chat",),
    }

    def prepare(self) -> None:
        self.kept = self.folder / "models"
        self.registry = self.stack.enter_context(Registry(self.folder / "registry"))
        self.options = {"models": str(self.kept)}
        program = self.prefix / "opt/llm/engines/ollama/1/bin/ollama"
        program.parent.mkdir(parents=True)
        program.symlink_to(ollama_command.__file__)
        with Daemon(self.kept) as daemon:
            self.pull_all(daemon.url)

    def pull_all(self, url: str) -> None:
        for name in (GOOD, OTHER):
            self.publish(name, name)
        self.bring(
            **{name: self.offer(name, url) for name in (GOOD, OTHER)},
            wrong=self.file("wrong.gguf", gguf(sentence_of("wrong"), "wrong")),
        )

    def offer(self, name: str, url: str, **more: t.Any) -> dict[str, t.Any]:
        return {
            "source": "ollama", "model": f"{self.registry.place}/acme/{name}", "endpoint": url, "insecure": True,
            "models_path": str(self.kept), **more,
        }  # fmt: skip

    def publish(self, name: str, says: str) -> None:
        model = gguf(sentence_of(says), says)
        self.registry.publish(f"acme/{name}", [("application/vnd.ollama.image.model", model)])

    def own(self) -> t.Any:
        if not self.up_at_all():
            return None
        return sorted((tag["name"], tag["digest"]) for tag in self.ask("GET", "/api/tags")["models"]), self.loaded()

    def up_at_all(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/", timeout=5).ok
        except requests.RequestException:
            return False

    def _manifests(self) -> set[str]:
        root = self.kept / "manifests"
        return {path.parent.relative_to(root).as_posix() for path in root.rglob("latest")}

    def has(self, name: str) -> bool:
        return any(path.endswith(f"/acme/{name}") for path in self._manifests())

    def called(self) -> set[str]:
        return {Path(path).name for path in self._manifests() if "/library/" in path}

    def loaded(self) -> list[tuple[str, str]]:
        return [(entry["name"], entry["digest"]) for entry in self.ask("GET", "/api/ps")["models"]]

    def create_and_forget(self, name: str) -> None:
        """A model of somebody else, which was used and deleted."""
        data = gguf(sentence_of(name), name)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        requests.post(f"http://127.0.0.1:{self.port}/api/blobs/{digest}", data=data, timeout=10)
        self.ask("POST", "/api/create", model=name, files={"model.gguf": digest}, stream=False)
        self.ask("POST", "/api/generate", model=name, keep_alive=-1)
        self.ask("DELETE", "/api/delete", model=name)

    def pull_by_hand(self, name: str) -> None:
        said = self.ask("POST", "/api/pull", model=f"{self.registry.place}/acme/{name}", insecure=True, stream=False)
        assert said["status"] == "success"

    def move_the_names(self) -> None:
        """Afterwards `ps` lists one twice: with the bytes of before, and with what it stands for now."""
        for name in self.names:
            self.ask("POST", "/api/copy", source=f"{self.registry.place}/acme/{OTHER}", destination=name)
        assert self.says("chat") == OTHER
        assert len({digest for name, digest in self.loaded() if name == "chat:latest"}) == 2

    def unload(self) -> None:
        self.ask("POST", "/api/generate", model="chat", keep_alive=0)
        until(lambda: not self.ask("GET", "/api/ps")["models"], "it was not unloaded")

    def forget_the_name(self) -> None:
        self.ask("DELETE", "/api/delete", model="chat")


class InSomebodysOllama(SomebodyElses, InOllama):
    options: t.ClassVar[dict[str, t.Any]] = {}

    def prepare(self) -> None:
        self.kept = self.folder / "models"
        self.registry = self.stack.enter_context(Registry(self.folder / "registry"))
        self.come_back()
        self.pull_all(f"http://127.0.0.1:{self.port}")

    def words(self) -> list[str]:
        return [sys.executable, ollama_command.__file__, "serve"]

    def variables(self) -> dict[str, str]:
        return {
            "OLLAMA_HOST": f"127.0.0.1:{self.port}", "OLLAMA_MODELS": str(self.kept), "OLLAMA_CONTEXT_LENGTH": "256",
            "OLLAMA_KEEP_ALIVE": "-1",
        }  # fmt: skip


class InDockerModelRunner(Resident):
    engine = "docker_model_runner"
    lies: t.ClassVar[dict[str, tuple[str, ...]]] = {
        "move_the_name": ("the name chat means",),
        "unload": ("it sleeps",),
        "forget_the_name": ("not gpt",),
    }
    more: t.ClassVar[dict[str, t.Any]] = {"allow_unauthenticated": True}

    def prepare(self) -> None:
        self.kept = self.folder / "models"
        self.options = {"models_path": str(self.kept)}
        self.install("bin/dmr", sys.executable, docker_model_runner.__file__)
        with Runner(self.kept) as runner:
            self.pull_all(runner.url)

    def pull_all(self, url: str) -> None:
        # Only its registry is used, which lies on the disk.
        publisher = Runner(self.kept)
        for name in (GOOD, OTHER):
            publisher.publish(f"acme/{name}", {"model.gguf": gguf(sentence_of(name), name)})
        self.bring(
            **{
                name: {"source": "docker_model_runner", "model": f"acme/{name}", "endpoint": url}
                for name in (GOOD, OTHER)
            },
            wrong=self.file("wrong.gguf", gguf(sentence_of("wrong"), "wrong")),
        )

    def _tags(self) -> dict[str, list[str]]:
        models = json.loads((self.kept / "models.json").read_text())["models"]
        return {model["id"]: model["tags"] for model in models}

    def own(self) -> t.Any:
        try:
            running = [entry["model_name"] for entry in self.ask("GET", "/engines/ps")]
        except requests.RequestException:
            running = []
        return self._tags(), sorted(running)

    def has(self, name: str) -> bool:
        return any(f"docker.io/acme/{name}:latest" in tags for tags in self._tags().values())

    def called(self) -> set[str]:
        tags = [tag for tags in self._tags().values() for tag in tags]
        return {tag.rpartition("/")[2].partition(":")[0] for tag in tags if tag.startswith("docker.io/ai/")}

    def unload(self) -> None:
        self.ask("POST", "/engines/unload", all=True)

    def move_the_name(self) -> None:
        self.ask("POST", f"/models/acme/{OTHER}/tag?repo=ai/chat&tag=latest")
        assert self.says("chat") == OTHER

    def forget_the_name(self) -> None:
        self.ask("DELETE", "/models/ai/gpt")


class InSomebodysDockerModelRunner(SomebodyElses, InDockerModelRunner):
    more: t.ClassVar[dict[str, t.Any]] = {}
    options: t.ClassVar[dict[str, t.Any]] = {}

    def prepare(self) -> None:
        self.kept = self.folder / "models"
        self.come_back()
        self.pull_all(f"http://127.0.0.1:{self.port}")

    def words(self) -> list[str]:
        return [
            sys.executable, docker_model_runner.__file__, "--models", str(self.kept), "--port", str(self.port)
        ]  # fmt: skip


class InLmStudio(SomebodyElses):
    engine = "lm_studio"
    names = ("chat",)
    lies: t.ClassVar[dict[str, tuple[str, ...]]] = {
        "unload": ("it sleeps",),
        "move_the_name": ("the name chat means acme/other",),
        "load_again": ("is in memory 2 times",),
    }

    def prepare(self) -> None:
        self.home = self.folder / "home"
        self.options = {"executable": str(lms.install(self.folder / "bin", self.home))}
        self.come_back()
        catalogue = lm_studio.LmStudio(self.home)
        for name in (GOOD, OTHER):
            catalogue.publish(f"acme/{name}", "Q4_K_M", gguf(sentence_of(name), name))
        words = {
            "source": "lm_studio", "endpoint": f"http://127.0.0.1:{self.port}", "models_path": str(self.home / "models")
        }  # fmt: skip
        self.bring(
            **{name: {**words, "model": f"acme/{name}"} for name in (GOOD, OTHER)},
            wrong=self.file("wrong.gguf", gguf(sentence_of("wrong"), "wrong")),
            timeout=0.2,
        )

    def words(self) -> list[str]:
        return [sys.executable, lm_studio.__file__, "--home", str(self.home), "--port", str(self.port)]

    def _instances(self) -> dict[str, str]:
        models = self.ask("GET", "/api/v1/models")["models"]
        return {instance["id"]: model["key"] for model in models for instance in model["loaded_instances"]}

    def own(self) -> t.Any:
        return self._instances() if self.listens() else None

    def has(self, name: str) -> bool:
        return any((self.home / "models/acme" / name).glob("*.gguf"))

    def called(self) -> set[str]:
        return set(self._instances())

    def unload(self) -> None:
        self.ask("POST", "/api/v1/models/unload", instance_id="chat")

    def move_the_name(self) -> None:
        self.unload()
        self.ask("POST", "/_control/load", key=f"acme/{OTHER}", identifier="chat", context_length=256)
        assert self.says("chat") == OTHER

    def load_again(self) -> None:
        self.ask("POST", "/api/v1/models/load", model=f"acme/{GOOD}", context_length=256)


HOSTS: dict[str, type[Host]] = {
    "docker_model_runner": InDockerModelRunner,
    "docker_model_runner, external": InSomebodysDockerModelRunner,
    "llama_cpp": InLlamaCpp,
    "llama_cpp_python": InLlamaCppPython,
    "lm_studio, external": InLmStudio,
    "ollama": InOllama,
    "ollama, external": InSomebodysOllama,
    "vllm": InVllm,
}
