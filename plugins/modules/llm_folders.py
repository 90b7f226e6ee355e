#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: llm_folders
short_description: Make or remove the folders of the collection on a host
version_added: 0.1.0
description:
  - Makes the whole folder tree with its owners and modes in one task, and tells where it is.
  - As root the service account V(llm) owns store and logs; it must exist. Without root the same tree stands in the
    user's home, and with O(prefix) below that folder; both belong to the user that runs the task.
author:
  - The llmops.fleet contributors (@llmops)
extends_documentation_fragment:
  - llmops.fleet.attributes
  - llmops.fleet.attributes.actiongroup_llm
  - llmops.fleet.place
options:
  state:
    description:
      - V(present) makes what is missing and corrects owners and modes.
      - V(absent) removes the tree with all models, engines, environments and secrets in it. Stop the runtimes first.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Make the folders
  llmops.fleet.llm_folders:
  register: place

- name: Remove everything the collection keeps on the host
  llmops.fleet.llm_folders:
    state: absent
"""

RETURN = r"""
layout:
  description: Absolute paths by what they hold, as RV(llmops.fleet.llm_layout_info#module:layout).
  returned: success
  type: dict
  sample: {venv: /opt/llm/venv, store: /var/lib/llm/models}
"""

from ..module_utils._ansible.argspec import PREFIX
from ..module_utils._ansible.run import run
from ..module_utils._work.prepare_folders import FoldersTask

ARGUMENT_SPEC = {
    **PREFIX,
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    run(FoldersTask, ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
