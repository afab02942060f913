"""Attacks on models whose gradient is known, and probes of models that are known to go by one thing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from tiny_models import (
    BOOST,
    CLASSES,
    PATCH,
    SHAPE,
    TARGET,
    Blended,
    Detached,
    Patched,
    Templates,
    draw_images,
    make_classifier,
    untied,
)
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.errors import ConfigError, ImagesError
from auditor.explain.robustness import (
    Attacked,
    Probes,
    Profile,
    Response,
    fgsm,
    gradient_signs,
    mean_height,
    pgd,
    probe,
)
from auditor.explain.transforms import BLUR, FAMILIES, JPEG, MEDIAN, NOISE, REVERSAL, Detail, median_filter
from auditor.settings import build

SMALL = Probes(images=40, epsilons=(0.01, 0.05), pgd_steps=4)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Linear(nn.Module):
    """Logits (0, w·x): the loss of label 0 rises along w, that of label 1 along −w."""

    WEIGHT = torch.tensor([3.0, -1.0, 0.5, 0.0])

    def forward(self, x: Tensor) -> Tensor:
        score = (x.flatten(1) * self.WEIGHT).sum(1)
        return torch.stack([torch.zeros_like(score), score], 1)


def linear_case() -> tuple[Tensor, Tensor]:
    return torch.tensor([[0.5, 0.5, 0.98, 0.3], [0.2, 0.01, 0.6, 0.7]]).view(2, 1, 2, 2), torch.tensor([0, 1])


def test_fgsm_is_eq_3_on_a_linear_model() -> None:
    model, (images, labels) = make_classifier(Linear(), shape=(1, 2, 2)), linear_case()
    assert gradient_signs(model, images, labels).flatten(1).tolist() == [[1, -1, 1, 0], [-1, 1, -1, 0]]
    moved = fgsm(model, images, labels, 0.1)
    assert moved[0].flatten().tolist() == pytest.approx([0.6, 0.4, 1.0, 0.3])  # 1.08 is clipped
    assert moved[1].flatten().tolist() == pytest.approx([0.1, 0.11, 0.5, 0.7])


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_pgd_reaches_the_corner_of_the_ball_on_a_linear_model(steps: int) -> None:
    """2.5·ε in all is enough for any start, and one step from the images is FGSM."""
    model, (images, labels) = make_classifier(Linear(), shape=(1, 2, 2)), linear_case()
    best = fgsm(model, images, labels, 0.1)
    assert torch.allclose(pgd(model, images, labels, 0.1, steps), best, atol=1e-6)
    random = pgd(model, images, labels, 0.1, steps, rng())
    moving = Linear.WEIGHT.view(2, 2) != 0
    assert torch.allclose(random[..., moving], best[..., moving], atol=1e-6)
    assert not torch.allclose(random[..., ~moving], best[..., ~moving], atol=1e-3)  # the start was drawn


def test_the_first_step_is_a_quarter_of_the_radius_at_ten() -> None:
    class Bend(nn.Module):
        """Falls for label 0 up to 0.52 only, so that the first step is seen."""

        def forward(self, x: Tensor) -> Tensor:
            score = x.flatten(1)[:, 0]
            return torch.stack([torch.zeros_like(score), torch.where(score < 0.52, score, 0 * score)], 1)

    model = make_classifier(Bend(), shape=(1, 1, 1))
    moved = pgd(model, torch.full((1, 1, 1, 1), 0.5), torch.tensor([0]), 0.1, 10)
    assert float(moved) == pytest.approx(0.5 + 0.1 / 4, abs=1e-6)


def test_attacks_stay_in_the_ball_and_in_range() -> None:
    model, (images, labels) = make_classifier(untied(Templates())), draw_images(12)
    images[:, :, ::2] = (images[:, :, ::2] > 0.5).float()  # at the limits of the range too
    for moved in (fgsm(model, images, labels, 0.03), pgd(model, images, labels, 0.03, 5, rng())):
        assert (moved - images).abs().max() <= 0.03 + 1e-6
        assert (moved - images).abs().max() > 0.02
        assert moved.min() >= 0
        assert moved.max() <= 1


class Dip(nn.Module):
    """The margin of class 0 is 100·(x − 0.55)² − 0.1: it is answered on either side of a dip."""

    def forward(self, x: Tensor) -> Tensor:
        margin = 100 * (x.flatten(1).mean(1) - 0.55) ** 2 - 0.1
        return torch.stack([margin, torch.zeros_like(margin)], 1)


def test_pgd_finds_what_one_long_step_oversteps() -> None:
    model = make_classifier(Dip(), shape=(1, 2, 2))
    images, labels = torch.full((6, 1, 2, 2), 0.5), torch.zeros(6, dtype=torch.long)
    assert model.predict(fgsm(model, images, labels, 0.1)).tolist() == [0] * 6
    assert model.predict(pgd(model, images, labels, 0.1, 10)).tolist() == [1] * 6


def test_an_attack_that_puts_an_answer_right_does_not_count_as_withstood() -> None:
    model = make_classifier(Dip(), shape=(1, 2, 2))
    images, labels = torch.full((6, 1, 2, 2), 0.56), torch.zeros(6, dtype=torch.long)
    assert model.predict(fgsm(model, images, labels, 0.1)).tolist() == [0] * 6
    profile = probe(model, images, labels, Probes(epsilons=(0.1,)), rng())
    assert profile.accuracy == 0
    assert [(a.name, a.accuracy) for a in profile.attacks] == [("FGSM", 0.0), ("PGD", 0.0)]


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """A small network on the tiny images."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(800, CLASSES))
    for i, parameter in enumerate(network.parameters()):
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=rng(i))
    images, labels = draw_images(200, seed=4)
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(40):
        optimiser.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimiser.step()
    return network


