import json
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch
from unlearn_metrics import Evidence
from unlearn_metrics.scoring import collect_evidence, generate, score
from unlearn_metrics.scoring._note import model_hash, tokenizer_hash


def test_evidence_holds_scores_and_generations_of_every_set(models, make_rows, tmp_path):
    model, processor = models["llava"]
    rows = make_rows(9, images=True)
    sets = {"forget10": iter(rows[:5]), "retain90": rows[5:]}
    evidence = collect_evidence(model, processor, sets, max_new_tokens=3, info={"state": "target"})
    assert evidence.scores.slice(0, 5) == score(model, processor, rows[:5], set_name="forget10").slice(0, 5)
    wanted = generate(model, processor, rows[5:], set_name="retain90", max_new_tokens=3)
    assert evidence.generations.slice(evidence.generations.num_rows - wanted.num_rows) == wanted
    evidence.write(tmp_path)
    read = Evidence.read(tmp_path)
    assert read.scores == evidence.scores
    assert read.info == evidence.info


def test_note_says_how_the_evidence_came_about(models, make_rows):
    model, processor = models["llama"]
    info = collect_evidence(model, processor, {"a": make_rows(3)}, max_new_tokens=2, info={"state": "target"}).info
    assert info["model"] == {"class": "LlamaForCausalLM", "type": "llama", "sha256": model_hash(model)}
    assert info["template"] == processor.chat_template
    assert info["decoding"] == {"method": "greedy", "max_new_tokens": 2}
    assert (info["dtype"], info["device"], info["state"]) == ("float32", "cpu", "target")
    assert info["sets"] == {"a": 3}
    assert info["versions"]["torch"] == torch.__version__
    assert info["seconds"] > 0
    assert info["peak_memory_bytes"]["process"] > 2**20
    json.dumps(info)


def test_model_hash_sees_every_weight(models):
    model, _ = models["llama"]
    before = model_hash(model)
    weight = model.model.layers[1].mlp.up_proj.weight
    with torch.no_grad():
        kept = weight[3, 3].item()
        weight[3, 3] += 1e-6
        assert model_hash(model) != before
        weight[3, 3] = kept
    assert model_hash(model) == before


def test_tokenizer_hash_ignores_use(make_tokenizer):
    tokenizer = make_tokenizer()
    before = tokenizer_hash(tokenizer)
    tokenizer(["a", "a longer text"], padding=True, truncation=True, max_length=3)
    assert tokenizer_hash(tokenizer) == before == tokenizer_hash(make_tokenizer())
    assert tokenizer_hash(make_tokenizer(special=["<new>"])) != before
    assert tokenizer_hash(make_tokenizer(pad_token="</s>")) != before


def test_low_precision_runs(models, make_rows):
    model, processor = models["llama"]
    exact = collect_evidence(model, processor, {"a": make_rows(4)}, max_new_tokens=2)
    try:
        rough = collect_evidence(model.bfloat16(), processor, {"a": make_rows(4)}, max_new_tokens=2)
    finally:
        model.float()
    assert rough.info["dtype"] == "bfloat16"
    for one, other in zip(exact.scores["logp"].to_pylist(), rough.scores["logp"].to_pylist(), strict=True):
        assert one == pytest.approx(other, abs=0.5)


def test_progress_is_shown_on_a_terminal_alone(models, make_rows, capsys, monkeypatch):
    model, processor = models["llama"]
    collect_evidence(model, processor, {"a": make_rows(2)}, max_new_tokens=2)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    collect_evidence(model, processor, {"a": make_rows(2)}, max_new_tokens=2)
    shown = capsys.readouterr().err
    assert "scoring" in shown
    assert "generating" in shown
    collect_evidence(model, processor, {"a": make_rows(2)}, max_new_tokens=2, progress=False)
    assert capsys.readouterr().err == ""


def test_bad_input(models, make_rows):
    model, processor = models["llama"]
    with pytest.raises(ValueError, match="there is no set"):
        collect_evidence(model, processor, {})
    with pytest.raises(ValueError, match="set `retain90` has no rows"):
        collect_evidence(model, processor, {"forget10": make_rows(1), "retain90": []})
    with pytest.raises(ValueError, match="set `a`: row s0/qa/0: an answer"):
        collect_evidence(model, processor, {"a": [{**make_rows(1)[0], "answer": ""}]})


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere a process has no parent's peak")
def test_the_peak_of_memory_is_the_process_s_own():
    held = np.ones(2**27)  # 1 GiB, far more than the imports below take
    text = "from unlearn_metrics.scoring._memory import peak_memory; print(peak_memory()['process'])"
    said = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
    assert 2**24 < int(said) < held.nbytes


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries keep what is freed in other ways")
def test_freed_memory_is_not_asked_for_again():
    text = """
import resource, torch
from unlearn_metrics.scoring._memory import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        blocks = [torch.ones(220_000) for _ in range(12)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
first = faults()
keep_freed_memory(torch.device("cpu"))
print(first, faults())
"""
    said = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
    without, kept = map(int, said.split())
    assert kept < without / 5
