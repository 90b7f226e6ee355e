# SPDX-License-Identifier: GPL-3.0-or-later
"""A model is held against the GPUs that its runtime sees, and the memory that its unit may have."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.engine import READY, Health, Served
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.generation import TRYING, Generation, ModelIdentity
from ansible_collections.llmops.fleet.plugins.module_utils._core.runtime import complete
from ansible_collections.llmops.fleet.plugins.module_utils._core.supervisor import Process
from ansible_collections.llmops.fleet.plugins.module_utils._core.traits import GGUF, SAFETENSORS, Traits
from ansible_collections.llmops.fleet.plugins.module_utils._engines.ollama import Ollama
from ansible_collections.llmops.fleet.plugins.module_utils._engines.registry import engine_named
from ansible_collections.llmops.fleet.plugins.module_utils._host import gpu, processes, room
from ansible_collections.llmops.fleet.plugins.module_utils._work import check_fit as module
from ansible_collections.llmops.fleet.plugins.module_utils._work.check_fit import check_fit
from ansible_collections.llmops.fleet.plugins.module_utils._work.side import Side

GIB = 2**30
# The second has 6 GiB left, the first 22.
CARDS = "NVIDIA L4, 0, 2048, 24576, GPU-aa11\nNVIDIA L4, 90, 18432, 24576, GPU-bb22"
ROCM_SMI = (
    '{"card0": {"VRAM Total Memory (B)": "68719476736", "VRAM Total Used Memory (B)": "0", "Card Series": "MI210"},'
    ' "card1": {"VRAM Total Memory (B)": "8589934592", "VRAM Total Used Memory (B)": "0", "Card Series": "MI210"}}'
)


def model(form: str = GGUF, gib: float = 10) -> Traits:
    # 128 KiB of cache for a token: 0.5 GiB for 4096.
    return Traits(form, "llama", None, 131072, int(gib * GIB), 32, 8, 128, 128)


Check = t.Callable[..., list[str]]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[str, str], None]:
    """A machine of 64 GiB, 32 of them available, and GPU tools that print as recorded."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(gpu, "PLACES", (str(tmp_path),))
    monkeypatch.setattr(processes, "memory", lambda: (64 * GIB, 32 * GIB))
    monkeypatch.setattr(room, "cgroup_limits", lambda _root: [])

    def tool(name: str, cards: str, held: str = "") -> None:
        program = tmp_path / name
        program.write_text(
            f"#!/bin/sh\ncase \"$*\" in *compute-apps*|*showpids*) echo '{held}';; *) echo '{cards}';; esac\n"
        )
        program.chmod(0o755)

    return tool


