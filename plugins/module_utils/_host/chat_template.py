# SPDX-License-Identifier: GPL-3.0-or-later
"""Jinja chat templates, rendered as transformers does (utils/chat_template_utils.py), in Jinja's sandbox."""

from __future__ import annotations

import json
import sys
import typing as t
from datetime import datetime
from functools import lru_cache

from .._core.errors import LlmError

if t.TYPE_CHECKING:
    import jinja2


def render(template: str, messages: list[dict[str, t.Any]], special_tokens: dict[str, str]) -> str:
    """The prompt up to where the assistant begins. Raises what the template raises, or `library_missing`."""
    variables = {"tools": None, "documents": None, "add_generation_prompt": True, **special_tokens}
    return _compiled(template).render(messages=messages, **variables)


@lru_cache(maxsize=4)
def _compiled(template: str) -> jinja2.Template:
    try:
        from jinja2 import TemplateError, nodes
        from jinja2.ext import Extension, loopcontrols
        from jinja2.parser import Parser
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as cause:
        raise LlmError(
            "library_missing", f"The Python library jinja2 is not there for {sys.executable}: {cause}."
        ) from cause

    class Generation(Extension):
        """`{% generation %}` marks what an assistant wrote, for training; here it is its content."""

        tags = {"generation"}  # noqa: RUF012 - Jinja declares it so.

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            # Names set inside stay inside, as they do where the tag has a meaning.
            return nodes.Scope(body, lineno=line)

    def raise_exception(message: str) -> t.NoReturn:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = _now
    return environment.from_string(template)


def _to_json(
    value: t.Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON. Jinja's own filter writes <, >, & and ' as escapes, for web pages."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
