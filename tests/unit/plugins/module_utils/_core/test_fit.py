# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a model fits: known models on known machines, and words that have the figures."""

from __future__ import annotations

import re
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.fit import (
    GPU_PROGRAM_BYTES,
    PROGRAM_BYTES,
    TOLERANCE,
    Fit,
    Need,
    Share,
    element_bytes,
    fault_in_context,
    fit,
    gpu_share,
    need_of,
)
from ansible_collections.llmops.fleet.plugins.module_utils._core.room import CardRoom, Room
from ansible_collections.llmops.fleet.plugins.module_utils._core.traits import GGUF, Traits
from hypothesis import given
from hypothesis import strategies as st

GB = 10**9
GIB = 2**30
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
    return Room(64 * GB, int(free_ram * GB), cards=(one_card(0, free, total=total, freed=freed),))


def one_card(index: int, free: float, *, total: float = 24, freed: float | None = 0, unit: int = GB) -> CardRoom:
    known = None if freed is None else int(freed * unit)
    return CardRoom("NVIDIA L4", index, int(total * unit), int(free * unit), known)


def gib(free: float, *cards: CardRoom, total: float = 64, freed: float | None = 0, limit: float | None = None) -> Room:
    """A host of so many GiB, of which so many are free, and its cards."""
    known, most = (None if value is None else int(value * GIB) for value in (freed, limit))
    return Room(int(total * GIB), int(free * GIB), known, most, cards)


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
    each = 1 if "reserved_share" in options else None
    need = need_of(traits, context=context, share=gpu_share(traits.layers, layers, gpu=True), cards=each)
    found = fit(need, room, **options)
    assert found.fits is fits, found.sentence


