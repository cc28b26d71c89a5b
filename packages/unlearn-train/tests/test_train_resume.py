"""A training that is killed and started again ends in the weights of one that was not."""

import copy
import json
import os
import random
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.serialization import safe_globals
from unlearn_train import cli
from unlearn_train.checkpoints import DATA_ALONE, MARK, WEIGHTS, Checkpoint, _processor_digest, data_alone
from unlearn_train.safety import FiniteSteps

KILLED = Path(__file__).with_name("killed.py")
STEPS = {"epochs": 5, "batch_size": 2, "learning_rate": 1e-3, "save_every": 3}
"""10 steps of unlearning, 10 or 20 of finetuning"""
CASES = {
    "finetuned": {"method": None, "accumulation": 2},
    "with an adapter that drops out": {"method": None, "lora": {"rank": 2, "dropout": 0.3}, "seed": 3},
    "by npo": {"method": "npo"},
    "by npo with adapters": {"method": "npo", "lora": {"rank": 2}, "lora_l1": 0.1},
    "by scrub, which alternates": {"method": "scrub"},
    "by pdu, with a dual variable": {"method": "pdu"},
    "through a transform": {"method": "graddiff", "transforms": ["gru"]},
    "through a mask": {"method": "graddiff", "transforms": ["salun"]},
    "while a checkpoint was written": {"method": "npo", "writing": True},
    "as an edit, which trains first": {"method": "task_arithmetic"},
    "with images": {"method": "npo", "model": "llava"},
}


@pytest.fixture(scope="module")
def train():
    return runpy.run_path(str(KILLED))["train"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory, saved, folder):
    """The cases, after each was killed at a random step."""
    home, chance, cases = tmp_path_factory.mktemp("killed"), random.Random(), {}
    for name, given in CASES.items():
        case = {"name": name, "data": str(folder), "model": str(saved[given.get("model", "llama")])}
        case |= {key: given[key] for key in ("method", "transforms", "writing") if key in given}
        case["train"] = {key: given[key] for key in ("accumulation", "lora", "lora_l1", "seed") if key in given} | STEPS
        case["tasks"] = ["qa", "caption"] if "model" in given else ["qa"]
        case["step"] = chance.randrange(4, 9)
        case |= {"out": str(home / name / "model"), "resume": str(home / name / "training")}
        cases[name] = case
    (home / "cases.json").write_text(json.dumps(list(cases.values())))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, KILLED, home / "cases.json"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return cases


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", CASES)
def test_a_killed_training_ends_like_one_that_was_not(killed, train, name, tmp_path, capsys):
    case = {**killed[name], "quiet": False}
    assert not Path(case["out"]).exists()
    log = train(case, tmp_path / "resumed", Path(case["resume"]))
    # Killed while it was written, a checkpoint is of no use.
    done = -(-case["step"] // 3) * 3 - 3 if case.get("writing") else case["step"] // 3 * 3
    assert f"going on from step {done}, " in capsys.readouterr().err
    whole = train({**case, "quiet": True}, tmp_path / "whole")
    found, wanted = (load_file(tmp_path / name / "model.safetensors") for name in ("resumed", "whole"))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[each], wanted[each]) for each in wanted), f"killed at step {case['step']}"
    assert log[-1].keys() == whole[-1].keys()


@pytest.fixture
def case(saved, folder):
    return {"model": str(saved["llama"]), "data": str(folder), "tasks": ["qa"], "method": "npo", "train": dict(STEPS)}


@pytest.fixture
def interrupt(monkeypatch):
    """Has the next training be interrupted at step 8, after the checkpoints at 3 and 6, and none after it."""

    def arm():
        look = FiniteSteps.on_pre_optimizer_step

        def looked(self, args, state, control, **parts):
            look(self, args, state, control, **parts)
            if state.global_step == 8:
                monkeypatch.undo()
                raise KeyboardInterrupt

        monkeypatch.setattr(FiniteSteps, "on_pre_optimizer_step", looked)

    return arm


