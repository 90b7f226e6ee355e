# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a model fits: known models on known machines, and words that have the figures."""

from __future__ import annotations

import re

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.fit import (
    GPU_PROGRAM_BYTES,
    PROGRAM_BYTES,
    TOLERANCE,
    Fit,
    Need,
    Room,
    Share,
    element_bytes,
    fault_in_context,
    fit,
    gpu_share,
    need_of,
)
from ansible_collections.llmops.fleet.plugins.module_utils._core.traits import GGUF, Traits
from hypothesis import given
from hypothesis import strategies as st

GB = 10**9
KIB = 1024
# Files at Q4_K_M (bartowski's GGUF repositories); layers and heads of their config.json.
LLAMA_8B = Traits(GGUF, "llama", "Q4_K_M", 131072, 4_920_739_232, 32, 8, 128, 128)
LLAMA_3B = Traits(GGUF, "llama", "Q4_K_M", 131072, 2_019_377_696, 28, 8, 128, 128)
QWEN_14B = Traits(GGUF, "qwen2", "Q4_K_M", 32768, 8_988_110_976, 48, 8, 128, 128)
LLAMA_70B = Traits(GGUF, "llama", "Q4_K_M", 131072, 42_520_395_584, 80, 8, 128, 128)
RECITER = Traits(GGUF, "llama", "F32", 512, 2_700_000, 1, 5, 64, 64)
UNREAD = Traits(GGUF, weights_bytes=4_920_739_232)


def ram(free: float, *, total: float = 64, freed: float = 0) -> Room:
    return Room(int(total * GB), int(free * GB), int(freed * GB))


def card(free: float, *, total: float = 24, freed: float = 0, free_ram: float = 32) -> Room:
    return Room(64 * GB, int(free_ram * GB), 0, int(total * GB), int(free * GB), int(freed * GB))


@pytest.mark.parametrize(
    ("traits", "context", "parallel", "cache"),
    [
        (LLAMA_8B, 8192, 1, 128 * KIB * 8192),
        (LLAMA_8B, 8192, 4, 128 * KIB * 8192 * 4),
        (LLAMA_3B, 4096, 1, 112 * KIB * 4096),
        (QWEN_14B, 32768, 1, 192 * KIB * 32768),
        (RECITER, 512, 1, 1280 * 512),
    ],
)
def test_a_cache_is_for_every_token_of_every_request(traits: Traits, context: int, parallel: int, cache: int) -> None:
    need = need_of(traits, context=context, parallel=parallel)
    assert need.ram is not None
    assert need.ram.cache == cache
    assert need.ram.weights == traits.weights_bytes
    assert need.ram.total == need.ram.weights + cache + need.ram.overhead
    assert need.vram is None
    assert need.usual_cache is None


def test_llama_cpp_needs_what_it_was_seen_to_need() -> None:
    # 301 MiB of buffers and an 8K cache of 1 GiB (SciSharp/LLamaSharp#1099 for a like vocabulary), 451 MiB of a driver.
    need = need_of(LLAMA_8B, context=8192, share=1.0)
    assert need.ram == Share(0, 0, PROGRAM_BYTES)
    assert need.vram is not None
    assert need.vram.total == pytest.approx(4.92 * GB + 1.07 * GB + 301 * 2**20 + 451 * 2**20, rel=0.01)
    # A server with a reciter has 38 MB resident; nobody is asked for half a GB for it.
    tiny = need_of(RECITER, context=512).ram
    assert tiny is not None
    assert 38_000_000 < tiny.total < 100_000_000


@pytest.mark.parametrize(
    ("traits", "context", "room", "fits"),
    [
        (LLAMA_8B, 8192, ram(7), True),
        (LLAMA_8B, 8192, ram(5), False),
        (LLAMA_8B, 8192, ram(1, freed=6), True),
        (LLAMA_8B, 131072, ram(12), False),
        (LLAMA_8B, 131072, ram(24), True),
        (LLAMA_3B, 4096, ram(8, total=8), True),
        (QWEN_14B, 4096, ram(7.5, total=8), False),
        (LLAMA_70B, 4096, ram(40), False),
        (LLAMA_70B, 4096, ram(48), True),
        (RECITER, 512, ram(0.1, total=0.5), True),
        # What is freed is never more than the machine, or the unit, has.
        (LLAMA_8B, 8192, ram(4, total=5, freed=4), False),
    ],
)
def test_models_on_processors(traits: Traits, context: int, room: Room, fits: bool) -> None:
    assert fit(need_of(traits, context=context), room).fits is fits


