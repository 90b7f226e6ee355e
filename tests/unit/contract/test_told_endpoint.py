# SPDX-License-Identifier: GPL-3.0-or-later
"""An address that one module tells is one that the others take."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from contract.sources import Run
from docker_model_runner import Runner
from reciter import gguf


@pytest.mark.parametrize("where", ["port", "socket", "desktop"])
def test_where_the_facts_found_the_runner_the_source_finds_it(run_module: Run, tmp_path: Path, where: str) -> None:
    path = {"port": None, "socket": tmp_path / "r.sock", "desktop": tmp_path / "docker.sock"}[where]
    with Runner(tmp_path / "models", socket_path=path) as runner:
        runner.publish("acme/model", {"model.gguf": gguf("This model is told.", "model")})
        params: dict[str, t.Any] = {"endpoint": "http://127.0.0.1:1" if path else runner.url}
        found = run_module(
            "docker_model_runner_facts", **params, sockets=[str(path)] if path else [], executable="no-such-docker",
            timeout=5,
        )["ansible_facts"]["docker_model_runner"]  # fmt: skip
        endpoint = found["endpoint"]
        assert endpoint.endswith("#/exp/vDD4.40") is (where == "desktop")
        host = {"prefix": str(tmp_path / "host")}
        source = "docker_model_runner"
        assert run_module("llm_model", **host, name="m", source=source, model="acme/model", endpoint=endpoint)[
            "changed"
        ]
        told = run_module("llm_model_info", **host, programs=[source], endpoints={source: endpoint}, timeout=5)
        assert [model["name"] for model in told["programs"][source]["models"]] == ["m"]
        asked = run_module("llm_model_info", programs=[], model="acme/model", source=source, endpoint=endpoint, timeout=5,
                           prefix=str(tmp_path / "other"))["capabilities"]  # fmt: skip
        assert (asked["from"], asked["error"]) == (source, None)
        assert run_module("llm_model", **host, name="m", source=source, state="absent")["changed"]
