"""Two audits side by side: which verdict is worse, what changed, and what is concluded."""

from __future__ import annotations

import inspect
import itertools
from dataclasses import replace

import pytest
from short_audits import BAD, CLEAN, ODD, OPEN, RANKED, audit, evidence, outcome

from auditor.comparing import BESIDE, Change, Shift, compare, where
from auditor.exit_codes import of_comparison
from auditor.findings import Audit, FileFacts, Outcome, Verdict
from auditor.loading.onnx_graph import file


@pytest.mark.parametrize(("first", "second"), list(itertools.product(range(3), range(3))))
def test_the_order_of_verdicts_decides_what_is_worse(first: int, second: int) -> None:
    audits = list(RANKED.values())
    found = compare(audits[first], audits[second])
    assert (found.change is Change.WORSE) == (second > first)
    assert (found.change is Change.BETTER) == (second < first)
    assert of_comparison(found) == (1 if second > first else 0)


@pytest.mark.parametrize("other", list(RANKED.values()), ids=lambda a: a.verdict.value)
def test_an_inconclusive_audit_compares_with_nothing(other: Audit) -> None:
    for pair, which in (((OPEN, other), "first"), ((other, OPEN), "second")):
        found = compare(*pair)
        assert found.change is Change.INCONCLUSIVE
        assert found.conclusion.startswith(f"The two audits cannot be compared: the {which} is inconclusive, and the ")
        assert of_comparison(found) == 2
    assert compare(OPEN, OPEN).conclusion.startswith("The two audits cannot be compared: both are inconclusive")


@pytest.mark.parametrize(
    ("first", "second", "conclusion"),
    [
        (
            BAD,
            CLEAN,
            "The second audit found no evidence of the backdoor that the first one named (class 7), "
            "which is no proof that it is gone.",
        ),
        (
            ODD,
            CLEAN,
            "The second audit found no evidence of what made the first suspicious (class 7), "
            "which is no proof that it is gone.",
        ),
        (
            CLEAN,
            BAD,
            "The second audit named a backdoor (class 7) where the first one found no evidence of a backdoor.",
        ),
        (CLEAN, ODD, "The second audit is suspicious (class 7) where the first one found no evidence of a backdoor."),
        (BAD, ODD, "The second audit is only suspicious (class 7) where the first one named a backdoor (class 7)."),
        (ODD, BAD, "The second audit named a backdoor (class 7) where the first one was only suspicious (class 7)."),
        (
            CLEAN,
            replace(CLEAN, model=BAD.model),
            "Neither audit found evidence of a backdoor, which is no proof that there is none.",
        ),
        (BAD, replace(BAD, model=CLEAN.model), "Both audits named a backdoor (class 7)."),
        (
            BAD,
            audit(Verdict.BACKDOORED, 2, 3, source_classes=(1,)),
            "Both audits named a backdoor: class 7 in the first, classes 2 and 3 from class 1 in the second.",
        ),
        (
            ODD,
            replace(ODD, model=BAD.model, target_classes=()),
            "Both audits are suspicious: class 7 in the first, no class in the second.",
        ),
    ],
)
def test_the_conclusion_says_what_the_audits_say(first: Audit, second: Audit, conclusion: str) -> None:
    assert compare(first, second).conclusion == conclusion


def test_the_same_audit_twice_changes_nothing() -> None:
    found = compare(BAD, BAD)
    assert found.change is Change.EQUAL
    assert found.conclusion == "Both audits named a backdoor (class 7); both are of the same file."
    assert (found.score_difference, found.targets_gained, found.targets_lost, found.caveats) == (0, (), (), ())
    assert [pair.shift for pair in found.statistics] == [Shift.STAYED]
    assert found.files.same_file
    assert found.files.same_architecture
    assert of_comparison(found) == 0


