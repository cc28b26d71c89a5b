"""Every family of models: batches score and generate what the model's own one-row forward pass and `generate` give."""

import functools
import importlib

import numpy as np
import pytest
import torch
from PIL import Image
from unlearn_metrics.scoring import Encoder, Sampling, _decoding, generate, score
from unlearn_metrics.scoring._batches import answer_batches
from unlearn_metrics.scoring._features import ImageFeatures
from unlearn_metrics.scoring._forward import Forward
from unlearn_metrics.scoring._memory import TokenBudget
from unlearn_metrics.scoring._requests import candidates, requests

TEXT = ("llama", "qwen2", "gpt2", "phi", "gemma")
VISION = ("llava", "llava_next", "idefics3", "gemma3", "gemma3_of_wide_windows", "qwen2_5_vl", "smolvlm")
NEW_TOKENS = 20


def parts_template(image="<image>"):
    """A chat template for messages in parts."""
    return (
        "<s>{% for m in messages %}{% if m['role'] == 'user' %}USER: {% for part in m['content'] %}"
        "{% if part['type'] == 'image' %}" + image + "{% else %}{{ part['text'] }}{% endif %}{% endfor %} ASSISTANT:"
        "{% else %} {{ m['content'][0]['text'] }}</s>{% endif %}{% endfor %}"
    )


@pytest.fixture(scope="module")
def family(models, make_tokenizer):
    """Builds a tiny model of a family and its processor."""
    built = {name: models[name] for name in ("llama", "gpt2", "llava")}

    def build(name):
        if name not in built:
            built[name] = BUILDERS[name](make_tokenizer)
        return built[name]

    return build


def text_model(kind, make_tokenizer, **more):
    import transformers

    tokenizer = make_tokenizer()
    size = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3}
    size |= {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 512,
    }
    size |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = getattr(transformers, f"{kind}Config")(**size | more)
    return seeded(getattr(transformers, f"{kind}ForCausalLM"), config), tokenizer


def seeded(kind, config, scale=1):
    torch.manual_seed(0)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(scale)
    return model


def language(vocabulary, kind="LlamaConfig", **more):
    import transformers

    size = {"vocab_size": vocabulary, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3}
    size |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 64}
    size |= {"max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    return getattr(transformers, kind)(**size | more)


def tower(kind, **more):
    import transformers

    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return getattr(transformers, kind)(**size | {"image_size": 16, "patch_size": 4} | more)


def llava_next(make_tokenizer):
    from transformers import (
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessorPil,
        LlavaNextProcessor,
    )

    square, pinpoints = {"height": 16, "width": 16}, [[16, 32], [32, 16], [32, 32]]
    tokenizer = make_tokenizer(template=None)
    processor = LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": 16}, crop_size=square, image_grid_pinpoints=pinpoints
        ),
        tokenizer=tokenizer,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=parts_template(),
    )
    config = LlavaNextConfig(
        vision_config=tower("CLIPVisionConfig"),
        text_config=language(len(tokenizer)),
        image_token_index=3,
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    return seeded(LlavaNextForConditionalGeneration, config, scale=3), processor


def idefics3(make_tokenizer):
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
    )

    return _idefics(
        make_tokenizer, Idefics3Config, Idefics3ForConditionalGeneration, Idefics3ImageProcessorPil, Idefics3Processor
    )


def without_videos(kind):
    """Makes processors that need no torchvision, as their part for videos does."""

    def build(*parts, **options):
        from transformers.video_processing_utils import BaseVideoProcessor

        return type(kind.__name__, (kind,), {"check_argument_for_proper_class": lambda self, name, part: type(part)})(
            *parts, video_processor=BaseVideoProcessor(), **options
        )

    return build


def smolvlm(make_tokenizer):
    from transformers import (
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMImageProcessorPil,
        SmolVLMProcessor,
    )
    from transformers.models.smolvlm import processing_smolvlm

    # It puts the number of a video's frames into words.
    processing_smolvlm.num2words = processing_smolvlm.num2words or str
    return _idefics(
        make_tokenizer,
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMImageProcessorPil,
        without_videos(SmolVLMProcessor),
    )


