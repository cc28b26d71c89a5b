import json
import subprocess
import sys

import pytest
from unlearn_metrics import cli


@pytest.fixture
def folders(builder, tmp_path):
    for name, shift in [("target", 0.0), ("npo", 0.5), ("retrained", 1.0)]:
        made = builder()
        for i in range(16):
            made.row(f"s{i}", [-0.5 - shift], [-1.0 - shift - 0.1 * i], [[-2.0], [-1.0]]).says(
                f"s{i}", "Ann", "Ann Lee"
            )
            made.row(f"r{i}", [-0.5 - shift], of="retain90")
        made.build().write(tmp_path / name)
    return tmp_path


def test_compute_prints_a_table(folders, capsys):
    assert cli.main(["compute", str(folders / "npo"), "--retrained", str(folders / "retrained")]) == 0
    out, err = capsys.readouterr()
    assert "forget10 all probability (n=16)" in out
    assert "forget_quality_log10_p" in out
    assert "no model_utility: no rouge_l_recall on the all rows of retain90." in err


@pytest.mark.parametrize(("option", "start"), [("--markdown", "| metric | npo |"), ("--latex", r"\begin{tabular}{lr}")])
def test_other_formats(folders, capsys, option, start):
    assert cli.main(["compute", str(folders / "npo"), option, "--benchmark", "tofu"]) == 0
    assert capsys.readouterr().out.startswith(start)


def test_compare_says_which_model_lacks_what(folders, builder, capsys):
    made = builder()
    for i in range(16):
        made.row(f"s{i}", [-1.0]).row(f"r{i}", [-1.0], of="retain90").says(f"r{i}", "Ann", "Ann", of="retain90")
    made.build().write(folders / "bare")
    assert cli.main(["compare", str(folders / "npo"), str(folders / "bare"), "--benchmark", "tofu"]) == 0
    err = capsys.readouterr().err
    assert "no normalized_probability, truth_ratio (bare): no row has what it takes." in err
    assert "no forget_quality, " in err


def test_json_is_the_results(folders, capsys):
    assert cli.main(["compute", str(folders / "npo"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sets"]["retain90"]["all"]["probability"]["n"] == 16


def test_compare_says_what_differs(folders, capsys):
    paths = [str(folders / name) for name in ("target", "npo")]
    assert cli.main(["compare", *paths]) == 0
    out = capsys.readouterr().out
    assert "npo minus target, on the same rows" in out
    assert [line.split()[-1] for line in out.splitlines() if line.startswith("forget10 probability")] == ["yes"]
    assert cli.main(["compare", *paths, "--json", "--benchmark", "tofu"]) == 0
    differences = json.loads(capsys.readouterr().out)["differences"]["npo"]
    assert set(differences["forget10"]) == {"probability", "rouge_l_recall", "truth_ratio"}
    assert differences["forget10"]["probability"]["n"] == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compute", "nowhere"], "nowhere is not there"),
        (["compute", "npo", "--benchmark", "none"], "no benchmark `none`"),
        (["compare", "npo", "npo"], "the same evidence is given twice"),
    ],
)
def test_bad_input_is_one_line_and_2(folders, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(folders)
    assert cli.main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_usage_errors_are_2():
    for arguments in ([], ["compute"], ["compute", "a", "--json", "--latex"], ["nonsense"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        assert stopped.value.code == 2


def test_debug_shows_the_traceback(capsys):
    assert cli.main(["compute", "nowhere", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device", "scores.parquet"), 1, "the disk is full (scores.parquet)"),
        (RuntimeError(), 1, "RuntimeError"),
        (ImportError("No module named 'torch'"), 1, "No module named 'torch'"),
    ],
)
def test_other_failures(monkeypatch, capsys, error, code, message):
    def fail(*_):
        raise error

    monkeypatch.setattr(cli, "_compute", fail)
    assert cli.main(["compute", "anything"]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["score", "report"])
def test_an_absent_extra_is_named(monkeypatch, capsys, command):
    monkeypatch.setitem(cli._PARTS, command, ("unlearn_metrics.no_such_part", command, "help"))
    assert cli.main([command]) == 1
    assert f'pip install "unlearn-metrics[{command}]"' in capsys.readouterr().err


def test_a_closed_pipe_is_no_failure(folders):
    command = f"{sys.executable} -m unlearn_metrics.cli compute {folders / 'npo'} --json | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout == "{"
    assert done.stderr == ""


def test_importing_is_light():
    code = "import sys, unlearn_metrics; from unlearn_metrics import cli; cli._parser(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "matplotlib", "scipy", "nltk", "pandas", "numpy"} & set(loaded)
    everything = "import sys; from unlearn_metrics import *; import unlearn_metrics.functional; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", everything], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "transformers", "matplotlib", "scipy", "nltk", "pandas"} & set(loaded)
