import os
import subprocess
import sys

import pytest
import unlearn_train
from unlearn_core import CATALOGUE
from unlearn_train import cli
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.data import RowSets
from unlearn_train.locking import exclusive
from unlearn_train.models import load_model
from unlearn_train.reference import reference_logps


@pytest.fixture
def unlearn(capsys):
    """Runs one command line; returns its exit code and what it wrote."""

    def run(*argv):
        try:
            code = cli.main([str(word) for word in argv])
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    return run


def test_methods_are_listed(unlearn):
    code, out, err = unlearn("methods")
    assert (code, err) == (0, "")
    head, *lines = out.splitlines()
    assert head.split("  ")[0] == "name"
    assert [line.split()[:2] for line in lines] == [[name, method.kind] for name, method in CATALOGUE.items()]
    assert all("https://" in line for line in lines)


def test_a_method_is_shown_with_its_options(unlearn):
    code, out, _ = unlearn("methods", "npo")
    assert code == 0
    assert "https://arxiv.org/abs/2404.05868" in out
    assert "needs: forget, ref_logps, retain" in out
    assert "options, each set by --option NAME=VALUE:\nbeta=0.1  β, " in out
    assert "options, each set by --option sam.NAME=VALUE:\nrho=0.01  ρ, " in unlearn("methods", "sam")[1]


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_method_has_a_page(unlearn, name):
    code, out, err = unlearn("methods", name)
    assert (code, err) == (0, "")
    assert out.startswith(f"{name}: ")
    assert "unlearn forget --method" in out and "needs: " in out


def test_the_version_is_shown(unlearn):
    assert unlearn("--version") == (0, f"unlearn {unlearn_train.__version__}\n", "")


@pytest.mark.parametrize(
    "argv",
    [
        *([], ["run"], ["run", "clear"], ["run", "tofu"], ["finetune"], ["forget"], ["evaluate"], ["report"]),
        *(["methods"], ["requests"], ["requests", "init"], ["requests", "run"]),
    ],
)
def test_help_needs_nothing_heavy(argv):
    program = (
        "import sys\nfrom unlearn_train.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as error:\n    assert error.code == 0\n"
        "heavy = {'torch', 'transformers', 'datasets', 'clear_data', 'unlearn_metrics'} & sys.modules.keys()\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", program, *argv, "--help"], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("usage: unlearn")


def test_help_says_what_each_option_means_once(unlearn):
    code, out, _ = unlearn("forget", "--help")
    assert code == 0
    assert "  accumulation=1  batches summed into one step\n" in out
    out = unlearn("run", "clear", "--help")[1]
    assert out.count("batches summed into one step") == 1
    assert "\n  finetune.accumulation=1\n" in out


@pytest.mark.parametrize("argv", [[], ["fly"], ["finetune"], ["forget", "--model", "m"], ["methods", "--loud"]])
def test_bad_usage_exits_with_2(unlearn, argv):
    code, out, err = unlearn(*argv)
    assert (code, out) == (2, "")
    assert err.startswith("usage: unlearn")


@pytest.fixture
def training(folder, saved, tmp_path):
    """The arguments that every training takes."""
    return ["--model", saved["llava"], "--data", folder, "--out", tmp_path / "out", "--tasks", "qa,caption", "-q"]


def test_finetune_and_forget_end_to_end(unlearn, training, folder, saved, tmp_path):
    fast = ["--set", "learning_rate=1e-2", "--set", "epochs=15"]
    assert unlearn("finetune", *training, *fast, "--sets", "forget10,retain90") == (0, "", "")
    forget = ["forget", "--model", tmp_path / "out", "--data", folder, "--tasks", "qa,caption", *fast]
    assert unlearn(*forget, "--method", "graddiff", "--out", tmp_path / "unlearned") == (0, "", "")
    data = RowSets.read(folder)
    known = {}
    for place in (saved["llava"], tmp_path / "out", tmp_path / "unlearned"):
        model, processor = load_model(place)
        for name in ("forget10", "retain90"):
            rows = EncodedRows(processor, data.select(name, {"qa", "caption"}))
            known[place.name, name] = float(reference_logps(model, rows, Collator(processor), batch_size=8).mean())
    assert known["out", "forget10"] > known["llava", "forget10"] + 10
    assert known["unlearned", "forget10"] < known["out", "forget10"] - 10
    assert known["unlearned", "retain90"] > known["llava", "retain90"]
    assert {path.name for path in tmp_path.iterdir()} == {"out", "unlearned"}