def _idefics(make_tokenizer, config_kind, model_kind, images_kind, processor_kind, **more):
    special = ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    tokenizer = make_tokenizer(template=None, special=special)
    processor = processor_kind(
        images_kind(size={"longest_edge": 32}, max_image_size={"longest_edge": 16}, do_image_splitting=True),
        tokenizer,
        image_seq_len=4,
        chat_template=parts_template(),
        **more,
    )
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = config_kind(
        vision_config={**vision, "image_size": 16, "patch_size": 4},
        text_config=language(len(tokenizer)),
        image_token_id=3,
        scale_factor=2,
        pad_token_id=0,
    )
    return seeded(model_kind, config, scale=2), processor


def gemma3(make_tokenizer, window=16):
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3ImageProcessorPil,
        Gemma3Processor,
    )

    tokenizer = make_tokenizer(template=None, special=["<start_of_image>", "<end_of_image>"])
    for name, token in {"boi": "<start_of_image>", "eoi": "<end_of_image>"}.items():
        setattr(tokenizer, f"{name}_token", token)
        setattr(tokenizer, f"{name}_token_id", tokenizer.convert_tokens_to_ids(token))
    processor = Gemma3Processor(
        Gemma3ImageProcessorPil(size={"height": 16, "width": 16}),
        tokenizer,
        image_seq_length=4,
        chat_template=parts_template("<start_of_image>"),
    )
    config = Gemma3Config(
        vision_config=tower("SiglipVisionConfig"),
        text_config=language(len(tokenizer), "Gemma3TextConfig", sliding_window=window, query_pre_attn_scalar=8),
        mm_tokens_per_image=4,
        image_token_index=3,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
    )
    return seeded(Gemma3ForConditionalGeneration, config, scale=2), processor


def qwen2_5_vl(make_tokenizer):
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessorPil,
    )

    special = ["<|vision_start|>", "<|vision_end|>", "<|video_pad|>"]
    tokenizer = make_tokenizer(template=None, special=special)
    processor = without_videos(Qwen2_5_VLProcessor)(
        Qwen2VLImageProcessorPil(
            size={"shortest_edge": 256, "longest_edge": 1024}, patch_size=4, merge_size=2, temporal_patch_size=2
        ),
        tokenizer,
        chat_template=parts_template("<|vision_start|><image><|vision_end|>"),
    )
    start, end, video = tokenizer.convert_tokens_to_ids(special)
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1e4}
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": 32,
            "patch_size": 4,
            "window_size": 16,
            "fullatt_block_indexes": [0],
        },
        text_config=language(len(tokenizer), "Qwen2_5_VLTextConfig", rope_parameters=rope).to_dict(),
        image_token_id=3,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    return seeded(Qwen2_5_VLForConditionalGeneration, config, scale=2), processor


BUILDERS = {
    "qwen2": lambda make_tokenizer: text_model("Qwen2", make_tokenizer),
    "phi": lambda make_tokenizer: text_model("Phi", make_tokenizer),
    "gemma": lambda make_tokenizer: text_model("Gemma", make_tokenizer, head_dim=8),
    "llava_next": llava_next,
    "idefics3": idefics3,
    "smolvlm": smolvlm,
    "gemma3": gemma3,
    "gemma3_of_wide_windows": functools.partial(gemma3, window=512),
    "qwen2_5_vl": qwen2_5_vl,
}


def inputs_of(processor, row, answer=None):
    """What the processor makes of one row by its chat template."""
    in_parts = hasattr(processor, "tokenizer")
    picture = [{"type": "image", "image": row["image"]}] * (row["image"] is not None)
    user = [*picture, {"type": "text", "text": row["question"]}] if in_parts else row["question"]
    chat = [{"role": "user", "content": user}]
    if answer is not None:
        chat.append({"role": "assistant", "content": [{"type": "text", "text": answer}] if in_parts else answer})
    options = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    return processor.apply_chat_template(chat, add_generation_prompt=answer is None, **options)


def scored_alone(model, processor, row, answer):
    """Float64 log p of the answer's tokens, from the model's own logits of this one row."""
    start = inputs_of(processor, row)["input_ids"].shape[1]
    inputs = inputs_of(processor, row, answer)
    with torch.no_grad():
        logps = model(**inputs).logits[0, start - 1 : -1].double().log_softmax(-1)
    tokens = inputs["input_ids"][0, start:]
    return tokens.tolist(), logps.gather(-1, tokens[:, None])[:, 0].tolist()


