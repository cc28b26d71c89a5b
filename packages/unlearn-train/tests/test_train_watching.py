import math

import pytest
import torch
from unlearn_core import build_method
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.encoding import IGNORED
from unlearn_train.settings import LoraOptions, TrainOptions, WatchOptions
from unlearn_train.training import finetune
from unlearn_train.unlearning import forget
from unlearn_train.watching import SCORE, Watch, answer_probability, mean_probability

BASE = {"epochs": 8, "batch_size": 4, "warmup": 0.0, "schedule": "constant"}


def options(learning_rate=3e-3, **watch):
    return TrainOptions(learning_rate=learning_rate, **BASE, watch=WatchOptions(**{"every": 0.25, **watch}))


def looks(log):
    return [entry for entry in log if SCORE in entry]


def plain_probability(model, processor, row):
    """exp(mean log p) of one answer, from all logits in float64."""
    encoded = EncodedRows(processor, [row])[0]
    with torch.no_grad():
        logits = model(input_ids=encoded.input_ids[None], **encoded.image_inputs).logits[0].double()
    places = [n for n in range(1, len(encoded.labels)) if encoded.labels[n] != IGNORED]
    return math.exp(sum(float(logits[n - 1].log_softmax(-1)[encoded.labels[n]]) for n in places) / len(places))


def test_the_probability_is_that_of_each_answer_by_itself(fresh, sides):
    model, processor = fresh()
    model.train(False)
    wanted = sum(plain_probability(model, processor, row) for row in sides[0]) / len(sides[0])
    rows, collate = EncodedRows(processor, sides[0]), Collator(processor)
    for batch_size in (1, 3, 100):
        assert mean_probability(model, rows, collate, batch_size) == pytest.approx(wanted, rel=1e-5)
    assert answer_probability(model, processor, sides[0], TrainOptions()) == pytest.approx(wanted, rel=1e-5)


def test_it_ends_where_the_forget_set_looks_unknown(fresh, sides):
    model, processor = fresh()
    first = answer_probability(model, processor, sides[0], options())
    log = forget(model, processor, build_method("graddiff"), *sides, options(level=0.7 * first, floor=0.0), quiet=True)
    last = looks(log)[-1]
    assert last["eval_forget_probability"] <= 0.7 * first
    assert all(look["eval_forget_probability"] > 0.7 * first for look in looks(log)[:-1])
    assert last[SCORE] == 0
    assert answer_probability(model, processor, sides[0], options()) == pytest.approx(
        last["eval_forget_probability"], rel=1e-5
    )


def test_the_state_nearest_to_the_level_above_the_floor_is_kept(fresh, sides):
    model, processor = fresh()
    kept = answer_probability(model, processor, sides[1], options())
    log = forget(
        model,
        processor,
        build_method("ga"),
        *sides,
        options(learning_rate=2e-2, level=0.0, floor=0.5, every=0.1),
        quiet=True,
    )
    above = [look for look in looks(log) if look["eval_retain_probability"] >= 0.5 * kept]
    assert len(above) < len(looks(log)), "the last look is below the floor"
    best = min(above, key=lambda look: look["eval_forget_probability"])
    assert answer_probability(model, processor, sides[0], options()) == pytest.approx(
        best["eval_forget_probability"], rel=1e-5
    )


def test_adapters_are_put_back_as_weights_are(fresh, sides):
    model, processor = fresh()
    chosen = TrainOptions(
        **BASE, learning_rate=3e-2, lora=LoraOptions(rank=2), watch=WatchOptions(every=0.1, level=0.0, floor=0.5)
    )
    log = forget(model, processor, build_method("ga"), *sides, chosen, quiet=True)
    best = max(looks(log), key=lambda look: look[SCORE])
    assert answer_probability(model, processor, sides[0], chosen) == pytest.approx(
        best["eval_forget_probability"], rel=1e-4
    )


@pytest.mark.parametrize("kind", ["llama"])
@pytest.mark.parametrize("floor", [0.0, 0.9])
def test_what_was_cut_off_after_its_end_is_not_trained_any_further(fresh, sides, floor, tmp_path):
    """Killed before the model was saved: the same again gives the best state, whichever rule had ended it."""
    first = answer_probability(*fresh(), sides[0], options())
    chosen = options(learning_rate=1e-2, level=0.5 * first if floor == 0 else 0.0, floor=floor, every=0.1)
    found = []
    for _ in range(2):
        model, processor = fresh()
        log = forget(model, processor, build_method("ga"), *sides, chosen, resume=tmp_path / "training", quiet=True)
        found.append((log, {name: value.clone() for name, value in model.state_dict().items()}))
    assert len(looks(found[0][0])) < 10, "a rule had ended it"
    assert found[1][0] == found[0][0]
    assert all(torch.equal(value, found[1][1][name]) for name, value in found[0][1].items())


def test_no_state_below_the_floor_is_given_away(fresh, sides):
    model, processor = fresh()
    with pytest.raises(ValueError, match="every state that was looked at fell below the floor"):
        forget(
            model, processor, build_method("ga"), *sides, options(learning_rate=0.1, level=0.0, floor=0.99), quiet=True
        )


def test_held_out_rows_are_the_level_where_none_is_named(fresh, sides):
    model, processor = fresh()
    with pytest.raises(ValueError, match=r"set `watch.level` .* or name a set of held-out rows"):
        forget(model, processor, build_method("ga"), *sides, options(), quiet=True)
    before = answer_probability(model, processor, sides[0], options())
    log = forget(model, processor, build_method("ga"), *sides, options(floor=0.0), holdout_rows=sides[0], quiet=True)
    assert len(looks(log)) == 1, "a level that is met at once ends it at the first look"
    assert looks(log)[0]["eval_forget_probability"] <= before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"every": 1.0}, "`every` must be a share"),
        ({"rows": 0}, "`rows` must be positive"),
        ({"floor": 2}, r"`floor` must be in"),
    ],
)
def test_options_out_of_range_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        WatchOptions(**given)


def test_scores():
    watch = Watch(WatchOptions(floor=0.5), {}, 0.1, None, batch_size=1)
    watch.least = 0.4
    assert watch.score(0.05, 0.5) == 0 == watch.score(0.1, 0.5)
    assert watch.score(0.2, 0.5) == pytest.approx(-math.log(2))
    assert watch.score(0.05, 0.39) == -math.inf


def test_the_log_goes_to_tensorboard(fresh, sides, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    model, processor = fresh()
    chosen = TrainOptions(epochs=1, batch_size=4, report_to=("tensorboard",))
    log = forget(model, processor, build_method("graddiff"), *sides, chosen, quiet=True)
    assert list((tmp_path / "logs").glob("events.out.*"))
    assert all(entry["tokens_per_second"] > 0 and entry["peak_memory_gib"] > 0 for entry in log)


def test_a_model_that_says_nothing_finite_is_not_taken_for_one_that_forgot(fresh, sides):
    model, processor = fresh()
    with torch.no_grad():
        next(iter(model.parameters())).fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="not finite where it is watched"):
        answer_probability(model, processor, sides[0], options())


@pytest.mark.parametrize("given", [{"watch": WatchOptions()}, {"lora_l1": 0.1, "lora": LoraOptions()}])
def test_options_of_unlearning_are_refused_where_rows_are_learnt(given, fresh, sides):
    with pytest.raises(ValueError, match=f"`{next(iter(given))}` is for unlearning"):
        finetune(*fresh(), sides[0], TrainOptions(**given), quiet=True)
