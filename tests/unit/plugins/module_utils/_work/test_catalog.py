# SPDX-License-Identifier: GPL-3.0-or-later
"""Kept answers by a clock that is set: young ones, old ones, and what is told when nobody answers."""

from __future__ import annotations

import json
import math
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.catalogue_answer import Asked, CatalogueHost, HostModel
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._work.catalog import Catalog
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
            "source": None, "search": None, "filter": [],
            "sort": "downloads", "limit": 20, "token": None, "timeout": 5.0, "cache_path": str(self.folder / "kept"),
            "cache_minutes": 30.0, "memory_gb": 16.0, **self.hubs.addresses, **params,
        }  # fmt: skip
        self.given = given
        self.hubs.asked.clear()
        asking = Catalog(given, clock=lambda: self.now)
        return asking.told(asking.ask(keep=not check), CatalogueHost(memory_gb=8.2))

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


def test_an_answer_with_a_gap_is_kept_beside_a_whole_one(bench: Bench) -> None:
    whole = bench.ask(source=["ollama"])
    bench.now += 31 * MINUTE
    bench.hubs.fault("/library/qwen2.5/tags", status=404)
    gap = bench.ask(source=["ollama"])
    assert gap["stale"] is False
    assert "answered 404 for qwen2.5" in gap["errors"]["ollama"]
    assert gap["models"] != whole["models"]
    assert bench.ask(source=["ollama"]) == gap, "with its error, without asking"
    assert bench.hubs.asked == []
    bench.down()
    bench.now += 31 * MINUTE
    assert bench.ask(source=["ollama"])["models"] == whole["models"]
    bench.hubs.faults.clear()
    assert bench.ask(source=["ollama"]) == whole
    assert len(bench.kept) == 1, "a whole answer takes the place of one with a gap"


def test_an_answer_with_a_gap_is_better_than_none(bench: Bench) -> None:
    bench.hubs.fault("/api/models/Qwen", status=404)
    gap = bench.ask(source=["huggingface"])
    assert f"The hub {bench.hubs.url} answered 404 for Qwen/Qwen2.5-7B-Instruct-GGUF." in gap["error"]
    bench.down()
    bench.now += 31 * MINUTE
    later = bench.ask(source=["huggingface"])
    assert (later["models"], later["stale"]) == (gap["models"], True)
    assert later["error"].count("answered 404") == 2, "why it is old, and what is missing in it"


@pytest.mark.parametrize("body", ["{}", "[]", "null", '{"results": [1, {"name": 5}]}', '[{"id": 5}]', "[1]", "true"])
def test_a_good_answer_that_says_nothing_does_not_replace_the_last(bench: Bench, body: str) -> None:
    first = bench.ask()
    kept = [(path, path.read_bytes()) for path in bench.kept]
    bench.now += 31 * MINUTE
    bench.hubs.fault("/", status=200, body=body)
    later = bench.ask()
    assert (later["models"], later["stale"]) == (first["models"], True)
    assert set(later["errors"]) == {"huggingface", "ollama", "docker_model_runner"}
    assert all("answered with" in error and "Check the address" in error for error in later["errors"].values())
    assert [(path, path.read_bytes()) for path in bench.kept] == kept


def test_no_address_shows_its_credentials(bench: Bench, free_port: int) -> None:
    secret = f"http://bob:s3cret@{bench.hubs.url.partition('//')[2]}"
    addresses = dict.fromkeys(("huggingface_url", "ollama_url", "docker_hub_url"), secret)
    faults: list[dict[str, t.Any]] = [
        {"status": 401}, {"status": 403}, {"status": 404}, {"status": 500}, {"status": 200, "body": "<html>"},
        {"status": 200, "body": "{}"}, {"status": 429, "headers": {"Retry-After": "900"}}, {"wait": 2},
    ]  # fmt: skip
    for fault in faults:
        bench.hubs.faults.clear()
        bench.hubs.fault("/", **fault)
        result = bench.ask(cache_minutes=0.0, timeout=1.0, **addresses)
        assert len(result["errors"]) == 3, fault
        assert "s3cret" not in json.dumps(result), fault
        assert ".." not in json.dumps(result["errors"]).replace("../", ""), fault
    nobody = f"http://bob:s3cret@127.0.0.1:{free_port}"
    result = bench.ask(**dict.fromkeys(addresses, nobody))
    assert len(result["errors"]) == 3
    assert "s3cret" not in json.dumps(result)
    assert not any("s3cret" in path.read_text() for path in bench.kept)


