#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_model_runner_facts
short_description: Docker Model Runner on a host, and what it needs
version_added: 0.1.0
description:
  - Tells whether Docker and its Model Runner are there, in which version, what listens, and which models it has.
  - Never fails because something is missing or answers oddly; only an option that cannot be meant is refused. For
    everything that is not so there is an entry in C(reasons).
  - Asks over HTTP (GET only) and by C(docker version), C(docker info), C(docker context inspect), C(docker ps) and
    C(docker inspect). It never calls C(docker model), whose C(status) removes a stopped runner's container and whose
    other commands may install one.
  - All of it is done side by side and within O(timeout), also when the Docker daemon hangs.
  - Needs no root where the account may use Docker's socket, and nothing on the host but Python 3.9 or newer; with
    psutil it also tells which process holds the port.
notes:
  - A Docker daemon that systemd starts on the first connection to its socket is started by C(docker version), as by
    any other question to it.
author:
  - The llmops.fleet contributors (@llmops)
extends_documentation_fragment:
  - llmops.fleet.attributes
  - llmops.fleet.attributes.actiongroup_llm
  - llmops.fleet.attributes.info
attributes:
  facts:
    description: Action returns an C(ansible_facts) dictionary that will update existing host facts.
    support: full
options:
  endpoint:
    description:
      - The address at which the runner is looked for first, C(http://), C(https://) or C(unix:///path/to.sock), with
        C(#/path) behind a socket where the runner answers below a path.
    type: str
    default: http://127.0.0.1:12434
  sockets:
    description:
      - Sockets at which the runner is looked for next, in this order. Variables and C(~) are those of the account
        that runs the module; an entry that does not become an absolute path is left out.
      - Of a socket called C(docker.sock) the runner is looked for below C(/exp/vDD4.40), as Docker Desktop has it. The
        socket of the client's context is looked at too where it is Docker Desktop's.
    type: list
    elements: path
    default:
      - $MODEL_RUNNER_SOCK
      - ~/.docker/run/docker.sock
      - ~/.docker/desktop/docker.sock
      - /var/run/model-runner/model-runner.sock
  executable:
    description:
      - The docker program, a name or a path. A name is looked for in E(PATH) and where Docker Desktop and Homebrew
        put it.
    type: str
    default: docker
  timeout:
    description: Seconds for everything together.
    type: float
    default: 2
"""

EXAMPLES = r"""
- name: Look at Docker Model Runner
  llmops.fleet.docker_model_runner_facts:

- name: Go on only where it runs
  ansible.builtin.assert:
    that: ansible_facts.docker_model_runner.runner_running
    fail_msg: "{{ ansible_facts.docker_model_runner.reasons.runner_running.message }}"

- name: Name the models that are in memory
  ansible.builtin.debug:
    msg: "{{ models | selectattr('loaded') | map(attribute='tags') | flatten }}"
  vars:
    # Null where no runner could be asked.
    models: "{{ ansible_facts.docker_model_runner.models | default([], true) }}"

- name: Look at a runner on another port of a slow host
  llmops.fleet.docker_model_runner_facts:
    endpoint: http://127.0.0.1:12435
    timeout: 10
"""

RETURN = r"""
ansible_facts:
  description: One fact, C(docker_model_runner).
  returned: always
  type: dict
  contains:
    docker_model_runner:
      description: Docker Model Runner on this host. What is unknown is null.
      returned: always
      type: dict
      contains:
        installed:
          description: Whether the docker program is there.
          type: bool
          sample: true
        desktop:
          description: Whether it is Docker Desktop (else an Engine); null where the daemon does not tell.
          type: bool
          sample: false
        version:
          description: The version of Docker Desktop, or of the Engine.
          type: str
          sample: 28.2.2
        meets_minimum:
          description: Whether Docker Desktop is 4.40 or newer; of an Engine, whether the plugin C(model) is there.
          type: bool
          sample: true
        minimum:
          description: The version that Docker Desktop has to have.
          type: str
          sample: "4.40"
        platform:
          description: The host's system.
          type: str
          choices: [macos, windows, linux]
          sample: linux
        architecture:
          description: The host's architecture, V(amd64) or V(arm64); any other in the system's own word.
          type: str
          sample: amd64
        docker:
          description: Client, daemon and the plugin C(model), each with its version.
          type: dict
          sample:
            client: {present: true, version: 28.2.2, path: /usr/bin/docker, context: default}
            daemon:
              reachable: true
              version: 28.2.2
              platform_name: Docker Engine - Community
              os: linux
              architecture: amd64
              host: unix:///var/run/docker.sock
              remote: false
            plugin: {present: true, version: v1.2.6, path: /usr/libexec/docker/cli-plugins/docker-model}
        runner_enabled:
          description: Whether a runner is set up. It answers, or its container is there, be it stopped.
          type: bool
          sample: true
        runner_running:
          description: Whether a runner answers.
          type: bool
          sample: true
        runner_version:
          description: The version that the runner tells.
          type: str
          sample: 1.2.6
        endpoint:
          description:
            - The first address at which a runner answers, as the options for addresses of M(llmops.fleet.llm_model) and
              M(llmops.fleet.llm_model_info) take it. What follows C(#) of a socket is a path.
          type: str
          sample: http://127.0.0.1:12434
        endpoints:
          description:
            - All addresses that were looked at. C(state) is V(runner), V(other) (something else answers),
              V(not_enabled) (Docker answers, without a runner), V(refused), V(missing), V(denied), V(closed),
              V(timeout), V(tls_failed) or V(invalid_input) (a name that no host can have). Addresses are told
              without credentials.
          type: list
          elements: dict
          sample:
            - {address: "http://127.0.0.1:12434", state: runner, status: 200, reason: null, message: ""}
        listener:
          description:
            - What listens, where the runner answers or else at O(endpoint). C(kind) is V(container), V(desktop),
              V(standalone) (C(dmr) without Docker), V(other) (not a runner), V(none) or V(unknown).
          type: dict
          sample: {kind: container, address: "http://127.0.0.1:12434", container: docker-model-runner, process: null}
        containers:
          description:
            - Containers with the runner's labels (C(labelled)), with its name, or on the endpoint's port
              (C(holds_endpoint)); null where they could not be listed.
          type: list
          elements: dict
          sample:
            - id: 61b4a757015d
              name: docker-model-runner
              image: docker/model-runner:latest
              state: running
              running: true
              exit_code: null
              restart_policy: always
              labelled: true
              publishes: [{container_port: 12434/tcp, host_ip: 127.0.0.1, host_port: 12434}]
              holds_endpoint: true
        backends:
          description:
            - The runner's backends by name; null where it could not be asked.
            - C(state) is V(running), V(stopped), V(installed), V(installing),
              V(not_installed), V(error) or V(unknown).
          type: list
          elements: dict
          sample: [{name: llama.cpp, state: running, detail: llama.cpp latest-cpu}]
        models:
          description:
            - The runner's models; null where it could not be asked. C(state) is V(loaded), V(loading), V(unloaded) or
              null.
          type: list
          elements: dict
          sample:
            - id: sha256:354bf30d0aa3
              tags: ["docker.io/ai/smollm2:latest"]
              size: 256.35 MiB
              size_bytes: 268802458
              quantization: IQ2_XXS/Q4_K_M
              parameters: 361.82 M
              architecture: llama
              format: gguf
              context_length: 8192
              created: 1742816981
              state: unloaded
              loaded: false
        disk:
          description: Bytes on the disk.
          type: dict
          sample: {models_bytes: 270598528, backend_bytes: 15096040}
        reasons:
          description: By fact (C(docker.daemon), C(runner_running), …), why it is not so or not known.
          type: dict
          sample:
            runner_running: {reason: runtime_missing, message: "Nothing listens at http://127.0.0.1:12434."}
"""

from ..module_utils._ansible.run import run
from ..module_utils._engines.docker_model_runner_facts import look
from ..module_utils._work.facts import facts

ARGUMENT_SPEC = {
    "endpoint": {"type": "str", "default": "http://127.0.0.1:12434"},
    "sockets": {
        "type": "list",
        "elements": "path",
        "default": [
            "$MODEL_RUNNER_SOCK",
            "~/.docker/run/docker.sock",
            "~/.docker/desktop/docker.sock",
            "/var/run/model-runner/model-runner.sock",
        ],
    },
    "executable": {"type": "str", "default": "docker"},
    "timeout": {"type": "float", "default": 2.0},
}


def main() -> None:
    run(facts("docker_model_runner", look), ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
