# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine that answers as llama-server does and lies in one chosen way, until it is told to be honest again.

What a liar does not lie about is right, so that only what proves the lie can find it. Replies are drawn anew for every
request, from a seed.
"""

from __future__ import annotations

import json
import random
import threading
import typing as t
from dataclasses import dataclass

from stand_in import Answers, DroppedError, Listener

COMPLETION, MODELS, PROPS = "/v1/chat/completions", "/v1/models", "/props"
# Seconds between two bytes of an answer that never ends.
_DROP = 0.05
_PAGES = (
    "<!DOCTYPE html><html><head><title>Welcome to nginx!</title></head><body><h1>Welcome!</h1></body></html>",
    "<html><body>Please sign in to continue.</body></html>",
)
_WORDS = ("the", "!", "<unk>", "[PAD]", "I am", "的", "0", "\\n", "G", "ha ha", "<|im_end|>", "}{")
_SPACES = (" ", "\n", "\t", "\r\n", "\u00a0", "\u200b", "\u3000", "\ufeff")
_MESSAGE = {"role": "assistant", "content": "Model alpha speaking from this host."}
_BEYOND = float("inf")
# By the path that answers so.
_MALFORMED: dict[str, tuple[t.Any, ...]] = {
    COMPLETION: (
        [], None, 7, "ok", {}, {"choices": []}, {"choices": None}, {"choices": [None]}, {"choices": [{"message": None}]},
        {"choices": [{"text": _MESSAGE["content"]}]}, {"error": {"message": "CUDA error", "code": 500}},
        {"choices": [{"message": {"content": 7}}]}, {"choices": [{"message": {"content": {"text": "I am."}}}]},
        {"choices": [{"message": {"content": [{"type": "text", "text": "I am."}]}}]},
        {"choices": [{"message": _MESSAGE}], "usage": {"completion_tokens": _BEYOND}},
        {"choices": [{"message": _MESSAGE}], "usage": [1]},
    ),
    MODELS: (
        [], None, "chat", {"data": "chat"}, {"data": {"id": "chat"}}, {"data": [None, 7]},
        {"data": [{"id": None, "aliases": "chat"}]}, {"data": [{"id": ["chat"], "aliases": 7}]},
    ),
    PROPS: (
        [], None, 7, {}, {"model_path": None}, {"model_path": ["chat"], "default_generation_settings": []},
        {"model_path": 7, "default_generation_settings": {"n_ctx": "many"}},
        {"model_path": 7, "default_generation_settings": {"n_ctx": _BEYOND}},
    ),
}  # fmt: skip


@dataclass
class Truth:
    """What an honest engine would say; `reply` is its text for every prompt."""

    model_path: str
    names: tuple[str, ...]
    context: int
    reply: str


@dataclass(frozen=True)
class Lie:
    """`text` makes the reply from what was asked, `facts` changes what it tells of itself, `manner` answers otherwise
    what is asked at `path`."""

    text: t.Callable[[random.Random, Asked], str] | None = None
    facts: t.Callable[[random.Random, Truth], Truth] | None = None
    manner: t.Callable[[_Engine, random.Random], None] | None = None
    path: str = COMPLETION
    # Seconds that a whole reply takes.
    slow: float = 0.0


@dataclass(frozen=True)
class Asked:
    model: str
    prompt: str
    truth: Truth


# --- texts ---


def _noise_of_bytes(draw: random.Random, _asked: Asked) -> str:
    return bytes(draw.randrange(128, 256) for _byte in range(draw.randrange(20, 60))).decode("utf-8", "replace")


def _noise_of_characters(draw: random.Random, _asked: Asked) -> str:
    areas = ((0x0, 0x9), (0xE, 0x20), (0x80, 0xA0), (0xE000, 0xF8FF), (0xFFFD, 0xFFFE), (0xF0000, 0xFFFFD))
    return "".join(chr(draw.randrange(*draw.choice(areas))) for _letter in range(draw.randrange(8, 40)))


def _name(draw: random.Random, asked: Asked) -> str:
    return draw.choice(("{}", "{}.", " {}\n", '"{}"', "'{}'", "*{}*")).format(
        draw.choice((asked.model, asked.model.upper(), asked.model.title()))
    )


def _prompt(draw: random.Random, asked: Asked) -> str:
    text = draw.choice((asked.prompt, asked.prompt.lower(), f'"{asked.prompt}"', f"{asked.prompt}\n{asked.prompt}"))
    return text[: draw.randrange(max(1, 3 * len(text) // 4), len(text) + 1)]


def _repeated(draw: random.Random, _asked: Asked) -> str:
    return draw.choice(("", " ", "\n")).join([draw.choice(_WORDS)] * draw.randrange(16, 33))


def _other_answer(draw: random.Random, asked: Asked) -> str:
    """Right where everybody asks, wrong elsewhere."""
    if asked.prompt.startswith("Say who"):
        return asked.truth.reply
    words = asked.truth.reply.split()
    words[draw.randrange(len(words))] = draw.choice(("gamma", "nobody", "elsewhere"))
    return " ".join(words)


# --- facts ---


def _smaller_context(draw: random.Random, truth: Truth) -> Truth:
    return Truth(truth.model_path, truth.names, draw.randrange(1, truth.context), truth.reply)


def _other_path(draw: random.Random, truth: Truth) -> Truth:
    folder, _slash, name = truth.model_path.rpartition("/")
    path = draw.choice((f"/tmp/{name}", f"{folder}/beta.gguf", f"{folder}/{name}.old", name, truth.model_path.upper()))
    return Truth(path, truth.names, truth.context, truth.reply)


def _other_names(draw: random.Random, truth: Truth) -> Truth:
    names = draw.choice(((), ("gpt-4o",), (f"{truth.names[0]}-2",), (truth.names[0].upper(),), ("/models/a.gguf",)))
    return Truth(truth.model_path, names, truth.context, truth.reply)


# --- manners ---


def _hang(engine: _Engine, _draw: random.Random) -> None:
    engine.listener.over.wait()
    raise DroppedError


def _drip_body(engine: _Engine, draw: random.Random) -> None:
    """A good head, and then white space for ever, which may stand before every JSON."""
    engine.begin(200, {"Content-Type": "application/json"})
    while not engine.listener.over.wait(_DROP):
        engine.chunk(draw.choice((" ", "\n", "\t")))
    raise DroppedError


def _drip_head(engine: _Engine, draw: random.Random) -> None:
    """A header that never ends."""
    engine.wfile.write(b"HTTP/1.1 200 OK\r\nX-Wait: ")
    while not engine.listener.over.wait(_DROP):
        engine.wfile.write(bytes([draw.randrange(97, 123)]))
    raise DroppedError


def _flood(engine: _Engine, draw: random.Random) -> None:
    """An answer that comes fast and has no end."""
    engine.begin(200, {"Content-Type": "application/json"})
    block = draw.choice((" ", "[", '{"a":')) * 100_000
    while not engine.listener.over.is_set():
        engine.chunk(block)
    raise DroppedError


def _close(engine: _Engine, draw: random.Random) -> None:
    if draw.random() < 0.5:
        engine.wfile.write(
            b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"choices":'
        )
    raise DroppedError


def _page(engine: _Engine, draw: random.Random) -> None:
    engine.send(200, "text/html; charset=utf-8", draw.choice(_PAGES).encode())


def _failure(engine: _Engine, draw: random.Random) -> None:
    engine.json(draw.choice((400, 404, 500, 502, 503)), {"error": {"message": "Compute error.", "code": 500}})


def _malformed(engine: _Engine, draw: random.Random) -> None:
    engine.json(200, draw.choice(_MALFORMED[engine.path]))


LIES: dict[str, Lie] = {
    "hangs": Lie(manner=_hang),
    "drips for ever": Lie(manner=_drip_body),
    "drips its head for ever": Lie(manner=_drip_head),
    "floods": Lie(manner=_flood),
    "empties": Lie(text=lambda _draw, _asked: ""),
    "white space": Lie(text=lambda draw, _asked: "".join(draw.choices(_SPACES, k=draw.randrange(1, 16)))),
    "noise of bytes": Lie(text=_noise_of_bytes),
    "noise of characters": Lie(text=_noise_of_characters),
    "echo of the name": Lie(text=_name),
    "echo of the prompt": Lie(text=_prompt),
    "one token repeated": Lie(text=_repeated),
    "wrong context": Lie(facts=_smaller_context),
    "wrong model": Lie(facts=_other_path),
    "names not served": Lie(facts=_other_names),
    "slow": Lie(slow=0.5),
    # It is as fast as asked and right in all it says; only where the weights are is not what was wished.
    "CPU instead of GPU": Lie(),
    "other answers": Lie(text=_other_answer),
    "closes the connection": Lie(manner=_close),
    "a page instead of JSON": Lie(manner=_page),
    "an error": Lie(manner=_failure),
    "malformed JSON": Lie(manner=_malformed),
    "hangs at its names": Lie(manner=_hang, path=MODELS),
    "drips its names for ever": Lie(manner=_drip_body, path=MODELS),
    "malformed names": Lie(manner=_malformed, path=MODELS),
    "hangs at its facts": Lie(manner=_hang, path=PROPS),
    "malformed facts": Lie(manner=_malformed, path=PROPS),
    "no facts": Lie(manner=_failure, path=PROPS),
}  # fmt: skip


class Liar(Listener):
    """The engine; `lie` is a name of `LIES`, or None for the truth. Both can be changed while it listens."""

    def __init__(self, truth: Truth, lie: str | None = None, *, port: int = 0, seed: str = "") -> None:
        super().__init__(port=port)
        self.truth, self.lie = truth, lie
        self.over = threading.Event()
        self._draw = random.Random(f"{seed} {lie}")
        self._lock = threading.Lock()

    def draw(self) -> random.Random:
        """A source of its own for each request, so that requests side by side do not mix."""
        with self._lock:
            return random.Random(self._draw.random())

    def __enter__(self) -> Liar:
        self.listen(_Engine)
        return self

    def __exit__(self, *_arguments: object) -> None:
        self.over.set()
        self.stop()


class _Engine(Answers):
    listener: Liar

    def answer(self) -> None:
        path, draw = self.path.partition("?")[0], self.listener.draw()
        lie = LIES[self.listener.lie] if self.listener.lie else Lie()
        truth = self.listener.truth
        if lie.manner and path == lie.path:
            lie.manner(self, draw)
            return
        told = lie.facts(draw, truth) if lie.facts else truth
        if path == "/health":
            self.json(200, {"status": "ok"})
        elif path == MODELS:
            first = told.names[0] if told.names else ""
            entries = [{"id": first, "aliases": list(told.names), "object": "model"}] if told.names else []
            self.json(200, {"object": "list", "data": entries})
        elif path == PROPS:
            settings = {"n_ctx": told.context}
            self.json(
                200, {"default_generation_settings": settings, "model_path": told.model_path, "is_sleeping": False}
            )
        elif path == "/slots":
            self.json(200, [{"id": 0, "n_ctx": told.context, "is_processing": False}])
        elif path == COMPLETION and self.command == "POST":
            self._complete(lie, draw)
        else:
            self.json(404, {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}})

    def _complete(self, lie: Lie, draw: random.Random) -> None:
        request = json.loads(self.body)
        asked = Asked(str(request["model"]), str(request["messages"][-1]["content"]), self.listener.truth)
        text = lie.text(draw, asked) if lie.text else asked.truth.reply
        if lie.slow and self.listener.over.wait(lie.slow):
            raise DroppedError
        most = int(request["max_tokens"])
        tokens = max(1, min(most, len(text.encode("utf-8", "replace")) // 4))
        self.json(
            200,
            {
                "object": "chat.completion",
                "model": asked.model,
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
                "usage": {"prompt_tokens": 12, "completion_tokens": tokens, "total_tokens": 12 + tokens},
            },
        )