L4 = "GPU 0 (NVIDIA L4)"
IN_RAM = Need(Share(int(7.6 * GIB), GIB, GIB // 2), None)
ON_GPU = Need(Share(0, 0, GIB // 4), Share(6 * GIB, GIB, GIB // 2))
ON_EACH = Need(Share(0, 0, GIB // 4), Share(6 * GIB, GIB, GIB // 2), cards=2)
NEEDS_RAM = "it needs 9.1 GiB of memory (weights 7.6, cache 1.0, overhead 0.5), and"
PARTS = "(weights 6.0, cache 1.0, overhead 0.5)"


@pytest.mark.parametrize(
    ("found", "sentence", "remedy"),
    [
        (
            fit(IN_RAM, gib(4, freed=2.2)),
            f"{NEEDS_RAM} 6.2 GiB are there (4.0 free, 2.2 of the model that goes)",
            "stop another runtime",
        ),
        (fit(IN_RAM, gib(4)), f"{NEEDS_RAM} 4.0 GiB are there", "stop another runtime"),
        (
            fit(IN_RAM, gib(4, freed=None)),
            f"{NEEDS_RAM} 4.0 GiB are there (what the model that goes holds of it is not known)",
            "stop another runtime",
        ),
        (fit(IN_RAM, gib(8, total=5)), f"{NEEDS_RAM} 5.0 GiB are all that it may have", "stop another runtime"),
        (
            fit(IN_RAM, gib(30, limit=8)),
            f"{NEEDS_RAM} 8.0 GiB are all that it may have (MemoryMax of its unit)",
            "raise memory_max of the runtime",
        ),
        # A limit that is above what is there does not decide.
        (fit(IN_RAM, gib(6, limit=8)), f"{NEEDS_RAM} 6.0 GiB are there", "stop another runtime"),
        (
            fit(ON_GPU, gib(30, one_card(0, 2, freed=1, unit=GIB))),
            f"it needs 7.5 GiB of memory on {L4} {PARTS}, and 3.0 GiB are there (2.0 free, 1.0 of the model that goes)",
            "let it see other GPUs",
        ),
        (
            fit(ON_GPU, gib(30, one_card(0, 2, freed=None, unit=GIB), one_card(3, 1, unit=GIB))),
            f"it needs 7.5 GiB of memory on GPUs 0 and 3 (NVIDIA L4) {PARTS}, and 3.0 GiB are there (what the model that "
            "goes holds of it is not known)",
            "let it see other GPUs",
        ),
        (
            fit(ON_GPU, gib(3, one_card(0, 2, freed=1, unit=GIB), freed=0.5), spills=True),
            f"it needs 7.8 GiB of memory, the GPU's included, (weights 6.0, cache 1.0, overhead 0.8), and 6.5 GiB are there "
            f"(3.5 of the host, 3.0 on {L4}, 1.5 of all that of the model that goes)",
            "stop what else is on the GPU",
        ),
        (
            fit(ON_GPU, gib(30, one_card(0, 2, freed=None, unit=GIB), limit=4), spills=True),
            f"it needs 7.8 GiB of memory, the GPU's included, (weights 6.0, cache 1.0, overhead 0.8), and 6.0 GiB are there "
            f"(4.0 of the MemoryMax of its unit, 2.0 on {L4}, and what the model that goes holds is not known)",
            "raise memory_max of the runtime",
        ),
        # The sum would do, and each card by itself does not.
        (
            fit(ON_EACH, gib(30, one_card(0, 20, unit=GIB), one_card(1, 5, unit=GIB))),
            f"it needs 7.5 GiB of memory on GPU 1 (NVIDIA L4) {PARTS}, and 5.0 GiB are there",
            "let it see other GPUs",
        ),
        (
            fit(ON_EACH, gib(30, one_card(0, 23, unit=GIB), one_card(1, 20, unit=GIB)), reserved_share=0.9),
            "it takes 0.9 of the 24.0 GiB of GPU 1 (NVIDIA L4), which are 21.6 GiB, and 20.0 GiB are there",
            "let it take a smaller share of the GPU",
        ),
        (
            fit(ON_EACH, gib(30, one_card(0, 23, unit=GIB), one_card(1, 23, unit=GIB)), reserved_share=0.2),
            f"it needs 7.5 GiB of memory on {L4} {PARTS}, and 4.8 GiB are what it may take (0.2 of 24.0)",
            "let it take a larger share of the GPU",
        ),
        (
            fit(ON_EACH, gib(30, one_card(2, 23, unit=GIB))),
            "it is to work on 2 GPUs, and sees GPU 2 (NVIDIA L4)",
            "let it work on fewer GPUs",
        ),
        (
            fit(need_of(UNREAD, context=8192), gib(4)),
            "it needs 5.0 GiB of memory (weights 4.6, cache not known, overhead 0.4), and 4.0 GiB are there",
            "take a smaller model, context or parallelism",
        ),
        (
            fit(need_of(RECITER, context=512), gib(0.02, total=0.5)),
            "it needs 0.08 GiB of memory (weights 0.003, cache 0.001, overhead 0.08), and 0.02 GiB are there",
            "stop another runtime",
        ),
    ],
)
def test_words_with_figures_and_a_remedy(found: Fit, sentence: str, remedy: str) -> None:
    assert found.sentence == sentence
    assert not found.fits
    assert remedy in found.ways
    assert re.fullmatch(r"[A-Z][^.]*, or set fit: warn\.", found.remedy("set fit: warn"))


def test_what_limits_it_is_part_of_the_words() -> None:
    room = Room(8 * GIB, 4 * GIB, notes=("it sees no GPU (CUDA_VISIBLE_DEVICES=-1)",))
    found = fit(IN_RAM, room)
    assert found.words == f"{NEEDS_RAM} 4.0 GiB are there; it sees no GPU (CUDA_VISIBLE_DEVICES=-1)"
    assert found.remedy() == "Take a smaller model, context or parallelism, or stop another runtime."


def test_a_card_that_is_not_used_does_not_count() -> None:
    need = Need(Share(0, 0, 0), Share(6 * GIB, GIB, 0), cards=1)
    assert not fit(need, gib(30, one_card(0, 5, unit=GIB), one_card(1, 24, unit=GIB))).fits
    assert fit(need, gib(30, one_card(1, 24, unit=GIB), one_card(0, 5, unit=GIB))).fits


def test_what_is_not_known_refuses_nothing() -> None:
    nothing = fit(need_of(Traits(), context=8192), ram(0.1))
    assert nothing.fits
    assert "not known" in nothing.sentence
    # The weights are known and fit; a usual cache would not, and that is only told.
    unread = fit(need_of(UNREAD, context=131072), ram(8))
    assert unread.fits
    assert re.fullmatch(r"the size of its cache is not known; usual are 1\d\.\d GiB", unread.note)
    assert need_of(UNREAD, context=8192).usual_cache == pytest.approx(128 * KIB * 8192, rel=0.25)
    assert not fit(need_of(UNREAD, context=8192), ram(4)).fits
    # A GPU that does not tell: only its RAM is looked at.
    blind = Room(64 * GB, GB, gpu_unknown=True, notes=("how much memory GPU 0 has is not known",))
    assert blind.gpu
    told = fit(need_of(LLAMA_8B, context=8192, share=1.0), blind)
    assert told.fits
    assert told.note == "how much memory GPU 0 has is not known"
    assert not fit(need_of(LLAMA_8B, context=8192, share=0.5), blind).fits


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
    assert set(found) == {"fits", "sentence", "ways", "note", "need", "room"}
    assert found["need"]["vram"]["weights"] == LLAMA_8B.weights_bytes
    assert found["room"]["cards"][0]["total"] == 24 * GB


SIZES = st.integers(1, 10**12)
TRAITS = st.builds(
    Traits, format=st.just(GGUF), quantization=st.sampled_from([None, "Q4_K_M", "odd"]), weights_bytes=SIZES,
    layers=st.none() | st.integers(1, 120), kv_heads=st.none() | st.integers(0, 128), key_size=st.just(128),
    value_size=st.just(128),
)  # fmt: skip
CARDS = st.builds(CardRoom, st.just("L4"), st.integers(0, 7), SIZES, SIZES, st.none() | SIZES)
ROOMS = st.builds(Room, SIZES, SIZES, st.none() | SIZES, st.none() | SIZES, st.lists(CARDS, max_size=3).map(tuple))


Figures = t.TypeVar("Figures", Room, CardRoom)


def twice(figures: Figures) -> Figures:
    sizes = {name: value for name, value in vars(figures).items() if isinstance(value, int) and name != "index"}
    return replace(figures, **{name: value * 2 for name, value in sizes.items() if not isinstance(value, bool)})


@given(TRAITS, ROOMS, st.integers(1, 10**6), st.integers(1, 64), st.floats(0, 1), st.booleans())
def test_more_room_never_refuses_and_more_need_never_admits(
    traits: Traits, room: Room, context: int, parallel: int, share: float, spills: bool
) -> None:
    need = need_of(traits, context=context, parallel=parallel, share=share)
    found = fit(need, room, spills=spills)
    larger = replace(twice(room), cards=tuple(twice(card) for card in room.cards))
    assert fit(need, larger, spills=spills).fits or not found.fits
    longer = need_of(traits, context=context * 2, parallel=parallel, share=share)
    assert found.fits or not fit(longer, room, spills=spills).fits
    assert " GiB " in found.sentence


@given(TRAITS, st.floats(0, 1))
def test_nothing_is_lost_between_ram_and_gpu(traits: Traits, share: float) -> None:
    whole, split = need_of(traits, context=4096).ram, need_of(traits, context=4096, share=share)
    assert whole is not None
    assert split.ram is not None
    parts = split.ram.total + (split.vram.total if split.vram else 0)
    assert abs(parts - whole.total - (GPU_PROGRAM_BYTES if split.vram else 0)) <= 6
