"""Findings about answers that the image switches: control flow, comparisons, gates, side paths.

A comparison inside an activation (``Where(x > 0, x, a·x)``) chooses every element by itself and is left alone:
condition and both choices are elementwise functions of one value. What is reported is a decision made of one value
that acts on another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnx

from auditor.findings import FileFinding
from auditor.inspection import operations as ops
from auditor.inspection.flow import Flow, Value, Visit
from auditor.loading.onnx_graph.names import reads
from auditor.loading.quoting import listed, quoted

LATE = 2
"""operations with weights behind a path when the raw image joins it"""
_PAIRED = 64
"""operands that are compared with each other; more are only ever written to use up time"""
APART = 3
"""difference of operations with weights between two paths that share none"""


def selection_findings(flow: Flow) -> Iterator[FileFinding]:
    """What switches, gates or bypasses, one finding an operation."""
    for visit in flow.visits:
        if visit.op in ops.CONTROL:
            yield _control(visit)
            continue
        if visit.op == "Where":
            yield from _where(visit)
        yield from _chosen(visit)
        if visit.op not in ops.DECIDING:
            yield from _gated(visit)
            yield from _side_path(visit)
        if visit.op in ops.RANDOM:
            yield FileFinding(
                "random-operation", "warning", f"{_shown(visit)} draws random numbers, so answers may vary", visit.where
            )
    yield from _loop_bodies(flow)


def _shown(visit: Visit) -> str:
    return quoted(visit.op)[1:-1]


def _control(visit: Visit) -> FileFinding:
    deciding = visit.operands[:1] if visit.op == "If" else visit.operands[:2]
    if visit.op != "Scan" and any(value.content for value in deciding):
        return FileFinding(
            "image-switches-branch",
            "danger",
            f"the image decides which branch of {visit.op} is taken: an architectural backdoor needs no more",
            visit.where,
        )
    return FileFinding(
        "control-flow",
        "info",
        f"{visit.op} is in the graph; what decides it does not depend on the image's content",
        visit.where,
    )


def _where(visit: Visit) -> Iterator[FileFinding]:
    if len(visit.operands) < 3 or not visit.operands[0].content:
        return
    condition, *choices = visit.operands
    if all(not value.content or value.anchor == condition.anchor for value in choices) and any(
        value.content for value in choices
    ):
        return
    if not any(value.content for value in choices):
        return  # 1 or 0: a decision still to act on something, which is reported there
    yield FileFinding(
        "image-selects-value",
        "danger",
        "a condition computed from the image selects between other values (Where): a backdoor can be built so",
        visit.where,
    )


def _chosen(visit: Visit) -> Iterator[FileFinding]:
    positions = ops.CHOOSING.get(visit.op, ())
    values = [visit.operands[i] for i in positions if i < len(visit.operands) and visit.operands[i].content]
    if not values:
        return
    sure = max(value.step for value in values) == 2
    yield FileFinding(
        "image-selects-element",
        "danger" if sure else "warning",
        f"which elements {_shown(visit)} takes, or how many, is computed from the image",
        visit.where,
    )


def _gated(visit: Visit) -> Iterator[FileFinding]:
    choosing = ops.CHOOSING.get(visit.op, ())
    content = [value for i, value in enumerate(visit.operands) if value.content and i not in choosing]
    hard = [value for value in content if value.step]
    smooth = [value for value in content if not value.step]
    acting = [value for value in hard if any(value.anchor != other.anchor for other in smooth)]
    if not acting:
        return
    sure = max(value.step for value in acting) == 2
    if sure:
        message = f"a comparison made on the image acts on other values ({_shown(visit)}): it can switch the answer"
    else:
        message = f"a rounded or very steep function of the image acts on other values ({_shown(visit)}), like a switch"
    yield FileFinding("image-gates-value", "danger" if sure else "warning", message, visit.where)


def _side_path(visit: Visit) -> Iterator[FileFinding]:
    content = [value for value in visit.operands if value.content]
    if len(content) < 2:
        return
    depths = [value.depth for value in content]
    if min(depths) == 0 and max(depths) >= LATE:
        yield FileFinding(
            "raw-image-joins-late",
            "warning",
            f"the image joins {_shown(visit)} without having passed weights, behind {max(depths)} layers of the rest",
            visit.where,
        )
    elif max(depths) - min(depths) >= APART and _apart(content):
        yield FileFinding(
            "parallel-branch",
            "warning",
            f"two paths that separate at the image join in {_shown(visit)}, one of {min(depths)} layers, "
            f"one of {max(depths)}",
            visit.where,
        )


def _apart(values: list[Value]) -> bool:
    values = values[:_PAIRED]
    return any(a.entries.isdisjoint(b.entries) for i, a in enumerate(values) for b in values[i + 1 :])


def _loop_bodies(flow: Flow) -> Iterator[FileFinding]:
    """A Loop whose own body computes from the image whether it goes on."""
    for visit in flow.visits:
        decided = any(value.content for value in visit.operands[:2])
        if visit.op == "Loop" and not decided and visit.going_on is not None and visit.going_on.content:
            yield FileFinding(
                "image-switches-branch",
                "danger",
                "the image decides how often the body of Loop runs",
                visit.where,
            )


def unused_findings(model: onnx.ModelProto, flow: Flow) -> Iterator[FileFinding]:
    """Operations on the image that reach no output of the graph, and constants that nothing uses."""
    graph = model.graph
    needed = {value.name for value in graph.output}
    dead: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if any(name in needed for name in node.output if name):
            needed.update(reads(node))
        else:
            dead.append(node)
    main = {id(visit.node): visit for visit in flow.visits if visit.level == 0}
    lost = [main[id(node)] for node in dead if id(node) in main]
    on_image = [visit for visit in lost if any(value.content for value in visit.operands)]
    if on_image:
        types = Counter(_shown(visit) for visit in on_image)
        weighted = any(visit.op in ops.WEIGHTED for visit in on_image)
        yield FileFinding(
            "unused-branch",
            "warning" if weighted else "info",
            f"{len(on_image)} operations on the image reach no output: "
            + listed([f"{name} ({count}×)" for name, count in types.most_common()]),
            on_image[-1].where,
        )
    spare = [tensor for tensor in graph.initializer if tensor.name not in needed and tensor.name]
    read_by_dead = {name for node in dead for name in reads(node)}
    spare = [tensor for tensor in spare if tensor.name not in read_by_dead]
    if spare:
        yield FileFinding(
            "unused-constants",
            "info",
            f"{len(spare)} constants are used by nothing: " + listed([quoted(t.name, 40) for t in spare], limit=4),
        )
