# SPDX-License-Identifier: GPL-3.0-or-later
"""A program, on this host or another, that is asked over HTTP: by TCP or by Unix socket, never through a proxy."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field

from .._core.errors import LlmError
from .address import parse_address
from .http_client import _library, explain, failures, session, words
from .unix_socket import unix_socket_adapter

if t.TYPE_CHECKING:
    import requests

# Bytes that one answer, or one line of a stream, may have: a description of a model is far below it.
LONGEST = 64 * 1024**2
_BLOCK = 4096
# No count of bytes, tokens or seconds is beyond it.
_MOST = 1e18
_BY_STATUS = {
    400: "invalid_input",
    401: "auth_error",
    403: "forbidden",
    404: "not_found",
    409: "in_use",
    412: "engine_too_old",
}
# How programs written in Go name failures of network and disk (packages net, net/http, crypto/tls, syscall).
_GO_WORDS = (
    ("no_space", r"no space left|disk quota exceeded"),
    ("checksum_mismatch", r"digest mismatch"),
    ("tls_failed", r"x509:|failed to verify certificate"),
    (
        "unreachable",
        r"max retries exceeded|connection refused|connection reset|no such host|i/o timeout|: (unexpected )?eof\b"
        r"|network is unreachable|no route to host|handshake timeout|deadline exceeded|broken pipe|dial tcp"
        r"|could not connect|server misbehaving|temporary failure in name resolution|gave http response to https",
    ),
    ("permission_denied", r"permission denied"),
)


@dataclass(frozen=True)
class Reply:
    """What a daemon answered.

    `place` is the daemon as a message names it, `headers` have lower-case names. Of a stream `text` is empty and
    `lines` are its lines as they arrive, without empty ones; they can be gone through once. As a context manager it
    ends the connection of a stream that is left before its end.
    """

    place: str
    status: int
    headers: t.Mapping[str, str]
    text: str
    lines: t.Iterator[str] = field(default_factory=lambda: iter(()), compare=False)
    release: t.Callable[[], None] = field(default=lambda: None, repr=False, compare=False)

    def __enter__(self) -> Reply:
        return self

    def __exit__(self, *_arguments: object) -> None:
        self.release()

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> t.Any:
        """The parsed body; raises `hub_error` where it is not JSON."""
        try:
            return json.loads(self.text)
        except ValueError:
            raise LlmError(
                "hub_error", f"{self.place} answered {self.status} with something that is no JSON.", said=self.said
            ) from None

    def document(self) -> dict[str, t.Any]:
        """The parsed body where it must be an object; raises `hub_error`."""
        body = self.json()
        if not isinstance(body, dict):
            raise LlmError("hub_error", f"{self.place} answered with JSON that is no object.", said=self.said)
        return body

    @property
    def said(self) -> str:
        """The words of an error answer, at most 500 characters: from its JSON, or the plain text."""
        try:
            body = json.loads(self.text)
        except ValueError:
            body = None
        error = body.get("error", body.get("detail")) if isinstance(body, dict) else None
        if isinstance(error, dict):
            error = error.get("message")
        return (error if isinstance(error, str) and error else self.text).strip()[:500]

    def failure(self, doing: str, reason: str | None = None, *, remedy: str | None = None) -> LlmError:
        """The error for this answer to `doing` ("list its models"); the reason is the status's if none is given."""
        reason = reason or _BY_STATUS.get(self.status, "hub_error")
        if reason == "auth_error" and remedy is None:
            remedy = "Pass the token that it was set up with."
        said = f": {self.said.rstrip('.')}" if self.said else ""
        return LlmError(
            reason, f"{self.place} was asked to {doing} and answered {self.status}{said}.", remedy=remedy,
            status=self.status,
        )  # fmt: skip


