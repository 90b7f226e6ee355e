# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.gpu import (
    Gpu,
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
        Gpu("NVIDIA A100-SXM4-40GB", None, 100, 40960),
    ]
    assert summed(cards) == {
        "gpu_usage_percent": 35.0,
        "vram_usage_mb": 20100,
        "vram_total_mb": 65524,
        "vram_usage_percent": 30.7,
    }


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
    assert from_amd(text) == [Gpu("Radeon RX 7900 XTX", 12.0, 4096, 16384)]


def test_words_instead_of_figures() -> None:
    said = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"
    assert from_nvidia(said) == []
    assert from_amd(said) == []
    assert summed([]) == dict.fromkeys(
        ("gpu_usage_percent", "vram_usage_mb", "vram_total_mb", "vram_usage_percent"), None
    )


def test_memory_by_process_of_nvidia() -> None:
    text = "1234, 1000\n1234, 24\n77, [N/A]\nNo running processes found\n\n"
    assert processes_from_nvidia(text) == {1234: 1024 * 1024 * 1024}


def test_memory_by_process_of_amd() -> None:
    system = {
        "PID12": "llama-server, 1, 4831838208, 0, 12",
        "PID13": "a, b, 2, 5, 0, unknown",
        "Driver version": "6.7.0",
    }
    assert processes_from_amd(json.dumps({"system": system})) == {12: 4831838208, 13: 5}


@pytest.mark.parametrize(
    "said", ["", "[]", "17", "{}", '{"system": 1}', "WARNING: no device\n", '{"system": {"PIDx": "1"}}']
)
def test_no_memory_by_process_of_amd(said: str) -> None:
    assert processes_from_amd(said) == {}
    assert processes_from_nvidia(said) == {}
