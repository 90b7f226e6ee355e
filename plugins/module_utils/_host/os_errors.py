# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operating system refused, in our words."""

from __future__ import annotations

import errno

from .._core.errors import LlmError

_MEANINGS = {
    errno.EACCES: ("permission_denied", "the host refused access"),
    errno.EPERM: ("permission_denied", "the host refused access"),
    errno.EROFS: ("permission_denied", "the file system is read-only"),
    errno.ENOSPC: ("no_space", "the disk is full"),
    errno.EDQUOT: ("no_space", "the disk quota is used up"),
    errno.ENOENT: ("path_missing", "it does not exist"),
    errno.ENOTDIR: ("path_missing", "a part of the path is not a folder"),
    errno.EISDIR: ("path_missing", "it is a folder where a file should be"),
}


def explain(failure: OSError) -> LlmError | None:
    """The error for a user, or None where the number says nothing a user could act on."""
    meaning = _MEANINGS.get(failure.errno or 0)
    if meaning is None:
        return None
    reason, cause = meaning
    place = failure.filename if isinstance(failure.filename, str) else "A file of the store"
    return LlmError(reason, f"{place}: {cause} ({failure.strerror}).", path=str(place))
