# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command line or a text shows of a secret: nothing, in whatever form it is written."""

from __future__ import annotations

import json
import shlex
import string
import typing as t
from urllib.parse import quote

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.masking import masked, masked_text, secret_starts
from hypothesis import example, given
from hypothesis import strategies as st

DIGEST = "60e05f2100071479f596b964f89f510f057ce397ea22f2833a0cfe029bfc2463"


@pytest.mark.parametrize(
    "line",
    [
        "vllm serve m --api-key SECRET --port 8000",
        "vllm serve m --api_key SECRET",
        "x --api-key=SECRET --port 1",
        "x --apiKey SECRET",
        "x --token SECRET",
        "x --hf-token SECRET",
        "x --hf_token=SECRET",
        "x --password SECRET",
        "x --pass SECRET",
        "env DB_PASS=SECRET GITLAB_PAT=SECRET JWT=SECRET",
        "curl -H Cookie: session=SECRET; other=SECRET1 http://h",
        "curl --cookie session=SECRET;other=SECRET1",
        "x --api-key --SECRET1--",
        "env HF_TOKEN=SECRET OLLAMA_HOST=1",
        "env API_KEY=SECRET python",
        "env HUGGING_FACE_HUB_TOKEN=SECRET OPENAI_TOKEN=SECRET",
        "vllm serve --api-key SECRET1 SECRET2 --port 8000",
        "curl -H Authorization: Bearer SECRET",
        "x key=SECRET",
        "x https://user:SECRET@host/v1",
        "x https://host/v1?token=SECRET&key=SECRET",
        "x --url=https://host/v1?api_key=SECRET",
        'x {"api_key":"SECRET","a":1}',
        "x Authorization:SECRET",
        "x hf_SECRETabcdefghij",
        "x hf_oauth_eyJSECRETab.eyJSECRETab.SECRET",
        "x --anything=sk-SECRETabcdefghij",
        "x ghp_SECRETabcdefghij",
        "x nvapi-SECRETabcdefghij",
        "x eyJSECRETab.eyJSECRETab.SECRET",
        "x SECRET0123456789abcdefABCDEF",
    ],
)
def test_a_secret_is_not_shown(line: str) -> None:
    assert "SECRET" in line
    assert "SECRET" not in masked(line.split(" "))
    assert "***" in masked(line.split(" "))


def test_a_header_is_one_word() -> None:
    shown = masked(["curl", "-H", "Authorization: Bearer SECRET123", "http://h"])
    assert shown == "curl -H Authorization: Bearer *** http://h"
    shown = masked(["curl", "-H", "Cookie: session=one; other=two", "http://h"])
    assert shown == "curl -H Cookie: *** http://h"


def test_a_word_with_spaces_is_hidden_whole() -> None:
    assert masked(["x", "--password", "one two", "y"]) == "x --password *** y"
    assert masked(["env", "PASSWORD=one two", "y"]) == "env PASSWORD=*** y"
    assert masked(["sh", "-c", "vllm serve m --api-key planted99"]) == "sh -c vllm serve m --api-key ***"


def test_it_is_told_which_words_are_secrets() -> None:
    words = [
        "x",
        "--api-key",
        "one",
        "two",
        "--token=three",
        "--port",
        "1",
        "--token",
        "four",
        "five",
        "--hf-token=None",
    ]
    hidden = [word[start:] for word, start in zip(words, secret_starts(words)) if start < len(word)]
    assert hidden == ["one", "two", "three", "four"]


@pytest.mark.parametrize(
    "line",
    [
        "vllm serve mistralai/Mistral-Small-3.2-24B-Instruct-2506 --port 8000 --tokenizer x/y --tokenizer-mode auto",
        f"ollama runner --model /root/.ollama/models/blobs/sha256-{DIGEST} --ctx-size 4096",
        f"llama-server -m /var/lib/llm/models/url/x@{DIGEST[:12]}/x.gguf --host 127.0.0.1",
        f"vllm serve a/b --revision {DIGEST[:40]}",
        "x --max-num-batched-tokens 8192 --max-tokens=7 --n-predict-tokens 5",
        "x --api-key-file /etc/llm/key --kv-cache-dtype=fp8 --keep-alive 5m",
        "/usr/bin/python3 -m vllm.entrypoints.openai.api_server --host 0.0.0.0",
        "x --rope-scaling linear --override-kv general.name=str:x http://127.0.0.1:8000/v1",
        "x --api-key --port 8000",
    ],
)
def test_what_is_no_secret_stays_readable(line: str) -> None:
    assert masked(line.split(" ")) == line


def test_nothing_is_nothing() -> None:
    assert masked([]) == ""


# What a secret is made of where nothing is around it, and where quotes are.
PLAIN = string.ascii_letters + string.digits + "!#$%*+-./:<=>?@^_|~"
ANY = string.printable[:95] + "äß€"
MARK = "Qz"


