# SPDX-License-Identifier: GPL-3.0-or-later
"""Each hub against its saved answers, and each with its own way to fail."""

from __future__ import annotations

import json
import time
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.catalogue_answer import HostModel
from ansible_collections.llmops.fleet.plugins.module_utils._core.catalogue_entry import (
    Entry,
    HubOptions,
    Listing,
    Query,
)
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._sources.catalogue_threads import at_once
from ansible_collections.llmops.fleet.plugins.module_utils._sources.catalogues import (
    ADDRESSES,
    CATALOGUES,
    catalogue_named,
    identities,
    identities_of_held,
    identity,
)
from ansible_collections.llmops.fleet.plugins.module_utils._sources.registry import SOURCES
from catalogue_hubs import CatalogueHubs

ONLINE = ("huggingface", "ollama", "docker_model_runner")
FIRST = {"huggingface": "/api/models", "ollama": "/library", "docker_model_runner": "/v2/repositories/ai/"}


@pytest.fixture
def hubs() -> t.Iterator[CatalogueHubs]:
    with CatalogueHubs() as running:
        yield running


def look(name: str, hubs: CatalogueHubs, query: Query | None = None, **options: t.Any) -> Listing:
    made = HubOptions(**{"address": hubs.url, "seconds": 5.0, **options})
    return catalogue_named(name, made).look(query or Query())


def by_name(listing: Listing) -> dict[str, Entry]:
    return {entry.model_name: entry for entry in listing.entries}


def test_every_provider_is_a_source_that_can_pull(hubs: CatalogueHubs) -> None:
    for name in CATALOGUES:
        assert all(entry.provider in SOURCES for entry in look(name, hubs).entries)
    assert set(ADDRESSES) == set(ONLINE)


def test_hugging_face_tells_what_an_engine_would_load(hubs: CatalogueHubs) -> None:
    found = by_name(look("huggingface", hubs))
    gguf = found["Qwen/Qwen2.5-7B-Instruct-GGUF"]
    assert (gguf.quantization, gguf.size_bytes, gguf.runtime) == ("Q4_K_M", 3_993_201_344 + 689_872_288, "llama_cpp")
    whole = found["meta-llama/Llama-3.2-3B-Instruct"]
    assert (whole.quantization, whole.size_bytes, whole.runtime) == ("BF16", 2 * 3_212_749_824, "vllm")
    assert (whole.parameters, whole.downloads, whole.likes) == ("3B", 2_500_000, 1_600)
    packed = found["Qwen/Qwen2.5-14B-Instruct-AWQ"]
    assert (packed.quantization, packed.parameters) == (None, "14B")
    assert packed.size_bytes == 4 * 1_652_555_776 + 2 * 1_571_681_280
    unknown = found["someone/unknown-thing"]
    assert (unknown.size_bytes, unknown.runtime, unknown.quantization, unknown.parameters) == (None,) * 4


@pytest.mark.parametrize(("sort", "first"), [("likes", "Llama-3.2-3B-Instruct"), ("downloads", "Qwen2.5-7B-Instruct"),
                                             ("trending", "Llama-3.2-3B-Instruct")])  # fmt: skip
def test_hugging_face_sorts_searches_and_filters_itself(hubs: CatalogueHubs, sort: str, first: str) -> None:
    listing = look("huggingface", hubs, Query(sort=sort, limit=2))
    assert len(listing.entries) == 2
    assert listing.entries[0].model_name.endswith(f"/{first}")
    assert list(by_name(look("huggingface", hubs, Query(search="qwen", tags=("gguf",))))) == [
        "Qwen/Qwen2.5-7B-Instruct-GGUF"
    ]
    assert "filter=gguf" in hubs.asked[-2]
    assert "text-generation" not in hubs.asked[-2]