def generated_alone(model, processor, row):
    inputs = inputs_of(processor, row)
    ids = model.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS, eos_token_id=2, pad_token_id=0)
    return processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()


CASES = [(name, False) for name in (*TEXT, *VISION)] + [(name, True) for name in VISION]
IDS = [f"{name}-{'images' if images else 'text'}" for name, images in CASES]


@pytest.mark.parametrize(("name", "images"), CASES, ids=IDS)
def test_scores_equal_one_row_at_a_time(family, make_rows, name, images):
    model, processor = family(name)
    rows = make_rows(8, images=images)
    wanted = [scored_alone(model, processor, row, each.text) for row in rows for each in candidates(row)]
    assert {row["image"] is None for row in rows} == ({True, False} if images else {True})
    # One answer at a time, about seven rows, everything.
    for budget in (1, 700, None):
        table = score(model, processor, rows, set_name="a", token_budget=budget)
        assert table["tokens"].to_pylist() == [tokens for tokens, _ in wanted]
        for got, (_, logp) in zip(table["logp"].to_pylist(), wanted, strict=True):
            np.testing.assert_allclose(got, logp, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "images"), CASES, ids=IDS)
def test_greedy_answers_equal_those_of_transformers(family, make_rows, name, images, monkeypatch):
    model, processor = family(name)
    rows = [row for row in make_rows(8, images=images) if row["task"] != "mcq"]
    wanted = [generated_alone(model, processor, row) for row in rows]
    for budget, in_one_go in ((1, True), (400, True), (None, True), (400, False)):
        monkeypatch.setattr(_decoding, "_ROUND", 48 if in_one_go else 1)
        table = generate(model, processor, rows, set_name="a", max_new_tokens=NEW_TOKENS, token_budget=budget)
        assert table["generated"].to_pylist() == wanted


@pytest.mark.parametrize("name", VISION)
def test_an_image_is_looked_at_once(family, name, monkeypatch):
    model, processor = family(name)
    looked, compute = [], type(model).get_image_features

    @functools.wraps(compute)
    def counted(*args, **kwargs):
        looked.append(1)
        return compute(*args, **kwargs)

    monkeypatch.setattr(type(model), "get_image_features", counted)
    encoder = Encoder(processor)
    features = ImageFeatures(model, encoder)
    images = [Image.fromarray(np.full((20, 24, 3), shade, np.uint8)) for shade in (0, 120, 240)]
    prompts = [encoder.prompt(question, image) for image in images for question in ("Who?", "Which city?")]
    assert features.usable(prompts[0])
    for prompt in [*prompts, *prompts]:
        features.inputs([prompt], reused=True)
    assert len(looked) == 3


def chosen_ways(model, processor, rows):
    encoder = Encoder(processor)
    forward = Forward(model, encoder)
    for batch in answer_batches(requests({"a": rows}, encoder, context=None).answers, TokenBudget(None, model.device)):
        forward.score(batch)
    return forward.chosen


@pytest.mark.parametrize("name", [*TEXT, *VISION])
def test_every_shortcut_is_taken(family, make_rows, name):
    """A family that fell back to the plain way would be right, and slow."""
    model, processor = family(name)
    chosen = chosen_ways(model, processor, make_rows(8, images=name in VISION))
    assert name == "gemma3" or all(short for _, _, short in chosen)
    for (image, many, short), ways in chosen.items():
        assert ways == (True, bool(image), many, many and short), f"{name}: {ways}"


def test_half_precision_is_shared_and_upcast(family, make_rows):
    model, processor = family("llama")
    rows = make_rows(8)
    exact = score(model, processor, rows, set_name="a")
    try:
        rough = score(model.bfloat16(), processor, rows, set_name="a")
        assert all(ways.packed is many for (_, many, _), ways in chosen_ways(model, processor, rows).items())
        table = [scored_alone(model, processor, rows[0], each.text)[1] for each in candidates(rows[0])]
    finally:
        model.float()
    for one, other in zip(exact["logp"].to_pylist(), rough["logp"].to_pylist(), strict=True):
        np.testing.assert_allclose(one, other, atol=0.5)
    for one, other in zip(rough["logp"].to_pylist(), table, strict=False):
        np.testing.assert_allclose(one, other, atol=0.25)


