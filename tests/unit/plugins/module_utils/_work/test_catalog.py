# SPDX-License-Identifier: GPL-3.0-or-later
"""Kept answers by a clock that is set: young ones, old ones, and what is told when nobody answers."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._work import catalog
from ansible_collections.llmops.fleet.plugins.module_utils._work.catalog import CatalogTask
from catalogue_hubs import CatalogueHubs

Result = dict[str, t.Any]
NOON = 1_800_000_000.0
MINUTE = 60.0


class Bench:
    """A user, three hubs and a clock."""

    def __init__(self, hubs: CatalogueHubs, folder: Path) -> None:
        self.hubs, self.folder, self.now = hubs, folder, NOON

    def ask(self, *, check: bool = False, **params: t.Any) -> Result:
        given = {
            "prefix": str(self.folder / "host"), "store": None, "source": None, "search": None, "filter": [],
            "sort": "downloads", "limit": 20, "token": None, "timeout": 5.0, "cache_path": str(self.folder / "kept"),
            "cache_minutes": 30.0, "memory_gb": 16.0, **self.hubs.addresses, **params,
        }  # fmt: skip
        self.hubs.asked.clear()
        outcome = CatalogTask(given, clock=lambda: self.now).run(check_mode=check)
        assert outcome.changed is False
        return dict(outcome.result)

    def down(self, *paths: str) -> None:
        for path in paths or ("/",):
            self.hubs.fault(path, status=404)

    @property
    def kept(self) -> list[Path]:
        return sorted((self.folder / "kept").glob("*"))


@pytest.fixture
def bench(tmp_path: Path) -> t.Iterator[Bench]:
    with CatalogueHubs() as hubs:
        yield Bench(hubs, tmp_path)


def names(result: Result) -> list[str]:
    return [model["model_name"] for model in result["models"]]


def test_an_answer_is_used_for_thirty_minutes(bench: Bench) -> None:
    first = bench.ask()
    assert bench.hubs.asked
    bench.now += 30 * MINUTE - 1
    assert bench.ask() == first
    assert bench.hubs.asked == []
    bench.now += 1
    assert bench.ask() == first
    assert bench.hubs.asked


def test_another_question_is_asked_anew(bench: Bench) -> None:
    bench.ask(source=["ollama"])
    for params in ({"search": "qwen"}, {"sort": "size"}, {"limit": 1}, {"filter": ["tools"]}):
        bench.ask(source=["ollama"], **params)
        assert bench.hubs.asked, params
    bench.ask(source=["ollama"], memory_gb=1.0)
    assert bench.hubs.asked == [], "what the host has is no part of the question"


def test_another_token_is_another_question(bench: Bench) -> None:
    bench.ask(source=["huggingface"], token="hf_one")
    bench.ask(source=["huggingface"], token="hf_two")
    assert bench.hubs.asked
    bench.down()
    assert names(bench.ask(source=["huggingface"], token="hf_three"))[0].startswith("ai/"), "nobody's own answers"


def test_the_length_can_be_set(bench: Bench) -> None:
    bench.ask(source=["ollama"], cache_minutes=0)
    bench.ask(source=["ollama"], cache_minutes=0)
    assert bench.hubs.asked
    bench.now += 90 * MINUTE
    bench.ask(source=["ollama"], cache_minutes=120)
    assert bench.hubs.asked == []


def test_a_clock_that_was_set_back_asks(bench: Bench) -> None:
    bench.ask(source=["ollama"])
    bench.now -= 3_600
    bench.ask(source=["ollama"])
    assert bench.hubs.asked


def test_offline_the_last_answer_is_given_however_old(bench: Bench) -> None:
    first = bench.ask()
    bench.down()
    bench.now += 400 * 24 * 60 * MINUTE
    last = bench.ask()
    assert last["models"] == first["models"]
    assert last["stale"] is True
    assert set(last["errors"]) == {"huggingface", "ollama", "docker_model_runner"}
    assert "ollama: " in last["error"]
    assert "answered 404" in last["error"]
    bench.hubs.faults.clear()
    assert bench.ask()["stale"] is False, "back again"


def test_offline_a_new_question_is_answered_from_what_was_ever_said(bench: Bench) -> None:
    bench.ask(source=["ollama"])
    bench.down()
    result = bench.ask(source=["ollama"], search="llama", limit=1)
    assert names(result) == ["llama3.2:1b"]
    assert result["stale"] is True
    assert result["error"]


def test_offline_without_any_answer_the_built_in_list_is_given(bench: Bench) -> None:
    bench.down()
    result = bench.ask(source=["huggingface"])
    assert names(result) == [
        "ai/llama3.2:3B-Q4_K_M", "ai/qwen2.5:7B-Q4_K_M", "ai/mistral:7B-Q4_K_M", "ai/llama3.1:8B-Q4_K_M",
        "ai/gemma2:9B-Q4_K_M", "ai/qwen2.5:14B-Q4_K_M",
    ]  # fmt: skip
    assert (result["count"], result["stale"]) == (6, True)
    assert result["error"].startswith("huggingface: ")
    assert names(bench.ask(source=["huggingface"], search="qwen", limit=1)) == ["ai/qwen2.5:7B-Q4_K_M"]
    everywhere = bench.ask()
    assert (everywhere["count"], everywhere["stale"], len(everywhere["errors"])) == (6, True, 3)
    assert bench.kept == []


def test_the_built_in_list_that_was_asked_for_is_not_stale(bench: Bench) -> None:
    result = bench.ask(source=["builtin"])
    assert (result["count"], result["stale"], result["error"]) == (6, False, None)
    assert bench.hubs.asked == []


def test_one_hub_that_is_down_does_not_spoil_the_others(bench: Bench) -> None:
    bench.down("/library")
    result = bench.ask()
    assert {model["provider"] for model in result["models"]} == {"huggingface", "docker_model_runner"}
    assert (list(result["errors"]), result["stale"]) == (["ollama"], False)
    assert len(bench.kept) == 2


def test_an_answer_with_a_gap_does_not_replace_a_whole_one(bench: Bench) -> None:
    whole = bench.ask(source=["ollama"])
    bench.now += 31 * MINUTE
    bench.hubs.fault("/library/qwen2.5/tags", status=404)
    gap = bench.ask(source=["ollama"])
    assert gap["stale"] is False
    assert "404" in gap["errors"]["ollama"]
    assert gap["models"] != whole["models"]
    bench.down()
    assert bench.ask(source=["ollama"])["models"] == whole["models"]


def test_check_mode_reads_kept_answers_and_writes_none(bench: Bench) -> None:
    looked = bench.ask(check=True)
    assert not (bench.folder / "kept").exists()
    assert bench.ask()["models"] == looked["models"]
    before = [(path, path.read_bytes()) for path in bench.kept]
    bench.now += 60 * MINUTE
    assert bench.ask(check=True)["models"] == looked["models"]
    assert [(path, path.read_bytes()) for path in bench.kept] == before


def test_kept_answers_of_another_form_are_passed_over(bench: Bench) -> None:
    bench.ask(source=["ollama"])
    (path,) = bench.kept
    document = json.loads(path.read_text())
    document["records"] = [{"a_field": "of another version"}]
    path.write_text(json.dumps(document))
    assert bench.ask(source=["ollama"])["count"] == 8
    assert bench.hubs.asked


def test_a_folder_that_cannot_be_written_is_told_and_costs_no_answer(bench: Bench) -> None:
    (bench.folder / "file").write_text("in the way")
    result = bench.ask(source=["ollama"], cache_path=str(bench.folder / "file" / "kept"))
    assert result["count"] == 8
    assert "could not be kept" in result["notes"][0]


def test_memory_that_nobody_knows_recommends_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> int:
        raise LlmError("library_missing", "No psutil.")

    monkeypatch.setattr(catalog.processes, "total_memory", unknown)
    result = bench.ask(source=["builtin"], memory_gb=None)
    assert result["memory_gb"] is None
    assert "not known" in result["notes"][0]
    assert not any(model["recommended"] for model in result["models"])
    monkeypatch.setattr(catalog.processes, "total_memory", lambda: 8_200_000_000)
    known = bench.ask(source=["builtin"], memory_gb=None)
    assert known["memory_gb"] == 8.2
    assert [model["recommended"] for model in known["models"]] == [True, False, False, False, False, False]


@pytest.mark.parametrize("params", [{"limit": 0}, {"timeout": 0.0}])
def test_what_cannot_be_meant_is_refused(bench: Bench, params: dict[str, t.Any]) -> None:
    with pytest.raises(LlmError) as caught:
        bench.ask(**params)
    assert caught.value.reason == "invalid_input"
