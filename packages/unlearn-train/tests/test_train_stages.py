import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from unlearn_train import stages
from unlearn_train.stages import RECORD, Run, Stage


def stage(made, name="models/target", *, options=None, inputs=(), packages=(), text="done"):
    """A stage that notes each time it is made."""

    def make(out):
        made.append(name)
        (out / "result").write_text(text)

    return Stage(name, make, {"a": 1} if options is None else options, inputs, packages)


def content(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_result_is_made_once(tmp_path):
    made = []
    for _ in range(2):
        Run(tmp_path).make([stage(made)])
    assert made == ["models/target"]
    assert content(tmp_path) == ["models/target/result", "models/target/stage.json"]


def test_inputs_are_made_first_and_can_be_read(tmp_path):
    def copy(out):
        (out / "result").write_text((tmp_path / "data/result").read_text() + "!")

    data = stage([], "data", text="rows")
    Run(tmp_path).make([data, Stage("models/target", copy, {}, (data,), ())])
    assert (tmp_path / "models/target/result").read_text() == "rows!"


@pytest.mark.parametrize(
    "change",
    [
        {"options": {"a": 2}},
        {"options": {"a": 1, "b": None}},
        {"inputs": (stage([], "data", options={"seed": 2}),)},
        {"inputs": (stage([], "data", inputs=(stage([], "more"),)),)},
        {"packages": ("torch",)},
    ],
    ids=["options", "another option", "an input's options", "an input's input", "packages"],
)
def test_a_result_is_made_again_when_anything_upstream_changed(tmp_path, change):
    made = []
    Run(tmp_path).make([stage(made, inputs=(stage([], "data"),))])
    Run(tmp_path).make([stage(made, text="anew", **{"inputs": (stage([], "data"),), **change})])
    assert len(made) == 2
    assert (tmp_path / "models/target/result").read_text() == "anew"


def test_a_result_is_made_again_when_a_version_changed(tmp_path, monkeypatch):
    made = []
    Run(tmp_path).make([stage(made, packages=("torch",))])
    monkeypatch.setattr(stages, "installed_version", lambda name: f"{name} 99")
    Run(tmp_path).make([stage(made, packages=("torch",))])
    assert len(made) == 2


def test_the_order_of_options_does_not_matter():
    assert stage([], options={"a": 1, "b": 2}).key == stage([], options={"b": 2, "a": 1}).key


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"key": "another"}'])
def test_a_spoilt_record_is_no_record(tmp_path, text):
    made = []
    Run(tmp_path).make([stage(made)])
    (tmp_path / "models/target" / RECORD).write_text(text)
    Run(tmp_path).make([stage(made)])
    assert len(made) == 2


def test_what_remains_of_an_older_result_goes(tmp_path):
    Run(tmp_path).make([stage([])])
    (tmp_path / "models/target/old-shard").write_text("")
    Run(tmp_path).make([stage([], options={"a": 2})])
    assert content(tmp_path) == ["models/target/result", "models/target/stage.json"]


def failing(out):
    (out / "half").write_text("half")
    raise RuntimeError("the disk is full")


def test_a_failure_leaves_the_old_result(tmp_path):
    old = stage([])
    Run(tmp_path).make([old])
    with pytest.raises(RuntimeError, match="the disk is full"):
        Run(tmp_path).make([Stage(old.name, failing, {"a": 2}, (), ())])
    assert (tmp_path / "models/target/result").read_text() == "done"
    assert Run(tmp_path).record(old) is not None
    Run(tmp_path).make([stage([], options={"a": 3}, text="later")])
    assert content(tmp_path) == ["models/target/result", "models/target/stage.json"]


