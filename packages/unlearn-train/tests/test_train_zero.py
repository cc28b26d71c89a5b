import json
import subprocess
import sys

import pytest
from unlearn_train import zero
from unlearn_train.settings import ZERO, TrainOptions
from unlearn_train.zero import PRESETS, asks_for_deepspeed, deepspeed_if, read_zero


def test_the_presets_are_those_that_options_name():
    assert tuple(PRESETS) == ZERO
    assert [read_zero(name)["zero_optimization"]["stage"] for name in ZERO] == [1, 2, 3, 2, 3]
    assert [name for name in ZERO if "offload_optimizer" in PRESETS[name]] == ["zero2-offload", "zero3-offload"]
    assert [name for name in ZERO if "offload_param" in PRESETS[name]] == ["zero3-offload"]


def test_a_preset_is_not_changed_by_those_who_fill_it_in():
    read_zero("zero3")["zero_optimization"]["stage3_prefetch_bucket_size"] = 7
    assert read_zero("zero3")["zero_optimization"]["stage3_prefetch_bucket_size"] == "auto"


@pytest.mark.parametrize("name", ["zero4", "zero", "ZeRO-2", "zero2.yaml", ""])
def test_an_unknown_preset_is_refused(name):
    with pytest.raises(ValueError, match="`deepspeed` must be one of zero1, zero2, .*, or a JSON file, got"):
        TrainOptions(deepspeed=name)


def test_a_file_is_read_and_its_gaps_are_filled(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 2}, "gradient_clipping": 0.5}))
    assert TrainOptions(deepspeed=str(path)).deepspeed == str(path)
    found = read_zero(str(path))
    assert (found["zero_optimization"], found["gradient_clipping"]) == ({"stage": 2}, 0.5)
    assert found["train_micro_batch_size_per_gpu"] == "auto"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "`deepspeed` must be one of zero1, .* or a JSON file; .*mine.json is none"),
        ("{", "mine.json is no JSON"),
        ("[]", "must hold DeepSpeed's configuration, with `zero_optimization`"),
        ("{}", "must hold DeepSpeed's configuration, with `zero_optimization`"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "mine.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_zero(str(tmp_path / "mine.json"))


def test_options_and_launchers_ask_for_deepspeed(monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_DEEPSPEED", raising=False)
    assert (asks_for_deepspeed(None), asks_for_deepspeed("zero2")) == (False, True)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert asks_for_deepspeed(None)


@pytest.mark.parametrize("before", [None, "false", "true"])
def test_one_training_does_not_ask_for_the_next(monkeypatch, before):
    monkeypatch.delenv(zero.ASKED, raising=False)
    if before is not None:
        monkeypatch.setenv(zero.ASKED, before)
    with deepspeed_if(False):
        monkeypatch.setenv(zero.ASKED, "true")  # as accelerate does
    assert asks_for_deepspeed(None) == (before == "true")


def test_nobody_finds_deepspeed_unless_it_is_asked_for():
    """In a process of its own, where nothing has imported it."""
    program = (
        "import importlib.util, sys\nfrom unlearn_train.zero import deepspeed_if\n"
        "before = importlib.util.find_spec('deepspeed') is not None\n"
        "with deepspeed_if(False):\n    assert importlib.util.find_spec('deepspeed') is None\n"
        "assert (importlib.util.find_spec('deepspeed') is not None) == before\n"
        "assert 'deepspeed' not in sys.modules"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    monkeypatch.setattr(zero.launching, "join", lambda **options: pytest.fail("it is looked for first"))
    with pytest.raises(ImportError, match='install it with `pip install "unlearn-train'), deepspeed_if(True):
        pass
