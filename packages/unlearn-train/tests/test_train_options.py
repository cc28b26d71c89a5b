from dataclasses import dataclass, field, replace

import pytest
from unlearn_train.options import build, decisive, describe, merge, nest, place, plain, read_yaml
from unlearn_train.settings import TrainOptions


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.5
    """per
    second"""
    count: int = 1

    def __post_init__(self):
        if self.count < 0:
            raise ValueError(f"`count` must not be negative, got {self.count}.")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str | None = None
    loud: bool = False
    """say so"""
    tasks: tuple[str, ...] = ("qa",)
    inner: Inner = field(default_factory=Inner)
    free: dict[str, object] = field(default_factory=dict)


def test_nested_options_are_built():
    built = build(Outer, {"name": "x", "tasks": ["a", "b"], "inner": {"rate": 2, "count": 3}, "free": {"a": 1}})
    assert built == Outer(name="x", tasks=("a", "b"), inner=Inner(rate=2.0, count=3), free={"a": 1})
    assert isinstance(built.inner.rate, float)
    assert build(Outer, {}) == Outer()
    assert build(Outer, {"tasks": "qa,vqa", "name": None}) == Outer(tasks=("qa", "vqa"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": 3}, "`name` takes text, got 3."),
        ({"loud": 1}, "`loud` takes true or false, got 1."),
        ({"inner": {"count": 1.5}}, "`inner.count` takes a whole number, got 1.5."),
        ({"inner": {"count": True}}, "`inner.count` takes a whole number, got True."),
        ({"inner": {"rate": "fast"}}, "`inner.rate` takes a number, got 'fast'."),
        ({"inner": {"rate": True}}, "`inner.rate` takes a number, got True."),
        ({"inner": {"rate": None}}, "`inner.rate` takes a number, got None."),
        ({"inner": 3}, "`inner` takes options by name, got 3."),
        ({"free": [1]}, "`free` takes options by name, got [1]."),
        ({"tasks": 3}, "`tasks` takes a list, got 3."),
        ({"tasks": [3]}, "`tasks` takes text, got 3."),
        ({"inner": {"count": -1}}, "inner: `count` must not be negative, got -1."),
        ({"inner": {"rat": 1}}, "there is no option `inner.rat`; did you mean `inner.rate`? known here: rate, count."),
        ({"zzz": 1}, "there is no option `zzz`; known here: name, loud, tasks, inner, free."),
    ],
)
def test_what_does_not_fit_is_named(values, message):
    with pytest.raises(ValueError) as caught:
        build(Outer, values)
    assert str(caught.value) == message


def test_later_layers_win_and_none_is_changed():
    first = {"a": {"b": 1, "c": {"d": 2}}, "e": 1}
    assert merge(first, {"a": {"c": {"f": 3}}}, {"e": {"g": 1}}) == {
        "a": {"b": 1, "c": {"d": 2, "f": 3}},
        "e": {"g": 1},
    }
    assert first == {"a": {"b": 1, "c": {"d": 2}}, "e": 1}
    assert merge() == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-2E+3", -2000.0),
        ("1.5e3", 1500.0),
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ("", None),
        ("qa,vqa", "qa,vqa"),
        ("[a, b]", ["a", "b"]),
        ("a=b", "a=b"),
        ("'1e-4'", "1e-4"),
        ("e4", "e4"),
        ("2024-01-02x", "2024-01-02x"),
    ],
)
def test_assignments_are_yaml_whose_exponents_are_numbers(text, value):
    found = nest(f"a.b={text}")
    assert found == {"a": {"b": value}}
    assert type(found["a"]["b"]) is type(value)


@pytest.mark.parametrize("text", ["epochs", "=3", ""])
def test_no_assignment_is_refused(text):
    with pytest.raises(ValueError, match="an option is set as NAME=VALUE"):
        nest(text)


def test_no_yaml_is_refused():
    with pytest.raises(ValueError, match="the value in 'a=\\[1' is no YAML"):
        nest("a=[1")


def test_a_value_can_be_placed_as_it_is():
    assert place("data.folder", "a: b") == {"data": {"folder": "a: b"}}


def test_yaml_files_are_read(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: {b: 1e-4}\nc: [x]\n")
    assert read_yaml(path) == {"a": {"b": 1e-4}, "c": ["x"]}


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "a.yaml"
    for content, message in {
        b"a: [1": "is no YAML",
        b"\xff\xfe\xff": "is no YAML",
        b"- a": "must hold options by name, got list",
        b"!!python/object/apply:os.system [ls]": "is no YAML",
    }.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"a.yaml {message}"):
            read_yaml(path)
    for missing in (tmp_path / "b.yaml", tmp_path):
        with pytest.raises(ValueError, match="is not there; a YAML file of options is needed"):
            read_yaml(missing)


def test_options_are_described_with_their_defaults_and_meaning():
    assert describe(Outer) == [
        ("name", None, ""),
        ("loud", False, "say so"),
        ("tasks", ("qa",), ""),
        ("inner.rate", 0.5, "per second"),
        ("inner.count", 1, ""),
        ("free", {}, ""),
    ]


def test_plain_values_build_the_same_again():
    options = Outer(name="x", tasks=("a", "b"), inner=Inner(count=4), free={"k": (1, 2)})
    assert plain(options)["tasks"] == ["a", "b"]
    assert plain(options)["free"] == {"k": [1, 2]}
    assert build(Outer, plain(Outer(name="x", inner=Inner(count=4)))) == Outer(name="x", inner=Inner(count=4))


def test_a_result_depends_on_what_a_named_file_holds(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text("{}")
    chosen = TrainOptions(deepspeed=str(path))
    before = decisive(chosen)
    assert decisive(replace(chosen, save_every=0.5, report_to=("tensorboard",))) == before
    assert decisive(replace(chosen, seed=1)) != before
    path.write_text('{"zero_optimization": {}}')
    assert decisive(chosen) != before
    assert decisive(TrainOptions(deepspeed="zero2"))["deepspeed"] == "zero2"
