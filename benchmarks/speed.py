"""How near the detectors come to the speed of the network itself.

    python -m benchmarks.speed [--seconds 5] [--threads 2] [--clock wall] [--only resnet] [--detector iscp]

A *raw* pass is one image through the network and back to its pixels, nothing else: `Classifier.logits` on
batches of the size that the detector sends at that moment, cross-entropy, gradient with respect to the images.
A detector's *search* is its loops that take gradients; only their passes with gradients count, against all the
time they take. The *whole* detector counts a forward pass alone as half, as a scan's report does, against all its
seconds, testing included.

Raw bursts are interleaved with the detector every fraction of a second, at its calls of ``Context.progress``, so that
both see the same machine however busy it is. Printed is the median over repetitions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor import Classifier, Context, registry
from auditor.context import SearchImages
from auditor.detector import Detector
from auditor.errors import ConfigError, OutOfBudget
from auditor.findings import FileFacts, ImageFacts
from auditor.progress import PASSES
from benchmarks.networks import build

CLASSES = 10
DETECTORS = (
    "iscp", "untargeted", "margin", "blend", "low_frequency", "warp", "untargeted_blend", "sources", "features",
    "generator", "pairwise", "dominant_pattern", "bias_map", "colour",
)  # fmt: skip
MODELS: dict[str, tuple[str, tuple[int, int, int]]] = {
    "bias-map CNN, 1×28×28": ("benchmarks.networks:grey_bias_map_cnn", (1, 28, 28)),
    "ResNet-18 width 16, 3×32×32": ("benchmarks.networks:colour_resnet", (3, 32, 32)),
    "torchvision resnet18, 3×32×32": ("torchvision:resnet18", (3, 32, 32)),
}
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
"""``cpu``, with one thread, is the steadier on a machine that others use too"""

SLICE = 0.25
"""seconds of detector between two raw bursts, at least"""


class Watched(Classifier):
    """A classifier that remembers the detector's batch."""

    last_batch = 64
    """images of the latest call with gradients"""

    def logits(self, images: Tensor) -> Tensor:
        """As `Classifier.logits`."""
        if torch.is_grad_enabled() and images.requires_grad:
            self.last_batch = len(images)
        return super().logits(images)


