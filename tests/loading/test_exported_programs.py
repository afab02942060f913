"""Programs of torch.export: rebuilt from JSON and raw weights, agreeing with the network, never unpickled."""

from __future__ import annotations

import json
import logging
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from auditor.classifier import Classifier
from auditor.errors import ModelFileError, UnsafeFileError, UnsupportedOperatorsError
from auditor.findings import FileFacts
from auditor.loading import load_network
from auditor.loading.limits import Limits

from .conftest import images, perturb, small_cnn
from .test_torchscript import residual_network


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The exporter logs every tensor it meets."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


class SmallViT(nn.Module):
    """Patches, a class token, positions kept as a constant, two encoder layers, layer norm."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.register_buffer("positions", torch.linspace(-1, 1, 17 * 16).view(1, 17, 16), persistent=False)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        x = self.patches(x).reshape(n, 16, (h // 4) * (w // 4)).permute(0, 2, 1)
        x = torch.cat([self.token.expand(n, -1, -1), x], dim=1) + self.positions
        return self.head(self.norm(self.encoder(x))[:, 0])


def _export(network: nn.Module, path: Path, example: Tensor, *, dynamic: bool = True) -> Path:
    shapes = ({0: torch.export.Dim.DYNAMIC},) if dynamic else None
    torch.export.save(torch.export.export(network, (example,), dynamic_shapes=shapes), path)
    return path


@pytest.mark.parametrize("dynamic", [True, False], ids=["any batch", "batch of 2"])
@pytest.mark.parametrize("build", [residual_network, SmallViT])
def test_agrees_at_another_batch(tmp_path: Path, build: Callable[[], nn.Module], dynamic: bool) -> None:
    network = perturb(build())
    path = _export(network, tmp_path / "model.onnx", images(2, 3, 16, 16), dynamic=dynamic)
    loaded = load_network(path)
    assert (loaded.format, loaded.input_shape, loaded.layout) == ("exported_program", (3, 16, 16), "nchw")
    assert loaded.num_classes == (6 if build is residual_network else 5)
    assert not any(p.requires_grad for p in loaded.module.parameters())
    assert loaded.fixed_batch is None  # also where the example's batch is written into reshapes
    classifier = Classifier(
        loaded.module,
        input_shape=(3, 16, 16),
        facts=FileFacts(
            name="m", sha256="", format="", architecture=None, num_classes=None, input_shape=(3, 16, 16)
        ),
        fixed_batch=loaded.fixed_batch,
    )
    x = images(5, 3, 16, 16).requires_grad_(True)
    scores = classifier(x)
    assert torch.allclose(scores, network(x), atol=1e-4)
    scores[:, 0].sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().amin(dim=(1, 2, 3)).max()) >= 0
    assert float(x.grad.abs().amax(dim=(1, 2, 3)).min()) > 0


class Windows(nn.Module):
    """Cuts images into windows along the batch axis, as Swin does."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(n * (h // 2) * (w // 2), 4, c)
        return x.softmax(1).reshape(n, -1)


