"""Files that mean one thing to one reader and another to the next: found, refused, or read as the runtime reads them.

What onnxruntime does was found by experiment and is written beside each trap. A model that it runs is brought into
the one form that all readers read alike; what it refuses, or what is read differently by version, is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import onnx
from onnx import AttributeProto, TensorProto

from auditor.findings import FileFinding
from auditor.loading.onnx_graph.tensors import (
    BITS,
    DATA_FIELDS,
    elements,
    graphs,
    nodes,
    raw_bytes,
    tensors,
    typed_field,
)
from auditor.loading.quoting import listed, quoted

REFUSED = frozenset(
    {
        "duplicate-attribute",
        "duplicate-function",
        "duplicate-opset",
        "duplicate-value",
        "function-overrides-operation",
        "malformed-tensor",
        "mismatched-attribute",
        "shadowed-name",
        "undefined-name",
    }
)
"""findings with which no audit is made: readers disagree, or the runtime refuses the model"""

_BUILT_IN = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc")
_CONTENT = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
    AttributeProto.SPARSE_TENSOR: "sparse_tensor",
    AttributeProto.TYPE_PROTO: "tp",
}
_LISTS = {
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
    AttributeProto.TENSORS: "tensors",
    AttributeProto.GRAPHS: "graphs",
    AttributeProto.SPARSE_TENSORS: "sparse_tensors",
    AttributeProto.TYPE_PROTOS: "type_protos",
}


def disarm(model: onnx.ModelProto) -> list[FileFinding]:
    """Bring ``model`` into the form that every reader reads as onnxruntime does; gives what was odd.

    The caller refuses the model when a finding's id is among ``REFUSED``.
    """
    return [
        *_tensors(model),
        *_attributes(model),
        *_functions(model),
        *_opsets(model),
        *_constants(model),
        *_names(model),
        *_metadata(model),
    ]


def _tensors(model: onnx.ModelProto) -> Iterator[FileFinding]:
    """onnxruntime reads external data first, then raw data, then the field of the type; the rest is dropped here."""
    for tensor in tensors(model):
        external = tensor.data_location == TensorProto.EXTERNAL
        filled = [name for name in DATA_FIELDS if len(getattr(tensor, name))]
        used = "" if external or tensor.HasField("raw_data") else typed_field(tensor)
        spare = [name for name in filled if name != used]
        spare += ["raw_data"] if external and tensor.raw_data else []
        spare += ["external_data"] if not external and len(tensor.external_data) else []
        keys = Counter(entry.key for entry in tensor.external_data)
        if external and max(keys.values(), default=1) > 1:
            spare.append("external_data")
        if spare:
            yield FileFinding(
                "tensor-stored-twice",
                "danger",
                f"expected one content for {quoted(tensor.name)}, got another in {', '.join(spare)}, which some "
                "readers take; the one that onnxruntime takes is audited",
                quoted(tensor.name)[1:-1],
            )
        for name in spare:
            if name != "external_data" or not external:
                tensor.ClearField(name)
        problem = _malformed(tensor, used)
        if problem:
            yield FileFinding(
                "malformed-tensor",
                "danger",
                f"expected {quoted(tensor.name)} to hold what its type and dimensions say, got {problem}; "
                "export the model again",
                quoted(tensor.name)[1:-1],
            )


def _malformed(tensor: TensorProto, used: str) -> str:
    if tensor.HasField("segment"):
        return "a segment of a tensor, which readers treat differently"
    if tensor.data_type != TensorProto.STRING and tensor.data_type not in BITS:
        return f"the unknown type {tensor.data_type}"
    if tensor.data_location == TensorProto.EXTERNAL:
        return ""
    needed = elements(tensor)
    if tensor.HasField("raw_data"):
        length = raw_bytes(tensor)
        return "" if length == len(tensor.raw_data) else f"{len(tensor.raw_data):,} bytes instead of {length or 0:,}"
    if tensor.data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
        needed *= 2
    stored = len(getattr(tensor, used))
    packed = BITS.get(tensor.data_type, 8) < 8  # several to a number, so fewer of them
    if stored > needed or (stored < needed and not packed) or (packed and needed and not stored):
        return f"{stored:,} numbers instead of {needed:,}"
    return ""


def _attributes(model: onnx.ModelProto) -> Iterator[FileFinding]:
    """onnxruntime refuses an attribute that is given twice, or whose content is not of its type."""
    for node in nodes(model):
        where = quoted(node.name or node.op_type)[1:-1]
        twice = [name for name, count in Counter(a.name for a in node.attribute).items() if count > 1]
        if twice:
            yield FileFinding(
                "duplicate-attribute",
                "danger",
                f"expected each attribute once, got {listed([quoted(name) for name in twice])} twice in "
                f"{quoted(node.op_type)}; export the model again",
                where,
            )
        odd = [attribute.name for attribute in node.attribute if not _consistent(attribute)]
        if odd:
            yield FileFinding(
                "mismatched-attribute",
                "danger",
                f"expected each attribute to hold what its type says, got another content in "
                f"{listed([quoted(name) for name in odd])} of {quoted(node.op_type)}; export the model again",
                where,
            )


def _consistent(attribute: AttributeProto) -> bool:
    held = {kind for kind, name in _CONTENT.items() if attribute.HasField(name)}
    held |= {kind for kind, name in _LISTS.items() if len(getattr(attribute, name))}
    if attribute.ref_attr_name:
        return not held
    if attribute.type == AttributeProto.UNDEFINED:  # before IR version 2 no type was written
        return len(held) <= 1
    # empty lists, and numbers that an exporter left out for being zero, hold nothing
    return held <= {attribute.type}


def _functions(model: onnx.ModelProto) -> Iterator[FileFinding]:
    """onnxruntime runs its own operation under such a name, and readers that inline run the function."""
    counts = Counter((function.domain, function.name) for function in model.functions)
    for (domain, name), count in counts.items():
        if domain in _BUILT_IN:
            yield FileFinding(
                "function-overrides-operation",
                "danger",
                f"expected local functions in a domain of their own, got {quoted(name)} in {quoted(domain)}, which "
                "some readers run instead of the operation of that name; export the model again",
                quoted(name)[1:-1],
            )
        if count > 1:
            yield FileFinding(
                "duplicate-function",
                "danger",
                f"expected each local function once, got {count} of {quoted(name)}; export the model again",
                quoted(name)[1:-1],
            )


def _opsets(model: onnx.ModelProto) -> Iterator[FileFinding]:
    """Of two versions of one domain onnxruntime takes the last, onnx's evaluator the highest."""
    versions: dict[str, set[int]] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        versions.setdefault(domain, set()).add(entry.version)
    for domain, found in versions.items():
        if len(found) > 1:
            shown = ", ".join(map(str, sorted(found)))
            yield FileFinding(
                "duplicate-opset",
                "danger",
                f"expected one version of the operations of {quoted(domain or 'ai.onnx')}, got {shown}, of which "
                "readers choose differently; export the model again",
            )


