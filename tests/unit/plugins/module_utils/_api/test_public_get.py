# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages read within a time: waits that are asked for, and those that are too long."""

from __future__ import annotations

import time
import typing as t
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._api.http_client import seconds_asked
from ansible_collections.llmops.fleet.plugins.module_utils._api.public_get import Deadline, get_document, get_text
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from recorded import Recorded, answer


@pytest.fixture
def server() -> t.Iterator[Recorded]:
    with Recorded() as running:
        yield running


def failure_of(server: Recorded, seconds: float = 5) -> LlmError:
    with pytest.raises(LlmError) as caught:
        get_text(f"{server.url}/page?key=secret", Deadline(seconds))
    assert "secret" not in str(caught.value)
    return caught.value


def asked_to_wait(value: str, status: int = 429) -> dict[str, t.Any]:
    case = answer("slow down", status)
    case["response"]["headers"] = {"Retry-After": value}
    return case


def test_a_page_is_read_with_its_words(server: Recorded) -> None:
    server.play(answer("grüße"))
    assert get_text(f"{server.url}/page", Deadline(5), params={"page": "2"}) == "grüße"
    assert server.asked[0].path == "/page?page=2"


def test_a_wait_that_fits_is_kept_to(server: Recorded) -> None:
    server.play(asked_to_wait("1"), answer("now"))
    begun = time.monotonic()
    assert get_text(server.url, Deadline(10)) == "now"
    assert 0.9 < time.monotonic() - begun < 5


def test_a_wait_that_does_not_fit_is_told_at_once(server: Recorded) -> None:
    server.play(asked_to_wait("3600"))
    begun = time.monotonic()
    failure = failure_of(server)
    assert time.monotonic() - begun < 2
    assert "answered 429 and asks to wait 3600 seconds" in str(failure)
    assert failure.details == {"status": 429, "retry_after": 3600.0}
    assert len(server.asked) == 1


def test_a_server_that_is_busy_for_a_moment_is_asked_again(server: Recorded) -> None:
    server.play(answer("", 503), answer("there"))
    assert get_text(server.url, Deadline(5)) == "there"


def test_a_server_that_stays_busy_is_given_up_in_time(server: Recorded) -> None:
    server.play(*[answer("", 503)] * 20)
    begun = time.monotonic()
    assert "answered 503" in str(failure_of(server, 1.2))
    assert time.monotonic() - begun < 3


def test_an_answer_that_stays_is_not_asked_for_again(server: Recorded) -> None:
    server.play(answer("", 404))
    assert failure_of(server).reason == "not_found"
    assert len(server.asked) == 1


def test_nobody_there(free_port: int) -> None:
    with pytest.raises(LlmError, match="refused the connection") as caught:
        get_text(f"http://127.0.0.1:{free_port}", Deadline(5))
    assert caught.value.reason == "unreachable"


@pytest.mark.parametrize("body", ["<html>", "[1]", "null"])
def test_a_document_is_an_object(server: Recorded, body: str) -> None:
    server.play(answer(body))
    with pytest.raises(LlmError, match="no JSON object"):
        get_document(server.url, Deadline(5))


def test_retry_after_is_seconds_or_a_date() -> None:
    soon = datetime.now(timezone.utc) + timedelta(seconds=60)
    assert seconds_asked({"Retry-After": "7"}) == 7
    assert seconds_asked({"retry-after": format_datetime(soon, usegmt=True)}) == pytest.approx(60, abs=2)
    assert seconds_asked({"retry-after": "Thu, 01 Jan 2015 00:00:00 GMT"}) == 0
    assert seconds_asked({"retry-after": "Thu, 01 Jan 2015 00:00:00"}) == 0
    assert seconds_asked({"retry-after": "soon"}) is None
    # A superscript two is a digit for Python, but no number.
    assert seconds_asked({"retry-after": "\xb2"}) is None
    assert seconds_asked({}) is None
