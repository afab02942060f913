"""What rules earn is told by verdicts without them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from auditor import case, confirming, telling
from auditor.findings import Verdict
from benchmarks.judged import Judged
from benchmarks.rules import JUDGING, RULES, Rule, earned, suspended, table, worth

CLEAN = Judged({"target_classes": []}, Verdict.NO_EVIDENCE, 0.1, (), None, 1, 1.0)
PLANTED = Judged({"target_classes": [3]}, Verdict.BACKDOORED, 0.99, (3,), 0.9, 1, 1.0)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.what)
def test_every_rule_is_one_that_the_judgement_has(rule: Rule) -> None:
    before = [dict(vars(module)) for module in JUDGING]
    with suspended(rule):
        assert [dict(vars(module)) for module in JUDGING] != before
    assert [dict(vars(module)) for module in JUDGING] == before


def test_a_name_that_no_module_has_is_refused() -> None:
    with pytest.raises(KeyError, match="NOWHERE"), suspended(Rule("none", {"NOWHERE": 0, "COMPACT": 0.0})):
        pass


def test_a_rule_holds_again_after_an_error() -> None:
    before = confirming.COMPACT

    def fail() -> None:
        with suspended(Rule("compact", {"COMPACT": 0.5})):
            assert confirming.COMPACT == case.COMPACT == telling.COMPACT == 0.5
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert confirming.COMPACT == case.COMPACT == telling.COMPACT == before


def test_a_right_answer_is_worth_more_than_none_and_none_more_than_a_wrong_one() -> None:
    open_, passed = Verdict.INCONCLUSIVE, Verdict.NO_EVIDENCE
    planted = [replace(PLANTED, named=(4,)), replace(PLANTED, verdict=passed, named=()),
               replace(PLANTED, verdict=open_, named=()), replace(PLANTED, verdict=Verdict.SUSPICIOUS)]  # fmt: skip
    clean = [replace(CLEAN, verdict=v) for v in (Verdict.BACKDOORED, Verdict.SUSPICIOUS, open_, passed)]
    assert [worth(row) for row in planted] == [worth(row) for row in clean] == [-1, 0, 1, 2]


def test_models_are_named_where_the_rule_makes_their_verdict_right_or_wrong() -> None:
    missed, flagged = replace(PLANTED, verdict=Verdict.NO_EVIDENCE), replace(CLEAN, verdict=Verdict.SUSPICIOUS)
    some = [("same", CLEAN), ("found by it", PLANTED), ("lost by it", missed), ("passed by it", CLEAN)]
    found = earned(some, [CLEAN, missed, PLANTED, flagged])
    assert (found.planted, found.clean) == (("found by it",), ("passed by it",))
    assert (found.planted_lost, found.clean_lost) == (("lost by it",), ())
    text = table([(Rule("a rule", {}), found, earned([], []))], (4, 0))
    assert "| a rule | planted +1 −1, clean +1 −0 | planted +0 −0, clean +0 −0 |" in text
    assert "right by it found by it, passed by it; wrong by it lost by it" in text
