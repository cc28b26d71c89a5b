import pytest
from unlearn_core import GRU, LAT, NPO, SAM, SKU, SalUn, TaskArithmetic
from unlearn_train.experiment import Experiment
from unlearn_train.recipes import Recipe, read_recipe


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("npo", {}, Recipe(NPO())),
        ("npo", {"beta": 0.5}, Recipe(NPO(beta=0.5))),
        ("gentle", {"method": "npo", "beta": 0.5}, Recipe(NPO(beta=0.5))),
        ("npo", {"transforms": ["gru", "sam"]}, Recipe(NPO(), (GRU(), SAM()))),
        ("npo", {"transforms": {"sam": {"rho": 0.1}, "gru": {}}}, Recipe(NPO(), (SAM(rho=0.1), GRU()))),
        ("npo+sam+gru", {}, Recipe(NPO(), (SAM(), GRU()))),
        ("npo+sam", {"transforms": {"salun": {}, "sam": {"rho": 0.1}}}, Recipe(NPO(), (SAM(rho=0.1), SalUn()))),
        ("lat", {"inner": "npo", "layer": 1}, Recipe(LAT(inner=NPO(), layer=1))),
        ("lat", {"inner": {"method": "npo", "beta": 0.5}}, Recipe(LAT(inner=NPO(beta=0.5)))),
        ("task_arithmetic", {"learn": "sku", "scale": 0.5}, Recipe(TaskArithmetic(learn=SKU(), scale=0.5))),
    ],
)
def test_recipes_are_read_from_plain_values(name, given, expected):
    assert read_recipe(name, given) == expected


@pytest.mark.parametrize(
    ("name", "given", "error", "message"),
    [
        ("nop", {}, ValueError, "no method 'nop': did you mean 'npo'"),
        ("gru", {}, ValueError, r"`gru` is a gradient transform: choose a loss method, .*`--transform gru`"),
        ("npo", {"transforms": ["gr"]}, ValueError, "no method 'gr': did you mean"),
        ("npo", {"transforms": ["manu"]}, ValueError, "`manu` is no gradient transform"),
        ("npo", {"transforms": "gru"}, ValueError, "`transforms` takes a list of names, or options by name, got 'gru'"),
        ("npo", {"transforms": {"gru": 1}}, ValueError, "`transforms` takes a list of names, or options by name"),
        ("npo", {"transforms": {"gru": {"rho": 1}}}, ValueError, "method 'gru' has no option 'rho'"),
        ("eco", {"transforms": ["gru"]}, ValueError, r"ECO\(.*\) has no gradients that GRU\(average=0.8\) could"),
        ("lat", {"inner": 3}, TypeError, "`inner` must be a loss method, got 3"),
        ("lat", {"inner": {"beta": 1}}, ValueError, "takes a name, or options with a `method`, got {'beta': 1}"),
        ("lat", {"inner": "gru"}, TypeError, "`inner` must be a loss method, got GRU"),
        ("lat", {"inner": "sku"}, ValueError, r"`inner` must be a loss that forgets, got SKU\(.*: choose another"),
        ("sku+gru", {}, ValueError, r"SKU\(.*\) has no gradients that GRU\(average=0.8\) could"),
    ],
)
def test_what_makes_no_recipe_is_refused(name, given, error, message):
    with pytest.raises(error, match=message):
        read_recipe(name, given)


def test_an_experiment_s_states_may_share_a_method():
    chosen = Experiment(
        benchmark="clear",
        methods={"npo": {}, "gentle": {"method": "npo", "beta": 0.5, "train": {"epochs": 2}}, "npo+sam": {}},
    )
    assert chosen.states[3:] == ("npo", "gentle", "npo+sam")
    assert chosen.recipe("gentle") == Recipe(NPO(beta=0.5))
    assert chosen.recipe("npo+sam").transforms == (SAM(),)
    assert chosen.unlearning("gentle").epochs == 2
    with pytest.raises(ValueError, match="no method 'gentl'"):
        Experiment(benchmark="clear", methods={"gentl": {}})
