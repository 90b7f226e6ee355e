# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model needs: the table at its points, rising between them, for any model."""

from __future__ import annotations

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.hardware import (
    Needs,
    needs,
    parameters_in,
    parameters_label,
    parameters_written,
    quantization_in,
)
from hypothesis import given
from hypothesis import strategies as st

GB = 10**9
WEIGHTS = st.floats(1e6, 2e12)
SIZES = st.integers(10**6, 2 * 10**12)
QUANTIZATIONS = st.sampled_from([None, "Q2_K", "Q4_K_M", "Q8_0", "F16", "no such"])


@pytest.mark.parametrize(("billions", "least", "recommended"), [(3, 8, 12), (7, 16, 24), (14, 32, 48)])
def test_the_table_is_hit_by_parameters(billions: int, least: int, recommended: int) -> None:
    assert needs(billions * 1e9, "Q4_K_M") == Needs(least, recommended)
    assert needs(billions * 1e9, None) == Needs(least, recommended)
    assert needs(billions * 1e9, "q4_k_m") == Needs(least, recommended)


@pytest.mark.parametrize(
    ("model", "count", "size", "least"),
    [
        ("Llama 3.2 3B", 3_212_749_824, 2_019_377_376, 8),
        ("Mistral 7B", 7_248_023_552, 4_372_811_936, 16),
        ("Qwen 2.5 7B", 7_615_616_512, 4_683_073_536, 16),
        ("Qwen 2.5 14B", 14_770_033_664, 8_988_110_272, 32),
        ("the list without a network, 7B", 7e9, 4.4 * GB, 16),
        ("the list without a network, 14B", 14e9, 8.9 * GB, 32),
    ],
)
def test_the_models_of_the_table_need_what_it_says(model: str, count: float, size: float, least: int) -> None:
    assert needs(count, "Q4_K_M") == Needs(least, least * 1.5), model
    assert needs(count, "Q4_K_M", int(size)) == Needs(least, least * 1.5), model


def test_the_real_size_counts_more_than_the_number_of_weights() -> None:
    assert needs(7e9, "Q4_K_M", 8_098_525_888) == needs(None, None, 8_098_525_888)
    assert needs(7e9, "Q8_0").ram_min_gb == pytest.approx(needs(7e9, None, 7_640_000_000).ram_min_gb, rel=0.1)


def test_what_is_unknown_stays_unknown_and_does_not_fit() -> None:
    assert needs(None, "Q4_K_M") == Needs(None, None)
    assert not needs(None, None).fits(1_000)
    assert not needs(7e9, None).fits(None)
    assert needs(7e9, None).fits(16)
    assert not needs(7e9, None).fits(15.9)


@given(WEIGHTS, WEIGHTS, QUANTIZATIONS)
def test_more_weights_never_need_less(one: float, other: float, quantization: str | None) -> None:
    few, many = (needs(count, quantization) for count in sorted((one, other)))
    assert few.ram_min_gb is not None
    assert many.ram_min_gb is not None
    assert 2 <= few.ram_min_gb <= many.ram_min_gb


@given(SIZES, SIZES, WEIGHTS)
def test_a_larger_file_never_needs_less(one: int, other: int, weights: float) -> None:
    small, large = (needs(weights, None, size) for size in sorted((one, other)))
    assert small.ram_min_gb is not None
    assert large.ram_min_gb is not None
    assert small.ram_min_gb <= large.ram_min_gb
    assert large.ram_min_gb > max(one, other) / GB, "it must hold the file"


@given(st.floats(1e6, 1e11))
def test_it_grows_without_steps(weights: float) -> None:
    here, there = needs(weights, None), needs(weights * 1.001, None)
    assert here.ram_min_gb is not None
    assert there.ram_min_gb is not None
    assert there.ram_min_gb - here.ram_min_gb <= 0.1 + weights * 0.001 / 1e9 * 3


@given(WEIGHTS, QUANTIZATIONS)
def test_recommended_is_half_as_much_again(weights: float, quantization: str | None) -> None:
    need = needs(weights, quantization)
    assert need.ram_min_gb is not None
    assert need.ram_recommended_gb is not None
    assert need.ram_recommended_gb == pytest.approx(need.ram_min_gb * 1.5, abs=0.15)


@pytest.mark.parametrize(
    ("text", "count", "written"),
    [
        ("7b", 7e9, "7B"),
        ("qwen2.5:0.5b-instruct", 0.5e9, "0.5B"),
        ("Qwen/Qwen2.5-7B-Instruct-1M", 7e9, "7B"),
        ("361.82 M", 361.82e6, "361.82M"),
        ("Mixtral-8x7B-v0.1", 56e9, "8x7B"),
        ("360M-Q4_K_M", 360e6, "360M"),
        ("qwen3:30b-a3b", 30e9, "30B"),
        ("gemma-2-2b-it", 2e9, "2B"),
        ("Phi-3-mini-128k", None, None),
        ("some-4-bit-model", None, None),
        ("llama3.2", None, None),
        ("latest", None, None),
        ("", None, None),
    ],
)
def test_weights_are_read_from_names(text: str, count: float | None, written: str | None) -> None:
    assert parameters_in(text) == (None if count is None else pytest.approx(count))
    assert parameters_written(text) == written


@pytest.mark.parametrize(
    ("count", "label"),
    [
        (7e9, "7B"),
        (7_615_616_512, "7.6B"),
        (361_821_120, "361.8M"),
        (1.2e12, "1.2T"),
        (999_990_000, "1B"),
        (None, None),
    ],
)
def test_weights_are_written_for_people(count: float | None, label: str | None) -> None:
    assert parameters_label(count) == label


@pytest.mark.parametrize(
    ("name", "quantization"),
    [
        ("7b-instruct-q4_K_M", "Q4_K_M"),
        ("3B-Q4_K_M", "Q4_K_M"),
        ("1B-F16", "F16"),
        ("20b-mxfp4", "MXFP4"),
        ("model.Q3_K_L.gguf", "Q3_K_L"),
        ("7b", None),
        ("q4you", None),
    ],
)
def test_a_quantization_is_read_from_a_name(name: str, quantization: str | None) -> None:
    assert quantization_in(name) == quantization
