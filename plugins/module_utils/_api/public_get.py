# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading public pages and documents within a time that is given once for all of them."""

from __future__ import annotations

import json
import time
import typing as t

from .._core.errors import LlmError
from .http_client import RETRIED, explain, failures, seconds_asked, session, shown, words
from .public_refusal import list_refused, no_list, too_long

# Bytes that one answer may have: the longest known, a library's whole page, has less than one million.
_LONGEST = 32 * 1024**2
_BLOCK = 65536
LATER = "Raise timeout, or ask again later."


class Deadline:
    """Seconds that are left of those that were given."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def passed(self, place: str) -> LlmError:
        return LlmError(
            "timeout",
            f"{place} did not answer within {self.seconds:g} seconds.",
            remedy=LATER,
        )

    def wait(self, status: int, headers: t.Mapping[str, str], place: str, attempt: int, model: str) -> None:
        """Sleep before the next try after `status`: as long as the other side asks, else longer each time.

        Raises the error of the answer where that would take longer than is left.
        """
        asked = seconds_asked(headers)
        pause = 0.5 * 2**attempt if asked is None else asked
        if pause >= self.left:
            raise too_long(status, place, asked, self.seconds, headers=headers, model=model)
        time.sleep(pause)


def get_text(url: str, deadline: Deadline, *, params: t.Mapping[str, str] | None = None, model: str = "") -> str:
    """The body of a good answer. Tries again after answers that may pass, while there is time.

    `model` names what the address is about, if it is one model and no list. Raises `timeout`, `unreachable`,
    `tls_failed`, `invalid_input` or the error of the answer.
    """
    place = shown(url)
    attempt = 0
    with session(retries=0, connections=1) as client:
        while True:
            if not deadline.left:
                raise deadline.passed(place)
            try:
                with client.get(url, params=params, timeout=deadline.left, stream=True) as answer:
                    if answer.status_code == 200:
                        return _read(answer, deadline, place)
                    status, headers = answer.status_code, dict(answer.headers)
            except failures() as failure:
                # A side that refuses the connection is down: another try a second later only costs time.
                if not deadline.left:
                    raise deadline.passed(place) from None
                raise explain(failure, place) or LlmError(
                    "unreachable", f"{place} could not be reached: {words(failure)}."
                ) from None
            if status not in RETRIED:
                raise list_refused(status, place, headers, model=model)
            deadline.wait(status, headers, place, attempt, model)
            attempt += 1


def get_document(
    url: str, deadline: Deadline, *, params: t.Mapping[str, str] | None = None, model: str = ""
) -> dict[str, t.Any]:
    """The JSON object at `url`; raises as `get_text` does, and `hub_error` where it is no object."""
    try:
        document = json.loads(get_text(url, deadline, params=params, model=model))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise no_list(shown(url), "something that is no JSON object")
    return document


def _read(answer: t.Any, deadline: Deadline, place: str) -> str:
    content = bytearray()
    for block in answer.iter_content(_BLOCK):
        content += block
        if len(content) > _LONGEST:
            raise no_list(place, f"more than {_LONGEST} bytes")
        if not deadline.left:
            raise deadline.passed(place)
    return content.decode("utf-8", "replace")
