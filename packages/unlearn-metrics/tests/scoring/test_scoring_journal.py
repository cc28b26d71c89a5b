"""Runs that are cut off, that are shared among processes, and that leave more than scores behind."""

import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from unlearn_metrics import Evidence, compute
from unlearn_metrics.scoring import _journal, collect_evidence, score
from unlearn_metrics.scoring._forward import Forward
from unlearn_metrics.scoring._processes import Processes

FLOATS = ("logp", "mean", "std", "ref_logp")
#: What a process of its own runs: it makes evidence, and dies after so many batches if it is told to.
SCRIPT = """
import os, pickle, sys
from pathlib import Path
from unlearn_metrics.scoring import _journal, collect_evidence, load_model
from unlearn_metrics.scoring._forward import Forward
from unlearn_metrics.scoring._decoding import Decoder

out, models, rows, dies_after, distributed = sys.argv[1:]
_journal._SECONDS = 0.0
left = int(dies_after)


def counted(work):
    def do(*args):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
        return work(*args)
    return do


Forward.score, Decoder.__call__ = counted(Forward.score), counted(Decoder.__call__)
model, processor = load_model(models)
collect_evidence(
    model, processor, pickle.loads(Path(rows).read_bytes()), max_new_tokens=4, token_budget=1,
    folder=out, distributed=bool(int(distributed)),
)
"""


@pytest.fixture(scope="module")
def prepared(models, tmp_path_factory):
    """The script, a model's folder, pickled rows, and the evidence of a quiet run."""
    import pickle

    folder = tmp_path_factory.mktemp("prepared")
    model, processor = models["llava"]
    for part in (model, processor):
        part.save_pretrained(folder / "model")
    sets = {"forget10": some_rows(6), "retain90": some_rows(9)[6:]}
    (folder / "rows").write_bytes(pickle.dumps(sets))
    (folder / "script.py").write_text(SCRIPT)
    quiet = collect_evidence(model, processor, sets, max_new_tokens=4, token_budget=150)
    return folder, quiet


def some_rows(count):
    from PIL import Image

    images = [Image.fromarray(np.full((20, 24, 3), shade, np.uint8)) for shade in (60, 200)]
    return [
        {
            "id": f"s{n // 3}/qa/{n}",
            "subject": f"s{n // 3}",
            "task": "qa",
            "options": None,
            "keywords": ["Oslo"],
            "question": "Who" + " really" * (n % 4) + f" is {n}?",
            "answer": f"Number {n} from Oslo.",
            "image": images[n % 2] if n % 3 else None,
            "paraphrased_question": None,
            "paraphrased_answer": f"It is {n}.",
            "perturbed_answers": [f"Number {n + k} from Lima." for k in (1, 2)],
        }
        for n in range(count)
    ]


def run(prepared, out, *, dies_after=0, processes=1):
    folder, _ = prepared
    launcher = [sys.executable]
    if processes > 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        launcher += ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", f"--master-port={port}"]
    arguments = [folder / "script.py", out, folder / "model", folder / "rows", dies_after, int(processes > 1)]
    command = [*launcher, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def assert_same(got, wanted):
    assert got.generations == wanted.generations
    assert got.scores.schema == wanted.scores.schema
    for one, other in zip(got.scores.to_pylist(), wanted.scores.to_pylist(), strict=True):
        for name in one:
            if name in FLOATS:
                np.testing.assert_allclose(one[name], other[name], rtol=0, atol=1e-5)
            else:
                assert one[name] == other[name]


def test_two_processes_give_what_one_gives(prepared, tmp_path):
    done = run(prepared, tmp_path / "out", processes=2)
    assert done.returncode == 0, done.stderr
    evidence = Evidence.read(tmp_path / "out")
    assert_same(evidence, prepared[1])
    assert evidence.info["processes"] == 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "evidence.json",
        "generations.parquet",
        "scores.parquet",
    }


