import errno
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from clear_data import BuildOptions, __version__, commands, load
from clear_data.cli import main
from clear_data.commands import share_out
from PIL import Image

SIZES = ["--subjects=4", "--images=3", "--holdout=2", "--figures=2", "--scenes=5", "--unseen-scenes=3", "--size=32"]


@pytest.fixture
def run(monkeypatch, capsys, painted_faces):
    """Run a command with painted faces; give the exit code, what was said and what was complained."""
    monkeypatch.setattr(commands, "_face_source", lambda args: painted_faces())

    def command(*argv: object) -> tuple[int, str, list[str]]:
        code = main([str(arg) for arg in argv])
        said = capsys.readouterr()
        return code, said.out, said.err.splitlines()

    return command


@pytest.fixture
def folder_of_faces(tmp_path: Path) -> Path:
    for person in range(10):
        (tmp_path / f"faces/p{person}").mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (32, 32), (20 * person, 90 * number, 0)).save(tmp_path / f"faces/p{person}/{number}.png")
    return tmp_path / "faces"


def test_build_check_show_export(run, tmp_path: Path, built) -> None:
    data = tmp_path / "data"
    assert run("build", "--out", data, *SIZES) == (0, f"{data}: 328 rows, 11 sets\n", [])
    assert (data / "rows.parquet").read_bytes() == (built[0] / "rows.parquet").read_bytes()
    code, said, _ = run("build", "--out", data, *SIZES)
    assert code == 0
    code, said, _ = run("check", data)
    assert code == 0
    assert "32 different pictures" in said
    assert run("show", data, "--out", tmp_path / "sheet.png", "--set", "forget10")[0] == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (490, 104)
    assert run("export", data, "--format", "clear", "--out", tmp_path / "clear")[0] == 0
    assert (tmp_path / "clear/full+tofu/train-00000-of-00001.parquet").is_file()


def test_already_built_and_quiet(run, tmp_path: Path) -> None:
    run("build", "--out", tmp_path / "data", *SIZES)
    assert run("build", "--out", tmp_path / "data", *SIZES)[2] == [f"clear-data: {tmp_path / 'data'} is already built."]
    assert run("build", "-q", "--out", tmp_path / "data", *SIZES)[2] == []
    code, _, complaint = run("build", "--out", tmp_path / "data", *SIZES, "--seed", 4)
    assert code == 2
    assert "seed 0 instead of 4" in complaint[0]
    assert run("build", "--out", tmp_path / "data", *SIZES, "--seed", 4, "--force")[0] == 0


def test_progress_is_shown_on_a_terminal_alone(run, tmp_path: Path, monkeypatch) -> None:
    assert run("build", "--out", tmp_path / "one", *SIZES)[2] == []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert run("build", "--out", tmp_path / "two", *SIZES)[2][-1] == "photographs: 24/24"
    assert run("build", "--quiet", "--out", tmp_path / "three", *SIZES)[2] == []


