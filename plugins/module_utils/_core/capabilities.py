# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model can do, from what its own files or its server say. What they do not say is None, never a guess.

A chat template is a program; what it does with a role is found out by rendering a message of that role.
"""

from __future__ import annotations

import re
import typing as t

from .model import CAPABILITIES

Capabilities = dict[str, t.Any]
Message = dict[str, t.Any]


class Render(t.Protocol):
    """Renders a Jinja chat template over messages. Any exception says that the template refuses them."""

    def __call__(self, template: str, messages: list[Message], special_tokens: dict[str, str], /) -> str: ...


# `general.file_type` of GGUF files: enum llama_ftype in llama.cpp, include/llama.h.
LLAMA_FTYPE = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS",
    20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M",
    28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE",
}  # fmt: skip
# Where transformers' configurations keep the language model of a multimodal one, and the names of its length.
_LANGUAGE_PARTS = ("text_config", "llm_config", "language_config")
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
# What templates of reasoning models write or ask for. The last three are those of DeepSeek, gpt-oss and Magistral.
_REASONING = ("<think>", "enable_thinking", "reasoning_content", "</think>", "reasoning_effort", "[THINK]")
# A GGUF file has its tokens as numbers into a list that is not kept, and templates add these texts to others.
_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
_CALL_ID = "callcall1"  # Templates of Mistral accept an id of nine letters and digits only.


def from_gguf(metadata: t.Mapping[str, t.Any], render: Render) -> Capabilities:
    """From the pairs of a GGUF header; its key names are those of ggml, docs/gguf.md."""
    # A second template, for tools alone, has its name behind the key of the first (llama.cpp, gguf-py).
    for_tools = _text(metadata.get("tokenizer.chat_template.tool_use"))
    return {
        **_from_template(_text(metadata.get("tokenizer.chat_template")), for_tools, _TOKENS, render),
        "max_context_length": _gguf_length(metadata),
        "quantization": _gguf_quantization(metadata),
    }


def from_config(
    config: t.Mapping[str, t.Any], tokenizer_config: t.Mapping[str, t.Any], template: str | None, render: Render
) -> Capabilities:
    """From config.json and tokenizer_config.json as transformers writes them; `template` is chat_template.jinja."""
    for_tools = None
    if template is None:
        template, for_tools = _named_templates(tokenizer_config.get("chat_template"))
    inner = [_mapping(config.get(name)) for name in _LANGUAGE_PARTS]
    return {
        **_from_template(template, for_tools, _special_tokens(tokenizer_config), render),
        "max_context_length": _first(_count(part.get(name)) for part in [*inner, config] for name in _LENGTHS),
        "quantization": _config_quantization([config, *inner]),
    }


def from_ollama_show(show: t.Mapping[str, t.Any], render: Render) -> Capabilities:
    """From the answer of Ollama's POST /api/show (docs/api.md, "Show Model Information")."""
    template = _text(show.get("template"))
    # Templates are Go's, but a model made from a GGUF file answers with the Jinja one of that file.
    jinja = template is not None and "{%" in template
    read = _from_template(template, None, _TOKENS, render) if jinja else _from_go_template(template)
    words = show.get("capabilities")
    if isinstance(words, list):
        read["supports_function_calling"] = "tools" in words
        read["supports_reasoning"] = "thinking" in words
    details, information = _mapping(show.get("details")), _mapping(show.get("model_info"))
    level = _text(details.get("quantization_level"))
    read["max_context_length"] = _gguf_length(information)
    read["quantization"] = level if level and level != "unknown" else _gguf_quantization(information)
    return read


def _from_template(
    template: str | None, for_tools: str | None, special_tokens: dict[str, str], render: Render
) -> Capabilities:
    """Everything that a Jinja template, and the one for tools where there is one, show."""
    found: Capabilities = dict.fromkeys(CAPABILITIES)
    texts = [text for text in (template, for_tools) if text is not None]
    if texts:
        found["supports_function_calling"] = any(_reads_variable(text, "tools") for text in texts)
        found["supports_reasoning"] = any(mark in text for mark in _REASONING for text in texts)
    if template is not None:
        found["prompt_template"] = template
        tools = found["supports_function_calling"]
        found.update(_Probe(template, for_tools or template, special_tokens, render).roles(tools))
    return found


