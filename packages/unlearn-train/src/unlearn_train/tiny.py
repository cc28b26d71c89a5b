"""The embedded default models: a small LLaVA and a small Llama, built from the transformers classes with no download.

They are ordinary Hugging Face folders once saved: everything that works on them works on a real checkpoint.
"""

from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from unlearn_train.settings import TinySize

BOS, EOS, PAD, UNK, IMAGE = "<s>", "</s>", "<pad>", "<unk>", "<image>"
USER, ASSISTANT = "USER:", "ASSISTANT:"

TEXT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}" + USER + " {{ message['content'] }} " + ASSISTANT + "{% else %}"
    " {{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)

VISION_TEMPLATE = (
    BOS + "{% for message in messages %}"
    "{% if message['role'] == 'user' %}" + USER + " {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}"
    + IMAGE
    + "{% else %}{{ part['text'] }}{% endif %}{% endfor %} "
    + ASSISTANT
    + "{% else %}"
    " {% for part in message['content'] %}{{ part['text'] }}{% endfor %}" + EOS + "{% endif %}{% endfor %}"
)


def train_tokenizer(texts: Iterable[str], *, vocabulary: int = 2048) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on `texts`.

    Numbers are split into digits, so that no year is a token of its own.

    Raises:
        ValueError: `texts` is empty.
    """
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise ValueError("a tokenizer cannot be trained on no text; give at least one row.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS, UNK, IMAGE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # The template's words stand around every text: without them each of their letters would become a token.
    tokenizer.train_from_iterator([f"{USER} {text} {ASSISTANT}" for text in texts], trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNK,
        extra_special_tokens={"image_token": IMAGE},
        chat_template=TEXT_TEMPLATE,
    )


def tiny_llama(texts: Iterable[str], size: TinySize, *, seed: int) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Build a randomly initialised language model and a tokenizer trained on `texts`."""
    tokenizer = train_tokenizer(texts, vocabulary=size.vocabulary)
    torch.manual_seed(seed)
    return LlamaForCausalLM(_llama_config(size, tokenizer)), tokenizer


def tiny_llava(
    texts: Iterable[str], size: TinySize, *, seed: int
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Build a randomly initialised LLaVA (CLIP vision tower and Llama) and its processor.

    Args:
        texts: what the tokenizer is trained on.
        size: widths, depths and the image's size.
        seed: of the initial weights.
    """
    tokenizer = train_tokenizer(texts, vocabulary=size.vocabulary)
    tokenizer.chat_template = None
    square = {"height": size.image_size, "width": size.image_size}
    processor = LlavaProcessor(  # type: ignore[no-untyped-call]
        image_processor=CLIPImageProcessorPil(size=square, crop_size=square, do_center_crop=False),
        tokenizer=tokenizer,
        patch_size=size.patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=IMAGE,
        chat_template=VISION_TEMPLATE,
    )
    torch.manual_seed(seed)
    config = LlavaConfig(  # type: ignore[call-arg]  # its stub lacks what every config takes
        vision_config=CLIPVisionConfig(
            hidden_size=size.vision_hidden,
            intermediate_size=2 * size.vision_hidden,
            num_hidden_layers=size.vision_layers,
            num_attention_heads=size.heads,
            image_size=size.image_size,
            patch_size=size.patch,
            projection_dim=size.vision_hidden,
        ),
        text_config=_llama_config(size, tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),  # type: ignore[arg-type]  # one token, one id
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=(size.image_size // size.patch) ** 2,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    return LlavaForConditionalGeneration(config), processor


def _llama_config(size: TinySize, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        intermediate_size=2 * size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=size.context,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
