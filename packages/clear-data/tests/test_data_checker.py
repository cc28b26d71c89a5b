import io
from pathlib import Path

import pytest
from clear_data import check, load, save
from clear_data.sheet import contact_sheet
from PIL import Image


def test_a_build_is_free_of_faults(built) -> None:
    found = check(built[0])
    assert found.faults == []
    assert found.rows == len(built[1].rows)
    assert found.images == 8 * 3 + 5 + 3
    assert found.sets["forget10"] == 1
    assert sum(found.tasks.values()) == found.rows


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n broken"])
def test_an_unreadable_image_is_named(tmp_path: Path, row, content: bytes) -> None:
    rows = [row(), row(id="ada-obi/vqa/3", task="vqa", image=content)]
    save(tmp_path / "data", rows, {"forget10": ["ada-obi"]})
    with pytest.raises(ValueError, match="row ada-obi/vqa/3: unreadable image"):
        check(tmp_path / "data")


def test_a_truncated_image_is_named(tmp_path: Path, row) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "PNG")
    rows = [row(id="ada-obi/vqa/0", task="vqa", image=buffer.getvalue()[:-900])]
    save(tmp_path / "data", rows, {"forget10": ["ada-obi"]})
    with pytest.raises(ValueError, match="row ada-obi/vqa/0: unreadable image"):
        check(tmp_path / "data")


def test_an_image_like_a_bomb_is_named(tmp_path: Path, row, monkeypatch) -> None:
    buffer = io.BytesIO()
    Image.new("L", (300, 300)).save(buffer, "PNG")
    save(tmp_path / "data", [row(id="ada-obi/vqa/0", task="vqa", image=buffer.getvalue())], {"forget10": ["ada-obi"]})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60_000)
    with pytest.raises(ValueError, match="row ada-obi/vqa/0: unreadable image"):
        check(tmp_path / "data")


def test_faulty_answers_are_listed(tmp_path: Path, row) -> None:
    answer = row()["answer"]
    rows = [
        row(perturbed_answers=[answer]),
        row(id="ada-obi/qa/1", paraphrased_answer="In Lagos.", perturbed_answers=["In Lagos."]),
        row(id="ada-obi/qa/2", perturbed_answers=["In Kano.", "In Kano."]),
        row(id="ada-obi/mcq/0", task="mcq", options=[answer, "x", "x"]),
    ]
    save(tmp_path / "data", rows, {"forget10": ["ada-obi"]})
    faults = check(tmp_path / "data").faults
    assert [fault.partition(":")[0] for fault in faults] == [f"row {row['id']}" for row in rows]


def test_sheet_shows_a_line_for_each_subject(built) -> None:
    data = load(built[0])
    whole = contact_sheet(data)
    assert whole.size == (190 + 3 * 100, 4 + 16 * 100)
    assert contact_sheet(data, set_name="forget10").size == (490, 104)
    assert contact_sheet(data, limit=3).height == 304
    face = data.select("forget10", ["caption"])[0]["image"].resize((96, 96), Image.Resampling.LANCZOS)
    shown = contact_sheet(data, set_name="forget10").crop((190, 4, 286, 100))
    assert shown.tobytes() == face.tobytes()


def test_nothing_to_show(built) -> None:
    with pytest.raises(ValueError, match="set world_facts has no picture"):
        contact_sheet(load(built[0]), set_name="world_facts")
    with pytest.raises(ValueError, match="`limit` must be at least 1"):
        contact_sheet(load(built[0]), limit=0)
