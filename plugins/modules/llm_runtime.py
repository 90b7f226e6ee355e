#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: llm_runtime
short_description: One runtime that serves a model, proven by real tokens
version_added: 0.1.0
description:
  - Starts, switches, stops or removes a runtime, which is a named instance of an engine with one active model.
  - Activation is a transaction. Requests in flight are waited for, unit, environment file, secrets and engine link are
    written, the runtime is restarted, waited for and proven. On any failure the generation before is restored, started
    and proven again, and the task fails with the reason.
  - Every step is in a journal on the host before it is begun. What a run that was killed left is finished or undone by
    the next task on the runtime.
  - Options that are not given are taken from the generation that serves, so naming another O(model) is a switch.
author:
  - The llmops.fleet contributors (@llmops)
requirements:
  - psutil and requests on the host; the role P(llmops.fleet.llm_host#role) installs them.
extends_documentation_fragment:
  - llmops.fleet.attributes
  - llmops.fleet.attributes.actiongroup_llm
  - llmops.fleet.place
  - llmops.fleet.place.store
  - llmops.fleet.runtime
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - C(changed), the diff and the reason of a failure are those of the run that follows, also where an earlier run was
        killed and has to be ended first.
      - Not foretold is what only a proof finds. An engine that runs and hangs, or talks nonsense, is foretold as kept, and
        the run heals it; what would be started is taken to start, to load its model and to prove itself.
      - A model or an engine that is not there yet is taken to be brought by an earlier task of the same run.
options:
  name:
    description: The runtime's name; its unit is C(llm-<name>.service).
    type: str
    required: true
  state:
    description:
      - V(started) serves as asked; it heals a runtime that does not, and changes nothing in one that does.
      - V(restarted) also restarts a runtime that serves.
      - V(stopped) ends it, also for the next boot, and keeps everything else.
      - V(absent) removes it with its generations; models and engines stay. A program of ours that keeps models itself is
        started for a moment if it is down, so that it forgets the runtime's names.
      - V(sleeping) has the engine give its memory back and stay, where it can; V(started) wakes it.
      - V(rolled_back) returns to an earlier generation, without a download. O(generation) says which; default is the one
        before, and a runtime that was rolled back already is left alone.
    type: str
    choices: [started, stopped, restarted, absent, sleeping, rolled_back]
    default: started
  generation:
    description: The number of the generation to return to with O(state=rolled_back).
    type: int
  sleep_level:
    description: How deep it sleeps with O(state=sleeping); vLLM has V(1), weights in the host's memory, and V(2), weights dropped.
    type: int
    default: 1
  on_stranger:
    description:
      - What happens when a process that is not ours holds the port.
      - V(fail) names it. V(evict) ends it, with its children, by its number; its unit is stopped where it has one.
      - V(adopt) leaves it running, and takes it over as with O(supervisor=external).
    type: str
    choices: [fail, adopt, evict]
    default: fail
  lock_timeout:
    description: Seconds to wait for another task on the same runtime.
    type: float
    default: 900
  start_timeout:
    description: Seconds a start may take, besides one second for every 50 MB of the model.
    type: float
    default: 120
  proof_timeout:
    description: Seconds that the reply of the proof may take.
    type: float
    default: 120
  stop_timeout:
    description: >-
      Seconds between SIGTERM and SIGKILL with the supervisor V(process), at first V(2). With systemd the unit says it.
    type: int
"""

EXAMPLES = r"""
- name: Serve a model
  llmops.fleet.llm_runtime:
    name: chat
    engine: llama_cpp
    engine_version: "2026.10.11549"
    model: qwen
    served_names: [chat, gpt-4o-mini]
    port: 8080
    context_length: 8192
    options: {parallel: 4, threads: 8}
    supervisor: process

- name: Switch it to another model; all else stays
  llmops.fleet.llm_runtime:
    name: chat
    model: phi

- name: Return to what served before, without a download
  llmops.fleet.llm_runtime:
    name: chat
    state: rolled_back

- name: Stop it, also for the next boot
  llmops.fleet.llm_runtime:
    name: chat
    state: stopped
"""

RETURN = r"""
runtime:
  description: The runtime's status, as RV(llmops.fleet.llm_runtime_info#module:runtimes) has it.
  returned: when O(state=started) or O(state=restarted), not in check mode
  type: dict
  sample: {name: chat, engine: llama_cpp, status: online, reasons: [], model: qwen, port: 8080}
generation:
  description: The number of the generation that serves.
  returned: when O(state=started) or O(state=restarted), not in check mode
  type: int
  sample: 3
generation_before:
  description: The number of the generation that served before; null where none did.
  returned: when O(state=started), O(state=restarted) or O(state=rolled_back)
  type: int
  sample: 2
recovered:
  description: What became of an activation that an earlier run had left unfinished, or would become of it.
  returned: when there was one
  type: str
  sample: "Runtime chat: An activation of generation 3 was interrupted at step 'restart'; it was finished."
notes:
  description: What a user should know of the way, such as requests that were cut off, or how memory is used.
  returned: when there is anything
  type: list
  elements: str
  sample: ["Stopped for it: big."]
model:
  description: The model that is active, or would be.
  returned: when O(state=started) or O(state=restarted)
  type: str
  sample: qwen
reply:
  description: What the model said to prove itself.
  returned: with O(proof=tokens), not in check mode
  type: str
  sample: I am a small language model.
rolled_back:
  description: Whether a failed activation left the generation before serving.
  returned: when O(state=started) or O(state=restarted), also on failure
  type: bool
  sample: false
steps:
  description: The steps of the activation with their seconds.
  returned: when O(state=started) or O(state=restarted), also on failure
  type: list
  elements: dict
  sample:
    - step: write
      seconds: 0.01
    - step: restart
      seconds: 0.31
    - step: wait healthy
      seconds: 2.2
    - step: prove
      seconds: 0.4
reason:
  description: A code for the failure, for playbooks that act on it.
  returned: failure
  type: str
  sample: model_unsuitable
details:
  description: What a bug report needs, the last lines of the engine's log among it.
  returned: failure
  type: dict
  sample: {log: ["error loading model: unknown model architecture: 'lxxxx'"]}
"""

from ..module_utils._ansible.argspec import PREFIX, RUNTIME, STORE
from ..module_utils._ansible.run import run
from ..module_utils._work.ensure_runtime import RuntimeTask

ARGUMENT_SPEC = {
    **PREFIX,
    **STORE,
    **RUNTIME,
    "name": {"type": "str", "required": True},
    "state": {
        "type": "str",
        "choices": ["started", "stopped", "restarted", "absent", "sleeping", "rolled_back"],
        "default": "started",
    },
    "generation": {"type": "int"},
    "sleep_level": {"type": "int", "default": 1},
    "on_stranger": {"type": "str", "choices": ["fail", "adopt", "evict"], "default": "fail"},
    "lock_timeout": {"type": "float", "default": 900},
    "start_timeout": {"type": "float", "default": 120},
    "proof_timeout": {"type": "float", "default": 120},
    "stop_timeout": {"type": "int"},
}


def main() -> None:
    run(RuntimeTask, ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
