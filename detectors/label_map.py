"""Where a pattern sends the images of each class: what the searches without a target measure and tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from auditor import Classifier, Context, Exhibit, Matrix, Measurement, Trigger, label_map_index

TRIED = 200
"""search images that candidates are compared on"""

MAPPED = 0.5
"""`label_map_index` from which a pattern that was not searched for one is shown as a label map's trigger"""


@dataclass(frozen=True)
class Sent:
    """Where one pattern sends images."""

    table: Tensor
    """(K, K) share of each source class's images that gets each answer; rows of unseen classes are zero"""

    @property
    def index(self) -> float:
        """See `label_map_index`; classes without images do not count."""
        wrong = self.wrong[self.seen].max(1)
        return label_map_index(wrong.values.numpy(), wrong.indices.tolist())

    @property
    def seen(self) -> Tensor:
        """Source classes that had images."""
        return self.table.sum(1).nonzero().flatten()

    @property
    def moved(self) -> float:
        """Fooling rate, every class counting alike."""
        return float((1 - self.table.diagonal()[self.seen]).mean()) if len(self.seen) else 0.0

    @property
    def wrong(self) -> Tensor:
        """The table without right answers: −1 on its diagonal."""
        return self.table.clone().fill_diagonal_(-1)


def sent(model: Classifier, images: Tensor, classes: Tensor) -> Sent:
    """Where a model sends images (N, C, H, W), changed already, whose answers were ``classes`` (N,) before."""
    with model.fast():
        answers = model.predict(images)
    table = torch.zeros(model.num_classes, model.num_classes)
    table.index_put_((classes, answers), torch.ones(len(classes)), accumulate=True)
    return Sent(table / table.sum(1, keepdim=True).clamp_min(1))


def choose(ctx: Context, changes: Sequence[Callable[[Tensor], Tensor]]) -> tuple[int, Sent]:
    """Which of several changes looks most like a label map on search images, and where it sends those."""
    images, classes = ctx.images.search[:TRIED], ctx.images.search_classes[:TRIED]
    found = [sent(ctx.model, change(images), classes) for change in ctx.track(changes, "choosing")]
    best = max(range(len(found)), key=lambda i: (found[i].index, found[i].moved))
    return best, found[best]


def moved_away(logits: Tensor, own: Tensor) -> Tensor:
    """−log(1 − f_own), (N, K) and (N,) → (N,)."""
    sure = logits.log_softmax(1).gather(1, own.unsqueeze(1)).squeeze(1).exp()
    return -(1 - sure).clamp_min(1e-6).log()


def told(
    ctx: Context,
    change: Callable[[Tensor], Tensor],
    on_search: Sent,
    mask: Tensor,
    pattern: Tensor,
    pictures: Sequence[Exhibit],
) -> Iterator[Measurement]:
    """One measurement a source class, of what ``change`` does to held-out images; all else comes with the first.

    ``mask`` and ``pattern`` show the change as a `Trigger`; its success is the share of images that get the answer that
    the label map, as read off search images, says; for that they are asked again in float32.
    """
    changed, classes = change(ctx.images.held_out), ctx.images.held_out_classes
    found = sent(ctx.model, changed, classes)
    wanted = on_search.wrong.argmax(1)[classes]
    trigger = map_trigger(ctx, changed, wanted, mask, pattern)
    table = np.asarray(found.table.numpy(), dtype=np.float32)
    exhibits = (*pictures, Matrix("where the pattern sends images", table, "share of images"))
    for number, source in enumerate(found.seen.tolist()):
        yield Measurement(
            value=max(0.0, float(found.wrong[source].max())),
            target_class=int(found.wrong[source].argmax()),
            source_class=source,
            trigger=trigger if number == 0 else None,
            extras={"fooling rate over all": found.moved} if number == 0 else {},
            exhibits=exhibits if number == 0 else (),
        )


def map_trigger(ctx: Context, changed: Tensor, wanted: Tensor, mask: Tensor, pattern: Tensor) -> Trigger:
    """A trigger that ``changed`` images (N, C, H, W) have on; its success is the share that gets ``wanted`` (N,)."""
    theirs = float((ctx.reference.predict(changed) == wanted).float().mean()) if ctx.reference else None
    return Trigger(
        mask=mask.numpy(),
        pattern=pattern.numpy(),
        success_rate=float((ctx.model.predict(changed) == wanted).float().mean()),
        reference_success_rate=theirs,
        images=len(changed),
    )
