"""State dicts without code, whose tensors, storages and sizes are lies."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from . import opcodes as op
from .containers import LEGACY_MAGIC, torch_zip, written
from .trick import REFUSED, Opened, Trick, names, open_tricks

MEMORY = (
    "CVE-2026-24747 (GHSA of January 2026): storage metadata and opcodes that the weights_only unpickler took on trust"
)
STRIDES = "torch.as_strided beyond the storage; the class of CVE-2026-24747"
RESOURCES = "sizes taken on trust, CWE-770"
WHATEVER = (*REFUSED, "loaded")

SIXTEEN_BYTES = struct.pack("<4f", 1, 2, 3, 4)


def zipped(body: bytes, **members: bytes) -> bytes:
    """A state dict ``{"fc.weight": body}`` with a storage of four floats."""
    pickle = op.pickled(op.EMPTY_DICT + op.text("fc.weight") + body + op.SETITEM)
    return torch_zip(pickle, {"data/0": SIXTEEN_BYTES, **{f"data/{key}": value for key, value in members.items()}})


def legacy_storage(count: int, content: bytes, stated: int | None = None) -> bytes:
    """A legacy file with one storage: its count in the pickle, its count before the bytes, and the bytes."""
    store = op.items(
        op.text("storage"), op.name("torch", "FloatStorage"), op.text("0"), op.text("cpu"), op.number(count), op.NONE
    )
    body = op.EMPTY_DICT + op.text("fc.weight")
    body += op.tensor(store + op.BINPERSID, 0, op.numbers(2, 2), op.numbers(2, 1)) + op.SETITEM
    magic = op.pickled(b"\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little"))
    system = op.pickled(op.EMPTY_DICT + op.text("little_endian") + b"\x88" + op.SETITEM)
    keys = op.pickled(b"]" + op.text("0") + op.APPEND)
    size = struct.pack("<q", count if stated is None else stated)
    return magic + op.pickled(op.number(1001)) + system + op.pickled(body) + keys + size + content


def shapes() -> Iterator[tuple[str, bytes, str]]:
    """Views that reach out of their storage."""
    good = op.storage()
    for what, offset, size, stride in (
        ("stride beyond the storage", 0, (2, 2), (1000, 1)),
        ("negative stride", 0, (2, 2), (-1, 1)),
        ("negative stride within the storage", 3, (2,), (-1,)),
        ("offset beyond the storage", 1000, (2, 2), (2, 1)),
        ("negative offset", -4, (2, 2), (2, 1)),
        ("offset that overflows", 2**63 - 1, (2, 2), (2, 1)),
        ("stride that overflows", 0, (2, 2), (2**62, 1)),
        ("size and stride that overflow to a small number", 0, (2**32, 2**32), (2**32, 2**32)),
        ("size beyond the storage", 0, (2**20, 2**10), (2**10, 1)),
        ("size that overflows", 0, (2**62, 4), (4, 1)),
        ("size above 64 bits", 0, (2**70,), (1,)),
        ("negative size", 0, (-2, -2), (2, 1)),
        ("more strides than sizes", 0, (2,), (1, 1, 1)),
        ("as many axes as a pickle can hold", 0, (1,) * 5000, (1,) * 5000),
    ):
        yield what, op.tensor(good, offset, op.numbers(*size), op.numbers(*stride)), STRIDES
    expanded = op.tensor(good, 0, op.numbers(2**20, 2**20), op.numbers(0, 0))
    yield "four numbers expanded to a terabyte of elements", expanded, RESOURCES
    yield "zero elements of enormous axes", op.tensor(good, 0, op.numbers(0, 2**62), op.numbers(1, 1)), RESOURCES
    for count in (2**20, 2**40, 2**61, 2**62, 2**63, 2**70, -1, -4, -(2**62)):
        store = op.storage(count=op.number(count))
        yield (
            f"storage of {count} elements in 16 bytes",
            op.tensor(store, 0, op.numbers(2, 2), op.numbers(2, 1)),
            MEMORY,
        )
    text = op.storage(count=op.text("4"))
    yield "storage of a text of elements", op.tensor(text, 0, op.numbers(2, 2), op.numbers(2, 1)), MEMORY
    for key in ("../0", "/etc/passwd", "../../../../etc/passwd", "0/../0", "9", "", "0\0"):
        store = op.storage(key=key)
        yield f"storage key {key!r}", op.tensor(store, 0, op.numbers(2, 2), op.numbers(2, 1)), "path traversal, CWE-22"
    for place in ("cuda:0", "meta", "hpu", "privateuseone:0", "cpu:99999999", "x" * 100_000, "\x1b[2J"):
        store = op.storage(location=place)
        yield f"storage location {place[:16]!r}", op.tensor(store, 0, op.numbers(2, 2), op.numbers(2, 1)), RESOURCES
    for kind in ("QInt8Storage", "QUInt2x4Storage", "UntypedStorage", "ComplexDoubleStorage"):
        store = op.storage(kind)
        yield f"{kind} of the wrong size", op.tensor(store, 0, op.numbers(2, 2), op.numbers(2, 1)), MEMORY


def calls() -> Iterator[tuple[str, bytes, str]]:
    """What weights_only allows to be called, called with the wrong things."""
    good = op.tensor(op.storage(), 0, op.numbers(2, 2), op.numbers(2, 1))
    two = op.number(2)
    zero = op.numbers(0)
    yield "SETITEM on a tensor", good + op.number(10**9) + op.number(7) + op.SETITEM, MEMORY
    yield "SETITEMS on a tensor", good + op.MARK + op.number(-(10**9)) + op.number(7) + op.SETITEMS, MEMORY
    yield "SETITEM on a storage", op.storage() + op.number(10**9) + op.number(7) + op.SETITEM, MEMORY
    yield "SETITEM on a bytearray", op.call(op.name("builtins", "bytearray"), two) + two + two + op.SETITEM, MEMORY
    yield "APPEND to a tensor", good + two + op.APPEND, MEMORY
    yield (
        "BUILD of an uninitialised tensor",
        op.name("torch", "Tensor")
        + op.EMPTY_TUPLE
        + op.NEWOBJ
        + op.items(op.storage(), op.number(10**12), op.numbers(2, 2), op.numbers(2, 1))
        + op.BUILD,
        MEMORY,
    )
    yield (
        "BUILD that hides the methods of a dict",
        op.call(op.name("collections", "OrderedDict"))
        + op.mapping(items=two, keys=two, values=two, get=two, copy=two)
        + op.BUILD,
        "attributes set on an OrderedDict by BUILD",
    )
    yield (
        "parameter whose state hides its methods",
        op.call(
            op.name("torch._utils", "_rebuild_parameter_with_state"),
            good,
            b"\x89",
            op.EMPTY_DICT,
            op.mapping(
                detach=two, float=two, contiguous=two, dim=two, numel=two, shape=two, is_quantized=two, layout=two
            ),
        ),
        "attributes set on a Parameter by its state",
    )
    for count in (2**28, 2**40, 2**62):
        yield f"bytearray of {count}", op.call(op.name("builtins", "bytearray"), op.number(count)), RESOURCES
        yield f"FloatTensor of {count}", op.call(op.name("torch", "FloatTensor"), op.number(count)), RESOURCES
        yield f"FloatStorage of {count}", op.call(op.name("torch", "FloatStorage"), op.number(count)), RESOURCES
    points = "".join(map(chr, range(0x4E00, 0x4E00 + 20_000)))
    for codec in ("idna", "punycode", "zlib_codec", "bz2_codec", "unicode_escape", "hex", "quopri", "audit_hostile"):
        body = op.call(op.name("_codecs", "encode"), op.text(points), op.text(codec))
        yield f"_codecs.encode by {codec}", body, "the class of CVE-2022-45061: quadratic time in a codec"
    function = op.name("torch._utils", "_rebuild_sparse_tensor")
    layout = op.call(op.name("torch.serialization", "_get_layout"), op.text("torch.sparse_coo"))
    far = op.number(10**9)
    indices = op.call(op.name("torch", "LongTensor"), b"]" + b"]" + far + op.APPEND + far + op.APPEND + op.APPEND)
    values = op.tensor(op.storage(), 0, op.numbers(2), op.numbers(1))
    yield (
        "sparse tensor with indices out of range",
        op.call(function, layout, op.items(indices, values, op.numbers(2), b"\x89")),
        "out-of-range indices of sparse tensors are written out of bounds: torch.sparse.check_sparse_tensor_invariants",
    )
    yield "meta tensor", op.call(
        op.name("torch._utils", "_rebuild_meta_tensor_no_storage"),
        op.name("torch", "float32"), op.numbers(2**20, 2**20), op.numbers(2**20, 1), b"\x89",
    ), RESOURCES  # fmt: skip
    yield "subclass without storage", op.call(
        op.name("torch._utils", "_rebuild_wrapper_subclass"), op.name("torch", "Tensor"), op.name("torch", "float32"),
        op.numbers(2**30, 2**30), op.numbers(2**30, 1), op.number(0),
        op.call(op.name("torch.serialization", "_get_layout"), op.text("torch.strided")),
        op.call(op.name("torch", "device"), op.text("cpu")), b"\x89",
    ), RESOURCES  # fmt: skip
    quantiser = op.items(
        op.name("torch", "per_tensor_affine"), b"G" + struct.pack(">d", float("nan")), op.number(2**62)
    )
    yield "quantised tensor with a scale of NaN", op.call(
        op.name("torch._utils", "_rebuild_qtensor"), op.storage("QInt8Storage", count=op.number(16)), op.number(0),
        op.numbers(4, 4), op.numbers(4, 1), quantiser, b"\x89", op.EMPTY_DICT,
    ), RESOURCES  # fmt: skip
    yield (
        "tensor of a type that is none",
        op.call(
            op.name("torch._tensor", "_rebuild_from_type_v2"),
            op.name("builtins", "bytearray"),
            op.name("torch", "Size"),
            zero,
            op.EMPTY_DICT,
        ),
        RESOURCES,
    )
    yield "size of negative numbers", op.call(op.name("torch", "Size"), op.numbers(-1, -1)), RESOURCES


def saved(make: Callable[[], dict[str, object]], zipped: bool = True) -> Callable[[Path], Path]:
    """A builder that saves what ``make`` returns with torch itself."""

    def build(folder: Path) -> Path:
        torch.save(make(), folder / "model.pt", _use_new_zipfile_serialization=zipped)
        return folder / "model.pt"

    return build


def honest() -> Iterator[tuple[str, Callable[[], dict[str, object]], str]]:
    """What torch itself would save, of kinds that are no weights."""
    yield "sparse", lambda: {"fc.weight": torch.eye(4).to_sparse(), "fc.bias": torch.ones(4)}, "no dense weights"
    yield "compressed sparse", lambda: {"fc.weight": torch.eye(4).to_sparse_csr()}, "no dense weights"
    yield "quantised", lambda: {"fc.weight": torch.quantize_per_tensor(torch.eye(4), 0.1, 0, torch.qint8)}, "no floats"
    yield "meta", lambda: {"fc.weight": torch.empty(2**40, device="meta")}, "no data"
    yield "complex", lambda: {"fc.weight": torch.eye(4, dtype=torch.complex64)}, "no real numbers"
    yield "two hundred names of one storage", _shared, "weights that share memory"
    yield "expanded", lambda: {"fc.weight": torch.ones(1).expand(2**30, 2**10)}, RESOURCES
    yield "a name of a million characters", lambda: {"x" * 1_000_000: torch.ones(2)}, RESOURCES
    yield "a name of escapes", lambda: {"\x1b]0;x\x07<script>\u202e": torch.ones(2)}, "CVE-2021-42574, for names"
    yield "sixty thousand tensors", lambda: {f"w{n}": _ONE for n in range(60_000)}, RESOURCES


_ONE = torch.ones(1)


def _shared() -> dict[str, object]:
    whole = torch.ones(1 << 20)
    return {f"layer{n}.weight": whole.view(1024, 1024)[:, n % 1024 :] for n in range(200)}


def tricks() -> Iterator[Trick]:
    for what, body, source in (*shapes(), *calls()):
        yield Trick(what, source, written(zipped(body)))
    for what, make, source in honest():
        yield Trick(f"{what}, saved by torch", source, saved(make))
    big = 2**61
    yield Trick("legacy storage of 2**61 elements", MEMORY, written(legacy_storage(big, SIXTEEN_BYTES)))
    yield Trick("legacy storage of -1 elements", MEMORY, written(legacy_storage(-1, SIXTEEN_BYTES)))
    yield Trick("legacy storage that states another size", MEMORY, written(legacy_storage(4, SIXTEEN_BYTES, big)))
    yield Trick("legacy storage that ends early", MEMORY, written(legacy_storage(4, SIXTEEN_BYTES[:5])))


TRICKS = list(tricks())
WATCH = {"closed": ["/etc/passwd"]}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return open_tricks(TRICKS, tmp_path_factory.mktemp("tensors"), **WATCH)


@pytest.mark.parametrize("trick", TRICKS, ids=names(TRICKS))
def test_sizes_are_not_taken_on_trust(trick: Trick, opened: Opened) -> None:
    opened.check(trick)


def test_the_honest_form_of_these_files_is_read(tmp_path: Path) -> None:
    """Without a lie in it the same archive is read: what refuses it above is the lie."""
    from auditor.loading.limits import DEFAULT_LIMITS
    from auditor.loading.torch_weights.weights_file import read_weights

    path = tmp_path / "model.pt"
    view = op.tensor(op.storage(), 0, op.numbers(2, 2), op.numbers(2, 1))
    for content in (zipped(view), legacy_storage(4, SIXTEEN_BYTES)):
        path.write_bytes(content)
        state = read_weights(path, "pytorch", DEFAULT_LIMITS).candidates[0].state
        assert state["fc.weight"].tolist() == [[1, 2], [3, 4]]