def test_hugging_face_gets_the_token_and_nobody_else(hubs: CatalogueHubs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_environment")
    look("huggingface", hubs)
    assert hubs.tokens["/api/models"] == "Bearer hf_of_the_environment"
    look("huggingface", hubs, token="hf_given")
    assert hubs.tokens["/api/models"] == "Bearer hf_given"
    for name in ("ollama", "docker_model_runner"):
        look(name, hubs, token="hf_given")
        assert hubs.tokens[FIRST[name]] == ""


def test_hugging_face_keeps_a_model_whose_files_it_does_not_tell(hubs: CatalogueHubs) -> None:
    hubs.fault("/api/models/Qwen", status=403)
    listing = look("huggingface", hubs)
    gguf = by_name(listing)["Qwen/Qwen2.5-7B-Instruct-GGUF"]
    assert (gguf.quantization, gguf.size_bytes) == ("Q4_K_M", None)
    assert len(listing.problems) == 1
    assert "403" in listing.problems[0]


def test_ollama_has_an_entry_for_each_size(hubs: CatalogueHubs) -> None:
    found = by_name(look("ollama", hubs))
    assert list(found) == [
        "nomic-embed-text:latest", "llama3.2:1b", "llama3.2:3b", "qwen2.5:0.5b", "qwen2.5:7b", "qwen2.5:72b",
        "gpt-oss:20b", "gpt-oss:120b",
    ]  # fmt: skip
    entry = found["llama3.2:3b"]
    assert (entry.size_bytes, entry.quantization, entry.parameters) == (2_000_000_000, "Q4_K_M", "3B")
    assert (entry.downloads, entry.likes, entry.tags) == (45_700_000, None, ("tools",))
    assert set(entry.aliases) == {"llama3.2:latest", "llama3.2:3b-instruct-q4_K_M"}
    assert found["gpt-oss:20b"].quantization is None


def test_ollama_searches_filters_and_keeps_the_library_s_order(hubs: CatalogueHubs) -> None:
    assert list(by_name(look("ollama", hubs, Query(search="llama 3.2", sort="trending")))) == [
        "llama3.2:1b",
        "llama3.2:3b",
    ]
    assert [path for path in hubs.asked if path.endswith("/tags")] == ["/library/llama3.2/tags"]
    assert {name.partition(":")[0] for name in by_name(look("ollama", hubs, Query(tags=("thinking",))))} == {"gpt-oss"}
    trending = look("ollama", hubs, Query(sort="trending", limit=3)).entries
    assert [entry.model_name for entry in trending] == ["llama3.2:1b", "llama3.2:3b", "qwen2.5:0.5b"]
    assert [entry.rank for entry in trending] == [0, 1, 2]


def test_a_size_is_searched_for_where_it_is_known(hubs: CatalogueHubs) -> None:
    assert list(by_name(look("ollama", hubs, Query(search="72B")))) == ["qwen2.5:72b"]
    assert [path for path in hubs.asked if path.endswith("/tags")] == ["/library/qwen2.5/tags"]
    assert list(by_name(look("docker_model_runner", hubs, Query(search="qwen 7b q4_k_m")))) == ["ai/qwen2.5:7B-Q4_K_M"]
    assert sum("/tags" in path for path in hubs.asked) == 2


def test_ollama_tells_a_changed_page_and_what_it_still_knows(hubs: CatalogueHubs) -> None:
    hubs.fault("/library/qwen2.5/tags", status=200, body="<html>new</html>")
    listing = look("ollama", hubs, Query(search="qwen"))
    assert [(entry.model_name, entry.size_bytes, entry.parameters) for entry in listing.entries] == [
        ("qwen2.5:0.5b", None, "0.5B"), ("qwen2.5:7b", None, "7B"), ("qwen2.5:72b", None, "72B"),
    ]  # fmt: skip
    assert "is not built as it was" in listing.problems[0]
    hubs.fault("/library", status=200, body="<html>new</html>")
    with pytest.raises(LlmError, match="is not built as it was"):
        look("ollama", hubs)


def test_docker_hub_has_an_entry_for_each_size_in_its_best_quantization(hubs: CatalogueHubs) -> None:
    found = by_name(look("docker_model_runner", hubs))
    assert list(found) == [
        "ai/smollm2:135M-Q4_0", "ai/smollm2:360M-Q4_K_M", "ai/llama3.2:1B-Q8_0", "ai/llama3.2:3B-Q4_K_M",
        "ai/qwen2.5:0.5B-F16", "ai/qwen2.5:7B-Q4_K_M", "ai/mxbai-embed-large",
    ]  # fmt: skip
    entry = found["ai/qwen2.5:7B-Q4_K_M"]
    assert (entry.size_bytes, entry.quantization, entry.parameters) == (4_683_073_536, "Q4_K_M", "7B")
    assert (entry.downloads, entry.likes, entry.aliases) == (163_532, 13, ("ai/qwen2.5:latest",))
    assert found["ai/mxbai-embed-large"].size_bytes is None


def test_docker_hub_sorts_searches_and_filters(hubs: CatalogueHubs) -> None:
    liked = look("docker_model_runner", hubs, Query(sort="likes", limit=1)).entries
    assert [entry.model_name for entry in liked] == ["ai/llama3.2:1B-Q8_0"]
    found = by_name(look("docker_model_runner", hubs, Query(search="QWEN", tags=("languages-and-frameworks",))))
    assert list(found) == ["ai/qwen2.5:0.5B-F16", "ai/qwen2.5:7B-Q4_K_M"]


def test_docker_hub_does_not_follow_an_address_of_the_answer(hubs: CatalogueHubs) -> None:
    """The saved first page names hub.docker.com for the next one; a mirror's reader stays with the mirror."""
    look("docker_model_runner", hubs)
    assert sum("/v2/repositories/ai/?" in path for path in hubs.asked) == 2


def test_the_built_in_list_needs_nobody(hubs: CatalogueHubs) -> None:
    entries = look("builtin", hubs).entries
    assert {entry.model_name: (entry.size_bytes or 0) / 1e9 for entry in entries} == {
        "ai/llama3.2:3B-Q4_K_M": 2.0,
        "ai/qwen2.5:7B-Q4_K_M": 4.4,
        "ai/mistral:7B-Q4_K_M": 4.4,
        "ai/llama3.1:8B-Q4_K_M": 4.9,
        "ai/gemma2:9B-Q4_K_M": 5.4,
        "ai/qwen2.5:14B-Q4_K_M": 8.9,
    }
    assert entries[1].display_name == "Qwen 2.5 7B"
    assert [entry.needs.ram_min_gb for entry in entries[:3]] == [8, 16, 16]
    assert hubs.asked == []


@pytest.mark.parametrize("name", ONLINE)
def test_a_wait_that_is_too_long_is_told_at_once(hubs: CatalogueHubs, name: str) -> None:
    hubs.fault(FIRST[name], status=429, headers={"Retry-After": "600"})
    begun = time.monotonic()
    with pytest.raises(LlmError, match="answered 429 and asks to wait 600 seconds"):
        look(name, hubs)
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("name", ONLINE)
def test_a_wait_that_fits_is_kept_to(hubs: CatalogueHubs, name: str) -> None:
    hubs.fault(FIRST[name], status=429, headers={"Retry-After": "1"}, times=1)
    assert look(name, hubs, seconds=10).entries


def test_the_hub_s_own_word_for_a_wait_is_understood(hubs: CatalogueHubs) -> None:
    hubs.fault("/api/models", status=429, headers={"RateLimit": '"api";r=0;t=55'})
    with pytest.raises(LlmError, match="asks to wait 55 seconds"):
        look("huggingface", hubs)


@pytest.mark.parametrize("name", ONLINE)
@pytest.mark.parametrize(
    ("status", "reason"), [(401, "auth_error"), (403, "forbidden"), (404, "not_found"), (500, "hub_error")]
)
def test_an_answer_that_stays_is_told(hubs: CatalogueHubs, name: str, status: int, reason: str) -> None:
    hubs.fault(FIRST[name], status=status)
    with pytest.raises(LlmError) as caught:
        look(name, hubs, seconds=1)
    assert caught.value.reason == reason


@pytest.mark.parametrize("name", ONLINE)
def test_a_slow_hub_is_left_in_time(hubs: CatalogueHubs, name: str) -> None:
    hubs.fault(FIRST[name], wait=3)
    begun = time.monotonic()
    with pytest.raises(LlmError, match="did not answer within 1 seconds") as caught:
        look(name, hubs, seconds=1)
    assert caught.value.reason == "timeout"
    assert time.monotonic() - begun < 2.8


@pytest.mark.parametrize("name", ONLINE)
def test_a_hub_that_is_down_is_told_at_once(hubs: CatalogueHubs, name: str, free_port: int) -> None:
    begun = time.monotonic()
    with pytest.raises(LlmError) as caught:
        look(name, hubs, address=f"http://127.0.0.1:{free_port}", seconds=10)
    assert caught.value.reason == "unreachable"
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("name", ONLINE)
@pytest.mark.parametrize(
    "body",
    ["<html>Sign in to the guest network</html>", "[1, 2]", '{"a": 1}', "", "{}", "[]", "null", '{"results": []}',
     '{"results": [1, {"name": 5}]}', '[{"id": null}]', '[{"downloads": 5}]', '[{"id": "a/b", "siblings": 5}]'],
)  # fmt: skip
def test_something_else_than_the_hub_is_told(hubs: CatalogueHubs, name: str, body: str) -> None:
    hubs.fault(FIRST[name], status=200, body=body)
    with pytest.raises(LlmError) as caught:
        look(name, hubs)
    assert caught.value.reason == ("page_changed" if name == "ollama" and "<" in body else "hub_error")
    assert "nothing was changed" not in str(caught.value)


def test_a_search_that_finds_nothing_is_an_answer(hubs: CatalogueHubs) -> None:
    for name in ONLINE:
        assert look(name, hubs, Query(search="no such model")).entries == ()


def test_a_field_of_another_type_is_unknown(hubs: CatalogueHubs) -> None:
    odd = {
        "id": "a/b-7B-GGUF", "downloads": "many", "likes": True, "tags": ["gguf", 5], "siblings": [{"rfilename": 5}],
        "gguf": {"total": "x"}, "pipeline_tag": 5,
    }  # fmt: skip
    hubs.fault("/api/models", status=200, body=json.dumps([odd, {**odd, "tags": 5, "gguf": 5}]))
    first, second = look("huggingface", hubs).entries
    assert (first.downloads, first.likes, first.tags, first.parameters) == (None, None, ("gguf",), "7B")
    assert (second.tags, second.runtime, second.size_bytes) == ((), None, None)
    record = {"name": "x", "pull_count": "many", "star_count": None, "categories": [{"slug": 5}, 7], "description": 5}
    hubs.fault("/v2/repositories/ai/", status=200, body=json.dumps({"results": [record]}), times=1)
    (plain,) = look("docker_model_runner", hubs).entries
    assert (plain.downloads, plain.likes, plain.tags) == (None, None, ())


def test_the_client_is_left_as_it_was(hubs: CatalogueHubs) -> None:
    import huggingface_hub

    look("huggingface", hubs)
    client = huggingface_hub.get_session()
    assert type(client).__name__ == "Client"
    assert client.timeout.read is None
    assert client.event_hooks["request"]


def test_what_lm_studio_has_are_repositories_of_the_hugging_face_hub() -> None:
    offered = identities(Entry("huggingface", "lmstudio-community/Qwen2.5-7B-Instruct-GGUF", ""))
    assert offered & identities_of_held(HostModel("lm_studio", "qwen2.5-7b-instruct", "lmstudio-community"))
    assert not offered & identities_of_held(HostModel("lm_studio", "qwen2.5-7b-instruct", "someone"))
    assert not offered & identities_of_held(HostModel("lm_studio", "qwen2.5-7b-instruct"))
    assert offered & identities_of_held(HostModel("lm_studio", "q/qwen2.5-7b-instruct", "", "gguf")) == set()
    assert offered & identities_of_held(
        HostModel("lm_studio", "https://huggingface.co/lmstudio-community/Qwen2.5-7B-Instruct-GGUF")
    )
    whole = identities(Entry("huggingface", "Qwen/Qwen2.5-7B-Instruct", ""))
    assert not whole & identities_of_held(HostModel("lm_studio", "qwen2.5-7b-instruct", "Qwen", "gguf"))
    assert whole & identities_of_held(HostModel("lm_studio", "qwen2.5-7b-instruct", "Qwen", "mlx"))
    granite = identities(Entry("huggingface", "ibm/granite-4-micro", ""))
    assert granite & identities_of_held(HostModel("lm_studio", "ibm/granite-4-micro"))
    assert not granite & identities_of_held(HostModel("ollama", "ibm/granite-4-micro"))


def test_names_of_one_model_are_one() -> None:
    assert identity("ollama", "Llama3.2") == identity("ollama", "registry.ollama.ai/library/llama3.2:latest")
    assert identity("docker_model_runner", "qwen2.5") == identity("docker_model_runner", "docker.io/ai/qwen2.5:latest")
    assert identity("huggingface", "Qwen/Q") == identity("huggingface", "qwen/q") != identity("ollama", "qwen/q")
    assert identity("url", "A") == ("url", "A")
    entry = Entry("ollama", "llama3.2:3b", "", aliases=("llama3.2:latest",))
    assert identity("ollama", "llama3.2") in identities(entry)
    assert identity("ollama", "llama3.2") not in identities(replace(entry, aliases=()))


def test_threads_give_results_in_order_and_the_first_failure() -> None:
    assert at_once(lambda number: number * 2, list(range(10))) == list(range(0, 20, 2))
    assert at_once(lambda number: number, []) == []
    with pytest.raises(ZeroDivisionError):
        at_once(lambda number: 1 // number, [1, 0, 2])
