# SPDX-License-Identifier: GPL-3.0-or-later
"""The `llama-server` that the Ollama stand-in runs for each loaded model, as the daemon does: it holds the weights.

It ends by SIGTERM. That its parent has gone it does not notice, nor does the real one.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

_SET_NAME = 15
_PATIENCE = 10


def start(model: Path, context: int) -> subprocess.Popen[bytes]:
    """Returns when the weights are in the memory of the new process."""
    words = [sys.executable, __file__, "--model", str(model), "--ctx-size", str(context)]
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )  # fmt: skip
    with t.cast(t.IO[bytes], process.stdout) as said:
        said.readline()
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="Hold a model's weights.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--ctx-size", type=int, required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_arguments: sys.exit(0))
    with contextlib.suppress(OSError, AttributeError):
        # What a list of processes shows.
        ctypes.CDLL(None).prctl(_SET_NAME, b"llama-server", 0, 0, 0)
    weights = options.model.read_bytes()
    print(f"loaded {len(weights)} bytes", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
