# SPDX-License-Identifier: GPL-3.0-or-later
"""`llm_catalog_info` as users run it, against three hubs on one port."""

from __future__ import annotations

import importlib
import inspect
import json
import time
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.llmops.fleet.plugins.module_utils._sources.catalogues import ADDRESSES, CATALOGUES
from ansible_collections.llmops.fleet.plugins.modules import llm_catalog_info
from catalogue_hubs import CatalogueHubs
from catalogue_run import catalogue_action

Ask = t.Callable[..., dict[str, t.Any]]


@pytest.fixture
def hubs() -> t.Iterator[CatalogueHubs]:
    with CatalogueHubs() as running:
        yield running


@pytest.fixture
def ask(
    run_module: Ask, hubs: CatalogueHubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Ask:  # fmt: skip
    base = {
        "prefix": str(tmp_path), "cache_path": str(tmp_path / "kept"), "timeout": 5, "memory_gb": 16,
        "endpoints": quiet, **hubs.addresses,
    }  # fmt: skip
    run = catalogue_action(run_module, tmp_path_factory.mktemp("run"), monkeypatch)

    def call(**params: t.Any) -> dict[str, t.Any]:
        result: dict[str, t.Any] = run(**{**base, **params})
        return result

    call.sent = run.sent  # type: ignore[attr-defined]
    return call


@pytest.fixture
def quiet(free_port: int) -> dict[str, str]:
    """Addresses of programs that are not there."""
    return dict.fromkeys(("docker_model_runner", "lm_studio", "ollama"), f"http://127.0.0.1:{free_port}")


def install(tmp_path: Path, **models: tuple[str, str]) -> None:
    """The manifest of a store with models of those providers and names."""
    records = [
        {"name": name, "provider": provider, "model": model, "files": [], "status": "installed"}
        for name, (provider, model) in models.items()
    ]
    store = tmp_path / "var/lib/llm/models"
    store.mkdir(parents=True)
    (store / "manifest.json").write_text(json.dumps({"models": records, "updated_at": "2026-11-21T10:00:00Z"}))


def by_name(result: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    return {model["model_name"]: model for model in result["models"]}


def test_all_hubs_give_one_form_of_record(ask: Ask) -> None:
    result = ask(limit=100)
    assert result["changed"] is False
    assert (result["stale"], result["error"], result["errors"]) == (False, None, {})
    assert result["count"] == len(result["models"]) == 24
    assert {model["provider"] for model in result["models"]} == {"huggingface", "ollama", "docker_model_runner"}
    documented = yaml.safe_load(llm_catalog_info.RETURN)["models"]["sample"][0]
    assert all(list(model) == list(documented) for model in result["models"])
    downloads = [model["downloads"] or 0 for model in result["models"]]
    assert downloads == sorted(downloads, reverse=True)


def test_the_limit_is_of_all_together(ask: Ask) -> None:
    result = ask(limit=3, sort="likes")
    assert (result["count"], [model["likes"] for model in result["models"]]) == (3, [1_600, 900, 140])
    assert ask()["count"] == 20


def test_trending_takes_the_hubs_in_turn(ask: Ask) -> None:
    providers = [model["provider"] for model in ask(sort="trending", limit=6)["models"]]
    assert providers == ["huggingface", "ollama", "docker_model_runner"] * 2


def test_search_filter_and_source(ask: Ask) -> None:
    assert list(by_name(ask(search="qwen2.5 7b", sort="name"))) == [
        "qwen2.5:7b", "ai/qwen2.5:7B-Q4_K_M", "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct-GGUF",
    ]  # fmt: skip
    assert {model["model_name"] for model in ask(filter=["tools"], source=["ollama"], search="gpt")["models"]} == {
        "gpt-oss:20b", "gpt-oss:120b",
    }  # fmt: skip
    assert {model["provider"] for model in ask(source=["docker_model_runner"])["models"]} == {"docker_model_runner"}


def test_what_fits_is_recommended(ask: Ask) -> None:
    def recommended(memory: float) -> list[str]:
        return [
            model["model_name"]
            for model in ask(source=["ollama"], memory_gb=memory, sort="size", filter=["tools"])["models"]
            if model["recommended"]
        ]

    assert recommended(4) == ["qwen2.5:0.5b"]
    assert recommended(8) == ["qwen2.5:0.5b", "llama3.2:1b", "llama3.2:3b"]
    assert recommended(15.9) == ["qwen2.5:0.5b", "llama3.2:1b", "llama3.2:3b"]
    assert recommended(16) == ["qwen2.5:0.5b", "llama3.2:1b", "llama3.2:3b", "qwen2.5:7b"]
    assert len(recommended(1_000)) == 7
    model = by_name(ask(source=["ollama"]))["qwen2.5:7b"]
    assert (model["ram_min_gb"], model["ram_recommended_gb"]) == (16, 24)


def test_what_the_store_has_is_installed_under_any_of_its_names(ask: Ask, tmp_path: Path) -> None:
    install(
        tmp_path,
        one=("ollama", "llama3.2"),
        two=("docker_model_runner", "docker.io/ai/Qwen2.5:7B-Q4_K_M"),
        three=("huggingface", "Qwen/Qwen2.5-7B-Instruct-GGUF"),
        four=("huggingface", "llama3.2:1b"),
        five=("url", "https://example.com/model.gguf"),
    )
    installed = {model["model_name"] for model in ask(limit=100)["models"] if model["installed"]}
    assert installed == {"llama3.2:3b", "ai/qwen2.5:7B-Q4_K_M", "Qwen/Qwen2.5-7B-Instruct-GGUF"}
    elsewhere = ask(limit=100, store=str(tmp_path / "another"))
    assert not any(model["installed"] for model in elsewhere["models"])


def test_the_second_run_asks_nobody_and_check_mode_writes_nothing(
    ask: Ask, run_module: Ask, hubs: CatalogueHubs, tmp_path: Path
) -> None:
    foreseen = ask(check=True)
    assert list(tmp_path.iterdir()) == []
    first = ask()
    assert foreseen == first
    hubs.asked.clear()
    assert ask() == first
    assert hubs.asked == []


def test_a_hub_that_is_down_and_one_that_is_slow_do_not_keep_the_third(ask: Ask, hubs: CatalogueHubs) -> None:
    hubs.fault("/api/models", status=500)
    hubs.fault("/library", wait=3)
    begun = time.monotonic()
    result = ask(timeout=1)
    assert time.monotonic() - begun < 2.5
    assert {model["provider"] for model in result["models"]} == {"docker_model_runner"}
    assert set(result["errors"]) == {"huggingface", "ollama"}
    assert "did not answer within 1 seconds" in result["errors"]["ollama"]
    assert result["stale"] is False


def test_an_answer_that_drips_is_left_in_time(ask: Ask, hubs: CatalogueHubs) -> None:
    hubs.fault("/library", drip=0.1)
    begun = time.monotonic()
    result = ask(timeout=1, source=["ollama", "builtin"])
    assert time.monotonic() - begun < 3
    assert "did not answer within 1 seconds" in result["errors"]["ollama"].lower()
    assert result["count"] == 6


def test_a_changed_page_is_an_error_that_says_so(ask: Ask, hubs: CatalogueHubs) -> None:
    hubs.fault("/library", status=200, body="<html>All new</html>")
    result = ask(source=["ollama"])
    assert "is not built as it was" in result["error"]
    assert (result["stale"], result["count"]) == (True, 6)


def test_nobody_there_and_the_last_answer(ask: Ask, hubs: CatalogueHubs) -> None:
    first = ask()
    hubs.stop()
    offline = ask(cache_minutes=0)
    assert offline["models"] == first["models"]
    assert offline["stale"] is True
    assert len(offline["errors"]) == 3
    assert "could not be reached" in offline["error"]


def test_a_token_is_in_no_result_and_no_file(ask: Ask, hubs: CatalogueHubs, tmp_path: Path) -> None:
    hubs.fault("/api/models", status=401, body="hf_planted is wrong")
    result = ask(token="hf_planted")
    result.pop("invocation", None)
    ask(token="hf_planted2")
    assert "hf_planted" not in json.dumps(result)
    assert "hf_planted" not in json.dumps(ask.sent), "hosts have no use for it"  # type: ignore[attr-defined]
    assert all(b"hf_planted" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_options_agree_with_the_registry() -> None:
    options = yaml.safe_load(llm_catalog_info.DOCUMENTATION)["options"]
    assert options["source"]["choices"] == list(CATALOGUES)
    assert set(ADDRESSES.values()) <= set(options)
    shared = {"prefix", "store"}
    assert set(llm_catalog_info.ARGUMENT_SPEC) - shared == set(options)
    for name, option in options.items():
        assert llm_catalog_info.ARGUMENT_SPEC[name].get("default") == option.get("default"), name
    for name, option in ADDRESSES.items():
        hub = CATALOGUES[name]
        default = options[option].get("default")
        source = importlib.import_module(inspect.getmodule(hub).__name__)  # type: ignore[union-attr]
        used = [
            getattr(module, "DEFAULT_ADDRESS", None) for module in vars(source).values() if inspect.ismodule(module)
        ]
        assert default is None or default in used
