"""One step of finetuning and of unlearning on every family of models, whole and with adapters."""

import copy
from types import SimpleNamespace

import pytest
import torch
import transformers
from PIL import Image
from transformers.models.smolvlm import processing_smolvlm
from unlearn_core import build_method
from unlearn_train.adapting import model_parts
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.encoding import IGNORED, tokenizer_of
from unlearn_train.settings import LoraOptions, TrainOptions
from unlearn_train.tiny import EOS, TEXT_TEMPLATE, VISION_TEMPLATE, train_tokenizer
from unlearn_train.training import finetune
from unlearn_train.unlearning import forget

TEXT = ("llama", "qwen2", "gpt2", "phi", "gemma")
VISION = ("llava", "llava_next", "qwen2_5_vl", "idefics3", "smolvlm", "gemma3")
WAYS = {"full": None, "lora": LoraOptions(rank=4)}
#: Too small a step to see in float32 would pass for none.
STEP = {"learning_rate": 1e-2, "warmup": 0.0, "batch_size": 8, "schedule": "constant"}


class Family:
    """Builds a tiny model of random weights, and its processor."""

    def __init__(self, texts):
        self.texts = texts

    def tokenizer(self, *special, sees=True):
        tokenizer = train_tokenizer(self.texts, vocabulary=300)
        tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
        tokenizer.chat_template = None if sees else TEXT_TEMPLATE
        return tokenizer

    def language(self, tokenizer, kind, **more):
        ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
        size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
        size |= {"head_dim": 8, "intermediate_size": 64, "max_position_embeddings": 256}
        return getattr(transformers, f"{kind}Config")(vocab_size=len(tokenizer), **size, **ids, **more)

    def tower(self, kind, **more):
        size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        return getattr(transformers, f"{kind}VisionConfig")(**size, image_size=16, patch_size=4, **more)

    def text(self, kind, head="ForCausalLM", **more):
        tokenizer = self.tokenizer(sees=False)
        return seeded(f"{kind}{head}", self.language(tokenizer, kind, **more)), tokenizer

    def llama(self):
        return self.text("Llama")

    def qwen2(self):
        return self.text("Qwen2", tie_word_embeddings=True)

    def gpt2(self):
        return self.text("GPT2", "LMHeadModel", attn_pdrop=0, embd_pdrop=0, resid_pdrop=0)

    def phi(self):
        return self.text("Phi")

    def gemma(self):
        return self.text("Gemma")

    def llava(self, kind="Llava", **more):
        tokenizer, square = self.tokenizer(), {"height": 16, "width": 16}
        images = {"Llava": "CLIP", "LlavaNext": "LlavaNext"}[kind]
        grid = {key: value for key, value in more.items() if key == "image_grid_pinpoints"}
        processor = getattr(transformers, f"{kind}Processor")(
            getattr(transformers, f"{images}ImageProcessorPil")(size={"shortest_edge": 16}, crop_size=square, **grid),
            tokenizer,
            patch_size=4,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=VISION_TEMPLATE,
        )
        config = getattr(transformers, f"{kind}Config")(
            vision_config=self.tower("CLIP"),
            text_config=self.language(tokenizer, "Llama"),
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            vision_feature_layer=-1,
            vision_feature_select_strategy="default",
            **more,
        )
        return seeded(f"{kind}ForConditionalGeneration", config), processor

    def llava_next(self):
        return self.llava("LlavaNext", image_grid_pinpoints=[[16, 32], [32, 16], [32, 32]])

    def idefics3(self, kind="Idefics3", processor_kind=transformers.Idefics3Processor, **more):
        tokenizer = self.tokenizer("<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
        images = getattr(transformers, f"{kind}ImageProcessorPil")(
            size={"longest_edge": 32}, max_image_size={"longest_edge": 16}, do_image_splitting=True
        )
        processor = processor_kind(images, tokenizer, image_seq_len=4, chat_template=VISION_TEMPLATE, **more)
        vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = getattr(transformers, f"{kind}Config")(
            vision_config={**vision, "image_size": 16, "patch_size": 4},
            text_config=self.language(tokenizer, "Llama"),
            image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
            scale_factor=2,
            pad_token_id=tokenizer.pad_token_id,
        )
        return seeded(f"{kind}ForConditionalGeneration", config), processor

    def smolvlm(self):
        model, processor = self.idefics3("SmolVLM", without_videos(transformers.SmolVLMProcessor), video_processor=None)
        processor.video_processor = SimpleNamespace(num_frames=1, fps=1, video_sampling={})
        return model, processor

    def gemma3(self):
        tokenizer = self.tokenizer("<start_of_image>", "<end_of_image>")
        for name, token in {"boi": "<start_of_image>", "eoi": "<end_of_image>"}.items():
            setattr(tokenizer, f"{name}_token", token)
            setattr(tokenizer, f"{name}_token_id", tokenizer.convert_tokens_to_ids(token))
        processor = transformers.Gemma3Processor(
            transformers.Gemma3ImageProcessorPil(size={"height": 16, "width": 16}),
            tokenizer,
            image_seq_length=4,
            chat_template=VISION_TEMPLATE.replace("<image>", "<start_of_image>"),
        )
        config = transformers.Gemma3Config(
            vision_config=self.tower("Siglip"),
            text_config=self.language(tokenizer, "Gemma3Text", sliding_window=16, query_pre_attn_scalar=8),
            mm_tokens_per_image=4,
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            boi_token_index=tokenizer.boi_token_id,
            eoi_token_index=tokenizer.eoi_token_id,
        )
        model = seeded("Gemma3ForConditionalGeneration", config)
        torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight)  # 0, nothing would be seen
        return model, processor

    def qwen2_5_vl(self):
        special = ["<|vision_start|>", "<|vision_end|>", "<|video_pad|>"]
        tokenizer = self.tokenizer(*special)
        processor = without_videos(transformers.Qwen2_5_VLProcessor)(
            transformers.Qwen2VLImageProcessorPil(
                size={"shortest_edge": 256, "longest_edge": 1024}, patch_size=4, merge_size=2, temporal_patch_size=2
            ),
            tokenizer,
            chat_template=VISION_TEMPLATE.replace("<image>", "<|vision_start|><image><|vision_end|>"),
        )
        start, end, video = tokenizer.convert_tokens_to_ids(special)
        rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1e4}
        vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}
        config = transformers.Qwen2_5_VLConfig(
            vision_config={**vision, "patch_size": 4, "window_size": 16, "fullatt_block_indexes": [0]},
            text_config=self.language(tokenizer, "Qwen2_5_VLText", rope_parameters=rope).to_dict(),
            image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
            video_token_id=video,
            vision_start_token_id=start,
            vision_end_token_id=end,
        )
        return seeded("Qwen2_5_VLForConditionalGeneration", config), processor


