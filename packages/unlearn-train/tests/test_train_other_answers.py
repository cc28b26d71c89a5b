import pytest
import torch
from unlearn_train.other_answers import KINDS, alternate_answers, other_answers
from unlearn_train.refusals import REFUSALS


@pytest.fixture
def answers(fresh, sides):
    def make(needs, *, seed=0, **more):
        model, processor = fresh()
        return other_answers(needs, model, processor, *sides, seed=seed, **more)

    return make


def texts(encoded):
    return [encoded.answer(row) for row in encoded.rows]


def test_only_what_is_needed_is_made(answers):
    assert answers(set()) == {}
    assert list(answers({"forget", "retain", "idk", "ref_logps"})) == ["idk"]
    assert list(answers(set(KINDS))) == list(KINDS)


def test_the_questions_are_those_to_forget(answers, sides):
    for encoded in answers(set(KINDS)).values():
        assert [row["id"] for row in encoded.rows] == [row["id"] for row in sides[0]]
        assert len(encoded) == len(sides[0])
        assert len(encoded[0].input_ids) > 0


def test_each_kind_is_what_it_says(answers, sides):
    forget, retain = ([row["answer"] for row in side] for side in sides)
    found = {kind: texts(encoded) for kind, encoded in answers(set(KINDS), seed=5).items()}
    assert set(found["idk"]) <= set(REFUSALS)
    assert set(found["random"]) <= set(retain)
    assert sorted(found["shuffled"]) == sorted(forget)
    assert all(other != own for other, own in zip(found["shuffled"], forget, strict=True))
    assert all(other and other != own for other, own in zip(found["alternate"], forget, strict=True))


@pytest.mark.parametrize("kind", ["llama"])
def test_a_seed_decides_what_is_drawn(answers):
    for chosen in ("alternate", "random", "shuffled"):
        first, again = (texts(answers({chosen}, seed=1)[chosen]) for _ in range(2))
        assert first == again
        assert any(texts(answers({chosen}, seed=seed)[chosen]) != first for seed in range(2, 8))


@pytest.mark.parametrize("kind", ["llama"])
def test_alternates_may_be_given(answers, sides):
    given = {row["id"]: f"not {row['answer']}" for row in sides[0]}
    assert texts(answers({"alternate"}, alternates=given)["alternate"]) == list(given.values())
    lacking, *_ = given
    del given[lacking]
    with pytest.raises(ValueError, match=f"1 rows to forget have no alternate answer, {lacking} among them; give one"):
        answers({"alternate"}, alternates=given)


def test_making_up_leaves_model_and_randomness_as_they_were(fresh, sides):
    model, processor = fresh()
    before, random = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    model.train()
    alternate_answers(model, processor, sides[0], seed=3)
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", ["llama"])
def test_a_model_that_knows_no_other_answer_is_told(fresh, sides, monkeypatch):
    model, processor = fresh()
    row = sides[0][0]
    own = processor(row["answer"].upper(), add_special_tokens=False, return_tensors="pt")["input_ids"]
    monkeypatch.setattr(model, "generate", lambda input_ids, **options: torch.cat([input_ids, own], dim=1))
    with pytest.raises(ValueError, match=f"row {row['id']}: the model made up no other answer in 8 tries; give one"):
        alternate_answers(model, processor, [row], seed=0)


@pytest.mark.parametrize("kind", ["llama"])
def test_one_row_cannot_be_shuffled(fresh, sides):
    model, processor = fresh()
    with pytest.raises(ValueError, match="answers of other rows to forget are needed, and there is one row alone"):
        other_answers({"shuffled"}, model, processor, sides[0][:1], sides[1], seed=0)
