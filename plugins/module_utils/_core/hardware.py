# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory a host needs for a model: a table that people know, read smoothly between its rows.

The table is for Q4_K_M, with the operating system, the program and a context of 4096 tokens in it:

    3B (Llama 3.2)         8 GB at least, 12 GB recommended
    7B (Qwen, Mistral)    16 GB at least, 24 GB recommended
    14B (Qwen)            32 GB at least, 48 GB recommended
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .model import GB

_RECOMMENDED = 1.5
# An idle host with a program that serves next to nothing.
_LEAST = 2.0
# Bits a weight, whole file, as llama.cpp measures it for Llama 3.1 8B (tools/quantize/README.md). What that list lacks is
# by its format: a block of 32 weights with one or two scales (Q4_0 …), MXFP4, and Q3_K_M between its neighbours.
_BITS = {
    "IQ1_S": 2.0, "IQ1_M": 2.15, "IQ2_XXS": 2.38, "IQ2_XS": 2.59, "IQ2_S": 2.74, "IQ2_M": 2.93, "Q2_K_S": 2.97,
    "Q2_K": 3.16, "IQ3_XXS": 3.25, "IQ3_XS": 3.5, "IQ3_S": 3.66, "IQ3_M": 3.76, "Q3_K_S": 3.64, "Q3_K_M": 4.0,
    "Q3_K": 4.0, "Q3_K_L": 4.3, "IQ4_XS": 4.46, "IQ4_NL": 4.68, "MXFP4": 4.25, "Q4_0": 4.5, "Q4_1": 5.0,
    "Q4_K_S": 4.67, "Q4_K_M": 4.89, "Q4_K": 4.89, "Q5_0": 5.5, "Q5_1": 6.0, "Q5_K_S": 5.57, "Q5_K_M": 5.7,
    "Q5_K": 5.7, "Q6_K": 6.56, "Q8_0": 8.5, "FP8": 8.0, "F8": 8.0, "F16": 16.0, "FP16": 16.0, "BF16": 16.0,
    "F32": 32.0, "FP32": 32.0,
}  # fmt: skip
_TABLE_QUANTIZATION = "Q4_K_M"
# A row holds for what is sold under its name: Llama 3.2 "3B" has 3.2 billion weights, Qwen 2.5 "7B" 7.6 and Mistral
# "7B" 7.2, Qwen 2.5 "14B" 14.8 (the models' cards), so between those the least memory stays the row's.
_BY_PARAMETERS = (
    (0.0, _LEAST), (3.0, 8.0), (3.25, 8.0), (7.0, 16.0), (7.65, 16.0), (14.0, 32.0), (14.8, 32.0),
)  # fmt: skip
# The same models' files at Q4_K_M, in GB: Docker's catalogue and Ollama's library say 2.0; 4.4 and 4.7; 8.9 and 9.0.
_BY_SIZE = ((0.0, _LEAST), (2.0, 8.0), (2.05, 8.0), (4.35, 16.0), (4.7, 16.0), (8.9, 32.0), (9.05, 32.0))
# Where the table ends, the host's own share is in it: more weights cost their file and a fifth for buffers.
_BEYOND = 1.2
# Bytes of cache that a token takes at 16 bits, for one billion weights; it grows about with the root of the weights:
# Llama 3.2 3B 112 KiB, Llama 3.1 8B 128 KiB, Qwen 2.5 14B 192 KiB, Llama 3.1 70B 320 KiB (layers, heads: config.json).
_TOKEN_BYTES = 50 * 1024
_COUNT = re.compile(r"(?<![\w.])(?:(\d+)\s*x\s*)?(\d+(?:\.\d+)?)\s*([MBT])(?![A-Za-z])", re.IGNORECASE)
_SCALE = {"M": 1e6, "B": 1e9, "T": 1e12}


@dataclass(frozen=True)
class Needs:
    """Memory of a host in GB (10^9 bytes), so that what is sold as 16 GB passes for 16. None is unknown."""

    ram_min_gb: float | None
    ram_recommended_gb: float | None

    def fits(self, memory_gb: float | None) -> bool:
        """Whether a host with that much memory has at least the least; what is unknown does not fit."""
        return self.ram_min_gb is not None and memory_gb is not None and memory_gb >= self.ram_min_gb


def needs(parameters: float | None, quantization: str | None, size_bytes: int | None = None) -> Needs:
    """What a model needs: from the real size of its files where it is known, else from its number of weights.

    `parameters` is a count (7e9). A quantization that is unknown or not named counts as Q4_K_M, the table's.
    """
    if size_bytes:
        least = _read(_BY_SIZE, size_bytes / GB, _BEYOND)
    elif parameters:
        usual = _BITS[_TABLE_QUANTIZATION]
        bits = _BITS.get((quantization or "").upper(), usual)
        least = _read(_BY_PARAMETERS, parameters / 1e9 * bits / usual, _BEYOND * usual / 8)
    else:
        return Needs(None, None)
    return Needs(round(least, 1), round(least * _RECOMMENDED, 1))


def usual_token_bytes(parameters: float) -> float:
    """Bytes of cache that a token takes at 16 bits in a usual model of so many weights (7e9)."""
    return float(_TOKEN_BYTES * (parameters / 1e9) ** 0.5)


def bits_of(quantization: str | None) -> float | None:
    """Bits that one number takes in a format (`Q4_K_M`, `q8_0`, `f16`), its scales included; None where unknown."""
    return _BITS.get((quantization or "").upper())


def _read(table: t.Sequence[tuple[float, float]], at: float, beyond: float) -> float:
    """A value between two rows lies on the line between them; after the last it rises by `beyond` for each one."""
    for (low, below), (high, above) in zip(table, table[1:]):
        if at <= high:
            return below + (above - below) * (at - low) / (high - low)
    last, value = table[-1]
    return value + (at - last) * beyond


def parameters_in(text: str) -> float | None:
    """The number of weights in a name or label: `7b`, `Qwen2.5-7B-Instruct`, `361.82 M`, `8x7B`; the first that is one.

    Thousands are not read: `128K` is a context.
    """
    found = _count(text)
    return float(found[2]) * _SCALE[found[3].upper()] * int(found[1] or 1) if found else None


def parameters_written(text: str) -> str | None:
    """The number of weights as a name has it: `0.5B` of `qwen2.5:0.5b`."""
    found = _count(text)
    return re.sub(r"\s", "", found[0]).upper().replace("X", "x") if found else None


def _count(text: str) -> re.Match[str] | None:
    return _COUNT.search(re.sub(r"[-_:/]", " ", text))


def parameters_label(count: float | None) -> str | None:
    """A number of weights as people write it: `7B`, `7.6B`, `361.8M`."""
    if not count:
        return None
    unit = next((unit for unit in "TBM" if round(count / _SCALE[unit], 1) >= 1), "M")
    return f"{round(count / _SCALE[unit], 1):g}{unit}"


def quantization_in(text: str) -> str | None:
    """The quantization that a name carries as a word of its own, in the spelling of GGUF: `7b-instruct-q4_K_M`."""
    words = {word.upper() for word in re.split(r"[^\w]+", text)}
    return next((name for name in sorted(_BITS, key=len, reverse=True) if name in words), None)