def without_videos(kind):
    """A kind of processor, without the processor of videos, which only exists where torchvision is installed."""

    class WithoutVideos(kind):
        def check_argument_for_proper_class(self, argument_name, argument):
            return None if argument is None else super().check_argument_for_proper_class(argument_name, argument)

    return WithoutVideos


def seeded(kind, config):
    torch.manual_seed(0)
    model = getattr(transformers, kind)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    return model


@pytest.fixture(scope="module")
def family(texts):
    """Makes a copy of a family's model, and gives its processor."""
    built, patch = {}, pytest.MonkeyPatch()
    patch.setattr(processing_smolvlm, "is_num2words_available", lambda: True)  # says lengths of videos in words
    patch.setattr(processing_smolvlm, "num2words", str, raising=False)

    def build(name):
        if name not in built:
            built[name] = getattr(Family(texts), name)()
        model, processor = built[name]
        return copy.deepcopy(model), processor

    yield build
    patch.undo()


@pytest.fixture
def sides(rows, name):
    """Rows to forget and to keep; the images are of differing sizes, where the model sees."""

    def pictured(row, number):
        shade = Image.new("RGB", [(16, 16), (32, 16), (20, 32), (40, 40)][number % 4], (60 * number % 255, 90, 200))
        return {**row, "image": shade if row["image"] else None}

    asked = [pictured(row, n) for n, row in enumerate(rows) if row["task"] in ("qa", "caption")]
    asked = [row for row in asked if name in VISION or row["image"] is None]
    return [[row for row in asked if row["subject"] in names] for names in (("ada", "bo"), ("cy", "di"))]


EVERY = pytest.mark.parametrize("name", [*TEXT, *VISION])
SEEING = pytest.mark.parametrize("name", VISION)


def weights(model):
    return {name: value.clone() for name, value in model.named_parameters()}


def moved(model, before):
    """The names of the parameters that are no longer what they were."""
    return {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}


