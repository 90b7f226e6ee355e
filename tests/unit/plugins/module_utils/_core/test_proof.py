# SPDX-License-Identifier: GPL-3.0-or-later
"""What proves that a runtime serves: healthy replies pass, all of them, and lies are caught, all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.engine import Completion, Served, Settings
from ansible_collections.llmops.fleet.plugins.module_utils._core.proof import (
    GOLDEN_PROMPTS,
    MAX_TOKENS,
    PROMPT,
    Golden,
    fault_in_accelerator,
    fault_in_digest,
    fault_in_facts,
    fault_in_golden,
    fault_in_speed,
    fault_in_tokens,
    golden_key,
    golden_known,
    golden_pairs,
    golden_record,
)
from hypothesis import given
from hypothesis import strategies as st

REPLIES = Path(__file__).resolve().parents[4] / "fixtures" / "replies" / "healthy.json"
HEALTHY = [(kind, text) for kind, texts in json.loads(REPLIES.read_text()).items() for text in texts]
NAMES = ("chat", "qwen2.5:7b")
SETTINGS = Settings("/m/a.gguf", ("chat", "alias"), "127.0.0.1", 8080, 256)


def reply(text: str, *, tokens: int | None = None, finish: str = "stop", seconds: float = 1.0) -> Completion:
    count = max(1, min(MAX_TOKENS, len(text.encode("utf-8", "replace")) // 4)) if tokens is None else tokens
    return Completion(text, "chat", count, seconds, finish)


def test_there_are_enough_healthy_replies() -> None:
    assert len(HEALTHY) >= 200
    assert len({text for _kind, text in HEALTHY}) == len(HEALTHY)


@pytest.mark.parametrize("text", [text for _kind, text in HEALTHY])
def test_a_healthy_reply_is_no_false_alarm(text: str) -> None:
    assert fault_in_tokens(reply(text)) is None
    assert fault_in_tokens(reply(text), names=NAMES) is None
    # White space around it, and the limit reached.
    many = min(MAX_TOKENS, len(text.encode()) // 2)
    assert fault_in_tokens(reply(f" {text}\n", tokens=many, finish="length")) is None


@given(st.sampled_from(HEALTHY), st.data())
def test_a_healthy_reply_may_be_cut_anywhere(sample: tuple[str, str], data: st.DataObject) -> None:
    text = sample[1].strip().rstrip("\ufffd")
    cut = text[: data.draw(st.integers(1, len(text)))]
    # A cut can leave nothing but what joins the next letter, which no engine would cut there.
    if any(letter.isprintable() and not letter.isspace() for letter in cut):
        assert fault_in_tokens(reply(cut, finish="length")) is None


LIES = {
    "silence": (["", " ", "\n\n\n", "\t \r\n", "\u200b\u200b", "\ufeff", "\u2060 \u200d"], "empty"),
    "broken UTF-8": (["\ufffd", "\ufffd" * 16, "\ufffd\ufffd\ufffda", "ab\ufffd\ufffd\ufffd\ufffdcd", "\ud800\udfff"], "noise"),
    "control characters": (["\x00\x00\x00", "a\x01b\x02c\x03", "Hi\x00", "\x1b\x1b\x1b\x1b", "I am\x7f\x7f here"], "noise"),
    "private characters": (["\ue000\ue001\ue002\ue003", "a\U000f0000\U000f0001"], "noise"),
    "one word": (["no no no no no", "The the THE the the the", "Yes, yes, yes, yes, yes.", "the " * 16], "repeats"),
    "one letter": (["!" * 16, "G" * 16, "?" * 40, "." * 64, "的" * 16, "0000000000000000", "Hi " + "!" * 40], "repeats"),
    "a short loop of words": (["ab cd ab cd ab cd ab cd", "I am I am I am I am I", "it is. it is. it is. it is.",
                               "Well: a b c a b c a b c a b c a b c"], "repeats"),
    "a sentence again and again": (["I am a model. " * 3, "Who are you? I am me. " * 4, "我是一个模型。" * 3,
                                    "Model alpha speaking from this host. " * 3], "repeats"),
    "a loop without spaces": (["<unk>" * 8, "[PAD][PAD][PAD][PAD][PAD]", "你好" * 8, "\\n\\n" * 10, "<0x00>" * 5,
                               "abcabcabcabcabcabc", "}{" * 10, "ассасс" * 6, "<|im_end|><|im_end|><|im_end|><|im_end|>"],
                              "repeats"),
    "an echo of the question": ([PROMPT, PROMPT.upper(), f'"{PROMPT}"', PROMPT[:-1], f"{PROMPT} Say who you",
                                 "Say who you are in one"], "question"),
    "an echo of the name": (["chat", "Chat.", " CHAT\n", "qwen2.5:7b", "'chat'"], "name"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [(text, said) for texts, said in LIES.values() for text in texts],
    ids=lambda value: repr(value)[:30],
)
def test_a_lie_is_caught(text: str, said: str) -> None:
    told = fault_in_tokens(reply(text), names=NAMES)
    assert told is not None
    assert said in told
    assert len(told) < 200


@pytest.mark.parametrize(
    ("text", "tokens", "limit", "said"),
    [
        ("no no", 16, 16, "repeats one word"),
        ("ha ha ha ha", 12, 8, "repeats one word"),
        ("!!!!!!!!", 8, 8, "repeats one word"),
        ("Hi", 16, 16, "2 characters for 16 tokens"),
        ("Hi", 15, 16, None),
        ("no no", 3, 16, None),
        ("Yes", 1, 1, None),
        ("Donaudampfschifffahrtsgesellschaftskapitän", 16, 16, None),
        ("我是一个人工智能助手", 16, 16, None),
        ("I am an assistant that", 16, 16, None),
    ],
)
def test_a_reply_that_reached_its_limit(text: str, tokens: int, limit: int, said: str | None) -> None:
    told = fault_in_tokens(reply(text, tokens=tokens, finish="length"), max_tokens=limit)
    assert (said in str(told)) if said else told is None


def test_the_question_of_the_caller_is_what_counts_as_echo() -> None:
    assert fault_in_tokens(reply("Name a colour, please."), prompt="Name a colour, please.")
    assert fault_in_tokens(reply(PROMPT), prompt="Name a colour, please.") is None
    assert fault_in_tokens(reply("chat"), names=()) is None


@given(st.text())
def test_any_text_is_judged_and_only_by_its_looks(text: str) -> None:
    told = fault_in_tokens(reply(text))
    assert told is None or told.startswith("its reply ")
    if not text.strip():
        assert told


@given(st.text(min_size=1, max_size=8), st.integers(20, 60))
def test_whatever_comes_again_often_is_a_fault(turn: str, turns: int) -> None:
    assert fault_in_tokens(reply(turn * turns, tokens=MAX_TOKENS))
    assert fault_in_tokens(reply(f"{turn} " * turns, tokens=MAX_TOKENS))


def test_a_long_reply_is_judged_at_once() -> None:
    assert fault_in_tokens(reply("abcdefghij " * 50_000, tokens=100_000), max_tokens=200_000)


# --- facts, speed, device, bytes ---


@pytest.mark.parametrize(
    ("served", "said"),
    [
        (Served(("chat", "alias"), "/m/a.gguf", 256), None),
        (Served(("chat", "alias", "more"), None, None), None),
        (Served(("chat", "alias"), "/m/a.gguf", 512), None),
        (Served(("chat",), "/m/a.gguf", 256), "not alias"),
        (Served((), "/m/a.gguf", 256), "no name"),
        (Served(("chat", "alias"), "/m/other.gguf", 256), "/m/other.gguf"),
        (Served(("chat", "alias"), "/m/a.gguf", 128), "128"),
    ],
)
def test_facts(served: Served, said: str | None) -> None:
    told = fault_in_facts(served, SETTINGS)
    assert (said in str(told)) if said else told is None


@pytest.mark.parametrize(
    ("tokens", "seconds", "floor", "said"),
    [
        (16, 1.0, 0, None),
        (16, 1.0, 16, None),
        (16, 1.0, 16.1, "16 tokens a second, and 16.1"),
        (16, 100.0, 1, "0.2 tokens"),
        (0, 1.0, 1, "does not tell"),
        (0, 1.0, 0, None),
        (5, 0.0, 5, "does not tell"),
    ],
)
def test_a_floor_of_speed(tokens: int, seconds: float, floor: float, said: str | None) -> None:
    told = fault_in_speed(reply("I am.", tokens=tokens, seconds=seconds), floor)
    assert (said in str(told)) if said else told is None


MB = 10**6


@pytest.mark.parametrize(
    ("vram", "memory", "measured", "weights", "wish", "said"),
    [
        (None, None, None, None, "any", None),
        (0, 5000 * MB, 0, None, "any", None),
        (5000 * MB, 5000 * MB, None, None, "gpu", None),
        (0, 5000 * MB, None, None, "gpu", "0 MB of 5000 MB"),
        (2400 * MB, 5000 * MB, None, None, "gpu", "2400 MB of 5000 MB"),
        (2500 * MB, 5000 * MB, None, None, "gpu", None),
        # What the engine says is above what was measured; without its word that counts.
        (0, 5000 * MB, 6000 * MB, None, "gpu", "not on a GPU"),
        (None, None, 6000 * MB, 5000 * MB, "gpu", None),
        (None, None, 450 * MB, 5000 * MB, "gpu", "450 MB"),
        (None, None, None, 5000 * MB, "gpu", "nothing tells"),
        (None, None, 300 * MB, None, "gpu", None),
        (None, None, None, 5000 * MB, "cpu", None),
        (0, 5000 * MB, None, None, "cpu", None),
        (5000 * MB, 5000 * MB, None, None, "cpu", "not on the CPU"),
        # A driver's own share is no weights.
        (None, None, 450 * MB, 3 * MB, "cpu", None),
        (None, None, 5400 * MB, 5000 * MB, "cpu", "not on the CPU"),
    ],
)
def test_where_the_weights_are(
    vram: int | None, memory: int | None, measured: int | None, weights: int | None, wish: str, said: str | None
) -> None:
    served = Served(("chat",), None, None, memory_bytes=memory, vram_bytes=vram)
    told = fault_in_accelerator(served, measured, wish, weights_bytes=weights)
    assert (said in str(told)) if said else told is None


SHA = "4f" * 32


@pytest.mark.parametrize(
    ("seen", "asked", "same"),
    [
        (None, f"sha256:{SHA}", True),
        (f"sha256:{SHA}", "", True),
        (SHA, f"sha256:{SHA.upper()}", True),
        (SHA[:12], SHA, True),
        (SHA, SHA[:12], True),
        (SHA[:6], SHA, False),
        (f"sha256:{'0' * 64}", f"sha256:{SHA}", False),
        (SHA[:12], "0" * 64, False),
    ],
)
def test_the_bytes_that_answer(seen: str | None, asked: str, same: bool) -> None:
    assert (fault_in_digest(seen, asked) is None) is same


# --- golden ---

KEY = golden_key(SHA, "engine", "b1", "cpu")
ASKED = (Golden("one", "I am  alpha.\n"), Golden("two", "Yes."))


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (("I am alpha.", "Yes."), None),
        ((" I  am\nalpha.", "Yes.\n"), None),
        (("I am beta.", "Yes."), "to 'one' has 'beta.' as word 3, where 'alpha.' is right"),
        (("I am", "Yes."), "ends after 2 words, where 'alpha.' is right"),
        (("I am alpha. Hello", "Yes."), "goes on with 'Hello' after 3 words"),
        (("", "Yes."), "ends after 0 words"),
        (("I am alpha.", "yes."), "to 'two' has 'yes.' as word 1"),
        (("I am alpha.",), "1 replies to 2 prompts"),
    ],
)
def test_replies_are_held_against_the_right_ones(told: tuple[str, ...], said: str | None) -> None:
    fault = fault_in_golden(ASKED, told)
    assert (said in str(fault)) if said else fault is None


def test_what_the_user_gives_and_what_is_ours() -> None:
    assert golden_pairs([{"prompt": "one", "reply": "1"}, {"prompt": "two"}]) == (Golden("one", "1"), Golden("two"))
    assert [pair.prompt for pair in golden_pairs([])] == list(GOLDEN_PROMPTS)
    assert fault_in_golden((Golden("two"),), ("anything",)) is None


def test_a_fingerprint_of_the_first_activation_holds_for_the_next() -> None:
    asked = golden_pairs([{"prompt": "one", "reply": "1"}, {"prompt": "two"}])
    assert golden_known(asked, {}, KEY) == asked
    records = json.loads(json.dumps({KEY: golden_record(KEY, [Golden("one", "1"), Golden("two", "2")])}))
    known = golden_known(asked, records, KEY)
    assert known == (Golden("one", "1"), Golden("two", "2"))
    assert fault_in_golden(known, ("1", "2")) is None
    assert "word 1" in str(fault_in_golden(known, ("1", "3")))
    # The user's own word is above what is kept.
    assert golden_known((Golden("two", "zwei"),), records, KEY) == (Golden("two", "zwei"),)


@pytest.mark.parametrize(
    "other",
    [
        golden_key("0" * 64, "engine", "b1", "cpu"),
        golden_key(SHA, "other", "b1", "cpu"),
        golden_key(SHA, "engine", "b2", "cpu"),
        golden_key(SHA, "engine", "b1", "gpu"),
    ],
)
def test_another_build_device_or_model_has_its_own_fingerprint(other: str) -> None:
    record = golden_record(KEY, [Golden("two", "2")])
    assert golden_known((Golden("two"),), {KEY: record}, other) == (Golden("two"),)
    # Not even where a record was put under another key.
    assert golden_known((Golden("two"),), {other: record}, other) == (Golden("two"),)
    assert golden_record(other, [Golden("two", "2")])["fingerprint"] != record["fingerprint"]


@pytest.mark.parametrize(
    "damaged",
    [
        None,
        [],
        {},
        {"replies": [{"prompt": "two", "reply": "9"}], "fingerprint": "0"},
        {"replies": 5},
        {"replies": [5]},
    ],
)
def test_what_is_damaged_is_as_if_it_were_not_there(damaged: object) -> None:
    assert golden_known((Golden("two"),), {KEY: damaged}, KEY) == (Golden("two"),)
