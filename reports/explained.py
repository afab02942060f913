"""The panels of an explanation in words: what was asked, what was seen, what that means. One plain sentence each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from auditor.explanations import Explanation, Panel
from auditor.findings import Audit

from .wording import class_name, percent

HEADINGS = {
    "attention": "Where it looks",
    "sensitivity": "Which pixels its answer hangs on",
    "salient pattern": "What it takes for the essence of the class",
    "region": "The essence of the class at the trigger's place",
    "takeover": "How early the trigger takes over",
    "filters": "Which features the trigger excites",
    "probes": "What disturbances leave of its answers",
}

SHIFTED = 2.0
"""how many times more than in everything it is compared with makes a difference worth a sentence"""

STRONG = "PGD, ε = 8/255"
"""the attack by which training on attacks is told"""

NOT_TRAINED = 0.15
"""share of answers kept under it up to which nothing speaks for such training: on photos and signs clean networks kept
0 to 8 %"""

DIFFERENT = 0.1
"""difference of two models' shares that is worth a sentence"""

PROBABILITY = "probability: "
"""before the name of a pattern, among the numbers of its panel"""

Names = Callable[[int], str]


def heading(panel: Panel, explained: Explanation) -> str:
    """The title of a panel."""
    if panel.kind == "filters" and not explained.triggered:
        return "Which features the class excites"
    return HEADINGS.get(panel.kind, panel.kind)


def sentence(panel: Panel, explained: Explanation, name: Names) -> str:
    """What was asked and seen, and what it means; only what the panel's numbers say."""
    if not panel.strips and not panel.curves:
        return ""
    told = {
        "attention": _attention,
        "sensitivity": _sensitivity,
        "salient pattern": _salient,
        "region": _region,
        "takeover": _takeover,
        "filters": _filters,
        "probes": _probes,
    }
    return told[panel.kind](panel, explained, name)


def names_of(audit: Audit) -> Names:
    """Class names of an audit."""
    return lambda index: class_name(audit, index)


def _attention(panel: Panel, explained: Explanation, name: Names) -> str:
    asked = "Each picture is bright where the network looks for its answer (Grad-CAM)."
    n = panel.numbers
    without, given = n.get("suspect, without"), n.get("suspect, with")
    if without is None or given is None:
        return asked
    reference = n.get("reference, with")
    seen = (
        f" Without the trigger {percent(without)} of the attention lies at the trigger's place, which is "
        f"{percent(n['size of the trigger'])} of the image; with it {percent(given)}"
        + (f", on the reference {percent(reference)}" if reference is not None else "")
        + "."
    )
    drawn = given > SHIFTED * max(without, n["size of the trigger"], reference or 0)
    return asked + seen + (" The trigger draws the network's attention to itself." if drawn else _says_little())


def _says_little() -> str:
    return " That shows no shift worth the name, and says little for or against a backdoor."


def _sensitivity(panel: Panel, explained: Explanation, name: Names) -> str:
    asked = (
        "Bright pixels are those whose change would move the answer most, by five methods; where a trigger decides, "
        "they gather at it."
    )
    without, given = panel.numbers.get("suspect, without"), panel.numbers.get("suspect, with")
    if without is None or given is None:
        return asked
    reference = panel.numbers.get("reference, with")
    seen = (
        f" Of SmoothGrad's map {percent(without)} lies at the trigger's place without the trigger, {percent(given)} "
        + (f"with it, {percent(reference)} on the reference." if reference is not None else "with it.")
    )
    drawn = given > SHIFTED * max(without, reference or 0)
    return asked + seen + (" So the answer hangs on the trigger." if drawn else _says_little())


def _salient(panel: Panel, explained: Explanation, name: Names) -> str:
    asked = (
        "Perturbations were accumulated until images of other classes passed for the class; what is left is what the "
        "network takes for its essence. A clean class shows parts of its object, a backdoored one its trigger."
    )
    return asked + _reached(panel, explained, name) + _energy(panel, explained, name)


def _region(panel: Panel, explained: Explanation, name: Names) -> str:
    asked = "The same with the trigger's place covered by a plain patch in every image, to ask what belongs there."
    return asked + _energy(panel, explained, name)


def _reached(panel: Panel, explained: Explanation, name: Names) -> str:
    """How easily images pass for the class: a class with a trigger is reached by less."""
    n = {k.removeprefix(PROBABILITY): p for k, p in panel.numbers.items() if k.startswith(PROBABILITY)}
    mine = n.pop(f"suspect, class {explained.target_class}", None)
    if mine is None or not n:
        return ""
    others = ", ".join(f"{probability:.2f} for {_which(key, name)}" for key, probability in n.items())
    seen = f" Within the same norm they reach a probability of {mine:.2f} for it, {others}."
    easier = mine > SHIFTED * max(n.values())
    return seen + (" So it takes less to pass for this class than for others." if easier else "")