def test_the_command_is_silent_where_nobody_watches(training):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_HUB_DISABLE")}
    command = [
        sys.executable,
        "-c",
        "import sys; from unlearn_train.cli import main; sys.exit(main())",
        "finetune",
        *training[:-1],
        "--sets",
        "forget10",
    ]
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_a_method_s_options_and_a_template_are_read(unlearn, training, saved, tmp_path):
    text = load_model(saved["llava"])[1].chat_template.replace("USER:", "Q:")
    (tmp_path / "mine.jinja").write_text(text)
    given = [
        "--method",
        "npo",
        "--option",
        "beta=5e-1",
        "--chat-template",
        tmp_path / "mine.jinja",
        "--set",
        "epochs=0.1",
    ]
    assert unlearn("forget", *training, *given) == (0, "", "")
    assert load_model(tmp_path / "out")[1].chat_template == text


def test_transforms_and_their_options_are_read(unlearn, training, monkeypatch):
    seen = {}

    def note(model, processor, method, *sides, transforms, **others):
        seen["recipe"] = (method, transforms)
        raise KeyboardInterrupt

    monkeypatch.setattr("unlearn_train.applying.unlearn", note)
    given = ["--method", "npo+sam", "--transform", "gru", "--option", "beta=0.5", "--option", "sam.rho=0.1"]
    assert unlearn("forget", *training, *given)[0] == 130
    assert repr(seen["recipe"]) == (
        "(NPO(beta=0.5, forget_weight=1.0, retain_weight=1.0), (SAM(rho=0.1), GRU(average=0.8)))"
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--method", "nop"], "no method 'nop': did you mean 'npo'"),
        (["--method", "npo", "--option", "bet=1"], "has no option 'bet': did you mean 'beta'"),
        (["--method", "npo", "--option", "beta=-1"], "`beta` must be positive, got -1"),
        (["--method", "npo", "--option", "beta=high"], "`beta` must be a number"),
        (
            ["--method", "gru"],
            "and give this to it (`--transform gru`)",
        ),
        (["--method", "npo", "--transform", "samm"], "no method 'samm': did you mean 'sam'"),
        (["--method", "npo", "--transform", "graddiff"], "`graddiff` is no gradient transform"),
        (["--method", "npo+gru", "--option", "gru.average=2"], "`average` must be above 0 and at most 1, got 2"),
        (["--method", "manu", "--transform", "gru"], "has no gradients that GRU(average=0.8) could transform"),
        (["--method", "lat", "--option", "inner=nop"], "no method 'nop': did you mean 'npo'"),
        (["--method", "rmu"], "`layer` must be one of the model's 2 layers, from -2 to 1, got 7"),
        (["--method", "icul"], "take"),
        (["--method", "ga", "--set", "epoch=1"], "no option `epoch`; did you mean `epochs`"),
        (["--method", "ga", "--set", "epochs=many"], "`epochs` takes a number, got 'many'"),
        (["--method", "ga", "--set", "epochs"], "an option is set as NAME=VALUE"),
        (["--method", "ga", "--forget", "forget1"], "no set `forget1` in this data; did you mean `forget10`"),
        (["--method", "ga", "--tasks", "vqa"], "set `forget10` has no row of task vqa"),
        (["--method", "ga", "--data", "nowhere"], "nowhere/rows.parquet is not there"),
        (["--method", "ga", "--model", "./nowhere"], "nowhere cannot be loaded as a model (there is no such folder)"),
        (["--method", "ga", "--dtype", "int4"], "`dtype` must be one of float32"),
        (["--method", "ga", "--chat-template", "no.jinja"], "no.jinja is no file; `--chat-template` takes"),
        (["--method", "ga", "--out", "."], ". is there already; choose another folder"),
        (["--method", "ga", "--seed", "-1"], "`seed` must be in [0, 2^32), got -1"),
    ],
)
def test_bad_input_is_one_clear_line(unlearn, training, more, message, tmp_path):
    code, out, err = unlearn("forget", *training, *more)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("unlearn: ")
    assert message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["finetune", "--sets", "forget10"], ["forget", "--method", "ga"]])
