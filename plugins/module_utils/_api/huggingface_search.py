# SPDX-License-Identifier: GPL-3.0-or-later
"""Searching the Hugging Face hub through its own client, within a given time.

The client has no timeout for lists and repeats failed requests for up to half a minute, or as long as a 429 asks for
(huggingface_hub 2.4 `utils/_http.py`), so it gets an HTTP client that ends that.
"""

from __future__ import annotations

import contextlib
import typing as t
from collections import Counter

from .._core.errors import LlmError
from .http_client import RETRIED, refused, seconds_asked
from .huggingface import _library
from .public_get import Deadline, too_long

# Names of orders on the hub; it has none by size or name.
_SORTS = {"likes": "likes", "trending": "trending_score"}
_EXPAND = ["downloads", "likes", "tags", "pipeline_tag", "library_name", "safetensors", "gguf", "siblings"]
# The client's own pauses: 1 s, doubled up to 8 s.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 8.0


@contextlib.contextmanager
def searching(endpoint: str, *, token: str, deadline: Deadline) -> t.Iterator[HubSearch]:
    """A search that ends with its deadline. The client's settings are the process's: they are put back at the end."""
    library = _library()
    usual = library.get_session()
    kind, hooks = type(usual), dict(usual.event_hooks)
    refusals: Counter[str] = Counter()

    class Bounded(kind):  # type: ignore[misc, valid-type]
        def send(self, request: t.Any, **options: t.Any) -> t.Any:
            place = f"The hub {endpoint}"
            if not deadline.left:
                raise deadline.passed(place)
            # Here, not in the client's settings: the list's own requests come with "no timeout".
            request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), deadline.left)
            try:
                answer = super().send(request, **options)
            except Exception as failure:
                if not type(failure).__module__.startswith("httpx"):
                    raise
                if "Timeout" in type(failure).__name__:
                    raise deadline.passed(place) from None
                raise LlmError("unreachable", f"{place} could not be reached: {failure}.") from None
            if answer.status_code in RETRIED:
                asked = _seconds_asked(answer.headers)
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** refusals[str(request.url)])
                refusals[str(request.url)] += 1
                if (pause if asked is None else asked + 1) >= deadline.left:
                    raise too_long(answer.status_code, place, asked, deadline.seconds)
            return answer

    library.set_client_factory(lambda: Bounded(event_hooks=hooks, follow_redirects=True))
    try:
        yield HubSearch(library, endpoint, token)
    finally:
        library.set_client_factory(lambda: kind(event_hooks=hooks, follow_redirects=True, timeout=None))


class HubSearch:
    """The hub's list of models, and the files of one."""

    def __init__(self, library: t.Any, endpoint: str, token: str) -> None:
        self._library = library
        self._endpoint = endpoint
        self._client = library.HfApi(endpoint=endpoint, token=token or False)

    def models(self, *, search: str, tags: t.Sequence[str], sort: str, limit: int) -> list[t.Any]:
        """The client's records of models, most first; raises the error of the answer."""
        order = _SORTS.get(sort, "downloads")
        with self._explained():
            return list(
                self._client.list_models(
                    search=search or None, filter=list(tags) or None, sort=order, limit=limit, expand=_EXPAND
                )
            )

    def sizes(self, model: str) -> dict[str, int]:
        """The files of a model with their sizes in bytes; raises the error of the answer."""
        with self._explained():
            info = self._client.model_info(model, files_metadata=True)
        return {sibling.rfilename: int(sibling.size or 0) for sibling in info.siblings or ()}

    @contextlib.contextmanager
    def _explained(self) -> t.Iterator[None]:
        try:
            yield
        except self._library.errors.HfHubHTTPError as failure:
            status = failure.response.status_code if failure.response is not None else 0
            raise refused(status, f"The hub {self._endpoint}", {}) from None
        except OSError as failure:
            # The client's own word for HF_HUB_OFFLINE is one.
            raise LlmError("unreachable", f"The hub {self._endpoint} could not be reached: {failure}.") from None
        except (KeyError, TypeError, ValueError) as failure:
            raise LlmError(
                "hub_error",
                f"The hub {self._endpoint} answered with something that is no list of models: "
                f"{type(failure).__name__} {failure}.",
            ) from None


def _seconds_asked(headers: t.Mapping[str, str]) -> float | None:
    """Retry-After, or the hub's own `RateLimit: "api";r=0;t=55` (IETF draft ratelimit-headers)."""
    asked = seconds_asked(headers)
    for part in headers.get("ratelimit", "").split(";"):
        name, equals, value = part.strip().partition("=")
        if asked is None and name == "t" and equals and value.isdigit():
            return float(value)
    return asked