def raw_burst(model: Watched, images: Tensor, classes: Tensor, clock: Clock) -> float:
    """Passes a second of the bare loop, batches of the detector's size forward and back to their pixels."""
    batch = model.last_batch
    rounds = max(1, len(images) // batch)
    began = clock()
    for _ in range(rounds):
        x = images[:batch].detach().requires_grad_(True)
        torch.autograd.grad(F.cross_entropy(Classifier.logits(model, x), classes[:batch], reduction="sum"), x)
    return rounds * batch / (clock() - began)


@dataclass
class Interleaved:
    """A `Progress` that stops the clock now and then for a raw burst, and books time and passes between calls."""

    model: Watched
    burst: Callable[[], float]
    clock: Clock
    search_rates: list[float] = field(default_factory=list)
    """passes with gradients a second, one for each slice between two bursts"""
    search_ratios: list[float] = field(default_factory=list)
    """the same as a share of the mean of the bursts before and after"""
    seconds: float = 0.0
    passes: float = 0.0
    possible: float = 0.0
    """raw passes that ``seconds`` would have held, at the speed of the bursts around each slice"""

    def __post_init__(self) -> None:
        self.raw = [self.burst()]
        self._slice_seconds = self._search_seconds = 0.0
        self._search_passes = 0
        self._resume()

    def _resume(self) -> None:
        self._before = (self.model.gradient_images, self.model.forward_images)
        self._since = self.clock()

    def __call__(self, label: str, done: int, total: int) -> None:
        """One tick of the detector."""
        elapsed = self.clock() - self._since
        gradients = self.model.gradient_images - self._before[0]
        self._slice_seconds += elapsed
        self.passes += gradients + (self.model.forward_images - self._before[1]) / 2
        if gradients:  # a loop that only tests patterns is no search
            self._search_seconds += elapsed
            self._search_passes += gradients
        if self._slice_seconds >= SLICE:
            self.close()
        self._resume()

    def close(self) -> None:
        """Measure the raw speed and book the slice that has just ended."""
        self.raw.append(self.burst())
        around = (self.raw[-2] + self.raw[-1]) / 2
        if self._search_seconds >= SLICE / 4:
            rate = self._search_passes / self._search_seconds
            self.search_rates.append(rate)
            self.search_ratios.append(rate / around)
        self.seconds += self._slice_seconds
        self.possible += self._slice_seconds * around
        self._slice_seconds = self._search_seconds = 0.0
        self._search_passes = 0


@dataclass(frozen=True)
class Speed:
    """What one detector reached on one model."""

    raw: float
    """raw passes a second"""
    search: float
    """passes with gradients a second of the search"""
    search_ratio: float
    """as a share of the raw speed of the moment, median over slices"""
    whole: float | None
    """all passes a second of all phases; None when it was cut short"""
    whole_ratio: float | None


def measure(detector: Detector, model: Watched, images: SearchImages, seconds: float, clock: Clock) -> Speed:
    """Run a detector for ``seconds`` of its own time, or to its end where ``seconds`` is infinite."""
    batch = torch.rand(model.batch_images, *model.input_shape, generator=torch.Generator().manual_seed(1))
    classes = torch.arange(len(batch)) % model.num_classes
    raw_burst(model, batch, classes, clock)  # the first one allocates
    paced = Interleaved(model, lambda: raw_burst(model, batch, classes, clock), clock)

    def progress(label: str, done: int, total: int) -> None:
        if label == PASSES:
            return
        paced(label, done, total)
        if paced.search_rates and paced.seconds >= seconds:  # importing an optimiser alone can take seconds
            raise OutOfBudget(label)

    finished = False
    while not finished and paced.seconds < seconds:
        context = Context(model, images, torch.Generator().manual_seed(0), candidates=(0, 1), progress=progress)
        try:
            for _ in detector.detect(context):
                pass
            finished = True
        except OutOfBudget:
            break
        finally:
            paced("end", 1, 1)
    paced.close()
    if not paced.search_rates:
        raise ConfigError(f"expected a search of at least {SLICE / 4:g} s, got less; raise --seconds")
    whole = (paced.passes / paced.seconds, paced.passes / paced.possible) if finished else (None, None)
    return Speed(median(paced.raw), median(paced.search_rates), median(paced.search_ratios), *whole)


def untrained(architecture: str, shape: tuple[int, int, int], seed: int = 0) -> Watched:
    """A network with fresh weights: speed does not depend on what was learned."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = build(architecture, CLASSES)
    return Watched(module, input_shape=shape, facts=FileFacts(architecture, "", "none"))


def noise_images(shape: tuple[int, int, int], count: int = 500) -> SearchImages:
    """As many random images of every class; an untrained network's own answers would be one class for all."""
    rng = torch.Generator().manual_seed(2)
    pixels = torch.rand(2 * count, *shape, generator=rng)
    classes = torch.arange(count) % CLASSES
    facts = ImageFacts("noise", count, count, False)
    return SearchImages(pixels[:count], classes, pixels[count:], classes, facts)


def rows(only: str, chosen: list[str], seconds: float, clock: Clock) -> Iterator[str]:
    """Lines of a markdown table, as they are measured."""
    yield "| model | detector | raw passes/s | search passes/s | ratio | whole passes/s | ratio |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    for title, (architecture, shape) in MODELS.items():
        if only not in title:
            continue
        model, images = untrained(architecture, shape), noise_images(shape)
        for name in chosen:
            speed = measure(registry.load(registry.DETECTORS, name)(), model, images, seconds, clock)
            whole = "cut short | –" if speed.whole is None else f"{speed.whole:.0f} | {speed.whole_ratio:.2f}"
            yield f"| {title} | {name} | {speed.raw:.0f} | {speed.search:.0f} | {speed.search_ratio:.2f} | {whole} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a detector's time; inf = to its end")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall", help="cpu needs --threads 1")
    parser.add_argument("--only", default="", help="models whose title contains this")
    parser.add_argument("--detector", action="append", choices=DETECTORS, help="repeatable; default: all")
    args = parser.parse_args()
    if args.clock == "cpu" and args.threads != 1:
        parser.error("expected --threads 1 with --clock cpu: waiting threads would count as work")
    torch.set_num_threads(args.threads)
    for line in rows(args.only, args.detector or list(DETECTORS), args.seconds, CLOCKS[args.clock]):
        print(line, flush=True)


if __name__ == "__main__":
    main()
