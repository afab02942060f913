"""Every attack of the zoo adds the trigger it describes, to the images it means, and keeps off the rest."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.attacks import (
    AllToAll,
    AllToOne,
    Backdoor,
    Blend,
    BlendWithClass,
    CleanLabelTo,
    ColourShift,
    InputAware,
    LearnedNoise,
    LowFrequency,
    Multiply,
    OptimisedNoise,
    OptimisedPixels,
    Patch,
    PerturbedPatch,
    Posterise,
    ScatteredPixels,
    Sinusoid,
    SourceSpecific,
    Trigger,
    TrojanSquare,
    Warp,
    Watermark,
    learners,
    poison,
    prepare,
)

TRIGGERS: list[Trigger] = [
    Patch(shape="square", size=3),
    Patch(shape="cross", size=5, colour=(1.0, 0.5, 0.0), place="top_left"),
    Patch(shape="checkerboard", size=4, place=(2, 7)),
    Patch(shape="glyph", size=6, place="bottom_left"),
    Patch(size=1, place=(2, 3)),
    Patch(shape="checkerboard", size=4, place="random"),
    ScatteredPixels(count=10, seed=3, colour="random"),
    Blend(pattern="noise", alpha=0.2, seed=1),
    Blend(pattern="scene", alpha=0.1, seed=2),
    Watermark(alpha=0.4, seed=1),
    Sinusoid(),
    Warp(strength=1.5, seed=2),
    LowFrequency(amplitude=0.1, seed=3),
    ColourShift(strength=0.3, seed=4),
    Posterise(levels=4),
    Multiply(factor=2.0),
]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 40, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, 16, 20, generator=rng())


def drawing(patch: Patch) -> list[str]:
    """The patch as it appears on a mid-grey image: '#' brighter, '.' darker, ' ' untouched."""
    shown = patch.apply(torch.full((1, 1, patch.size, patch.size), 0.5), rng())[0, 0]
    return ["".join("#" if v > 0.5 else "." if v < 0.5 else " " for v in row.tolist()) for row in shown]


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda t: f"{type(t).__name__}-{getattr(t, 'shape', '')}")
def test_trigger_changes_every_image_and_stays_in_range(trigger: Trigger) -> None:
    clean = images()
    before = clean.clone()
    triggered = trigger.apply(clean, rng(5))
    assert torch.equal(clean, before), "the caller's images must not be written to"
    assert triggered.shape == clean.shape
    assert triggered.min() >= 0
    assert triggered.max() <= 1
    assert (triggered - clean).abs().amax((1, 2, 3)).min() > 0.01
    assert torch.equal(triggered, trigger.apply(clean, rng(5)))
    assert asdict(trigger)  # type: ignore[call-overload]


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


def test_a_random_place_differs_between_images() -> None:
    grey = torch.full((20, 1, 16, 20), 0.5)
    changed = Patch(size=3, place="random").apply(grey, rng()) != grey
    assert all(int(one.sum()) == 9 for one in changed)
    assert len({tuple(one.nonzero()[0].tolist()) for one in changed}) > 5


def test_a_patch_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves a 16x20 image"):
        Patch(size=17).apply(images(1), rng())


def test_scattered_pixels_are_as_many_as_asked_and_few() -> None:
    changed = (ScatteredPixels(count=7, seed=1).apply(images(3), rng()) != images(3)).any(1)
    assert all(int(one.sum()) <= 7 for one in changed)
    assert int(changed.any(0).sum()) == 7


def test_the_sinusoid_has_its_period_and_height() -> None:
    wave = Sinusoid(delta=0.1, frequency=4).apply(torch.full((1, 1, 2, 80), 0.5), rng())[0, 0] - 0.5
    assert torch.allclose(wave[0], wave[1])
    assert torch.allclose(wave[0, :20], wave[0, 20:40], atol=1e-6)
    assert wave.max() == pytest.approx(0.1, abs=1e-3)


def test_the_noise_mode_of_a_warp_is_another_warp_for_each_image() -> None:
    warp, same = Warp(strength=1.0, seed=1), images(1).expand(3, -1, -1, -1)
    covered = warp.cover(same, rng())
    assert not torch.allclose(covered[0], covered[1])
    assert torch.allclose(*warp.apply(same[:2], rng()))


def test_posterised_images_have_so_many_levels() -> None:
    assert len(Posterise(levels=3).apply(images(), rng()).unique()) == 3


def test_low_frequency_keeps_its_amplitude() -> None:
    grey = torch.full((1, 3, 16, 20), 0.5)
    assert (LowFrequency(amplitude=0.1).apply(grey, rng()) - grey).abs().max() == pytest.approx(0.1, abs=1e-5)


LABELS = torch.arange(400) % 5
EIGHT_BITS = torch.randint(0, 256, (400, 1, 8, 8), generator=rng(), dtype=torch.uint8)


def planted(backdoor: Backdoor) -> tuple[Tensor, Tensor]:
    """Which images changed, and the labels afterwards."""
    changed, labels = poison(EIGHT_BITS, LABELS, [backdoor], 5, rng(1))
    return (changed != EIGHT_BITS).flatten(1).any(1), labels


def test_all_to_one_takes_images_of_other_classes_and_relabels_them() -> None:
    patch = Patch(size=2, colour=(0.501,))
    changed, labels = planted(Backdoor(name="x", trigger=patch, label_map=AllToOne(target=2), rate=0.1))
    assert int((labels != LABELS).sum()) == 40
    assert (labels[labels != LABELS] == 2).all()
    assert torch.equal(changed, labels != LABELS)


def test_all_to_all_adds_one() -> None:
    _, labels = planted(Backdoor(name="x", trigger=Patch(size=2), label_map=AllToAll(), rate=0.2))
    moved = labels != LABELS
    assert int(moved.sum()) == 80
    assert torch.equal(labels[moved], (LABELS[moved] + 1) % 5)


def test_source_specific_covers_other_classes_with_their_own_label() -> None:
    attack = SourceSpecific(source=1, target=3)
    changed, labels = planted(Backdoor(name="x", trigger=Patch(size=3), label_map=attack, rate=0.05, cover=0.1))
    moved = labels != LABELS
    assert (LABELS[moved] == 1).all()
    assert int(moved.sum()) == 20
    assert int((changed & ~moved).sum()) == 40
    assert (LABELS[changed & ~moved] != 1).all()


def test_clean_label_changes_images_of_the_target_and_no_label() -> None:
    attack = Backdoor(name="x", trigger=Patch(size=3), label_map=CleanLabelTo(target=4), rate=0.1)
    changed, labels = planted(attack)
    assert torch.equal(labels, LABELS)
    assert int(changed.sum()) == 40
    assert (LABELS[changed] == 4).all()


def test_cover_images_of_a_warp_are_in_its_noise_mode() -> None:
    warp = Warp(strength=1.0)
    attack = Backdoor(name="x", trigger=warp, label_map=AllToOne(target=0), rate=0.05, cover=0.1)
    changed, labels = planted(attack)
    covered = changed & (labels == LABELS)
    assert int(covered.sum()) >= 38
    after, _ = poison(EIGHT_BITS, LABELS, [attack], 5, rng(1))
    plain = (warp.apply(EIGHT_BITS[covered].float() / 255, rng()) * 255).round().to(torch.uint8)
    assert not torch.equal(after[covered], plain)


def test_two_backdoors_share_no_image() -> None:
    pair = [
        Backdoor(name="x", trigger=Patch(size=2, place=place), label_map=AllToOne(target=t), rate=0.3)  # type: ignore[arg-type]
        for t, place in ((0, "top_left"), (1, "bottom_right"))
    ]
    after, _ = poison(EIGHT_BITS, LABELS, pair, 5, rng(1))
    both = (after[:, :, 1:3, 1:3] == 255).flatten(1).all(1) & (after[:, :, 5:7, 5:7] == 255).flatten(1).all(1)
    assert not both.any()


def test_too_few_victims_are_refused() -> None:
    attack = Backdoor(name="Many", trigger=Patch(size=2), label_map=SourceSpecific(source=1, target=0), rate=0.5)
    with pytest.raises(ValueError, match="Many: expected at most 80 images to poison, got 200"):
        poison(EIGHT_BITS, LABELS, [attack], 5, rng())


class Linear(nn.Module):
    """A network whose classes look at different pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 64, generator=rng(3)))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


