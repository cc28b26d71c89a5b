import os
import subprocess
import sys
from pathlib import Path

import pytest
from unlearn_train import cli, launching

FORGET = ["forget", "--method", "npo", "--tasks", "qa"]


def test_alone_there_is_nothing_to_agree_on(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    assert (launching.processes(), launching.rank(), launching.agree("mine")) == (1, 0, "mine")
    launching.join()
    launching.leave()


def test_a_launcher_s_numbers_are_read(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("RANK", "3")
    assert (launching.processes(), launching.rank()) == (8, 3)


def test_processes_are_not_started_twice(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="a launcher has started 2 processes already; leave out `--nproc`"):
        launching.start(2, ["methods"])


def program(text):
    """Runs as `python -m unlearn_train` does, but does what `text` says."""
    return [sys.executable, "-c", text]


@pytest.fixture
def started(monkeypatch, capfd):
    """Starts two processes that do what a text says; returns the exit code and what was written."""
    make = subprocess.Popen

    def run(text):
        monkeypatch.setattr(launching.subprocess, "Popen", lambda command, **options: make(program(text), **options))
        code = launching.start(2, [])
        return code, *capfd.readouterr()

    return run


def test_one_that_fails_ends_all_with_its_line_alone(started):
    said = "launching.say_last(f'unlearn: {launching.rank()} of {launching.processes()} failed'); sys.exit(2)"
    text = f"import sys, time; from unlearn_train import launching\nif launching.rank() == 1: {said}\ntime.sleep(60)"
    assert started(text) == (2, "", "unlearn: 1 of 2 failed\n")


def test_the_line_of_the_first_that_failed_is_shown(started):
    """Others fail for the want of it, and are gone before it is."""
    text = (
        "import os, sys, time; from pathlib import Path; from unlearn_train import launching\n"
        "say = lambda: launching.say_last(f'unlearn: {launching.rank()} failed')\n"
        "if launching.rank() == 1: say(); time.sleep(1); sys.exit(2)\n"
        "while not (Path(os.environ[launching.LINES]) / '1').is_file(): time.sleep(0.01)\n"
        "say(); sys.exit(1)"
    )
    assert started(text) == (2, "", "unlearn: 1 failed\n")


def test_one_that_is_killed_is_named(started):
    text = "import os, time\nif os.environ['RANK'] == '1': os.kill(os.getpid(), 9)\ntime.sleep(60)"
    code, out, err = started(text)
    assert (code, out) == (1, "")
    assert err == "unlearn: process 1 was ended by signal 9; memory may not have sufficed.\n"


def test_the_first_alone_prints(started):
    assert started("print('done')") == (0, "done\n", "")


def test_processes_end_with_what_started_them(tmp_path):
    there = str(tmp_path / "there")
    child = (
        "import time; from unlearn_train import launching; launching.end_with_parent(); "
        f"open({there!r}, 'w').close(); time.sleep(600)"
    )
    parent = (
        f"import os, subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        f"while not os.path.exists({there!r}): time.sleep(0.05)"
    )
    environment = {**os.environ, launching.LINES: str(tmp_path)}
    # The output is at an end only when the child, which shares it, has ended.
    ran = subprocess.run([sys.executable, "-c", parent], env=environment, timeout=300, stdout=subprocess.PIPE)
    assert ran.returncode == 0


@pytest.mark.parametrize("count", ["0", "-1", "two"])
def test_a_number_of_processes_is_a_number(count, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([*FORGET, "--model", "m", "--data", "d", "--out", "o", "--nproc", count])
    assert ended.value.code == 2
    assert f"must be a whole number above 0, got '{count}'" in capsys.readouterr().err


def unlearn(*argv, **environment):
    command = [sys.executable, "-m", "unlearn_train", *map(str, argv)]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=900)
    return ran.returncode, ran.stdout, ran.stderr


def test_two_processes_save_a_model_and_say_nothing(saved, folder, tmp_path):
    out = tmp_path / "out"
    where = ["--model", saved["llama"], "--data", folder, "--out", out]
    assert unlearn(*FORGET, *where, "--nproc", 2, "--set", "batch_size=4", OMP_NUM_THREADS="1") == (0, "", "")
    assert {path.name for path in out.iterdir()} == {"training.json", *(path.name for path in saved["llama"].iterdir())}
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_bad_input_is_one_clear_line_whatever_the_number_of_processes(saved, folder, tmp_path):
    where = ["--model", saved["llama"], "--data", folder, "--out", tmp_path / "out"]
    code, out, err = unlearn(*FORGET, *where, "--nproc", 2, "--set", "batch_size=5", OMP_NUM_THREADS="1")
    assert (code, out) == (2, "")
    assert err == (
        "unlearn: `batch_size` is that of all 2 processes together and must be a multiple of 2, got 5; set it to 4 or "
        "6.\n"
    )
    assert list(Path(tmp_path).iterdir()) == []


def test_after_an_error_a_process_does_not_wait_for_the_others(monkeypatch):
    ended, parted = [], []
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.destroy_process_group", lambda: parted.append(1))
    monkeypatch.setattr("os._exit", ended.append)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launching.leave() == 0
    assert (ended, parted) == ([], [1])
    launching.leave(2)
    assert ended == [2]


def test_the_argument_that_deepspeed_s_launcher_adds_is_taken():
    assert cli.build_parser().parse_args(["--local_rank=1", "methods"]).local_rank == 1
