# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP over `requests`: sessions that retry with back-off, and what answers and failures mean."""

from __future__ import annotations

import json
import re
import sys
import time
import typing as t
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from .._core.errors import LlmError
from .background import Background

if t.TYPE_CHECKING:
    import requests

# Answers after which the same request may succeed (RFC 9110, RFC 6585, RFC 8470).
RETRIED = (408, 425, 429, 500, 502, 503, 504)
# Seconds that a server may have us wait by Retry-After; one that wants more is asked again by the next run.
_LONGEST_WAIT = 120.0
# Bytes of a runtime's answer; lists of models and replies are far below it.
_LONGEST = 8 * 1024**2
_BLOCK = 65536


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

    class Patient(Retry):
        def get_retry_after(self, response: t.Any) -> float | None:
            asked = super().get_retry_after(response)
            return None if asked is None else min(float(asked), _LONGEST_WAIT)

    retry = Patient(
        total=retries,
        connect=min(retries, 3),
        status_forcelist=RETRIED,
        backoff_factor=0.5,
        backoff_max=30,
        respect_retry_after_header=True,
        raise_on_status=False,
    )
    made: requests.Session = library.Session()
    # The host's .netrc would replace the credentials that we send; proxies of its environment are used all the same.
    made.auth = _as_it_is
    for scheme in ("http://", "https://"):
        made.mount(scheme, HTTPAdapter(max_retries=retry, pool_maxsize=connections))
    return made


def _as_it_is(request: t.Any) -> t.Any:
    """Adds nothing to a request but the credentials that its own address has."""
    from requests.auth import HTTPBasicAuth
    from requests.utils import get_auth_from_url

    pair = get_auth_from_url(request.url)
    return HTTPBasicAuth(*pair)(request) if any(pair) and "Authorization" not in request.headers else request


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
    """`timeout` (seconds) is for all of it: what `requests` bounds is one silence, and a server can drip for ever."""
    asked = Background(lambda: _ask(method, url, headers=dict(headers or {}), timeout=timeout, body=body))
    return asked.result(time.monotonic() + timeout, (0, f"it did not answer within {timeout:g} seconds"))


def _ask(method: str, url: str, *, headers: dict[str, str], timeout: float, body: t.Any) -> tuple[int, t.Any]:
    content = b""
    with session(retries=0) as client:
        # Runtimes are reached directly, whatever proxy the host's environment names.
        client.trust_env = False
        try:
            with client.request(method, url, headers=headers, json=body, timeout=timeout, stream=True) as answer:
                for block in answer.iter_content(_BLOCK):
                    content += block
                    if len(content) > _LONGEST:
                        return 0, f"it answered with more than {_LONGEST} bytes"
        except _library().RequestException as failure:
            return 0, str(failure)
    # JSON is UTF-8 (RFC 8259): whatever charset a server names or a library guesses, other bytes are noise.
    text = content.decode("utf-8-sig", "replace")
    try:
        return answer.status_code, json.loads(text)
    except (ValueError, RecursionError):
        return answer.status_code, text


def failures() -> tuple[type[Exception], ...]:
    """What a request raises that did not come to an answer."""
    from urllib3.exceptions import HTTPError as Urllib3Error

    return (_library().RequestException, Urllib3Error)


def explain(failure: Exception, place: str) -> LlmError | None:
    """The error for a failure that no further try mends; None for one that may pass."""
    library = _library()
    if isinstance(failure, library.exceptions.SSLError):
        # Only what is wrong with it: the library's own words have the address, where credentials may stand.
        found = re.search(r"certificate verify failed: ([^(']+)|WRONG_VERSION_NUMBER|hostname mismatch", repr(failure))
        cause = (found[1] or found[0]).strip() if found else "the handshake failed"
        return LlmError("tls_failed", f"{place}: its certificate could not be verified.", cause=cause)
    if isinstance(failure, library.TooManyRedirects):
        return LlmError("hub_error", f"{place} redirects without end.")
    if isinstance(failure, (library.exceptions.InvalidURL, library.exceptions.InvalidSchema)):
        return LlmError("invalid_input", f"{place} is no address that can be asked.")
    return None


def words(failure: Exception) -> str:
    """A failure of the connection in a few words; never the address, where credentials may stand."""
    text = repr(failure)
    if "NameResolutionError" in text:
        return "its name could not be resolved"
    if "Connection refused" in text:
        return "it refused the connection"
    if "timed out" in text or "Timeout" in text:
        return "it did not answer in time"
    if "IncompleteRead" in text or "ProtocolError" in text or "ChunkedEncodingError" in text:
        return "the connection ended early"
    return type(failure).__name__


def seconds_asked(headers: t.Mapping[str, str]) -> float | None:
    """The pause that Retry-After asks for, as seconds or as a date (RFC 9110, section 10.2.3)."""
    value = next((text.strip() for name, text in headers.items() if name.lower() == "retry-after"), "")
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())


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


def shown(url: str) -> str:
    """A URL for a message: without credentials and query, where signatures stand."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be read"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