@pytest.fixture
def check(host: t.Any, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Hold a model against the host for a runtime of these options."""

    def run(
        traits: Traits, engine: str = "llama_cpp", *, going: t.Sequence[int] = (), unit: str = "", **asked: t.Any
    ) -> list[str]:
        monkeypatch.setattr(module, "read_traits", lambda _record: traits)
        program = engine_named(engine)
        wish = {"engine": engine, "engine_version": "1", "model": "qwen", **asked}
        spec = complete("chat", wish, None, program.default_port)
        identity = ModelIdentity("qwen", "file", "qwen", "1", "", "/m", "/m/qwen.gguf", 1)
        candidate = Generation(
            2, "chat", "", TRYING, engine, "1", identity, ("chat",), spec.as_dict(), spec.environment, unit
        )
        supervisor = SimpleNamespace(
            name=spec.supervisor,
            process=lambda _name: Process(active=bool(going), pid=os.getpid(), members=frozenset(going)),
        )
        place: t.Any = SimpleNamespace(name="chat", supervisor=supervisor, endpoint=lambda *_words: None)
        monkeypatch.setattr(module, "side_of", lambda generation, _layout: Side(generation, place, program))
        wanted = SimpleNamespace(spec=spec, record=SimpleNamespace(name="qwen"), candidate=candidate)
        subject = SimpleNamespace(name="chat", active=candidate, layout=None, place=place)
        return check_fit(wanted, program, subject)  # type: ignore[arg-type]

    return run


def refusal(check: Check, *words: t.Any, **asked: t.Any) -> LlmError:
    with pytest.raises(LlmError) as caught:
        check(*words, **asked)
    return caught.value


ALL = {"n_gpu_layers": 99}


@pytest.mark.parametrize(
    ("environment", "engine", "options", "said"),
    [
        ({}, "llama_cpp", ALL, None),
        ({"CUDA_VISIBLE_DEVICES": "0"}, "llama_cpp", ALL, None),
        ({"CUDA_VISIBLE_DEVICES": 1}, "llama_cpp", ALL, "on GPU 1 (NVIDIA L4) (weights 10.0, cache 0.5, "),
        ({"CUDA_VISIBLE_DEVICES": "GPU-bb"}, "llama_cpp", ALL, "6.0 GiB are there; it sees no other GPU"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-aa"}, "llama_cpp", ALL, None),
        # It leaves in RAM what the card has no room for.
        ({"CUDA_VISIBLE_DEVICES": 1}, "llama_cpp", {}, None),
        ({"CUDA_VISIBLE_DEVICES": "0"}, "vllm", {"gpu_memory_utilization": 0.8}, None),
        (
            {"CUDA_VISIBLE_DEVICES": "1,0"},
            "vllm",
            {"gpu_memory_utilization": 0.8},
            "24.0 GiB of GPU 1 (NVIDIA L4), which",
        ),
        (
            {},
            "vllm",
            {"tensor_parallel_size": 2, "gpu_memory_utilization": 0.8},
            "24.0 GiB of GPU 1 (NVIDIA L4), which",
        ),
        ({}, "vllm", {"tensor_parallel_size": 2, "gpu_memory_utilization": 0.25}, None),
        (
            {"CUDA_VISIBLE_DEVICES": "0"},
            "vllm",
            {"tensor_parallel_size": 2},
            "to work on 2 GPUs, and sees GPU 0 (NVIDIA",
        ),
    ],
)
def test_only_gpus_that_it_sees_count(
    check: Check, host: t.Any, environment: dict[str, t.Any], engine: str, options: dict[str, t.Any], said: str | None
) -> None:
    host("nvidia-smi", CARDS)
    traits = model(SAFETENSORS if engine == "vllm" else GGUF)
    asked = {"engine": engine, "environment": environment, "options": options}
    if said is None:
        assert check(traits, **asked) == []
        return
    refused = refusal(check, traits, **asked)
    assert refused.reason == "does_not_fit"
    assert said in refused.what
    assert refused.what.startswith("Runtime chat: model qwen does not fit: it ")
    assert refused.what.endswith("; nothing was changed.")
    assert refused.remedy.endswith(", or set fit: warn.")


@pytest.mark.parametrize("none", ["", "-1"])
def test_without_a_gpu_that_it_sees_the_host_s_memory_counts(check: Check, host: t.Any, none: str) -> None:
    host("nvidia-smi", CARDS)
    environment = {"CUDA_VISIBLE_DEVICES": none}
    assert check(model(), environment=environment) == []
    refused = refusal(check, model(gib=36), environment=environment)
    assert "GiB of memory (weights 36.0" in refused.what
    assert f"32.0 GiB are there; it sees no GPU (CUDA_VISIBLE_DEVICES={none}); nothing was changed." in refused.what
    awq = Traits(SAFETENSORS, quantization="awq")
    assert refusal(check, awq, "vllm", environment=environment).reason == "model_unsuitable"
    assert check(awq, "vllm") == []


def test_cards_of_amd(check: Check, host: t.Any) -> None:
    host("rocm-smi", ROCM_SMI)
    assert check(model(), options=ALL, environment={"HIP_VISIBLE_DEVICES": "0"}) == []
    refused = refusal(check, model(), options=ALL, environment={"ROCR_VISIBLE_DEVICES": "1"})
    assert "on GPU 1 (MI210)" in refused.what


def test_a_gpu_that_is_not_used_does_not_count(check: Check, host: t.Any) -> None:
    """llama-cpp-python leaves all in the host's memory, unless it is told how many layers not to."""
    host("nvidia-smi", CARDS)
    refused = refusal(check, model(gib=36), "llama_cpp_python")
    assert "GiB of memory (weights 36.0" in refused.what
    assert "put it on the GPU (n_gpu_layers: -1)" in refused.remedy
    assert check(model(gib=20), "llama_cpp_python") == []
    assert (
        "memory on GPUs 0 and 1" in refusal(check, model(gib=36), "llama_cpp_python", options={"n_gpu_layers": -1}).what
    )
    # llama.cpp's own server uses both.
    assert check(model(gib=36)) == []


@pytest.mark.parametrize(
    ("limit", "fits"), [("24G", True), ("8G", False), ("25%", True), ("10%", False), ("infinity", True)]
)
def test_the_limit_of_its_unit(check: Check, limit: str, fits: bool) -> None:
    unit = f"[Unit]\nDescription=x\n[Service]\nMemoryMax={limit}\nUMask=0077\n"
    if fits:
        assert check(model(), unit=unit) == []
        return
    refused = refusal(check, model(), unit=unit)
    assert " GiB are all that it may have (MemoryMax of its unit); nothing was changed." in refused.what
    assert "raise memory_max of the runtime" in refused.remedy


def test_what_the_model_that_goes_holds(check: Check, host: t.Any) -> None:
    me, one = os.getpid(), {"environment": {"CUDA_VISIBLE_DEVICES": 1}, "options": ALL}
    host("nvidia-smi", CARDS, f"{me}, 9000, GPU-bb22")
    assert check(model(), going=[me], **one) == []
    host("nvidia-smi", CARDS, f"{me}, 1024, GPU-bb22")
    assert "7.0 GiB are there (6.0 free, 1.0 of the model that goes)" in refusal(check, model(), going=[me], **one).what
    # On the other card it holds what is of no use here.
    host("nvidia-smi", CARDS, f"{me}, 9000, GPU-aa11")
    assert "6.0 GiB are there; " in refusal(check, model(), going=[me], **one).what
    host("nvidia-smi", CARDS)
    assert "(what the model that goes holds of it is not known)" in refusal(check, model(), going=[me], **one).what


def test_warn_tells_and_off_does_not_look(check: Check, host: t.Any) -> None:
    one = {"environment": {"CUDA_VISIBLE_DEVICES": "1"}, "options": ALL}
    host("nvidia-smi", CARDS)
    (note,) = check(model(), fit="warn", **one)
    assert note.startswith("Runtime chat: model qwen does not fit: it needs 11.2 GiB of memory on GPU 1 (NVIDIA L4) (")
    assert note.endswith(
        ". Take a smaller model, context or parallelism, stop what else is on the GPU, or let it see other GPUs."
    )
    assert check(model(), fit="off", **one) == []
    assert refusal(check, Traits("onnx"), fit="off").reason == "model_unsuitable"
    assert len(check(model(), fit="warn", context_length=200_000, **one)) == 2
    assert refusal(check, model(), context_length=200_000, **one).reason == "model_unsuitable"


def test_what_somebody_else_runs_sees_what_it_was_started_with(
    check: Check, host: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    host("nvidia-smi", CARDS)
    monkeypatch.setattr(processes, "environment_of", lambda pid: {"CUDA_VISIBLE_DEVICES": "1"} if pid else None)
    theirs = {"options": ALL, "supervisor": "external", "environment": {"CUDA_VISIBLE_DEVICES": "0"}}
    assert "GPU 1 (NVIDIA L4)" in refusal(check, model(), **theirs).what


@pytest.mark.parametrize(
    ("told", "said"),
    [
        # A context of 1 GiB for the driver stays where it is.
        (
            Served((), None, None, memory_bytes=3 * GIB, vram_bytes=3 * GIB, loaded=True),
            ", 3.0 of all that of the model that goes)",
        ),
        (Served((), None, None, loaded=True), "and what the model that goes holds is not known)"),
        (Served((), None, None, asleep=True), "38.0 GiB are there (32.0 of the host, 6.0 on GPU 1 (NVIDIA L4))"),
    ],
)
def test_what_somebody_else_runs_gives_back_no_more_than_its_model(
    check: Check, host: t.Any, monkeypatch: pytest.MonkeyPatch, told: Served, said: str
) -> None:
    me = os.getpid()
    host("nvidia-smi", CARDS, f"{me}, 4096, GPU-bb22")
    monkeypatch.setattr(processes, "environment_of", lambda _pid: {"CUDA_VISIBLE_DEVICES": "1"})
    monkeypatch.setattr(Ollama, "health", lambda _self, _endpoint: Health(READY))
    monkeypatch.setattr(Ollama, "served", lambda _self, _endpoint, _settings: told)
    theirs = {"supervisor": "external"}
    refused = refusal(check, model(gib=60), engine="ollama", going=[me], **theirs)
    assert said in refused.what


def test_what_somebody_else_runs_and_unloads_nothing_gives_nothing_back(
    check: Check, host: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = os.getpid()
    host("nvidia-smi", CARDS, f"{me}, 9000, GPU-bb22")
    monkeypatch.setattr(processes, "environment_of", lambda _pid: {"CUDA_VISIBLE_DEVICES": "1"})
    refused = refusal(check, model(), going=[me], supervisor="external", options=ALL)
    assert "6.0 GiB are there" in refused.what
    assert "of the model that goes" not in refused.what
