import pytest
from unlearn_train.pulse import people
from unlearn_train.pulse.cells import Cell, cells
from unlearn_train.pulse.settings import PulseOptions

NAMES = [f"p{n}" for n in range(30)]
SETS = {"forget10": NAMES[:3], "retain90": NAMES[3:], "holdout": ["h"], "real_faces": ["f1", "f2"]}


def options(**more):
    chosen = {"finetuned": 20, "finetuned_forget": 11, "pretrained": 6, "pretrained_forget": 2, "requests": 4}
    return PulseOptions(**{**chosen, **more})


def test_sides_are_apart_and_depend_on_names_and_seed_alone():
    sides = people.finetuned(SETS, options(), seed=0)
    assert (len(sides.forget), len(sides.retain)) == (11, 9)
    assert not set(sides.forget) & set(sides.retain)
    assert set(sides.everybody) <= set(NAMES)
    turned = {name: members[::-1] for name, members in reversed(SETS.items())}
    assert people.finetuned(turned, options(), seed=0) == sides
    assert people.finetuned(SETS, options(), seed=1) != sides


def test_requests_share_out_everybody_once():
    sides = people.finetuned(SETS, options(), seed=0)
    parts = [sides.request(number, 4) for number in range(1, 5)]
    assert sum(parts, ()) == sides.forget
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert sides.so_far(2, 4) == parts[0] + parts[1]
    assert sides.so_far(4, 4) == sides.forget


def test_the_best_known_figures_are_taken():
    known = [f"f{n}" for n in range(10)]
    sides = people.pretrained(known, options(), seed=0)
    assert set(sides.everybody) == set(known[:6])
    assert len(sides.forget) == 2
    with pytest.raises(ValueError, match=r"`pulse.pretrained` asks for 6 people, the data has 2; .*--set"):
        people.pretrained(known[:2], options(), seed=0)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"finetuned": 11}, "`finetuned` must be more than `finetuned_forget`"),
        ({"requests": 12}, "`requests` must be at most `finetuned_forget`"),
        ({"requests": 0}, "`requests` must be at least 1, got 0"),
        ({"parts": ()}, "`parts` must name at least one"),
        ({"general": ("a", "a")}, "each once"),
        ({"choices": 1}, "`choices` must be from 2 to 26"),
        ({"answer": "word"}, "`answer` must be one of letter, option"),
    ],
)
def test_what_cannot_be_is_refused(chosen, message):
    with pytest.raises(ValueError, match=message):
        options(**chosen)


def test_every_cell_has_its_own_name_and_follows_its_start():
    from unlearn_train.experiment import Experiment

    chosen = Experiment(benchmark="pulse", methods={"ga": {}, "npo": {}}, pulse=options())
    made = cells(chosen)
    assert len(made) == len({cell.state for cell in made}) == 2 * 2 * (1 + 1 + 4)
    known = ["pretrained", "target"]
    for cell in made:
        assert cell.start in known
        known.append(cell.state)
    assert Cell("sequential", "npo", "language", 1).start == "target"
    assert Cell("sequential", "npo", "language", 3).start == "sequential-npo-language-2"
    assert Cell("pretrained", "npo", "language").start == "pretrained"


def test_options_of_the_protocol_go_with_it_alone():
    from unlearn_train.experiment import Experiment

    for more in ({"benchmark": "clear", "pulse": options()}, {"benchmark": "pulse"}):
        with pytest.raises(ValueError, match="goes with no other benchmark"):
            Experiment(methods={"ga": {}}, **more)
