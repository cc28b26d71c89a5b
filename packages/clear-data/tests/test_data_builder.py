import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from clear_data import BuildOptions, build, check, load, make_subjects
from clear_data.builder import RECORD
from clear_data.content import content_digest, make_content
from clear_data.faces import FolderFaces, Person
from PIL import Image

FILES = ["README.md", "build.json", "rows.parquet", "sets.json", "subjects.jsonl"]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_build_holds_what_was_asked_for(built, small: BuildOptions) -> None:
    out, data = built
    assert [path.name for path in sorted(out.iterdir())] == FILES
    sizes = {name: len(members) for name, members in data.sets.items()}
    assert sizes.pop("world_facts") >= 60
    assert sizes.pop("pretrain") == small.figures + small.scenes + len(data.sets["world_facts"])
    forget = {"forget01": 1, "retain99": 3, "forget05": 1, "retain95": 3, "forget10": 1, "retain90": 3}
    assert sizes == forget | {"holdout": 2, "real_faces": 2, "real_world": 3}
    subject = data.sets["forget10"]
    tasks = {task: len(data.select("forget10", [task])) for task in ("caption", "vqa", "qa", "mcq", "cloze")}
    assert len(subject) == 1
    assert tasks == {"caption": 3, "vqa": 3, "qa": 10, "mcq": 10, "cloze": 10}
    assert data.select("real_faces", ["qa"]).num_rows == 4
    assert {row["image"].size for row in data.select("forget10", ["caption"])} == {(32, 32)}


def test_rows_of_a_picture_share_it_and_follow_one_another(built) -> None:
    images = [row["image"].tobytes() for row in built[1].select("forget10", ["caption", "vqa"])]
    assert [images[n] == images[n - 1] for n in range(1, 6)] == [True, False, True, False, True]


def test_profiles_are_kept(built, small: BuildOptions) -> None:
    profiles = [json.loads(line) for line in (built[0] / "subjects.jsonl").read_text().splitlines()]
    people = make_subjects(small.subjects, seed=small.seed)
    assert [profile["id"] for profile in profiles if profile["group"] == "subjects"] == [one.id for one in people]
    assert {profile["group"] for profile in profiles} == {"subjects", "holdout", "figures", "scenes", "unseen_scenes"}


def test_the_card_says_what_and_how(built) -> None:
    card = (built[0] / "README.md").read_text()
    for text in (
        "---\npretty_name:",
        "Faker ",
        "| forget10 | 1 |",
        "| caption | 24 |",
        "| seed | 0 |",
        "kind `painted`",
        "Nobody in it exists",
    ):
        assert text in card


def test_repeatable_to_the_byte(built, small, painted_faces, tmp_path: Path) -> None:
    build(small, painted_faces(), tmp_path / "again")
    assert files(tmp_path / "again") == files(built[0])
    build(replace(small, seed=1), painted_faces(), tmp_path / "other")
    assert files(tmp_path / "other")["rows.parquet"] != files(built[0])["rows.parquet"]


def test_a_finished_build_is_left_alone(small, painted_faces, tmp_path: Path) -> None:
    build(small, painted_faces(), tmp_path / "data")
    before = (tmp_path / "data/rows.parquet").stat().st_mtime_ns
    faces = painted_faces()
    assert build(small, faces, tmp_path / "data").sets
    assert faces.painted == []
    assert (tmp_path / "data/rows.parquet").stat().st_mtime_ns == before
    assert list(tmp_path.iterdir()) == [tmp_path / "data"]