@pytest.mark.parametrize(
    ("traits", "context", "layers", "room", "options", "fits"),
    [
        (LLAMA_8B, 8192, None, card(8, total=8), {}, True),
        (LLAMA_8B, 8192, 99, card(6, total=8), {}, False),
        (LLAMA_8B, 8192, 99, card(1, total=8, freed=6.5), {}, True),
        # A third of the layers leaves the rest in RAM, and both are looked at.
        (QWEN_14B, 4096, 16, card(6, total=8), {}, True),
        (QWEN_14B, 4096, 16, card(6, total=8, free_ram=4), {}, False),
        (QWEN_14B, 4096, 49, card(6, total=8), {}, False),
        (QWEN_14B, 4096, None, card(6, total=8), {"spills": True}, True),
        (QWEN_14B, 4096, None, card(6, total=8, free_ram=2), {"spills": True}, False),
        # 0.9 of 24 GB: it must be free, and hold the model.
        (LLAMA_8B, 8192, None, card(24), {"reserved_share": 0.9}, True),
        (LLAMA_8B, 8192, None, card(18), {"reserved_share": 0.9}, False),
        (LLAMA_8B, 8192, None, card(2, freed=21), {"reserved_share": 0.9}, True),
        (LLAMA_8B, 8192, None, card(24), {"reserved_share": 0.2}, False),
        (LLAMA_70B, 8192, None, card(24), {"reserved_share": 0.9}, False),
    ],
)
def test_models_on_gpus(
    traits: Traits, context: int, layers: int | None, room: Room, options: dict, fits: bool
) -> None:
    need = need_of(traits, context=context, share=gpu_share(traits.layers, layers, gpu=True))
    found = fit(need, room, **options)
    assert found.fits is fits, found.sentence


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            fit(Need(Share(int(7.6 * GB), GB, GB // 2), None), ram(4, freed=2.2)),
            "it needs 9.1 GB of memory (weights 7.6, cache 1.0, overhead 0.5), and 6.2 GB are there (4.0 free, 2.2 of "
            "the model that goes)",
        ),
        (
            fit(Need(Share(int(7.6 * GB), GB, GB // 2), None), ram(4)),
            "it needs 9.1 GB of memory (weights 7.6, cache 1.0, overhead 0.5), and 4.0 GB are there",
        ),
        (
            fit(need_of(LLAMA_8B, context=8192), ram(30, total=4)),
            "it needs 6.4 GB of memory (weights 4.9, cache 1.1, overhead 0.4), and 4.0 GB are all that it may have",
        ),
        (
            fit(need_of(LLAMA_8B, context=8192, share=1.0), card(2, total=8, freed=1)),
            "it needs 6.8 GB of GPU memory (weights 4.9, cache 1.1, overhead 0.8), and 3.0 GB are there (2.0 free, 1.0 "
            "of the model that goes)",
        ),
        (
            fit(need_of(LLAMA_8B, context=8192, share=1.0), card(20), reserved_share=0.9),
            "it takes 0.9 of the GPU's 24.0 GB, which are 21.6 GB, and 20.0 GB are there",
        ),
        (
            fit(need_of(LLAMA_8B, context=8192, share=1.0), card(20), reserved_share=0.2),
            "it needs 6.8 GB of GPU memory (weights 4.9, cache 1.1, overhead 0.8), and 4.8 GB are what it may take "
            "(0.2 of the GPU's 24.0)",
        ),
        (
            fit(need_of(UNREAD, context=8192), ram(4)),
            "it needs 5.3 GB of memory (weights 4.9, cache not known, overhead 0.4), and 4.0 GB are there",
        ),
        (
            fit(need_of(RECITER, context=512), ram(0.02, total=0.5)),
            "it needs 0.09 GB of memory (weights 0.003, cache 0.001, overhead 0.08), and 0.02 GB are there",
        ),
    ],
)
def test_words_with_figures(found: Fit, sentence: str) -> None:
    assert found.sentence == sentence
    assert not found.fits


def test_what_is_not_known_refuses_nothing() -> None:
    nothing = fit(need_of(Traits(), context=8192), ram(0.1))
    assert nothing.fits
    assert "not known" in nothing.sentence
    # The weights are known and fit; a usual cache would not, and that is only told.
    unread = fit(need_of(UNREAD, context=131072), ram(8))
    assert unread.fits
    assert re.fullmatch(r"the size of its cache is not known; usual are 1\d\.\d GB", unread.note)
    assert need_of(UNREAD, context=8192).usual_cache == pytest.approx(128 * KIB * 8192, rel=0.25)
    assert not fit(need_of(UNREAD, context=8192), ram(4)).fits
    # A GPU that does not tell: only its RAM is looked at.
    blind = fit(need_of(LLAMA_8B, context=8192, share=1.0), ram(1))
    assert blind.fits
    assert blind.note == "how much memory the GPU has is not known"
    assert not fit(need_of(LLAMA_8B, context=8192, share=0.5), ram(1)).fits


@pytest.mark.parametrize(
    ("layers", "asked", "gpu", "share"),
    [
        (32, None, False, 0.0),
        (32, 99, False, 0.0),
        (32, None, True, 1.0),
        (32, -1, True, 1.0),
        (32, 0, True, 0.0),
        (32, 33, True, 1.0),
        (32, 999, True, 1.0),
        (31, 16, True, 0.5),
        (None, 0, True, 0.0),
        (None, 99, True, 1.0),
    ],
)
def test_the_share_of_a_gpu(layers: int | None, asked: int | None, gpu: bool, share: float) -> None:
    assert gpu_share(layers, asked, gpu=gpu) == share


@pytest.mark.parametrize(
    ("word", "size"), [("f16", 2), ("bf16", 2), ("f32", 4), ("q8_0", 34 / 32), ("q4_0", 18 / 32), ("fp8", 1), (None, 2)]
)
def test_numbers_of_a_cache(word: str | None, size: float) -> None:
    assert element_bytes(word) == size


def test_an_engine_that_sets_its_cache_aside_takes_that() -> None:
    need = need_of(LLAMA_8B, context=8192, parallel=4, cache_bytes=4 * GB, program_bytes=2 * GB)
    assert need.ram is not None
    assert need.ram.cache == 4 * GB
    assert need.ram.overhead > 2 * GB
    assert need_of(UNREAD, context=8192, cache_bytes=GB).usual_cache is None


@pytest.mark.parametrize(
    ("most", "asked", "fault"),
    [
        (8192, 8192, None),
        (None, 10**9, None),
        (8192, 8193, "its context is 8192 tokens at most, and 8193 are asked for"),
    ],
)
def test_the_context_that_a_model_was_made_for(most: int | None, asked: int, fault: str | None) -> None:
    assert fault_in_context(Traits(max_context=most), asked) == fault


def test_the_tolerance_is_five_percent_of_what_is_there() -> None:
    assert TOLERANCE == 0.05
    assert fit(Need(Share(105, 0, 0), None), Room(200, 100)).fits
    assert not fit(Need(Share(106, 0, 0), None), Room(200, 100)).fits


def test_the_verdict_is_plain_data() -> None:
    found = fit(need_of(LLAMA_8B, context=8192, share=1.0), card(8)).as_dict()
    assert set(found) == {"fits", "sentence", "note", "need", "room"}
    assert found["need"]["vram"]["weights"] == LLAMA_8B.weights_bytes
    assert found["room"]["vram_total"] == 24 * GB


SIZES = st.integers(1, 10**12)
TRAITS = st.builds(
    Traits, format=st.just(GGUF), quantization=st.sampled_from([None, "Q4_K_M", "odd"]), weights_bytes=SIZES,
    layers=st.none() | st.integers(1, 120), kv_heads=st.none() | st.integers(0, 128), key_size=st.just(128),
    value_size=st.just(128),
)  # fmt: skip
ROOMS = st.builds(Room, SIZES, SIZES, SIZES, st.none() | SIZES, st.none() | SIZES, SIZES)


@given(TRAITS, ROOMS, st.integers(1, 10**6), st.integers(1, 64), st.floats(0, 1), st.booleans())
def test_more_room_never_refuses_and_more_need_never_admits(
    traits: Traits, room: Room, context: int, parallel: int, share: float, spills: bool
) -> None:
    need = need_of(traits, context=context, parallel=parallel, share=share)
    found = fit(need, room, spills=spills)
    larger = Room(*(value if value is None else value * 2 for value in vars(room).values()))
    assert fit(need, larger, spills=spills).fits or not found.fits
    longer = need_of(traits, context=context * 2, parallel=parallel, share=share)
    assert found.fits or not fit(longer, room, spills=spills).fits
    assert " GB " in found.sentence


@given(TRAITS, st.floats(0, 1))
def test_nothing_is_lost_between_ram_and_gpu(traits: Traits, share: float) -> None:
    whole, split = need_of(traits, context=4096).ram, need_of(traits, context=4096, share=share)
    assert whole is not None
    assert split.ram is not None
    parts = split.ram.total + (split.vram.total if split.vram else 0)
    assert abs(parts - whole.total - (GPU_PROGRAM_BYTES if split.vram else 0)) <= 6