def test_another_verdict_on_the_same_file_is_not_the_models_doing() -> None:
    found = compare(BAD, replace(CLEAN, model=BAD.model))
    assert found.conclusion.endswith("; both are of the same file, so it is not the model that changed.")


def test_weights_beside_the_file_are_part_of_it() -> None:
    beside = [replace(BAD, warnings=(f"{BESIDE} 'w.bin', SHA-256 {digest}",)) for digest in ("ab", "cd")]
    assert compare(beside[0], beside[0]).files.same_file
    assert compare(*beside).files.same_file is False
    assert f'f"{BESIDE} ' in inspect.getsource(file)


def test_what_a_file_does_not_tell_is_not_said_to_be_the_same() -> None:
    bare = replace(BAD, model=FileFacts("x", "", "onnx"))
    files = compare(bare, bare).files
    assert (files.same_file, files.same_architecture, files.same_classes, files.same_input) == (None,) * 4


def test_target_classes_gained_and_lost() -> None:
    found = compare(audit(Verdict.BACKDOORED, 7, 2), audit(Verdict.BACKDOORED, 3, 7))
    assert (found.targets_gained, found.targets_lost) == ((3,), (2,))
    assert compare(BAD, CLEAN).score_difference == pytest.approx(-0.8)
    assert where(audit(Verdict.BACKDOORED, *range(8))) == "classes 0, 1, 2, 3, 4, 5 and 2 more"


def test_statistics_are_paired_and_what_changed_comes_first() -> None:
    first = replace(
        BAD,
        evidence=(evidence("quiet", p=0.5), evidence("gone"), evidence("stayed"), evidence("came", p=0.3)),
    )
    second = replace(
        BAD,
        evidence=(evidence("came"), evidence("stayed"), evidence("gone", p=0.4), evidence("quiet", p=0.9)),
    )
    found = compare(first, second)
    assert [(p.detector, p.shift.value) for p in found.statistics] == [
        ("came", "appeared"),
        ("gone", "gone"),
        ("stayed", "stayed"),
        ("quiet", "quiet"),
    ]
    gone = found.statistics[1]
    assert gone.first is not None
    assert gone.second is not None
    assert (gone.first.corrected_p, gone.second.corrected_p) == (1e-4, 0.4)


def test_a_statistic_that_is_there_twice_loses_nothing() -> None:
    twice = replace(BAD, evidence=(evidence(), evidence(value=0.2, p=0.5)))
    values = [(p.first and p.first.value, p.second and p.second.value) for p in compare(twice, BAD).statistics]
    assert values == [(0.7, 0.7), (0.2, None)]


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ((), "not asked for"),
        ((outcome("iscp", skipped=True),), "skipped"),
        ((outcome("iscp", expected=3),), "incomplete"),
        ((outcome("iscp"),), "not judged"),
    ],
)
def test_what_was_not_judged_again_is_not_gone(outcomes: tuple[Outcome, ...], status: str) -> None:
    found = compare(BAD, replace(CLEAN, evidence=(evidence("other", p=0.5),), outcomes=outcomes))
    (pair,) = [p for p in found.statistics if p.detector == "iscp"]
    assert pair.shift is Shift.UNPAIRED
    assert pair.status == ("judged", status)
    assert found.caveats[0].startswith("The second audit did not judge iscp's prominence")
    assert found.caveats[0].endswith("which the first did: what stood out there may still be there.")
    assert found.conclusion.endswith("; but more than the model differs between them, which may be the reason.")


def test_a_statistic_that_only_the_second_judged_matters_when_it_stands_out() -> None:
    quiet = replace(CLEAN, model=BAD.model, evidence=(*CLEAN.evidence, evidence("head", p=0.9)))
    assert compare(CLEAN, quiet).caveats == ()
    loud = replace(BAD, evidence=(*CLEAN.evidence, evidence("head")))
    assert compare(CLEAN, loud).caveats == (
        "The first audit did not judge head's prominence (not asked for): "
        "what stands out in the second may not be new.",
    )
