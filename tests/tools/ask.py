# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a runtime one question as a client does, and print its reply: ask.py [--model NAME] [--key KEY] URL."""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request


def ask(url: str, *, model: str = "chat", key: str = "", timeout: float = 30.0) -> str:
    """The text that the model behind `url` answers; raises OSError when nobody answers."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Who are you?"}],
        "max_tokens": 32,
        "temperature": 0,
    }
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=timeout) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--model", default="chat")
    parser.add_argument("--key", default="")
    parser.add_argument("--quiet", action="store_true", help="only tell by the exit status whether somebody answers")
    options = parser.parse_args()
    try:
        reply = ask(options.url, model=options.model, key=options.key, timeout=3 if options.quiet else 30)
    except (OSError, ValueError, KeyError) as failure:
        print(f"{options.url} does not answer: {failure}", file=sys.stderr)
        return 1
    if not options.quiet:
        print(reply)
    return 0


if __name__ == "__main__":
    sys.exit(main())
