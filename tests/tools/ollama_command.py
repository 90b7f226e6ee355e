#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the `ollama` command line, as it prints when no terminal is there; it talks to OLLAMA_HOST.

python ollama_command.py --version | list | ps | pull [--insecure] NAME | show [--modelfile|--parameters|…] NAME
                         | cp SOURCE DESTINATION | rm NAME... | run NAME PROMPT... | stop NAME
                         | serve (the stand-in daemon on OLLAMA_HOST with OLLAMA_MODELS)

As the `bin/ollama` of an engine it is a link to this file.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import sys
import typing as t
from datetime import datetime, timezone
from pathlib import Path

VERSION = "0.33.0"
_BEGIN, _END = "\033[?2026h\033[?25l\033[1G", "\033[?25h\033[?2026l"
_CLEAR = "\033[2K\033[1G\033[?25h"
_SPINNER = f"\033[?25l{_BEGIN}\033[K{_END}{_CLEAR}"
_NO_DAEMON = "could not connect to ollama server, run 'ollama serve' to start it"


class FailedError(Exception):
    pass


def _place() -> tuple[str, int]:
    text = os.environ.get("OLLAMA_HOST", "").strip() or "127.0.0.1"
    scheme, _, rest = text.rpartition("://")
    rest = rest.split("/")[0]
    host, colon, port = rest.rpartition(":")
    default = {"http": 80, "https": 443}.get(scheme, 11434)
    return (host or "127.0.0.1", int(port)) if colon else (rest, default)


def _open(method: str, path: str, body: t.Any = None) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(*_place())
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        return connection.getresponse()
    except OSError:
        raise FailedError(_NO_DAEMON) from None


def _error_of(response: http.client.HTTPResponse) -> str:
    text = response.read().decode(errors="replace")
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text or f"{response.status} {response.reason}"


def _call(method: str, path: str, body: t.Any = None) -> t.Any:
    response = _open(method, path, body)
    if response.status >= 400:
        raise FailedError(_error_of(response))
    data = response.read()
    return json.loads(data) if data else None


def _lines(path: str, body: t.Any) -> t.Iterator[dict[str, t.Any]]:
    response = _open("POST", path, body)
    if response.status >= 400:
        raise FailedError(f"{response.status} {response.reason}: {_error_of(response)}")
    for line in response:
        document = json.loads(line)
        if "error" in document:
            raise FailedError(document["error"])
        yield document


