# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP over `requests`: sessions that retry with back-off, and downloads that go on where they broke off."""

from __future__ import annotations

import sys
import time
import typing as t

from .._core.errors import LlmError
from .._core.ports import Sink

if t.TYPE_CHECKING:
    import requests

# Answers after which the same request may succeed (RFC 9110, RFC 6585, RFC 8470).
RETRIED = (408, 425, 429, 500, 502, 503, 504)
_BLOCK = 1 << 20
# Breaks in a row without a single new byte after which a download is given up.
_FRUITLESS = 5


def _library() -> t.Any:
    """`requests`, imported when it is first used: a run with nothing to fetch does not wait for it."""
    try:
        import requests
    except ImportError as cause:
        raise LlmError(
            "library_missing", f"The Python library requests is not there for {sys.executable}: {cause}."
        ) from cause
    return requests


def session(*, retries: int = 5, connections: int = 8) -> requests.Session:
    """A session that repeats idempotent requests after connection failures and the answers in `RETRIED`.

    It honours Retry-After and doubles its waits from half a second. Raises `library_missing`.
    """
    library = _library()
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(
        total=retries,
        connect=min(retries, 3),
        status_forcelist=RETRIED,
        backoff_factor=0.5,
        backoff_max=30,
        respect_retry_after_header=True,
        raise_on_status=False,
    )
    made: requests.Session = library.Session()
    for scheme in ("http://", "https://"):
        made.mount(scheme, HTTPAdapter(max_retries=retry, pool_maxsize=connections))
    return made


def get_json(url: str, *, headers: t.Mapping[str, str] | None = None, timeout: float = 5.0) -> tuple[int, t.Any]:
    """One GET without retry: status and parsed body (its text where it is not JSON). 0 is "no answer"."""
    return _once("GET", url, headers=headers, timeout=timeout)


def post_json(
    url: str, body: t.Any, *, headers: t.Mapping[str, str] | None = None, timeout: float = 120.0
) -> tuple[int, t.Any]:
    """One POST without retry, answered as `get_json` does."""
    return _once("POST", url, headers=headers, timeout=timeout, body=body)


def _once(
    method: str, url: str, *, headers: t.Mapping[str, str] | None, timeout: float, body: t.Any = None
) -> tuple[int, t.Any]:
    with session(retries=0) as client:
        # Runtimes are reached directly, whatever proxy the host's environment names.
        client.trust_env = False
        try:
            answer = client.request(method, url, headers=dict(headers or {}), json=body, timeout=timeout)
        except _library().RequestException as failure:
            return 0, str(failure)
    try:
        return answer.status_code, answer.json()
    except ValueError:
        return answer.status_code, answer.text


def download(
    client: requests.Session, url: str, sink: Sink, *, size: int, headers: t.Mapping[str, str], timeout: float
) -> None:
    """Pour a file of `size` bytes into the sink, from the sink's offset on.

    A break is answered by asking for the rest, as long as each try brings bytes. Credentials are dropped by
    `requests` when a redirect leads to another host. Raises `transfer_failed`, or the error of the answer.
    """
    fruitless = 0
    while sink.offset < size:
        before = sink.offset
        said = _pour_once(client, url, sink, headers=headers, timeout=timeout)
        if sink.offset >= size:
            return
        fruitless = 0 if sink.offset > before else fruitless + 1
        if fruitless >= _FRUITLESS:
            raise LlmError(
                "transfer_failed",
                f"{sink.offset} of {size} bytes arrived from {_shown(url)}, then nothing more: {said}.",
                bytes_received=sink.offset,
                bytes_expected=size,
            )
        time.sleep(min(0.2 * 2**fruitless, 5))


def _pour_once(client: requests.Session, url: str, sink: Sink, *, headers: t.Mapping[str, str], timeout: float) -> str:
    from urllib3.exceptions import HTTPError as Urllib3Error

    asked = {**headers, "Accept-Encoding": "identity"}
    if sink.offset:
        asked["Range"] = f"bytes={sink.offset}-"
    try:
        with client.get(url, headers=asked, stream=True, timeout=timeout) as answer:
            if answer.status_code == 416 or (answer.status_code == 200 and sink.offset):
                # The server cannot go on from there: from the first byte then.
                sink.restart()
                if answer.status_code == 416:
                    return "the server refused the range"
            elif answer.status_code not in (200, 206):
                raise refused(answer.status_code, f"{_shown(url)}", dict(answer.headers))
            elif answer.status_code == 206 and not _starts_at(answer.headers.get("Content-Range", ""), sink.offset):
                sink.restart()
                return "the server sent another range than asked"
            while block := answer.raw.read(_BLOCK):
                sink.write(block)
        return "the connection ended early"
    except (_library().RequestException, Urllib3Error) as failure:
        return f"{type(failure).__name__}"


def _starts_at(content_range: str, offset: int) -> bool:
    """Whether `bytes 10-99/100` starts at `offset`."""
    unit, _space, span = content_range.partition(" ")
    return unit == "bytes" and span.split("-")[0] == str(offset)


def refused(status: int, place: str, headers: t.Mapping[str, str]) -> LlmError:
    """The error for an answer that is not the wished one."""
    code = next((value for name, value in headers.items() if name.lower() == "x-error-code"), "")
    if code == "GatedRepo":
        return LlmError("gated", f"{place} answered {status}: the repository is gated.", status=status)
    if status == 401:
        return LlmError("auth_error", f"{place} answered 401: credentials are missing or wrong.", status=status)
    if status == 403:
        return LlmError("forbidden", f"{place} answered 403: access is denied.", status=status)
    if status == 404:
        return LlmError("not_found", f"{place} answered 404: it is not there.", status=status)
    return LlmError("hub_error", f"{place} answered {status}.", status=status)


def _shown(url: str) -> str:
    """A URL for a message: without credentials and query, where signatures stand."""
    scheme, _separator, rest = url.split("?", maxsplit=1)[0].partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
