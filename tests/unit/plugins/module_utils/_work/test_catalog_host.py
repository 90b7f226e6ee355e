# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host tells of itself for a catalogue: with programs that have models, that hang, that are not there."""

from __future__ import annotations

import contextlib
import json
import socket
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.gpu import Gpu
from ansible_collections.llmops.fleet.plugins.module_utils._work import catalog_host
from contract.sources import OFFERINGS
from import_graph import PLUGINS, imports

Run = t.Callable[..., dict[str, t.Any]]
PROGRAMS = ("docker_model_runner", "lm_studio", "ollama")


@pytest.fixture
def nobody(free_port: int) -> dict[str, str]:
    return dict.fromkeys(PROGRAMS, f"http://127.0.0.1:{free_port}")


@pytest.fixture
def tell(run_module: Run, tmp_path: Path, nobody: dict[str, str]) -> Run:
    def call(**params: t.Any) -> dict[str, t.Any]:
        given = {"prefix": str(tmp_path / "host"), **params, "endpoints": {**nobody, **params.get("endpoints", {})}}
        result = run_module("llm_catalog_info", **given)
        assert result["changed"] is False
        host: dict[str, t.Any] = result["host"]
        return host

    return call


def reached(start: Path) -> set[Path]:
    found, coming = set(), [start]
    while coming:
        path = coming.pop()
        if path not in found:
            found.add(path)
            coming += imports(path)
    return found


def test_the_module_has_no_way_to_a_list_of_a_hub() -> None:
    files = reached(PLUGINS / "modules" / "llm_catalog_info.py")
    assert not [path.name for path in files if path.name.startswith("catalogue_") and "_sources" in path.parts]
    assert not {"huggingface_search.py", "ollama_library.py", "docker_hub.py", "answers.py"} & {
        path.name for path in files
    }


def test_a_bare_host_stays_bare(tell: Run, tmp_path: Path) -> None:
    host = tell()
    assert (host["models"], host["notes"]) == ([], [])
    assert host["memory_gb"] > 0
    assert not (tmp_path / "host").exists()


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_programs_have_is_told(name: str, tell: Run, run_module: Run, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        made = OFFERINGS[name](tmp_path, stack)
        made.publish(1)
        run_module("llm_model", prefix=str(tmp_path / "another"), name="m", **made.params)
        host = tell(endpoints={name: made.params["endpoint"]})
    assert [model["provider"] for model in host["models"]] == [name]
    assert host["models"][0]["model"]
    assert host["notes"] == []


def test_what_the_store_has_is_told(tell: Run, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    record = {"name": "m", "provider": "huggingface", "model": "Qwen/Q", "files": [], "status": "installed"}
    (store / "manifest.json").write_text(json.dumps({"models": [record], "updated_at": "2026-11-21T10:00:00Z"}))
    assert tell(store=str(store))["models"] == [
        {"provider": "huggingface", "model": "Qwen/Q", "publisher": "", "format": ""}
    ]


def test_a_program_that_hangs_costs_its_time_and_is_told(tell: Run) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://bob:s3cret@127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        host = tell(endpoints=dict.fromkeys(PROGRAMS, address), timeout=1)
    assert time.monotonic() - begun < 4
    assert [note.split()[1] for note in host["notes"]] == list(PROGRAMS)
    assert "s3cret" not in json.dumps(host)


@pytest.mark.parametrize("endpoints", [{"no_such": "http://x"}, {"ollama": 5}])
def test_endpoints_of_nobody_are_refused(run_module: Run, endpoints: dict[str, t.Any]) -> None:
    result = run_module("llm_catalog_info", endpoints=endpoints)
    assert (result["failed"], result["reason"]) == (True, "invalid_input")
    assert "The option endpoints " in result["msg"]


def test_memory_that_nobody_knows_is_told(tell: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> int:
        raise LlmError("library_missing", "No psutil.")

    monkeypatch.setattr(catalog_host.processes, "total_memory", unknown)
    host = tell()
    assert host["memory_gb"] is None
    assert "not known" in host["notes"][0]
    assert tell(memory_gb=16)["notes"] == [], "nobody asked for it"


def test_gpus_are_told_together(tell: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    cards = [Gpu("one", None, None, 24_576), Gpu("two", None, None, 24_576)]
    monkeypatch.setattr(catalog_host, "gpus", lambda _until: cards)
    assert tell()["gpu_memory_gb"] == 51.5

    def unreadable(_until: float) -> list[Gpu]:
        raise ValueError

    monkeypatch.setattr(catalog_host, "gpus", unreadable)
    assert tell()["gpu_memory_gb"] is None
