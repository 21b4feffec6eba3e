"""Answers are kept, once each, and come out under their methods' names."""

import json
import sqlite3
import threading

import pytest

from lensblend.errors import DataError, StorageError
from lensblend.survey import store
from lensblend.survey.answers import Answer
from lensblend.survey.store import Store, read_answers
from lensblend.survey.study import read_key

RATERS = [f"{number:016x}" for number in range(50)]


@pytest.fixture
def study(made, tmp_path):
    """A study of levels and its folder."""
    return made(tmp_path / "study"), tmp_path / "study"


def test_fifty_threads_lose_nothing(study, one_thread):
    study, folder = study
    kept = Store(folder)

    def answer(rater):
        for number, trial in enumerate(study.trials):
            kept.put(rater, trial.id, number % 5, 1.5)

    threads = [threading.Thread(target=answer, args=[rater]) for rater in RATERS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept.counts() == (50 * len(study.trials), 50)
    # While it is open, as a study that goes on is scored.
    answers = read_answers(folder)
    kept.close()
    key = read_key(folder, study)
    wanted = []
    for rater in RATERS:
        for number, trial in enumerate(study.trials):
            image, method, other, expected = key.unblinded(trial)
            wanted.append(Answer(rater, image, method, other, number % 5, expected, 1.5))
    assert answers == wanted


def test_a_repeated_answer_replaces_the_earlier(study):
    study, folder = study
    kept = Store(folder)
    for value, seconds in ((4, 2.0), (1, 3.0)):
        kept.put(RATERS[1], study.trials[0].id, value, seconds)
    assert kept.of_rater(RATERS[1]) == {study.trials[0].id: (1, 3.0)}
    assert kept.of_rater(RATERS[2]) == {}
    kept.close()
    assert [(a.value, a.seconds) for a in read_answers(folder)] == [(1, 3.0)]


def test_raters_have_an_end(study, monkeypatch):
    study, folder = study
    monkeypatch.setattr(store, "MOST_RATERS", 2)
    kept = Store(folder)
    for rater in (RATERS[0], RATERS[1], RATERS[0]):
        kept.put(rater, study.trials[0].id, 0, 1.0)
    with pytest.raises(StorageError, match="takes no more"):
        kept.put(RATERS[2], study.trials[0].id, 0, 1.0)
    assert kept.counts() == (2, 2)
    kept.close()


def test_a_closed_store_says_that_it_kept_nothing(study):
    study, folder = study
    kept = Store(folder)
    kept.close()
    with pytest.raises(StorageError, match="could not be written"):
        kept.put(RATERS[0], study.trials[0].id, 0, 1.0)


def write_file(folder, name, **content):
    (folder / "answers").mkdir(exist_ok=True)
    (folder / "answers" / f"{name}.json").write_text(json.dumps(content))


def test_files_of_raters_count_beside_the_database_and_pairs_keep_their_sides(made, tmp_path):
    folder = tmp_path / "study"
    study = made(folder, "pairs")
    kept = Store(folder)
    kept.put(RATERS[0], study.trials[0].id, 1, 2.0)
    kept.close()
    given = [{"trial": trial.id, "value": 0, "seconds": 4} for trial in study.trials[:2]]
    for name in ("a", "sent twice"):
        write_file(folder, name, study=study.study, rater=RATERS[1], answers=given)
    images = json.loads((folder / "key.json").read_text())["images"]
    answers = read_answers(folder)
    assert [(a.rater, a.value, a.seconds) for a in answers] == [
        (RATERS[0], 1, 2.0), (RATERS[1], 0, 4.0), (RATERS[1], 0, 4.0)
    ]  # fmt: skip
    for answer, trial in zip(answers, (study.trials[0], *study.trials[:2]), strict=True):
        assert (answer.method, answer.other) == tuple(images[image]["method"] for image in trial.shown)
        assert answer.image == images[trial.target]["image"]


BAD = {
    "another study": ({"study": "f" * 16}, "answers to another study"),
    "no answers": ({"answers": 5}, "is no file of answers"),
    "no rater": ({"rater": "me"}, "'me' is no rater's id"),
    "an unknown trial": ({"trial": "f" * 16}, "is no trial of this study"),
    "a value too high": ({"value": 5}, "`value` is a whole number from 0 to 4, but got 5"),
    "a truth": ({"value": True}, "`value` is a whole number"),
    "no time": ({"seconds": -1}, "`seconds` is a number"),
    "a contradiction": ({"value": 3}, "answered trial .* otherwise before"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_is_wrong_is_named(study, case):
    study, folder = study
    changed, said = BAD[case]
    answer = {"trial": study.trials[0].id, "value": 2, "seconds": 1.0}
    sound = {"study": study.study, "rater": RATERS[0], "answers": [answer]}
    write_file(folder, "0", **sound)
    assert len(read_answers(folder)) == 1
    wrong = {**sound, "answers": [{**answer, **{k: v for k, v in changed.items() if k in answer}}]}
    write_file(folder, "1", **{**wrong, **{k: v for k, v in changed.items() if k in sound}})
    with pytest.raises(DataError, match=said) as refused:
        read_answers(folder)
    assert "1.json" in str(refused.value)


def test_a_damaged_database_or_key_is_named(study, made, tmp_path):
    study, folder = study
    (folder / "answers.sqlite").write_bytes(b"no database at all, but longer than its head" * 9)
    with pytest.raises(DataError, match=r"answers\.sqlite` cannot be read"):
        read_answers(folder)
    with pytest.raises(StorageError, match=r"answers\.sqlite"):
        Store(folder)
    (folder / "answers.sqlite").unlink()
    made(tmp_path / "other")
    (folder / "key.json").write_bytes((tmp_path / "other" / "key.json").read_bytes())
    with pytest.raises(DataError, match="is the key of another study"):
        read_answers(folder)
    (folder / "key.json").unlink()
    with pytest.raises(DataError, match="nobody knows which method was shown"):
        read_answers(folder)


def test_the_database_holds_no_more_than_was_promised(study):
    study, folder = study
    kept = Store(folder)
    kept.put(RATERS[0], study.trials[0].id, 0, 1.0)
    kept.close()
    with sqlite3.connect(folder / "answers.sqlite") as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(answers)")]
        assert [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")] == [
            "answers"
        ]
    database.close()
    assert columns == ["rater", "trial", "value", "seconds"]
