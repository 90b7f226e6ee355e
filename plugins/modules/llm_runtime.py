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
  - Activation is a transaction. Unit, environment file, secrets and engine link are written, the runtime is
    restarted, waited for and proven. On any failure the generation before is restored, started and proven again,
    and the task fails with the reason.
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
      - V(absent) removes it with its generations; models and engines stay.
    type: str
    choices: [started, stopped, restarted, absent]
    default: started
  engine:
    description: The engine. Required for the first activation.
    type: str
    choices: [llama_cpp]
  engine_version:
    description: The folder of the installed engine below C(engines/<engine>/). Required for the first activation.
    type: str
  model:
    description: The model, by its name in the store.
    type: str
  initial_model:
    description: The model of a runtime that has never had one. Later switches are left alone.
    type: str
  served_names:
    description: Names that clients ask for; the first is the main one. Default is the runtime's name.
    type: list
    elements: str
  host:
    description: Address to listen on. Anything but loopback needs O(api_key) or O(allow_unauthenticated). Default is V(127.0.0.1).
    type: str
  port:
    description: TCP port. Default is the engine's usual one.
    type: int
  context_length:
    description: Tokens that one request may use. Default is V(4096).
    type: int
  options:
    description: The engine's options by name, such as C(parallel) and C(threads).
    type: dict
  extra_args:
    description: Words that are added to the engine's command line as they are. With systemd they stand in O(unit) already.
    type: list
    elements: str
  environment:
    description: More environment variables of the engine. Anyone on the host may read them.
    type: dict
  api_key:
    description: The key that clients must send. An empty string removes it.
    type: str
  secrets:
    description: More environment variables for the secrets file that only root reads.
    type: dict
  allow_unauthenticated:
    description: The explicit yes to listening beyond loopback without a key.
    type: bool
  proof:
    description:
      - V(facts) compares names, model path and context length that the engine tells.
      - V(tokens) also asks for a short reply and judges it. The default.
      - V(none) proves nothing.
    type: str
    choices: [facts, tokens, none]
  supervisor:
    description: What keeps the process. V(auto) is systemd where it runs the host and the task is root, else V(process).
    type: str
    choices: [auto, systemd, process]
  unit:
    description: Text of the systemd unit. The role P(llmops.fleet.llm_service#role) makes it; required for the first activation with systemd.
    type: str
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

from ..module_utils._ansible.argspec import PREFIX, STORE
from ..module_utils._ansible.run import run
from ..module_utils._work.ensure_runtime import RuntimeTask

ARGUMENT_SPEC = {
    **PREFIX,
    **STORE,
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["started", "stopped", "restarted", "absent"], "default": "started"},
    "engine": {"type": "str", "choices": ["llama_cpp"]},
    "engine_version": {"type": "str"},
    "model": {"type": "str"},
    "initial_model": {"type": "str"},
    "served_names": {"type": "list", "elements": "str"},
    "host": {"type": "str"},
    "port": {"type": "int"},
    "context_length": {"type": "int"},
    "options": {"type": "dict"},
    "extra_args": {"type": "list", "elements": "str"},
    "environment": {"type": "dict"},
    "api_key": {"type": "str", "no_log": True},
    "secrets": {"type": "dict", "no_log": True},
    "allow_unauthenticated": {"type": "bool"},
    "proof": {"type": "str", "choices": ["facts", "tokens", "none"]},
    "supervisor": {"type": "str", "choices": ["auto", "systemd", "process"]},
    "unit": {"type": "str"},
    "start_timeout": {"type": "float", "default": 120},
    "proof_timeout": {"type": "float", "default": 120},
    "stop_timeout": {"type": "int"},
}


def main() -> None:
    run(RuntimeTask, ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
