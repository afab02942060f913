"""Which classes are explained, in what order, and at what cost: pictures of why, once the verdict is there.

Nothing here changes a verdict. A panel that fails, or finds no time or passes left, is left out with a note.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from auditor.classifier import Classifier
from auditor.context import Context
from auditor.errors import OutOfBudget
from auditor.explain.essence import region_panel, salient_panel
from auditor.explain.gaze import attention_panel, sensitivity_panel
from auditor.explain.inside import filters_panel, takeover_panel
from auditor.explain.probing import probes_panel
from auditor.explain.subject import TOO_FEW, Subject, plan
from auditor.explain.transforms import Detail
from auditor.explanations import Explanation, Panel, PanelKind, Role
from auditor.findings import Audit, Evidence, Trigger

SHARE = 0.4
"""of the scan's image passes that standard explanations may take"""

AS_LONG = 0.8
"""of the scan's seconds that standard explanations may take, since small batches make their passes dearer"""

ENOUGH = 12_000
"""image passes that standard explanations take at most, however long the scan was, and where there was none"""

LARGE = 96 * 96
"""pixels of an image from which a third of `ENOUGH` has to do: on a processor each pass takes a tenth of a second"""

PROBED = 0.5
"""share of what the cheap panels left that the probes may take; salient patterns get the rest"""

SLOWER = 0.6
"""pace of explanations, in passes a second, beside the scan's: their batches are smaller"""

TOO_LATE = "left out: the explanations had taken as long as the scan; --explain full draws it"

MOST_CLASSES = 2
"""classes explained at the standard detail; full has no bound but `MOST_IN_FULL`"""

MOST_IN_FULL = 10

Draw = Callable[[Subject], Panel | None]

LOOKS: tuple[tuple[PanelKind, Draw], ...] = (
    ("attention", attention_panel),
    ("sensitivity", sensitivity_panel),
    ("takeover", takeover_panel),
    ("filters", filters_panel),
)
"""of a class, cheap"""

ESSENCE: tuple[tuple[PanelKind, Draw], ...] = (("salient pattern", salient_panel), ("region", region_panel))
"""of a class, with what is left"""


@dataclass(frozen=True)
class Bounds:
    """What explanations may take."""

    passes: int
    """image passes, of all models together"""
    seconds: float | None = None
    pace: float = math.inf
    """image passes a second that they can count on: where that is too few for the passes, less is drawn"""


@dataclass(frozen=True)
class Chosen:
    """A class to explain, and why."""

    role: Role
    target: int
    trigger: Trigger | None = None
    compared: int | None = None


def ceiling(model: Classifier) -> int:
    """Image passes that standard explanations of a model take at most."""
    _, height, width = model.input_shape
    return ENOUGH // 3 if height * width > LARGE else ENOUGH


def beside(audit: Audit, model: Classifier) -> Bounds:
    """What standard explanations may take beside a scan."""
    passes = min(ceiling(model), int(SHARE * audit.image_passes))
    return Bounds(passes, AS_LONG * audit.seconds, SLOWER * audit.image_passes / max(1e-3, audit.seconds))