def _constants(model: onnx.ModelProto) -> Iterator[FileFinding]:
    """Of two constants of one name onnxruntime takes the last; what others take differs."""
    for graph, _ in graphs(model):
        counts = Counter(tensor.name for tensor in graph.initializer)
        twice = {name for name, count in counts.items() if count > 1}
        if twice:
            yield FileFinding(
                "duplicate-initializer",
                "danger",
                f"expected each constant once, got {listed([quoted(name) for name in sorted(twice)])} several times; "
                "the last, which onnxruntime takes, is audited",
            )
            _keep_last(graph, twice)
        inputs = {value.name for value in graph.input}
        fed = [tensor.name for tensor in graph.initializer if tensor.name in inputs]
        if fed and model.ir_version >= 4:
            yield FileFinding(
                "overridable-weights",
                "info",
                f"{len(fed)} constants are inputs too, so that a caller may replace them: "
                f"{listed([quoted(name, 40) for name in fed], limit=4)}; the stored ones are audited",
            )


def _keep_last(graph: onnx.GraphProto, names: set[str]) -> None:
    last = {tensor.name: index for index, tensor in enumerate(graph.initializer)}
    for index in reversed(range(len(graph.initializer))):
        name = graph.initializer[index].name
        if name in names and last[name] != index:
            del graph.initializer[index]


def _names(model: onnx.ModelProto) -> Iterator[FileFinding]:
    from auditor.loading.onnx_graph.names import name_findings

    yield from name_findings(model)


def _metadata(model: onnx.ModelProto) -> Iterator[FileFinding]:
    """Readers build a table of the entries, so the last one counts."""
    keys: Sequence[str] = [entry.key for entry in model.metadata_props]
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        yield FileFinding(
            "duplicate-metadata",
            "warning",
            f"metadata is given twice for {listed([quoted(key, 40) for key in twice], limit=4)}; the last counts",
        )
