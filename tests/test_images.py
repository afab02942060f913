"""Search images: folders and archives, good and hostile."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from auditor.errors import ImagesError
from auditor.images import balanced_order, load_images, read_picture

GREY, COLOUR = (1, 8, 8), (3, 8, 8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(path: Path, value: int | tuple[int, int, int] = 128, size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(value, int) else "RGB", size, value).save(path)
    return path


def archive(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "ppm"])
def test_every_picture_format_decodes(tmp_path: Path, suffix: str) -> None:
    picture(tmp_path / f"a.{suffix}", (255, 0, 0))
    loaded = load_images(tmp_path, COLOUR, 10, generator())
    assert loaded.pixels.shape == (1, 3, 8, 8)
    assert loaded.pixels.dtype == torch.float32
    red, green, blue = loaded.pixels.mean((0, 2, 3)).tolist()
    assert red > 0.97
    assert max(green, blue) < 0.05
    assert loaded.labels is None


def test_class_folders_become_labels_in_sorted_order(tmp_path: Path) -> None:
    for name, value in (("cat", 10), ("ant", 200)):
        for i in range(3):
            picture(tmp_path / name / f"{i}.png", value)
    loaded = load_images(tmp_path, GREY, 100, generator(), num_classes=2)
    assert loaded.class_names == ("ant", "cat")
    assert loaded.labels is not None
    expected = torch.tensor([200, 10])[loaded.labels] / 255
    assert torch.allclose(loaded.pixels.mean((1, 2, 3)), expected)


def test_folders_named_by_number_are_that_class(tmp_path: Path) -> None:
    for name in ("2", "10"):
        picture(tmp_path / name / "a.png", int(name))
    loaded = load_images(tmp_path, GREY, 5, generator(), num_classes=11)
    assert loaded.labels is not None
    assert sorted(loaded.labels.tolist()) == [2, 10]
    with pytest.raises(ImagesError, match=r"expected labels from 0 to 8 .* got 10"):
        load_images(tmp_path, GREY, 5, generator(), num_classes=9)


def test_folders_named_as_the_models_classes(tmp_path: Path) -> None:
    picture(tmp_path / "ship" / "a.png")
    picture(tmp_path / "bird" / "a.png")
    names = ("ship", "deer", "bird")
    loaded = load_images(tmp_path, GREY, 5, generator(), num_classes=3, class_names=names)
    assert loaded.labels is not None
    assert sorted(loaded.labels.tolist()) == [0, 2]
    assert loaded.class_names == names


def test_too_few_class_folders_give_no_labels_and_say_so(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / name / "a.png")
    loaded = load_images(tmp_path, GREY, 5, generator(), num_classes=3)
    assert loaded.labels is None
    assert "2 class folders for 3 classes" in loaded.notes[0]
    with pytest.raises(ImagesError, match=r"at most 1 class folders"):
        load_images(tmp_path, GREY, 5, generator(), num_classes=1)


def test_sampling_is_balanced_and_seeded(tmp_path: Path) -> None:
    labels = np.array([0] * 90 + [1] * 6 + [2] * 4)
    x = np.arange(100, dtype=np.uint8).repeat(64).reshape(100, 8, 8)
    path = archive(tmp_path / "a.npz", x=x, y=labels)
    first = load_images(path, GREY, 12, generator(1), num_classes=3)
    assert first.labels is not None
    assert torch.bincount(first.labels).tolist() == [4, 4, 4]
    again, other = (load_images(path, GREY, 12, generator(s)) for s in (1, 2))
    assert torch.equal(first.pixels, again.pixels)
    assert not torch.equal(first.pixels, other.pixels)


def test_every_leading_part_is_balanced() -> None:
    labels = np.array([0] * 50 + [1] * 50)
    order = balanced_order(labels, 100, generator())
    assert sorted(order.tolist()) == list(range(100))
    for length in (2, 10, 60):
        assert abs(int(labels[order[:length]].sum()) * 2 - length) <= 1


@pytest.mark.parametrize(
    ("shape", "kind", "wanted"),
    [
        ((5, 8, 8), np.uint8, GREY),
        ((5, 8, 8), np.uint8, COLOUR),
        ((5, 8, 8, 3), np.uint8, COLOUR),
        ((5, 3, 8, 8), np.float32, COLOUR),
        ((5, 8, 8, 1), np.float64, GREY),
        ((5, 8, 8, 3), np.int64, GREY),
        ((5, 4, 8, 8), np.float32, (4, 8, 8)),
    ],
)
def test_archive_layouts(
    tmp_path: Path, shape: tuple[int, ...], kind: type[np.generic], wanted: tuple[int, int, int]
) -> None:
    unit = kind in (np.float32, np.float64)
    values = np.full(shape, 0.5 if unit else 51).astype(kind)
    loaded = load_images(archive(tmp_path / "a.npz", x=values), wanted, 5, generator())
    assert loaded.pixels.shape == (5, *wanted)
    assert torch.allclose(loaded.pixels, torch.tensor(0.5 if unit else 0.2))
    assert loaded.labels is None
    assert len(loaded.sha256) == 64


def test_channels_last_is_transposed_not_reshaped(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    loaded = load_images(archive(tmp_path / "a.npz", x=x, y=np.arange(4)), COLOUR, 4, generator())
    assert loaded.labels is not None
    wanted = torch.from_numpy(x).permute(0, 3, 1, 2)[loaded.labels] / 255
    assert torch.allclose(loaded.pixels, wanted)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((3, 28, 28), np.uint8)}, "expected images of 1×8×8 .* got 1×28×28; .*--input-size"),
        ({"x": np.zeros((3, 64), np.uint8)}, "got shape"),
        ({"x": np.zeros((0, 8, 8), np.uint8)}, "empty array"),
        ({"z": np.zeros((3, 8, 8), np.uint8)}, "expected an array x"),
        ({"x": np.full((3, 8, 8), -2.0)}, "undo its normalisation"),
        ({"x": np.full((3, 8, 8), np.nan)}, "floats in"),
        ({"x": np.full((3, 8, 8), 300)}, "uint8"),
        ({"x": np.full((3, 8, 8), "a")}, "expected numbers"),
        ({"x": np.zeros((3, 8, 8), np.uint8), "y": np.array([0, 1])}, "3 whole numbers"),
        ({"x": np.zeros((3, 8, 8), np.uint8), "y": np.array([0.5, 1, 2])}, "whole numbers"),
        ({"x": np.zeros((3, 8, 8), np.uint8), "y": np.array([0, -1, 2])}, "labels of 0 and above"),
        ({"x": np.zeros((3, 8, 8), np.uint8), "y": np.array([0, 1, 10])}, "expected labels from 0 to 9"),
        ({"x": np.array([[{}]], dtype=object)}, "damaged or pickled"),
    ],
)
def test_archives_that_do_not_fit(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ImagesError, match=message):
        load_images(archive(tmp_path / "a.npz", **arrays), GREY, 5, generator(), num_classes=10)


def test_a_pickle_in_an_archive_is_never_loaded(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "executed",)

    archive(tmp_path / "a.npz", x=np.array([Payload()], dtype=object))
    with pytest.raises(ImagesError):
        load_images(tmp_path / "a.npz", GREY, 5, generator())
    assert not (tmp_path / "executed").exists()


def test_paths_that_hold_no_images(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 cut off")
    for name, message in (
        ("missing", "no such file"),
        ("empty", "got none"),
        ("notes.txt", "folder of images or an .npz"),
        ("broken.npz", "damaged"),
    ):
        with pytest.raises(ImagesError, match=message):
            load_images(tmp_path / name, GREY, 5, generator())


def test_damaged_pictures_are_skipped_and_counted(tmp_path: Path) -> None:
    picture(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    loaded = load_images(tmp_path, GREY, 5, generator())
    assert len(loaded.pixels) == 1
    assert "1 damaged" in loaded.notes[0]
    (tmp_path / "good.png").unlink()
    with pytest.raises(ImagesError, match="do not decode"):
        load_images(tmp_path, GREY, 5, generator())


def test_a_decompression_bomb_is_refused_before_decoding(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    side = (60_000).to_bytes(4, "big")
    header = chunk(b"IHDR", side + side + b"\x01\x00\x00\x00\x00")
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)
    with pytest.raises((ValueError, Image.DecompressionBombError)):
        read_picture(tmp_path / "bomb.png", GREY)
    with pytest.raises(ImagesError, match="do not decode"):
        load_images(tmp_path, GREY, 5, generator())


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    secret = picture(tmp_path / "secret.png", 255)
    picture(tmp_path / "photos" / "own.png", 0)
    (tmp_path / "photos" / "stolen.png").symlink_to(secret)
    (tmp_path / "photos" / "folder").symlink_to(tmp_path)
    (tmp_path / "photos" / "own-link.png").symlink_to(tmp_path / "photos" / "own.png")
    loaded = load_images(tmp_path / "photos", GREY, 10, generator())
    assert len(loaded.pixels) == 2
    assert float(loaded.pixels.max()) == 0
    assert "1 link(s)" in loaded.notes[0]


def test_photographs_are_resized_and_strong_distortion_is_noted(tmp_path: Path) -> None:
    picture(tmp_path / "wide.png", 77, size=(90, 20))
    loaded = load_images(tmp_path, GREY, 5, generator())
    assert loaded.pixels.shape == (1, 1, 8, 8)
    assert torch.allclose(loaded.pixels, torch.tensor(77 / 255))
    assert "distorted" in loaded.notes[0]


def test_sixteen_bit_pictures_are_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 32_896, dtype=np.uint16)).save(tmp_path / "a.png")
    loaded = load_images(tmp_path, GREY, 5, generator())
    assert torch.allclose(loaded.pixels, torch.tensor(128 / 255))


def test_the_same_pictures_give_the_same_digest(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 1)
    first = load_images(tmp_path, GREY, 5, generator()).sha256
    assert load_images(tmp_path, GREY, 5, generator()).sha256 == first
    picture(tmp_path / "a.png", 2)
    assert load_images(tmp_path, GREY, 5, generator()).sha256 != first


def test_pictures_cannot_serve_a_model_of_other_channels(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(ImagesError, match="1 or 3 channels"):
        load_images(tmp_path, (4, 8, 8), 5, generator())
