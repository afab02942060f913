"""A loaded network as every detector sees it: images in [0, 1] → logits.

Normalisation, value range, layout and fixed batch sizes live inside, so that no detector ever meets them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from auditor.errors import ConfigError, ModelMismatchError
from auditor.findings import FileFacts
from auditor.own_copy import own_copy
from auditor.places import density

Outputs = Literal["logits", "probabilities", "sigmoids"]

PRESETS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "none": ((), ()),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "mnist": ((0.1307,), (0.3081,)),
    "gtsrb": ((0.3403, 0.3121, 0.3214), (0.2724, 0.2608, 0.2669)),
}
"""usual channel means and standard deviations of [0, 1] images, by data set"""

VALUE_RANGES = {"0..1": (1.0, 0.0), "0..255": (255.0, 0.0), "-1..1": (2.0, -1.0)}
"""scale and shift from [0, 1] to what the network was trained on"""


@dataclass(frozen=True)
class Preprocess:
    """What the network expects of an image that arrives as (C, H, W) in [0, 1]."""

    mean: tuple[float, ...] = ()
    """per channel, in units of ``value_range``; empty = 0"""
    std: tuple[float, ...] = ()
    """per channel; empty = 1"""
    value_range: str = "0..1"
    layout: Literal["nchw", "nhwc"] = "nchw"

    @property
    def is_plain(self) -> bool:
        """Whether the network gets pixels from 0 to 1 as they are."""
        return replace(self, layout="nchw") == Preprocess()

    def affine(self, channels: int) -> tuple[Tensor, Tensor]:
        """Scale and shift (1, C, 1, 1) that turn [0, 1] pixels into network input."""
        scale, shift = VALUE_RANGES[self.value_range]
        mean, std = _per_channel(self.mean, channels, 0.0), _per_channel(self.std, channels, 1.0)
        if (std <= 0).any():
            raise ConfigError(f"expected standard deviations above 0, got {self.std}")
        return scale / std, (shift - mean) / std


def _per_channel(values: tuple[float, ...], channels: int, default: float) -> Tensor:
    if values and len(values) not in (1, channels):
        raise ConfigError(
            f"expected {channels} value(s) of mean and std (the model has {channels} channel(s)), got {len(values)}"
        )
    filled = values if values else (default,)
    return torch.tensor(filled * (channels if len(filled) == 1 else 1), dtype=torch.float32).view(1, -1, 1, 1)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 in hardware: emulated, it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class Classifier:
    """A frozen classifier. ``(N, C, H, W)`` float32 in [0, 1] → ``(N, K)`` logits.

    It owns a copy of the network: evaluation mode, parameters without gradients, batch norm folded into the
    convolutions where the graph allows, channels-last where it runs so. It counts what passes through it.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        input_shape: tuple[int, int, int],
        facts: FileFacts,
        preprocess: Preprocess | None = None,
        device: str = "cpu",
        labels: tuple[str, ...] = (),
        fixed_batch: int | None = None,
        differentiable: bool = True,
    ) -> None:
        self.input_shape = input_shape
        self.facts = facts
        self.device = torch.device(device)
        self.labels = labels
        self.fixed_batch = fixed_batch
        self.differentiable = differentiable
        self.outputs: Outputs = "logits"
        self.temperature = 1.0
        """what logits are divided by, see `auditor.first_look`"""
        self.gradient_images = 0
        self.forward_images = 0
        self._hurried = False
        self.prepare(preprocess or Preprocess())
        owned = own_copy(module, self._sample(), layout=self.preprocess.layout)
        self._module, self._writes_on_images, self.remembers = owned.module, owned.writes_on_images, owned.remembers
        self.num_classes = int(self._probe().shape[1])
        self.facts = replace(facts, num_classes=self.num_classes, density=density(self._module, self._sample()))

    def prepare(self, preprocess: Preprocess) -> None:
        """From now on, give the network its images prepared like this."""
        self.preprocess = preprocess
        scale, shift = preprocess.affine(self.input_shape[0])
        self._identity = bool((scale == 1).all() and (shift == 0).all())
        self._scale, self._shift = scale.to(self.device), shift.to(self.device)
        self._fast_enough: bool | None = None

    @property
    def passes(self) -> int:
        """Image passes so far: one image forward and backward is one, a forward alone one half."""
        return self.gradient_images + self.forward_images // 2

    @property
    def batch_images(self) -> int:
        """How many images are worth sending at once: large enough to be fast, small enough for memory."""
        c, h, w = self.input_shape
        return max(8, min(512, 256 * (3 * 32 * 32) // (c * h * w)))

    def logits(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] → (N, K); differentiable with respect to the images."""
        raw = self._raw(images).float() if self._hurried else self._raw(images)
        # a backward pass follows where the images ask for one, or something inside (`feature_maps.shifted_logits`)
        if raw.requires_grad:
            self.gradient_images += len(images)
        else:
            self.forward_images += len(images)
        if self.outputs == "probabilities":
            raw = raw.clamp_min(1e-30).log()
        elif self.outputs == "sigmoids":
            raw = torch.logit(raw, eps=1e-7)
        return raw if self.temperature == 1 else raw / self.temperature

    __call__ = logits

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K) softmax probabilities, any N, no gradients."""
        if not len(images):
            return torch.zeros(0, self.num_classes)
        return torch.cat([self.logits(b.to(self.device)).softmax(1).cpu() for b in self.batches(images)])

    @contextmanager
    def fast(self) -> Iterator[None]:
        """Inside, logits are computed in bfloat16 where that is faster and this network allows it: for searching.

        About twice as fast on processors with bfloat16 instructions, and the searches find the same; what a search
        found is confirmed outside, in float32.
        """
        if self._hurried or not self._may_hurry():
            yield
            return
        self._hurried = True
        try:
            with torch.autocast(self.device.type, torch.bfloat16):
                yield
        finally:
            self._hurried = False

    def _may_hurry(self) -> bool:
        """Asked once: has the processor bfloat16, and does the network answer alike in it?"""
        if self._fast_enough is None:
            self._fast_enough = self.differentiable and has_bfloat16(self.device) and self._alike_in_bfloat16()
        return self._fast_enough

    def _alike_in_bfloat16(self) -> bool:
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(self.fixed_batch or 8, *self.input_shape, generator=generator).to(self.device)
        try:
            with torch.no_grad():
                exact = self._raw(x)
            with torch.autocast(self.device.type, torch.bfloat16), torch.enable_grad():
                moved = x.requires_grad_(True)
                rough = self._raw(moved).float()
                (gradient,) = torch.autograd.grad(rough.sum(), moved)
        except (RuntimeError, TypeError):  # operations that mix precisions may refuse
            return False
        scale = float(exact.abs().max())
        return bool(torch.isfinite(gradient).all()) and torch.allclose(exact, rough, rtol=0.1, atol=0.05 * scale)

    def head(self) -> Tensor | None:
        """Weights of the last linear layer, (K, features); None where no weight has one row, or column, a class."""
        for weight in reversed(self._weights()):
            flat = _matrix(weight)
            if flat.shape[0] == self.num_classes:
                return flat
            if weight.ndim == 2 and flat.shape[1] == self.num_classes:
                return flat.T
        return None

    def weights(self) -> list[Tensor]:
        """Every weight of two dimensions and more as a matrix (outputs, rest), in the network's order."""
        return [_matrix(weight) for weight in self._weights()]

    def _weights(self) -> list[Tensor]:
        tensors = (*self._module.parameters(), *self._module.buffers())
        return [t.detach() for t in tensors if t.ndim >= 2]

    def predict(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N,) class numbers, any N."""
        return self.probabilities(images).argmax(1)

    def batches(self, images: Tensor) -> Iterator[Tensor]:
        """``images`` in pieces of a good size."""
        yield from images.split(2 * self.batch_images)

    def _raw(self, images: Tensor) -> Tensor:
        x = images if self._identity else torch.addcmul(self._shift, images, self._scale)
        if self.preprocess.layout == "nhwc":
            x = x.permute(0, 2, 3, 1)
        x = x.clone() if self._writes_on_images else x
        if self.fixed_batch is None or len(x) == self.fixed_batch:
            return self._rows(x)
        return self._in_fixed_batches(x, self.fixed_batch)

    def _rows(self, x: Tensor) -> Tensor:
        """What the network answers, a row an image; some squeeze it where there is one."""
        out = _flat(self._module(x))
        return out.unsqueeze(0) if out.ndim == 1 == len(x) else out

    def _in_fixed_batches(self, x: Tensor, size: int) -> Tensor:
        """Graphs with a literal batch: pad the last piece, drop the padding's answers."""
        pieces = []
        for piece in x.split(size):
            missing = size - len(piece)
            padded = torch.cat([piece, piece[-1:].expand(missing, *piece.shape[1:])]) if missing else piece
            pieces.append(self._rows(padded)[: len(piece)])
        return torch.cat(pieces)

    def _sample(self) -> Tensor:
        """A batch of noise as the network takes it."""
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(self.fixed_batch or 2, *self.input_shape, generator=generator).to(self.device)
        return x.permute(0, 2, 3, 1) if self.preprocess.layout == "nhwc" else x

    def _probe(self) -> Tensor:
        """Logits of one grey image; says in one sentence when the network does not take the declared size."""
        c, h, w = self.input_shape
        try:
            with torch.no_grad():
                out = self._raw(torch.full((1, c, h, w), 0.5, device=self.device))
        except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
            raise ModelMismatchError(
                f"expected '{self.facts.name}' to accept images of {c}×{h}×{w}, got: {_first_line(error)}; "
                "state what it takes with --input-size, --layout or --preprocess"
            ) from error
        if out.ndim != 2 or out.shape[0] != 1:
            raise ModelMismatchError(
                f"expected '{self.facts.name}' to give one row of class scores an image, got an output of shape "
                f"{tuple(out.shape)}; only image classifiers can be audited"
            )
        return out


def _matrix(weight: Tensor) -> Tensor:
    return weight.flatten(1).float().cpu()


def _flat(out: Any) -> Tensor:
    if not isinstance(out, Tensor):
        kind = type(out).__name__
        raise ModelMismatchError(
            f"expected the network to return one tensor of class scores, got {kind}; only image classifiers can be "
            "audited"
        )
    return out.flatten(1) if out.ndim == 4 and out.shape[2:] == (1, 1) else out


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
