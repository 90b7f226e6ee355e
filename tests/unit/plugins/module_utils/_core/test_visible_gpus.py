# SPDX-License-Identifier: GPL-3.0-or-later
"""Which GPUs a program sees: what the makers' manuals say of their variables."""

from __future__ import annotations

import json

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.gpu import Gpu, from_amd, from_nvidia
from ansible_collections.llmops.fleet.plugins.module_utils._core.visible_gpus import sight_of

L4 = "NVIDIA L4, 0, 1000, 23034, "
FOUR = from_nvidia("".join(f"{L4}GPU-{number}932f937-d72c-4106-c12f-20bd9faed9f{number}\n" for number in range(4)))
MIXED = from_nvidia("GeForce GT 1030, 0, 100, 2048, GPU-aa\nGeForce RTX 4090, 0, 100, 24564, GPU-bb\n")
MEMORY = {"VRAM Total Memory (B)": str(2**36), "VRAM Total Used Memory (B)": "0", "Card Series": "Instinct MI210"}
THREE_AMD = from_amd(
    json.dumps({f"card{number}": {**MEMORY, "Unique ID": f"0x{number}beefdead"} for number in range(3)})
)
CUDA, ROCR, HIP = "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"


@pytest.mark.parametrize(
    ("cards", "environment", "indices"),
    [
        (FOUR, {}, [0, 1, 2, 3]),
        (FOUR, {CUDA: "1"}, [1]),
        (FOUR, {CUDA: "2, 1"}, [2, 1]),
        (FOUR, {CUDA: ""}, []),
        (FOUR, {CUDA: "-1"}, []),
        (FOUR, {CUDA: "none"}, []),
        # What comes after one that is not there is not seen; nor after one that is named twice.
        (FOUR, {CUDA: "0,2,-1,1"}, [0, 2]),
        (FOUR, {CUDA: "3,4,0"}, [3]),
        (FOUR, {CUDA: "0,0"}, [0]),
        (FOUR, {CUDA: "GPU-2932f937-d72c-4106-c12f-20bd9faed9f2"}, [2]),
        (FOUR, {CUDA: "GPU-3932,GPU-0"}, [3, 0]),
        (FOUR, {CUDA: "GPU-"}, []),
        (FOUR, {CUDA: "GPU-ffff"}, []),
        (FOUR, {CUDA: "²"}, []),
        (FOUR, {ROCR: "", HIP: ""}, [0, 1, 2, 3]),
        (THREE_AMD, {}, [0, 1, 2]),
        (THREE_AMD, {ROCR: "2,0"}, [2, 0]),
        (THREE_AMD, {HIP: "1"}, [1]),
        (THREE_AMD, {CUDA: "1"}, [1]),
        (THREE_AMD, {CUDA: "1", HIP: "2"}, [2]),
        # The second counts among what the first has left.
        (THREE_AMD, {ROCR: "1,2", HIP: "1"}, [2]),
        (THREE_AMD, {ROCR: "0,GPU-2BEEF-DEAD"}, [0, 2]),
        (THREE_AMD, {ROCR: ""}, []),
        (THREE_AMD, {HIP: "-1"}, []),
        ([*FOUR[:1], *THREE_AMD[:2]], {CUDA: "", HIP: "1"}, [1]),
        # CUDA begins with the fastest one, unless it is told to count by slots.
        (MIXED, {}, [1, 0]),
        (MIXED, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, [0, 1]),
        ([], {CUDA: "0"}, []),
    ],
)
def test_what_is_seen(cards: list[Gpu], environment: dict[str, str], indices: list[int]) -> None:
    sight = sight_of(cards, environment)
    assert [card.index for card in sight.cards] == indices
    assert sight.gpu is bool(indices)
    assert sight.there == tuple(cards)


@pytest.mark.parametrize(
    ("cards", "environment", "note"),
    [
        (FOUR, {}, ""),
        (FOUR, {CUDA: "0,1,2,3"}, ""),
        ([], {CUDA: ""}, ""),
        (FOUR, {CUDA: "1"}, "it sees no other GPU (CUDA_VISIBLE_DEVICES=1)"),
        (FOUR, {CUDA: "", HIP: "1"}, "it sees no GPU (CUDA_VISIBLE_DEVICES=)"),
        (THREE_AMD, {ROCR: "1", HIP: "-1"}, "it sees no GPU (ROCR_VISIBLE_DEVICES=1, HIP_VISIBLE_DEVICES=-1)"),
        (
            MIXED,
            {CUDA: "0"},
            "GPUs are counted as nvidia-smi does (CUDA_VISIBLE_DEVICES=0), and CUDA may do otherwise without "
            "CUDA_DEVICE_ORDER=PCI_BUS_ID",
        ),
        (MIXED, {CUDA: "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, "it sees no other GPU (CUDA_VISIBLE_DEVICES=0)"),
        (MIXED, {CUDA: "GPU-bb"}, "it sees no other GPU (CUDA_VISIBLE_DEVICES=GPU-bb)"),
    ],
)
def test_what_is_told_of_it(cards: list[Gpu], environment: dict[str, str], note: str) -> None:
    assert sight_of(cards, environment).note == note


@pytest.mark.parametrize(
    ("cards", "name"),
    [(FOUR, "MIG-41b35014-942a-5594"), (from_nvidia("NVIDIA L4, 0, 1000, 23034\n"), "GPU-8932f937")],
)
def test_one_that_cannot_be_told_from_the_others(cards: list[Gpu], name: str) -> None:
    sight = sight_of(cards, {CUDA: name})
    assert (sight.cards, sight.unknown, sight.gpu) == ((), True, True)
    assert sight.note == f"how much memory {name} has is not known (CUDA_VISIBLE_DEVICES={name})"
