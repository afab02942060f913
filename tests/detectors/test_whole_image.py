"""What the whole-image searches share."""

from __future__ import annotations

from auditor.detectors.blend import Blend


def test_the_full_strength_is_always_tried_first() -> None:
    assert Blend().doses == (1.0, 0.7, 0.5, 0.35)
    assert Blend(strengths=(0.4, 0.8)).doses == (1.0, 0.8, 0.4)