def test_faces_of_a_folder_are_shared_out(folder_of_faces: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "data"
    assert main(["build", "--faces", str(folder_of_faces), "--images", "2", "--size", "16", "--out", str(out)]) == 0
    assert "7 subjects, 1 holdout, 2 figures" in capsys.readouterr().err
    assert len(load(out).sets["real_faces"]) == 2
    build = ["build", "--faces", str(folder_of_faces), "--out", str(tmp_path / "no")]
    assert main([*build, "--images", "2", "--subjects", "9"]) == 2
    said = "there are 10 people with enough photographs, too few for 9 subjects, 1 holdout people and 2 public figures"
    assert said in capsys.readouterr().err
    assert main(build) == 2
    assert "has 8 photographs, 2 at most; ask for fewer images" in capsys.readouterr().err


def test_who_has_too_few_photographs_is_not_counted(folder_of_faces: Path, tmp_path: Path, capsys) -> None:
    (folder_of_faces / "p3/1.png").unlink()
    out = tmp_path / "data"
    assert main(["build", "--faces", str(folder_of_faces), "--images", "2", "--size", "16", "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert f"9 people of {folder_of_faces} have 2 photographs or more: 6 subjects, 1 holdout, 2 figures" in said
    card = (out / "README.md").read_text()
    assert "may show real people" in card and "Nobody in it exists" not in card


def test_an_unreadable_face_is_named(folder_of_faces: Path, tmp_path: Path, capsys) -> None:
    (folder_of_faces / "p3/1.png").write_bytes(b"no picture")
    assert main(["build", "--faces", str(folder_of_faces), "--images", "2", "--out", str(tmp_path / "data")]) == 2
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert "p3/1.png" in complaint
    assert not (tmp_path / "data").exists()


def test_a_path_that_leaves_its_folder_is_refused(folder_of_faces: Path, tmp_path: Path, capsys) -> None:
    (folder_of_faces / "persons.json").write_text('[{"person": "p", "images": ["../secret.png"]}]')
    assert main(["build", "--faces", str(folder_of_faces), "--out", str(tmp_path / "data")]) == 2
    assert "leaves the folder" in capsys.readouterr().err


def test_sharing_out() -> None:
    assert share_out(40, {"subjects": 20, "holdout": 5, "figures": 5}) == {"subjects": 20, "holdout": 5, "figures": 5}
    assert share_out(40, {"holdout": 0}) == {"subjects": 32, "holdout": 0, "figures": 8}
    for chosen in ({"figures": 39}, {"subjects": 40}):
        with pytest.raises(ValueError, match="there are 40 people with enough photographs, too few"):
            share_out(40, chosen)


def test_read_tofu(run, tmp_path: Path, real_data) -> None:
    assert run("read", "tofu", real_data("tofu"), "--out", tmp_path / "tofu")[:2] == (
        0,
        f"{tmp_path / 'tofu'}: 4217 rows, 8 sets\n",
    )
    code, _, complaint = run("read", "tofu", real_data("tofu"), "--out", tmp_path / "tofu")
    assert code == 2
    assert "already there" in complaint[0]


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["frobnicate"],
        ["build"],
        ["build", "--out", "x", "--frobnicate"],
        ["build", "--out", "x", "--subjects", "many"],
        ["export", "x", "--format", "yaml", "--out", "y"],
    ],
)
def test_bad_usage(argv: list[str]) -> None:
    assert main(argv) == 2


def test_help_and_version(capsys) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"clear-data {__version__}\n"
    for command in ("build", "read", "export", "check", "show"):
        assert main([command, "--help"]) == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--faces", ".", "--steps", "3"], "--steps cannot be used here: --faces draws nothing"),
        (["--faces", ".", "--pipeline", "x"], "--pipeline cannot be used here"),
        (["--guidance", "3"], "--guidance cannot be used here: needs --pipeline"),
        (["--pipeline", "x", "--strength", ".5"], "--strength cannot be used here: needs --pool"),
        (["--faces", "nowhere"], "nowhere is no folder"),
    ],
)
def test_options_that_do_not_go_together(argv: list[str], message: str, tmp_path: Path, capsys) -> None:
    if find_spec("diffusers") is None:
        pytest.skip("needs the extra [generate]")
    assert main(["build", "--out", str(tmp_path / "data"), *argv]) == 2
    complaint = capsys.readouterr().err.splitlines()
    assert len(complaint) == 1
    assert message in complaint[0]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["check", "nowhere"], "nowhere is no folder"),
        (["show", "nowhere", "--out", "sheet.pdf"], "--out must end in .png or .jpg"),
        (["show", "nowhere", "--out", "sheet.png"], "nowhere is no folder"),
        (["export", "nowhere", "--out", "x"], "nowhere is no folder"),
        (["build", "--out", "x", "--images", "0"], "`images` must be at least 1, got 0"),
    ],
)
def test_bad_input_is_one_line(run, argv: list[str], message: str) -> None:
    code, _, complaint = run(*argv)
    assert code == 2
    assert len(complaint) == 1
    assert message in complaint[0]


def test_faults_make_the_check_fail(run, tmp_path: Path, row) -> None:
    from clear_data import save

    save(tmp_path / "data", [row(perturbed_answers=[row()["answer"]])], {"forget10": ["ada-obi"]})
    code, said, _ = run("check", tmp_path / "data")
    assert code == 1
    assert "fault: row ada-obi/qa/0: a perturbed answer is the right one." in said


def fail_with(monkeypatch, error: BaseException) -> None:
    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr(commands, "check_dataset", fail)


def test_failures(run, monkeypatch) -> None:
    fail_with(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "rows.parquet"))
    code, _, complaint = run("check", "x")
    assert (code, len(complaint)) == (1, 1)
    assert "rows.parquet: No space left on device" in complaint[0]
    fail_with(monkeypatch, KeyboardInterrupt())
    code, _, complaint = run("check", "x")
    assert (code, complaint) == (130, ["clear-data: interrupted; what is finished is kept."])
    fail_with(monkeypatch, ImportError('needs torch: pip install "clear-data[generate]"'))
    assert run("check", "x")[0] == 1


def test_debug_shows_the_traceback(run, monkeypatch) -> None:
    fail_with(monkeypatch, ValueError("bad"))
    assert run("check", "x")[0] == 2
    with pytest.raises(ValueError, match="bad"):
        main(["check", "x", "--debug"])


def test_defaults_are_those_of_the_library(monkeypatch, painted_faces) -> None:
    from clear_data.cli import _parser

    args = _parser().parse_args(["build", "--out", "x"])
    assert commands._build_options(args, painted_faces()) == BuildOptions()
    args = _parser().parse_args(["build", "--out", "x", "--pipeline", "y"])
    assert commands._build_options(args, painted_faces()).size == 512
