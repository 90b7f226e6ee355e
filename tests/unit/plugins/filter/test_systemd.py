# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.llmops.fleet.plugins.filter.systemd import systemd_command, systemd_value


@pytest.mark.parametrize(
    ("word", "quoted"),
    [("50%", '"50%%"'), ("$HOME", '"$$HOME"'), ('a"b', '"a\\"b"'), ("a\\b", '"a\\\\b"'), ("a b", '"a b"')],
)
def test_words_come_out_as_they_are(word: str, quoted: str) -> None:
    assert systemd_command([word]) == quoted


def test_a_variable_stays_one() -> None:
    assert systemd_command(["x", "${LLM_PORT}", "${A-B}"]) == '"x" \\\n  ${LLM_PORT} \\\n  "$${A-B}"'


@pytest.mark.parametrize("words", ["vllm serve x", [], None, {"a": 1}])
def test_what_is_no_list_of_words_is_refused(words: object) -> None:
    with pytest.raises(AnsibleFilterError):
        systemd_command(words)


def test_a_line_break_is_refused() -> None:
    with pytest.raises(AnsibleFilterError):
        systemd_value("a\nb")