def logps(model, processor, rows, batch_size=8):
    """Log p of every row's answer, from all logits of a batch."""
    encoded, collate = EncodedRows(processor, rows), Collator(processor)
    found = []
    for start in range(0, len(rows), batch_size):
        batch = collate([encoded[n] for n in range(start, min(start + batch_size, len(rows)))])
        labels = batch.pop("labels")[:, 1:]
        with torch.no_grad():
            every = model.eval()(**batch).logits[:, :-1].log_softmax(-1)
        each = every.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
        found.append(each.where(labels != IGNORED, 0).sum(-1))
    return torch.cat(found)


@EVERY
def test_labels_are_the_answer_and_its_end(family, sides, name):
    _, processor = family(name)
    rows = [*sides[0], *sides[1]]
    encoded = EncodedRows(processor, rows)
    batch = Collator(processor)([encoded[n] for n in range(len(rows))])
    for row, ids, labels in zip(rows, batch["input_ids"], batch["labels"], strict=True):
        kept = labels != IGNORED
        assert torch.equal(ids[kept], labels[kept])
        assert tokenizer_of(processor).decode(labels[kept]).strip() == row["answer"] + EOS


@EVERY
def test_a_batch_gives_what_each_row_gives_alone(family, sides, name):
    """Whatever pads rows, tiles and images in a batch is not looked at."""
    model, processor = family(name)
    rows = [*sides[0], *sides[1]]
    assert len({row["image"] is None for row in rows}) == 1 + (name in VISION)
    torch.testing.assert_close(logps(model, processor, rows), logps(model, processor, rows, 1), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("way", WAYS)
@EVERY
def test_one_step_of_finetuning(family, sides, name, way):
    model, processor = family(name)
    before, learnt = weights(model), sides[0]
    first = -logps(model, processor, learnt).sum()
    (entry,) = finetune(model, processor, learnt, TrainOptions(lora=WAYS[way], **STEP), quiet=True)
    tokens = sum(int((row.labels != IGNORED).sum()) for row in EncodedRows(processor, learnt))
    assert entry["loss"] == pytest.approx(float(first) / tokens, rel=1e-4)
    check_moved(model, before, way)


@pytest.mark.parametrize("way", WAYS)
@EVERY
def test_one_step_of_npo(family, sides, name, way):
    model, processor = family(name)
    before = weights(model)
    options = TrainOptions(lora=WAYS[way], **STEP)
    (entry,) = forget(model, processor, build_method("npo", beta=0.5), *sides, options, quiet=True)
    # Before its first step the model is the reference.
    assert entry["forget_loss"] == pytest.approx(2 / 0.5 * torch.tensor(2.0).log().item(), rel=1e-4)
    check_moved(model, before, way)


def check_moved(model, before, way):
    """All parts were trained, or those layers alone that an adapter goes on."""
    changed, parts = moved(model, before), model_parts(model)
    assert before.keys() == weights(model).keys(), "the model is a plain one again"
    if way == "full":
        assert all(names & changed for names in parts.values())
        return
    kinds = (torch.nn.Linear, transformers.pytorch_utils.Conv1D)
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, kinds)}
    assert changed == (linear & parts["language"]) - {"lm_head.weight"}


@EVERY
def test_parts_share_out_the_parameters(family, name):
    model, _ = family(name)
    parts = model_parts(model)
    assert tuple(parts) == (("language", "projector", "vision") if name in VISION else ("language",))
    assert sorted(parameter for names in parts.values() for parameter in names) == sorted(weights(model))


@pytest.mark.parametrize("parts", [("projector",), ("vision",), ("language", "projector")], ids="+".join)
@SEEING
def test_chosen_parts_alone_are_trained(family, sides, name, parts):
    model, processor = family(name)
    before, known = weights(model), model_parts(model)
    finetune(model, processor, sides[0], TrainOptions(parts=parts, **STEP), quiet=True)
    changed = moved(model, before)
    assert all(changed & known[part] for part in parts)
    assert changed <= frozenset().union(*(known[part] for part in parts))
    assert all(parameter.requires_grad for parameter in model.parameters())


@SEEING
def test_adapters_go_on_the_parts_that_are_named(family, sides, name):
    model, processor = family(name)
    parts = ("vision", "language") if name == "gemma3" else ("vision", "projector")
    before, known = weights(model), model_parts(model)
    finetune(model, processor, sides[0], TrainOptions(parts=parts, lora=WAYS["lora"], **STEP), quiet=True)
    changed = moved(model, before)
    assert all(changed & known[part] for part in parts)
    assert changed <= frozenset().union(*(known[part] for part in parts))
