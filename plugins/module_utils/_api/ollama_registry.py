# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests of Ollama's models: what a registry has under a name now, and what lies on this host's disk.

Facts are of Ollama 0.33.0 (`server/images.go`, `manifest/paths.go`).
"""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from .._core.errors import LlmError
from .http_client import explain, failures, refused, session, shown, words
from .ollama import failure_of, full_name

MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
# Bytes that a manifest may have; real ones have one or two thousand.
_LONGEST = 4 * 1024**2
# A part of a name that is one step of a path and nothing else; a host may have a port.
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
_LOCAL = ("localhost", "127.0.0.1", "::1")


class Blob(t.NamedTuple):
    """One file of a model: its digest with `sha256:` in front, its size in bytes, and what it is."""

    digest: str
    size: int
    media_type: str


@dataclass(frozen=True)
class RegistryManifest:
    """What a model consists of. `digest` is the sha256 of the manifest's own bytes, 64 digits as in the API's tags.

    Equal digests prove equal models. Different ones prove nothing for a model that Ollama before 0.19 has pulled: it
    wrote the manifest anew. Equal `contents` prove it there too.
    """

    digest: str
    config: Blob
    layers: tuple[Blob, ...]

    @property
    def contents(self) -> frozenset[str]:
        return frozenset(blob.digest for blob in (self.config, *self.layers))

    @property
    def size(self) -> int:
        """Bytes of all files, as the API's tags count them."""
        return sum(blob.size for blob in (self.config, *self.layers))


def parse_manifest(body: bytes) -> RegistryManifest:
    """The manifest in `body`; raises `hub_error` where it is none."""
    try:
        read = json.loads(body)
        layers = tuple(_blob(layer) for layer in read["layers"])
        return RegistryManifest(hashlib.sha256(body).hexdigest(), _blob(read["config"]), layers)
    except (ValueError, KeyError, TypeError):
        said = body[:300].decode("utf-8", "replace")
        raise LlmError("hub_error", "What should be a model's manifest is none.", said=said) from None


def ollama_manifest(name: str, *, insecure: bool, timeout: float) -> RegistryManifest:
    """The manifest that a registry has under `name`; nothing is downloaded but this.

    `insecure` asks over plain http, as Ollama's own option does. `timeout` in seconds. Raises `invalid_name`,
    `not_found`, `auth_error` (private, or not there), `engine_too_old`, `tls_failed`, `unreachable`, `hub_error`.
    """
    host, namespace, model, tag = _checked(name)
    path = f"{namespace}/{model}/manifests/{tag}"
    place, body = _read(host, path, longest=_LONGEST, insecure=insecure, timeout=timeout)
    try:
        return parse_manifest(body)
    except LlmError as error:
        raise error.about(place) from None


def ollama_blob(name: str, blob: Blob, *, longest: int, insecure: bool, timeout: float) -> bytes:
    """The bytes of one small part of a model: its configuration or a text. Raises as `ollama_manifest` does.

    `hub_error` for more than `longest` bytes, `checksum_mismatch` for others than the digest's.
    """
    host, namespace, model, _tag = _checked(name)
    path = f"{namespace}/{model}/blobs/{blob.digest}"
    place, body = _read(host, path, longest=longest, insecure=insecure, timeout=timeout)
    if f"sha256:{hashlib.sha256(body).hexdigest()}" != blob.digest:
        raise LlmError("checksum_mismatch", f"{place} answered with other bytes than its name says.")
    return body


def _read(host: str, path: str, *, longest: int, insecure: bool, timeout: float) -> tuple[str, bytes]:
    """What the registry has at a path, and how a message names that place."""
    url = f"{'http' if insecure else 'https'}://{host}/v2/{path}"
    with session(retries=2, connections=1) as client:
        # Ollama does not ask the own host through a proxy either (Go's net/http, ProxyFromEnvironment).
        client.trust_env = urlsplit(url).hostname not in _LOCAL
        try:
            with client.get(url, headers={"Accept": MEDIA_TYPE}, stream=True, timeout=timeout) as answer:
                body = b""
                for block in answer.iter_content(65536):
                    body += block
                    if len(body) > longest:
                        raise LlmError("hub_error", f"{shown(url)} has more than {longest} bytes.")
        except failures() as failure:
            raise explain(failure, shown(url)) or LlmError(
                "unreachable", f"{shown(url)} could not be reached: {words(failure)}."
            ) from None
    if answer.status_code == 200:
        return shown(url), body
    if answer.status_code in (401, 403):
        raise LlmError(
            "auth_error", f"{shown(url)} answered {answer.status_code}: it is private, or not there.",
            remedy="Check the name, and that the hub knows the key of Ollama's user.", status=answer.status_code,
        )  # fmt: skip
    if answer.status_code in (400, 412):
        said = f"manifest: {answer.status_code}: {body.decode('utf-8', 'replace')}"
        raise failure_of(said, shown(url), status=answer.status_code)
    raise refused(answer.status_code, shown(url), answer.headers)


def manifest_path(models: Path, name: str) -> Path:
    """Where the manifest of `name` lies below Ollama's folder `models`, or would lie.

    Ollama finds a name in any case, so a file that differs from it only in case is the one. Raises `invalid_name`.
    """
    path = models / "manifests"
    for part in _checked(name):
        exact = path / part
        path = exact if exact.exists() else _other_case(path, part) or exact
    return path


def blob_path(models: Path, digest: str) -> Path:
    """Where the bytes with `digest` (`sha256:` and 64 digits) lie below Ollama's folder `models`."""
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise LlmError("invalid_input", f"'{digest[:100]}' is no digest: it is sha256: and 64 digits.")
    return models / "blobs" / digest.replace(":", "-")


def _other_case(folder: Path, part: str) -> Path | None:
    try:
        found = sorted(entry for entry in folder.iterdir() if entry.name.lower() == part.lower())
    except OSError:
        return None
    return found[0] if found else None


def _checked(name: str) -> tuple[str, ...]:
    """The parts of a name, each of which is one step of a path. Raises `invalid_name`."""
    parts = full_name(name)
    if not all(_PART.fullmatch(part) for part in parts):
        raise LlmError("invalid_name", f"'{name[:100]}' is no name of a model in an Ollama registry.")
    return tuple(parts)


def _blob(entry: t.Any) -> Blob:
    digest = entry["digest"]
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise ValueError(digest)
    return Blob(digest, int(entry["size"]), str(entry.get("mediaType") or ""))
