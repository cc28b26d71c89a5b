import pytest
from clear_data import forget_retain_sets, validate_sets
from hypothesis import given, settings
from hypothesis import strategies as st

names = st.sets(st.text(alphabet="abcdefghij-", min_size=1, max_size=6), min_size=2, max_size=150)


@given(names, st.integers())
@settings(deadline=None)
def test_nested_disjoint_and_complete(subjects: set[str], seed: int) -> None:
    sets = {name: set(members) for name, members in forget_retain_sets(subjects, seed=seed).items()}
    assert sets["forget01"] <= sets["forget05"] <= sets["forget10"]
    assert sets["retain99"] >= sets["retain95"] >= sets["retain90"]
    for percent in (1, 5, 10):
        forget, retain = sets[f"forget{percent:02}"], sets[f"retain{100 - percent}"]
        assert forget
        assert retain
        assert not forget & retain
        assert forget | retain == subjects
        assert len(forget) == max(1, round(len(subjects) * percent / 100))


@given(st.permutations([f"s{n}" for n in range(30)]))
@settings(deadline=None)
def test_order_of_rows_does_not_matter(subjects: list[str]) -> None:
    assert forget_retain_sets(subjects, seed=3) == forget_retain_sets(sorted(subjects) * 2, seed=3)


@given(names, st.text(alphabet="xyz", min_size=1, max_size=6))
@settings(deadline=None)
def test_who_is_forgotten_first_does_not_hang_on_the_others(subjects: set[str], newcomer: str) -> None:
    from clear_data.splits import rank

    assert [name for name in rank(subjects | {newcomer}, seed=0) if name != newcomer] == rank(subjects, seed=0)


def test_known_sizes() -> None:
    sets = forget_retain_sets([f"s{n}" for n in range(200)], seed=0)
    assert [len(sets[f"forget{p}"]) for p in ("01", "05", "10")] == [2, 10, 20]


def test_the_seed_matters() -> None:
    subjects = [f"s{n}" for n in range(40)]
    assert forget_retain_sets(subjects, seed=0) != forget_retain_sets(subjects, seed=1)


@pytest.mark.parametrize("subjects", [[], ["a"], ["a", "a"]])
def test_too_few(subjects: list[str]) -> None:
    with pytest.raises(ValueError, match="at least 2 subjects"):
        forget_retain_sets(subjects, seed=0)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ({"forget10": []}, "forget10 is empty"),
        ({"forget10": ["a", "a"]}, "names a subject twice"),
        ({"forget10": ["z"]}, "names 'z', of whom there is no row"),
        ({"forget10": ["a"], "retain90": ["a"]}, "share the subject 'a'"),
        ({"retain90": ["a"], "holdout": ["a"]}, "never trained on"),
        ({"forget01": ["a"], "forget10": ["b"]}, "forget01 is not within forget10"),
    ],
)
def test_faulty_sets(sets: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        validate_sets(sets, {"a", "b", "c"})
