import pytest
from unlearn_core import build_method
from unlearn_train import options
from unlearn_train.experiment import Experiment
from unlearn_train.settings import TrainOptions


def experiment(**more):
    return Experiment(**{"benchmark": "clear", "methods": {"ga": {}, "npo": {"beta": 0.5}}, **more})


def test_states_come_in_the_order_in_which_they_are_made():
    assert experiment().states == ("pretrained", "target", "retrained", "ga", "npo")


def test_methods_have_their_options():
    assert experiment().method("npo") == build_method("npo", beta=0.5)
    assert experiment().method("ga") == build_method("ga")


def test_a_method_s_training_overrides_that_of_all():
    chosen = experiment(
        unlearn=TrainOptions(epochs=3, batch_size=4),
        methods={"ga": {"train": {"epochs": 1}}, "npo": {}},
    )
    assert chosen.unlearning("ga") == TrainOptions(epochs=1, batch_size=4)
    assert chosen.unlearning("npo") == TrainOptions(epochs=3, batch_size=4)
    assert chosen.method("ga") == build_method("ga")


def test_no_two_states_share_a_seed():
    chosen = experiment()
    seeds = [chosen.seed_for(state) for state in chosen.states]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert [experiment().seed_for(state) for state in chosen.states] == seeds
    assert experiment(seed=1).seed_for("ga") != chosen.seed_for("ga")


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({}, "`methods` is empty; name at least one"),
        ({"nop": {}}, "no method 'nop': did you mean 'npo'"),
        ({"npo": {"bete": 1.0}}, "method 'npo' has no option 'bete': did you mean 'beta'"),
        ({"npo": {"beta": -1.0}}, "`beta` must be positive, got -1.0"),
        ({"npo": 0.5}, "`methods.npo` takes options by name, got 0.5"),
        (
            {"npo": {"train": {"epoch": 1}}},
            "no option `methods.npo.train.epoch`; did you mean `methods.npo.train.epochs`",
        ),
        ({"npo": {"train": {"epochs": 0}}}, "methods.npo.train: `epochs` must be positive, got 0"),
    ],
)
def test_bad_methods_are_named(methods, message):
    with pytest.raises(ValueError, match=message):
        experiment(methods=methods)


def test_plain_values_make_the_same_experiment_again():
    chosen = experiment(tasks=("qa",), unlearn=TrainOptions(learning_rate=1e-4))
    assert options.build(Experiment, options.plain(chosen)) == chosen
