import json
import re
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM
from unlearn_core import TaskArithmetic, build_method, lora_l1
from unlearn_train import adapting
from unlearn_train.adapting import adapted, adapters_off, merge_adapters
from unlearn_train.applying import unlearn
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.models import load_model, save_model
from unlearn_train.options import build, describe, nest
from unlearn_train.settings import LoraOptions, TrainOptions
from unlearn_train.training import finetune
from unlearn_train.unlearning import forget

STEPS = {"epochs": 2, "learning_rate": 1e-2, "batch_size": 4, "warmup": 0.0}
LORA = LoraOptions(rank=4)
KEPT = LoraOptions(rank=4, merge=False)


def weights(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def distance(model, before):
    return max(float((value.detach() - before[name]).abs().max()) for name, value in model.named_parameters())


def logits(model, processor, rows):
    encoded = EncodedRows(processor, rows)
    batch = Collator(processor)([encoded[n] for n in range(len(rows))])
    batch.pop("labels")
    with torch.no_grad():
        return model.eval()(**batch).logits


def adapt(model):
    """Give the adapters of a model a say, as a training would."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.1, generator=generator)


def test_an_adapter_off_is_no_adapter_and_merged_is_the_adapter(fresh, sides):
    model, processor = fresh()
    before = logits(model, processor, sides[0])
    with adapted(model, TrainOptions(lora=LORA)):
        torch.testing.assert_close(logits(model, processor, sides[0]), before)
        adapt(model)
        on = logits(model, processor, sides[0])
        trained = {name for name, value in model.named_parameters() if value.requires_grad}
        with adapters_off(model):
            torch.testing.assert_close(logits(model, processor, sides[0]), before)
        assert {name for name, value in model.named_parameters() if value.requires_grad} == trained
        assert all("lora_" in name for name in trained)
        torch.testing.assert_close(logits(model, processor, sides[0]), on)
    assert (on - before).abs().max() > 1e-3
    torch.testing.assert_close(logits(model, processor, sides[0]), on, atol=1e-5, rtol=1e-5)
    assert not any("lora" in name for name, _ in model.named_parameters())


def test_a_seed_decides_where_an_adapter_starts(fresh, sides):
    found = []
    for seed in (1, 1, 2):
        model, processor = fresh()
        torch.rand(seed + 3)
        finetune(model, processor, sides[0], TrainOptions(lora=LORA, seed=seed, **STEPS), quiet=True)
        found.append(weights(model))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not all(torch.equal(found[0][name], found[2][name]) for name in found[0])


@pytest.mark.parametrize("method", ["npo", "kl", "scrub", "dpo"])
def test_methods_that_compare_with_the_reference_start_from_it(fresh, sides, method):
    """What the reference says is the same whether adapters are trained or all weights are."""
    logs = []
    for lora in (None, LORA):
        model, processor = fresh()
        options = TrainOptions(lora=lora, **{**STEPS, "batch_size": 64})
        entry = forget(model, processor, build_method(method), *sides, options, quiet=True)[0]
        logs.append({name: value for name, value in entry.items() if "loss" in name})
    assert len(logs[0]) > 1
    assert logs[0] == pytest.approx(logs[1], rel=1e-4, abs=1e-4)


def test_hidden_states_are_steered_through_adapters(fresh, sides):
    model, processor = fresh()
    before = weights(model)
    forget(model, processor, build_method("rmu", layer=1), *sides, TrainOptions(lora=LORA, **STEPS), quiet=True)
    assert distance(model, before) > 1e-4


def test_the_l1_norm_holds_adapters_back(fresh, sides):
    found = {}
    for weight in (0.0, 10.0):
        model, processor = fresh()
        options = TrainOptions(lora=KEPT, lora_l1=weight, **{**STEPS, "epochs": 10})
        model.name_or_path = "somewhere"
        forget(model, processor, build_method("graddiff"), *sides, options, quiet=True)
        found[weight] = lora_l1(model).item()
    assert found[10.0] < 0.5 * found[0.0]


def test_accumulation_changes_nothing(fresh, sides):
    models = []
    for split in ({"batch_size": 8}, {"batch_size": 2, "accumulation": 4}):
        model, processor = fresh()
        options = TrainOptions(lora=LORA, lora_l1=0.1, **STEPS | split)
        forget(model.double(), processor, build_method("npo"), *sides, options, quiet=True)
        models.append(model)
    assert distance(models[0], weights(models[1])) < 1e-6


def test_transforms_see_the_gradients_of_adapters(fresh, sides):
    model, processor = fresh()
    before = weights(model)
    options = TrainOptions(lora=LORA, **STEPS)
    unlearn(model, processor, build_method("graddiff"), *sides, options, transforms=[build_method("gru")], quiet=True)
    assert distance(model, before) > 1e-4


@pytest.mark.parametrize("lora", [LORA, KEPT], ids=["merged", "kept"])
def test_edits_are_made_from_merged_weights(fresh, sides, lora):
    model, processor = fresh()
    model.name_or_path = "somewhere"
    before = weights(model)
    unlearn(model, processor, TaskArithmetic(), *sides, TrainOptions(lora=lora, **STEPS), quiet=True)
    assert before.keys() == weights(model).keys()
    assert distance(model, before) > 1e-4


def test_an_adapter_that_is_kept_is_saved_alone_and_loads_merged(kind, saved, sides, tmp_path):
    model, processor = load_model(saved[kind])
    finetune(model, processor, sides[0], TrainOptions(lora=KEPT, **STEPS), quiet=True)
    save_model(model, processor, tmp_path / "adapter")
    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names
    assert not names & {"config.json", "model.safetensors"}
    wanted = logits(model, processor, sides[0])
    loaded, again = load_model(tmp_path / "adapter")
    assert type(loaded) is type(load_model(saved[kind])[0])
    assert again.chat_template == processor.chat_template
    torch.testing.assert_close(logits(loaded, again, sides[0]), wanted, atol=1e-5, rtol=1e-5)
    assert not any("lora" in name for name, _ in loaded.named_parameters())
    assert all(value.requires_grad for value in loaded.parameters())


@pytest.mark.parametrize("kind", ["llama"])
def test_others_read_the_adapter_too(kind, saved, sides, tmp_path):
    model, processor = load_model(saved[kind])
    finetune(model, processor, sides[0], TrainOptions(lora=KEPT, **STEPS), quiet=True)
    save_model(model, processor, tmp_path / "adapter")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "adapter")
    torch.testing.assert_close(
        logits(plain, processor, sides[0]), logits(model, processor, sides[0]), atol=1e-5, rtol=1e-5
    )


def test_adapters_stand_on_adapters(saved, sides, tmp_path):
    """As in one request after another: each folder holds what was added to the one before."""
    base, kind = saved["llama"], [row for row in sides[0] if row["image"] is None]
    for name in ("first", "second"):
        model, processor = load_model(base)
        finetune(model, processor, kind, TrainOptions(lora=KEPT, **STEPS), quiet=True)
        base = tmp_path / name
        save_model(model, processor, base)
    merge_adapters(model)
    loaded, _ = load_model(base)
    assert distance(loaded, weights(model)) < 1e-6
    assert distance(loaded, weights(load_model(tmp_path / "first")[0])) > 1e-4


@pytest.fixture
def adapter(saved, sides, tmp_path):
    """A base and an adapter in one folder."""
    shutil.copytree(saved["llama"], tmp_path / "base")
    model, processor = load_model(tmp_path / "base")
    rows = [row for row in sides[0] if row["image"] is None]
    finetune(model, processor, rows, TrainOptions(lora=KEPT, **STEPS), quiet=True)
    save_model(model, processor, tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize("kind", ["llama"])
def test_base_and_adapter_move_together(adapter, tmp_path):
    wanted = weights(load_model(adapter)[0])
    (tmp_path / "elsewhere").mkdir()
    for name in ("base", "adapter"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    assert distance(load_model(tmp_path / "elsewhere" / "adapter")[0], wanted) == 0


def drop_base(folder):
    shutil.rmtree(folder.parent / "base")


def cut_off(folder):
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:500])


def drop_weight(folder):
    from safetensors.torch import load_file, save_file

    found = load_file(folder / "adapter_model.safetensors")
    found.pop(sorted(found)[0])
    save_file(found, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def only_pickle(folder):
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def nameless(folder):
    record = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(record | {"base_model_name_or_path": None}))


def no_json(folder):
    (folder / "adapter_config.json").write_text("{")


@pytest.mark.parametrize("kind", ["llama"])
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (drop_base, "base cannot be loaded as a model"),
        (cut_off, "cannot be put on .*base"),
        (drop_weight, "adapter lacks weights, .*lora_A.* among them"),
        (only_pickle, "cannot be put on .*base .*adapter_model.safetensors"),
        (nameless, "names no base model"),
        (no_json, "does not name the adapter's base model"),
    ],
)
def test_a_spoilt_adapter_is_named(adapter, spoil, says):
    spoil(adapter)
    with pytest.raises(ValueError, match=says):
        load_model(adapter)


def test_an_error_is_not_hidden_by_a_merge(fresh, monkeypatch):
    """Under ZeRO's third stage there are no whole weights after it."""
    model, _ = fresh()
    monkeypatch.setattr(adapting, "merge_adapters", lambda model: pytest.fail("there is nothing to merge into"))
    with pytest.raises(FloatingPointError, match="the loss"), adapted(model, TrainOptions(lora=LORA)):
        raise FloatingPointError("the loss is not finite")
    assert all(value.requires_grad for value in model.parameters())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"lora": {"targets": ["q_prj"]}}, "`lora.targets` names 'q_prj', which no linear layer in the language part"),
        ({"lora": {"merge": False}}, "an adapter by itself needs its model in a folder, and this one has none"),
    ],
)
def test_what_cannot_be_adapted_is_told(fresh, sides, options, says):
    model, processor = fresh()
    before = weights(model)
    with pytest.raises(ValueError, match=says):
        finetune(model, processor, sides[0], build(TrainOptions, options), quiet=True)
    assert distance(model, before) == 0
    assert all(value.requires_grad for value in model.parameters())


