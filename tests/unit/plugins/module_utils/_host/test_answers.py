# SPDX-License-Identifier: GPL-3.0-or-later
"""Kept answers: found by the same question, private, and never an error where they cannot be read."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._host import answers as answers_module
from ansible_collections.llmops.fleet.plugins.module_utils._host.answers import Answers, Question

QUESTION = Question("hub", {"address": "http://a", "token": "hf_secret"}, {"search": "x"})
RECORDS = [{"name": "ä"}]


def test_an_answer_is_found_by_its_question_alone(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "new" / "folder")
    assert answers.last(QUESTION) is None
    answers.keep(QUESTION, RECORDS, 1_000)
    kept = answers.last(QUESTION)
    assert kept is not None
    assert (kept.at, kept.records) == (1_000, RECORDS)
    assert answers.last(replace(QUESTION, asked={"search": "y"})) is None
    assert answers.last(replace(QUESTION, scope={"address": "http://a", "token": "another"})) is None
    assert answers.last(replace(QUESTION, side="other")) is None


def test_other_answers_of_the_side_come_newest_first(tmp_path: Path) -> None:
    answers = Answers(tmp_path)
    for number in (1, 3, 2):
        answers.keep(replace(QUESTION, asked={"search": str(number)}), [], number)
    answers.keep(replace(QUESTION, scope={"address": "http://b"}), [], 9)
    answers.keep(QUESTION, [], 8)
    assert [kept.at for kept in answers.others(QUESTION)] == [3, 2, 1]


def test_only_the_user_can_read_them_and_no_token_is_in_them(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    Answers(folder).keep(QUESTION, RECORDS, 1)
    (path,) = folder.iterdir()
    assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) == (0o700, 0o600)
    assert "hf_secret" not in path.read_text() + path.name


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 99}', '{"version": 1, "at": "soon", "records": []}'])
def test_what_cannot_be_read_is_no_answer(tmp_path: Path, text: str) -> None:
    answers = Answers(tmp_path)
    answers.keep(QUESTION, RECORDS, 1)
    (tmp_path / QUESTION.name).write_text(text)
    assert answers.last(QUESTION) is None
    answers.keep(QUESTION, RECORDS, 2)
    assert answers.last(QUESTION) is not None


def test_a_clock_that_was_set_back_makes_no_answer_young(tmp_path: Path) -> None:
    answers = Answers(tmp_path)
    answers.keep(QUESTION, RECORDS, 1_000)
    kept = answers.last(QUESTION)
    assert kept is not None
    assert (kept.age(1_060), kept.age(999)) == (60, None)


def test_the_folder_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers_module, "_MOST", 3)
    answers = Answers(tmp_path)
    (tmp_path / "notes.txt").write_text("not ours")
    for number in range(6):
        answers.keep(replace(QUESTION, asked={"search": str(number)}), [], number)
    assert len(list(tmp_path.glob("*.json"))) == 3
    assert (tmp_path / "notes.txt").exists()
