"""Which recovered triggers confirm what a statistic says, by how well they work, how large they are, and where.

Where a size, a success or a distance from clean models decides, the constant is here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from auditor.calibration import Given
from auditor.findings import Evidence, Measurement, Outcome, Trigger
from auditor.scoring import ALL_TO_ALL, LARGER, PLAIN, TARGETS, kind_of

COMPACT = 0.0125
"""share of the pixels up to which a pattern is compact: a square of three pixels on MNIST's 28×28 is"""

FAR = {LARGER: 1e-7, PLAIN: 1e-4}
"""p-values that no clean model comes near: by nulls that had not seen its network, the least on a develop model were
1e-3 for larger patterns and 1e-2 for success, on images or alone (`python -m benchmarks.calibrate` tells them)"""

PLACES_SEEN = 0.3
"""density (`auditor.places`) from which places differ to a network, which then may answer to a few pixels in one, or to
haze, where another clean one of the same data does not"""

WEAKLY_TRAINED = 0.1
"""weakness (`Given.traits`) from which a network answers to more than another of the same data does: a clean one that
is right on 58 % was turned by 3.5 % of the pixels, and its reference was not"""

FAR_BESIDE = {LARGER: 1e-6, PLAIN: 1e-6, "prominence": 1e-4}
"""the same where a reference `is_no_twin`, by kind of statistic, for triggers of any size: eight pixels where a 2 ends
turned nine of ten digits into a 2 on a clean network (1.8e-5; hardly over the border), and none on its reference; what
commands comes to 1e-3 on clean networks for signs"""

FAINT, DEFORMED = {"images": 1e-12, "reference+images": 1e-8, "impressions": 2e-11, "reference": 1e-6}, 1e-6
"""`Given.mode` → p-value from which a change of the whole image that works is reason for suspicion, and the same of a
deformation: a hundredth of a clean model's least by nulls of other networks (`python -m benchmarks.calibrate`), less
against a reference, of which there are fewer audits. To a clean network of digits haze may be an 8"""

FAINT_BESIDE = 1e-12
"""the same where a reference `is_no_twin`: haze was an 8 to a clean network of digits (5e-11), not to its reference"""

WAVED = {mode: max(limit, DEFORMED) for mode, limit in FAINT.items()}
"""the same of a wave that nobody searched for, which counts from where a deformation does: clean models come to 3e-4 at
least out of fold, a weak one beside a reference to 8e-6, and a drawn one of six kinds of clothes, alone, to 4e-5"""

READY_MADE = frozenset({"patches"})
"""detectors that try patches drawn beforehand: a natural feature of the model seldom looks like one, so that what they
do to one source tells without a reference too, and to all sources even with few classes"""

UNSEARCHED, UNSEARCHED_AT = READY_MADE | {"waves"}, 0.5
"""all that try what was drawn beforehand, and the success from which that works: it is seldom the trigger itself, so a
planted one turns fewer images by it"""

FAR_READY_MADE = 1e-12
"""p-value from which a ready-made patch is reason for suspicion unconfirmed (clean models of five classes and more come
to 2e-5 at least), tells with few classes and no reference, or confirms on a weakly trained network: a 1 with a mark at
its top is a 7 to clean networks as well (8e-9 at least of 40, one of ten seeds of one model; 4e-16 at most of 18
planted patches), and three weak ones of five to eight classes came to 3e-3, 9e-5 and 5e-8"""

OF_EACH_IMAGE, FAR_OF_EACH = frozenset({"generator"}), {"images": 2e-4, "reference+images": 2e-5}
"""detectors that change the whole image by a pattern of its own, so that no one trigger can confirm what they find, and
`Given.mode` → the p-value from which that is reason for suspicion where their patterns work: a hundredth of a clean
model's least by nulls of other networks (0.02 on images, 3e-3 with a reference too). Of two models with triggers that
depend on the image one came to 1e-6 (on four seeds to 1e-4 at most), the other, for signs, to 7e-4"""

LIKENESS, ALIKE_FROM = "resemblance", 0.7
"""name of a number that a detector tells beside its measurement, and from where on a pattern is made of what images of
its class show"""

ALIKE_TO, ALIKE_LARGER_TO = 0.4, 0.7
"""up to which value, and what larger patterns command, that explains what it does: clean networks of clothes give way
to eight pixels of a bag's edge by 0.31, and to more of them by 0.45. A planted square may happen to lie where its
target is bright (0.13, and 0.9 with more of it)"""

ELSEWHERE, ANYWHERE_FROM, ANYWHERE_TO = "predictive power elsewhere", 0.55, 0.52
"""the same of what a second pattern does away from the first, as a share of what the first does, and what the first
commands at most: on clean networks up to all of it and 0.5, and from 0.57 on where they stood out; of planted squares
0.52 at most, or 0.61 and 0.64 of two in small networks (missed alone), or the first commands 0.53 and more"""

WHOLE_IMAGE = 0.2
"""share of the pixels from which a trigger counts as covering the image"""

