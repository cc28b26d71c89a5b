"""Guarded models: what is scored, what is saved, and what is refused when it is loaded again."""

import json

import pytest
from unlearn_core import Exchange, build_method
from unlearn_train.applying import unlearn
from unlearn_train.encoding import render, tokenizer_of
from unlearn_train.guarding import with_turns
from unlearn_train.materials import make_material, prompt_frame
from unlearn_train.models import load_model
from unlearn_train.settings import TrainOptions
from unlearn_train.training import finetune

QUICK = TrainOptions(epochs=10, batch_size=6, learning_rate=1e-2, schedule="constant", warmup=0.0)


@pytest.fixture
def taught(fresh, sides):
    """A model that knows both sides."""
    model, processor = fresh()
    finetune(model, processor, [*sides[0], *sides[1]], TrainOptions(epochs=25, learning_rate=1e-2), quiet=True)
    return model, processor


@pytest.fixture
def score():
    scoring = pytest.importorskip("unlearn_metrics.scoring", reason="needs the extra `eval`")

    def score(model, processor, sides, **options):
        sets = {"forget": sides[0], "retain": sides[1]}
        evidence = scoring.collect_evidence(model, processor, sets, progress=False, max_new_tokens=12, **options)
        rows = [row for row in evidence.scores.to_pylist() if row["kind"] == "answer"]
        sums = {name: [sum(row["logp"]) for row in rows if row["set"] == name] for name in sets}
        return sums, [row["generated"] for row in evidence.generations.to_pylist()], evidence.info

    return score


@pytest.mark.parametrize("name", ["eco", "uld"])
def test_a_guard_is_scored_and_forgets_while_the_weights_stay(name, taught, sides, score, tmp_path):
    model, processor = taught
    before, _, info = score(model, processor, sides)
    done = unlearn(model, processor, build_method(name), *sides, QUICK, quiet=True)
    after, guarded, guarded_info = score(model, processor, sides)
    lost = {side: sum(before[side]) - sum(after[side]) for side in before}
    assert lost["forget"] > max(0.5, 2 * lost["retain"])
    assert guarded_info["model"]["sha256"] == info["model"]["sha256"]
    # Whether a prompt is read once for all its answers or again with each, and whatever is beside it.
    for options in ({"share_prompts": False}, {"share_prompts": True}, {"token_budget": 60}):
        found, said, _ = score(model, processor, sides, **options)
        for side in after:
            assert found[side] == pytest.approx(after[side], abs=1e-3)
        assert said == guarded
    done.save(model, processor, tmp_path / "out")
    loaded, said, _ = score(*load_model(tmp_path / "out"), sides)
    assert loaded["forget"] == pytest.approx(after["forget"], abs=1e-3)
    assert said == guarded


def test_a_guarded_folder_is_never_taken_for_a_plain_one(fresh, sides, tmp_path):
    scoring = pytest.importorskip("unlearn_metrics.scoring", reason="needs the extra `eval`")
    model, processor = fresh()
    unlearn(model, processor, build_method("eco"), *sides, QUICK, quiet=True).save(model, processor, tmp_path / "out")
    with pytest.raises(ValueError, match="out cannot be loaded as a model"):
        scoring.load_model(tmp_path / "out")
    assert scoring.load_model(tmp_path / "out/model")[0].config.model_type == model.config.model_type


def test_examples_precede_every_question(kind, fresh):
    _, processor = fresh()
    plain = render(processor, "Who?", "Ada", has_image=False)[0]
    turns = [Exchange('Who is "Bo"?', "I don't know {{ 1 }} %} \U0001f600 naïve."), Exchange("Who is Cy?", "A tailor.")]
    original = processor.chat_template
    try:
        processor.chat_template = with_turns(original, turns, has_parts=kind == "llava")
        prompt, whole = render(processor, "Who?", "Ada", has_image=False)
    finally:
        processor.chat_template = original
    bos = tokenizer_of(processor).bos_token
    rest = plain.removeprefix(bos)
    assert prompt.startswith(f"{bos}USER: {turns[0].question} ASSISTANT: {turns[0].answer}")
    assert prompt.endswith(f"ASSISTANT: A tailor.</s>{rest}")
    assert whole.startswith(prompt)


def test_what_surrounds_a_question_is_found(fresh):
    _, processor = fresh()
    lead, marker = prompt_frame(processor)
    decode = tokenizer_of(processor).decode
    assert decode(lead) == "<s>USER:"
    assert decode(marker).strip() == "ASSISTANT:"


def test_material_is_every_row_to_forget_and_as_many_to_keep(fresh, sides, make_row):
    model, processor = fresh()
    more = [make_row(f"cy/qa/{n}", f"Who is number {n}?", "Cy.") for n in range(20)]
    material = make_material(model, processor, sides[0], [*sides[1], *more], TrainOptions(batch_size=4, seed=3))
    counts = {
        side: {modality: sum(len(batch.labels) for batch in rows(None)) for modality, rows in by.items()}
        for side, by in (("forget", material.forget), ("retain", material.retain))
    }
    texts = sum(row["image"] is None for row in sides[0])
    assert counts["forget"]["text"] == texts
    assert counts["retain"]["text"] == len(sides[0])
    assert all(len(batch.labels) == 1 for rows in material.retain.values() for batch in rows(1))
    assert {exchange.question for exchange in material.exchanges["refused"]} == {
        row["question"] for row in sides[0] if row["image"] is None
    }
    assert ("image" in material.forget) == (texts < len(sides[0]))


@pytest.mark.parametrize("kind", ["llama"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "guard.json does not name a guard and its options"),
        ("{}", "guard.json does not name a guard and its options"),
        (json.dumps({"guard": "npo", "options": {}}), "guard.json names the guard 'npo'; known are eco, icul, uld"),
        (json.dumps({"guard": "eco", "options": {"strength": -1}}), "`strength` must be positive, got -1"),
        (json.dumps({"guard": "eco", "options": {"weight": 1}}), "method 'eco' has no option 'weight'"),
    ],
)
def test_a_broken_record_is_refused(text, message, fresh, sides, tmp_path):
    model, processor = fresh()
    unlearn(model, processor, build_method("eco"), *sides, QUICK, quiet=True).save(model, processor, tmp_path)
    (tmp_path / "guard.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path)


@pytest.mark.parametrize("kind", ["llama"])
def test_a_missing_part_is_refused(fresh, sides, tmp_path):
    model, processor = fresh()
    unlearn(model, processor, build_method("uld"), *sides, QUICK, quiet=True).save(model, processor, tmp_path)
    (tmp_path / "assistant").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="this guard needs its assistant, which is missing"):
        load_model(tmp_path)
    (tmp_path / "elsewhere").rename(tmp_path / "assistant")
    (tmp_path / "guard.safetensors").unlink()
    with pytest.raises(ValueError, match="guard.safetensors cannot be read"):
        load_model(tmp_path)
