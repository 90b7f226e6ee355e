#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: llm_layout_info
short_description: Where the collection's files lie on a host
version_added: 0.1.0
description:
  - Tells the folders that the modules of this collection use, whether the modules' Python environment is
    there, and which supervisor keeps runtimes.
  - Needs nothing on the host but Python 3.9 or newer.
author:
  - The llmops.fleet contributors (@llmops)
extends_documentation_fragment:
  - llmops.fleet.attributes
  - llmops.fleet.attributes.actiongroup_llm
  - llmops.fleet.attributes.info
  - llmops.fleet.place
"""

EXAMPLES = r"""
- name: Find the folders of this host
  llmops.fleet.llm_layout_info:
  register: place

- name: Use the modules' own Python in later tasks
  ansible.builtin.set_fact:
    llm_host_layout: "{{ place.layout }}"
"""

RETURN = r"""
layout:
  description: Absolute paths by what they hold.
  returned: success
  type: dict
  sample:
    root: true
    user: llm
    install: /opt/llm
    venv: /opt/llm/venv
    venv_python: /opt/llm/venv/bin/python
    engines: /opt/llm/engines
    state: /var/lib/llm
    store: /var/lib/llm/models
    runtimes: /var/lib/llm/runtimes
    config: /etc/llm
    environments: /etc/llm/runtimes
    secrets: /etc/llm/secrets
    logs: /var/log/llm
    run: /run/llm
    units: /etc/systemd/system
venv_ready:
  description: Whether the modules' Python environment can be used.
  returned: success
  type: bool
  sample: true
supervisor:
  description: What keeps runtimes on this host, V(systemd) or V(process).
  returned: success
  type: str
  sample: systemd
"""

from ..module_utils._ansible.argspec import PREFIX
from ..module_utils._ansible.run import run
from ..module_utils._work.prepare_folders import LayoutTask


def main() -> None:
    run(LayoutTask, PREFIX)


if __name__ == "__main__":
    main()