def test_two_commands_never_write_to_one_place(unlearn, training, command, tmp_path):
    with exclusive(tmp_path / ".out.lock", tmp_path / "out"):
        code, out, err = unlearn(*command, *training)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert f"process {os.getpid()} on " in err and "is at work on" in err and "start again when it is done" in err
    assert unlearn(*command, *training)[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_another_command_has_finished_meanwhile_is_left(unlearn, training, tmp_path, monkeypatch):
    def load(*given, **more):
        (tmp_path / "out").mkdir()
        return load_model(*given, **more)

    monkeypatch.setattr("unlearn_train.models.load_model", load)
    code, _, err = unlearn("forget", "--method", "ga", *training)
    assert (code, [path.name for path in tmp_path.iterdir()]) == (2, ["out"])
    assert "out is there already" in err


def test_a_traceback_is_shown_on_demand(unlearn, training):
    code, _, err = unlearn("forget", *training, "--method", "nop", "--debug")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("unlearn: there is no method 'nop'")


@pytest.mark.parametrize(
    ("argv", "missing", "extra"),
    [
        (["run", "clear"], "clear_data", "data"),
        (["run", "tofu"], "unlearn_metrics", "eval"),
        (["evaluate", "--model", "m", "--data", "d", "--sets", "s", "--out", "o"], "unlearn_metrics", "eval"),
        (["report", "runs/demo"], "unlearn_metrics", "eval"),
    ],
)
def test_a_missing_extra_is_named(unlearn, monkeypatch, tmp_path, argv, missing, extra):
    monkeypatch.chdir(tmp_path)
    for name in [*sys.modules, missing]:
        if name.partition(".")[0] == missing:
            monkeypatch.setitem(sys.modules, name, None)
    if missing == "unlearn_metrics":
        import types

        monkeypatch.setitem(sys.modules, "clear_data", types.ModuleType("clear_data"))
    code, out, err = unlearn(*argv)
    assert (code, out) == (1, "")
    assert f'install it with `pip install "unlearn-train[{extra}]"`' in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("a\n  b"), 2, "unlearn: a b\n"),
        (TypeError("c"), 2, "unlearn: c\n"),
        (RuntimeError(""), 1, "unlearn: RuntimeError\n"),
        (FloatingPointError("the loss"), 1, "unlearn: the loss\n"),
        (OSError(28, "No space left on device", "x.bin"), 1, "unlearn: the disk is full (x.bin); make room"),
        (KeyboardInterrupt(), 130, "unlearn: interrupted; start it again to go on.\n"),
    ],
)
def test_every_end_has_its_exit_code(unlearn, monkeypatch, error, code, line):
    def fail(args):
        raise error

    monkeypatch.setattr("unlearn_train.commands.methods.run", fail)
    found, out, err = unlearn("methods")
    assert (found, out) == (code, "")
    assert err.startswith(line)


def resolved(*argv):
    from unlearn_train.commands.run import resolve

    return resolve(cli.build_parser().parse_args(["run", *argv]))


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "seed: 3\nunlearn: {epochs: 7, learning_rate: 1e-3}\nmethods: {npo: {beta: 5e-1}}\n"
    )
    chosen = resolved("clear", "--config", str(tmp_path / "a.yaml"), "--seed", "4", "--set", "unlearn.epochs=9")
    assert (chosen.seed, chosen.unlearn.epochs, chosen.unlearn.learning_rate) == (4, 9.0, 1e-3)
    assert chosen.methods == {"npo": {"beta": 0.5}}
    assert chosen.unlearn.batch_size == resolved("clear").unlearn.batch_size


def test_a_run_s_own_file_runs_it_again(tmp_path):
    import yaml
    from unlearn_train import options

    first = resolved("clear", "--methods", "ga,npo", "--set", "methods.npo.beta=0.3", "--subjects", "9")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"options": options.plain(first), "seeds": {}}))
    assert resolved("clear", "--config", str(tmp_path / "run.yaml")) == first


def test_folders_are_taken_as_they_are_written(tmp_path):
    assert resolved("clear", "--data", "2024", "--model", "a: b=1").data.folder == "2024"
    assert resolved("clear", "--data", "2024", "--model", "a: b=1").model.name == "a: b=1"


def test_a_checkpoint_may_have_a_template():
    assert resolved("clear", "--model", "m", "--chat-template", "a.jinja").model.chat_template == "a.jinja"
    with pytest.raises(ValueError, match="model: `chat_template` is for a checkpoint"):
        resolved("clear", "--chat-template", "a.jinja")


@pytest.mark.parametrize("benchmark", ["clear", "tofu"])
def test_defaults_are_gentler_with_a_checkpoint(benchmark):
    embedded, checkpoint = resolved(benchmark), resolved(benchmark, "--model", "m")
    assert checkpoint.finetune.learning_rate < embedded.finetune.learning_rate
    assert checkpoint.methods.keys() == embedded.methods.keys()
