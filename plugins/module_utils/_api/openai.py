# SPDX-License-Identifier: GPL-3.0-or-later
"""The OpenAI-compatible wire that every engine speaks: list of models, one completion."""

from __future__ import annotations

import time
import typing as t

from .._core.engine import Completion, Endpoint
from .._core.errors import LlmError
from .http_client import get_json, post_json


def authorization(endpoint: Endpoint) -> dict[str, str]:
    return {"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}


def list_models(endpoint: Endpoint, *, timeout: float = 5.0) -> list[dict[str, t.Any]]:
    """The entries of `/v1/models`; raises `proof_failed` when the answer is not such a list."""
    status, body = get_json(f"{endpoint.url}/v1/models", headers=authorization(endpoint), timeout=timeout)
    entries = body.get("data") if isinstance(body, dict) else None
    if status != 200 or not isinstance(entries, (list, type(None))):
        raise LlmError(
            "proof_failed", f"{endpoint.url}/v1/models answered {status or 'nothing'}.", said=str(body)[:500]
        )
    return [entry for entry in entries or () if isinstance(entry, dict)]


def complete(endpoint: Endpoint, model: str, prompt: str, *, max_tokens: int, timeout: float) -> Completion:
    """One greedy reply; raises `proof_failed` for anything that is not a completion."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": 0,
    }
    started = time.monotonic()
    status, answer = post_json(
        f"{endpoint.url}/v1/chat/completions", body, headers=authorization(endpoint), timeout=timeout
    )
    seconds = time.monotonic() - started
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        # A model that thinks first may not have come to its answer: what it thinks are tokens too.
        text = message.get("content") or message.get("reasoning_content") or message.get("reasoning") or ""
        if not isinstance(text, str):
            raise TypeError("a reply that is no text")
        tokens = int((answer.get("usage") or {}).get("completion_tokens") or 0)
    except (AttributeError, TypeError, KeyError, IndexError, ValueError, OverflowError):
        said = str(answer)[:500]
        raise LlmError(
            "proof_failed", f"{endpoint.url} answered {status or 'nothing'} instead of a completion.", said=said
        ) from None
    return Completion(text, str(answer.get("model") or ""), tokens, seconds, choice.get("finish_reason"))
