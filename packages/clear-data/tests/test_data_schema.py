import pytest
from clear_data import COLUMNS, features, validate_rows
from clear_data.schema import make_row


def test_features_are_the_contract() -> None:
    types = {name: repr(feature) for name, feature in features().items()}
    assert tuple(types) == COLUMNS
    assert types["image"].startswith("Image(")
    for name in ("perturbed_answers", "options", "keywords"):
        assert types[name] == "List(Value('string'))"
    texts = set(COLUMNS) - {"image", "perturbed_answers", "options", "keywords"}
    assert {types[name] for name in texts} == {"Value('string')"}


def test_a_sound_row_passes(row) -> None:
    assert validate_rows([row(), row(id="ada-obi/qa/1")]) == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"answer": ""}, "`answer` is empty"),
        ({"question": " \n"}, "`question` is empty"),
        ({"paraphrased_answer": ""}, "`paraphrased_answer` is empty"),
        ({"perturbed_answers": ["right", ""]}, "`perturbed_answers` has an empty item"),
        ({"answer": 3}, "`answer` must be a string, got int"),
        ({"answer": None}, "`answer` must be a string, got NoneType"),
        ({"keywords": "Lagos"}, "`keywords` must be a list of strings, got str"),
        ({"keywords": [1]}, "`keywords` must be a list of strings"),
        ({"image": "face.png"}, "`image` must be an image or null, got str"),
        ({"task": "quiz"}, "`task` must be one of qa, caption"),
        ({"subject": "somebody"}, "its id must be subject/task/n"),
        ({"id": "ada-obi/vqa/0"}, "its id must be subject/task/n"),
        ({"keywords": ["Accra"]}, "do not occur in its answer"),
        ({"options": ["a"]}, "`options` are for rows of task mcq"),
        ({"task": "mcq", "id": "ada-obi/mcq/0"}, "must hold the answer exactly once"),
        ({"task": "mcq", "id": "ada-obi/mcq/0", "options": ["x", "y"]}, "must hold the answer exactly once"),
        (
            {"task": "mcq", "id": "ada-obi/mcq/0", "options": ["Ada Obi was born in Lagos."] * 2},
            "must hold the answer exactly once",
        ),
        ({"task": "caption", "id": "ada-obi/caption/0"}, "needs an image"),
    ],
)
def test_a_fault_is_named_with_its_row(row, changed, message) -> None:
    faulty = row(**changed)
    with pytest.raises(ValueError, match=message) as error:
        validate_rows([row(id="ada-obi/qa/7"), faulty])
    assert f"row {faulty['id']}" in str(error.value)


def test_a_missing_column_is_named(row) -> None:
    faulty = row()
    del faulty["keywords"]
    with pytest.raises(ValueError, match="row ada-obi/qa/0: there is no column `keywords`"):
        validate_rows([faulty])


def test_an_id_occurs_once(row) -> None:
    with pytest.raises(ValueError, match="row ada-obi/qa/0: its id is taken"):
        validate_rows([row(), row()])


def test_no_rows_is_an_error() -> None:
    with pytest.raises(ValueError, match="there are no rows"):
        validate_rows([])


def test_a_row_without_id_is_named_by_its_place(row) -> None:
    with pytest.raises(ValueError, match="row number 1"):
        validate_rows([row(), {"answer": "x"}])


def test_make_row_gives_every_column() -> None:
    assert tuple(make_row("ada", "qa", 0, "Who?", "Ada.")) == COLUMNS
