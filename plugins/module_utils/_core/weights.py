# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of a model an engine loads: a repository often has the same weights several times over."""

from __future__ import annotations

import re
import typing as t
from pathlib import PurePosixPath

from .quantization import has_quantization

# Where nobody says which quantization is meant: the first of these that there is.
_USUAL = ("Q4_K_M", "Q4_K_S", "MXFP4", "Q4_0", "IQ4_XS", "Q5_K_M", "Q6_K", "Q8_0", "F16", "BF16")
# GGUF files that lie beside a model: projectors for images, and what quantizing was guided by.
_BESIDE = ("mmproj", "imatrix")
# Formats in the order engines look for them, each with the names that its files go by, the usual one first. Mistral's
# own `consolidated` has the same weights as `model`.
_FORMATS = ((".safetensors", ("model", "consolidated")), (".bin", ("pytorch_model",)), (".pth", ("consolidated",)))
_PART = re.compile(r"-\d+-of-\d+$")


def bytes_loaded(files: t.Mapping[str, int], quantization: str = "") -> int | None:
    """Bytes of the files, by path and size, that an engine would load; all where none is known for weights.

    None where nothing has a size.
    """
    return sum(files[path] for path in _chosen(files, quantization)) or None


def usual_quantization(paths: t.Iterable[str]) -> str | None:
    """The quantization that is taken of a repository of GGUF files."""
    models = _models(paths)
    return next((word for word in _USUAL if any(has_quantization(path, word) for path in models)), None)


def _chosen(files: t.Mapping[str, int], quantization: str) -> t.Collection[str]:
    models = _models(files)
    if models:
        word = quantization or usual_quantization(models)
        wanted = [path for path in models if word and has_quantization(path, word)] or models
        # Several models of one quantization: the host must be able to hold any of them.
        return max(_whole(wanted).values(), key=lambda paths: sum(files[path] for path in paths))
    for suffix, names in _FORMATS:
        paths = [path for path in files if path.lower().endswith(suffix)]
        # What lies in folders is the same in other formats, where there is something outside of them.
        wholes = _whole([path for path in paths if "/" not in path] or paths)
        known = next((wholes[name] for name in names if name in wholes), None)
        if known or (paths and suffix == ".safetensors"):
            return known or [path for whole in wholes.values() for path in whole]
    return files.keys()


def _models(paths: t.Iterable[str]) -> list[str]:
    return [
        path for path in paths if path.lower().endswith(".gguf") and not any(word in path.lower() for word in _BESIDE)
    ]


def _whole(paths: t.Iterable[str]) -> dict[str, list[str]]:
    """Parts of one file (`…-00001-of-00002.gguf`) together, by the path without suffix and number."""
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(_PART.sub("", str(PurePosixPath(path).with_suffix(""))), []).append(path)
    return found