class _Probe:
    """Messages with words that no template has, and a look for these words in what is rendered."""

    def __init__(self, template: str, for_tools: str, special_tokens: dict[str, str], render: Render) -> None:
        self._template = template
        self._for_tools = for_tools
        self._special_tokens = special_tokens
        self._render = render
        self._typed = False

    def roles(self, tools: bool) -> Capabilities:
        self._typed = not self._shows("userword", [self._message("user")])
        if self._typed and not self._shows("userword", [self._message("user")]):
            # Not even a user can speak: nothing of the template is understood here.
            return {"supports_system_role": None, "allowed_roles": None}
        system = self._shows("systemword", [self._message("system"), self._message("user")])
        roles = ["system"] if system else []
        roles += ["user", "assistant"]
        # Templates that refuse one role often write out every other name; there only one that reads tools counts.
        if (system or tools) and self._shows_tool():
            roles.append("tool")
        return {"supports_system_role": system, "allowed_roles": roles}

    def _message(self, role: str) -> Message:
        """Some templates take content as text, some only as a list of typed parts."""
        text = f"{role}word"
        return {"role": role, "content": [{"type": "text", "text": text}] if self._typed else text}

    def _shows(self, word: str, messages: list[Message], template: str = "") -> bool:
        try:
            return word in self._render(template or self._template, messages, dict(self._special_tokens))
        except Exception:
            # The port says so: whatever a template's program runs into, it does not take these messages.
            return False

    def _shows_tool(self) -> bool:
        # Arguments are a mapping for transformers and a text in OpenAI's API; templates take one of the two.
        for arguments in ({"place": "here"}, '{"place": "here"}'):
            call = {"id": _CALL_ID, "type": "function", "function": {"name": "look", "arguments": arguments}}
            asking = {"role": "assistant", "content": "", "tool_calls": [call]}
            answer = {**self._message("tool"), "tool_call_id": _CALL_ID, "name": "look"}
            if self._shows("toolword", [self._message("user"), asking, answer], self._for_tools):
                return True
        return False


_OUTSIDE = re.compile(r"\{[{%#]")
_INSIDE = re.compile(r"'(?:[^'\\]|\\.)*'?|\"(?:[^\"\\]|\\.)*\"?|[}%]\}|(?<![\w.])[A-Za-z_]\w*", re.DOTALL)


def _reads_variable(template: str, name: str) -> bool:
    """Whether the name stands in Jinja's own part of the template: not in its text, a string or a comment."""
    at, inside = 0, False
    while True:
        found = (_INSIDE if inside else _OUTSIDE).search(template, at)
        if found is None:
            return False
        at, token = found.end(), found.group()
        if token == "{#":
            end = template.find("#}", at)
            at = len(template) if end < 0 else end + 2
        elif token in ("{{", "{%", "}}", "%}"):
            inside = not inside
        elif token == name:
            return True


def _from_go_template(template: str | None) -> Capabilities:
    """What a template of Ollama (Go's text/template, docs/template.md) says by the fields it names."""
    found: Capabilities = dict.fromkeys(CAPABILITIES)
    if template is None:
        return found
    found["prompt_template"] = template
    # Without a mention nothing is known: a loop may write out every role by its name, and Ollama's own renderer
    # may stand in for a template that is `{{ .Prompt }}` only.
    if re.search(r"\.System\b|\"system\"", template):
        tool = ["tool"] if re.search(r"\"tool\"", template) else []
        found["supports_system_role"] = True
        found["allowed_roles"] = ["system", "user", "assistant", *tool]
    # Servers that list no capabilities leave these.
    if re.search(r"\.Tools\b", template):
        found["supports_function_calling"] = True
    if re.search(r"\.Think(ing)?\b", template):
        found["supports_reasoning"] = True
    return found


def _named_templates(value: t.Any) -> tuple[str | None, str | None]:
    """The template and the one for tools: of one text, or of a list of `name` and `template`."""
    if not isinstance(value, list):
        return _text(value), None
    named = {str(entry.get("name")): _text(entry.get("template")) for entry in value if isinstance(entry, t.Mapping)}
    return named.get("default"), named.get("tool_use")


def _special_tokens(tokenizer_config: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Tokens by name; each is a text, or a mapping with it as `content`."""
    found = dict(_TOKENS)
    for name, value in tokenizer_config.items():
        text = _text(_mapping(value).get("content") if isinstance(value, t.Mapping) else value)
        if isinstance(name, str) and name.endswith("_token") and text is not None:
            found[name] = text
    return found


def _config_quantization(parts: t.Sequence[t.Mapping[str, t.Any]]) -> str | None:
    """The method of the weights' quantization, or the type of their numbers where they are not quantized."""
    methods = (_text(_mapping(part.get("quantization_config")).get("quant_method")) for part in parts)
    types = (_text(part.get(name)) for part in parts for name in ("torch_dtype", "dtype"))
    return _first(methods) or _first(types)


def _gguf_length(metadata: t.Mapping[str, t.Any]) -> int | None:
    return _count(metadata.get(f"{metadata.get('general.architecture')}.context_length"))


def _gguf_quantization(metadata: t.Mapping[str, t.Any]) -> str | None:
    kind = metadata.get("general.file_type")
    return LLAMA_FTYPE.get(kind) if isinstance(kind, int) and not isinstance(kind, bool) else None


_Value = t.TypeVar("_Value")


def _first(values: t.Iterable[_Value | None]) -> _Value | None:
    return next((value for value in values if value is not None), None)


def _text(value: t.Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: t.Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _mapping(value: t.Any) -> t.Mapping[str, t.Any]:
    return value if isinstance(value, t.Mapping) else {}
