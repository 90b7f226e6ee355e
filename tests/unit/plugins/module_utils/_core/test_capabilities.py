# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import json
import typing as t

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.capabilities import (
    from_config,
    from_gguf,
    from_ollama_show,
)
from ansible_collections.llmops.fleet.plugins.module_utils._core.gguf import read_metadata
from ansible_collections.llmops.fleet.plugins.module_utils._core.model import CAPABILITIES
from ansible_collections.llmops.fleet.plugins.module_utils._host.chat_template import render
from hypothesis import given
from hypothesis import strategies as st
from reciter import gguf, safetensors, sentence_of

CHATML = """\
{% for message in messages %}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}
{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
# In Gemma's manner: other names for the turns, strict order, no word from a system.
TURNS = """\
{{ bos_token }}
{%- if messages[0].role == 'system' %}{{ raise_exception('This model has no system turn.') }}{% endif %}
{%- for message in messages %}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Turns alternate.') }}{% endif %}
<start>{{ 'model' if message.role == 'assistant' else message.role }}
{{ message.content | trim }}<end>
{%- endfor %}"""
# In Llama 3's manner: headers, tools, results as JSON under another name.
HEADERS = """\
{{- bos_token }}
{%- if not tools is defined %}{% set tools = none %}{% endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}
{{- '<header>ipython</header>' + (message.content | tojson) }}
{%- elif message.tool_calls %}
{{- '<header>assistant</header>' }}
{%- for call in message.tool_calls %}{{ call.function.name }}
{%- for name, value in call.function.arguments.items() %}{{ name }}={{ value }}{% endfor %}{% endfor %}
{%- else %}
{{- '<header>' + message['role'] + '</header>' + message['content'] }}
{%- endif %}
{%- endfor %}"""
# In Qwen 3's manner: the system only first, thoughts of earlier turns left out.
THINKING = """\
{%- if messages[0].role == 'system' %}<system>{{ messages[0].content }}{% endif %}
{%- for message in messages %}
{%- if message.role == 'user' %}<user>{{ message.content }}{% endif %}
{%- if message.role == 'assistant' %}<assistant>{{ message.content.split('</think>')[-1] }}{% endif %}
{%- endfor %}
{%- if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"""
DROPS = "{% for message in messages if message.role in ('user', 'assistant') %}{{ message.content }}{% endfor %}"
TYPED = "{% for message in messages %}{{ message.role }}{% for part in message.content %}{{ part.text }}{% endfor %}{% endfor %}"


def told(found: dict[str, t.Any]) -> tuple[t.Any, ...]:
    """System role, roles, function calling and reasoning, of an answer that has every key."""
    assert tuple(found) == CAPABILITIES
    assert found["supports_structured_output"] is None
    keys = ("supports_system_role", "allowed_roles", "supports_function_calling", "supports_reasoning")
    return tuple(found[key] for key in keys)


def of_template(template: str) -> dict[str, t.Any]:
    return from_config({}, {}, template, render)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (CHATML, (True, ["system", "user", "assistant", "tool"], False, False)),
        (TURNS, (False, ["user", "assistant"], False, False)),
        (HEADERS, (True, ["system", "user", "assistant", "tool"], True, False)),
        (THINKING, (True, ["system", "user", "assistant"], False, True)),
        (DROPS, (False, ["user", "assistant"], False, False)),
        (TYPED, (True, ["system", "user", "assistant", "tool"], False, False)),
        ("{{ raise_exception('never') }}", (None, None, False, False)),
        ("{% for %}", (None, None, False, False)),
        ("says nothing of what it hears", (None, None, False, False)),
    ],
    ids=["chatml", "turns", "headers", "thinking", "drops", "typed", "raises", "broken", "deaf"],
)
def test_a_template_is_asked_by_rendering_it(template: str, expected: tuple[t.Any, ...]) -> None:
    found = of_template(template)
    assert told(found) == expected
    assert found["prompt_template"] == template


def test_a_tool_may_speak_where_no_system_may() -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ tools }}"
    assert of_template(refusing + CHATML)["allowed_roles"] == ["user", "assistant", "tool"]
    assert of_template(refusing.replace("{{ tools }}", "") + CHATML)["allowed_roles"] == ["user", "assistant"]


def test_arguments_of_a_call_may_have_to_be_a_text() -> None:
    joined = CHATML.replace(
        "{{ message.content }}",
        "{{ message.content }}{% for call in message.tool_calls %}{{ '' + call.function.arguments }}{% endfor %}",
    )
    assert of_template(joined)["allowed_roles"] == ["system", "user", "assistant", "tool"]


def test_any_exception_of_the_port_is_a_refusal() -> None:
    def refuses(template: str, messages: list[dict[str, t.Any]], special_tokens: dict[str, str]) -> str:
        raise RecursionError

    assert told(from_config({}, {}, HEADERS, refuses)) == (None, None, True, False)


@pytest.mark.parametrize(
    ("template", "mentions"),
    [
        ("{% if tools %}x{% endif %}", True),
        ("{{ 'it\\'s' ~ tools | tojson }}", True),
        ("Don't {%- for tool in tools -%}x{% endfor %}", True),
        ("{{ '}}' }}{{ '%}' ~ tools }}", True),
        ("You have tools, don't you? {{ messages }}", False),
        ("{{ 'tools' }}{{ \"tools\" }}{# {{ tools }} #}", False),
        ("{{ message.tools }}{{ builtin_tools }}{{ tools_in_user_message }}", False),
        ("{# never closed {{ tools }}", False),
        ("{{ " * 50_000, False),
        ("{{ '" + "\\'" * 50_000, False),
    ],
    ids=range(10),
)
def test_tools_are_a_variable_not_a_word(template: str, mentions: bool) -> None:
    assert from_config({}, {}, template, lambda *_: "")["supports_function_calling"] is mentions


@pytest.mark.parametrize(
    ("template", "reasons"),
    [("{{ m.reasoning_content }}", True), ("<think>", True), ("{{ enable_thinking }}", True), ("I think", False)],
)
def test_reasoning_leaves_its_marks(template: str, reasons: bool) -> None:
    assert of_template(template)["supports_reasoning"] is reasons


def test_nothing_said_is_nothing_known() -> None:
    nothing = dict.fromkeys(CAPABILITIES)
    assert from_gguf({}, render) == from_config({}, {}, None, render) == from_ollama_show({}, render) == nothing


GGUF = {
    "general.architecture": "qwen2", "general.file_type": 15, "qwen2.context_length": 32768,
    "llama.context_length": 1, "tokenizer.chat_template": CHATML,
}  # fmt: skip


def test_gguf() -> None:
    found = from_gguf(GGUF, render)
    assert told(found) == (True, ["system", "user", "assistant", "tool"], False, False)
    assert (found["max_context_length"], found["quantization"]) == (32768, "Q4_K_M")


@pytest.mark.parametrize(
    ("number", "name"), [(0, "F32"), (38, "MXFP4_MOE"), (4, None), (999, None), (True, None), ("1", None)]
)
def test_file_types_have_the_names_of_llama_cpp(number: t.Any, name: str | None) -> None:
    assert from_gguf({**GGUF, "general.file_type": number}, render)["quantization"] == name


def test_a_gguf_template_for_tools_stands_beside_the_other() -> None:
    found = from_gguf({**GGUF, "tokenizer.chat_template": DROPS, "tokenizer.chat_template.tool_use": HEADERS}, render)
    assert told(found) == (False, ["user", "assistant", "tool"], True, False)
    assert found["prompt_template"] == DROPS


def test_a_real_gguf_file() -> None:
    found = from_gguf(read_metadata(io.BytesIO(gguf(sentence_of("alpha"), "alpha"))), render)
    assert told(found) == (True, ["system", "user", "assistant", "tool"], False, False)
    assert (found["max_context_length"], found["quantization"]) == (512, "F32")


def test_a_real_repository() -> None:
    files = safetensors(sentence_of("alpha"), "alpha")
    found = from_config(json.loads(files["config.json"]), json.loads(files["tokenizer_config.json"]), None, render)
    assert told(found) == (True, ["system", "user", "assistant", "tool"], False, False)
    assert (found["max_context_length"], found["quantization"]) == (512, "float32")


@pytest.mark.parametrize(
    ("config", "length", "quantization"),
    [
        ({"max_position_embeddings": 4096, "torch_dtype": "bfloat16"}, 4096, "bfloat16"),
        ({"n_positions": 1024, "dtype": "float16"}, 1024, "float16"),
        ({"torch_dtype": "float16", "quantization_config": {"quant_method": "awq", "bits": 4}}, None, "awq"),
        ({"text_config": {"max_position_embeddings": 9, "dtype": "int8"}, "max_position_embeddings": 64}, 9, "int8"),
        ({"text_config": {"quantization_config": {"quant_method": "fp8"}}, "dtype": "bfloat16"}, None, "fp8"),
        ({"text_config": {"model_type": "x"}, "max_position_embeddings": 8192}, 8192, None),
        ({"text_config": None, "max_position_embeddings": "many", "quantization_config": None, "dtype": 3}, None, None),
    ],
)
def test_configurations(config: dict[str, t.Any], length: int | None, quantization: str | None) -> None:
    found = from_config(config, {}, None, render)
    assert (found["max_context_length"], found["quantization"]) == (length, quantization)


def test_the_template_is_looked_for_in_order() -> None:
    assert from_config({}, {"chat_template": DROPS}, CHATML, render)["prompt_template"] == CHATML
    assert from_config({}, {"chat_template": DROPS}, None, render)["prompt_template"] == DROPS
    named = [{"name": "default", "template": DROPS}, {"name": "tool_use", "template": HEADERS}, "no entry"]
    found = from_config({}, {"chat_template": named}, None, render)
    assert found["prompt_template"] == DROPS
    assert told(found) == (False, ["user", "assistant", "tool"], True, False)
    assert told(from_config({}, {"chat_template": [named[1]]}, None, render)) == (None, None, True, False)


@pytest.mark.parametrize("token", ["<bos>", {"content": "<bos>", "lstrip": False}])
def test_special_tokens_reach_the_template(token: t.Any) -> None:
    template = "{% if bos_token != '<bos>' %}{{ raise_exception('no') }}{% endif %}" + CHATML
    found = from_config({}, {"bos_token": token, "eos_token": None, "pad_token": 3}, template, render)
    assert found["supports_system_role"] is True


# What servers answer, shortened to what is read: of a pulled model, and of one made from a GGUF file.
PULLED = {
    "template": "{{ .Prompt }}",
    "system": "You recite.",
    "details": {"format": "gguf", "family": "llama", "parameter_size": "0.9M", "quantization_level": "F32"},
    "model_info": {"general.architecture": "llama", "general.file_type": 0, "llama.context_length": 512},
    "capabilities": ["completion"],
}
CREATED = {
    **PULLED,
    "template": "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:",
    "details": {"format": "gguf", "family": "llama", "parameter_size": "677K", "quantization_level": "unknown"},
}


def test_show_of_a_pulled_model() -> None:
    found = from_ollama_show(PULLED, render)
    assert told(found) == (None, None, False, False)
    assert (found["max_context_length"], found["quantization"]) == (512, "F32")
    assert found["prompt_template"] == "{{ .Prompt }}"


def test_show_of_a_created_model() -> None:
    found = from_ollama_show(CREATED, render)
    assert told(found) == (True, ["system", "user", "assistant", "tool"], False, False)
    assert (found["max_context_length"], found["quantization"]) == (512, "F32")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ if .System }}<s>{{ .System }}{{ end }}{{ .Prompt }}", (True, ["system", "user", "assistant"], None, None)),
        (
            '{{ range .Messages }}{{ if eq .Role "system" }}{{ .Content }}{{ else if eq .Role "tool" }}{{ .Content }}'
            "{{ end }}{{ end }}{{ .Tools }}{{ .Thinking }}",
            (True, ["system", "user", "assistant", "tool"], True, True),
        ),
        ("{{ range .Messages }}{{ .Role }}: {{ .Content }}{{ end }}", (None, None, None, None)),
        ("", (None, None, None, None)),
    ],
)
def test_go_templates_say_what_they_name(template: str, expected: tuple[t.Any, ...]) -> None:
    assert told(from_ollama_show({"template": template}, render)) == expected


def test_a_server_s_words_outweigh_its_template() -> None:
    show = {"template": "{{ .Tools }}", "capabilities": ["completion", "thinking"]}
    assert told(from_ollama_show(show, render)) == (None, None, False, True)
    assert told(from_ollama_show({"capabilities": ["tools"]}, render)) == (None, None, True, False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = [
    "general.architecture", "general.file_type", "x.context_length", "tokenizer.chat_template", "text_config",
    "max_position_embeddings", "quantization_config", "dtype", "chat_template", "bos_token", "template", "details",
    "model_info", "capabilities",
]  # fmt: skip
DOCUMENTS = st.dictionaries(st.sampled_from(KEYS), JSON)


@given(DOCUMENTS, DOCUMENTS)
def test_values_of_any_type_are_borne(one: dict[str, t.Any], other: dict[str, t.Any]) -> None:
    for found in (from_gguf(one, render), from_config(one, other, None, render), from_ollama_show(one, render)):
        assert tuple(found) == CAPABILITIES
