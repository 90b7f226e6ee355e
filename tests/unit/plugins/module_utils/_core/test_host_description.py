# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.llmops.fleet.plugins.filter.host import host_problems, merge_by_name

FINE: dict[str, t.Any] = {
    "store": {"path": "/srv/models", "max_disk_gb": 200, "max_model_gb": 20},
    "models": [
        {"name": "qwen", "source": "huggingface", "model": "Qwen/Qwen2.5", "revision": "main", "include": ["*.gguf"]},
        {"name": "tuned", "source": "file", "path": "/srv/tuned.gguf"},
    ],
    "runtimes": [
        {
            "name": "chat",
            "engine": "llama_cpp",
            "model": "qwen",
            "served_names": ["chat", "gpt-4o-mini"],
            "port": 8080,
            "context_length": 8192,
            "options": {"parallel": 4, "threads": 8},
        },
        {"name": "spare", "engine": "llama_cpp", "initial_model": "tuned", "port": 8081},
    ],
}


def test_a_fine_host_has_no_problems() -> None:
    assert host_problems(FINE) == []
    assert host_problems({}) == []


PROBLEMS: dict[str, tuple[tuple[t.Any, ...], t.Any, str]] = {
    "unknown source": (("models", 0, "source"), "ftp", "source 'ftp' is unknown"),
    "name outside": (("models", 0, "name"), "../x", "'..'"),
    "absolute name": (("models", 0, "name"), "/x", "starts with '/'"),
    "long name": (("models", 0, "name"), "x" * 300, "300 characters"),
    "empty name": (("models", 0, "name"), "", "without a name|with a name"),
    "no model": (("models", 0, "model"), None, "model is missing"),
    "relative path": (("models", 1, "path"), "tuned.gguf", "not absolute"),
    "misspelt key": (("models", 0, "inclde"), ["*"], "unknown key 'inclde'"),
    "same model twice": (("models", 1, "name"), "qwen", "used 2 times"),
    "unknown engine": (("runtimes", 0, "engine"), "llama", "engine 'llama' is unknown"),
    "unknown model": (("runtimes", 0, "model"), "gwen", "'gwen' is not in llm_models"),
    "same port": (("runtimes", 1, "port"), 8080, "Port 8080"),
    "default port twice": (("runtimes", 1, "port"), None, "Port 8080"),
    "same served name": (("runtimes", 1, "served_names"), ["chat"], "served name 'chat'"),
    "wide without key": (("runtimes", 0, "host"), "0.0.0.0", "without api_key"),
    "unknown option": (("runtimes", 0, "options"), {"thread": 1}, "no option 'thread'"),
    "wrong type": (("runtimes", 0, "options"), {"threads": "many"}, "not of type int"),
    "impossible port": (("runtimes", 0, "port"), 70000, "between 1 and 65535"),
    "port no number": (("runtimes", 0, "port"), "http", "wrong type"),
    "bad runtime name": (("runtimes", 0, "name"), "a/b", "runtime name"),
    "unknown proof": (("runtimes", 0, "proof"), "maybe", "proof 'maybe'"),
    "unknown store key": (("store", "limit"), 1, "unknown key 'limit'"),
    "store no record": (("store",), "abc", "llm_store must be a record"),
    "unknown profile": (("profile",), "fool", "llm_profile 'fool'"),
    "extra without a name": (("models_extra",), [{"model": "x"}], "with a name"),
    "no list": (("models",), "qwen", "must be a list"),
    "no record": (("runtimes", 0), "chat", "not a record"),
}


@pytest.mark.parametrize(("place", "value", "sentence"), PROBLEMS.values(), ids=list(PROBLEMS))
def test_each_problem_is_one_sentence(place: tuple[t.Any, ...], value: t.Any, sentence: str) -> None:
    host = copy.deepcopy(FINE)
    target: t.Any = host
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    found = host_problems(host)
    assert any(word in problem for problem in found for word in sentence.split("|")), found
    assert all(problem.endswith((".", ")")) for problem in found)


def test_a_key_allows_a_wide_address() -> None:
    host = copy.deepcopy(FINE)
    host["runtimes"][0].update(host="0.0.0.0", api_key="k")
    assert host_problems(host) == []


def test_records_merge_by_name() -> None:
    merged = merge_by_name([{"name": "a", "x": 1}, {"name": "b"}], [{"name": "a", "x": 2}, {"name": "c"}])
    assert merged == [{"name": "a", "x": 2}, {"name": "b"}, {"name": "c"}]
