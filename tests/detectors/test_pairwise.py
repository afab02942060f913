"""Source × target searches on models with planted source-specific and all-to-all backdoors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import CLASSES, PATCH, SOURCE, TARGET, AllToAll, SourceSpecific, Templates, make_context

from auditor.context import Context
from auditor.detectors.pairwise import Pairwise
from auditor.findings import Matrix, Measurement
from auditor.outliers import all_to_all_index

SIZE = 4 / 144
FORMS = {"sizes": (SIZE,), "windows": (SIZE,)}


def matrix_of(found: list[Measurement]) -> np.ndarray:
    matrix = np.full((CLASSES, CLASSES), np.nan)
    for m in found:
        matrix[m.source_class, m.target_class] = m.value
    return matrix


def test_the_planted_pair_leads() -> None:
    ctx = make_context(SourceSpecific())
    found = list(Pairwise(**FORMS).detect(ctx))
    assert [(m.source_class, m.target_class) for m in found] == [
        (s, t) for s in range(CLASSES) for t in range(CLASSES) if s != t
    ]
    matrix = matrix_of(found)
    assert np.unravel_index(np.nanargmax(matrix), matrix.shape) == (SOURCE, TARGET)
    assert matrix[SOURCE, TARGET] >= 0.9
    assert np.sort(matrix[~np.isnan(matrix)])[-2] <= 0.2
    (planted,) = [m for m in found if (m.source_class, m.target_class) == (SOURCE, TARGET)]
    trigger = planted.trigger
    assert trigger is not None
    assert trigger.source_classes == (SOURCE,)
    assert trigger.success_rate >= 0.9
    assert (trigger.mask * PATCH.mask().numpy()).sum() >= 3
    own = ctx.images.held_out[ctx.images.held_out_classes == SOURCE]
    mask, pattern = torch.from_numpy(trigger.mask), torch.from_numpy(trigger.pattern)
    answers = ctx.model.predict(own * (1 - mask) + pattern * mask)
    assert trigger.success_rate == pytest.approx(float((answers == TARGET).float().mean()))
    assert trigger.images == len(own)


def test_the_clean_twin_keeps_every_pair_low() -> None:
    matrix = matrix_of(list(Pairwise(**FORMS).detect(make_context(Templates()))))
    assert np.nanmax(matrix) <= 0.2


def test_an_all_to_all_map_is_read_off_the_matrix() -> None:
    matrix = matrix_of(list(Pairwise(**FORMS).detect(make_context(AllToAll()))))
    assert np.nanargmax(matrix, axis=1).tolist() == [(s + 1) % CLASSES for s in range(CLASSES)]
    assert all_to_all_index(matrix)[0] >= 0.9
    clean = matrix_of(list(Pairwise(**FORMS).detect(make_context(Templates()))))
    assert all_to_all_index(clean)[0] <= 0.2


def test_the_reference_is_subtracted() -> None:
    both = matrix_of(list(Pairwise(**FORMS).detect(make_context(SourceSpecific(), SourceSpecific()))))
    assert np.nanmax(both) <= 0.2
    found = list(Pairwise(**FORMS).detect(make_context(SourceSpecific(), Templates())))
    assert matrix_of(found)[SOURCE, TARGET] >= 0.9
    (planted,) = [m for m in found if (m.source_class, m.target_class) == (SOURCE, TARGET)]
    assert planted.trigger is not None
    assert planted.trigger.reference_success_rate == 0


def test_matrices_come_with_the_first_pair_and_triggers_with_three() -> None:
    ctx = make_context(SourceSpecific(), Templates())
    found = list(Pairwise(**FORMS, pattern_steps=4, iterations=3).detect(ctx))
    tables = [e for e in found[0].exhibits if isinstance(e, Matrix)]
    assert len(tables) == 3  # small patterns, success rates, distances
    assert not any(isinstance(e, Matrix) for m in found[1:] for e in m.exhibits)
    for table in tables:
        assert table.values.shape == (CLASSES, CLASSES)
        assert np.isnan(np.diag(table.values)).all()
    np.testing.assert_allclose(tables[0].values, matrix_of(found), atol=1e-6)
    assert sum(m.trigger is not None for m in found) == 3
    alone = next(Pairwise(pattern_steps=2, iterations=2).detect(make_context(Templates())))
    assert sum(isinstance(e, Matrix) for e in alone.exhibits) == 2  # no distance without a reference


def test_algorithm_2_reaches_its_targets() -> None:
    found = list(Pairwise(pattern_steps=1, samples=3).detect(make_context(Templates())))
    rates = [m.extras["Algorithm II success rate"] for m in found]
    assert np.mean(rates) > 0.9  # unbounded steps go anywhere: why small patterns are searched too
    still = list(Pairwise(pattern_steps=1, samples=3, epsilon=0.0).detect(make_context(Templates())))
    assert np.mean([m.extras["Algorithm II success rate"] for m in still]) < 0.2


def test_a_source_without_held_out_images_is_not_measured() -> None:
    ctx = make_context(SourceSpecific())
    keep = ctx.images.held_out_classes != 2
    images = type(ctx.images)(
        ctx.images.search, ctx.images.search_classes, ctx.images.held_out[keep], ctx.images.held_out_classes[keep],
        ctx.images.facts,
    )  # fmt: skip
    ctx = Context(model=ctx.model, images=images, rng=ctx.rng)
    found = list(Pairwise(**FORMS, pattern_steps=2, iterations=2).detect(ctx))
    assert len(found) == CLASSES * (CLASSES - 1)
    assert all(np.isnan(m.value) == (m.source_class == 2) for m in found)


def many(candidates: tuple[int, ...]) -> Context:
    return make_context(Templates(22), classes=22, candidates=candidates)


def test_with_many_classes_only_the_candidates_are_searched() -> None:
    detector = Pairwise(pattern_steps=1, iterations=1, samples=1, candidates=2)
    ctx = many((7, 3, 11))
    found = list(detector.detect(ctx))
    pairs = {(m.source_class, m.target_class) for m in found}
    assert pairs == {(s, t) for s in range(22) for t in range(22) if s != t and {s, t} & {7, 3}}
    assert len(found) == detector.expected(ctx) == 2 * 2 * 21 - 2
    note = detector.note(ctx)
    assert "7, 3 only" in note
    assert "left out" in note
    assert detector.note(make_context(Templates())) == ""


def test_with_many_classes_and_no_candidate_nothing_is_searched_and_that_is_said() -> None:
    detector = Pairwise()
    ctx = many(())
    assert list(detector.detect(ctx)) == []
    assert detector.expected(ctx) == 0
    assert "none only" in detector.note(ctx)
    assert ctx.model.passes <= 1


def test_cost_is_as_the_docstring_says() -> None:
    ctx = make_context(Templates())
    list(Pairwise(pattern_steps=3, batch=2, samples=2, iterations=4).detect(ctx))
    assert ctx.model.gradient_images == CLASSES * (CLASSES - 1) * (3 * 2 + 2 * 2 * 4)