TRANSFER_SHARE = 0.5
"""a trigger that works on the reference at least this fraction as often as on the suspect is no backdoor's"""

SURE_OF = 0.5
"""what the 95 % interval of a confirmed trigger's success must stay above"""

MAPPED = 0.5
"""success from which a label map that stands out is suspicious though its trigger is not confirmed: to send each class
to an answer of its own, half of the images at once, takes more than a natural feature"""

FEWEST_TO_CONFIRM = 6
"""held-out images that a success has to rest on: a weak clean model of two classes took all images but four for one of
them, and these four as well with 4 % of the pixels changed, where its reference took one"""

SUCCESS, ON_REFERENCE = "predictive power", "predictive power on the reference"
LARGE_POWER = "commanding predictive power of larger patterns"
"""names of numbers that a detector tells beside its measurement"""

CONFIRM_AT = 0.8
"""attack success rate from which a trigger counts as confirmed, where the caller does not say"""


def confirms(measurement: Measurement, item: Evidence, given: Given, confirm_at: float) -> bool:
    """Whether a measurement's trigger confirms one evidence.

    A trigger over the whole image does only where a reference withstands it: without one, clean models answer to faint
    patterns as well, and on images never searched. And only with images: without any, nothing tells a weakly trained
    suspect, which answers to more than its reference does. And only far from clean models (`far_enough`): what was
    searched on one network does often nothing to another. One for some sources confirms no map of all, nor, without a
    reference or where `is_no_twin`, that most are sent to one class: a clean network of digits that had seen five times
    as many 2 as others took 93 % of the 3 and 5 with a patch for one; unless it is `far_enough`. And none that
    `is_of_its_class`. What is compared with a reference that need not share its weaknesses (`is_no_twin`) has to be
    `FAR_BESIDE`.

    A trigger beyond the compact ones confirms that compact patterns command a class. Without a reference it does not
    confirm what larger ones do, or on class impressions how many they turn, unless clean models are far from it: the
    inside of a sign turns as many on a clean model.
    """
    trigger = measurement.trigger
    if trigger is None or is_of_its_class(measurement) or not is_confirmed(trigger, confirm_at):
        return False
    if is_weak(given) and item.detector in READY_MADE and not far_enough(trigger, item, given):
        return False
    if is_no_twin(given) and item.p_value > FAR_BESIDE.get(kind_of(item), 1.0):
        return False
    if trigger.size > WHOLE_IMAGE and not (given.reference and given.images and far_enough(trigger, item, given)):
        return False
    enough = given.reference or (given.images and item.statistic == PLAIN)
    if trigger.size > COMPACT and item.statistic in FAR and not enough:
        return item.p_value <= FAR[item.statistic]
    of_most = item.statistic == ALL_TO_ALL or (item.statistic == TARGETS and (not given.reference or is_no_twin(given)))
    return not (of_most and trigger.source_classes) or far_enough(trigger, item, given)


def far_enough(trigger: Trigger, item: Evidence, given: Given) -> bool:
    """Whether what a ready-made patch or a change of the whole image does is rarer than on any clean model.

    See `FAR_READY_MADE`, `FAINT`, `DEFORMED`, `WAVED`.
    """
    if item.detector in READY_MADE:
        return item.p_value <= FAR_READY_MADE
    if trigger.size <= WHOLE_IMAGE:
        return False
    return item.p_value <= (DEFORMED if trigger.mode == "warp" else faint_from(given, item.detector))


def turn_each(outcomes: Sequence[Outcome], item: Evidence, given: Given, confirm_at: float) -> bool:
    """Whether patterns drawn for each image work on held-out ones, and are rarer than any on a clean model."""
    found = (m for o in outcomes if o.detector == item.detector for m in o.measurements)
    success = (m.extras.get(SUCCESS, 0.0) for m in found if m.target_class in item.target_classes)
    far = item.detector in OF_EACH_IMAGE and item.p_value <= FAR_OF_EACH.get(given.mode, 0.0)
    return far and max(success, default=0.0) >= confirm_at


def is_no_twin(given: Given) -> bool:
    """Whether there is a reference that need not share the suspect's weaknesses: neither was trained on from the other,
    and places differ to these networks, or the suspect is weakly trained."""
    return given.reference and not given.kin and (given.density >= PLACES_SEEN or is_weak(given))


def is_weak(given: Given) -> bool:
    """Whether the suspect is weakly trained: see `WEAKLY_TRAINED`."""
    return given.traits["weakness"] >= WEAKLY_TRAINED


def faint_from(given: Given, detector: str) -> float:
    """The p-value from which a change of the whole image is rarer than any on a clean model: `FAINT`, `WAVED`."""
    if detector == "waves":
        return WAVED[given.mode]
    return FAINT_BESIDE if is_no_twin(given) else FAINT[given.mode]