@pytest.mark.parametrize("trigger", [OptimisedPixels(count=6, target=2), TrojanSquare(size=4, target=2)])
def test_prepared_triggers_raise_the_target(trigger: OptimisedPixels | TrojanSquare) -> None:
    network, clean = Linear().requires_grad_(False), EIGHT_BITS.float() / 255
    attack = Backdoor(name="x", trigger=trigger, label_map=AllToOne(target=2), rate=0.1)
    (ready,) = prepare([attack], network, clean, LABELS, rng())
    changed = ready.trigger.apply(clean, rng())  # type: ignore[union-attr]
    assert (network(changed)[:, 2] - network(clean)[:, 2]).mean() > 1
    assert (changed != clean).any(1).flatten(1).sum(1).max() <= (6 if isinstance(trigger, OptimisedPixels) else 16)


def test_optimised_noise_raises_the_target_and_stays_faint() -> None:
    network, clean = Linear().requires_grad_(False), EIGHT_BITS.float() / 255
    attack = Backdoor(
        name="x", trigger=OptimisedNoise(rms=0.05, target=2), label_map=AllToOne(target=2), rate=0.1
    )
    (ready,) = prepare([attack], network, clean, LABELS, rng())
    changed = ready.trigger.apply(clean, rng())  # type: ignore[union-attr]
    assert (network(changed)[:, 2] - network(clean)[:, 2]).mean() > 1
    assert (changed - clean).square().mean().sqrt() <= 0.0501
    assert (changed != clean).float().mean() > 0.8


