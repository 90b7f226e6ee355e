# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a runner, a stranger or the docker command says, the fact is made, and every reader can have it."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._api.bounded_get import Answer
from ansible_collections.llmops.fleet.plugins.module_utils._api.docker_command import Said
from ansible_collections.llmops.fleet.plugins.module_utils._core.reasons import REASONS
from ansible_collections.llmops.fleet.plugins.module_utils._engines.docker_model_runner_seen import Found, Probe, Seen
from ansible_collections.llmops.fleet.plugins.module_utils._engines.docker_model_runner_verdict import fact_of
from hypothesis import given
from hypothesis import strategies as st

Document = dict[str, t.Any]
ADDRESS = "http://127.0.0.1:12434"
TEXTS = st.one_of(
    st.text(max_size=8), st.sampled_from(["²", "7", "9" * 400, "1e999 GB", "tcp://[", "ssh://me:pw@x", "\ud800", "\0",
                                          "Docker Desktop 4.99999999999999999999.1", "com.docker.x=1", "a/b:c"])
)  # fmt: skip
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from([float("inf"), 1e308, 10**30]), TEXTS
)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


def shaped(**known: st.SearchStrategy[t.Any]) -> st.SearchStrategy[t.Any]:
    """An object that may have these keys, each with what belongs there or with anything."""
    return JSON | st.fixed_dictionaries({}, optional={name: value | JSON for name, value in known.items()})


CONFIG = shaped(size=TEXTS, quantization=TEXTS, architecture=TEXTS, context_size=LEAVES, gguf=JSON)
MODELS = JSON | st.lists(shaped(id=TEXTS, tags=st.lists(LEAVES), created=LEAVES, config=CONFIG), max_size=4)
LOADED = JSON | st.lists(shaped(model_name=TEXTS, loading=LEAVES), max_size=3)
DETAILS = st.fixed_dictionaries({
    "runner_version": shaped(version=TEXTS), "backends": JSON | st.dictionaries(TEXTS, LEAVES),
    "models": MODELS, "models.loaded": LOADED, "disk": shaped(models_disk_usage=LEAVES),
})  # fmt: skip
SERVER = shaped(Version=TEXTS, Os=TEXTS, Arch=TEXTS, Platform=shaped(Name=TEXTS))
VERSION = shaped(Client=shaped(Version=TEXTS, Context=TEXTS), Server=SERVER)
INFO = shaped(Version=TEXTS, Plugins=st.lists(shaped(Name=st.just("model"), Err=JSON, Version=TEXTS, Path=TEXTS)))
CONTEXT = shaped(Name=TEXTS, Endpoints=shaped(docker=shaped(Host=TEXTS)))
PLACES = st.dictionaries(TEXTS, st.lists(shaped(HostIp=TEXTS, HostPort=TEXTS | LEAVES), max_size=2), max_size=2) | JSON
CONTAINER = shaped(
    Id=TEXTS, Name=TEXTS, State=shaped(Status=TEXTS, Running=LEAVES, ExitCode=LEAVES),
    HostConfig=shaped(PortBindings=PLACES, RestartPolicy=shaped(Name=TEXTS)), NetworkSettings=shaped(Ports=PLACES),
    Config=shaped(Image=TEXTS, Labels=shaped(**{"com.docker.model-runner.role": st.just("controller")})),
)  # fmt: skip


def seen(version: t.Any, info: t.Any, context: t.Any, containers: t.Any, details: Document, state: str) -> Seen:
    def said(document: t.Any) -> Said:
        return Said(0, json.dumps(document), "")

    return Seen(
        system="Linux", machine="x86_64", build="", executable="/usr/bin/docker", asked="docker", endpoint=ADDRESS,
        version=said(version), info=said(info), context=said(context), listed=said([]), inspected=said(containers),
        probes=(Probe(ADDRESS, state, "" if state == "runner" else "It does not.", 200),),
        details={name: Found(Answer(200, json.dumps(document))) for name, document in details.items()},
        owner=Found(None),
    )  # fmt: skip


def strict(fact: Document) -> None:
    json.dumps(fact, allow_nan=False, ensure_ascii=False).encode()
    assert {why["reason"] for why in fact["reasons"].values()} <= set(REASONS)


@given(VERSION, INFO, CONTEXT, JSON | st.lists(CONTAINER, max_size=3), st.sampled_from(["refused", "other"]))
def test_whatever_docker_says(version: t.Any, info: t.Any, context: t.Any, containers: t.Any, state: str) -> None:
    fact = fact_of(seen(version, info, context, containers, {}, state))
    strict(fact)
    assert "pw" not in json.dumps(fact["docker"]["daemon"]["host"])
    assert (fact["models"], fact["backends"]) == (None, None)


@given(DETAILS)
def test_whatever_a_runner_says(details: Document) -> None:
    fact = fact_of(seen({}, {}, {}, [], details, "runner"))
    strict(fact)
    for name, kind in {"models": list, "backends": dict}.items():
        # What is unknown is null and has a reason; what is known has a record for everything.
        if not isinstance(details[name], (kind, type(None) if kind is list else kind)):
            assert fact[name] is None
            assert fact["reasons"][name]["reason"] == "hub_error"


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "[1e400]", "nul", "\ud800"])
def test_bodies_that_break_readers(text: str) -> None:
    names = ("runner_version", "backends", "models", "models.loaded", "disk")
    looked = seen({}, {}, {}, [], {}, "runner")
    odd = Seen(**{**vars(looked), "version": Said(0, text, ""), "inspected": Said(0, text, ""),
                  "details": {name: Found(Answer(200, text)) for name in names}})  # fmt: skip
    strict(fact_of(odd))