def test_a_client_that_is_told_to_stay_offline_shows_none_either(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled

    def offline(*_arguments: t.Any, **_words: t.Any) -> t.Any:
        raise OfflineModeIsEnabled("Cannot reach http://bob:s3cret@h/api/models: offline mode is enabled.")

    monkeypatch.setattr(HfApi, "list_models", offline)
    error = bench.ask(source=["huggingface"])["error"]
    assert "http://h/api/models: offline mode is enabled. Check" in error


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "token or address"), (403, "open to everybody"), (404, "Check the address"), (500, "sk again later"),
     (429, "sk again later")],
)  # fmt: skip
def test_the_remedies_are_those_of_a_list(bench: Bench, status: int, words: str) -> None:
    bench.hubs.fault("/", status=status)
    errors = bench.ask(timeout=1.0)["errors"]
    assert len(errors) == 3
    for error in errors.values():
        assert words in error
        assert not any(other in error for other in ("owner", "spelling", "nothing was changed"))


def test_a_missing_library_is_one_of_the_controller(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bs4", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    result = bench.ask()
    assert set(result["errors"]) == {"huggingface", "ollama"}
    assert all("Python of the controller" in error and "llm_host" not in error for error in result["errors"].values())


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


def test_what_is_recommended_goes_by_the_host_or_by_what_was_told(bench: Bench) -> None:
    known = bench.ask(source=["builtin"], memory_gb=None)
    assert known["memory_gb"] == 8.2
    assert [model["recommended"] for model in known["models"]] == [True, False, False, False, False, False]
    assert bench.ask(source=["builtin"], memory_gb=96)["memory_gb"] == 96
    catalogue = Catalog({**bench.given, "source": ["builtin"], "memory_gb": None})
    unknown = catalogue.told(catalogue.ask(keep=False), CatalogueHost(notes=("The memory is not known.",)))
    assert (unknown["memory_gb"], unknown["notes"]) == (None, ["The memory is not known."])
    assert not any(model["recommended"] for model in unknown["models"])


def test_what_the_store_or_a_program_has_is_installed(bench: Bench) -> None:
    bench.ask()
    catalogue = Catalog({**bench.given, "limit": 100})
    asked = Asked.from_dict(json.loads(json.dumps(catalogue.ask(keep=False).as_dict())))
    host = CatalogueHost(
        models=(
            HostModel("ollama", "llama3.2:latest"),
            HostModel("docker_model_runner", "docker.io/ai/qwen2.5:latest"),
            HostModel("lm_studio", "qwen2.5-7b-instruct", "Qwen", "gguf"),
            HostModel("url", "https://example.com/model.gguf"),
        )
    )
    models = catalogue.told(asked, CatalogueHost.from_dict(json.loads(json.dumps(host.as_dict()))))["models"]
    assert {model["model_name"] for model in models if model["installed"]} == {
        "llama3.2:3b", "ai/qwen2.5:7B-Q4_K_M", "Qwen/Qwen2.5-7B-Instruct-GGUF",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("limit", 0), ("timeout", 0.0), ("timeout", math.inf), ("timeout", math.nan), ("timeout", 1e10),
        ("memory_gb", -1.0), ("memory_gb", 0.0), ("memory_gb", math.nan), ("memory_gb", math.inf),
        ("cache_minutes", -5.0), ("cache_minutes", math.nan), ("cache_minutes", math.inf),
        ("huggingface_url", "notaurl"), ("huggingface_url", "ftp://x"), ("ollama_url", "127.0.0.1:1"),
        ("docker_hub_url", "http://"), ("docker_hub_url", "http://bob:s3cret@[x"), ("ollama_url", "http://x/?q=1"),
        ("huggingface_url", "bob:s3cret@host"), ("ollama_url", "http://x:99999"), ("ollama_url", "http://a b"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(bench: Bench, option: str, value: t.Any) -> None:
    with pytest.raises(LlmError) as caught:
        bench.ask(**{option: value})
    assert caught.value.reason == "invalid_input"
    assert f"The option {option} " in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert ".." not in str(caught.value)
    assert bench.hubs.asked == []


def test_an_address_of_the_environment_is_held_to_the_same(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "bob:s3cret@host")
    with pytest.raises(LlmError, match="controller's environment") as caught:
        bench.ask(huggingface_url=None)
    assert caught.value.reason == "invalid_input"
    assert "s3cret" not in str(caught.value)
