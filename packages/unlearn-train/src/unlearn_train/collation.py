"""Rows to padded batches."""

from collections.abc import Callable, Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from unlearn_train.data import Row
from unlearn_train.encoding import IGNORED, Encoded, Processor, encode, tokenizer_of

_SIZES = {"image_sizes", "pixel_attention_mask"}  # inputs that tell a model what of an image is real


class EncodedRows(Dataset[Encoded]):
    """Rows that are encoded when first asked for, and kept while memory allows.

    Args:
        processor: of the model that will read the rows.
        rows: with `id`, `question`, `answer` and `image`.
        answer: what to train on instead of a row's own answer.
        max_length: tokens; a longer row is refused, never cut.
        keep: bytes of encoded rows to hold on to; the rest is encoded each time.

    Raises:
        ValueError: when a row that cannot be encoded is asked for; the message names its id.
    """

    def __init__(
        self,
        processor: Processor,
        rows: Sequence[Row],
        *,
        answer: Callable[[Row], str] = lambda row: str(row["answer"]),
        max_length: int | None = None,
        keep: int = 2**30,
    ) -> None:
        self.processor, self.rows, self.answer, self.max_length = processor, rows, answer, max_length
        self._kept: dict[int, Encoded] = {}
        self._room = keep

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Encoded:
        if index not in self._kept:
            encoded = self._encode(self.rows[index])
            further = (*encoded.sequence_inputs.values(), *encoded.image_inputs.values())
            size = sum(value.nbytes for value in (encoded.input_ids, encoded.labels, *further))
            if size > self._room:
                return encoded
            self._room -= size
            self._kept[index] = encoded
        return self._kept[index]

    def rough_lengths(self) -> list[int]:
        """Return each row's tokens, without those of template and image: enough to sort by, and no image is read.

        A row with an image counts as longer than any without.
        """
        texts = [f"{row['question']} {self.answer(row)}" for row in self.rows]
        lengths = [len(tokens) for tokens in tokenizer_of(self.processor)(texts)["input_ids"]] if texts else []
        longest = max(lengths, default=0)
        return [n + (longest if row["image"] else 0) for n, row in zip(lengths, self.rows, strict=True)]

    def _encode(self, row: Row) -> Encoded:
        image: Image.Image | None = row["image"]
        try:
            encoded = encode(self.processor, row["question"], self.answer(row), image)
        except ValueError as error:
            raise ValueError(f"row {row['id']}: {error}") from error
        if self.max_length is not None and len(encoded.input_ids) > self.max_length:
            raise ValueError(
                f"row {row['id']} has {len(encoded.input_ids)} tokens, the model reads {self.max_length}; shorten "
                "the row or leave it out."
            )
        return encoded


class Collator:
    """Pads encoded rows on the right into one batch, with an attention mask made from lengths alone.

    So a padding token that is also the end token masks nothing that is real.
    """

    def __init__(self, processor: Processor) -> None:
        tokenizer = tokenizer_of(processor)
        self.padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        if self.padding is None:
            raise ValueError("the tokenizer has neither a padding nor an end-of-sequence token; set `pad_token`.")

    def __call__(self, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        """Return `input_ids`, `attention_mask` and `labels`, each [rows, longest], and the images' inputs."""
        ones = [torch.ones_like(row.input_ids) for row in rows]
        batch = {
            "input_ids": _pad([row.input_ids for row in rows], self.padding),
            "attention_mask": _pad(ones, 0),
            "labels": _pad([row.labels for row in rows], IGNORED),
        }
        # Some processors give a row with an image more than they give one without.
        for key in sorted({key for row in rows for key in row.sequence_inputs}):
            batch[key] = _pad([row.sequence_inputs.get(key, torch.zeros_like(row.input_ids)) for row in rows], 0)
        for key in sorted({key for row in rows for key in row.image_inputs}):
            batch[key] = _join(key, [row.image_inputs for row in rows if key in row.image_inputs])
        return batch


def _join(key: str, rows: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """One input of all images; those that are cut into fewer tiles than others, or are smaller, are filled up with 0.

    Only for models that are told what of an image is real: any other would look at the filling.
    """
    values = [row[key] for row in rows]
    shapes = {value.shape[1:] for value in values}
    if len(shapes) > 1:
        if not all(_SIZES & row.keys() for row in rows):
            unlike = " and ".join(sorted(str(tuple(shape)) for shape in shapes))
            raise ValueError(
                f"the images of a batch give `{key}` of unlike shapes, {unlike}, and nothing that tells the model what "
                "of them is real; set `batch_size` to 1, or have the processor resize."
            )
        largest = [max(sizes) for sizes in zip(*shapes, strict=True)]
        values = [_fill(value, largest) for value in values]
    return torch.cat(values)


def _fill(value: Tensor, shape: Sequence[int]) -> Tensor:
    missing = [n for have, want in zip(value.shape[:0:-1], shape[::-1], strict=True) for n in (0, want - have)]
    return torch.nn.functional.pad(value, missing)


def _pad(values: Sequence[Tensor], padding: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(values), batch_first=True, padding_value=padding)