def test_another_dataset_is_refused_or_replaced(small, painted_faces, tmp_path: Path) -> None:
    out = tmp_path / "data"
    build(small, painted_faces(), out)
    other = replace(small, seed=5)
    with pytest.raises(ValueError, match=r"another dataset \(seed 0 instead of 5\).*--force"):
        build(other, painted_faces(), out)
    with pytest.raises(ValueError, match="another dataset"):
        build(small, painted_faces(key="other pool"), out)
    build(other, painted_faces(), out, force=True)
    assert json.loads((out / RECORD).read_text())["options"]["seed"] == 5
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("record", [None, "", "[]", "{}"])
def test_a_folder_of_somebody_else_is_refused(small, painted_faces, tmp_path: Path, record: str | None) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    if record is not None:
        (tmp_path / RECORD).write_text(record)
    with pytest.raises(ValueError, match="choose another folder"):
        build(small, painted_faces(), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_force_spares_what_is_no_dataset(small, painted_faces, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds no rows\.parquet, so it is not replaced"):
        build(small, painted_faces(), tmp_path / "home", force=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["home", "thesis.txt"]


def test_progress_counts_photographs(small, painted_faces, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    build(small, painted_faces(), tmp_path / "data", lambda *step: seen.append(step))
    assert seen == [(3 * n, 24) for n in range(9)]


KILLED = """
import os, signal, sys
from clear_data import build, photos, builder, table, files
sys.path.insert(0, {tests!r})
from conftest import PaintedFaces, SMALL

class Logged(PaintedFaces):
    def photographs(self, requests, count, *, seed, done=()):
        for name, images in super().photographs(requests, count, seed=seed, done=done):
            with open({log!r}, "a") as file:
                file.write(name + chr(10))
            yield name, images

left, real = int(sys.argv[1]), files.write_file
def counted(path, content):
    global left
    left -= 1
    if left == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name + ".tmp").write_bytes(content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    real(path, content)
photos.write_file = builder.write_file = table.write_file = counted
build(SMALL, Logged(), {out!r})
"""


def test_killed_at_any_moment_it_goes_on(built, tmp_path: Path) -> None:
    """Killed within a person's photographs, between people, and while the dataset is written."""
    log, out = tmp_path / "log", tmp_path / "data"
    code = KILLED.format(tests=str(Path(__file__).parent), log=str(log), out=str(out))
    moments = (3, 6, 17, 3, 0)
    for moment in moments:
        ended = subprocess.run([sys.executable, "-c", code, str(moment)], check=False).returncode
        assert ended == (-9 if moment else 0)
        assert out.exists() == (not moment)
    assert files(out) == files(built[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "log"]
    painted = log.read_text().split()
    # Whom a kill hit in the middle is painted again, nobody else.
    assert len(set(painted)) == 8
    assert len(painted) <= 8 + len(moments) - 1


def test_a_damaged_photograph_is_taken_again(built, small, painted_faces, tmp_path: Path) -> None:
    out, faces = tmp_path / "data", painted_faces()
    people = make_content(small).people

    def stop(done: int, total: int) -> None:
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(small, faces, out, stop)
    path = tmp_path / "data.partial/photographs" / people[1].id / "2.image"
    path.write_bytes(path.read_bytes()[:50])
    build(small, faces, out)
    names = [one.id for one in people]
    assert faces.painted == [*names[:3], names[1], *names[3:]]
    assert files(out) == files(built[0])


def test_a_work_folder_of_other_options_is_dropped(built, small, painted_faces, tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO")

    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(replace(small, seed=9), painted_faces(), tmp_path / "data", stop)
    build(small, painted_faces(), tmp_path / "data")
    assert "starting afresh" in caplog.text
    assert files(tmp_path / "data") == files(built[0])


@pytest.mark.parametrize(
    ("option", "value"),
    [("subjects", 1), ("questions", 0), ("images", 0), ("holdout", -1), ("size", 0), ("scenes", -1)],
)
def test_options_out_of_range(option: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"`{option}` must be at least"):
        BuildOptions(**{option: value})


def test_questions_are_as_many_as_asked_for(small, painted_faces, tmp_path: Path) -> None:
    data = build(replace(small, questions=2), painted_faces(), tmp_path / "data")
    assert [len(data.select("forget10", [task])) for task in ("qa", "mcq", "cloze")] == [2, 2, 2]
    with pytest.raises(ValueError, match="`questions` must be at most 14, got 15"):
        BuildOptions(questions=15)


def test_sets_without_a_subject_are_left_out(painted_faces, tmp_path: Path) -> None:
    options = BuildOptions(subjects=2, images=1, holdout=0, figures=0, scenes=0, unseen_scenes=0, size=16)
    data = build(options, painted_faces(), tmp_path / "data")
    assert not {"holdout", "real_faces", "real_world"} & set(data.sets)
    assert data.sets["pretrain"] == data.sets["world_facts"]


def test_a_source_that_gives_too_little(small, painted_faces, tmp_path: Path) -> None:
    faces = painted_faces()
    faces.photographs = lambda *args, **more: iter([(make_content(small).people[0].id, [])])
    with pytest.raises(ValueError, match="gave 0 photographs"):
        build(small, faces, tmp_path / "data")
    faces.photographs = lambda *args, **more: iter([])
    with pytest.raises(ValueError, match="gave no photograph of 8 people"):
        build(small, faces, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_people_fit_the_faces_there_are() -> None:
    faces = [Person(id=f"p{n}", age=30 + n, gender="male" if n % 3 else "female") for n in range(9)]
    options = BuildOptions(subjects=5, holdout=2, figures=2)
    people = make_content(options, faces).people
    assert sorted((one.age, one.gender) for one in people) == sorted((face.age, face.gender) for face in faces)
    assert make_content(options, faces[::-1]) == make_content(options, faces)
    with pytest.raises(
        ValueError, match="6 subjects, 2 holdout people and 2 public figures need 10 faces, there are 9"
    ):
        make_content(replace(options, subjects=6), faces)


def test_faces_of_unknown_look_fit_anybody() -> None:
    faces = [Person(id=f"p{n}", age=None, gender=None) for n in range(9)]
    options = BuildOptions(subjects=5, holdout=2, figures=2)
    assert make_content(options, faces) == make_content(options)


def test_every_word_enters_the_key(small, monkeypatch) -> None:
    content = make_content(small)
    before = content_digest(content, small)
    assert content_digest(content, small) == before
    from clear_data import captions

    monkeypatch.setattr(captions, "CAPTIONS", tuple(w._replace(answer=f"{w.answer}!") for w in captions.CAPTIONS))
    assert content_digest(content, small) != before


def test_photographs_of_any_form_are_cut_to_size(tmp_path: Path, small) -> None:
    for person in range(8):
        for number, mode in enumerate(("RGB", "L", "RGBA")):
            (tmp_path / f"faces/{person}").mkdir(parents=True, exist_ok=True)
            Image.new(mode, (50, 70)).save(tmp_path / f"faces/{person}/{number}.png")
    data = build(small, FolderFaces(tmp_path / "faces"), tmp_path / "data")
    assert {row["image"].size for row in data.select("forget10", ["vqa"])} == {(32, 32)}


def test_large_photographs_become_jpeg(tmp_path: Path, painted_faces) -> None:
    options = BuildOptions(subjects=2, images=1, holdout=0, figures=0, scenes=1, unseen_scenes=0, size=160)
    data = build(options, painted_faces(size=160), tmp_path / "data")
    image = data.select("forget10", ["caption"])[0]["image"]
    assert (image.format, image.size) == ("JPEG", (160, 160))


def test_real_photographs(real_data, tmp_path: Path) -> None:
    options = BuildOptions(subjects=28, holdout=4, figures=8, scenes=5, unseen_scenes=5)
    out = tmp_path / "data"
    build(options, FolderFaces(real_data("faces")), out)
    found = check(out)
    assert found.faults == []
    assert found.images == 40 * 8 + 10
    assert len(load(out).select("forget10", ["caption"])) == 3 * 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of files are a matter of Unix")
@pytest.mark.parametrize("limit", [1500, 60_000])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, limit: int) -> None:
    """A limit on the size of files fails as a full disk does: within a photograph, and within rows.parquet."""
    code = f"""
import os, resource, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from conftest import PaintedFaces
from clear_data import cli, commands
commands._face_source = lambda args: PaintedFaces()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
sizes = "--subjects 4 --images 3 --holdout 2 --figures 2 --scenes 9 --size 32"
code = cli.main(["build", "--out", {str(tmp_path / "data")!r}, *sizes.split()])
sys.stderr.flush()
os._exit(code)  # what measures coverage would write when Python ends, and fail
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert "File too large" in ended.stderr
    assert not (tmp_path / "data").exists()
    assert not list(tmp_path.rglob("*.tmp"))