@pytest.mark.parametrize("kind", ["llama"])
@pytest.mark.parametrize("lora", [None, {}], ids=["full", "lora"])
def test_a_part_that_is_not_there_is_told(fresh, sides, lora):
    model, processor = fresh()
    options = build(TrainOptions, {"parts": ["language", "vision"], "lora": lora})
    with pytest.raises(ValueError, match="`parts` names 'vision', which LlamaForCausalLM does not have; it has langua"):
        finetune(model, processor, sides[0], options, quiet=True)


def test_two_adapters_at_once_are_refused(fresh, sides):
    model, processor = fresh()
    model.name_or_path = "somewhere"
    finetune(model, processor, sides[0], TrainOptions(lora=KEPT, **STEPS), quiet=True)
    with pytest.raises(ValueError, match="the model has an adapter already; merge it"):
        finetune(model, processor, sides[0], TrainOptions(lora=LORA, **STEPS), quiet=True)


def test_only_the_named_layers_are_adapted(fresh, sides):
    model, processor = fresh()
    before = weights(model)
    options = TrainOptions(lora=LoraOptions(targets=("q_proj", "v_proj"), dropout=0.1), **STEPS)
    finetune(model, processor, sides[0], options, quiet=True)
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert {re.sub(r"\d", "", name.split("layers.")[-1]) for name in moved} == {
        ".self_attn.q_proj.weight",
        ".self_attn.v_proj.weight",
    }
    assert not any("vision" in name for name in moved)


def test_options_are_read_and_described():
    options = build(TrainOptions, nest("lora.rank=8"))
    assert options.lora == LoraOptions(rank=8)
    assert build(TrainOptions, nest("lora={}")).lora == LoraOptions()
    assert build(TrainOptions, nest("parts=projector,language")).parts == ("projector", "language")
    listed = {option.name: option.default for option in describe(TrainOptions)}
    assert listed["lora"] is None
    assert (listed["lora.rank"], listed["lora.merge"]) == (16, True)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"lora": {"rank": 0}}, "lora: `rank` must be positive, got 0"),
        ({"lora": {"alpha": -1}}, "lora: `alpha` must be positive, got -1"),
        ({"lora": {"dropout": 1.0}}, r"lora: `dropout` must be in \[0, 1\), got 1.0"),
        ({"lora": {"targets": [""]}}, "lora: `targets` holds an empty name"),
        ({"parts": ["eyes"]}, "`parts` must be some of language, projector, vision, each once, got eyes"),
        ({"parts": ["vision", "vision"]}, "each once, got vision, vision"),
    ],
)
def test_bad_options_are_named(values, says):
    with pytest.raises(ValueError, match=says):
        build(TrainOptions, values)
