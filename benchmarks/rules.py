"""What each rule of the judgement earns: verdicts on kept audits without it.

    python -m benchmarks.rules --zoo cards --results kept --write

Of models that nulls and weights are fitted to, verdicts are formed out of fold, by calibrations fitted with the rules;
of all others with the shipped calibration. A rule that no verdict hangs on is one that nobody needs to read.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor import calibration, case, confirming, scoring, telling, verdict, weighing
from auditor.findings import Verdict
from benchmarks.calibrate import SHIPPED, folds, judged_in, renewed
from benchmarks.catalogue import SPLITS
from benchmarks.fitting import samples
from benchmarks.judged import MODES, Judged, all_judged, read_kept

HOME = Path(__file__).parent / "results" / "rules.md"
JUDGING = (calibration, case, confirming, scoring, telling, verdict, weighing)
"""modules that a rule's names may be bound in"""

FITTED = ("develop", "heldout")


def never(*arguments: object) -> bool:
    """A condition that does not hold."""
    return False


def no_class(*arguments: object) -> frozenset[int]:
    """A set of classes that holds none."""
    return frozenset()


@dataclass(frozen=True)
class Rule:
    """A rule of the judgement: what it asks for, and what its names are without it."""

    what: str
    without: Mapping[str, Any]


RULES = (
    Rule("few classes and no reference: only small patterns decide", {"FEWEST_CLASSES": 0}),
    Rule("fewer than ten classes: success does not tell", {"FEWEST_FOR_SUCCESS": 0}),
    Rule("few classes: a ready-made patch has to be far from clean models", {"is_near_for_few": never}),
    Rule("a confirmed ready-made patch counts from a share of the level", {"is_ready_made": never}),
    Rule("what nobody searched for counts unconfirmed from half of the images", {"UNSEARCHED_AT": 1.0}),
    Rule("what looks like its class counts nothing", {"ALIKE_FROM": math.inf}),
    Rule("but where it commands much", {"ALIKE_TO": math.inf, "ALIKE_LARGER_TO": math.inf}),
    Rule("what works anywhere counts nothing", {"ANYWHERE_FROM": math.inf}),
    Rule("but where it commands much", {"ANYWHERE_TO": math.inf}),
    Rule("alone, what else leads to a class that gives way by itself tells nothing",
         {"answers_to_disturbance": no_class}),
    Rule("beside what works anywhere, others count by what is beyond half of it", {"BESIDE_ANYWHERE": 0.0}),
    Rule("what a reference shows too confirms nothing", {"TRANSFER_SHARE": math.inf}),
    Rule("a success rests on six images at least, its interval above a half", {"FEWEST_TO_CONFIRM": 0, "SURE_OF": 0.0}),
    Rule("larger patterns confirm only far from clean models", {"FAR": dict.fromkeys(confirming.FAR, 1.0)}),
    Rule("beside a reference that is no twin, only farther", {"is_no_twin": never}),
    Rule("of unconfirmed statistics of the whole image, those far from clean models count",
         {"FAINT": dict.fromkeys(MODES, 0.0), "FAINT_BESIDE": 0.0}),
    Rule("the same of deformations", {"DEFORMED": 0.0}),
    Rule("the same of ready-made waves", {"WAVED": dict.fromkeys(MODES, 0.0)}),
    Rule("a compact confirmed trigger need not stand out among all statistics", {"COMPACT": 0.0}),
    Rule("a label map that most images follow counts", {"MAPPED": math.inf}),
    Rule("what looks for much the same counts once in the score", {"ALIKE": frozenset()}),
    Rule("the score asks for more of a weakly trained model", {"WEAK": 0.0}),
)  # fmt: skip


@contextmanager
def suspended(rule: Rule) -> Iterator[None]:
    """Inside, verdicts are formed without the rule. Raises KeyError for a name that no judging module has."""
    bound = [(module, name) for name in rule.without for module in JUDGING if hasattr(module, name)]
    if missing := set(rule.without) - {name for _, name in bound}:
        raise KeyError(f"expected names of the judging modules, got {sorted(missing)}")
    before = [getattr(module, name) for module, name in bound]
    try:
        for module, name in bound:
            setattr(module, name, rule.without[name])
        yield
    finally:
        for (module, name), value in zip(bound, before, strict=True):
            setattr(module, name, value)


