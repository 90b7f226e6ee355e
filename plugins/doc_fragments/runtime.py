# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be said of one runtime."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  engine:
    description: The engine. Required for the first activation.
    type: str
    choices: [docker_model_runner, llama_cpp, llama_cpp_python, lm_studio, ollama, vllm]
  engine_version:
    description: The folder of the installed engine below C(engines/<engine>/). Required for the first activation, but with O(supervisor=external).
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
      - V(golden) also compares greedy replies with those of O(golden), or with those of the first activation of the same
        model on the same engine build, which are kept.
      - V(none) proves nothing.
    type: str
    choices: [facts, tokens, golden, none]
  golden:
    description: Prompts (C(prompt)) with the replies (C(reply)) that are right. A reply left out is that of the first activation.
    type: list
    elements: dict
  accelerator:
    description: Where the weights must be for the proof. V(gpu) fails a runtime that fell back to the processor.
    type: str
    choices: [any, gpu, cpu]
  min_tokens_per_second:
    description: The proof's reply must come at least at this rate. V(0) is no floor.
    type: float
  fit:
    description:
      - Whether weights, cache and overhead must fit into the memory that is there, counting what the outgoing model frees.
        Only GPUs that O(environment) lets it see count, and no more of the host's memory than its unit may have.
        V(enforce) refuses before anything is stopped, V(warn) tells, V(off) does not look. Default is V(enforce).
      - A format or quantization that the engine or its device cannot take is refused in any case.
    type: str
    choices: [enforce, warn, "off"]
  drain_timeout:
    description: Seconds that requests in flight are waited for before it is stopped. Default is V(30); V(0) does not wait.
    type: float
  on_drain_timeout:
    description: What happens when requests are left then. Default is V(proceed), which cuts them off.
    type: str
    choices: [proceed, fail]
  exclusive:
    description:
      - Stop the host's other runtimes first; they are started again if the activation fails.
      - A program that somebody else runs goes on, and unloads the model; one that cannot is named in the notes of the result.
    type: bool
  keep_generations:
    description: Generations to keep for a rollback. Default is V(3).
    type: int
  thresholds:
    description:
      - Above these it is degraded, C(memory_percent) and C(vram_percent) of the host (V(85)), C(restarts) since it was
        started (V(3)), C(proof_age_hours) since it proved itself (V(0), none).
    type: dict
  supervisor:
    description:
      - What keeps the process. V(auto) is systemd where it runs the host and the task is root, else V(process).
      - V(external) is for a program that somebody else runs, such as a container or a desktop application. It is watched
        and proven, and told what to load; it is never started or ended.
    type: str
    choices: [auto, systemd, process, external]
  unit:
    description: Text of the systemd unit. The role P(llmops.fleet.llm_service#role) makes it; required for the first activation with systemd.
    type: str
"""
