"""Truncated, flipped and spliced model files, opened one after another under a worker's confinement.

    python -m benchmarks.mutations [--count 2000] [--seed 0] [--out benchmarks/results/mutations.md]

Each file must end in a loaded network or in one of the auditor's own sentences, in time and within the memory; nothing
else. The mutated files are small, so that most mutations hit the format and not the weights in it.
"""

from __future__ import annotations

import argparse
import logging
import platform
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.confined import MEMORY_GIB, SECONDS, Job, Outcome, open_all

SHARES = {"onnx": 35, "pt": 20, "safetensors": 20, "pt legacy": 10, "pt2": 7, "torchscript": 8}
"""mutations of each format, in percent"""

SUFFIX = {"onnx": "onnx", "safetensors": "safetensors", "pt2": "pt2"}

ENDINGS = ("loaded", "ModelFileError", "UnsafeFileError", "ArchitectureError", "UnsupportedOperatorsError")


class Tiny(nn.Module):
    """1×8×8 images to four scores; a few hundred weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.fc = nn.Linear(48, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 1, 8, 8) → (N, 4)."""
        x = torch.relu(self.norm(self.conv(x)))
        return self.fc(torch.flatten(torch.max_pool2d(x, 2), 1))


def tiny() -> Tiny:
    """The network that every mutated file holds, with seeded weights."""
    rng, network = torch.Generator().manual_seed(0), Tiny()
    for parameter in network.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=rng)
    return network.eval()


def originals(folder: Path) -> dict[str, bytes]:
    """The network in each format, whole."""
    from safetensors.torch import save_file

    network, image = tiny(), torch.zeros(2, 1, 8, 8)
    state = network.state_dict()
    paths = {name: folder / f"whole-{index}" for index, name in enumerate(SHARES)}
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (image,), paths["onnx"], dynamo=False, input_names=["image"], dynamic_axes={"image": {0: "n"}}
        )
        torch.jit.save(torch.jit.trace(network, image), paths["torchscript"])
        exported = torch.export.export(network, (image,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
        archive = paths["pt2"].with_suffix(".pt2")
        torch.export.save(exported, archive)
    logging.disable(logging.NOTSET)
    torch.save(state, paths["pt"])
    torch.save(state, paths["pt legacy"], _use_new_zipfile_serialization=False)
    save_file(state, paths["safetensors"])
    archive.rename(paths["pt2"])
    return {name: path.read_bytes() for name, path in paths.items()}


def _truncated(data: bytearray, rng: np.random.Generator) -> None:
    del data[int(rng.integers(len(data))) :]


def _flipped(data: bytearray, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 9))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))


def _overwritten(data: bytearray, rng: np.random.Generator) -> None:
    """Bytes that numbers end at: sizes and counts become 0, 127, 128, 255."""
    start = int(rng.integers(len(data)))
    for place in range(start, min(len(data), start + int(rng.integers(1, 9)))):
        data[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))


def _removed(data: bytearray, rng: np.random.Generator) -> None:
    start = int(rng.integers(len(data)))
    del data[start : start + int(rng.integers(1, 65))]


def _inserted(data: bytearray, rng: np.random.Generator) -> None:
    start = int(rng.integers(len(data)))
    data[start:start] = rng.bytes(int(rng.integers(1, 65)))


def _copied(data: bytearray, rng: np.random.Generator) -> None:
    """A piece of the file over another, or between."""
    start, target = (int(place) for place in rng.integers(len(data), size=2))
    piece = data[start : start + int(rng.integers(1, 257))]
    data[target : target + (len(piece) if rng.random() < 0.5 else 0)] = piece


MUTATIONS: Sequence[Callable[[bytearray, np.random.Generator], None]] = (
    _truncated, _flipped, _flipped, _overwritten, _removed, _inserted, _copied,
)  # fmt: skip


@dataclass(frozen=True)
class Mutated:
    """One mutated file and how it went."""

    format: str
    kind: str
    outcome: Outcome


def counts(total: int) -> dict[str, int]:
    """How many mutations each format gets."""
    shares = {name: total * share // 100 for name, share in SHARES.items()}
    shares["onnx"] += total - sum(shares.values())
    return shares


def mutate(folder: Path, total: int, seed: int) -> list[tuple[str, str, Job]]:
    """Write the files: (format, kind of mutation, job) of each."""
    written = []
    for name, data in originals(folder).items():
        rng = np.random.default_rng([seed, list(SHARES).index(name)])
        for index in range(counts(total)[name]):
            change = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
            mutated = bytearray(data)
            change(mutated, rng)
            path = folder / f"{name.replace(' ', '-')}-{index}.{SUFFIX.get(name, 'pt')}"
            path.write_bytes(mutated)
            written.append((name, change.__name__[1:], Job(str(path), options_of(name))))
    return written


def options_of(name: str) -> dict[str, object]:
    """How `load_network` is asked to read a format."""
    if name in ("pt", "pt legacy", "safetensors"):
        return {"arch": "benchmarks.mutations:tiny"}
    return {"allow_torchscript": True} if name == "torchscript" else {}


def run(total: int, seed: int) -> list[Mutated]:
    """All mutations, opened."""
    with tempfile.TemporaryDirectory() as folder:
        written = mutate(Path(folder), total, seed)
        root = str(Path(__file__).resolve().parents[1])
        outcomes = open_all([job for _, _, job in written], python_path=[root])
    return [Mutated(name, kind, outcome) for (name, kind, _), outcome in zip(written, outcomes, strict=True)]


def table(found: Sequence[Mutated], seed: int) -> str:
    """The results as a page of Markdown."""
    unsound = [one for one in found if not one.outcome.sound]
    columns = [*(f"`{name}`" for name in ENDINGS[1:]), "other", "slowest", "memory"]
    lines = [
        "# Mutated files",
        "",
        f"{len(found):,} truncations, flipped bits, overwritten, removed, inserted, copied bytes (seed {seed}) of one",
        "small network in each format, opened one after another in a process confined like a scan's worker",
        f"({MEMORY_GIB:g} GiB, {SECONDS:g} s each, one thread). Python {platform.python_version()}, torch "
        f"{torch.__version__.partition('+')[0]}. Made by",
        f"`python -m benchmarks.mutations --count {len(found)} --seed {seed}`.",
        "",
        "Each was also examined as `audit inspect` does. Ended neither loaded nor refused in a sentence, failed in the",
        f"examination, or tried something: **{len(unsound)}**.",
        "",
        f"| format | files | loaded | {' | '.join(columns)} |",
        "|---|--:" + "|--:" * (len(ENDINGS) + 3) + "|",
    ]
    for name in SHARES:
        group = [one.outcome for one in found if one.format == name]
        if not group:
            continue
        ended = Counter(outcome.ending for outcome in group)
        other = len(group) - sum(ended[ending] for ending in ENDINGS)
        slowest = max(outcome.seconds for outcome in group)
        memory = max(outcome.peak_mib for outcome in group)
        cells = [name, len(group), *(ended[ending] for ending in ENDINGS), other]
        lines.append("| " + " | ".join(map(str, cells)) + f" | {slowest:.2f} s | {memory:,.0f} MiB |")
    lines += ["", "Memory is what the whole process held at most, its libraries (about 720 MiB) included."]
    for one in unsound[:50]:
        lines.append(f"- {one.format}, {one.kind}: {one.outcome.ending}: {one.outcome.message[:300]!a}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    text = table(run(given.count, given.seed), given.seed)
    print(text)
    if given.out is not None:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
