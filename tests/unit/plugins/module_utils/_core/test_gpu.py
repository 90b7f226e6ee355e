# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.gpu import (
    AMD,
    NVIDIA,
    Gpu,
    Holding,
    by_pid,
    from_amd,
    from_nvidia,
    processes_from_amd,
    processes_from_nvidia,
    summed,
)


def test_two_cards_of_nvidia() -> None:
    text = "NVIDIA GeForce RTX 4090, 35, 20000, 24564\nNVIDIA A100-SXM4-40GB, [N/A], 100, 40960\n"
    cards = from_nvidia(text)
    assert cards == [
        Gpu("NVIDIA GeForce RTX 4090", 35.0, 20000, 24564),
        Gpu("NVIDIA A100-SXM4-40GB", None, 100, 40960, NVIDIA, 1),
    ]
    assert summed(cards) == {
        "gpu_usage_percent": 35.0,
        "vram_usage_mb": 20100,
        "vram_total_mb": 65524,
        "vram_usage_percent": 30.7,
    }


def test_cards_have_numbers_and_names_of_their_own() -> None:
    text = "Odd, L4, 35, 20000, 24564, GPU-8932f937-d72c-4106-c12f-20bd9faed9f6\nL4, [N/A], 1, [N/A], GPU-1f\n"
    assert from_nvidia(text) == [
        Gpu("Odd, L4", 35.0, 20000, 24564, NVIDIA, 0, "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"),
        Gpu("L4", None, 1, None, NVIDIA, 1, "GPU-1f"),
    ]
    memory = {"VRAM Total Memory (B)": str(2**34), "VRAM Total Used Memory (B)": "0", "Card Series": "MI210"}
    cards = {f"card{number}": {**memory, "Unique ID": f"0x7F1{number}"} for number in (10, 2)}
    assert from_amd(json.dumps({**cards, "card3": {**memory, "Unique ID": "N/A"}, "cards": memory})) == [
        Gpu("MI210", None, 0, 16384, AMD, 2, "GPU-7f12"),
        Gpu("MI210", None, 0, 16384, AMD, 3, ""),
        Gpu("MI210", None, 0, 16384, AMD, 10, "GPU-7f110"),
    ]


def test_a_card_of_amd() -> None:
    text = json.dumps(
        {
            "card0": {
                "GPU use (%)": "12",
                "VRAM Total Memory (B)": str(16 * 1024**3),
                "VRAM Total Used Memory (B)": str(4 * 1024**3),
                "Card Series": "Radeon RX 7900 XTX",
            },
            "system": {"Driver version": "6.7.0"},
        }
    )
    assert from_amd(text) == [Gpu("Radeon RX 7900 XTX", 12.0, 4096, 16384, AMD)]


def test_words_instead_of_figures() -> None:
    said = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"
    assert from_nvidia(said) == []
    assert from_amd(said) == []
    assert summed([]) == dict.fromkeys(
        ("gpu_usage_percent", "vram_usage_mb", "vram_total_mb", "vram_usage_percent"), None
    )


def test_memory_by_process_of_nvidia() -> None:
    text = "1234, 1000, GPU-1f\n1234, 24, GPU-2a\n77, [N/A], GPU-1f\n8, 1\nNo running processes found\n\n"
    found = processes_from_nvidia(text)
    assert found == [
        Holding(1234, 1000 * 1024 * 1024, NVIDIA, "GPU-1f"),
        Holding(1234, 24 * 1024 * 1024, NVIDIA, "GPU-2a"),
        Holding(77, None, NVIDIA, "GPU-1f"),
        Holding(8, 1024 * 1024, NVIDIA, ""),
    ]
    assert by_pid(found) == {1234: 1024 * 1024 * 1024, 8: 1024 * 1024}


def test_memory_by_process_of_amd() -> None:
    system = {
        "PID12": "llama-server, 1, 4831838208, 0, 12",
        "PID13": "a, b, 2, 5, 0, unknown",
        "Driver version": "6.7.0",
    }
    assert processes_from_amd(json.dumps({"system": system})) == [Holding(12, 4831838208, AMD), Holding(13, 5, AMD)]


@pytest.mark.parametrize(
    "said", ["", "[]", "17", "{}", '{"system": 1}', "WARNING: no device\n", '{"system": {"PIDx": "1"}}', "[" * 100_000]
)
def test_no_memory_by_process_of_amd(said: str) -> None:
    assert processes_from_amd(said) == []
    assert processes_from_nvidia(said) == []