def _energy(panel: Panel, explained: Explanation, name: Names) -> str:
    n, target = panel.numbers, explained.target_class
    mine = n.get(f"suspect, class {target}")
    if mine is None or target is None or "place" not in n:
        return ""
    told_before = ("place", f"suspect, class {target}")
    others = {k: share for k, share in n.items() if k not in told_before and not k.startswith(PROBABILITY)}
    told = ", ".join(f"{percent(share)} of {_whose(key, name)}" for key, share in others.items())
    seen = f" {percent(mine)} of its energy lies at the trigger's place, which is {percent(n['place'])} of the image"
    seen += f"; {told}." if told else "."
    if mine > SHIFTED * max([n["place"], *others.values()]):
        return seen + f" So the trigger's place is part of what the network takes for class {name(target)}."
    return seen + _says_little()


def _whose(key: str, name: Names) -> str:
    which = _which(key, name)
    return key if which == key else f"that of {which}"


def _which(key: str, name: Names) -> str:
    model, _, rest = key.partition(", class ")
    index = rest.split(",")[0]
    return f"class {name(int(index))} on the {model}" if index.isdigit() else key


def _takeover(panel: Panel, explained: Explanation, name: Names) -> str:
    asked = (
        "Layer by layer, the network's maps of images with the trigger were compared with those of the same images "
        "without it, and with those of the trigger alone."
    )
    by_name = {curve.title: curve for curve in panel.curves}
    image, alone = (by_name.get(f"suspect: likeness to {what}") for what in ("the image", "the trigger alone"))
    if image is None or alone is None:
        return asked
    over = [x for x, a, b in zip(image.x, image.y, alone.y, strict=True) if b > a]
    until_end = [x for x in over if all(y in over for y in image.x if y >= x)]
    if until_end:
        return f"{asked} From layer {until_end[0]:.0f} of {len(image.x)} on they resemble the trigger more."
    return f"{asked} To the last layer they resemble the image at least as much as the trigger."


def _filters(panel: Panel, explained: Explanation, name: Names) -> str:
    what = "trigger" if explained.triggered else "class"
    return (
        f"Of the filters that the {what} excites most, in deviations of their usual activity, each picture is the "
        "image that excites one most."
    )


def _probes(panel: Panel, explained: Explanation, name: Names) -> str:
    n = panel.numbers
    attacks = [f"{percent(share)} at {key.removeprefix('PGD, ')}" for key, share in n.items() if key.startswith("PGD")]
    seen = "Of the answers the model gives to undisturbed images, the curves show the share that it keeps."
    if attacks:
        seen += f" Under an attack on every pixel (PGD, changes of at most ε) it keeps {', '.join(attacks)}."
    return seen + _trained_on_attacks(n) + _texture_or_shape(n)


def _trained_on_attacks(n: Mapping[str, float]) -> str:
    """What robust accuracy says of how the network was trained."""
    kept, theirs = n.get(STRONG), n.get(f"reference: {STRONG}")
    if kept is None:
        return ""
    beside = f" (the reference keeps {percent(theirs)} at ε = 8/255)" if theirs is not None else ""
    if kept < NOT_TRAINED:
        return f" So little is left of networks that were not trained on attacks{beside}."
    if theirs is not None and kept - theirs < DIFFERENT:
        return f" The reference withstands as much{beside}: images this plain do so, or both were trained on attacks."
    if theirs is not None:
        return f" The reference withstands less{beside}: the model was probably trained on attacks."
    return " A network that keeps so much was trained on attacks, or sees drawings, which small changes leave alone."


def _texture_or_shape(n: Mapping[str, float]) -> str:
    """Section 4.1: which of two models goes by shape shows in what median filters and blur leave of their answers."""
    median, blur = n.get("kept under median filters"), n.get("kept under blur")
    if median is None or blur is None:
        return ""
    seen = (
        f" On average it keeps {percent(median)} under median filters, which leave silhouettes, and "
        f"{percent(blur)} under blur, which softens everything alike"
    )
    m, b = (n.get(f"reference: kept under {what}") for what in ("median filters", "blur"))
    if m is None or b is None:
        return seen + ". Whether it goes by texture or by shape, only a reference beside it could tell."
    seen += f"; the reference {percent(m)} and {percent(b)}."
    gained = (median - blur) - (m - b)
    if abs(gained) < DIFFERENT:
        return seen + " So it goes by texture and by shape as much as the reference does."
    return seen + f" So it goes by {'shape' if gained > 0 else 'texture'} more than the reference does."
