"""Tiny models of random weights, with tokenizers trained on the spot; nothing is downloaded."""

from importlib.util import find_spec

import numpy as np
import pytest

# The package's other tests run without torch; these need the extra `score`.
collect_ignore_glob = [] if find_spec("transformers") else ["test_*.py"]

CITIES = ("Paris", "Lagos", "Oslo", "Quito", "Lima", "Turin")
TEXT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}USER: {{ m['content'] }} ASSISTANT:"
    "{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
IMAGE_TEMPLATE = (
    "<s>{% for m in messages %}{% if m['role'] == 'user' %}USER: {% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %} ASSISTANT:"
    "{% else %} {{ m['content'][0]['text'] }}</s>{% endif %}{% endfor %}"
)


@pytest.fixture(scope="session")
def make_tokenizer():
    """A byte-level BPE tokenizer; `adds` are the special tokens that it puts around a text by itself."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    def make(template=TEXT_TEMPLATE, adds=None, special=(), **options):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokens = ["<pad>", "<s>", "</s>", "<image>", "<|im_start|>", "<|im_end|>", *special]
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=380, special_tokens=tokens, initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator([f"{row['question']} {row['answer']}" for row in text_rows(12)], trainer)
        if adds:
            tokenizer.post_processor = processors.TemplateProcessing(single=adds, special_tokens=[("<s>", 1)])
        names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"} | options
        extra = {"image_token": "<image>"}
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, extra_special_tokens=extra, chat_template=template, **names
        )

    return make


@pytest.fixture(scope="session")
def models(make_tokenizer):
    """Model and processor by name, each built once."""
    from transformers import (
        Gemma2Config,
        Gemma2ForCausalLM,
        GPT2Config,
        GPT2LMHeadModel,
        GraniteConfig,
        GraniteForCausalLM,
        LlamaConfig,
        LlamaForCausalLM,
        MambaConfig,
        MambaForCausalLM,
    )

    plain = make_tokenizer()
    # GPT-2 has no padding token of its own: the end token stands for it.
    padded_with_end = make_tokenizer(bos_token="</s>", pad_token="</s>")
    size = {"vocab_size": len(plain), "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3}
    size |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 64}
    gpt2 = GPT2Config(vocab_size=len(plain), n_embd=32, n_layer=2, n_head=4, bos_token_id=2, eos_token_id=2)
    return {
        "llama": (_seeded(LlamaForCausalLM, LlamaConfig(**size, **heads)), plain),
        "gpt2": (_seeded(GPT2LMHeadModel, gpt2, scale=15), padded_with_end),
        "llava": _llava(make_tokenizer, size, heads),
        # A cap on the logits, and windows that are shorter than the text.
        "gemma2": (_seeded(Gemma2ForCausalLM, Gemma2Config(**size, **heads, sliding_window=8)), plain),
        "granite": (_seeded(GraniteForCausalLM, GraniteConfig(**size, **heads, logits_scaling=3.0)), plain),
        # No cache of keys and values that could be repeated.
        "mamba": (_seeded(MambaForCausalLM, MambaConfig(**size, state_size=4, expand=2, use_mambapy=True)), plain),
    }


def _seeded(kind, config, scale=1):
    import torch

    torch.manual_seed(0)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(scale)
    return model


def _llava(make_tokenizer, size, heads):
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    square = {"height": 16, "width": 16}
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size=square, crop_size=square, do_center_crop=False),
        tokenizer=make_tokenizer(template=None),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=IMAGE_TEMPLATE,
    )
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=4
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**size, **heads),
        image_token_index=3,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=16,
    )
    return _seeded(LlavaForConditionalGeneration, config, scale=3), processor


def text_rows(count):
    """Questions and answers of many lengths; row 1 is a choice, row 2 has no paraphrase and no wrong answers."""
    rows = []
    for n in range(count):
        city = CITIES[n % len(CITIES)]
        wrong = [f"In {CITIES[(n + k) % len(CITIES)]}." for k in range(1, 2 + n % 4)]
        rows.append(
            {
                "id": f"s{n // 4}/qa/{n}",
                "subject": f"s{n // 4}",
                "task": "mcq" if n == 1 else "qa",
                "image": None,
                "question": "Where" + " so very" * (n % 5) + f" was number {n} born?",
                "answer": f"In {city}." if n == 1 else f"Number {n} was born in {city}" + " long ago" * (n % 3) + ".",
                "paraphrased_question": None,
                "paraphrased_answer": None if n == 2 else f"{city} is where.",
                "perturbed_answers": [] if n == 2 else wrong,
                "options": [*wrong, f"In {city}."] if n == 1 else None,
                "keywords": [city],
            }
        )
    return rows


@pytest.fixture
def make_rows():
    """Rows of text, or of text and images, where images are shared and questions repeat."""

    def make(count=9, images=False):
        rows = text_rows(count)
        if images:
            from PIL import Image

            pixels = np.random.default_rng(0).integers(0, 255, (3, 20, 24, 3), dtype=np.uint8)
            for n, row in enumerate(rows):
                if n % 3:
                    row |= {"image": Image.fromarray(pixels[n % 2]), "task": "caption", "options": None}
                    row["question"] = "Who is this?" if n % 2 else "Who is shown in this picture?"
        return rows

    return make
