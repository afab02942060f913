"""Search for small patterns that make a classifier answer one class: the engine behind `iscp`.

"What Do Deep Nets Learn? Class-wise Patterns Revealed in the Input Space" (ICLR 2021 submission), Section 3 and
Algorithm 1. Every search (one target class on one canvas) is a *job*; all jobs of a chunk share one forward and one
backward pass, and the gradients of mask and canvas are formed by hand from the gradient of the mixed image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor import Classifier

Loss = Callable[[Tensor], Tensor]
"""logits (N, K) → (N,)"""


@dataclass
class Jobs:
    """A batch of searches: J jobs."""

    targets: Tensor
    """(J,) target class of each"""
    canvases: Tensor
    """(J, C, H, W) in [0, 1]"""
    learned: bool
    """whether the canvas is optimised too (Eq. 4)"""
    sources: Tensor | None = None
    """(J,) the only class whose images are mixed in; None = every class but the target"""
    allowed: Tensor | None = None
    """(J, H, W) of 0 and 1: where a mask may be; None = anywhere"""
    masks: Tensor | None = None
    """(J, H, W) in [0, 1], once searched"""
    kept: set[int] = field(default_factory=set)
    """classes that were searched to the end"""

    def of(self, target: int) -> list[tuple[Tensor, Tensor]]:
        """Mask (H, W) and canvas (C, H, W) of each finished search for a class."""
        assert self.masks is not None
        own = (self.targets == target).nonzero().flatten().tolist()
        return [(self.masks[j], self.canvases[j]) for j in own]


@dataclass(frozen=True)
class SearchPlan:
    """The constants of Algorithm 1."""

    batch: int
    mask_step: float
    canvas_step: float
    alpha: float
    beta: float
    mask_start: float = 0.5
    """mask before the first step; less than 0.5 leaves more of the image to see"""
    screen_after: int = 0
    """steps by which only the classes with the lowest loss are searched on; 0 = never"""
    screen_keep: int = 0
    """how many classes are kept then, see `rungs`"""


def eligible(classes: Tensor, target: int, source: int | None = None) -> Tensor:
    """Indices of the images a pattern for ``target`` is mixed into: not of the target (or: of the source).

    All images where there is none such, so that the search can run: a model may answer one class whatever it is shown.
    What it finds then says nothing, see `has_victims`.
    """
    chosen = (classes == source if source is not None else classes != target).nonzero().flatten()
    return chosen if len(chosen) else torch.arange(len(classes))


def has_victims(classes: Tensor, target: int) -> bool:
    """Whether a pattern can turn any image into ``target``: those of the target are there already."""
    return bool((classes != target).any())


def search(
    model: Classifier,
    images: Tensor,
    classes: Tensor,
    jobs: Jobs,
    plan: SearchPlan,
    rng: torch.Generator,
    steps: Iterable[int],
) -> Jobs:
    """Algorithm 1 for all jobs at once; returns them with ``masks`` (and learned ``canvases``) filled.

    ``images`` (N, C, H, W) with the suspect's ``classes`` (N,). Cost: J · steps · batch image passes. Each step draws
    its minibatch at random instead of sweeping epochs, so that the cost does not depend on N.
    """
    device = model.device
    images = images.to(device)
    height, width = images.shape[-2:]
    masks = torch.full((len(jobs.targets), height, width), plan.mask_start, device=device)  # line 1
    allowed = None if jobs.allowed is None else jobs.allowed.to(device)
    if allowed is not None:
        masks *= allowed
    canvases = jobs.canvases.to(device).clone()
    targets = jobs.targets.to(device)
    pools = _pools(classes, jobs)
    active = torch.arange(len(targets))
    losses = torch.zeros(len(targets), device=device)
    screens = rungs(len(jobs.targets.unique()), plan.screen_keep, plan.screen_after)
    for step in steps:
        if step in screens:
            active = active[leading_jobs(losses[active].cpu(), jobs.targets[active], screens[step])]
        draws = torch.rand(len(targets), plan.batch, generator=rng)
        for part in active.split(max(1, model.batch_images // plan.batch)):
            sources = images[pools.pick(part, draws[part]).to(device)]
            part = part.to(device)
            mask, canvas = masks[part], canvases[part]
            wanted = targets[part].repeat_interleave(plan.batch)
            gradient, loss = mixed_gradient(
                model, sources, mask, canvas, lambda z, y=wanted: F.cross_entropy(z, y, reduction="none")  # type: ignore[misc]
            )
            losses[part] = 0.8 * losses[part] + 0.2 * loss
            difference = canvas.unsqueeze(1) - sources
            mask_gradient = difference.mul_(gradient).sum((1, 2)) / plan.batch  # einsum takes eight times as long
            mask_gradient += plan.alpha / (height * width)
            if plan.beta:
                mask_gradient += plan.beta * _total_variation_gradient(mask)
            if jobs.learned:
                canvas_gradient = gradient.sum(1) * mask.unsqueeze(1)
                canvases[part] = (canvas - plan.canvas_step * canvas_gradient.sign()).clamp_(0, 1)
            moved = (mask - plan.mask_step * mask_gradient.sign()).clamp_(0, 1)  # lines 7-8
            masks[part] = moved if allowed is None else moved * allowed[part]
    return replace(jobs, canvases=canvases, masks=masks, kept=set(jobs.targets[active].tolist()))


def rungs(classes: int, keep: int, last: int) -> dict[int, int]:
    """Step → how many of the ``classes`` are searched on from it; ``keep`` from step ``last`` on. Empty for 0.

    With many classes most are dropped earlier: successive halving (Jamieson and Talwalkar, AISTATS 2016), as the
    bandit of K-Arm (Shen et al., ICML 2021) spends its rounds on what looks promising. The cost of the first steps
    then is that of about 2 · last / log₂(classes / keep) steps of all classes.
    """
    if not last or not keep or classes <= keep:
        return {}
    halvings = max(1, int(math.log2(classes / keep)))
    found = {max(1, round(last * i / halvings)): classes >> i for i in range(1, halvings)}
    return found | {last: keep}


def leading_jobs(losses: Tensor, targets: Tensor, keep: int) -> Tensor:
    """Indices of all jobs of the ``keep`` classes whose best job has the lowest loss; (J,), (J,) → (≤ J,)."""
    best: dict[int, float] = {}
    for target, loss in zip(targets.tolist(), losses.tolist(), strict=True):
        best[target] = min(loss, best.get(target, loss))
    chosen = sorted(best, key=lambda target: best[target])[:keep]
    return torch.isin(targets, torch.tensor(chosen)).nonzero().flatten()


@dataclass(frozen=True)
class _Pools:
    """Which images each job may draw: one padded table for all, since indexing job by job costs as much as a layer."""

    table: Tensor
    """(P, most) image numbers, one row for each distinct pool"""
    sizes: Tensor
    """(P,) how many of a row are meant"""
    row: Tensor
    """(J,) the row of each job"""

    def pick(self, jobs: Tensor, draws: Tensor) -> Tensor:
        """Numbers of jobs (j,) and draws (j, b) in [0, 1) → image numbers (j, b)."""
        row = self.row[jobs]
        return self.table[row.unsqueeze(1), (draws * self.sizes[row].unsqueeze(1)).long()]


def _pools(classes: Tensor, jobs: Jobs) -> _Pools:
    sources = jobs.sources.tolist() if jobs.sources is not None else [None] * len(jobs.targets)
    keys = list(zip(jobs.targets.tolist(), sources, strict=True))
    rows = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    pools = [eligible(classes, *key) for key in rows]
    table = torch.nn.utils.rnn.pad_sequence(pools, batch_first=True) if pools else torch.zeros(0, 0).long()
    sizes = torch.tensor([len(pool) for pool in pools], dtype=torch.long)
    return _Pools(table, sizes, torch.tensor([rows[key] for key in keys], dtype=torch.long))


def mixed_gradient(
    model: Classifier, sources: Tensor, mask: Tensor, canvas: Tensor, loss_of: Loss
) -> tuple[Tensor, Tensor]:
    """∂ loss/∂x of the mixed images x = m·canvas + (1 − m)·x_n (Eqs. 1, 2), (j, b, C, H, W), and the loss (j,)."""
    mixed = torch.lerp(sources, canvas.unsqueeze(1), mask[:, None, None])
    flat = mixed.flatten(0, 1).requires_grad_(True)
    with model.fast():
        logits = model.logits(flat)
    loss = loss_of(logits)
    (gradient,) = torch.autograd.grad(loss.sum(), flat)
    return gradient.view_as(mixed), loss.detach().view(len(mask), -1).mean(1)


def pattern_step(
    model: Classifier, images: Tensor, masks: Tensor, canvases: Tensor, loss_of: Loss, plan: tuple[float, float, float]
) -> tuple[Tensor, Tensor]:
    """One sign step of masks (j, H, W) and learned canvases (j, C, H, W) on images (j, b, C, H, W); all on the CPU.

    ``loss_of`` turns logits (j·b, K) into losses (j·b,); ``plan`` is mask step, canvas step and α.
    """
    mask_step, canvas_step, alpha = plan
    sources, mask, canvas = images.to(model.device), masks.to(model.device), canvases.to(model.device)
    gradient, _ = mixed_gradient(model, sources, mask, canvas, loss_of)
    for_mask = (canvas.unsqueeze(1) - sources).mul_(gradient).sum((1, 2)) / images.shape[1] + alpha / mask[0].numel()
    for_canvas = gradient.sum(1) * mask.unsqueeze(1)
    return (
        (mask - mask_step * for_mask.sign()).clamp_(0, 1).cpu(),
        (canvas - canvas_step * for_canvas.sign()).clamp_(0, 1).cpu(),
    )


def _total_variation_gradient(mask: Tensor) -> Tensor:
    """Gradient of ‖∇m‖₂ (Eq. 3), finite differences; (j, H, W)."""
    with torch.enable_grad():
        m = mask.detach().requires_grad_(True)
        dy, dx = m.diff(dim=1), m.diff(dim=2)
        norms = (dy.square().sum((1, 2)) + dx.square().sum((1, 2)) + 1e-12).sqrt()
        (gradient,) = torch.autograd.grad(norms.sum(), m)
    return gradient


def cut(masks: Tensor, size: float) -> Tensor:
    """The γ of Algorithm 1, chosen by pattern size: the ``size`` share of pixels with the largest mask becomes 1.

    (J, H, W) → (J, H, W) of 0 and 1, with at least one pixel.
    """
    flat = masks.flatten(1)
    count = max(1, round(size * flat.shape[1]))
    out = torch.zeros_like(flat)
    out.scatter_(1, flat.topk(count, dim=1).indices, 1.0)
    return out.view_as(masks)


def forms(mask: Tensor, sizes: Sequence[float], windows: Sequence[float]) -> list[Tensor]:
    """All forms in which one mask (H, W) is tested: its strongest pixels at ``sizes``, then its windows."""
    one = mask.unsqueeze(0)
    return [cut(one, s)[0] for s in sizes] + [cut_window(one, s)[0] for s in windows]


def cut_window(masks: Tensor, size: float) -> Tensor:
    """The square window of a ``size`` share of the pixels that holds the most mask becomes 1.

    (J, H, W) → (J, H, W) of 0 and 1. A patch trigger is compact; the pixels that natural features of a class need are
    scattered. Not in the paper.
    """
    height, width = masks.shape[-2:]
    side = min(height, width, max(1, round((size * height * width) ** 0.5)))
    mass = F.avg_pool2d(masks.unsqueeze(1), side, stride=1).flatten(1)
    corner = mass.argmax(dim=1)
    columns = width - side + 1
    top, left = (corner // columns).view(-1, 1, 1), (corner % columns).view(-1, 1, 1)
    ys = torch.arange(height, device=masks.device).view(1, -1, 1)
    xs = torch.arange(width, device=masks.device).view(1, 1, -1)
    return ((ys >= top) & (ys < top + side) & (xs >= left) & (xs < left + side)).to(masks.dtype)


@torch.no_grad()
def margins(model: Classifier, images: Tensor, mask: Tensor, pattern: Tensor, target: int) -> Tensor:
    """Logit of ``target`` minus the strongest other, for ``images`` (N, C, H, W) with a pattern put on; (N,), CPU.

    Above 0: the pattern turned the image into the target.
    """
    mask, pattern = mask.to(model.device), pattern.to(model.device)
    rows = [model.logits(torch.lerp(b.to(model.device), pattern, mask)).cpu() for b in model.batches(images)]
    return target_margin(torch.cat(rows), target)


def target_margin(logits: Tensor, target: int) -> Tensor:
    """(N, K) → (N,) logit of ``target`` minus the strongest other."""
    return target_margins(logits, torch.full((len(logits),), target, device=logits.device))


def target_margins(logits: Tensor, targets: Tensor) -> Tensor:
    """(N, K) and (N,) → (N,) logit of each row's own target minus the strongest other; differentiable."""
    own = targets.unsqueeze(1)
    return logits.gather(1, own).squeeze(1) - logits.scatter(1, own, -torch.inf).amax(1)


@torch.no_grad()
def usual_margin(model: Classifier, images: Tensor) -> float:
    """How surely the model answers clean images: the median of top minus second logit."""
    logits = torch.cat([model.logits(b.to(model.device)).cpu() for b in model.batches(images)])
    top = logits.topk(2, dim=1).values
    return float((top[:, 0] - top[:, 1]).median())
