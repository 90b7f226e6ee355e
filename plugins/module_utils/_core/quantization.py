# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantizations by name, as GGUF files carry them in their file names."""

from __future__ import annotations

import re


def has_quantization(path: str, quantization: str) -> bool:
    """Whether a GGUF file is of that quantization: `qwen-q4_k_m.gguf`, its parts, or a folder of that name.

    The name must stand alone, so that `q4_k` does not take `q4_k_m` as well.
    """
    lower = path.lower()
    if not lower.endswith(".gguf"):
        return False
    word = re.escape(quantization.lower())
    return re.search(rf"(^|[-._/]){word}([-./]|$)", lower) is not None