def marked(alphabet: str) -> st.SearchStrategy[str]:
    """A text in which nothing else has the mark, so that it tells also whether a part was left."""
    part = st.text(alphabet, max_size=12)
    first = st.text(alphabet.replace("-", ""), max_size=2)
    return st.tuples(first, part, part).map(lambda parts: f"{parts[0]}{MARK}{parts[1]}{MARK}{parts[2]}")


def nested(value: t.Any, depth: int) -> str:
    text = json.dumps(value)
    return text if depth == 1 else nested({"message": text}, depth - 1)


PLAIN_FORMS: list[t.Callable[[str], str]] = [
    lambda x: f"api_key={x}",
    lambda x: f"API_KEY = {x}",
    lambda x: f"token => {x}",
    lambda x: f"X-Api-Key: {x}",
    lambda x: f"--api-key={x}",
    lambda x: f"--api-key {x}",
    lambda x: f"'--api-key', '{x}'",
    lambda x: f"api_keys=[{x}]",
    lambda x: f"api_keys: [other, {x}, other]",
    lambda x: f"api_keys=[[other], ({x})]",
    lambda x: f"api_keys: - {x}",
    lambda x: f"api_keys:\n  - other\n  - {x}",
    lambda x: f"password: !!str {x}",
    lambda x: f"password: | {x}",
    lambda x: f"curl -H 'Authorization: Bearer {x}' http://h",
    lambda x: f'curl -H "Authorization: {x}" http://h',
    lambda x: f"Authorization: Basic {x}",
    lambda x: f"https://name:{quote(x, safe='')}@host/v1",
    lambda x: f"https://name:{x.replace('/', '')}@host/v1",
    lambda x: f"GET /v1?a=1&token={quote(x, safe='')}&b=2",
    lambda x: f"environ['HF_TOKEN'] = {x}",
    lambda x: f"- name: HF_TOKEN value: {x}",
]
QUOTED_FORMS: list[t.Callable[[str], str]] = [
    lambda x: f"api_key={json.dumps(x)}",
    lambda x: f"api_key={x!r}",
    lambda x: f"api_key={shlex.quote(x + ' ')}",
    lambda x: f"--api-key {shlex.quote(x + ' ')}",
    lambda x: f"args: { ({'api_key': [x], 'port': 1})!r}",
    lambda x: f"args: { ({'api_key': ['x', (x, 'y')], 'port': 1})!r}",
    lambda x: f"started {['vllm', '--api-key', x]!r}",
    lambda x: f"{[(b'authorization', x.encode())]!r}",
    lambda x: f"Namespace(api_key=SecretStr({x!r}), port=1)",
    lambda x: json.dumps({"name": "HF_TOKEN", "value": x}),
    *(lambda x, depth=depth: nested({"token": x, "a": 1}, depth) for depth in (1, 2, 3)),  # type: ignore[misc]
    *(lambda x, depth=depth: nested({"api_keys": ["a", x], "a": 1}, depth) for depth in (1, 2, 3)),  # type: ignore[misc]
    lambda x: f"api_key: [{json.dumps('x')}, {json.dumps(x)}",
]


@given(st.sampled_from(PLAIN_FORMS), marked(PLAIN))
@example(PLAIN_FORMS[0], f"one,{MARK}")
@example(PLAIN_FORMS[0], f"one;{MARK}&{MARK}")
@example(PLAIN_FORMS[0], f"one){MARK}]{MARK}'{MARK}")
@example(PLAIN_FORMS[0], f"***{MARK}")
def test_a_planted_secret_never_survives(form: t.Callable[[str], str], secret: str) -> None:
    shown = masked_text(f"INFO 12:01 server: {form(secret)} --port 8000, ready")
    assert MARK not in shown
    assert "***" in shown
    assert shown.startswith("INFO 12:01 server: ")
    assert shown.endswith(" --port 8000, ready")
    assert masked_text(shown) == shown


@given(st.sampled_from(QUOTED_FORMS), marked(ANY))
@example(QUOTED_FORMS[2], f"{MARK}'{MARK}\"{MARK}")
def test_a_planted_secret_in_quotes_never_survives(form: t.Callable[[str], str], secret: str) -> None:
    shown = masked_text(f"INFO 12:01 server: {form(secret)} --port 8000, ready")
    assert MARK not in shown
    assert "***" in shown
    assert shown.startswith("INFO 12:01 server: ")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("args: {'api_key': ['x', 'y'], 'port': 1}", "args: {'api_key': [***], 'port': 1}"),
        ('{"token": {"value": "x"}, "port": 1}', '{"token": {***}, "port": 1}'),
        (r'{"m": "{\"token\": \"x\", \"a\": 1}"}', r'{"m": "{\"token\": \"***\", \"a\": 1}"}'),
        ("api_keys: - x - y", "api_keys: - *** - ***"),
        ("token=x,port=1,key=y", "token=***,port=1,key=***"),
        ("token=x, port=1", "token=***, port=1"),
        ("sh -c \"x --token='y'\" --port 1", "sh -c \"x --token='***'\" --port 1"),
        ('"token=x" "port=1"', '"token=***" "port=1"'),
        ("f(api_key=x, port=1)", "f(api_key=***, port=1)"),
        ("https://u:p@q@host/x", "https://***@host/x"),
        ("a basic bm90aGluZzE= b", "a basic *** b"),
        ("curl -H 'Cookie: a=b; c=\"d\"; e=f' http://h", "curl -H 'Cookie: ***' http://h"),
        ('{"Cookie": "a=b; c=d", "port": 1}', '{"Cookie": "***", "port": 1}'),
        ("Set-Cookie: a=b; Path=/; HttpOnly\nHost: x", "Set-Cookie: ***\nHost: x"),
        ("Cookie: a; port is 1", "Cookie: *** is 1"),
    ],
)
def test_no_more_is_hidden_than_the_secret(line: str, shown: str) -> None:
    assert masked_text(line) == shown


