# SPDX-License-Identifier: GPL-3.0-or-later
"""Kept answers: found by the same question, private, and never an error where they cannot be read."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._host import answers as answers_module
from ansible_collections.llmops.fleet.plugins.module_utils._host.answers import Answers, Kept, Question

QUESTION = Question("hub", {"address": "http://a", "token": "hf_secret"}, {"search": "x"})
RECORDS = [{"name": "ä"}]


def test_an_answer_is_found_by_its_question_alone(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "new" / "folder")
    assert answers.last(QUESTION) == []
    answers.keep(QUESTION, Kept(1_000, RECORDS))
    (kept,) = answers.last(QUESTION)
    assert (kept.at, kept.records) == (1_000, RECORDS)
    assert answers.last(replace(QUESTION, asked={"search": "y"})) == []
    assert answers.last(replace(QUESTION, scope={"address": "http://a", "token": "another"})) == []
    assert answers.last(replace(QUESTION, side="other")) == []


def test_other_answers_of_the_side_come_newest_first(tmp_path: Path) -> None:
    answers = Answers(tmp_path)
    for number in (1, 3, 2):
        answers.keep(replace(QUESTION, asked={"search": str(number)}), Kept(number, []))
    answers.keep(replace(QUESTION, scope={"address": "http://b"}), Kept(9, []))
    answers.keep(QUESTION, Kept(8, []))
    assert [kept.at for kept in answers.others(QUESTION)] == [3, 2, 1]


def test_only_the_user_can_read_them_and_no_token_is_in_them(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    Answers(folder).keep(QUESTION, Kept(1, RECORDS))
    (path,) = folder.iterdir()
    assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) == (0o700, 0o600)
    assert "hf_secret" not in path.read_text() + path.name


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "5", '{"version": 99}', '{"version": 1, "at": "soon", "records": []}', "[" * 100_000,
        '{"version": 1, "at": NaN, "records": []}', '{"version": 1, "at": true, "records": []}',
        '{"version": 1, "at": 1, "records": {"a": 1}}', '{"version": 1, "at": 1, "records": [], "gap": 5}',
        '{"version": 1, "at": 1, "records": null}', '{"version": [], "at": {}, "records": 5}',
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_no_answer(tmp_path: Path, text: str) -> None:
    answers = Answers(tmp_path)
    answers.keep(QUESTION, Kept(1, RECORDS))
    (tmp_path / QUESTION.name).write_text(text)
    assert answers.last(QUESTION) == []
    answers.keep(QUESTION, Kept(2, RECORDS))
    assert answers.last(QUESTION) == [Kept(2, RECORDS)]


def test_a_clock_that_was_set_back_makes_no_answer_young(tmp_path: Path) -> None:
    answers = Answers(tmp_path)
    answers.keep(QUESTION, Kept(1_000, RECORDS))
    (kept,) = answers.last(QUESTION)
    assert (kept.age(1_060), kept.age(999)) == (60, None)


def test_a_record_of_another_type_is_dropped(tmp_path: Path) -> None:
    (tmp_path / QUESTION.name).write_text('{"version": 1, "at": 1, "records": [5, null, [["a", 1]], {"a": 1}]}')
    assert Answers(tmp_path).last(QUESTION) == [Kept(1, [{"a": 1}])]


def test_a_whole_answer_comes_first_and_ends_one_with_a_gap(tmp_path: Path) -> None:
    answers, whole, part = Answers(tmp_path), Kept(1, RECORDS), Kept(2, [], "half of it")
    answers.keep(QUESTION, whole)
    answers.keep(QUESTION, part)
    assert answers.last(QUESTION) == [whole, part]
    assert answers.others(QUESTION) == []
    answers.keep(QUESTION, whole)
    assert answers.last(QUESTION) == [whole]


def test_the_folder_does_not_grow_without_end_and_foreign_files_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers_module, "_MOST", 3)
    foreign = ["notes.txt", "my-own-notes.json", "a-b-c.json", f"hub-{'0' * 16}-{'1' * 15}.json", "hub-x-y.part.json"]
    for name in foreign:
        (tmp_path / name).write_text("not ours")
    answers = Answers(tmp_path)
    for number in range(6):
        answers.keep(replace(QUESTION, asked={"search": str(number)}), Kept(number, []))
    assert all((tmp_path / name).exists() for name in foreign)
    assert len(list(tmp_path.iterdir())) == len(foreign) + 3
