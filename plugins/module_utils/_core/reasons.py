# SPDX-License-Identifier: GPL-3.0-or-later
"""Every reason code a result can carry, with what it means and what to do.

The documentation's troubleshooting table is made from this list, so a code exists once, here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """`meaning` for the table, `remedy` for the error's second sentence."""

    meaning: str
    remedy: str


REASONS: dict[str, Reason] = {
    "auth_error": Reason("The hub refused the credentials.", "Pass a valid hf_token (option token)."),
    "cancelled": Reason("Nobody waits for it any more.", "Run it again: what has arrived is kept."),
    "checksum_missing": Reason(
        "Nothing says what the file hashes to.", "Give sha256, or checksum_url with a list of checksums."
    ),
    "checksum_mismatch": Reason(
        "The bytes are not the ones that were promised.", "Nothing was kept; run again, or check the source."
    ),
    "controller_bytes_missing": Reason(
        "A file of the controller is not on the host yet.", "Run the task by its full name, llmops.fleet.llm_model."
    ),
    "does_not_fit": Reason(
        "The memory does not suffice for the model.",
        "Take a smaller model, context or parallelism, stop another runtime, or set fit: warn.",
    ),
    "drain_timeout": Reason(
        "Requests were still in flight when the wait for them ended.",
        "Raise drain_timeout, or set on_drain_timeout: proceed.",
    ),
    "engine_missing": Reason("The engine's program is not where it should be.", "Run the engine's role first."),
    "engine_too_old": Reason("The program is older than the model needs.", "Update it, or choose an older model."),
    "environment_failed": Reason(
        "A Python environment could not be made.", "Read the output above and check index, wheels and proxy options."
    ),
    "exposed": Reason(
        "A runtime would listen beyond loopback without a key.",
        "Set api_key, or allow_unauthenticated: true if that is really wanted.",
    ),
    "forbidden": Reason("The hub knows you and says no.", "Ask the repository's owner for access."),
    "gated": Reason("The repository is gated.", "Accept its licence on the hub and pass hf_token."),
    "hub_error": Reason("The hub answered with an error of its own.", "Try again later; nothing was changed."),
    "in_use": Reason("A runtime has this model active.", "Switch the runtime first, or pass force: true."),
    "internal_error": Reason("A defect of this collection.", "Please report it with the details below."),
    "interrupted": Reason("The task was interrupted.", "Run it again."),
    "invalid_input": Reason("What was asked cannot be meant.", "Correct the value."),
    "invalid_name": Reason(
        "A name has characters or a form that is refused.",
        "Use letters, digits and - _ . : / without '..', a leading '/' or empty parts, at most 255 characters.",
    ),
    "library_missing": Reason(
        "A Python library is missing on the host.", "Run the role llm_host, and run this task with its interpreter."
    ),
    "locked": Reason("Another run holds the lock.", "Wait for it, or raise lock_timeout."),
    "model_missing": Reason("The model is not in the store.", "Add it to llm_models and pull it first."),
    "model_unsuitable": Reason(
        "The engine cannot take this model.",
        "Choose a model that the engine reads; have a damaged one repaired (llm_model, state: verified).",
    ),
    "no_space": Reason("The disk has no room.", "Free space, or move the store to a larger disk."),
    "no_generation": Reason(
        "There is no such generation to return to.", "Choose one of the kept generations; llm_runtime_info lists them."
    ),
    "not_found": Reason("The hub does not know the repository, revision or file.", "Check the spelling."),
    "out_of_memory": Reason("The engine ran out of memory.", "Take a smaller model, context or parallelism."),
    "page_changed": Reason(
        "A web page without an API is not built as it was when this collection was made.",
        "Use another source meanwhile, and update the collection or report it.",
    ),
    "path_missing": Reason("A path does not exist on the host.", "Check the path."),
    "permission_denied": Reason("The host refused access to a path.", "Check owner and mode, or use become."),
    "port_in_use": Reason("Something else listens on the port.", "Stop it, or choose another port."),
    "proof_failed": Reason("The runtime answers, but not as it must.", "See details for what it answered."),
    "quota_exceeded": Reason(
        "The store's limit would be passed.", "Remove models, or raise max_disk_gb (0 means no limit)."
    ),
    "runtime_missing": Reason("There is no such runtime on the host.", "Start it once with engine and port."),
    "served_name_taken": Reason("Another runtime of the host serves this name.", "Choose another served name."),
    "start_failed": Reason("The engine ended while it was starting.", "See details for its last log lines."),
    "stop_failed": Reason("A process would not end.", "Look at the process named."),
    "supervisor_failed": Reason("The supervisor refused a command.", "See details for what it said."),
    "system_library_missing": Reason(
        "The engine needs a shared library that the host does not have.",
        "Install the package that has it (libgomp.so.1: libgomp1 on Debian and Ubuntu, libgomp on RHEL).",
    ),
    "timeout": Reason("Something took longer than allowed.", "Raise the time limit, or look at the engine's log."),
    "tls_failed": Reason(
        "A server's certificate could not be verified.",
        "Install the certificate authority on the host, or correct the address.",
    ),
    "too_large": Reason("The model is above the size that needs a yes.", "Set allow_large: true to accept it."),
    "transfer_failed": Reason(
        "The bytes did not arrive.", "Run again: what has arrived is kept and the rest is fetched."
    ),
    "unknown_engine": Reason("No such engine.", "Use one of the engines listed."),
    "unknown_source": Reason("No such source.", "Use one of the sources listed."),
    "unreachable": Reason("The other side could not be reached.", "Check address, network and proxy."),
    "unsupported": Reason("The source or engine cannot do that.", "Leave the option out, or use another one."),
    "venv_missing": Reason("The host's Python cannot make environments.", "Install its venv package."),
}