ORDINARY = [
    "print_info: EOS token        = 2 '</s>'",
    "slot print_timing: id  0 | task 0 | prompt eval time =       3.50 ms /    55 tokens",
    '{"tokens":[107,104,111],"tokens_predicted":7,"prompt_tokens_details":{"cached_tokens":28},"eos_token":"</s>"}',
    '{"tensors":[{"name":"token_embd.weight","type":"F32","shape":[320,320]}],"preserved_tokens":[]}',
    "non-default args: {'api_key': None, 'hf_token': None, 'hf_config_path': None, 'max_model_len': 512}",
    '{"num_key_value_heads": 8, "llama.attention.key_length": 128}',
    "Avg prompt throughput: 0.0 tokens/s, Avg generation throughput: 12.3 tokens/s, Running: 1 reqs",
    "llama_model_loader: - kv  20:               tokenizer.ggml.eos_token_id u32              = 2",
    '  File "/x/hub.py", line 3, in hf_hub_download',
    '"Invalid API Key","type":"authentication_error","code":401',
    "open /etc/llm/token: no such file or directory",
    "token generation and basic functionality work, bearer authentication is off",
    f"--revision {DIGEST[:40]} commit={DIGEST[:40]} model@{DIGEST[:40]}",
    'it says "key:" in line 3, and "key=" in line 4',
    "GET http://127.0.0.1:8000/v1/models 200 OK, it's ready",
    "2 pass, 1 fail: second pass over 12 layers, compat=1 path=/x bypass=1 pass-through: on, cookies are off",
    "except OSError: pass",
    "special_tokens_map.json: 100%|####| 1/1",
]


@pytest.mark.parametrize("line", ORDINARY)
def test_ordinary_lines_are_not_mangled(line: str) -> None:
    assert masked_text(line) == line


@given(
    st.lists(
        st.sampled_from(
            ["loading", "model", "tokens", "n_tokens=5,", "port:", "8000", "'/var/x.gguf'", "(main)", "[INFO]", "=", "it's",
             "https://host:8000/v1?a=1", "tokenizer", "3.5", '{"a":', '"b"}', "--ctx-size", "-m", "…", "\\", "a,b;c", "\n"]
        )
    )
)  # fmt: skip
def test_a_line_without_a_secret_is_not_mangled(words: list[str]) -> None:
    line = " ".join(words)
    # `tokens = 'x'` is a pair like any other.
    assert masked_text(line.replace("tokens =", "tokens")) == line.replace("tokens =", "tokens")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("x" * 10**6, "x" * 10**6),
        ("x-" * 500_000, "x-" * 500_000),
        ("key=" * 250_000, "key=***"),
        ("ab=" * 333_333, "ab=" * 333_333),
        ("max" * 333_333 + "=1", "max" * 333_333 + "=1"),
        ("key" + " " * 10**6, "key" + " " * 10**6),
        ("key=" + "[(" * 500_000, "key=[***"),
        ("key=" + "\\" * 10**6, "key=***"),
        ('key="' + '\\"' * 500_000, 'key="***'),
        ("key=[" + "a'," * 333_333, "key=[***"),
        ("eyJ-" * 250_000, "***"),
        ("://" * 333_333, "://" * 333_333),
        ("cookie: " + "a=b; " * 200_000, "cookie: ***; "),
        ("cookie: " + "a;" * 500_000, "cookie: ***;"),
        ('cookie: ' + 'a="' * 300_000, 'cookie: ***"'),
        (f"@{DIGEST} " * 15_000, f"@{DIGEST} " * 15_000),
    ],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_a_line_of_a_megabyte_is_read_to_its_end(line: str, shown: str) -> None:
    # As one value: to tell where two such lines differ takes longer than all else.
    assert (masked_text(line) == shown) is True


@given(st.text(st.sampled_from("key=: \\\"'[](),-&a"), max_size=60))
def test_any_text_comes_to_an_end(text: str) -> None:
    masked_text(text)
    masked(text.split(" "))