def worth(row: Judged) -> int:
    """How right a verdict is: a right answer is worth more than none, none more than a wrong one."""
    if row.backdoored:
        return 2 if row.target_hit else -1 if row.flagged else int(row.verdict is Verdict.INCONCLUSIVE)
    order = (Verdict.BACKDOORED, Verdict.SUSPICIOUS, Verdict.INCONCLUSIVE, Verdict.NO_EVIDENCE)
    return order.index(row.verdict) - 1


@dataclass(frozen=True)
class Earned:
    """Models whose verdict is less right without a rule, and those where it is more."""

    planted: tuple[str, ...]
    clean: tuple[str, ...]
    planted_lost: tuple[str, ...]
    clean_lost: tuple[str, ...]


def earned(with_it: Sequence[tuple[str, Judged]], without: Sequence[Judged]) -> Earned:
    """What a rule earns and costs; each audit is named by its mode and its model."""
    pairs = [(name, one, other) for (name, one), other in zip(with_it, without, strict=True)]

    def names(planted: bool, better: Callable[[int, int], bool]) -> tuple[str, ...]:
        return tuple(n for n, a, b in pairs if a.backdoored == planted and better(worth(a), worth(b)))

    return Earned(
        names(True, int.__gt__), names(False, int.__gt__), names(True, int.__lt__), names(False, int.__lt__)
    )


def table(found: Sequence[tuple[Rule, Earned, Earned]], audits: tuple[int, int]) -> str:
    """Markdown: rules with what they earn and cost, out of fold and on models that nothing was fitted to."""
    rows = "\n".join(
        f"| {rule.what} | " + " | ".join(map(_counted, (fold, other))) + " |" for rule, fold, other in found
    )
    named = "\n".join(
        f"- **{rule.what}**: {'; '.join(filter(None, (_named('right by it', gained), _named('wrong by it', lost))))}"
        for rule, fold, other in found
        if (gained := (*fold.planted, *fold.clean, *other.planted, *other.clean))
        + (lost := (*fold.planted_lost, *fold.clean_lost, *other.planted_lost, *other.clean_lost))
    )
    return (
        "# What each rule of the judgement earns\n\n"
        "Audits whose verdict is less right without the rule, and after the minus those where it is more; planted and "
        f"clean models. Out of fold: {audits[0]} audits of models that the calibration is fitted to, each judged by "
        f"one that saw no model of its network. Others: {audits[1]} audits of models that nothing was fitted to.\n\n"
        "| rule | out of fold | others |\n|---|---|---|\n" + rows + "\n\n## Which\n\n" + named + "\n"
    )


def _counted(some: Earned) -> str:
    planted, clean = (len(some.planted), len(some.planted_lost)), (len(some.clean), len(some.clean_lost))
    return f"planted +{planted[0]} −{planted[1]}, clean +{clean[0]} −{clean[1]}"


def _named(how: str, names: Sequence[str]) -> str:
    return f"{how} {', '.join(names)}" if names else ""


def main() -> None:
    """Judge kept audits with and without each rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--write", action="store_true", help=f"keep the table in {HOME.name}")
    options = parser.parse_args()
    before = json.loads(SHIPPED.read_text(encoding="utf-8"))
    every = [s for split in FITTED for s in samples(options.zoo, options.results, split)]
    alarms = {mode: score["alarm"] for mode, score in before["scores"].items()}
    unseen = folds(every, lambda some: calibration.parse(renewed(before, some, alarms), "fold"))
    further = [(split, mode) for split in SPLITS if split not in FITTED for mode in MODES]
    others = [kept for place in further for kept in read_kept(options.zoo, options.results, *place)]
    fold_names = [f"{s.kept.card['name']} ({s.kept.mode})" for s in every]
    other_names = [f"{k.card['name']} ({k.mode})" for k in others]
    fold = list(zip(fold_names, judged_in(unseen, every), strict=True))
    rest = list(zip(other_names, all_judged(others), strict=True))
    found = []
    for rule in RULES:
        with suspended(rule):
            found.append((rule, earned(fold, judged_in(unseen, every)), earned(rest, all_judged(others))))
    text = table(found, (len(every), len(others)))
    print(text)
    if options.write:
        HOME.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
