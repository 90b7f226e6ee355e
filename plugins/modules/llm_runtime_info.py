#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: llm_runtime_info
short_description: The status of all runtimes of a host
version_added: 0.1.0
description:
  - Looks at process, port, health, served names, loaded model and context of every runtime, side by side.
  - All questions to one engine have 3 seconds. One that is slower is degraded, not offline; RV(runtimes) says which
    answer is missing, under C(unanswered), and when it was last proven good, under C(reasons).
author:
  - The llmops.fleet contributors (@llmops)
requirements:
  - psutil and requests on the host; the role P(llmops.fleet.llm_host#role) installs them.
extends_documentation_fragment:
  - llmops.fleet.attributes
  - llmops.fleet.attributes.actiongroup_llm
  - llmops.fleet.attributes.info
  - llmops.fleet.place
options:
  names:
    description: Only these runtimes. Default is all of the host.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Look at all runtimes
  llmops.fleet.llm_runtime_info:
  register: seen

- name: Say which are not online
  ansible.builtin.debug:
    msg: "{{ seen.runtimes | rejectattr('status', 'equalto', 'online') | map(attribute='name') }}"
"""

RETURN = r"""
runtimes:
  description: One record a runtime. What is unknown is null.
  returned: success
  type: list
  elements: dict
  sample:
    - name: chat
      engine: llama_cpp
      status: online
      reasons: []
      model: qwen
      served_names: [chat]
      context_length: 8192
      pid: 4711
      memory_mb: 5120
      vram_mb: null
      uptime_seconds: 3600
      restarts: 0
      port: 8080
      address: http://127.0.0.1:8080
      supervisor: systemd
      unit: llm-chat.service
      generation: 3
      last_model: qwen
      proof: {level: tokens, at: "2026-11-21T10:00:00Z", ok: true, tokens_per_second: 42.0}
      port_owner: null
      unanswered: null
names:
  description: All runtimes of the host, also those that never served.
  returned: success
  type: list
  elements: str
  sample: [chat]
missing:
  description: Names that were asked for and are not on the host.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ..module_utils._ansible.argspec import PREFIX
from ..module_utils._ansible.run import run
from ..module_utils._work.runtime_status import RuntimeStatusTask

ARGUMENT_SPEC = {**PREFIX, "names": {"type": "list", "elements": "str"}}


def main() -> None:
    run(RuntimeStatusTask, ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