@pytest.fixture
def cut_off(case, train, interrupt, tmp_path):
    """The folder of a training that was interrupted."""
    interrupt()
    with pytest.raises(KeyboardInterrupt):
        train(case, tmp_path / "never", tmp_path / "training")
    found = tmp_path / "training" / "checkpoints1"
    assert {path.name for path in found.glob("checkpoint-*")} == {"checkpoint-3", "checkpoint-6"}
    return found


@pytest.fixture
def go_on(case, train, cut_off, tmp_path, capsys, caplog):
    """Goes on, with other options where these are given: what is said, and whether it ends like a whole training."""

    def go(**more):
        told = {**case, **more, "quiet": False}
        train(told, tmp_path / "resumed", cut_off.parent)
        said = capsys.readouterr().err.splitlines()[0] + " ".join(record.message for record in caplog.records)
        train({**told, "quiet": True}, tmp_path / "whole")
        found, wanted = (load_file(tmp_path / name / "model.safetensors") for name in ("resumed", "whole"))
        return said, all(torch.equal(found[each], wanted[each]) for each in wanted)

    return go


def test_the_last_checkpoint_is_gone_on_from(go_on):
    said, equal = go_on()
    assert equal and "going on from step 6, " in said


def cut_short(path):
    path.write_bytes(path.read_bytes()[:100])


def overwrite(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "spoil", "says"),
    [
        ("optimizer.pt", cut_short, "(optimizer.pt is corrupt)"),
        (WEIGHTS, overwrite, f"({WEIGHTS} is corrupt)"),
        ("rng_state.pth", Path.unlink, "(rng_state.pth is missing)"),
        (MARK, Path.unlink, "(it was cut off while it was written)"),
        (MARK, cut_short, f"({MARK} cannot be read: "),
    ],
)
def test_a_spoilt_checkpoint_is_passed_over_for_the_one_before(cut_off, go_on, name, spoil, says):
    spoil(cut_off / "checkpoint-6" / name)
    said, equal = go_on()
    assert equal
    assert "checkpoint-6 is not whole " + says in said and "and is passed over." in said
    assert "going on from step 3, " in said


def test_where_no_checkpoint_is_whole_a_training_begins_anew(cut_off, go_on):
    for path in cut_off.glob("checkpoint-*"):
        (path / MARK).unlink()
    said, equal = go_on()
    assert equal and said.count("is passed over") == 2 and "going on" not in said


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"train": {**STEPS, "learning_rate": 1e-2}}, "of another training, whose `learning_rate` is not the same"),
        ({"train": {**STEPS, "lora": {}, "seed": 3}}, "whose `lora` and `seed` are not the same"),
        ({"tasks": ["qa", "mcq"]}, "whose forget rows and retain rows are not the same"),
        ({"method": "simnpo"}, "whose method is not the same"),
    ],
)
def test_another_training_begins_anew(go_on, more, says):
    said, equal = go_on(**more)
    assert equal and says in said and "this one begins anew." in said and "going on" not in said


def test_another_model_begins_anew(cut_off, go_on, saved, tmp_path):
    from unlearn_train.models import load_model, save_model

    model, processor = load_model(saved["llama"])
    next(model.parameters()).data[0, 0] += 1
    save_model(model, processor, tmp_path / "other")
    said, equal = go_on(model=str(tmp_path / "other"))
    assert equal and "whose model is not the same" in said


def test_a_processor_is_known_by_its_words_and_by_what_it_does_to_images(llava):
    processor = copy.deepcopy(llava[1])
    found = [_processor_digest(processor)]
    processor.image_processor.image_mean = [0.1, 0.1, 0.1]
    found.append(_processor_digest(processor))
    processor.tokenizer.add_tokens(["zyzzyva"])
    found.append(_processor_digest(processor))
    assert len(set(found)) == 3
    assert _processor_digest(copy.deepcopy(processor)) == found[-1]


def test_a_record_that_cannot_be_read_begins_anew(cut_off, go_on):
    cut_short(cut_off / "about.json")
    (cut_off / "about.json").write_text("[")
    said, equal = go_on()
    assert equal and "whose record is not the same" in said


@pytest.mark.parametrize("more", [{"save_every": 0.5}, {"report_to": ["none"]}])
def test_what_changes_no_result_may_change(go_on, more):
    said, equal = go_on(train={**STEPS, **more})
    assert equal and "going on from step 6, " in said


