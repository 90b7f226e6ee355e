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
from pathlib import Path
from urllib.parse import quote

from .._core.digest import GIT_BLOB, SHA256, Digest
from .._core.errors import LlmError
from .._core.model import FileEntry
from .address import shown_address
from .http_client import RETRIED, refused, seconds_asked

DEFAULT_ENDPOINT = "https://huggingface.co"
# model_info is a bare GET in the client: no retry of its own (huggingface_hub 2.4 hf_api.py).
_WAITS = (0.5, 1.0, 2.0)
_LONGEST_WAIT = 60.0
_BOUNDED_XET = {
    "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "2",
    "HF_XET_CLIENT_RETRY_BASE_DELAY": "500ms",
    "HF_XET_TELEMETRY_ENABLED": "0",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}


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
    info = _asked(endpoint, model, revision, token=token, timeout=timeout, files_metadata=True)
    return HubModel(str(info.sha), tuple(_entry(sibling) for sibling in info.siblings or ()))


def model_facts(endpoint: str, model: str, revision: str, *, token: str, timeout: float) -> dict[str, t.Any]:
    """What the hub has read of a model's files itself: `gguf` (header) and `config`; raises as `model_info` does.

    It is asked once: who only looks would rather know at once that it does not answer.
    """
    info = _asked(endpoint, model, revision, token=token, timeout=timeout, waits=(), expand=["gguf", "config"])
    return {"gguf": getattr(info, "gguf", None), "config": getattr(info, "config", None)}


def _asked(
    endpoint: str, model: str, revision: str, *, token: str, timeout: float, waits: tuple[float, ...] = _WAITS,
    **words: t.Any,
) -> t.Any:  # fmt: skip
    library = _library()
    client = library.HfApi(endpoint=endpoint, token=token or False)
    for wait in (*waits, None):
        try:
            info = client.model_info(model, revision=revision, timeout=timeout, **words)
        except library.errors.HfHubHTTPError as failure:
            status = failure.response.status_code if failure.response is not None else 0
            if wait is None or status not in RETRIED:
                raise _explain(failure, library, status, endpoint, model, revision) from None
            asked = seconds_asked(failure.response.headers)
            time.sleep(wait if asked is None else min(asked, _LONGEST_WAIT))
        except OSError as failure:
            raise _unreachable(endpoint, failure) from None
        except (ValueError, KeyError, TypeError, AttributeError) as failure:
            raise LlmError(
                "hub_error",
                f"the hub {shown_address(endpoint)} answered with something that is no description of a model.",
                remedy="Check the address: a proxy or a login page may answer in its place.",
                said=str(failure)[:200],
            ) from None
        except Exception as failure:
            # The client's own transport library raises errors that are not OSError.
            if not type(failure).__module__.startswith("httpx"):
                raise
            if wait is None:
                raise _unreachable(endpoint, failure) from None
            time.sleep(wait)
        else:
            return info
    raise AssertionError("the last round returns or raises")


def hub_download(endpoint: str, model: str, commit: str, path: str, folder: Path, *, token: str) -> Path:
    """Let the hub's own client bring one file below `folder`, by Xet where the hub offers it.

    Its retries against a content store that cannot be reached take minutes by default (huggingface_hub 2.4 with
    hf_xet 1.8: about 264 s a file); they are bounded here. Raises `transfer_failed` or the error of the answer.
    """
    for name, value in _BOUNDED_XET.items():
        os.environ.setdefault(name, value)
    library = _library()
    client = library.HfApi(endpoint=endpoint, token=token or False)
    try:
        return Path(client.hf_hub_download(model, path, revision=commit, local_dir=folder))
    except library.errors.HfHubHTTPError as failure:
        status = failure.response.status_code if failure.response is not None else 0
        raise _explain(failure, library, status, endpoint, model, commit) from None
    except Exception as failure:
        answered = failure.__cause__
        if isinstance(answered, library.errors.HfHubHTTPError) and answered.response is not None:
            # What the hub answered stands behind the client's own "not in the cache either".
            raise _explain(answered, library, answered.response.status_code, endpoint, model, commit) from None
        # hf_xet raises a bare RuntimeError, the client's transport errors of its own.
        raise LlmError(
            "transfer_failed",
            f"file {path}: the hub's client could not bring it: {type(failure).__name__}: {str(failure)[:300]}.",
            remedy="Use transfer: http, or allow the way to the hub's content store.",
        ) from None


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
    place = shown_address(endpoint)
    # The client may name the address that it asked, with the credentials in it.
    said = str(failure).replace(endpoint, place)
    if "CERTIFICATE_VERIFY_FAILED" in str(failure) or "WRONG_VERSION_NUMBER" in str(failure):
        return LlmError("tls_failed", f"The hub {place}: its certificate could not be verified.")
    return LlmError("unreachable", f"The hub {place} could not be reached: {said}.")


def _explain(failure: t.Any, library: t.Any, status: int, endpoint: str, model: str, revision: str) -> LlmError:
    errors, endpoint = library.errors, shown_address(endpoint)
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
