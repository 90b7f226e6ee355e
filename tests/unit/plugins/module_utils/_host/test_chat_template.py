# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sys
from datetime import datetime

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._host import chat_template
from ansible_collections.llmops.fleet.plugins.module_utils._host.chat_template import render
from jinja2.exceptions import SecurityError, TemplateError

HELLO = [{"role": "user", "content": "hello"}]


def test_blocks_leave_no_lines_of_their_own() -> None:
    template = "{% for message in messages %}\n    {% if true %}\n{{ message.role }}: {{ message.content }}\n    {% endif %}\n{% endfor %}\n"
    assert render(template, HELLO, {}) == "user: hello\n"


def test_special_tokens_are_variables() -> None:
    assert render(
        "{{ bos_token + messages[0]['content'] + eos_token }}", HELLO, {"bos_token": "<s>", "eos_token": "."}
    ) == ("<s>hello.")


def test_the_assistant_is_asked_to_begin() -> None:
    assert render("{% if add_generation_prompt %}assistant:{% endif %}", HELLO, {}) == "assistant:"


def test_there_are_no_tools() -> None:
    assert render("{{ tools is none and documents is none }}", HELLO, {}) == "True"


def test_a_template_can_refuse() -> None:
    with pytest.raises(TemplateError, match="no system role"):
        render("{{ raise_exception('no system role') }}", HELLO, {})


def test_a_loop_can_break() -> None:
    assert render("{% for x in range(9) %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}", HELLO, {}) == "01"


def test_the_day_is_known() -> None:
    assert render("{{ strftime_now('%Y') }}", HELLO, {}) == str(datetime.now().year)


def test_json_is_not_escaped_for_web_pages() -> None:
    assert render("{{ {'b': '<é>', 'a': \"it's\"} | tojson }}", HELLO, {}) == '{"b": "<é>", "a": "it\'s"}'
    assert render("{{ {'b': 1, 'a': 2} | tojson(indent=1, sort_keys=true) }}", HELLO, {}) == '{\n "a": 2,\n "b": 1\n}'
    assert render("{{ ['é', 1] | tojson(ensure_ascii=true, separators=(',', ':')) }}", HELLO, {}) == '["\\u00e9",1]'


def test_a_generation_block_is_its_content() -> None:
    template = (
        "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ messages[0].content }}{{ x }}{% endgeneration %}{{ x }}"
    )
    assert render(template, HELLO, {}) == "hello21"


@pytest.mark.parametrize(
    "template", ["{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{{ messages[0].update(role='x') }}"]
)
def test_a_template_is_in_a_sandbox(template: str) -> None:
    with pytest.raises(SecurityError):
        render(template, HELLO, {})


@pytest.mark.parametrize("template", ["{% for %}", "{{ missing.part.of.it }}", "{% generation %}", "{{ 1 / 0 }}"])
def test_a_broken_template_raises(template: str) -> None:
    with pytest.raises((TemplateError, ZeroDivisionError)):
        render(template, HELLO, {})


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    chat_template._compiled.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(LlmError) as raised:
        render("x", HELLO, {})
    assert raised.value.reason == "library_missing"
    assert "jinja2" in raised.value.what
