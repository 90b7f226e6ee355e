# SPDX-License-Identifier: GPL-3.0-or-later
"""Put pip into an environment that has none, in place of the script that ansible-test would download.

ansible-test looks for it in its cache before it asks the network. pip's own bundled copy is the seed; the version
that was asked for then comes from the configured index.
"""

from __future__ import annotations

import os
import subprocess
import sys

# Taken before ensurepip is imported, because that hides the machine's pip configuration.
environment = {name: value for name, value in os.environ.items() if name != "GET_PIP"}

import ensurepip  # noqa: E402

ensurepip.bootstrap(default_pip=True)
packages = [word for word in sys.argv[1:] if not word.startswith("-")]
words = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--upgrade", *packages]
sys.exit(subprocess.call(words, env=environment))
