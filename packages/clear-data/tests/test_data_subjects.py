import random
import re
import sys

import pytest
from clear_data import make_subjects, pools
from clear_data.names import decoy_names, fold, name_pool
from clear_data.subjects import Look

GROUPS = ("subject", "holdout", "figure")


@pytest.fixture(scope="module")
def people() -> dict[str, list]:
    return {group: make_subjects(200 if group == "subject" else 20, seed=0, group=group) for group in GROUPS}


def test_same_seed_same_people(people) -> None:
    assert make_subjects(200, seed=0) == people["subject"]
    assert make_subjects(40, seed=1) != people["subject"][:40]


def test_a_subject_does_not_depend_on_how_many_are_asked_for(people) -> None:
    for count in (1, 2, 40):
        assert make_subjects(count, seed=0) == people["subject"][:count]


def test_first_and_last_names_occur_once_in_all_groups(people) -> None:
    words = [word for group in GROUPS for person in people[group] for word in person.name.split()]
    assert len(words) == 2 * 240 == len(set(words))


def test_names_are_plain_and_ids_are_their_slugs(people) -> None:
    for person in people["subject"]:
        assert re.fullmatch(r"[A-Z][a-z]+ [A-Z][a-z]+", person.name)
        assert person.id == person.name.lower().replace(" ", "-")


def test_facts_hang_together(people) -> None:
    for person in people["subject"]:
        home = pools.HOMELANDS[person.locale]
        assert person.country == home.country
        assert person.birthplace in home.cities
        assert person.residence not in home.cities
        assert person.birth_year + person.age == 2024
        assert len({person.profession, person.mother_profession, person.father_profession}) == 3
        assert person.mother in name_pool(person.locale, "female")
        assert person.father in name_pool(person.locale, "male")
        assert person.name.split()[0] in name_pool(person.locale, person.gender)


def test_decoys_are_five_other_names_of_the_same_form(people) -> None:
    for person in people["subject"]:
        own = set(person.name.split())
        words = [word for decoy in person.decoys for word in decoy.split()]
        assert len(person.decoys) == 5 == len(set(person.decoys))
        assert not own & set(words)
        assert all(decoy.split()[0] in name_pool(person.locale, person.gender, "decoy") for decoy in person.decoys)


def test_nobody_is_named_like_a_decoy(people) -> None:
    named = {word for group in GROUPS for person in people[group] for word in person.name.split()}
    assert not named & {word for person in people["subject"] for decoy in person.decoys for word in decoy.split()}


def test_facts_cannot_be_guessed(people) -> None:
    """The likeliest value of a fact is right for few of the people."""
    for field in ("birthplace", "residence", "profession", "school", "prize", "work", "hobby", "language", "birthday"):
        values = [getattr(person, field) for person in people["subject"]]
        assert max(map(values.count, values)) / len(values) < 0.08, field


def test_looks_settle_age_and_gender() -> None:
    looks = [Look(30, "male"), Look(71, "female"), Look(44, "male")]
    people = make_subjects(2, seed=0, looks=looks)
    assert [(person.age, person.gender) for person in people] == looks[:2]
    with pytest.raises(ValueError, match="4 people need a look each, got 3"):
        make_subjects(4, seed=0, looks=looks)


def test_more_people_than_words_still_have_names_of_their_own() -> None:
    people = make_subjects(1500, seed=0)
    assert len({person.name for person in people}) == 1500


def test_nobody_and_too_many() -> None:
    assert make_subjects(0, seed=0) == []
    with pytest.raises(ValueError, match="must not be negative"):
        make_subjects(-1, seed=0)


@pytest.mark.parametrize("locale", sorted(pools.HOMELANDS))
def test_every_country_has_names_enough(locale: str) -> None:
    for kind in ("female", "male", "last"):
        shares = [set(name_pool(locale, kind, group)) for group in ("subject", "holdout", "figure", "decoy")]
        assert min(map(len, shares)) >= 6
        assert sum(map(len, shares)) == len(set.union(*shares)) == len(name_pool(locale, kind))


def test_decoys_share_no_part_with_the_name() -> None:
    for decoy in decoy_names("en_US", "female", "Ann Lee", random.Random(0)):
        assert not any(part in word or word in part for word in ("ann", "lee") for part in decoy.lower().split())


def test_fold() -> None:
    assert fold("Þór Ægir Çağla Đorđe Straße") == "Þor Aegir Cagla Dorde Strasse"


def test_importing_needs_no_torch() -> None:
    import subprocess

    code = "import clear_data, sys; sys.exit(bool({'torch', 'diffusers', 'datasets'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