class Daemon:
    """One daemon at `address`, in the forms of `address.py`: by TCP, TLS or Unix socket, at the top or below a path.

    `what` is its name in messages. `token` goes out as a bearer header and never into a message. `timeout` is in
    seconds: for the connection, and for each silence of an answer. Raises `invalid_input`.
    """

    def __init__(self, address: str, *, what: str, token: str = "", timeout: float) -> None:
        place = parse_address(address, f"The address of {what}")
        self._socket, self.address = place.socket, place.shown
        self._base = f"http://localhost{place.below}" if place.socket else address.rstrip("/")
        if not (token.isascii() and token.isprintable()):
            raise LlmError("invalid_input", f"The token for {what} has characters that no HTTP header can have.")
        self._token = token
        self._timeout = timeout
        self.what = what
        self.place = f"{what} at {self.address}"

    def request(
        self,
        method: str,
        path: str,
        *,
        body: t.Any = None,
        headers: t.Mapping[str, str] | None = None,
        stream: bool = False,
        data: t.Any = None,
        timeout: float | None = None,
    ) -> Reply:
        """One request, without retry and without following redirects: the answer, whatever its status.

        `body` is sent as JSON, `data` as it is (bytes or an open file, which is streamed). With `stream` a good answer
        is given as lines. `timeout` in seconds replaces the daemon's own for this request.
        Raises `unreachable`, `permission_denied` (the socket), `tls_failed`, `timeout`, or `transfer_failed` where the
        answer breaks off.
        """
        client = session(retries=0, connections=1)
        # A daemon is reached directly, whatever proxy the environment names; nor does it get what stands in .netrc.
        client.trust_env = False
        if self._socket:
            client.mount("http://", unix_socket_adapter(self._socket))
        sent = {"Accept-Encoding": "identity", **(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        try:
            answer = client.request(
                method, f"{self._base}{path}", json=body, data=data, headers=sent, stream=True, allow_redirects=False,
                timeout=self._timeout if timeout is None else timeout,
            )  # fmt: skip
        except failures() as failure:
            client.close()
            raise self._not_reached(failure) from None
        if stream and 200 <= answer.status_code < 300:

            def release() -> None:
                answer.close()
                client.close()

            return Reply(self.place, answer.status_code, _headers(answer), "", self._lines(answer, release), release)
        with client, answer:
            content = b"".join(self._blocks(answer, limited=True))
        return Reply(self.place, answer.status_code, _headers(answer), content.decode("utf-8", "replace"))

    def _blocks(self, answer: requests.Response, *, limited: bool = False) -> t.Iterator[bytes]:
        arrived = 0
        try:
            for block in answer.iter_content(_BLOCK):
                arrived += len(block)
                if limited and arrived > LONGEST:
                    raise LlmError("transfer_failed", f"{self.place} answered with more than {LONGEST} bytes.")
                yield block
        except failures() as failure:
            if _is_slow(failure):
                raise LlmError("timeout", f"{self.place} fell silent in the middle of its answer.") from None
            raise LlmError(
                "transfer_failed", f"{self.place} broke off in the middle of its answer: {words(failure)}."
            ) from None

    def _lines(self, answer: requests.Response, release: t.Callable[[], None]) -> t.Iterator[str]:
        """Whole lines only: the beginning of one that a break cut off is dropped."""
        rest = b""
        try:
            for block in self._blocks(answer):
                *whole, rest = (rest + block).split(b"\n")
                yield from _texts(whole)
                if len(rest) > LONGEST:
                    raise LlmError("transfer_failed", f"{self.place} sent a line of more than {LONGEST} bytes.")
            yield from _texts([rest])
        finally:
            release()

    def _not_reached(self, failure: Exception) -> LlmError:
        final = explain(failure, self.place)
        if final:
            return final
        if _is_slow(failure):
            return LlmError("timeout", f"{self.place} did not answer in time.")
        why = words(failure)
        if self._socket and "Permission denied" in repr(failure):
            return LlmError("permission_denied", f"{self.place} could not be asked: access to its socket is denied.")
        if self._socket and "No such file" in repr(failure):
            why = "there is no such socket"
        return LlmError("unreachable", f"{self.place} could not be reached: {why}.")


def read_line(line: str, place: str) -> dict[str, t.Any]:
    """One line of a stream of JSON objects; raises `hub_error` for a line that is none."""
    try:
        read = json.loads(line)
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise LlmError("hub_error", f"{place} sent a line that is no JSON object: {line[:300]}")
    return read


def entries(found: t.Any) -> list[dict[str, t.Any]]:
    """The objects of a list in an answer; Go writes an empty one as null."""
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def number(found: t.Any) -> int:
    """A whole number of an answer, 0 where there is none; JSON can write numbers beyond all (1e400)."""
    counts = isinstance(found, (int, float)) and not isinstance(found, bool) and abs(found) < _MOST
    return int(found) if counts else 0


def go_reason(text: str) -> str | None:
    """The reason code for what a Go program says of network or disk; None where it says nothing of them."""
    return next((reason for reason, pattern in _GO_WORDS if re.search(pattern, text, re.IGNORECASE)), None)


def size_of(text: str) -> int:
    """Bytes of a size as people read it (`2.7 MB`, `256.35 MiB`, `2.58MiB`), as exact as it was written; else 0."""
    found = re.fullmatch(r"([0-9.]{1,24})\s*([KMGTP]?)(i?)B?", text.strip(), re.IGNORECASE)
    if not found or found[1].count(".") > 1 or found[1] == ".":
        return 0
    size = float(found[1])
    scale = 1024 if found[3] else 1000
    for unit in ("", *"KMGTP"):
        if unit == found[2].upper():
            break
        size *= scale
    return round(size)


def _headers(answer: requests.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


def _texts(lines: t.Iterable[bytes]) -> t.Iterator[str]:
    for line in lines:
        text = line.decode("utf-8", "replace").strip()
        if text:
            yield text


def _is_slow(failure: Exception) -> bool:
    """Whether it is silence after the connection was there; `requests` reports it as a failure of the connection."""
    return isinstance(failure, _library().exceptions.ReadTimeout) or "Read timed out" in repr(failure)