class Mixes(nn.Module):
    """Answers that depend on the other images of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) - x.reshape(2, -1).mean(0).sum()


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_literal_batch_is_freed(tmp_path: Path, batch: int) -> None:
    path = _export(Windows(), tmp_path / "m.pt2", images(batch, 3, 4, 6), dynamic=False)
    loaded = load_network(path)
    assert loaded.fixed_batch is None
    x = images(5, 3, 4, 6)
    assert torch.allclose(loaded.module(x), Windows()(x), atol=1e-6)


def test_a_batch_that_matters_stays(tmp_path: Path) -> None:
    loaded = load_network(_export(Mixes(), tmp_path / "m.pt2", images(2, 3, 4, 4), dynamic=False))
    assert loaded.fixed_batch == 2
    assert any("batch of 2 only" in note for note in loaded.notes)
    x = images(2, 3, 4, 4)
    assert torch.allclose(loaded.module(x), Mixes()(x))


class Halves(nn.Module):
    """Half-precision weights, some shared, some a view of others."""

    def __init__(self) -> None:
        super().__init__()
        both = torch.randn(8, 12, generator=torch.Generator().manual_seed(3))
        self.first = nn.Parameter(both[:4])
        self.second = nn.Parameter(both[4:].t().contiguous().t())

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return torch.cat([flat @ self.first.t(), flat @ self.second.t()], 1)


def test_views_and_strides_of_weights(tmp_path: Path) -> None:
    network = Halves()
    loaded = load_network(_export(network, tmp_path / "m.pt2", images(2, 3, 2, 2)))
    x = images(3, 3, 2, 2)
    assert torch.allclose(loaded.module(x), network(x), atol=1e-6)


class Makes(nn.Module):
    """Makes tensors of its own while it runs."""

    def forward(self, x: Tensor) -> Tensor:
        ramp = torch.arange(x.shape[3], device=x.device, dtype=x.dtype)
        return (x * ramp + torch.zeros(x.shape[3], device=x.device)).sum((2, 3))


def test_tensors_are_made_where_the_images_are(tmp_path: Path) -> None:
    """Exported on the CPU, audited on another device."""
    module = load_network(_export(Makes(), tmp_path / "m.pt2", images(2, 3, 2, 2))).module
    assert torch.allclose(module(images(3, 3, 2, 2)), Makes()(images(3, 3, 2, 2)))
    assert module.to("meta")(images(3, 3, 2, 2).to("meta")).device.type == "meta"


def test_bfloat16_weights_are_computed_in_float32(tmp_path: Path) -> None:
    network = perturb(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)))
    rounded = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).bfloat16()
    rounded.load_state_dict(network.state_dict())
    path = _export(rounded, tmp_path / "m.pt2", images(2, 3, 2, 2).bfloat16())
    x = images(3, 3, 2, 2)
    scores = load_network(path).module(x)
    assert scores.dtype == torch.float32
    assert torch.allclose(scores, rounded.float()(x), atol=1e-6)


class Runs:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, (f"touch {self.marker}",)


def _rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            content = change(entry.filename.partition("/")[2], old.read(entry))
            if content is not None:
                new.writestr(entry.filename, content)
    return target


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    logging.disable(logging.WARNING)
    path = tmp_path_factory.mktemp("pt2") / "plain.pt2"
    return _export(small_cnn(), path, images(2, 1, 12, 12))


def test_pickled_sample_inputs_are_never_opened(tmp_path: Path, plain: Path) -> None:
    """torch.export.load unpickles them without restriction."""
    marker = tmp_path / "marker"
    payload = tmp_path / "payload.pt"
    torch.save(((Runs(marker),), {}), payload)
    path = _rewritten(
        plain,
        tmp_path / "model.pt2",
        lambda name, content: payload.read_bytes() if name.startswith("data/sample_inputs/") else content,
    )
    x = images(3, 1, 12, 12)
    assert torch.equal(load_network(path).module(x), load_network(plain).module(x))
    assert not marker.exists()


@pytest.mark.parametrize("folder", ["weights", "constants"])
def test_pickled_weights_are_refused(tmp_path: Path, plain: Path, folder: str) -> None:
    marker = tmp_path / "marker"

    def change(name: str, content: bytes) -> bytes:
        if name == f"data/{folder}/model_{folder}_config.json":
            entry = {"path_name": "weight_0", "is_param": True, "use_pickle": True, "tensor_meta": None}
            return json.dumps({"config": {"c": entry}}).encode()
        return pickle.dumps(Runs(marker)) if name == f"data/{folder}/weight_0" else content

    path = _rewritten(plain, tmp_path / "model.pt2", change)
    with pytest.raises(UnsafeFileError, match="as a pickle, which opens by running code"):
        load_network(path)
    assert not marker.exists()


def _with_program(plain: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    def change(name: str, content: bytes) -> bytes:
        if not name.startswith("models/"):
            return content
        program = json.loads(content)
        edit(program)
        return json.dumps(program).encode()

    return _rewritten(plain, tmp_path / "model.pt2", change)


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.save.default",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.as_strided.default",
        "torch.ops.aten.add.out",
        "torch.ops.mine.run.default",
        "torch.ops.higher_order.cond",
        "torch.hub.load",
        "torch.load",
        "_operator.attrgetter",
        "_operator.__class__.__subclasses__",
        "math.__loader__",
        "os.system",
        "#mine:op",
        "torch.ops.aten.relu.__class__",
    ],
)
def test_operations_that_are_not_listed_are_named(tmp_path: Path, plain: Path, target: str) -> None:
    def edit(program: dict[str, Any]) -> None:
        for node in program["graph_module"]["graph"]["nodes"][-2:]:
            node["target"] = target

    with pytest.raises(UnsupportedOperatorsError) as caught:
        load_network(_with_program(plain, tmp_path, edit))
    assert f"'{target}' (2×)" in str(caught.value)
    assert "torch.onnx.export" in str(caught.value)


def test_names_of_the_file_are_not_code(tmp_path: Path, plain: Path) -> None:
    marker = tmp_path / "marker"
    code = f"x): pass\n__import__('pathlib').Path('{marker}').touch() #"
    path = _rewritten(
        plain,
        tmp_path / "model.pt2",
        lambda name, content: (
            content.replace(b'"name": "x"', json.dumps({"name": code})[1:-1].encode())
            .replace(b'{"x": {', json.dumps(code).join(["{", ": {"]).encode())
            .replace(b', "x": {', json.dumps(code).join([", ", ": {"]).encode())
            if name.startswith("models/")
            else content
        ),
    )
    assert load_network(path).num_classes == 10
    assert not marker.exists()


EDITS: dict[str, Callable[[dict[str, Any]], None]] = {
    "an unknown value": lambda p: p["graph_module"]["graph"]["nodes"][0]["inputs"][0]["arg"].update(
        as_tensor={"name": "nothing"}
    ),
    "a graph as argument": lambda p: p["graph_module"]["graph"]["nodes"][0]["inputs"][0].update(arg={"as_graph": {}}),
    "a custom object": lambda p: p["graph_module"]["graph"]["nodes"][0]["inputs"][0].update(
        arg={"as_custom_obj": {"name": "x", "class_fqn": "__torch__.torch.classes.X"}}
    ),
    "an unknown argument": lambda p: p["graph_module"]["graph"]["nodes"][0]["inputs"][0].update(name="evil"),
    "an enormous number": lambda p: p["graph_module"]["graph"]["nodes"][0]["inputs"][3]["arg"].update(
        as_ints=[10**30, 1]
    ),
    "a text for a number": lambda p: p["graph_module"]["graph"]["nodes"][0]["inputs"][3]["arg"].update(as_ints="11"),
    "no nodes": lambda p: p["graph_module"]["graph"].update(nodes=None),
    "no signature": lambda p: p["graph_module"].update(signature=[]),
    "a mutated buffer": lambda p: p["graph_module"]["signature"]["output_specs"].append(
        {"buffer_mutation": {"arg": {"name": "x"}, "buffer_name": "b"}}
    ),
    "two outputs, both the image": lambda p: p["graph_module"]["signature"].update(
        output_specs=[{"user_output": p["graph_module"]["signature"]["input_specs"][-1]["user_input"]}] * 2
    ),
    "an empty program": lambda p: p.clear(),
}


@pytest.mark.parametrize("damage", EDITS)
def test_programs_that_do_not_read_as_one(tmp_path: Path, plain: Path, damage: str) -> None:
    with pytest.raises(ModelFileError, match=r"^expected .* got "):
        load_network(_with_program(plain, tmp_path, EDITS[damage]))


SHAPES: dict[str, Callable[[dict[str, Any]], None]] = {
    "size beyond the bytes": lambda meta: meta.update(sizes=[{"as_int": 10**6}], strides=[{"as_int": 1}]),
    "stride beyond the bytes": lambda meta: meta.update(strides=[{"as_int": 10**9}] * len(meta["sizes"])),
    "offset beyond the bytes": lambda meta: meta.update(storage_offset={"as_int": 10**6}),
    "negative offset": lambda meta: meta.update(storage_offset={"as_int": -4}),
    "negative size": lambda meta: meta.update(sizes=[{"as_int": -1}], strides=[{"as_int": 1}]),
    "a billion elements of one": lambda meta: meta.update(
        sizes=[{"as_int": 10**6}, {"as_int": 10**6}], strides=[{"as_int": 0}, {"as_int": 0}]
    ),
    "an unknown type": lambda meta: meta.update(dtype=99),
    "a symbolic size": lambda meta: meta.update(sizes=[{"as_expr": {"expr_str": "__import__('os')"}}]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_hostile_shapes_of_weights_are_refused(tmp_path: Path, plain: Path, shape: str) -> None:
    """torch's loader calls as_strided with these numbers."""

    def change(name: str, content: bytes) -> bytes:
        if name != "data/weights/model_weights_config.json":
            return content
        config = json.loads(content)
        SHAPES[shape](next(iter(config["config"].values()))["tensor_meta"])
        return json.dumps(config).encode()

    with pytest.raises(ModelFileError, match=r"^expected .* got "):
        load_network(_rewritten(plain, tmp_path / "model.pt2", change))