def test_results_are_on_the_disk_before_they_get_their_name(tmp_path, monkeypatch):
    def fill(out):
        (out / "more").mkdir()
        (out / "more/result").write_text("x")

    synced = []
    sync = os.fsync

    def note(handle):
        path = Path(f"/proc/self/fd/{handle}").readlink() if sys.platform == "linux" else tmp_path
        synced.append((os.path.relpath(path, tmp_path), (tmp_path / "models/target").exists()))
        sync(handle)

    monkeypatch.setattr(stages.os, "fsync", note)
    Run(tmp_path, quiet=True).make([Stage("models/target", fill, {})])
    assert len(synced) == 6
    if sys.platform == "linux":
        parts = [".", "more", "more/result", "stage.json"]
        before = {os.path.normpath(f"models/.target.partial/{part}") for part in parts}
        assert set(synced[:4]) == {(part, False) for part in before}
        assert synced[4:] == [("models", True), (".", True)]


def test_partial_work_is_taken_up_only_where_it_was_made_from_the_same(tmp_path):
    seen = []

    def going_on(out):
        seen.append((out / "half").exists())

    for key in (1, 2):
        with pytest.raises(RuntimeError):
            Run(tmp_path).make([Stage("data", failing, {"a": key}, (), ())])
    Run(tmp_path).make([Stage("data", going_on, {"a": 2}, (), ())])
    with pytest.raises(RuntimeError):
        Run(tmp_path).make([Stage("data", failing, {"a": 4}, (), ())])
    Run(tmp_path).make([Stage("data", going_on, {"a": 5}, (), ())])
    assert seen == [True, False]
    assert "key" not in content(tmp_path / "data")


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path):
    made = []
    old = stage(made)
    Run(tmp_path).make([old])
    (tmp_path / "models/target").rename(tmp_path / "models/.target.old")
    assert Run(tmp_path).record(old) is not None
    assert (tmp_path / "models/target/result").read_text() == "done"
    Run(tmp_path).make([old])
    assert len(made) == 1


def test_a_kill_before_the_old_result_is_removed_leaves_nothing_behind(tmp_path):
    Run(tmp_path).make([stage([])])
    (tmp_path / "models/.target.old").mkdir()
    (tmp_path / "models/.target.old/result").write_text("older")
    Run(tmp_path).make([stage([])])
    assert content(tmp_path) == ["models/target/result", "models/target/stage.json"]


def test_a_record_holds_seconds_and_memory(tmp_path):
    def make(out):
        (out / "result").write_bytes(bytes(50_000_000))

    chosen = Stage("data", make, {}, (), ())
    Run(tmp_path).make([chosen])
    record = json.loads((tmp_path / "data" / RECORD).read_text())
    assert record == Run(tmp_path).record(chosen)
    assert 0 < record["seconds"] < 60
    assert record["peak_memory_bytes"] > 50_000_000


PROGRAM = """
    import sys, time
    from pathlib import Path
    from unlearn_train.stages import Run, Stage

    def slow(out):
        with (out / "result").open("w") as file:
            for n in range(40):
                print(n, file=file, flush=True)
                if n == 20 and sys.argv[2] == "wait":
                    print("half", flush=True)
                    time.sleep(60)

    Run(Path(sys.argv[1])).make([Stage("models/target", slow, {}, (), ())])
"""


def test_a_killed_run_is_finished_by_the_next(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path)]
    with subprocess.Popen([*command, "wait"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "half\n"
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "models/target").exists()
    assert (tmp_path / "models/.target.partial/result").exists()
    subprocess.run([*command, "go"], check=True)
    assert (tmp_path / "models/target/result").read_text() == "".join(f"{n}\n" for n in range(40))
    assert content(tmp_path) == ["models/target/result", "models/target/stage.json"]


def test_progress_is_shown_to_a_terminal_alone(tmp_path, capsys, monkeypatch):
    Run(tmp_path).make([stage([], "data")])
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    Run(tmp_path, quiet=True).make([stage([], "models/a")])
    assert capsys.readouterr().err == ""
    Run(tmp_path).make([stage([], "data"), stage([], "models/b")])
    kept, begun, done = capsys.readouterr().err.splitlines()
    assert (kept, begun) == ("[1/2] data: there already", "[2/2] models/b ...")
    assert re.fullmatch(r"\[2/2\] models/b: \d\.\d s", done)
