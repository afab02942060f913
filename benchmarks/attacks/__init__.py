"""Backdoor attacks on image classifiers: triggers, label maps, and how training images are poisoned.

Every trigger is a small frozen dataclass that cites its paper; `interface` says what one is.
"""

from benchmarks.attacks.interface import Backdoor, LabelMap, Learned, Learner, Network, Prepared, Trigger
from benchmarks.attacks.label_maps import AllToAll, AllToOne, CleanLabelTo, SourceSpecific
from benchmarks.attacks.learned import InputAware, LearnedNoise
from benchmarks.attacks.patches import FixedPixels, Patch, ScatteredPixels
from benchmarks.attacks.poisoning import learners, poison, prepare
from benchmarks.attacks.prepared import BlendWithClass, OptimisedNoise, OptimisedPixels, PerturbedPatch, TrojanSquare
from benchmarks.attacks.whole_image import (
    Blend,
    ColourShift,
    LowFrequency,
    Multiply,
    Posterise,
    Sinusoid,
    Warp,
    Watermark,
)

__all__ = [
    "AllToAll", "AllToOne", "Backdoor", "Blend", "BlendWithClass", "CleanLabelTo", "ColourShift", "FixedPixels",
    "InputAware", "LabelMap", "Learned", "LearnedNoise", "Learner", "LowFrequency", "Multiply", "Network",
    "OptimisedNoise", "OptimisedPixels", "Patch", "PerturbedPatch", "Posterise", "Prepared", "ScatteredPixels",
    "Sinusoid", "SourceSpecific", "Trigger", "TrojanSquare", "Warp", "Watermark", "learners", "poison", "prepare",
]  # fmt: skip
