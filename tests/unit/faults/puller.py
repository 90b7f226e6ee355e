# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that runs `llm_model` in children of its own, one a line of its input: for tests that kill them.

It has imported everything and started no thread, so that a child is there at once and is as good as a fresh process.
For each line of parameters (JSON) it prints the child's process id, and `ended` when the child is gone.
"""

from __future__ import annotations

import json
import os
import socket
import sys

import huggingface_hub
import huggingface_hub.errors
import requests
import urllib3.connection
from ansible.module_utils.testing import patch_module_args
from ansible_collections.llmops.fleet.plugins.modules import llm_model

# Both libraries import their parts when they are first used.
_LOADED = (huggingface_hub.HfApi, huggingface_hub.errors.HfHubHTTPError, requests.Session)

# What lies in the kernel when a process is killed was sent and never read, and between processes of one host that
# can be more than a part. A small window makes what the hub has sent what the process has had.
urllib3.connection.HTTPConnection.default_socket_options = [
    *urllib3.connection.HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18),
]


def run(params: dict[str, object], output: str) -> None:
    """One run of the module; its result goes to the file `output`."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    with patch_module_args({**params, "_ansible_remote_tmp": "/tmp"}):
        llm_model.main()


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                run(json.loads(line), sys.argv[1])
            finally:
                sys.stdout.flush()
                os._exit(0)
        print(child, flush=True)
        os.waitpid(child, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    main()
