# SPDX-License-Identifier: GPL-3.0-or-later
"""The only way in and out of Ansible: parameters become a task, its outcome or failure becomes the result."""

from __future__ import annotations

import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .._core.errors import LlmError
from .._core.outcome import Outcome
from .._host.os_errors import explain


class Task(t.Protocol):
    """A verb of `_work`, built from parameters."""

    def run(self, *, check_mode: bool) -> Outcome: ...


def run(
    make_task: t.Callable[[t.Mapping[str, t.Any]], Task], argument_spec: t.Mapping[str, t.Any], **rules: t.Any
) -> None:
    """Build the module, run the task, leave. `rules` are AnsibleModule's own (mutually_exclusive …)."""
    module = AnsibleModule(argument_spec=dict(argument_spec), supports_check_mode=True, **rules)
    try:
        outcome = make_task(module.params).run(check_mode=module.check_mode)
    except LlmError as failure:
        _fail(module, failure)
    except OSError as failure:
        _fail(module, explain(failure) or _unexpected(failure))
    except Exception as failure:
        _fail(module, _unexpected(failure))
    else:
        for warning in outcome.warnings:
            module.warn(warning)
        module.exit_json(**outcome.as_result(diff=module._diff))


def _fail(module: AnsibleModule, failure: LlmError) -> None:
    details = dict(failure.details)
    # What a task did before it failed stays true: it is part of the result, not of the details.
    raised = {
        name: details.pop(name)
        for name in ("changed", "plan", "rolled_back", "steps", "runtime", "notes", "recovered")
        if name in details
    }
    module.fail_json(msg=str(failure), reason=failure.reason, details=details, **raised)


def _unexpected(failure: Exception) -> LlmError:
    frames = traceback.extract_tb(failure.__traceback__)
    step = frames[-1].name if frames else "?"
    return LlmError(
        "internal_error",
        f"Something unexpected happened in step {step}: {type(failure).__name__}: {failure}.",
        trace=[f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames],
    )