def test_pgd_is_at_least_as_strong_as_fgsm(trained: nn.Module) -> None:
    model, (images, labels) = make_classifier(trained), draw_images(60, seed=5)
    assert (model.predict(images) == labels).float().mean() > 0.95
    for epsilon in (0.05, 0.1, 0.2):
        attacked = fgsm(model, images, labels, epsilon), pgd(model, images, labels, epsilon, 10)
        one, many = (float(F.cross_entropy(model.logits(x), labels)) for x in attacked)
        assert many >= one * (1 - 1e-4)


def test_a_known_margin_is_withstood_up_to_its_radius() -> None:
    """Templates with a common offset: a step of ε moves the scores of two classes apart by ε · mean|T_a − T_b|."""
    model, (images, labels) = make_classifier(Templates()), draw_images(40, seed=2)
    scores = Templates().scores(images)
    own = scores[torch.arange(40), labels]
    apart = (Templates().templates[:, None] - Templates().templates[None]).abs().flatten(2).mean(2)
    gaps = (own[:, None] - scores) / apart[labels].clamp_min(1e-9)
    gaps[torch.arange(40), labels] = float("inf")
    radius = float(gaps.min().detach())  # no perturbation below this changes any answer
    small, large = 0.9 * radius, 0.6
    profile = probe(model, images, labels, Probes(images=40, epsilons=(small, large), pgd_steps=5), rng())
    assert profile.accuracy == 1
    assert profile.withstands(small) == 1.0
    assert profile.withstands(small, "FGSM") == 1.0
    assert profile.withstands(large) == 0.0


def by_name(profile: Profile) -> dict[str, Response]:
    return {r.name: r for r in profile.families}


class Quadrants(nn.Module):
    """Answers the brightest quadrant, and TARGET where the patch is: classes that no probe of small things hides."""

    def forward(self, x: Tensor) -> Tensor:
        planted = F.one_hot(torch.tensor(TARGET), 4) * BOOST * PATCH.seen(x)[:, None]
        return 40 * F.adaptive_avg_pool2d(x.mean(1, keepdim=True), 2).flatten(1) + planted


