# SPDX-License-Identifier: GPL-3.0-or-later
"""The Hugging Face hub's metadata through its own client; bytes travel over `http_client`.

The client reads its environment when it is imported, so that import stands in a function.
"""

from __future__ import annotations

import os
import sys
import time
import typing as t
from dataclasses import dataclass
from urllib.parse import quote

from .._core.digest import GIT_BLOB, SHA256, Digest
from .._core.errors import LlmError
from .._core.model import FileEntry
from .http_client import RETRIED, refused

DEFAULT_ENDPOINT = "https://huggingface.co"
# model_info is a bare GET in the client: no retry of its own (huggingface_hub 2.4 hf_api.py).
_WAITS = (0.5, 1.0, 2.0)
_LONGEST_WAIT = 60.0


@dataclass(frozen=True)
class HubModel:
    """One revision of a repository: the commit and its files."""

    commit: str
    files: tuple[FileEntry, ...]


def endpoint_or_default(endpoint: str) -> str:
    return (endpoint or os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def file_url(endpoint: str, model: str, commit: str, path: str) -> str:
    return f"{endpoint}/{model}/resolve/{commit}/{quote(path)}"


def model_info(endpoint: str, model: str, revision: str, *, token: str, timeout: float) -> HubModel:
    """Ask the hub once what a revision is. Raises the error of the answer, or `unreachable`."""
    library = _library()
    client = library.HfApi(endpoint=endpoint, token=token or False)
    for wait in (*_WAITS, None):
        try:
            info = client.model_info(model, revision=revision, files_metadata=True, timeout=timeout)
        except library.errors.HfHubHTTPError as failure:
            status = failure.response.status_code if failure.response is not None else 0
            if wait is None or status not in RETRIED:
                raise _explain(failure, library, status, endpoint, model, revision) from None
            time.sleep(min(float(failure.response.headers.get("Retry-After") or wait), _LONGEST_WAIT))
        except OSError as failure:
            raise _unreachable(endpoint, failure) from None
        except Exception as failure:
            # The client's own transport library raises errors that are not OSError.
            if not type(failure).__module__.startswith("httpx"):
                raise
            if wait is None:
                raise _unreachable(endpoint, failure) from None
            time.sleep(wait)
        else:
            return HubModel(str(info.sha), tuple(_entry(sibling) for sibling in info.siblings or ()))
    raise AssertionError("the last round returns or raises")


def _library() -> t.Any:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as cause:
        raise LlmError(
            "library_missing", f"The Python library huggingface_hub is not there for {sys.executable}: {cause}."
        ) from cause
    return huggingface_hub


def _entry(sibling: t.Any) -> FileEntry:
    if sibling.lfs is not None:
        return FileEntry(sibling.rfilename, int(sibling.lfs.size), Digest(SHA256, sibling.lfs.sha256))
    return FileEntry(sibling.rfilename, int(sibling.size), Digest(GIT_BLOB, sibling.blob_id))


def _unreachable(endpoint: str, failure: Exception) -> LlmError:
    return LlmError("unreachable", f"The hub {endpoint} could not be reached: {failure}.")


def _explain(failure: t.Any, library: t.Any, status: int, endpoint: str, model: str, revision: str) -> LlmError:
    errors = library.errors
    if isinstance(failure, errors.GatedRepoError):
        return LlmError("gated", f"the hub {endpoint} answered {status}, the repository is gated.", status=status)
    if isinstance(failure, errors.RevisionNotFoundError):
        return LlmError(
            "not_found",
            f"the hub {endpoint} answered {status}, it has no revision '{revision}' of {model}.",
            remedy="Name a branch, tag or commit that exists.",
            status=status,
        )
    if isinstance(failure, errors.RepositoryNotFoundError) and status != 401:
        return LlmError(
            "not_found",
            f"the hub {endpoint} answered {status}, it does not know the repository {model}.",
            remedy="Check the spelling; a private repository needs hf_token.",
            status=status,
        )
    return refused(status, f"the hub {endpoint}", {})
