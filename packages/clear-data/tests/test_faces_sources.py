"""What every source promises, the pool, and the folder of photographs."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clear_data.faces import FaceRequest, FolderFaces, Person, PortraitPool
from clear_data.faces._base import check_requests, derived_seed
from clear_data.faces._match import match
from PIL import Image


def request(subject: str, *, age: int = 40, gender: str = "female") -> FaceRequest:
    return FaceRequest(subject=subject, name=f"Name of {subject}", age=age, gender=gender)


REQUESTS = [request(f"s{n}", age=22 + n, gender=("female", "male")[n % 2]) for n in range(40)]


def write_image(path: Path, colour: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (colour, 0, 0)).save(path)


def write_folder(folder: Path, persons: list[dict], *, images: int = 2) -> Path:
    for number, person in enumerate(persons):
        person["images"] = [f"{person['person']}_{i}.png" for i in range(images)]
        for index, name in enumerate(person["images"]):
            write_image(folder / name, 10 * number + index)
    (folder / "persons.json").write_text(json.dumps(persons))
    return folder


def listed(*genders: str) -> list[dict]:
    return [{"person": f"p{n}", "age": 30 + n, "gender": gender} for n, gender in enumerate(genders)]


def pixels(images: list[Image.Image]) -> list[bytes]:
    return [image.tobytes() for image in images]


def test_importing_needs_no_torch() -> None:
    code = "import sys, clear_data, clear_data.faces; print(sorted({'torch', 'diffusers'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize(("fields", "message"), [({"gender": "x"}, "gender"), ({"age": -1}, "age")])
def test_request_refuses(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FaceRequest(**{"subject": "s", "name": "n", "age": 30, "gender": "male"} | fields)


def test_check_requests_refuses() -> None:
    with pytest.raises(ValueError, match="empty"):
        check_requests([], 1)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        check_requests(REQUESTS, 0)
    with pytest.raises(ValueError, match="'s1' occurs twice"):
        check_requests([request("s1"), request("s1")], 1)


def test_derived_seed_keeps_its_parts_apart() -> None:
    assert derived_seed(1, 23) != derived_seed(12, 3)


def test_shipped_pool_serves_hundreds() -> None:
    pool = PortraitPool.load()
    assert len(pool.persons) >= 400
    chosen = pool.assign(REQUESTS, seed=0)
    who = {person.id: person for person in pool.persons}
    assert len(set(chosen.values())) == len(REQUESTS)
    assert all(who[chosen[r.subject]].gender == r.gender for r in REQUESTS)
    assert all(abs(who[chosen[r.subject]].age - r.age) <= 5 for r in REQUESTS)
    assert pool.portrait(chosen["s0"]).size == (64, 64)


def test_assignment_ignores_order_and_heeds_the_seed() -> None:
    pool = PortraitPool.load()
    chosen = pool.assign(REQUESTS, seed=0)
    reversed_pool = PortraitPool(pool.persons[::-1], pool.images)
    assert chosen == pool.assign(REQUESTS[::-1], seed=0) == reversed_pool.assign(REQUESTS, seed=0)
    assert chosen != pool.assign(REQUESTS, seed=1)


def test_assignment_says_what_is_short() -> None:
    persons = [Person(id="a", age=30, gender="male")]
    with pytest.raises(ValueError, match="2 female subjects need a face, the pool has 0"):
        match([request("s1"), request("s2")], persons, seed=0, source="the pool")
    with pytest.raises(ValueError, match="2 subjects need a face, the pool has 1"):
        match([request("s1"), request("s2")], [Person(id="a")], seed=0, source="the pool")


def test_pool_from_a_folder(tmp_path: Path) -> None:
    pool = PortraitPool.load(write_folder(tmp_path, listed("female", "male")))
    assert pool.assign([request("s1", gender="male")], seed=0) == {"s1": "p1"}
    assert pool.portrait("p1").getpixel((0, 0)) == (10, 0, 0)
    before = pool.digest()
    write_image(tmp_path / "p1_0.png", 99)
    assert PortraitPool.load(tmp_path).digest() != before


def test_pool_needs_ages(tmp_path: Path) -> None:
    write_image(tmp_path / "ada" / "1.png", 1)
    with pytest.raises(ValueError, match="'ada' needs a whole age and a gender"):
        PortraitPool.load(tmp_path)


def test_pool_from_a_table(tmp_path: Path) -> None:
    encoded = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(encoded, "PNG")
    rows = [{"person": "a", "age": 30, "gender": "male", "image": encoded.getvalue()}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "portraits.parquet")
    assert PortraitPool.load(tmp_path).portrait("a").getpixel((0, 0)) == (255, 0, 0)
    pq.write_table(pa.Table.from_pylist([row | {"image": b"x"} for row in rows]), tmp_path / "portraits.parquet")
    with pytest.raises(ValueError, match="the portrait of 'a' in the portrait pool .* cannot be read as an image"):
        PortraitPool.load(tmp_path).portrait("a")
    pq.write_table(pa.Table.from_pylist(rows).drop_columns("age"), tmp_path / "portraits.parquet")
    with pytest.raises(ValueError, match=r"portraits\.parquet cannot be read"):
        PortraitPool.load(tmp_path)
    (tmp_path / "portraits.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ValueError, match=r"portraits\.parquet cannot be read"):
        PortraitPool.load(tmp_path)


def test_folder_matches_by_gender_and_age(tmp_path: Path) -> None:
    source = FolderFaces(write_folder(tmp_path, listed("female", "male", "female", "female")))
    requests = [request("old", age=60), request("young", age=20), request("man", gender="male")]
    drawn = dict(source.photographs(requests, 2, seed=0))
    assert list(drawn) == ["old", "young", "man"]
    assert [images[0].getpixel((0, 0))[0] for images in drawn.values()] == [30, 0, 10]
    assert drawn["man"][1].getpixel((0, 0)) == (11, 0, 0)


def test_folder_resumes_with_the_same_faces(tmp_path: Path) -> None:
    source = FolderFaces(write_folder(tmp_path, listed(*["female"] * 6)))
    requests = [request(f"s{n}", age=33) for n in range(5)]
    whole = {who: pixels(images) for who, images in source.photographs(requests, 1, seed=3)}
    left = source.photographs(requests[::-1], 1, seed=3, done={"s0", "s4"})
    assert {who: pixels(images) for who, images in left} == {who: whole[who] for who in ("s1", "s2", "s3")}


def test_plain_folders(tmp_path: Path) -> None:
    for number, person in enumerate(("bea", "ada")):
        for index in range(2):
            write_image(tmp_path / person / f"{index}.jpg", 100 * number)
    source = FolderFaces(tmp_path)
    assert [person.id for person in source.persons()] == ["ada", "bea"]
    drawn = dict(source.photographs([request("s2"), request("s1")], 2, seed=0))
    assert drawn["s1"][0].getpixel((0, 0))[0] > 90 > drawn["s2"][0].getpixel((0, 0))[0]


def test_folder_says_what_is_short(tmp_path: Path) -> None:
    source = FolderFaces(write_folder(tmp_path, listed("female", "male")))
    with pytest.raises(ValueError, match="2 female subjects need a face"):
        source.photographs([request("s1"), request("s2")], 2, seed=0)
    with pytest.raises(ValueError, match=r"Nobody .* has 3 photographs, 2 at most"):
        source.photographs([request("s1")], 3, seed=0)


def test_folder_names_the_unreadable_image(tmp_path: Path) -> None:
    source = FolderFaces(write_folder(tmp_path, listed("female")))
    (tmp_path / "p0_1.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"p0_1\.png cannot be read as an image"):
        list(source.photographs([request("s1")], 2, seed=0))
    (tmp_path / "p0_1.png").unlink()
    with pytest.raises(ValueError, match=r"p0_1\.png is listed but is not there"):
        list(source.photographs([request("s1")], 2, seed=0))
    with pytest.raises(ValueError, match=r"p0_1\.png is listed but is not there"):
        source.describe()


@pytest.mark.parametrize("name", ["../outside.png", "/etc/passwd", "link.png", "folder/../../outside.png"])
def test_folder_is_not_left(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / "outside.png", 1)
    folder = tmp_path / "faces"
    folder.mkdir()
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (folder / "persons.json").write_text(json.dumps([{"person": "p", "images": [name]}]))
    with pytest.raises(ValueError, match="leaves the folder"):
        FolderFaces(folder)


def test_linked_person_is_not_followed_out(tmp_path: Path) -> None:
    write_image(tmp_path / "outside" / "1.png", 1)
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "ada").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match="leaves the folder"):
        FolderFaces(tmp_path / "faces")


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        ("[{", "cannot be read as JSON"),
        ("{}", "must hold a list"),
        ("[]", "holds no photographs"),
        ('[{"person": "a"}]', 'entry 1: needs "person" and "images"'),
        ('[{"person": "a", "images": []}]', "list of file names"),
        ('[{"person": "a", "images": ["1.png"], "age": 3}]', '"gender" must be one of'),
        ('[{"person": "a", "images": ["1.png"]}, {"person": "a", "images": ["1.png"]}]', "listed twice"),
    ],
)
def test_bad_listing(tmp_path: Path, listing: str, message: str) -> None:
    (tmp_path / "persons.json").write_text(listing)
    with pytest.raises(ValueError, match=message):
        FolderFaces(tmp_path)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no folder"):
        FolderFaces(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no photographs"):
        FolderFaces(tmp_path)


def test_description_is_json_and_follows_the_files(tmp_path: Path) -> None:
    source = FolderFaces(write_folder(tmp_path, listed("female")))
    before = json.dumps(source.describe())
    write_image(tmp_path / "p0_1.png", 77)
    assert json.dumps(FolderFaces(tmp_path).describe()) != before


def test_real_photographs(real_data: Callable[[str], Path]) -> None:
    source = FolderFaces(real_data("faces"))
    persons = source.persons()
    assert len(persons) == 40
    requests = [request(f"s{n}", age=p.age, gender=p.gender) for n, p in enumerate(persons)]
    drawn = dict(source.photographs(requests, 8, seed=0))
    assert all(len(images) == 8 and images[0].size == (128, 128) for images in drawn.values())
    assert len({images[0].tobytes() for images in drawn.values()}) == 40
    assert source.describe()["persons"] == 40
