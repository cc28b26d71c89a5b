"""Running a model where its answers are: logits, hidden states, and both with a layer's output changed."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeAlias
from weakref import WeakSet

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.nn import Linear, Module, ModuleList

from unlearn_core.batch import Batch
from unlearn_core.losses import linear_token_logps, token_logps

Steer: TypeAlias = Callable[[Batch, Tensor], Tensor]
"""Replaces a layer's output, [batch, input length, width], given the batch that is run."""

CHUNK = 1024
"""tokens whose logits exist at once, where they are large"""
LARGE = 2**26
"""logits of so many entries, 256 MiB in float32, are large"""

PROBE = 64.0
"""how much larger than they are, states are shown to the output embedding to see whether logits are changed after it"""

_CHANGED: WeakSet[Linear] = WeakSet()  # output embeddings whose logits the model changes afterwards
_LAYERS = ("layers", "h", "blocks")  # what decoders call their layers


class Forward(ABC):
    """Runs the model that is trained. A subclass that gives logits alone serves every method that needs no more."""

    @abstractmethod
    def __call__(self, batch: Batch) -> Float[Tensor, "batch length vocab"]:
        """Returns the logits at the positions of the batch's labels."""

    def token_logps(self, batch: Batch) -> Float[Tensor, " tokens"]:
        """Returns log p of every answer token of the batch, row after row.

        Raises:
            ValueError: If a row has no answer token.
        """
        return token_logps(self(batch), batch.labels)

    def hidden(self, batch: Batch, layer: int) -> Float[Tensor, "batch length width"]:
        """Returns the output of a decoder layer at the positions of the batch's labels.

        Args:
            batch: What to run.
            layer: Counted from 0; negative from the end.

        Raises:
            ValueError: If the model has no such layer.
            NotImplementedError: If this forward gives logits alone.
        """
        raise NotImplementedError(f"{type(self).__name__} gives logits alone: use `ModelForward` for hidden states.")

    def steered(self, steers: Mapping[int, Steer]) -> "Forward":
        """Returns a forward through the same model that replaces the output of some layers.

        Args:
            steers: By layer, counted as in `hidden`.

        Raises:
            ValueError: If the model has no such layer.
            NotImplementedError: If this forward gives logits alone.
        """
        raise NotImplementedError(f"{type(self).__name__} gives logits alone: use `ModelForward` to change its layers.")


