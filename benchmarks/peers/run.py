"""One result a model and method, kept as JSON; what is there is not run again."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.peers import schedule
from benchmarks.peers.mm_bd import Settings as MarginSettings
from benchmarks.peers.mm_bd import mm_bd
from benchmarks.peers.models import ZooModel
from benchmarks.peers.neural_cleanse import neural_cleanse
from benchmarks.peers.result import PeerResult

METHODS = ("neural_cleanse", "mm_bd")

Task = tuple[ZooModel, str, Path, bool]
"""model, method, file of the result, whether at a quarter of the steps"""


def tasks(models: Sequence[ZooModel], methods: Sequence[str], out: Path, *, quarter: bool = False) -> list[Task]:
    """What is still to be run. Results at a quarter of the steps lie apart, in ``OUT/METHOD-quarter``."""
    paths = [(m, method, out / (f"{method}-quarter" if quarter else method) / f"{m.name}.json", quarter)
             for method in methods for m in models]  # fmt: skip
    return [task for task in paths if not task[2].exists()]


def judge(model: ZooModel, method: str, *, quarter: bool = False, seed: int = 0) -> PeerResult:
    """One method on one model. Neural Cleanse gets all its clean images, MM-BD none."""
    classifier, generator = model.open(), torch.Generator().manual_seed(seed)
    share = 4 if quarter else 1
    if method == "mm_bd":
        constants = MarginSettings()
        return mm_bd(classifier, generator, replace(constants, steps=constants.steps // share))
    settings = schedule.Settings()
    settings = replace(settings, steps=settings.steps // share)
    return neural_cleanse(classifier, model.clean_images(generator), generator, settings)


def run(todo: Sequence[Task], jobs: int) -> Iterator[str]:
    """Run the tasks, ``jobs`` at a time with one thread each; yields a line for each that ends.

    A task that fails is a line too and leaves no file, so that the next run tries it again. When a worker dies, its
    tasks are given up instead of being waited for.
    """
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        pending = {pool.submit(_run_one, task): task for task in todo}
        for future in as_completed(pending):
            model, method, *_ = pending[future]
            try:
                yield future.result()
            except BrokenProcessPool:
                yield f"{method:15} {model.name:28} FAILED: a worker died; run again, with --jobs 1 if memory is short"


def _run_one(task: Task) -> str:
    model, method, path, quarter = task
    torch.set_num_threads(1)
    try:
        result = judge(model, method, quarter=quarter)
        result.save(path)
    except Exception as error:  # one model that fails must not end a comparison; it shows as missing
        return f"{method:15} {model.name:28} FAILED {type(error).__name__}: {error}"
    return f"{method:15} {model.name:28} {described(result)}"


def described(result: PeerResult) -> str:
    """Score, decision and cost in one line."""
    shown = f"index {result.score:.2f}" if result.method == "neural_cleanse" else f"p {math.exp(-result.score):.3g}"
    named = f"flagged {list(result.target_classes)}" if result.flagged else "not flagged"
    return f"{shown:12} {named:14} {result.passes:,} passes {result.seconds:.0f} s"