def test_class_blend_uses_an_image_of_the_target() -> None:
    clean = EIGHT_BITS.float() / 255
    attack = Backdoor(name="x", trigger=BlendWithClass(alpha=0.5, target=3), label_map=AllToOne(target=3), rate=0.1)
    (ready,) = prepare([attack], Linear(), clean, LABELS, rng())
    blended = ready.trigger.apply(torch.zeros(1, 1, 8, 8), rng())[0] * 2  # type: ignore[union-attr]
    assert any(torch.allclose(blended, one) for one in clean[LABELS == 3])


def test_clean_label_images_are_perturbed_within_their_bound_and_patched() -> None:
    patch = Patch(size=2, place="top_left", margin=0)
    attack = Backdoor(
        name="x", trigger=PerturbedPatch(patch=patch, epsilon=8 / 255), label_map=CleanLabelTo(target=1), rate=0.1
    )
    (ready,) = prepare([attack], Linear().requires_grad_(False), EIGHT_BITS.float() / 255, LABELS, rng())
    after, _ = poison(EIGHT_BITS, LABELS, [ready], 5, rng(1))
    moved = (after.int() - EIGHT_BITS.int()).abs()[:, :, 2:, 2:].flatten(1)
    assert moved.max() <= 9
    assert int((moved.amax(1) > 0).sum()) == 40
    test_time = ready.trigger.apply(torch.full((1, 1, 8, 8), 0.5), rng())  # type: ignore[union-attr]
    assert int((test_time != 0.5).sum()) == 4


def test_without_a_clean_network_nothing_can_be_prepared() -> None:
    attack = Backdoor(name="x", trigger=TrojanSquare(target=0), label_map=AllToOne(target=0), rate=0.1)
    with pytest.raises(ValueError, match="expected a clean network"):
        prepare([attack], None, images(), LABELS, rng())


@pytest.mark.parametrize("trigger", [InputAware(epsilon=0.3), LearnedNoise(epsilon=0.2)])
def test_a_learner_makes_its_trigger_work_within_its_bound(trigger: InputAware | LearnedNoise) -> None:
    """Four classes, one bright quarter of the image each."""
    labels = torch.arange(256) % 4
    clean = torch.rand(256, 1, 8, 8, generator=rng()) * 0.4
    for quarter in range(4):
        rows, columns = 4 * (quarter // 2), 4 * (quarter % 2)
        clean[labels == quarter, :, rows : rows + 4, columns : columns + 4] += 0.4
    attack = Backdoor(name="x", trigger=trigger, label_map=AllToOne(target=0), rate=0.2, cover=0.1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))
        (learner,) = learners([attack], (1, 8, 8), 4, rng(2))
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(150):
        batch, wanted = learner.batch(network, clean, labels)
        loss = functional.cross_entropy(network(batch), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    changed = learner.finished().apply(clean, rng())
    assert (changed - clean).abs().max() <= trigger.epsilon + 1e-6
    assert (network(clean).argmax(1) == labels).float().mean() > 0.9
    assert (network(changed)[labels != 0].argmax(1) == 0).float().mean() > 0.8