def test_compiled_and_earlier_archives_are_refused(tmp_path: Path) -> None:
    for member, part in {
        "data/aotinductor/model/a.so": "compiled library",
        "serialized_exported_program.json": "earlier torch.export",
    }.items():
        path = tmp_path / "model.pt2"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/archive_format", "pt2")
            archive.writestr(f"model/{member}", "{}")
        with pytest.raises(UnsafeFileError, match=part):
            load_network(path)


class Grows(nn.Module):
    """A few bytes of a file that ask for terabytes."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        scores = x.mean((2, 3))
        if self.way == "makes":
            return scores + torch.ones(10**6, 10**6).sum()
        if self.way == "repeats":
            return scores + scores.sum().expand(10**6, 10**6).mean()
        return scores + x.flatten(1).repeat(1, 10**9).sum()


@pytest.mark.parametrize("way", ["makes", "repeats", "tiles"])
def test_tensors_that_grow_without_bound_are_refused(tmp_path: Path, way: str) -> None:
    path = _export(Grows(way), tmp_path / "m.pt2", images(2, 3, 4, 4))
    with pytest.raises(ModelFileError, match=r"tensors of at most .* elements, got [\d,]{13,} from "):
        load_network(path)


def test_limits(plain: Path) -> None:
    for limits in (Limits(nodes=3), Limits(program_bytes=2000), Limits(weight_bytes=1 << 10), Limits(input_elements=9)):
        with pytest.raises(ModelFileError, match=r"at most|fewer"):
            load_network(plain, limits=limits)


def test_training_mode_is_refused(tmp_path: Path) -> None:
    path = _export(small_cnn().train(), tmp_path / "m.pt2", images(2, 1, 12, 12))
    with pytest.raises(ModelFileError, match=r"evaluation mode, got .*model.eval\(\)"):
        load_network(path)
