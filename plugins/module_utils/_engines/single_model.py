# SPDX-License-Identifier: GPL-3.0-or-later
"""What engines have in common that serve the one model they were started with, over the OpenAI-compatible wire."""

from __future__ import annotations

import re
import typing as t

from .._api import openai
from .._core.engine import BROKEN, REFUSED, Completion, Endpoint, Health, Meaning, Settings
from .._core.errors import LlmError

# A pattern of a log line, the reason code it stands for, and a sentence that its groups are put into.
Meanings = t.Sequence[tuple[str, str, str]]


class SingleModel:
    """The parts of `Engine` that such an engine need not say again."""

    name: str
    resident = False
    listens_everywhere = False
    places_threads = False
    reads_interfaces = False
    sleep_levels: tuple[int, ...] = ()
    meanings: t.ClassVar[Meanings] = ()

    def complete(self, endpoint: Endpoint, model: str, prompt: str, *, max_tokens: int, timeout: float) -> Completion:
        return openai.complete(endpoint, model, prompt, max_tokens=max_tokens, timeout=timeout)

    def in_flight(self, endpoint: Endpoint) -> int | None:
        del endpoint
        return None

    def check_sleep(self, settings: Settings) -> None:
        del settings
        raise LlmError("unsupported", f"The engine {self.name} cannot sleep.", remedy="Use state: stopped.")

    def sleep(self, endpoint: Endpoint, settings: Settings, level: int) -> None:
        del endpoint, level
        self.check_sleep(settings)

    def wake(self, endpoint: Endpoint, settings: Settings) -> None:
        del endpoint, settings
        raise LlmError("unsupported", f"The engine {self.name} cannot sleep.", remedy="Use state: started.")

    def load(self, endpoint: Endpoint, settings: Settings, timeout: float) -> None:
        del endpoint, settings, timeout
        raise ValueError(f"{self.name} serves the model that it is started with")

    def release(self, endpoint: Endpoint, settings: Settings, kept_names: t.Container[str]) -> None:
        del endpoint, settings, kept_names
        raise ValueError(f"{self.name} serves the model that it is started with")

    def keep(self, endpoint: Endpoint, runtime: str, digests: t.Collection[str]) -> None:
        """Nothing: the store has the bytes."""

    def meaning(self, log: str) -> Meaning | None:
        return meaning_of(log, self.meanings)


def unwell(status: int, said: str) -> Health:
    """What a look that found no good answer means: nobody listens, somebody says nothing, or nothing good."""
    nobody = status == 0 and "did not answer within" not in said and "timed out" not in said
    return Health(REFUSED if nobody else BROKEN, said[:200])


def meaning_of(log: str, meanings: Meanings) -> Meaning | None:
    """The first known line of a log, most telling pattern first."""
    for pattern, reason, sentence in meanings:
        found = re.search(pattern, log)
        if found:
            return Meaning(reason, sentence.format(*(group or "" for group in found.groups())))
    return None