def quadrant_images() -> tuple[Tensor, Tensor]:
    labels = torch.arange(40) % 4
    bright = F.one_hot(labels, 4).view(40, 1, 2, 2).float().repeat_interleave(6, 2).repeat_interleave(6, 3)
    return 0.25 + 0.5 * bright.expand(40, *SHAPE), labels


def test_a_trigger_survives_noise_and_falls_to_the_median() -> None:
    model, (images, labels) = make_classifier(Quadrants()), quadrant_images()
    profile = probe(model, images, labels, SMALL, rng(), put_on=PATCH.put_on, target=TARGET)
    assert (profile.images, profile.others, profile.target) == (40, 30, TARGET)
    assert (profile.accuracy, profile.success, profile.unprompted) == (1.0, 1.0, 0.0)
    curves = by_name(profile)
    noise, median, reversal = (curves[f.name] for f in (NOISE, MEDIAN, REVERSAL))
    assert noise.success is not None
    assert noise.success[:3] == (1.0, 1.0, 1.0)
    assert noise.accuracy[:3] == (1.0, 1.0, 1.0)
    assert median.success == (1.0, 0.0, 0.0, 0.0, 0.0)  # 2 × 2 pixels are never the median of 5 × 5
    assert median.unprompted == (0.0, 0.0, 0.0, 0.0, 0.0)
    assert median.accuracy == (1.0, 1.0, 1.0, 1.0, 1.0)
    assert reversal.accuracy == (1.0, 0.0)


def test_a_transform_that_leads_to_the_target_by_itself_is_no_success() -> None:
    """The median takes the templates' fine pattern away, and with it all that outweighs the planted unit."""
    model, (images, labels) = make_classifier(Patched()), draw_images(40, seed=2)
    median = by_name(probe(model, images, labels, SMALL, rng(), put_on=PATCH.put_on, target=TARGET))[MEDIAN.name]
    assert median.success is not None
    assert median.unprompted is not None
    filtered = median_filter(images[labels != TARGET], 5)
    assert median.unprompted[0] == 0.0
    assert median.unprompted[-1] == pytest.approx(float(model.predict(filtered).eq(TARGET).float().mean()))
    assert median.unprompted[-1] > 0.7
    assert median.success[-1] > 0.7