def test_no_pickle_is_run(cut_off, case, train, tmp_path):
    """An optimizer that would make a file if it were unpickled, in a checkpoint that says that it is whole."""

    class Runs:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'ran'}",))

    for path in cut_off.glob("checkpoint-*"):
        carried = Checkpoint(path).carried
        torch.save({"state": Runs()}, path / "optimizer.pt")
        Checkpoint(path).mark(carried)
    with safe_globals([]), pytest.raises(Exception, match="Weights only load failed"):
        train(case, tmp_path / "resumed", cut_off.parent)
    assert not (tmp_path / "ran").exists()


def test_no_pickle_is_run_whoever_reads_it(tmp_path):
    class Runs:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'ran'}",))

    torch.save(Runs(), tmp_path / "file")
    with data_alone(), pytest.raises(Exception, match="Weights only load failed"):
        torch.load(tmp_path / "file", weights_only=False)
    assert not (tmp_path / "ran").exists()
    assert DATA_ALONE not in os.environ


def test_no_checkpoint_is_written_where_none_is_asked_for(case, train, tmp_path):
    case["train"]["save_every"] = 0
    train(case, tmp_path / "model", tmp_path / "training")
    assert not list(tmp_path.glob("training/*/checkpoint-*"))


def test_a_full_disk_is_named(case, train, tmp_path, monkeypatch):
    from unlearn_train import checkpoints

    def fails(*args, **options):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(RuntimeError, match="PytorchStreamWriter"):
        train(case, tmp_path / "model", tmp_path / "training")
    monkeypatch.setattr(checkpoints, "ROOM", 2**80)
    with pytest.raises(OSError, match="No space left on device"):
        train(case, tmp_path / "model", tmp_path / "training")


@pytest.fixture
def command(saved, folder, tmp_path):
    options = [f"--set={name}={value}" for name, value in STEPS.items()]
    sets = ["--sets", "forget10,retain90"]
    where = ["--model", str(saved["llama"]), "--data", str(folder), "--out", str(tmp_path / "out"), "--tasks", "qa"]
    return {
        "finetune": ["finetune", *sets, *where, *options],
        "forget": ["forget", "--method", "npo", *where, *options],
    }


@pytest.mark.parametrize("name", ["finetune", "forget"])
@pytest.mark.parametrize("resume", [True, False])
def test_a_command_goes_on_by_itself(command, interrupt, name, resume, tmp_path, monkeypatch):
    from unlearn_train.checkpoints import Checkpoints

    found, look = [], Checkpoints.last
    interrupt()
    assert cli.main(command[name]) == 130
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(Checkpoints, "last", lambda self: found.append(look(self)) or found[-1])
    assert cli.main([*command[name], *([] if resume else ["--no-resume"])]) == 0
    assert [one and one.folder.name for one in found] == ["checkpoint-6" if resume else None]
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out"]
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()]


def test_a_stage_goes_on_and_leaves_no_checkpoints(saved, folder, interrupt, tmp_path, monkeypatch):
    from unlearn_train.checkpoints import Checkpoints
    from unlearn_train.experiment import Experiment
    from unlearn_train.settings import DataOptions, ModelOptions, TrainOptions
    from unlearn_train.stages import Run
    from unlearn_train.workflow import plan

    experiment = Experiment(
        benchmark="clear",
        tasks=("qa",),
        data=DataOptions(folder=str(folder)),
        model=ModelOptions(name=str(saved["llama"])),
        finetune=TrainOptions(**STEPS),
        unlearn=TrainOptions(**STEPS),
        methods={"npo": {}},
    )
    run, stages = Run(tmp_path, quiet=True), plan(experiment, tmp_path, quiet=True)[:5]
    found, look = [], Checkpoints.last
    for _ in range(2):
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            run.make(stages)
    monkeypatch.setattr(Checkpoints, "last", lambda self: found.append(look(self)) or found[-1])
    run.make(stages)
    assert found[0].folder.name == "checkpoint-6"
    assert not [path for path in tmp_path.rglob("*") if path.name in ("training", "key") or path.name.startswith(".")]
