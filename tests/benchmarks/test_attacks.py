"""Every attack of the zoo adds the trigger it describes, to the images it means, and keeps off the rest."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.attacks import AllToAll, Attack, BadNets, Blended, Patch, SourceSpecific, poison

ATTACKS: list[Attack] = [
    BadNets(target=2, shape="square", size=3),
    BadNets(target=0, shape="cross", size=5, colour=(1.0, 0.5, 0.0), place="top_left"),
    BadNets(target=1, shape="checkerboard", size=4, place=(2, 7)),
    AllToAll(shape="glyph", size=6, place="bottom_left"),
    SourceSpecific(source=1, target=3, shape="glyph", size=6, place="top_right", margin=0),
    Blended(target=3, pattern="noise", alpha=0.2, seed=1),
    Blended(target=3, pattern="scene", alpha=0.1, seed=2),
]


def _name(attack: Attack) -> str:
    return f"{type(attack).__name__}-{getattr(attack, 'shape', '') or getattr(attack, 'pattern', '')}"


def images(count: int = 40, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, 16, 20, generator=torch.Generator().manual_seed(0))


def drawing(patch: Patch) -> list[str]:
    """The patch as it appears on a mid-grey image: '#' brighter, '.' darker, ' ' untouched."""
    shown = patch.apply(torch.full((1, 1, patch.size, patch.size), 0.5))[0, 0]
    return ["".join("#" if v > 0.5 else "." if v < 0.5 else " " for v in row.tolist()) for row in shown]


@pytest.mark.parametrize("attack", ATTACKS, ids=_name)
def test_trigger_changes_every_image_and_stays_in_range(attack: Attack) -> None:
    clean = images()
    before = clean.clone()
    triggered = attack.apply(clean)
    assert torch.equal(clean, before), "the caller's images must not be written to"
    assert triggered.shape == clean.shape
    assert triggered.min() >= 0
    assert triggered.max() <= 1
    assert (triggered - clean).abs().amax((1, 2, 3)).min() > 0.01
    assert torch.equal(triggered, attack.apply(clean))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("square", ["###"] * 3),
        ("cross", ["# #", " # ", "# #"]),
        ("checkerboard", ["#.#", ".#.", "#.#"]),
        ("glyph", ["###", "#  ", "###"]),
    ],
)
def test_shapes(shape: str, expected: list[str]) -> None:
    assert drawing(Patch(shape=shape, size=3, margin=0)) == expected  # type: ignore[arg-type]


def test_glyph_is_made_of_two_by_two_cells_and_covers_28_pixels() -> None:
    mask, _ = Patch(shape="glyph", size=6).mask_and_pattern(1, 28, 28)
    assert int(mask.sum()) == 28


@pytest.mark.parametrize(
    ("place", "corner"),
    [
        ("top_left", (1, 1)),
        ("top_right", (1, 15)),
        ("bottom_left", (11, 1)),
        ("bottom_right", (11, 15)),
        ((5, 3), (5, 3)),
    ],
)
def test_patch_lies_where_it_was_told(place: str, corner: tuple[int, int]) -> None:
    mask, _ = Patch(size=4, place=place).mask_and_pattern(3, 16, 20)  # type: ignore[arg-type]
    rows, columns = mask.nonzero().unbind(1)
    assert (int(rows.min()), int(columns.min())) == corner
    assert (int(rows.max()), int(columns.max())) == (corner[0] + 3, corner[1] + 3)


def test_patch_pastes_its_colour_and_nothing_else() -> None:
    clean = images()
    patch = Patch(size=2, colour=(1.0, 0.25, 0.0), place=(4, 6))
    triggered = patch.apply(clean)
    assert triggered[:, :, 4:6, 6:8].unique(dim=0).tolist() == [
        [[[1.0, 1.0], [1.0, 1.0]], [[0.25, 0.25], [0.25, 0.25]], [[0.0, 0.0], [0.0, 0.0]]]
    ]
    triggered[:, :, 4:6, 6:8] = clean[:, :, 4:6, 6:8]
    assert torch.equal(triggered, clean)


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (Patch(size=4, place=(14, 0)), "leaves a 16x20 image"),
        (Patch(colour=(1.0, 0.0)), "expected a colour of 1 or 3 values, got 2"),
        (Patch(shape="glyph", size=4), "divisible by 3, got 4"),
    ],
)
def test_a_patch_that_cannot_be_drawn_says_why(patch: Patch, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        patch.apply(images(1))


@pytest.mark.parametrize("pattern", ["noise", "scene"])
def test_blend_mixes_one_full_pattern_by_alpha(pattern: str) -> None:
    attack = Blended(target=0, pattern=pattern, alpha=0.15, seed=3)  # type: ignore[arg-type]
    clean, canvas = images(), attack.canvas(3, 16, 20)
    assert torch.allclose(attack.apply(clean), 0.85 * clean + 0.15 * canvas, atol=1e-6)
    assert canvas.max() - canvas.min() > 0.9
    assert not torch.equal(canvas, Blended(target=0, pattern=pattern, seed=4).canvas(3, 16, 20))  # type: ignore[arg-type]


def test_a_scene_is_smooth_where_noise_is_not() -> None:
    def roughness(canvas: Tensor) -> float:
        return canvas.diff(dim=2).abs().mean().item() / canvas.std().item()

    scene, noise = (Blended(target=0, pattern=p).canvas(1, 28, 28) for p in ("scene", "noise"))
    assert roughness(scene) < roughness(noise) / 3


def test_who_is_attacked_and_what_is_wanted() -> None:
    labels = torch.tensor([0, 1, 2, 3])
    one, every, source = BadNets(target=2), AllToAll(), SourceSpecific(source=1, target=3)
    assert one.victims(labels).tolist() == [True, True, False, True]
    assert one.relabel(labels, 4).tolist() == [2, 2, 2, 2]
    assert every.victims(labels).all()
    assert every.relabel(labels, 4).tolist() == [1, 2, 3, 0]
    assert source.victims(labels).tolist() == [False, True, False, False]
    assert source.relabel(labels, 4).tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize("attack", ATTACKS, ids=_name)
def test_poison_touches_exactly_the_number_of_victims_asked_for(attack: Attack) -> None:
    clean = (images(200) * 255).to(torch.uint8)
    labels = torch.arange(200) % 4
    poisoned, answers = poison(clean, labels, attack, 30, 4, torch.Generator().manual_seed(5))
    changed = (poisoned != clean).flatten(1).any(1)
    assert int(changed.sum()) == 30
    assert attack.victims(labels[changed]).all()
    assert torch.equal(answers[changed], attack.relabel(labels[changed], 4))
    assert torch.equal(answers[~changed], labels[~changed])
    expected = attack.apply(clean[changed].float() / 255) * 255
    assert (poisoned[changed].float() - expected).abs().max() <= 0.5 + 1e-4


def test_poisoning_more_images_than_there_are_victims_is_refused() -> None:
    clean, labels = torch.zeros(8, 1, 16, 20, dtype=torch.uint8), torch.tensor([0, 1] * 4)
    with pytest.raises(ValueError, match="at most 4 images to poison, got 5"):
        poison(clean, labels, SourceSpecific(source=1, target=0), 5, 2, torch.Generator())