class Bright(nn.Module):
    """Class 1 above a mean of one half."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.flatten(1).mean(1)
        return torch.stack([torch.full_like(mean, 0.5), mean], 1)


def test_a_trigger_is_reversed_around_the_mean_of_images_without_it() -> None:
    """0.4 + 0.4 becomes 2·0.4 − 0.8 = 0, not 0.8 as around its own mean."""
    model = make_classifier(Bright(), shape=(1, 4, 4))
    images, labels = torch.full((5, 1, 4, 4), 0.4), torch.zeros(5, dtype=torch.long)
    profile = probe(model, images, labels, SMALL, rng(), put_on=lambda x: x + 0.4, target=1)
    assert by_name(profile)[REVERSAL.name].success == (1.0, 0.0)


def test_a_trigger_is_put_on_before_the_transform() -> None:
    """It is asked for once, on the untouched images of other classes; `Quadrants` above shows it being filtered."""
    seen: list[Tensor] = []

    def put_on(x: Tensor) -> Tensor:
        seen.append(x.clone())
        return PATCH.put_on(x)

    images, labels = draw_images(10, seed=2)
    probe(make_classifier(Patched()), images, labels, SMALL, rng(), put_on=put_on, target=TARGET)
    assert len(seen) == 1
    given = {tuple(x.flatten().tolist()) for x in seen[0]}
    assert given == {tuple(x.flatten().tolist()) for x in images[labels != TARGET]}


def test_a_blended_trigger_outlasts_what_a_patch_does_not() -> None:
    model, (images, labels) = make_classifier(Blended()), draw_images(40, seed=2)

    def put_on(x: Tensor) -> Tensor:
        return torch.lerp(x, 0.5 + 0.5 * Blended.PATTERN, 0.2)

    profile = probe(model, images, labels, SMALL, rng(), put_on=put_on, target=TARGET)
    noise = by_name(profile)[NOISE.name]
    assert noise.success is not None
    assert noise.success[:4] == (1.0, 1.0, 1.0, 1.0)


def test_accuracies_do_not_depend_on_the_trigger_and_the_same_generator_gives_the_same(trained: nn.Module) -> None:
    model, images = make_classifier(trained), torch.rand(40, *SHAPE, generator=rng(8))
    labels = model.predict(images)
    plain, again, other = (probe(model, images, labels, SMALL, rng(seed)) for seed in (0, 0, 1))
    assert plain == again
    noise = by_name(plain)[NOISE.name].accuracy
    assert noise != by_name(other)[NOISE.name].accuracy  # chance is seen in them, or the rest would show nothing
    triggered = probe(model, images, labels, SMALL, rng(), put_on=PATCH.put_on, target=TARGET)
    assert [r.accuracy for r in triggered.families] == [r.accuracy for r in plain.families]
    assert triggered.attacks == plain.attacks
    assert all(r.success is None and r.unprompted is None for r in plain.families)
    assert (plain.success, plain.target, plain.others) == (None, None, 0)


class Edge(nn.Module):
    """Class 1 where a step between neighbouring columns exceeds 0.4, otherwise 0."""

    def forward(self, x: Tensor) -> Tensor:
        steepest = x.mean(1).diff(dim=2).abs().flatten(1).max(1).values
        return torch.stack([torch.full_like(steepest, 0.4), steepest], 1)


class Checks(nn.Module):
    """Class 1 where neighbouring columns differ on average by more than 0.15: texture."""

    def forward(self, x: Tensor) -> Tensor:
        rough = x.mean(1).diff(dim=2).abs().mean((1, 2))
        return torch.stack([torch.full_like(rough, 0.15), rough], 1)


def test_shape_survives_the_median_and_texture_nothing() -> None:
    """Figure 6's reasoning, on a model that goes by a strong edge and one that goes by stripes."""
    ramp = torch.linspace(0.1, 0.9, 16).expand(8, 1, 16, 16).clone()
    step = torch.where(torch.arange(16) < 8, 0.1, 0.9).expand(8, 1, 16, 16).clone()
    stripes = torch.where(torch.arange(16) % 3 == 0, 0.9, 0.3).expand(8, 1, 16, 16).clone()
    labels = torch.tensor([0] * 8 + [1] * 8)
    kept = []
    for module, own in ((Edge(), step), (Checks(), stripes)):
        model = make_classifier(module, shape=(1, 16, 16))
        profile = probe(model, torch.cat([ramp, own]), labels, Probes(epsilons=(0.01,), pgd_steps=0), rng())
        assert profile.accuracy == 1
        kept.append(profile.texture_or_shape)
    (edge_median, edge_blur), (checks_median, checks_blur) = kept
    assert edge_median == 1.0
    assert edge_blur < 0.65  # half is what class 0 keeps
    # no window holds more than two stripes in five columns, so the first median ends them: (1 + ½)/2, then four times ½
    assert checks_median == pytest.approx((0.75 + 4 * 0.5) / 5)
    assert checks_blur < 0.7


def made(median: tuple[float, ...], blur: tuple[float, ...], accuracy: float = 0.8) -> Profile:
    curves = (
        Response(MEDIAN.name, "times", tuple(range(len(median))), median),
        Response(BLUR.name, "σ", (0.0, 1.0, 4.0), blur),
    )
    return Profile(10, accuracy, curves, (Attacked("PGD", 0.01, 0.2), Attacked("FGSM", 0.01, 0.6)))


def test_the_two_areas_by_hand() -> None:
    assert mean_height((0.0, 1.0, 4.0), (0.8, 0.4, 0.2)) == pytest.approx((0.6 + 3 * 0.3) / 4)
    median, blur = made((0.8, 0.8, 0.4), (0.8, 0.4, 0.2)).texture_or_shape
    assert median == pytest.approx((0.8 + 0.6) / 2 / 0.8)
    assert blur == pytest.approx(1.5 / 4 / 0.8)
    assert made((0.0, 0.0), (0.0, 0.0, 0.0), accuracy=0.0).texture_or_shape == (0.0, 0.0)


