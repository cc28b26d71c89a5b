import random
from collections import Counter

import pytest
from unlearn_train.sampling import sample_rows


def rows(make_row, *, perturbed=("a", "b", "c", "d", "e")):
    return [
        make_row(f"{subject}/qa/{n}", "Q?", "A.", perturbed_answers=["B."] if subject in perturbed else [])
        for subject in "abcde"
        for n in range(3)
    ]


@pytest.mark.parametrize("limit", [3, 4, 7, 9, 14])
def test_whole_subjects_are_chosen_within_the_limit(make_row, limit):
    chosen = Counter(row["subject"] for row in sample_rows(rows(make_row), limit, seed=0))
    assert set(chosen.values()) == {3}
    assert sum(chosen.values()) == 3 * (limit // 3)


def test_all_are_chosen_where_there_is_room(make_row):
    assert sample_rows(rows(make_row), 15, seed=0) == rows(make_row)


def test_one_subject_is_always_chosen(make_row):
    assert len(sample_rows(rows(make_row), 1, seed=0)) == 3


def test_the_order_of_the_rows_does_not_matter(make_row):
    shuffled = rows(make_row)
    random.Random(0).shuffle(shuffled)
    assert sample_rows(shuffled, 7, seed=4) == sample_rows(rows(make_row), 7, seed=4)


def test_the_seed_matters(make_row):
    assert len({sample_rows(rows(make_row), 3, seed=seed)[0]["subject"] for seed in range(20)}) > 2


def test_rows_of_which_more_can_be_asked_are_preferred(make_row):
    chosen = sample_rows(rows(make_row, perturbed=("b", "d")), 15, seed=0)
    assert {row["subject"] for row in chosen} == {"b", "d"}
    assert len(sample_rows(rows(make_row, perturbed=()), 15, seed=0)) == 15


def test_no_rows_give_none():
    assert sample_rows([], 3, seed=0) == []
