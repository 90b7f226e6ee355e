# SPDX-License-Identifier: GPL-3.0-or-later
"""What a runtime may have of each GPU: what is free, and what the processes that go hold on it."""

from __future__ import annotations

import json

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.gpu import (
    AMD,
    NVIDIA,
    Gpu,
    Holding,
    from_amd,
    from_nvidia,
    processes_from_amd,
    processes_from_nvidia,
)
from ansible_collections.llmops.fleet.plugins.module_utils._core.room import cards_named, room_of
from ansible_collections.llmops.fleet.plugins.module_utils._core.visible_gpus import sight_of

MIB, GIB = 2**20, 2**30
RAM = (64 * GIB, 32 * GIB)
TWO = from_nvidia("NVIDIA L4, 90, 20480, 24576, GPU-aa\nNVIDIA L4, 0, 4096, 24576, GPU-bb\n")
TWO_AMD = from_amd(
    json.dumps(
        {
            f"card{number}": {
                "VRAM Total Memory (B)": str(64 * GIB),
                "VRAM Total Used Memory (B)": str(used * GIB),
                "Card Series": "Instinct MI210",
            }
            for number, used in enumerate((30, 10))
        }
    )
)
ROCM_SMI = json.dumps({"system": {"PID7": f"vllm, 2, {20 * GIB}, 0, 208", "PID8": f"other, 2, {GIB}, 0, 104"}})


@pytest.mark.parametrize(
    ("cards", "holdings", "going", "freed"),
    [
        (TWO, processes_from_nvidia("7, 19000, GPU-aa\n7, 3000, GPU-bb\n8, 900, GPU-bb\n"), {7}, [19000, 3000]),
        (TWO, processes_from_nvidia("7, 19000, GPU-aa\n8, 900, GPU-bb\n"), {7, 8}, [19000, 900]),
        (TWO, processes_from_nvidia("7, 19000, GPU-aa\n"), set(), [0, 0]),
        # It goes, and has nothing on a GPU.
        (TWO, processes_from_nvidia("8, 19000, GPU-aa\n"), {7}, [0, 0]),
        # No more than what is used.
        (TWO, processes_from_nvidia("7, 30000, GPU-aa\n"), {7}, [20480, 0]),
        # In a container no process is told, and of some there are no figures.
        (TWO, [], {7}, [None, None]),
        (TWO, processes_from_nvidia("7, [N/A], GPU-aa\n"), {7}, [None, 0]),
        (TWO, processes_from_nvidia("8, [N/A], GPU-aa\n"), {7}, [0, 0]),
        # ROCm's tool does not tell on which card.
        (TWO_AMD, processes_from_amd(ROCM_SMI), {7}, [15 * 1024, 5 * 1024]),
        (TWO_AMD[:1], processes_from_amd(ROCM_SMI), {7}, [20 * 1024]),
        # Of the other maker nothing is told.
        (TWO_AMD, processes_from_nvidia("7, 1, GPU-aa\n"), {7}, [None, None]),
        ([Gpu("idle", 0.0, 0, 24576)], [], {7}, [0]),
    ],
)
def test_what_comes_free_on_each_card(
    cards: list[Gpu], holdings: list[Holding], going: set[int], freed: list[int | None]
) -> None:
    room = room_of(RAM, 0, sight_of(cards, {}), holdings, going)
    assert [card.freed for card in room.cards] == [None if each is None else each * MIB for each in freed]
    assert all(card.there <= card.total for card in room.cards)


def test_what_is_shared_out_is_told() -> None:
    sight = sight_of(TWO_AMD, {"ROCR_VISIBLE_DEVICES": "1"})
    room = room_of(RAM, 0, sight, processes_from_amd(ROCM_SMI), {7})
    assert [(card.index, card.freed) for card in room.cards] == [(1, 5 * GIB)]
    assert room.notes == (
        "it sees no other GPU (ROCR_VISIBLE_DEVICES=1)",
        "on which GPU the model that goes holds how much is not told, so it is shared out by what is used",
    )
    assert len(room_of(RAM, 0, sight, processes_from_amd(ROCM_SMI), {9}).notes) == 1


def test_cards_that_do_not_tell() -> None:
    shared = from_nvidia("NVIDIA GB10, 0, [N/A], [N/A], GPU-aa\n")
    room = room_of(RAM, 0, sight_of(shared, {}), [], ())
    assert (room.gpu, room.cards) == (False, ())
    assert room.notes == ("how much memory GPU 0 (NVIDIA GB10) has is not known, so the host's is counted",)
    mixed = room_of(RAM, 0, sight_of([*TWO, Gpu("odd", None, None, 8192, AMD)], {}), [], ())
    assert (mixed.gpu, mixed.cards) == (True, ())
    assert mixed.notes == ("how much memory GPU 0 (odd) has is not known",)
    part = room_of(RAM, 0, sight_of(TWO, {"CUDA_VISIBLE_DEVICES": "MIG-1"}), [], ())
    assert (part.gpu, part.cards, len(part.notes)) == (True, (), 1)


@pytest.mark.parametrize(
    ("cards", "named"),
    [
        (TWO[:1], "GPU 0 (NVIDIA L4)"),
        (TWO, "GPUs 0 and 1 (NVIDIA L4)"),
        ([*TWO, Gpu("NVIDIA L4", None, 0, 1, NVIDIA, 5)], "GPUs 0, 1 and 5 (NVIDIA L4)"),
        ([*TWO, TWO_AMD[1]], "GPUs 0 and 1 (NVIDIA L4) and GPU 1 (Instinct MI210)"),
    ],
)
def test_names_of_cards(cards: list[Gpu], named: str) -> None:
    assert cards_named(cards) == named