def check_settings(settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises `ConfigError` for what no explanation declares: before the work, not after it."""
    for table in settings:
        plan(table, settings)


def explain(
    ctx: Context,
    chosen: Sequence[Chosen],
    *,
    detail: Detail,
    bounds: Bounds | None,
    settings: Mapping[str, Mapping[str, Any]],
) -> tuple[Explanation, ...]:
    """Explanations of the chosen classes, then of the model as a whole. Never raises for what the model does.

    Ctrl-C ends it; what is drawn is kept.
    """
    drawing = _Drawing(ctx, bounds)
    ctx = replace(drawing.ctx, title="explaining")
    subjects = [Subject(ctx, c.target, c.compared, c.trigger, detail, settings=settings) for c in chosen]
    panels, spent = [], []
    for subject in subjects:
        began = time.monotonic()
        panels.append(drawing.panels(subject, LOOKS))
        spent.append(time.monotonic() - began)
    lead = subjects[0] if subjects else Subject(ctx, 0, detail=detail, settings=settings)
    left = drawing.affordable
    part = None if left is None else int(PROBED * max(0, left))
    began, whole = time.monotonic(), drawing.panels(replace(lead, allowance=part), (("probes", probes_panel),))
    of_model = Explanation(
        "the model", None, tuple(whole), triggered=lead.trigger is not None, seconds=time.monotonic() - began
    )
    for number, subject in enumerate(subjects):
        kinds = ESSENCE if detail == "full" else ESSENCE[:1]
        left = drawing.affordable
        share = None if left is None else left // (len(subjects) - number)
        began = time.monotonic()
        panels[number] += drawing.panels(replace(subject, allowance=share), kinds)
        spent[number] += time.monotonic() - began
    return (
        *(
            Explanation(c.role, c.target, tuple(drawn), c.compared, c.trigger is not None, took)
            for c, drawn, took in zip(chosen, panels, spent, strict=True)
        ),
        of_model,
    )


class _Drawing:
    """Panels one after the other, within their passes and their time."""

    def __init__(self, ctx: Context, bounds: Bounds | None) -> None:
        self.left = bounds.passes if bounds else None
        self.pace = bounds.pace if bounds else math.inf
        seconds = bounds.seconds if bounds else None
        until = math.inf if seconds is None else time.monotonic() + seconds
        ours = until < (math.inf if ctx.deadline is None else ctx.deadline)
        self.ctx = replace(ctx, deadline=until) if ours else ctx
        self.too_late = TOO_LATE if ours else "left out: the time budget was spent"
        self.halted = ""

    @property
    def affordable(self) -> int | None:
        """Image passes that are left, and not more than there is time for; None = no bound.

        Only where time runs out before passes does it depend on the machine's pace what is drawn.
        """
        if self.left is None or self.ctx.deadline is None or math.isinf(self.pace):
            return self.left
        return min(self.left, int(self.pace * max(0.0, self.ctx.deadline - time.monotonic())))

    def panels(self, subject: Subject, kinds: Sequence[tuple[PanelKind, Draw]]) -> list[Panel]:
        """One panel of each kind that applies."""
        return [panel for kind, draw in kinds if (panel := self._panel(subject, kind, draw)) is not None]

    def _panel(self, subject: Subject, kind: PanelKind, draw: Draw) -> Panel | None:
        if not self.halted and self.ctx.deadline is not None and time.monotonic() > self.ctx.deadline:
            self.halted = self.too_late
        if not self.halted and self.left is not None and self.left <= 0:
            return Panel(kind, note=TOO_FEW)
        if self.halted:
            return Panel(kind, note=self.halted)
        before = self.ctx.passes
        panel: Panel | None
        try:
            panel = draw(subject)
        except OutOfBudget:
            self.halted = self.too_late
            panel = Panel(kind, note=self.halted)
        except KeyboardInterrupt:
            self.halted = "left out: interrupted by the user"
            panel = Panel(kind, note=self.halted)
        except Exception as error:  # networks can fail in any way here, and the verdict must survive it
            first = (str(error).strip().splitlines() or [""])[0]
            panel = Panel(kind, note=f"could not be drawn: {type(error).__name__}: {first[:200]}")
        took = self.ctx.passes - before
        if self.left is not None:
            self.left -= took
        return None if panel is None else replace(panel, passes=took)


def of_audit(audit: Audit, detail: Detail) -> list[Chosen]:
    """The classes of an audit that are worth explaining: those that stand out; at full detail the leader else."""
    k = audit.model.num_classes or 0
    standing = list(audit.target_classes)[: MOST_CLASSES if detail == "standard" else MOST_IN_FULL]
    plain = inconspicuous(audit, k)
    if standing:
        return [Chosen("stands out", c, trigger_of(audit, c), plain) for c in standing]
    leading = [e for e in audit.evidence if e.target_classes]
    if detail == "standard" or not leading:
        return []
    first = min(leading, key=lambda e: e.p_value).target_classes[0]
    return [Chosen("most conspicuous", first, trigger_of(audit, first), plain)]


def trigger_of(audit: Audit, target: int) -> Trigger | None:
    """The best trigger that was recovered for a class, on held-out images; the audit's own first."""
    if audit.trigger is not None and audit.target_classes == (target,):
        return audit.trigger
    found = [
        m.trigger
        for outcome in audit.outcomes
        for m in outcome.measurements
        if m.trigger is not None and m.target_class == target
    ]
    return max(found, key=lambda t: t.success_rate, default=None)


def inconspicuous(audit: Audit, num_classes: int) -> int | None:
    """A class in the middle of what was ranked by class, no target and no source; None with fewer than three."""
    taken = {*audit.target_classes, *audit.source_classes}
    others = [c for c in range(num_classes) if c not in taken]
    if not others or num_classes < 3:
        return None
    scores = _scores(audit.evidence, num_classes)
    ranked = sorted(others, key=lambda c: scores[c] if math.isfinite(scores[c]) else math.inf)
    return ranked[len(ranked) // 2]


def _scores(evidence: Sequence[Evidence], num_classes: int) -> Sequence[float]:
    ranked: Iterator[Evidence] = (e for e in sorted(evidence, key=lambda e: e.p_value) if len(e.scores) == num_classes)
    return next((e.scores for e in ranked), [0.0] * num_classes)
