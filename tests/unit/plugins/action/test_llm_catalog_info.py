# SPDX-License-Identifier: GPL-3.0-or-later
"""`llm_catalog_info` in real runs of Ansible: hubs are asked by the controller, once for all hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from catalogue_hubs import CatalogueHubs

BIN = Path(sys.executable).parent
HOSTS = [f"host{number}" for number in range(6)]
Answers = dict[str, dict[str, t.Any]]


@pytest.fixture
def hubs() -> t.Iterator[CatalogueHubs]:
    with CatalogueHubs() as running:
        yield running


class Fleet:
    """Six hosts, all on this machine; each has a tree of its own."""

    def __init__(self, folder: Path, hubs: CatalogueHubs, dead: str) -> None:
        self.folder, self.hubs, self.dead = folder, hubs, dead

    def run(
        self, *, check: bool = False, task: dict[str, t.Any] | None = None, forks: int = 6, **params: t.Any
    ) -> Answers:
        module = {
            "prefix": f"{self.folder}/{{{{ inventory_hostname }}}}", "cache_path": str(self.folder / "kept"),
            "timeout": 5, "endpoints": dict.fromkeys(("docker_model_runner", "lm_studio", "ollama"), self.dead),
            **self.hubs.addresses, **params,
        }  # fmt: skip
        write = {"dest": f"{self.folder}/{{{{ inventory_hostname }}}}.json", "content": "{{ answer | to_json }}"}
        play = [
            {
                "hosts": "all",
                "gather_facts": False,
                "vars": {"ansible_python_interpreter": sys.executable},
                "tasks": [
                    {"llmops.fleet.llm_catalog_info": module, "register": "answer", "ignore_errors": True}
                    | (task or {}),
                    {"ansible.builtin.copy": write, "check_mode": False, "diff": False, "delegate_to": "localhost",
                     "become": False},
                ],
            }
        ]  # fmt: skip
        (self.folder / "play.json").write_text(json.dumps(play))
        words = [str(BIN / "ansible-playbook"), "-i", ",".join([*HOSTS, ""]), "-c", "local", "-f", str(forks)]
        self.hubs.asked.clear()
        done = subprocess.run(
            [*words, str(self.folder / "play.json"), *(["--check"] if check else [])],
            capture_output=True, text=True, check=False, env={**os.environ, "HF_TOKEN": "hf_of_the_controller"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return {host: json.loads((self.folder / f"{host}.json").read_text()) for host in HOSTS}

    def asked(self, path: str) -> int:
        return sum(asked.partition("?")[0] == path for asked in self.hubs.asked)


@pytest.fixture
def fleet(tmp_path: Path, hubs: CatalogueHubs, free_port: int) -> Fleet:
    return Fleet(tmp_path, hubs, f"http://127.0.0.1:{free_port}")


def install(folder: Path, host: str, model: str) -> None:
    store = folder / host / "var/lib/llm/models"
    store.mkdir(parents=True)
    record = {"name": "m", "provider": "ollama", "model": model, "files": [], "status": "installed"}
    (store / "manifest.json").write_text(json.dumps({"models": [record], "updated_at": "2026-11-21T10:00:00Z"}))


def test_all_hosts_ask_once_and_each_has_its_own(fleet: Fleet) -> None:
    install(fleet.folder, "host1", "llama3.2:3b")
    told = fleet.run(limit=50, memory_gb="{{ 8 if inventory_hostname == 'host2' else 16 }}")
    assert [fleet.asked(path) for path in ("/api/models", "/library", "/library/llama3.2/tags")] == [1, 1, 1]
    assert fleet.hubs.tokens["/api/models"] == "Bearer hf_of_the_controller"
    assert {answer["count"] for answer in told.values()} == {24}
    assert {answer["changed"] for answer in told.values()} == {False}
    assert not any("hf_of" in json.dumps(answer) for answer in told.values())
    installed = {host: [one["model_name"] for one in told[host]["models"] if one["installed"]] for host in HOSTS}
    assert {host: found for host, found in installed.items() if found} == {"host1": ["llama3.2:3b"]}
    assert {host: answer["memory_gb"] for host, answer in told.items()} == {**dict.fromkeys(HOSTS, 16), "host2": 8}
    again = fleet.run(limit=50, memory_gb="{{ 8 if inventory_hostname == 'host2' else 16 }}")
    assert fleet.hubs.asked == []
    assert {host: answer["models"] for host, answer in again.items()} == {
        host: answer["models"] for host, answer in told.items()
    }


def test_in_check_mode_they_ask_once_too_and_nothing_is_written(fleet: Fleet) -> None:
    foreseen = fleet.run(check=True, source=["ollama"])
    assert fleet.asked("/library") == 1
    assert not (fleet.folder / "kept").exists()
    told = fleet.run(source=["ollama"])
    assert {host: answer["models"] for host, answer in foreseen.items()} == {
        host: answer["models"] for host, answer in told.items()
    }


def test_a_hub_that_does_not_answer_is_waited_for_once(fleet: Fleet) -> None:
    fleet.hubs.fault("/library", wait=4, times=1)
    told = fleet.run(source=["ollama"], timeout=3, forks=2)
    assert fleet.asked("/library") == 1
    assert all("did not answer within 3 seconds" in answer["error"] for answer in told.values())
    assert {answer["count"] for answer in told.values()} == {6}


def test_items_and_retries(fleet: Fleet) -> None:
    loop = {"loop": ["qwen", "llama"], "run_once": True}
    told = fleet.run(task=loop, source=["ollama"], search="{{ item }}")
    names = [[one["model_name"] for one in result["models"]] for result in told["host0"]["results"]]
    assert [found[0].partition(":")[0] for found in names] == ["qwen2.5", "llama3.2"]
    fleet.hubs.fault("/library", status=404, times=1)
    retry = {"until": "answer.error is none", "retries": 2, "delay": 0, "run_once": True}
    told = fleet.run(task=retry, source=["ollama"], cache_minutes=0)
    assert (told["host0"]["error"], told["host0"]["attempts"]) == (None, 2)


def test_delegation_and_become_are_those_of_the_host(fleet: Fleet) -> None:
    install(fleet.folder, "host3", "llama3.2:3b")
    task = {"delegate_to": "host3", "become": os.geteuid() == 0, "become_user": "root", "become_method": "su"}
    told = fleet.run(task=task, source=["ollama"], prefix=f"{fleet.folder}/host3")
    assert fleet.asked("/library") == 1
    assert {any(one["installed"] for one in answer["models"]) for answer in told.values()} == {True}


def test_async_is_refused_in_words(fleet: Fleet) -> None:
    told = fleet.run(task={"async": 30, "poll": 1})["host0"]
    assert told["failed"]
    assert "cannot be an async task" in told["msg"]
    assert fleet.hubs.asked == []


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"limit": "many"}, "limit"),
        ({"sort": "odd"}, "sort"),
        ({"no_such": 1}, "no_such"),
        ({"ollama_url": "127.0.0.1:1"}, "The option ollama_url "),
        ({"timeout": "inf"}, "The option timeout "),
    ],
)
def test_options_are_checked_before_anybody_is_asked(fleet: Fleet, params: dict[str, t.Any], words: str) -> None:
    told = fleet.run(task={"run_once": True}, **params)["host0"]
    assert told["failed"]
    assert words in told["msg"]
    assert fleet.hubs.asked == []
