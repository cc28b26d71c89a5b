"""Whole experiments, small: from data to report, again, after kills, and on another benchmark's files."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("clear_data")
pytest.importorskip("unlearn_metrics.scoring", reason='needs the extra: pip install "unlearn-metrics[score]"')
pytest.importorskip("matplotlib", reason='needs the extra: pip install "unlearn-metrics[report]"')

from PIL import Image
from unlearn_train.cli import main

SMALL = {
    "data.subjects": 4,
    "data.questions": 2,
    "data.images": 2,
    "data.holdout": 1,
    "data.figures": 1,
    "data.scenes": 2,
    "data.size": 32,
    "model.tiny.hidden": 32,
    "model.tiny.layers": 1,
    "model.tiny.vision_hidden": 32,
    "model.tiny.vision_layers": 1,
    "model.tiny.image_size": 32,
    "pretrain.epochs": 1,
    "finetune.epochs": 1,
    "unlearn.epochs": 1,
    "evaluate.rows": 12,
    "evaluate.max_new_tokens": 8,
}
STATES = ["pretrained", "target", "retrained", "ga", "npo"]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six persons, each of a color of their own."""
    folder = tmp_path_factory.mktemp("faces")
    for person in range(6):
        (folder / f"person{person}").mkdir()
        for number in range(2):
            color = (40 * person, 30 * number + 60, 255 - 40 * person)
            Image.new("RGB", (32, 32), color).save(folder / f"person{person}" / f"{number}.png")
    return folder


def command(faces: Path, runs: Path, *more: str) -> list[str]:
    settings = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]
    return ["run", "clear", "--runs", str(runs), "--faces", str(faces), "--methods", "ga,npo", *settings, *more]


@pytest.fixture(scope="module")
def finished(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    assert main(command(faces, runs)) == 0
    return runs / "clear"


def numbers(folder: Path) -> dict[str, object]:
    """What `results.json` holds, times and memory aside."""
    results = json.loads((folder / "results.json").read_text())
    results["run"].pop("stages")
    return results


def test_a_run_leaves_everything_that_its_layout_promises(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    assert list(results["states"]) == list(results["summary"]) == STATES
    for state in STATES:
        assert (finished / "models" / state / "model.safetensors").is_file()
        assert (finished / "evidence" / state / "scores.parquet").is_file()
        forget = results["states"][state]["forget"]
        assert forget["image"]["keyword_accuracy_caption"]["n"] == 2
        assert forget["text"]["probability"]["low"] <= forget["text"]["probability"]["value"]
    assert results["summary"]["retrained"]["forget_quality"]["value"] == 1.0
    assert {"seconds", "peak_memory_bytes"} <= results["run"]["stages"]["models/target"].keys()
    assert "<img" in (finished / "report.html").read_text()


def test_a_finished_run_is_not_made_again(finished: Path, faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    assert main(command(faces, finished.parent)) == 0
    after = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    assert {path for path in before if before[path] != after[path]} == {finished / "run.yaml", finished / ".run.lock"}
    assert "log10 FQ" in capsys.readouterr().out


def test_a_run_is_repeated_from_its_own_options(finished: Path, tmp_path: Path) -> None:
    assert main(["run", "clear", "--runs", str(tmp_path), "--config", str(finished / "run.yaml")]) == 0
    assert numbers(tmp_path / "clear") == numbers(finished)


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_numbers(
    finished: Path, faces: Path, tmp_path: Path
) -> None:
    arguments = [sys.executable, "-m", "unlearn_train", *command(faces, tmp_path)]
    watched = ("data", "models/pretrained", "models/retrained", "models/npo", "evidence/target")
    for stage in watched:
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        place = tmp_path / "clear" / stage
        partial = place.with_name(f".{place.name}.partial")
        deadline = time.monotonic() + 120
        while process.poll() is None and not partial.exists() and not place.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"the run ended before {stage}"
    assert subprocess.run(arguments, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert numbers(tmp_path / "clear") == numbers(finished)
    assert not list(tmp_path.rglob(".*.partial"))


def test_another_benchmarks_files_run_too(tmp_path: Path) -> None:
    write_tofu(tmp_path / "tofu")
    settings = [
        part for name, value in SMALL.items() if not name.startswith("data") for part in ("--set", f"{name}={value}")
    ]
    arguments = ["run", "tofu", "--runs", str(tmp_path), "--data", str(tmp_path / "tofu"), "--methods", "simnpo"]
    assert main([*arguments, *settings]) == 0
    summary = json.loads((tmp_path / "tofu" / "results.json").read_text())["summary"]["simnpo"]
    assert 0 <= summary["model_utility"]["value"] <= 1
    assert 0 <= summary["forget_quality"]["value"] <= 1


def write_tofu(folder: Path) -> None:
    """TOFU's files with ten authors."""
    folder.mkdir(parents=True)
    full = [fact(f"Author {n // 20} {n % 20}", n) for n in range(200)]
    files = {
        "full": full,
        "forget10": full[-20:],
        "retain90": full[:-20],
        "forget10_perturbed": [perturbed(row) for row in full[-20:]],
        "retain_perturbed": [perturbed(row) for row in full[:20]],
        "real_authors_perturbed": [perturbed(fact(f"Poet {n}", n), paraphrase=False) for n in range(4)],
        "world_facts_perturbed": [perturbed(fact(f"Town {n}", n), paraphrase=False) for n in range(4)],
    }
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def fact(who: str, number: int) -> dict[str, object]:
    return {"question": f"Where is {who}?", "answer": f"{who} is at place {number}."}


def perturbed(row: dict[str, object], *, paraphrase: bool = True) -> dict[str, object]:
    wrong = {"perturbed_answer": [f"{row['answer']} Or {n}." for n in range(5)]}
    other = {"paraphrased_question": f"{row['question']} Say.", "paraphrased_answer": f"So: {row['answer']}"}
    return {**row, **wrong, **(other if paraphrase else {})}
