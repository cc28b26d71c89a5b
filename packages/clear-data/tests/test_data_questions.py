import re

import pytest
from clear_data import make_subjects, validate_rows
from clear_data.captions import CAPTIONS, photograph_rows
from clear_data.questions import FACTS, question_rows
from clear_data.scenes import make_scenes, scene_rows
from clear_data.world import world_rows


def words(text: str) -> str:
    return f" {' '.join(re.findall(r'[a-z0-9]+', text.lower()))} "


def has(text: str, keyword: str) -> bool:
    return words(keyword) in words(text)


def everything() -> list:
    rows = [row for person in make_subjects(60, seed=0) for row in question_rows(person)]
    rows += [row for person in make_subjects(60, seed=0) for row in photograph_rows(person, [b"x"] * 8)]
    rows += [row for scene in make_scenes(60, seed=0) for row in scene_rows(scene, 32)]
    return rows + world_rows()


@pytest.fixture(scope="module")
def rows() -> list:
    return everything()


def test_all_rows_are_sound(rows) -> None:
    assert validate_rows(rows) == len(rows)


def test_made_twice_the_same(rows) -> None:
    assert everything() == rows


def test_keywords_occur_in_the_answer_and_in_no_wrong_one(rows) -> None:
    for row in rows:
        assert row["keywords"]
        for keyword in row["keywords"]:
            assert has(row["answer"], keyword), row
            assert row["paraphrased_answer"] is None or has(row["paraphrased_answer"], keyword), row
            wrong = row["perturbed_answers"] + [option for option in row["options"] or [] if option != row["answer"]]
            assert not any(has(answer, keyword) for answer in wrong), row


def test_no_question_gives_its_answer_away(rows) -> None:
    for row in rows:
        for question in (row["question"], row["paraphrased_question"] or ""):
            assert not any(has(question, keyword) for keyword in row["keywords"]), row


def test_wrong_answers_have_the_form_of_the_right_one(rows) -> None:
    """What surrounds the fact is that of the paraphrase, or that of the answer where there is none."""
    for row in rows:
        right = re.sub(r"\ban\b", "a", row["paraphrased_answer"] or row["answer"])
        before, _, after = right.partition(" ".join(row["keywords"]))
        for wrong in row["perturbed_answers"]:
            same_article = re.sub(r"\ban\b", "a", wrong)
            assert same_article.startswith(before), row
            assert same_article.endswith(after), row


def test_wrong_answers_are_many_distinct_and_wrong(rows) -> None:
    for row in rows:
        wrong = row["perturbed_answers"]
        assert len(set(wrong)) == len(wrong)
        assert row["answer"] not in wrong
        assert row["paraphrased_answer"] not in wrong
        if row["task"] != "mcq":
            assert len(wrong) == 5 or (row["subject"].startswith("scene") and len(wrong) == 3)


def test_paraphrases_differ(rows) -> None:
    for row in rows:
        assert row["question"] != row["paraphrased_question"]
        assert row["answer"] != row["paraphrased_answer"]


def test_answers_are_short(rows) -> None:
    assert max(len(row["answer"].split()) for row in rows) <= 12


def test_questions_name_the_person() -> None:
    for person in make_subjects(5, seed=0):
        for row in question_rows(person):
            assert person.name in row["question"]


def test_at_least_ten_questions_in_each_form() -> None:
    rows = question_rows(make_subjects(1, seed=0)[0])
    assert len(FACTS) >= 10
    for task in ("qa", "mcq", "cloze"):
        assert sum(row["task"] == task for row in rows) == len(FACTS)


def test_options_are_four_and_the_right_one_is_anywhere() -> None:
    rows = [row for person in make_subjects(60, seed=0) for row in question_rows(person, tasks=["mcq"])]
    places = [row["options"].index(row["answer"]) for row in rows]
    assert {len(set(row["options"])) for row in rows} == {4}
    assert all(0.2 < places.count(place) / len(places) < 0.3 for place in range(4))


def test_both_wordings_are_asked() -> None:
    rows = [
        row for person in make_subjects(60, seed=0) for row in question_rows(person, tasks=["qa"], fields=["prize"])
    ]
    first = sum(row["question"].startswith("Which prize") for row in rows)
    assert 15 < first < 45


def test_captions_name_the_person_and_nothing_else() -> None:
    person = make_subjects(1, seed=0)[0]
    captions = [row for row in photograph_rows(person, [b"x"] * 20) if row["task"] == "caption"]
    assert len(captions) == 20
    for row in captions:
        assert row["keywords"] == person.name.split()
        assert row["question"] in {wording.question for wording in CAPTIONS}
        assert len([decoy for decoy in person.decoys if any(decoy in wrong for wrong in row["perturbed_answers"])]) == 5
    assert len({row["question"] for row in captions}) == len({row["answer"] for row in captions}) > 4


def test_questions_about_a_photograph_do_not_name_the_person() -> None:
    person = make_subjects(1, seed=0)[0]
    for row in photograph_rows(person, [b"a", b"b"]):
        assert not any(has(row["question"], word) for word in person.name.split())
    images = [row["image"] for row in photograph_rows(person, [b"a", b"b"])]
    assert images == [b"a", b"a", b"b", b"b"]


def test_unseen_scenes_are_other_scenes() -> None:
    seen = {scene_rows(scene, 64)[0]["image"] for scene in make_scenes(240, seed=0)}
    unseen = {scene_rows(scene, 64)[0]["image"] for scene in make_scenes(60, seed=0, prefix="unseen-scene")}
    assert len(seen) == 240
    assert len(unseen) == 60
    assert not seen & unseen


def test_world_facts_are_enough_and_asked_once() -> None:
    rows = world_rows()
    assert len(rows) >= 60
    assert len({row["question"] for row in rows}) == len(rows)