class ModelForward(Forward):
    """Runs a model whose forward takes the batch's inputs and returns an object with `logits`.

    Every language and vision-language model of `transformers` is one, wrapped by PEFT, for many devices, or not. Where
    the model takes `logits_to_keep`, logits that no label is at are never computed.

    Args:
        model: Its decoder's layers are the list `layers`, `h` or `blocks` of `model.get_decoder()`, or of the model
            itself where it has no such method.
        steers: Functions that replace the output of some layers, by layer.

    Raises:
        ValueError: If the model has no layer of such a number.

    Example:
        >>> from types import SimpleNamespace
        >>> class Bigrams(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.table = torch.nn.Embedding(5, 5)
        ...     def forward(self, input_ids):
        ...         return SimpleNamespace(logits=self.table(input_ids))
        >>> batch = Batch(inputs={"input_ids": torch.tensor([[0, 1, 2]])}, labels=torch.tensor([[-100, 2]]))
        >>> ModelForward(Bigrams())(batch).shape
        torch.Size([1, 2, 5])
    """

    def __init__(self, model: Module, steers: Mapping[int, Steer] | None = None) -> None:
        self._model, self._steers = model, tuple((steers or {}).items())
        for layer, _ in self._steers:
            self._layer(layer)

    def __call__(self, batch: Batch) -> Float[Tensor, "batch length vocab"]:
        """Returns the logits at the positions of the batch's labels."""
        return self._run(batch)[:, -batch.labels.shape[1] :]

    def token_logps(self, batch: Batch) -> Float[Tensor, " tokens"]:
        """Returns log p of every answer token of the batch, row after row; where logits are large, without them.

        The output embedding then computes those of the last position alone, to see that they are what the model gives.
        """
        head = self._head()
        # Of a weight that ZeRO's third stage shares out, not all is here.
        if head is None or _bias(head) is not None or hasattr(head.weight, "ds_id"):
            return super().token_logps(batch)
        if batch.labels.numel() * len(head.weight) < LARGE:
            return super().token_logps(batch)
        found = self._before_head(
            batch, head, lambda hidden: linear_token_logps(hidden, head.weight, batch.labels, chunk=CHUNK)
        )
        return super().token_logps(batch) if found is None else found

    def last_hidden(self, batch: Batch) -> Float[Tensor, "batch length width"] | None:
        """Returns what enters the output embedding at the positions of the batch's labels.

        Times the weight of `output_embedding`, plus its bias if it has one, these are the logits. `None` where they are
        not: where the model has no plain output embedding, or changes the logits afterwards.
        """
        head = self._head()
        return None if head is None else self._before_head(batch, head, lambda hidden: hidden)

    @property
    def output_embedding(self) -> Linear:
        """The model's output embedding.

        Raises:
            ValueError: If it has none that is plainly linear.
        """
        head = self._head()
        if head is None:
            raise ValueError(
                f"{type(_unwrapped(self._model)).__name__} has no output embedding that is plainly linear."
            )
        return head

    def hidden(self, batch: Batch, layer: int) -> Float[Tensor, "batch length width"]:
        """Returns the output of a decoder layer at the positions of the batch's labels; later layers do not run.

        Wrapped models run to their end, because wrappers count on it.
        """
        found: list[Tensor] = []

        def keep(module: Module, args: Any, output: Any) -> None:
            found.append(_state(output))
            if _unwrapped(self._model) is self._model:
                raise _Reached

        with self._steering(batch), _hooked(self._layer(layer), keep), suppress(_Reached):
            self._model(**batch.inputs, **self._keeping(1))
        return found[0][:, -batch.labels.shape[1] :]

    def steered(self, steers: Mapping[int, Steer]) -> "ModelForward":
        """Returns a forward that replaces the output of some layers, after what this one does to them."""
        combined = ModelForward(self._model, steers)
        combined._steers = (*self._steers, *combined._steers)
        return combined

    def _run(self, batch: Batch) -> Tensor:
        """The logits from the first label's position on, or earlier where the model cannot leave any out."""
        with self._steering(batch):
            logits: Tensor = self._model(**batch.inputs, **self._keeping(batch.labels.shape[1])).logits
        return logits

    def _keeping(self, positions: int) -> dict[str, int]:
        """What has the model compute the logits of the last positions alone, where it can."""
        takes = "logits_to_keep" in inspect.signature(_unwrapped(self._model).forward).parameters
        return {"logits_to_keep": positions} if takes else {}

    def _head(self) -> Linear | None:
        """The output embedding, where it is plainly linear: an adapted or quantized one is not."""
        find: Any = getattr(_unwrapped(self._model), "get_output_embeddings", lambda: None)
        head = find()
        return head if type(head) is Linear and head not in _CHANGED else None

    def _before_head(self, batch: Batch, head: Linear, use: Callable[[Tensor], Tensor]) -> Tensor | None:
        """What `use` makes of the states that enter the output embedding; None where logits are changed after it.

        The output embedding itself runs on the last position alone, to see that its output is what the model gives.
        """
        found: list[Tensor] = []

        def narrow(module: Linear, args: tuple[Tensor]) -> Tensor:
            hidden = args[0][:, -batch.labels.shape[1] :]
            # many times as large, so that a cap on the logits shows, and a power of two, so that nothing is rounded
            last = PROBE * hidden[:, -1:].detach()
            found.append(use(hidden))
            found.append(F.linear(last, module.weight, _bias(module)).detach())
            return last

        handle = head.register_forward_pre_hook(narrow)
        try:
            last = self._run(batch).detach()
        finally:
            handle.remove()
        if torch.allclose(last.float(), found[1].float(), rtol=1e-3, atol=1e-3):
            return found[0]
        _CHANGED.add(head)
        return None

    @contextmanager
    def _steering(self, batch: Batch) -> Iterator[None]:
        with ExitStack() as hooks:
            for layer, steer in self._steers:
                hooks.enter_context(_hooked(self._layer(layer), _replace(steer, batch)))
            yield

    def _layer(self, layer: int) -> Module:
        layers = decoder_layers(self._model)
        if not -len(layers) <= layer < len(layers):
            raise ValueError(
                f"`layer` must be one of the model's {len(layers)} layers, from {-len(layers)} to {len(layers) - 1}, "
                f"got {layer}."
            )
        return layers[layer]


def decoder_layers(model: Module) -> ModuleList:
    """Returns the layers of the decoder of a language or vision-language model, wrapped or not.

    Raises:
        ValueError: If it has none that can be found.
    """
    inner = _unwrapped(model)
    find: Any = getattr(inner, "get_decoder", None)
    decoder = inner if find is None else find()
    for name in _LAYERS:
        layers = getattr(decoder, name, None)
        if isinstance(layers, ModuleList):
            return layers
    raise ValueError(
        f"{type(inner).__name__} has no decoder layers under any of the names {', '.join(_LAYERS)}: give the model a "
        "method `get_decoder` that returns the module that holds them."
    )


def _unwrapped(model: Module) -> Module:
    """The model itself, where it is wrapped for several devices."""
    inner = getattr(model, "module", None)
    return _unwrapped(inner) if isinstance(inner, Module) else model


def _bias(head: Linear) -> Tensor | None:
    """Its bias, which by its type every layer has."""
    return head.bias


class _Reached(Exception):  # noqa: N818  # no error: the layer asked for was reached
    pass


@contextmanager
def _hooked(module: Module, hook: Callable[[Module, Any, Any], Any]) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _replace(steer: Steer, batch: Batch) -> Callable[[Module, Any, Any], Any]:
    def hook(module: Module, args: Any, output: Any) -> Any:
        state = steer(batch, _state(output))
        return (state, *output[1:]) if isinstance(output, tuple) else state

    return hook


def _state(output: Any) -> Tensor:
    """The hidden states that a layer returns, alone or first of several."""
    state: Tensor = output[0] if isinstance(output, tuple) else output
    return state