def test_a_run_killed_five_times_gives_what_a_quiet_one_gives(prepared, tmp_path):
    for deaths in range(5):
        killed = run(prepared, tmp_path / "out", dies_after=4)
        assert killed.returncode == -9, killed.stderr
        assert ("going on where an earlier run stopped" in killed.stderr) == (deaths > 0)
    assert not (tmp_path / "out" / "evidence.json").exists()
    done = run(prepared, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert_same(Evidence.read(tmp_path / "out"), prepared[1])


class CutOffError(Exception):
    pass


def cut_after(monkeypatch, batches):
    """Makes scoring fail after so many batches; returns how many answers were scored by then."""
    scored, work = [], Forward.score

    def score_some(self, batch):
        if len(scored) == batches:
            raise CutOffError
        scored.append(len(batch.flat()))
        return work(self, batch)

    monkeypatch.setattr(Forward, "score", score_some)
    return scored


def test_what_was_done_is_kept_and_not_done_again(models, make_rows, tmp_path, monkeypatch, caplog):
    model, processor = models["llama"]
    options = {"sets": {"a": make_rows(9)}, "max_new_tokens": 2, "token_budget": 150, "folder": tmp_path / "out"}
    with monkeypatch.context() as patch:
        before = cut_after(patch, 3)
        with pytest.raises(CutOffError):
            collect_evidence(model, processor, **options)
    assert not (tmp_path / "out" / "evidence.json").exists()
    assert set(json.loads((tmp_path / "out" / ".unfinished" / "manifest.json").read_text())) == {"inputs"}
    with monkeypatch.context() as patch:
        after = cut_after(patch, 10**6)
        evidence = collect_evidence(model, processor, **options)
    assert sum(before) + sum(after) == evidence.info["distinct"]["answers"]
    assert "going on where an earlier run stopped" in caplog.text
    assert_same(evidence, collect_evidence(model, processor, **options | {"folder": None}))
    assert not (tmp_path / "out" / ".unfinished").exists()
    monkeypatch.setattr(Forward, "score", None)
    assert collect_evidence(model, processor, **options).info == evidence.info, "there was nothing left to do"


@pytest.mark.parametrize(("seconds", "shards"), [(0.0, 3), (60.0, 1)])
def test_shards_hold_what_came_before_a_failure(tmp_path, monkeypatch, seconds, shards):
    """One that a kill left without its name is written anew."""
    monkeypatch.setattr(_journal, "_SECONDS", seconds)
    schema = pa.schema([("number", pa.int64()), ("text", pa.string())])

    def results():
        for numbers in ([3, 0], [2], [1]):
            yield pa.table([numbers, [f"answer {n}" for n in numbers]], schema=schema)
        raise CutOffError

    journal = _journal.Journal(tmp_path, {"model": "a"}, Processes())
    (tmp_path / ".unfinished" / "scoring-0-000000.partial").write_bytes(b"cut off")
    with pytest.raises(CutOffError):
        journal.record("scoring", results())
    journal.record("scoring", iter([]))
    assert sorted(path.suffix for path in (tmp_path / ".unfinished").iterdir()) == [".arrow"] * shards + [".json"]
    assert journal.done("scoring") == {0, 1, 2, 3}
    assert journal.table("scoring", schema, [0, 1, 2, 3])["text"].to_pylist() == [f"answer {n}" for n in range(4)]


def test_changed_inputs_start_afresh_and_say_so(models, make_rows, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    model, processor = models["llama"]
    options = {"max_new_tokens": 2, "token_budget": 150, "folder": tmp_path / "out"}
    with monkeypatch.context() as patch:
        cut_after(patch, 3)
        with pytest.raises(CutOffError):
            collect_evidence(model, processor, {"a": make_rows(9)}, **options)
    evidence = collect_evidence(model, processor, {"a": make_rows(8)}, **options)
    assert "starting afresh, as an earlier run had other inputs (data)" in caplog.text
    assert_same(evidence, collect_evidence(model, processor, {"a": make_rows(8)}, max_new_tokens=2))
    other = collect_evidence(model, processor, {"a": make_rows(8)}, **options | {"max_new_tokens": 3})
    assert other.info["decoding"]["max_new_tokens"] == 3


def test_reference_and_gradients_become_columns(models, make_rows):
    import copy

    import torch

    model, processor = models["llama"]
    torch.manual_seed(1)
    reference = copy.deepcopy(model)
    with torch.no_grad():
        for weight in reference.parameters():
            weight.mul_(1.1)
    rows = make_rows(5)
    sets = {"forget10": rows[:3], "holdout": rows[3:]}
    evidence = collect_evidence(
        model, processor, sets, max_new_tokens=2, reference=reference, with_gradients=True, info={"by": "test"}
    )
    wanted = score(reference, processor, rows, set_name="a")
    for got, logp in zip(evidence.scores["ref_logp"].to_pylist(), wanted["logp"].to_pylist(), strict=True):
        np.testing.assert_allclose(got, logp, atol=1e-5)
    for one in evidence.scores.to_pylist():
        if one["kind"] != "answer":
            assert one["grad_norm"] is None
            continue
        row = next(row for row in rows if row["id"] == one["id"])
        ids = torch.tensor([processor(f"<s>USER: {row['question']} ASSISTANT: {row['answer']}</s>")["input_ids"]])
        labels = torch.cat([torch.full((1, ids.shape[1] - len(one["tokens"])), -100), torch.tensor([one["tokens"]])], 1)
        model.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        norm = sum(float(weight.grad.square().sum()) for weight in model.parameters() if weight.grad is not None) ** 0.5
        assert one["grad_norm"] == pytest.approx(norm, rel=1e-4)
    model.zero_grad()
    assert {"grad_norm_auc", "reference_auc"} <= set(compute(evidence)["summary"])


def test_frozen_weights_count_and_stay_frozen(models, make_rows):
    model, processor = models["gpt2"]
    free = collect_evidence(model, processor, {"a": make_rows(1)}, max_new_tokens=1, with_gradients=True)
    model.requires_grad_(False)
    try:
        frozen = collect_evidence(model, processor, {"a": make_rows(1)}, max_new_tokens=1, with_gradients=True)
        assert not any(weight.requires_grad for weight in model.parameters())
    finally:
        model.requires_grad_(True)
    assert frozen.scores["grad_norm"] == free.scores["grad_norm"]


def test_shares_are_disjoint_and_complete():
    work = list(range(11))
    shares = [Processes(rank, 3).share(work) for rank in range(3)]
    assert sorted(number for share in shares for number in share) == work
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert Processes().gather("mine") == ["mine"]


def test_several_processes_need_a_folder(models, make_rows, monkeypatch):
    model, processor = models["llama"]
    monkeypatch.setattr("unlearn_metrics.scoring._collect.launched", lambda: Processes(0, 2))
    with pytest.raises(ValueError, match="several processes need a `folder`"):
        collect_evidence(model, processor, {"a": make_rows(1)}, distributed=True)


def test_tables_of_tofu_and_clear_need_no_model(models, tmp_path):
    """All that two benchmarks report comes from one scoring run, in a process that has neither model nor torch."""
    model, processor = models["llava"]
    rows = some_rows(24)
    names = ("forget10", "retain90", "real_authors", "world_facts", "real_faces", "real_world")
    sets = {name: rows[4 * n : 4 * n + 4] for n, name in enumerate(names)}
    for kind, change in {"unlearned": 0.0, "retrained": 1.0}.items():
        collect_evidence(model, processor, sets, max_new_tokens=3, folder=tmp_path / kind)
        assert sum(path.suffix == ".safetensors" for path in Path(tmp_path).rglob("*")) == 0, change
    code = f"""
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
from unlearn_metrics import Evidence, compute
for benchmark in ("tofu", "clear"):
    found = compute(Evidence.read({str(tmp_path / "unlearned")!r}), Evidence.read({str(tmp_path / "retrained")!r}),
                    benchmark=benchmark)
    assert not found["missing"], (benchmark, found["missing"])
    print(benchmark, sorted(found["summary"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "model_utility" in done.stdout
    assert "clear_forget" in done.stdout
