# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama through its command line, for a server whose API may not be asked directly.

It can less than the API: digests have 12 digits, sizes are rounded, nothing is uploaded. Facts are of Ollama 0.33.0
(`cmd/cmd.go`, `progress/progress.go`) and of recorded runs.
"""

from __future__ import annotations

import os
import re
import subprocess
import typing as t
from pathlib import Path

from .._core.errors import LlmError
from .daemon import size_of
from .ollama import Loaded, PullLine, Tag, Unloading, failure_of

# Escape sequences of a terminal (ECMA-48): cursor, colours, modes.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-Z\\-_]")
_MISSING = re.compile(r"model ['\"].*['\"] not found|couldn't find model", re.IGNORECASE)
_STATUS = re.compile(r"(\d{3}) [A-Z][A-Za-z' -]*: ")


class OllamaCommand(Unloading):
    """The program at `executable`, told to ask the server at `address` (its own default if empty).

    Nothing is ever started: before each command it is asked whether a server is there, because on some systems the
    command starts one. `timeout` in seconds for one command; a pull has none.
    """

    def __init__(self, executable: str, *, address: str = "", timeout: float = 60.0) -> None:
        if address.startswith("unix:"):
            raise LlmError("unsupported", f"The ollama command cannot use the socket {address}.")
        self._executable = executable
        self._timeout = timeout
        self._environment = {"HOME": str(Path.home()), **os.environ, "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
        if address:
            self._environment["OLLAMA_HOST"] = address
        self.place = f"Ollama at {address}" if address else "Ollama"

    def version(self) -> str | None:
        """The server's version; None if none answers. Raises `engine_missing`, `timeout`."""
        _status, out, _error = self._run("--version")
        found = re.search(r"^ollama version is (\S+)", out, re.MULTILINE)
        return found[1] if found else None

    def tags(self) -> list[Tag]:
        """Every model on the disk; the digest is its first 12 digits, the size in bytes is rounded."""
        return [
            Tag(row.get("NAME", ""), row.get("ID", ""), size_of(row.get("SIZE", "")))
            for row in _table(self._asked("list", doing="list its models"))
        ]

    def running(self) -> list[Loaded]:
        """Every model in memory; of the share on the GPU only whole percents are known."""
        found = []
        for row in _table(self._asked("ps", doing="list what is loaded")):
            size = size_of(row.get("SIZE", ""))
            context = row.get("CONTEXT", "")
            vram = round(size * _gpu_share(row.get("PROCESSOR", "")))
            found.append(Loaded(row["NAME"], row["ID"], size, vram, int(context) if context.isdigit() else 0))
        return found

    def show(self, name: str) -> dict[str, t.Any] | None:
        """`modelfile` and `parameters` of a model as text; None if it is not there."""
        self._check_name(name)
        found: dict[str, t.Any] = {}
        for part in ("modelfile", "parameters"):
            status, out, error = self._at_server("show", f"--{part}", name)
            if status and _MISSING.search(error):
                return None
            if status:
                raise self._failure(error, f"show {name}")
            found[part] = out.rstrip("\n")
        return found

    def pull(self, name: str, *, insecure: bool, progress: t.Callable[[PullLine], None]) -> None:
        """Download `name`; `progress` gets the words of each line, without bytes. Raises as `OllamaApi.pull` does."""
        self._check_name(name)
        self._check_server()
        command = [self._executable, "pull", *(["--insecure"] if insecure else []), name]
        last, error, succeeded = "", "", False
        with self._started(command) as process:
            try:
                for line in _lines(process):
                    if line.startswith("Error: "):
                        error = line
                    elif line != last:
                        progress(PullLine(line))
                    succeeded = succeeded or line == "success"
                    last = line
                status = process.wait()
            except BaseException:
                process.kill()
                raise
        if error or status:
            raise self._failure(error or last, f"pull {name}")
        if not succeeded:
            raise LlmError("transfer_failed", f"{self.place} was asked to pull {name} and ended without success.")

    def delete(self, name: str) -> bool:
        """Remove a model from the disk, False if it was not there."""
        return self._unless_missing("rm", name, doing=f"delete {name}")

    def copy(self, source: str, destination: str) -> None:
        """Give a model a second name, over one that may be there. Raises `not_found`."""
        self._check_name(source)
        self._check_name(destination)
        self._asked("cp", source, destination, doing=f"copy {source} to {destination}")

    def _ask_to_unload(self, name: str) -> None:
        if not self._unless_missing("stop", name, doing=f"unload {name}"):
            raise LlmError("in_use", f"{name} was deleted from {self.place} while it was loaded.")

    def _unless_missing(self, command: str, name: str, *, doing: str) -> bool:
        self._check_name(name)
        status, _out, error = self._at_server(command, name)
        if status and _MISSING.search(error):
            return False
        if status:
            raise self._failure(error, doing)
        return True

    def _asked(self, *arguments: str, doing: str) -> str:
        status, out, error = self._at_server(*arguments)
        if status:
            raise self._failure(error, doing)
        return out

    def _at_server(self, *arguments: str) -> tuple[int, str, str]:
        self._check_server()
        return self._run(*arguments)

    def _check_server(self) -> None:
        if self.version() is None:
            raise LlmError("unreachable", f"{self.place} could not be reached: no server answers the ollama command.")

    def _check_name(self, name: str) -> None:
        if not name or name.startswith("-"):
            raise LlmError("invalid_name", f"'{name}' is no name of a model.")

    def _run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, and both outputs without escapes."""
        try:
            done = subprocess.run(
                [self._executable, *arguments], stdin=subprocess.DEVNULL, capture_output=True, env=self._environment,
                timeout=self._timeout, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise LlmError("timeout", f"ollama {arguments[0]} took longer than {self._timeout:g} seconds.") from None
        except OSError as cause:
            raise self._not_started(cause) from None
        return done.returncode, _plain(done.stdout), _plain(done.stderr)

    def _started(self, command: list[str]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                env=self._environment,
            )  # fmt: skip
        except OSError as cause:
            raise self._not_started(cause) from None

    def _not_started(self, cause: OSError) -> LlmError:
        return LlmError("engine_missing", f"{self._executable} could not be run: {cause.strerror}.")

    def _failure(self, error: str, doing: str) -> LlmError:
        lines = [line.strip() for line in error.splitlines() if line.strip()]
        told = [line for line in lines if "Error: " in line] or lines[-1:] or ["it said nothing"]
        text = told[-1].rpartition("Error: ")[2]
        found = _STATUS.match(text)
        return failure_of(text, f"{self.place} could not {doing}", status=int(found[1]) if found else 0)


def _plain(output: bytes) -> str:
    return _ESCAPES.sub("", output.decode("utf-8", "replace"))


def _lines(process: subprocess.Popen[bytes]) -> t.Iterator[str]:
    for raw in process.stderr or ():
        # What stood in the line before a carriage return has been written over.
        line = _plain(raw).strip().rpartition("\r")[2].strip()
        if line:
            yield line


def _table(text: str) -> list[dict[str, str]]:
    """Rows by the words of the head; columns are at least two spaces apart (Go's tablewriter, padding of four)."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if line.strip()]
    return [dict(zip(lines[0], row)) for row in lines[1:]]


def _gpu_share(processor: str) -> float:
    """The part on the GPU of `100% GPU`, `100% CPU` or `48%/52% CPU/GPU`, from 0 to 1."""
    percents = [int(number) for number in re.findall(r"(\d+)%", processor)]
    if not percents or "GPU" not in processor:
        return 0.0
    return percents[-1] / 100
