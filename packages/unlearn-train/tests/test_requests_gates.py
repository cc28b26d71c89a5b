import pytest
from unlearn_train.requests.gates import Gate, check, default_gates


def numbers(**sets):
    """Numbers of one metric by set, at the start 1 everywhere."""
    value = {name: {"all": {"m": {"value": each}}} for name, each in sets.items()}
    return {
        "sets": value,
        "start": {name: {"all": {"m": {"value": 1.0}}} for name in sets},
        "summary": {"model_utility": {"value": 0.4}},
        "membership": {"loss_auc": {"value": 0.6}},
        "earlier": [name for name in ("forget_1", "forget_2") if name in sets],
        "real": [name for name in ("real_faces", "world_facts") if name in sets],
    }


ALL = numbers(forget_1=0.1, forget_2=0.3, forget_3=0.2, retain=0.9, holdout=0.05, real_faces=0.7, world_facts=0.8)


@pytest.mark.parametrize(
    ("text", "holds", "value", "bound"),
    [
        ("forget.all.m<=0.2", True, 0.2, 0.2),
        ("forget.all.m >= 0.21", False, 0.2, 0.21),
        ("forget.all.m<=2e-1", True, 0.2, 0.2),
        ("forget.all.m<=holdout+0.1", False, 0.2, 0.15),
        ("forget.all.m <= holdout + 0.15", True, 0.2, 0.2),
        ("forget.all.m<=0.5*start", True, 0.2, 0.5),
        ("forget.all.m<=0.5*start-0.4", False, 0.2, 0.1),
        ("retain.all.m>=start", False, 0.9, 1.0),
        ("retain.all.m>=0.8*start", True, 0.9, 0.8),
        ("earlier.all.m<=0.2", False, 0.3, 0.2),
        ("real.all.m>=0.75", False, 0.7, 0.75),
        ("world_facts.all.m>=0.75", True, 0.8, 0.75),
        ("membership.loss_auc<=0.7", True, 0.6, 0.7),
        ("membership.loss_auc>=-0.7", True, 0.6, -0.7),
        ("summary.model_utility>=0.5", False, 0.4, 0.5),
    ],
)
def test_a_number_is_compared_with_its_bound(text, holds, value, bound):
    verdict = check(Gate.parse(text), ALL, 3)
    assert verdict.holds is holds
    assert (verdict.gate, verdict.value, verdict.bound) == (text, value, pytest.approx(bound))


def test_the_worst_of_several_sets_counts_and_is_named():
    assert check(Gate.parse("earlier.all.m<=0.2"), ALL, 3).note == "forget_2"
    assert check(Gate.parse("earlier.all.m>=0.2"), ALL, 3).note == "forget_1"
    assert check(Gate.parse("earlier.all.m<=2*start"), ALL, 3).note == "forget_2"


def test_the_first_request_has_no_earlier_one():
    verdict = check(Gate.parse("earlier.all.m<=0.2"), numbers(forget_3=0.2), 3)
    assert (verdict.holds, verdict.value, verdict.note) == (True, None, "there is no earlier request")


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("forget.all.none<=1", "there is no sets.forget_3.all.none"),
        ("forget.image.m<=1", "there is no sets.forget_3.image.m"),
        ("retain.all.m>=0", "there is no sets.retain.all.m"),
        ("forget.all.m<=holdout", "has no holdout to compare with"),
        ("real.all.m>=0", "the data has none of these sets, or they lack the metric"),
        ("membership.zlib_auc<=1", "there is no membership.zlib_auc"),
        ("membership.loss_auc<=start", "has no start to compare with"),
        ("summary.nothing<=1", "there is no summary.nothing"),
    ],
)
def test_what_was_not_measured_does_not_hold(text, note):
    verdict = check(Gate.parse(text), numbers(forget_3=0.2), 3)
    assert (verdict.holds, verdict.note) == (False, note)


def test_a_real_set_that_lacks_the_metric_is_passed_over():
    lacking = numbers(real_faces=0.7, world_facts=0.8)
    lacking["sets"]["world_facts"]["all"] = {}
    assert check(Gate.parse("real.all.m>=0.5"), lacking, 3).note == "real_faces"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "forget.all.m",
        "forget.m<=1",
        "forget.all.m=1",
        "forget.all.m<1",
        "forget.all.m<=",
        "forget.all.m<=lots",
        "forget.all.m<=0.5*before",
        "forget.all.m<=nan",
        "m<=1",
        "membership.all.loss_auc<=1",
    ],
)
def test_other_forms_are_refused(text):
    with pytest.raises(ValueError, match="cannot be read; one is written as SET.MODALITY.METRIC<=BOUND"):
        Gate.parse(text)


@pytest.mark.parametrize("text", ["forget.all.m<=1e999", "forget.all.m>=-1e999", "retain.all.m>=1e999*start"])
def test_bounds_that_decide_nothing_are_refused(text):
    with pytest.raises(ValueError, match="must be finite"):
        Gate.parse(text)


@pytest.mark.parametrize("has_holdout", [False, True])
@pytest.mark.parametrize("has_real", [False, True])
def test_the_defaults_fit_the_data(has_holdout, has_real):
    gates = [Gate.parse(text) for text in default_gates(has_holdout=has_holdout, has_real=has_real)]
    assert ("real" in {gate.path[0] for gate in gates}) is has_real
    assert {gate.reference for gate in gates if gate.path[0] in ("forget", "earlier")} == (
        {"holdout"} if has_holdout else {"start"}
    )