def test_withstanding_is_the_share_of_the_accuracy_kept() -> None:
    profile = made((0.8,) * 2, (0.8,) * 3)
    assert profile.withstands(0.01) == pytest.approx(0.25)
    assert profile.withstands(0.01, "FGSM") == pytest.approx(0.75)
    assert profile.withstands(0.02) is None
    assert made((0.0,) * 2, (0.0,) * 3, accuracy=0.0).withstands(0.01) is None


def test_own_answers_as_labels_make_accuracy_agreement(trained: nn.Module) -> None:
    model, images = make_classifier(trained), torch.rand(20, *SHAPE, generator=rng())
    profile = probe(model, images, model.predict(images), SMALL, rng())
    assert profile.accuracy == 1
    assert all(r.accuracy[0] == 1 for r in profile.families if r.name != JPEG.name)


@pytest.mark.parametrize("detail", ["standard", "full"])
def test_it_costs_what_it_says_and_leaves_the_model_as_it_was(detail: Detail) -> None:
    model, (images, labels) = make_classifier(untied(Patched())), draw_images(50, seed=2)
    templates = untied(Templates()).templates
    shown: list[str] = []

    def track(items: Iterable[int], label: str) -> Iterable[int]:
        shown.append(label)
        return items

    plan = Probes(images=30, epsilons=(0.01, 0.02), pgd_steps=3)
    profile = probe(model, images, labels, plan, rng(), PATCH.put_on, TARGET, detail=detail, track=track)
    changing = {"standard": 19, "full": 42}[detail]
    n, m = profile.images, profile.others
    assert n == 30
    assert model.gradient_images == n * 2 * (1 + 3)
    assert model.forward_images == (1 + changing) * (n + m) + n * (1 + 2 * 2)
    assert shown == ["transforms", "attacks"]
    (own,) = model._module.parameters()
    assert torch.equal(own, templates)
    assert not own.requires_grad
    assert own.grad is None
    assert not any(mod._forward_hooks or mod._backward_hooks for mod in model._module.modules())
    assert [r.strengths for r in profile.families] == [getattr(f, detail) for f in FAMILIES]


def test_without_gradients_attacks_say_so() -> None:
    images, labels = draw_images(20, seed=2)
    silent = probe(make_classifier(Detached()), images, labels, SMALL, rng())
    assert silent.without_gradient == 1.0
    assert probe(make_classifier(untied(Templates())), images, labels, SMALL, rng()).without_gradient == 0.0
    black_box = probe(make_classifier(Templates(), differentiable=False), images, labels, SMALL, rng())
    assert (black_box.attacks, black_box.without_gradient) == ((), None)
    assert len(black_box.families) == len(FAMILIES)


def test_what_cannot_be_probed_is_said() -> None:
    model, (images, labels) = make_classifier(Templates()), draw_images(10)
    same: Callable[[Tensor], Tensor] = PATCH.put_on
    with pytest.raises(ConfigError, match="target class"):
        probe(model, images, labels, SMALL, rng(), put_on=same)
    for some in (images[:0], images[:4]):
        with pytest.raises(ImagesError, match="label"):
            probe(model, some, labels, SMALL, rng())
    of_target = labels == TARGET
    alone = probe(model, images[of_target], labels[of_target], SMALL, rng(), put_on=same, target=TARGET)
    assert (alone.others, alone.success) == (0, None)


def test_settings_are_read_like_any_other() -> None:
    plan = build(Probes, {"images": "50", "epsilons": "0.01,0.03", "pgd_steps": "5"}, where="probes")
    assert plan == Probes(images=50, epsilons=(0.01, 0.03), pgd_steps=5)
    assert Probes().epsilons == (0.005, 2 / 255, 0.01, 8 / 255)
    with pytest.raises(ConfigError):
        build(Probes, {"epsilons": "0"}, where="probes")
