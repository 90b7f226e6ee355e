# SPDX-License-Identifier: GPL-3.0-or-later
"""Searching the Hugging Face hub through its own client, within a given time.

The client has no timeout for lists and repeats failed requests for up to half a minute, or as long as a 429 asks for
(huggingface_hub 2.4 `utils/_http.py`), so it gets an HTTP client that ends that.
"""

from __future__ import annotations

import contextlib
import re
import typing as t
from collections import Counter
from dataclasses import dataclass

from .._core.errors import LlmError
from .http_client import RETRIED, seconds_asked
from .huggingface import _library
from .public_get import Deadline
from .public_refusal import hub_at, list_refused, no_list, too_long

# Names of orders on the hub; it has none by size or name.
_SORTS = {"likes": "likes", "trending": "trending_score"}
_EXPAND = ["downloads", "likes", "tags", "pipeline_tag", "library_name", "safetensors", "gguf", "siblings"]
# The client's own pauses: 1 s, doubled up to 8 s.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 8.0
_LIST = "/api/models"


@dataclass(frozen=True)
class FoundModel:
    """What the hub's list says of a model, each field of its type; None and empty is what it does not say.

    `stored` counts the weights of a safetensors repository by type, `stored_weights` all of them; `gguf_weights` are
    those that the header of a GGUF file names.
    """

    name: str
    tags: tuple[str, ...]
    downloads: int | None
    likes: int | None
    files: tuple[str, ...]
    stored: t.Mapping[str, int]
    stored_weights: int | None
    gguf_weights: int | None


@contextlib.contextmanager
def searching(endpoint: str, *, token: str, deadline: Deadline) -> t.Iterator[HubSearch]:
    """A search that ends with its deadline. The client's settings are the process's: they are put back at the end."""
    library = _library()
    usual = library.get_session()
    kind, hooks = type(usual), dict(usual.event_hooks)
    refusals: Counter[str] = Counter()

    class Bounded(kind):  # type: ignore[misc, valid-type]
        def send(self, request: t.Any, **options: t.Any) -> t.Any:
            place = hub_at(endpoint)
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
                raise _unreachable(endpoint, failure) from None
            if answer.status_code in RETRIED:
                asked = _seconds_asked(answer.headers)
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** refusals[str(request.url)])
                refusals[str(request.url)] += 1
                if (pause if asked is None else asked + 1) >= deadline.left:
                    raise too_long(
                        answer.status_code,
                        place,
                        asked,
                        deadline.seconds,
                        headers=answer.headers,
                        model=_model_of(request.url.path),
                    )
            if answer.status_code == 200 and request.url.path.endswith(_LIST) and not _is_list(answer):
                # The client takes whatever can be iterated, an empty object for an empty list.
                raise no_list(place, "something that is no list of models")
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

    def models(self, *, search: str, tags: t.Sequence[str], sort: str, limit: int) -> list[FoundModel]:
        """Most first; raises the error of the answer."""
        order = _SORTS.get(sort, "downloads")
        with self._explained():
            told = self._client.list_models(
                search=search or None, filter=list(tags) or None, sort=order, limit=limit, expand=_EXPAND
            )
            return [_found(model) for model in told]

    def sizes(self, model: str) -> dict[str, int]:
        """The files of a model with their sizes in bytes; raises the error of the answer."""
        with self._explained(model):
            info = self._client.model_info(model, files_metadata=True)
            return {
                str(sibling.rfilename): _count(sibling.size) or 0
                for sibling in info.siblings or ()
                if sibling.rfilename
            }

    @contextlib.contextmanager
    def _explained(self, model: str = "") -> t.Iterator[None]:
        hub = hub_at(self._endpoint)
        try:
            yield
        except self._library.errors.HfHubHTTPError as failure:
            answer = failure.response
            status, headers = (0, {}) if answer is None else (answer.status_code, answer.headers)
            raise list_refused(status, hub, headers, model=model) from None
        except OSError as failure:
            # The client's own word for HF_HUB_OFFLINE is one.
            raise _unreachable(self._endpoint, failure) from None
        except (AttributeError, KeyError, TypeError, ValueError) as failure:
            wanted = f"description of {model}" if model else "list of models"
            raise no_list(hub, f"something that is no {wanted} ({type(failure).__name__})") from None


def _found(model: t.Any) -> FoundModel:
    """Raises TypeError where the record has no name; what else has another type than it should is unknown."""
    if not isinstance(model.id, str) or not model.id:
        raise TypeError("a model without a name")
    told = [*(model.tags if isinstance(model.tags, list) else ()), model.pipeline_tag, model.library_name]
    files = (sibling.rfilename for sibling in model.siblings or ())
    stored = getattr(model.safetensors, "parameters", None)
    counts = {kind: _count(count) for kind, count in stored.items()} if isinstance(stored, dict) else {}
    header = model.gguf if isinstance(model.gguf, dict) else {}
    return FoundModel(
        name=model.id,
        tags=tuple(dict.fromkeys(tag for tag in told if tag and isinstance(tag, str))),
        downloads=_count(model.downloads),
        likes=_count(model.likes),
        files=tuple(name for name in files if isinstance(name, str)),
        stored={kind: count for kind, count in counts.items() if count is not None},
        stored_weights=_count(getattr(model.safetensors, "total", None)),
        gguf_weights=_count(header.get("total")),
    )


def _count(found: t.Any) -> int | None:
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def _is_list(answer: t.Any) -> bool:
    try:
        return isinstance(answer.json(), list)
    except (ValueError, RecursionError):
        return False


def _model_of(path: str) -> str:
    return path.partition(f"{_LIST}/")[2]


def _unreachable(endpoint: str, failure: Exception) -> LlmError:
    """The client's words may have the address in them, and that a password."""
    cause = re.sub(r"//[^/@\s]*@", "//", str(failure)).rstrip(".")
    return LlmError("unreachable", f"{hub_at(endpoint)} could not be reached: {cause}.")


def _seconds_asked(headers: t.Mapping[str, str]) -> float | None:
    """Retry-After, or the hub's own `RateLimit: "api";r=0;t=55` (IETF draft ratelimit-headers)."""
    asked = seconds_asked(headers)
    for part in headers.get("ratelimit", "").split(";"):
        name, equals, value = part.strip().partition("=")
        if asked is None and name == "t" and equals and value.isdigit():
            return float(value)
    return asked