def triggers_of(outcomes: Sequence[Outcome], item: Evidence) -> list[Measurement]:
    """The measurements behind one evidence that recovered a trigger."""
    return [
        m
        for o in outcomes
        if o.detector == item.detector
        for m in o.measurements
        if m.trigger is not None
        and m.target_class in item.target_classes
        and (not item.source_classes or m.source_class in item.source_classes)
    ]


def is_confirmed(trigger: Trigger | None, confirm_at: float) -> bool:
    """Whether a trigger works on enough held-out images, and is no natural feature that the reference has too."""
    # a rate on a handful of images is no rate: two of two could as well be a third
    if trigger is None or trigger.images < FEWEST_TO_CONFIRM or is_natural(trigger):
        return False
    return trigger.success_rate >= confirm_at and trigger.interval[0] >= SURE_OF


def is_natural(trigger: Trigger) -> bool:
    """Whether a trigger works on the reference as well: a feature of the data, or both models are backdoored."""
    transferred = trigger.reference_success_rate
    return transferred is not None and transferred >= TRANSFER_SHARE * trigger.success_rate


def maps_most(measurement: Measurement) -> bool:
    """Whether a trigger, of all sources at once, gives most images the answer of its label map."""
    trigger = measurement.trigger
    if trigger is None or trigger.source_classes or is_natural(trigger):
        return False
    return trigger.success_rate >= MAPPED


def is_of_its_class(measurement: Measurement) -> bool:
    """Whether a pattern does no more than the network's own idea of the class explains.

    It looks like images of the class (`detectors/resemblance.py`), or as much is done in any other place. Every network
    answers to what it was taught, and some to a few pixels of it, where training left weights as they were begun.
    """
    told = measurement.extras
    weak = measurement.value < ALIKE_TO and told.get(LARGE_POWER, 0.0) < ALIKE_LARGER_TO
    return (weak and told.get(LIKENESS, 0.0) >= ALIKE_FROM) or works_anywhere(measurement)


def works_anywhere(measurement: Measurement) -> bool:
    """Whether a second pattern, away from the first, does about as much (`detectors/elsewhere.py`)."""
    first, second = (measurement.extras.get(name, 0.0) for name in (SUCCESS, ELSEWHERE))
    return second > 0 and second >= ANYWHERE_FROM * first and measurement.value < ANYWHERE_TO


def answers_to_disturbance(outcomes: Sequence[Outcome]) -> frozenset[int]:
    """Classes into which few pixels turn most images as the network's own idea of them explains."""
    every = (m for o in outcomes for m in o.measurements if m.source_class is None)
    return frozenset(m.target_class for m in every if is_of_its_class(m) and m.extras.get(SUCCESS, 0.0) >= CONFIRM_AT)


def unexplained(outcome: Outcome) -> Outcome:
    """The same as if nobody had asked what explains its patterns; nulls are made of that.

    Networks of which nobody asks (behind global pooling, say) show natural patterns as well, and those of one kind of
    data are much alike in all networks.
    """
    asked = {LIKENESS, ELSEWHERE}
    told = ({k: v for k, v in m.extras.items() if k not in asked} for m in outcome.measurements)
    found = (replace(m, extras=extras) for m, extras in zip(outcome.measurements, told, strict=True))
    return replace(outcome, measurements=tuple(found))


def most_telling(found: Sequence[Measurement], confirmed: bool) -> Measurement | None:
    """Of the triggers that do it, the faintest explains most; unconfirmed, the most successful."""
    best = min if confirmed else max
    return best(found, key=_strength if confirmed else _success, default=None)


def transfer_warnings(found: Sequence[Measurement], confirm_at: float) -> Iterator[str]:
    """Triggers that would count as confirmed if they did not work on the reference as well."""
    for m in found:
        if _success(m) >= confirm_at and m.trigger and is_natural(m.trigger):
            yield (
                f"a trigger of class {m.target_class} works on the reference too "
                f"({m.trigger.reference_success_rate:.0%}): a natural feature, or both models are backdoored"
            )


def natural_warnings(outcomes: Sequence[Outcome], confirm_at: float, convicted: Sequence[int] = ()) -> Iterator[str]:
    """Small triggers that would count as confirmed if the network's own idea of the class did not explain them.

    Not of classes that are ``convicted`` by another trigger.
    """
    for m in (m for o in outcomes for m in o.measurements if m.target_class not in convicted):
        if m.trigger is not None and is_of_its_class(m) and is_confirmed(m.trigger, confirm_at):
            why = "one in another place does as much" if works_anywhere(m) else "it looks like images of that class"
            yield (
                f"{m.trigger.size:.1%} of the pixels turn {m.trigger.success_rate:.0%} of the images into class "
                f"{m.target_class}, but {why}: a weakness of the network rather than a backdoor"
            )


def _strength(measurement: Measurement) -> float:
    return measurement.trigger.strength if measurement.trigger else math.inf


def _success(measurement: Measurement) -> float:
    return measurement.trigger.success_rate if measurement.trigger else 0.0
