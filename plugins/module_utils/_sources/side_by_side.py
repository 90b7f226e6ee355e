# SPDX-License-Identifier: GPL-3.0-or-later
"""Several files of a model at once."""

from __future__ import annotations

import typing as t
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from .._core.model import FileEntry


def side_by_side(
    receive: t.Callable[[FileEntry], None],
    files: t.Sequence[FileEntry],
    workers: int,
    give_up: t.Callable[[], None],
) -> None:
    """Call `receive` for every file, `workers` at once; the first failure has `give_up` end the rest, and is raised.

    Large files go first, so that the last worker does not start the largest at the end.
    """
    ordered = sorted(files, key=lambda entry: -entry.size)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        jobs = [pool.submit(receive, entry) for entry in ordered]
        try:
            done, _left = wait(jobs, return_when=FIRST_EXCEPTION)
            failure = next((job.exception() for job in done if job.exception()), None)
            if failure:
                raise failure
        except BaseException:
            give_up()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
