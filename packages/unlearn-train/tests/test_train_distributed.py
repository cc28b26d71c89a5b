"""The same training in one process and in two that share it, by themselves and with DeepSpeed.

Two processes are started once, as this file's own command, and run every case.
"""

import gc
import itertools
import math
import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

ROWS = 77  # the last of the 20 steps has one row, so one of the two processes has none
STEPS, BATCH = 20, 4
METHODS = {"graddiff": {}, "kl": {}, "npo": {}, "dpo": {}, "rmu": {"layer": 1}}
TABLE = list(itertools.product(("llama", "llava"), METHODS, ("zero1", "zero2", "zero3")))
LORA = list(itertools.product(("llava",), ("kl", "npo"), ("lora zero2", "lora zero3")))
FURTHER = [
    ("llava", "finetune", ""),
    ("llava", "finetune", "zero2"),
    ("llava", "finetune", "zero3"),
    ("llava", "npo", ""),
    ("llama", "npo", "zero2-offload"),
    ("llama", "npo", "zero3-offload"),
]
CASES = [*TABLE, *LORA, *FURTHER]
WATCHED = ["", "zero2", "zero3", "lora zero2"]


def trained(kind, method, how, models, data):
    """The log of a training and the weights after it."""
    from unlearn_core import build_method
    from unlearn_train.data import RowSets
    from unlearn_train.models import load_model
    from unlearn_train.settings import LoraOptions, TrainOptions
    from unlearn_train.training import finetune
    from unlearn_train.unlearning import forget

    model, processor = load_model(Path(models) / kind)
    sets = RowSets.read(Path(data))
    tasks = {"qa", "caption"} if kind == "llava" else {"qa"}
    sides = [sets.select(name, tasks) for name in ("forget10", "retain90")]
    met = sum(map(len, sides)) if method == "finetune" else len(sides[0])
    options = TrainOptions(
        epochs=ROWS / met,
        batch_size=BATCH,
        learning_rate=3e-4,
        weight_decay=0.01,
        lora=LoraOptions(rank=4) if "lora" in how else None,
        deepspeed=how.removeprefix("lora").strip() or None,
    )
    if method == "finetune":
        log = finetune(model, processor, [*sides[0], *sides[1]], options, quiet=True)
    else:
        log = forget(model, processor, build_method(method, **METHODS[method]), *sides, options, quiet=True)
    return log, {name: weight.clone() for name, weight in model.state_dict().items()}


def watched(how, models, data, resume=None):
    """The log of a training that ends below the floor, and what the model knows after it of the rows to forget."""
    from unlearn_core import build_method
    from unlearn_train.data import RowSets
    from unlearn_train.models import load_model
    from unlearn_train.settings import LoraOptions, TrainOptions, WatchOptions
    from unlearn_train.unlearning import forget
    from unlearn_train.watching import answer_probability

    model, processor = load_model(Path(models) / "llama")
    sets = RowSets.read(Path(data))
    sides = [sets.select(name, {"qa"}) for name in ("forget10", "retain90")]
    options = TrainOptions(
        epochs=8,
        batch_size=BATCH,
        learning_rate=1e-2 if "lora" in how else 2e-2,
        schedule="constant",
        warmup=0.0,
        lora=LoraOptions(rank=4) if "lora" in how else None,
        deepspeed=how.removeprefix("lora").strip() or None,
        watch=WatchOptions(every=0.1, level=0.0, floor=0.985 if "lora" in how else 0.5),
    )
    log = forget(model, processor, build_method("ga"), *sides, options, resume=resume, quiet=True)
    return log, answer_probability(model, processor, sides[0], options)


def main(models, data, out):
    """What each of the two processes does; the first writes what came of it."""
    from unlearn_train import launching
    from unlearn_train.zero import asks_for_deepspeed

    launching.join()
    gc.freeze()  # else what was imported is looked through after every training
    for case in CASES:
        found = trained(*case, models, data)
        if launching.rank() == 0:
            torch.save(found, Path(out) / "-".join(case))
        assert not asks_for_deepspeed(None), "the next training would use it too"
    for how in WATCHED:
        found = watched(how, models, data, Path(out) / "checkpoints" if "lora" in how else None)
        if launching.rank() == 0:
            torch.save(found, Path(out) / f"watched-{how}")
    launching.leave()


@pytest.fixture(scope="module")
def together(saved, folder, tmp_path_factory):
    """Where the two processes leave what came of every case; and alone, what comes of it in this one."""
    if find_spec("deepspeed") is None:
        pytest.skip("needs the extra [deepspeed]")
    out = tmp_path_factory.mktemp("together")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, __file__, str(saved["llava"].parent), str(folder), str(out)]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    started = []
    for rank in range(2):
        environment = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        with (out / f"{rank}.log").open("w") as log:
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
    alone = {}
    for kind, method, how in CASES:
        case = (kind, method, "lora" if "lora" in how else "")
        if case not in alone:
            alone[case] = trained(*case, *command[2:4])
    codes = [process.wait(timeout=3000) for process in started]
    assert codes == [0, 0], "\n".join((out / f"{rank}.log").read_text()[-3000:] for rank in range(2))
    return out, alone


@pytest.mark.parametrize(("kind", "method", "how"), CASES)
def test_two_processes_train_as_one(kind, method, how, together, saved):
    from unlearn_train.models import load_model

    out, alone = together
    log, weights = torch.load(out / "-".join([kind, method, how]))
    expected_log, expected = alone[kind, method, "lora" if "lora" in how else ""]
    assert len(log) == len(expected_log) == STEPS
    for found, wanted in zip(log, expected_log, strict=True):
        terms = [name for name in wanted if name.endswith("_loss")]
        for name in terms:
            assert found[name] == pytest.approx(wanted[name], rel=1e-4, abs=1e-6)
        # the two terms may all but cancel out
        scale = max(abs(wanted[name]) for name in ["loss", *terms])
        assert found["loss"] == pytest.approx(wanted["loss"], abs=1e-4 * scale)
        assert found["learning_rate"] == pytest.approx(wanted["learning_rate"], rel=1e-9)
        assert found["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=1e-3)
    start = load_model(saved[kind])[0].state_dict()
    assert weights.keys() == expected.keys() == start.keys()
    assert max(float((weights[name] - expected[name]).abs().max()) for name in weights) < 1e-4
    assert max(float((weights[name] - start[name]).abs().max()) for name in weights) > 1e-3


@pytest.mark.parametrize("how", WATCHED)
def test_two_processes_keep_the_best_state(how, together):
    out, _ = together
    log, known = torch.load(out / f"watched-{how}")
    looks = [look for look in log if "eval_score" in look]
    best = max(looks, key=lambda look: look["eval_score"])
    assert looks[-1]["eval_score"] == -math.inf < best["eval_score"]
    assert known == pytest.approx(best["eval_forget_probability"], rel=5e-4)
    others = [look["eval_forget_probability"] for look in looks if look is not best]
    assert all(other != pytest.approx(known, rel=2e-3) for other in others), "it can be told from the others"


def test_a_checkpoint_holds_no_weights_that_are_not_trained(together):
    states = list((together[0] / "checkpoints").rglob("*model_states.pt"))
    assert states
    for path in states:
        found = torch.load(path, weights_only=False)
        tied = {"lm_head.weight"}  # DeepSpeed goes by names, and the embedding has two
        assert {name for name in found["module"] if "lora_" not in name} == tied < found["module"].keys()
        assert not found.get("frozen_param_fragments")


if __name__ == "__main__":
    main(*sys.argv[1:])
