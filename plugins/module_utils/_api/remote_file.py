# SPDX-License-Identifier: GPL-3.0-or-later
"""One file on a server: any range of it, from a server that may break off, ignore ranges, or send us elsewhere."""

from __future__ import annotations

import time
import typing as t
from urllib.parse import urlsplit

from .._core.errors import LlmError
from .bandwidth import Bandwidth
from .http_client import explain, failures, refused, shown, words

if t.TYPE_CHECKING:
    import requests

# Breaks in a row after which a download is given up, each of them of a connection that was slow or brought less
# than a second's bytes at the slowest rate.
_FRUITLESS = 5
# Bytes a second, over one time limit of the connection, below which it counts as broken.
SLOWEST = 1024
# What a signed address that has run out answers; the first address gives a new one.
_EXPIRED = (401, 403, 404, 410)


class RemoteFile:
    """Reads ranges of the file at `url`, which has `size` bytes. Safe to use from several threads.

    Credentials in `headers` go to the first address only: `requests` drops them when a redirect leads to another
    host, and so does this class when it goes there at once the next time.
    """

    def __init__(
        self,
        client: requests.Session,
        url: str,
        *,
        size: int,
        headers: t.Mapping[str, str],
        timeout: float,
        connections: int = 1,
        bandwidth: Bandwidth | None = None,
    ) -> None:
        self._client = client
        self._url = url
        self._size = size
        self._headers = dict(headers)
        self._timeout = timeout
        self._bandwidth = bandwidth or Bandwidth()
        self._direct = ""
        self.connections = connections

    def read(self, start: int, stop: int) -> t.Iterator[bytes]:
        """The bytes from `start` up to `stop`, in order.

        A break is answered by asking for the rest, as long as tries bring bytes at a fair rate. Raises
        `transfer_failed`, or the error of the answer.
        """
        position, fruitless = start, 0
        while position < stop:
            before, said, slow = position, "the connection ended early", False
            try:
                for block in self._once(position, stop):
                    position += len(block)
                    yield block
            except _BrokenError as broken:
                said, slow = str(broken), isinstance(broken, _SlowError)
            except failures() as failure:
                final = explain(failure, shown(self._url))
                if final:
                    raise final from None
                said = words(failure)
            if position >= stop:
                return
            fruitless = fruitless + 1 if slow or position - before < SLOWEST else 0
            if fruitless >= _FRUITLESS:
                raise LlmError(
                    "transfer_failed",
                    f"{shown(self._url)} sent nothing more after byte {position} of {self._size}: {said}.",
                    bytes_received=position,
                    bytes_expected=self._size,
                )
            time.sleep(min(0.2 * 2**fruitless, 5))

    def doubt(self) -> None:
        """It is the only address: it is asked again, from where a redirect may lead elsewhere."""
        self._direct = ""

    def _once(self, start: int, stop: int) -> t.Iterator[bytes]:
        direct = self._direct
        headers = {"Accept-Encoding": "identity", **({} if direct else self._headers)}
        ranged = self.connections > 0 and (start > 0 or stop < self._size)
        if ranged:
            headers["Range"] = f"bytes={start}-{stop - 1}"
        with self._client.get(direct or self._url, headers=headers, stream=True, timeout=self._timeout) as answer:
            if direct and answer.status_code in _EXPIRED:
                self._direct = ""
                raise _BrokenError(f"it answered {answer.status_code}")
            if answer.status_code == 416 and ranged:
                self._check_end(answer.headers.get("Content-Range", ""), start)
                self._whole_only()
                raise _BrokenError("it refused the range")
            if answer.status_code not in (200, 206):
                raise refused(answer.status_code, shown(self._url), dict(answer.headers))
            self._remember(answer)
            encoded = answer.headers.get("Content-Encoding", "identity") != "identity"
            skip = 0
            if answer.status_code == 206:
                if encoded or not _starts_at(answer.headers.get("Content-Range", ""), start):
                    self._whole_only()
                    raise _BrokenError("it sent another range than was asked for")
            elif start:
                # It cannot go on from there: what is here already is passed over.
                self._whole_only()
                skip = start
            yield from self._body(answer, skip, stop - start, encoded)

    def _body(self, answer: requests.Response, skip: int, wanted: int, encoded: bool) -> t.Iterator[bytes]:
        since, arrived = time.monotonic(), 0
        while wanted:
            # Never waits for more than there is: a trickle that fills a block after hours would not be seen as one.
            block = answer.raw.read1(min(self._bandwidth.block, skip + wanted), decode_content=encoded)
            if not block:
                return
            self._bandwidth.spend(len(block))
            arrived += len(block)
            passed = time.monotonic() - since
            if passed > self._timeout:
                if arrived < SLOWEST * passed:
                    raise _SlowError(f"it was slower than {SLOWEST} bytes a second")
                since, arrived = time.monotonic(), 0
            passed_over = min(skip, len(block))
            skip -= passed_over
            block = block[passed_over:][:wanted]
            wanted -= len(block)
            if block:
                yield block

    def _remember(self, answer: requests.Response) -> None:
        """Go straight to where a redirect led: a hub counts the requests that ask for the way."""
        if answer.history and _origin(answer.url) != _origin(self._url):
            self._direct = answer.url

    def _check_end(self, content_range: str, start: int) -> None:
        """`bytes */100` for what begins at 100 or after it: no further try brings more."""
        total = content_range.partition("*/")[2]
        if total.isdigit() and int(total) <= start:
            raise LlmError(
                "transfer_failed",
                f"{shown(self._url)} has {total} bytes, {self._size} were promised.",
                remedy="Nothing more can be fetched until the source says the right size.",
                bytes_received=start,
                bytes_expected=self._size,
            )

    def _whole_only(self) -> None:
        self.connections = 0


class _BrokenError(Exception):
    """One connection is of no more use; another one may be."""


class _SlowError(_BrokenError):
    """It brought bytes, and too few of them to go on like that."""


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _starts_at(content_range: str, offset: int) -> bool:
    """Whether `bytes 10-99/100` starts at `offset`."""
    unit, _space, span = content_range.partition(" ")
    return unit == "bytes" and span.split("-")[0] == str(offset)