def _bytes(size: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if size >= unit:
            value = size / unit
            return f"{int(value)} {name}" if value >= 10 or value == int(value) else f"{value:.1f} {name}"
    return f"{int(size)} B"


def _duration(seconds: float) -> str:
    steps: list[tuple[float, str]] = [
        (1, "Less than a second"), (2, "1 second"), (60, f"{int(seconds)} seconds"), (120, "About a minute"),
        (3600, f"{int(seconds // 60)} minutes"), (7200, "About an hour"), (48 * 3600, f"{round(seconds / 3600)} hours"),
        (14 * 86400, f"{int(seconds // 86400)} days"), (60 * 86400, f"{int(seconds // 604800)} weeks"),
        (730 * 86400, f"{int(seconds // 2592000)} months"),
    ]  # fmt: skip
    return next((words for limit, words in steps if seconds < limit), f"{int(seconds // 31536000)} years")


def _seconds_until(moment: str) -> float:
    whole, _, decimals = moment.rstrip("Z").partition(".")
    text = f"{whole}.{(decimals or '0')[:6]:0<6}+00:00"
    return (datetime.fromisoformat(text) - datetime.now(timezone.utc)).total_seconds()


def _table(header: list[str], rows: list[list[str]]) -> None:
    """Columns are four blanks apart; the last word of the header has one blank after its column."""
    widths = [max(len(line[index]) for line in [header, *rows]) for index in range(len(header))]
    last = len(header) - 1
    print("".join(f"{word:{width + (1 if index == last else 4)}}" for index, (word, width) in
                  enumerate(zip(header, widths))))  # fmt: skip
    for row in rows:
        print("".join(f"{word:{width + 4}}" for word, width in zip(row, widths)))


def _section(title: str, rows: list[list[str]]) -> None:
    if not rows:
        return
    widths = [max(len(row[index]) for row in rows) + 4 for index in range(len(rows[0]))]
    print(f"  {title}")
    for row in rows:
        print("    " + "".join(f"{word:{width}}" for word, width in zip(row, widths)))
    print()


def _error_stream(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def version() -> None:
    try:
        print(f"ollama version is {_call('GET', '/api/version')['version']}")
    except FailedError:
        print(f"Warning: could not connect to a running Ollama instance\nWarning: client version is {VERSION}")


def list_models(pattern: str = "") -> None:
    models = _call("GET", "/api/tags")["models"]
    rows = [
        [model["name"], model["digest"][:12], _bytes(model["size"]), _ago(-_seconds_until(model["modified_at"]))]
        for model in models
        if model["name"].lower().startswith(pattern.lower())
    ]
    _table(["NAME", "ID", "SIZE", "MODIFIED"], rows)


def _ago(seconds: float) -> str:
    return f"{_duration(max(seconds, 0))} ago"


def _processor(model: dict[str, t.Any]) -> str:
    size, vram = model["size"], model["size_vram"]
    if vram in (0, size):
        return "100% CPU" if vram == 0 else "100% GPU"
    share = round((size - vram) / size * 100)
    return f"{share}%/{100 - share}% CPU/GPU"


def _until(moment: str) -> str:
    seconds = _seconds_until(moment)
    if seconds < 0:
        return "Stopping..."
    return "Forever" if seconds > 100 * 31536000 else f"{_duration(seconds)} from now"


def processes() -> None:
    rows = [
        [model["name"], model["digest"][:12], _bytes(model["size"]), _processor(model), str(model["context_length"]),
         _until(model["expires_at"])]
        for model in _call("GET", "/api/ps")["models"]
    ]  # fmt: skip
    _table(["NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"], rows)


def _bar(line: dict[str, t.Any]) -> str:
    share = line.get("completed", 0) / line["total"]
    full = round(18 * share)
    size = _bytes(line["total"])
    return f"{line['status']}: {share:4.0%} ▕{'█' * full}{' ' * (18 - full)}▏ {size:>6}{' ' * 24} \033[K"


def pull(name: str, insecure: bool) -> None:
    shown: dict[str, str] = {}
    failure: FailedError | None = None
    try:
        for line in _lines("/api/pull", {"model": name, "insecure": insecure, "stream": True}):
            shown[line["status"]] = _bar(line) if "digest" in line else f"{line['status']} \033[K"
    except FailedError as error:
        failure = error
    if str(failure) != _NO_DAEMON:
        _error_stream(_BEGIN + "\n".join(shown.values()) + _END + "\n")
    if failure:
        raise failure


def show(name: str, what: str) -> None:
    document = _call("POST", "/api/show", {"model": name, "name": name, "verbose": False})
    if what:
        print(document.get(what, ""))
        return
    info, details = document["model_info"], document["details"]
    architecture = info.get("general.architecture", details["family"])
    rows = [["architecture", architecture], ["parameters", details["parameter_size"]]]
    for word in ("context_length", "embedding_length"):
        if f"{architecture}.{word}" in info:
            rows.append([word.replace("_", " "), str(info[f"{architecture}.{word}"])])
    _section("Model", [*rows, ["quantization", details["quantization_level"]]])
    _section("Capabilities", [[word] for word in document.get("capabilities", [])])
    _section("Parameters", [line.split(None, 1) for line in document.get("parameters", "").splitlines()])
    _section("System", [[line] for line in document.get("system", "").splitlines()[:2]])
    _section("License", [[line] for line in document.get("license", "").splitlines()[:2]])


def copy(source: str, destination: str) -> None:
    _call("POST", "/api/copy", {"source": source, "destination": destination})
    print(f"copied '{source}' to '{destination}'")


def remove(names: list[str]) -> None:
    for name in names:
        _error_stream(_SPINNER)
        _call("DELETE", "/api/delete", {"model": name, "name": name})
        print(f"deleted '{name}'")


def run(name: str, words: list[str]) -> None:
    _error_stream(f"{_BEGIN}⠋ \033[K{_END}\033[?25l{_BEGIN}\033[K{_END}{_CLEAR}")
    for line in _lines("/api/generate", {"model": name, "prompt": " ".join(words), "stream": True}):
        print(line["response"], end="", flush=True)
        _error_stream("\033[?25l\033[?25h")
    print("\n")


def stop(name: str) -> None:
    _error_stream(_SPINNER)
    try:
        _call("POST", "/api/generate", {"model": name, "keep_alive": 0})
    except FailedError as error:
        if "not found" in str(error):
            raise FailedError(f'couldn\'t find model "{name}" to stop') from None
        raise


def serve() -> None:
    import ollama_daemon

    host, port = _place()
    models = Path(os.environ.get("OLLAMA_MODELS") or Path.home() / ".ollama" / "models")
    daemon = ollama_daemon.Daemon(models, port, host, version=VERSION)
    daemon.prunes = not _flag("OLLAMA_NOPRUNE")
    keep_alive = os.environ.get("OLLAMA_KEEP_ALIVE") or "5m"
    daemon.set(
        context_length=int(os.environ.get("OLLAMA_CONTEXT_LENGTH") or 0) or 4096,
        keep_alive=int(keep_alive) if keep_alive.lstrip("-").isdigit() else keep_alive,
    )
    try:
        ollama_daemon.serve(daemon)
    except OSError as error:
        text = "bind: address already in use" if error.errno == errno.EADDRINUSE else f"bind: {error.strerror}"
        raise FailedError(f"listen tcp {host}:{port}: {text}") from None


def _flag(name: str) -> bool:
    """As the daemon reads it: what is no boolean is true."""
    return os.environ.get(name, "").lower() not in ("", "0", "f", "false")


def _one(names: list[str]) -> str:
    if len(names) != 1:
        raise FailedError(f"accepts 1 arg(s), received {len(names)}")
    return names[0]


def _dispatch(words: list[str]) -> None:
    flags = {word.lstrip("-") for word in words if word.startswith("-")}
    names = [word for word in words if not word.startswith("-")]
    command, *rest = names or [""]
    if flags & {"version", "v"} and not command:
        version()
        return
    actions: dict[str, t.Callable[[], None]] = {
        "list": lambda: list_models(*rest), "ls": lambda: list_models(*rest), "ps": processes,
        "pull": lambda: pull(_one(rest), "insecure" in flags), "cp": lambda: copy(*rest),
        "show": lambda: show(_one(rest), next(iter(flags - {"verbose"}), "")), "rm": lambda: remove(rest),
        "run": lambda: run(rest[0], rest[1:]), "stop": lambda: stop(_one(rest)), "serve": serve,
    }  # fmt: skip
    if command not in actions:
        raise FailedError(f'unknown command "{command}" for "ollama"')
    actions[command]()


def main() -> int:
    try:
        _dispatch(sys.argv[1:])
    except FailedError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