@pytest.mark.parametrize("name", ["llama", "llava"])
def test_samples_are_the_same_in_any_batch(family, make_rows, name, monkeypatch):
    model, processor = family(name)
    rows = [row for row in make_rows(8, images=name == "llava") if row["task"] != "mcq"]
    options = {"set_name": "a", "max_new_tokens": NEW_TOKENS, "sampling": Sampling(samples=3, top_p=0.9, seed=4)}
    table = generate(model, processor, rows, **options)
    assert table["sample"].to_pylist() == [0, 1, 2] * len(rows)
    assert len(set(table["generated"].to_pylist()[:3])) > 1
    assert generate(model, processor, rows, token_budget=1, **options) == table
    backwards = generate(model, processor, rows[::-1], token_budget=500, **options)
    assert sorted(map(str, backwards.to_pylist())) == sorted(map(str, table.to_pylist()))
    with monkeypatch.context() as patch:
        patch.setattr(_decoding, "_ROUND", 1)
        assert generate(model, processor, rows, **options) == table
    other = generate(model, processor, rows, **options | {"sampling": Sampling(samples=3, top_p=0.9, seed=5)})
    assert other != table


def test_samples_are_drawn_from_the_models_distribution(family, make_rows):
    model, processor = family("llama")
    (row,) = make_rows(1)
    inputs = inputs_of(processor, row)
    with torch.no_grad():
        wanted = model(**inputs).logits[0, -1].div(2.0).softmax(-1).double()
    sampling = Sampling(samples=3000, temperature=2.0)
    said = generate(model, processor, [row], set_name="a", max_new_tokens=1, sampling=sampling, token_budget=2**18)
    top = int(wanted.argmax())
    share = np.mean([text == processor.decode([top]).strip() for text in said["generated"].to_pylist()])
    assert share == pytest.approx(float(wanted[top]), abs=0.04)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"samples": 0}, "`samples` must be positive, got 0"),
        ({"temperature": 0.0}, "`temperature` must be positive, got 0.0"),
        ({"top_p": 1.5}, "`top_p` must be at most 1, got 1.5"),
    ],
)
def test_bad_sampling(options, says):
    with pytest.raises(ValueError, match=says):
        Sampling(**options)


def test_vllm_gets_tokens_images_and_seeds(family, make_rows, monkeypatch):
    """vLLM itself needs a GPU; this stands in for it and keeps what it was given."""
    import sys
    from types import ModuleType, SimpleNamespace

    stub = ModuleType("vllm")
    given = []

    class LLM:
        def __init__(self, **options):
            given.append(options)

        def generate(self, prompts, parameters, use_tqdm):
            given.append((prompts, parameters))
            return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=[60, 61, 2, 62])]) for _ in prompts]

    stub.LLM, stub.SamplingParams = LLM, dict
    monkeypatch.setitem(sys.modules, "vllm", stub)
    scoring = importlib.import_module("unlearn_metrics.scoring")
    _, processor = family("llava")
    rows = make_rows(4, images=True)
    table = scoring.generate(scoring.VLLM("folder", dtype="bfloat16"), processor, rows, set_name="a", max_new_tokens=9)
    assert given[0] == {"model": "folder", "dtype": "bfloat16"}
    prompts, parameters = given[1]
    assert set(table["generated"].to_pylist()) == {processor.decode([60, 61]).strip()}
    assert all(prompt["prompt_token_ids"].count(3) == ("multi_modal_data" in prompt) for prompt in prompts)
    assert any("multi_modal_data" in prompt for prompt in prompts)
    assert parameters[0] == {"max_tokens": 9, "stop_token_ids": [2], "temperature": 0.0}
    sampling = Sampling(samples=2, temperature=0.5, seed=3)
    scoring.generate(scoring.VLLM("folder"), processor, rows, set_name="a", max_new_tokens=9, sampling=sampling)
    seeds = [each["seed"] for each in given[3][1]]
    assert len(set(seeds)) == len(seeds)
    assert given[3][1][0]["temperature"] == 0.5
