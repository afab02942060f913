"""Pictures for the reports: PNG data URIs, and the trigger made visible."""

from __future__ import annotations

import base64

import numpy as np
from markupsafe import Markup

from auditor.array_json import png_bytes
from auditor.findings import Array, Trigger

GREY = 0.5


def data_uri(pixels: Array) -> Markup:
    """``data:`` URI of an 8-bit PNG of ``pixels``, (C, H, W) in [0, 1]."""
    # markup already: base64 needs no escaping, and text is cut to a length
    encoded = base64.b64encode(png_bytes(displayable(pixels))).decode("ascii")
    return Markup("data:image/png;base64,{}").format(encoded)


def displayable(pixels: Array) -> Array:
    """(C, H, W) with one or three channels; further channels are dropped, two channels are averaged."""
    if pixels.shape[0] in (1, 3):
        return pixels
    return pixels[:3] if pixels.shape[0] > 3 else pixels.mean(axis=0, keepdims=True)


def on_grey(trigger: Trigger) -> Array:
    """The trigger on a plain mid-grey image, (C, H, W) with C of 1 or 3.

    ``replace``: (1 − m)·½ + m·pattern with m = mask / max mask. ``add``: ½ + ½·a / max |a| with
    a = mask·pattern. Both are drawn at full strength, so that the faintest is seen; its real `strength` is in
    the text beside it. ``tone``: a ramp from black to white, before above and after below. ``warp``: a chessboard,
    warped.
    """
    if trigger.mode == "tone":
        return toned_ramp(trigger)
    if trigger.mode == "warp":
        return warped_board(trigger)
    pattern = displayable(trigger.pattern)
    if trigger.mode == "replace":
        mask = trigger.mask / (float(trigger.mask.max()) or 1)
        return ((1 - mask) * GREY + mask * pattern).astype(np.float32)
    added = trigger.mask * pattern
    largest = float(np.abs(added).max())
    return (GREY + GREY * added / (largest or 1)).astype(np.float32)


def toned_ramp(trigger: Trigger) -> Array:
    """A ramp from black to white, as it is in the upper half and after the tone curves in the lower; (C, H, W)."""
    height, width = trigger.mask.shape
    ramp = np.linspace(0, 1, width)
    curves = trigger.pattern[..., 0]
    tones = np.linspace(0, 1, curves.shape[1])
    after = np.stack([np.clip(ramp + np.interp(ramp, tones, curve), 0, 1) for curve in curves])
    shown = np.broadcast_to(ramp, (len(curves), height, width)).copy()
    shown[:, height // 2 :] = after[:, None, :]
    return displayable(shown.astype(np.float32))


def warped_board(trigger: Trigger) -> Array:
    """A chessboard of four-pixel squares resampled along the flow, nearest pixel; (1, H, W)."""
    height, width = trigger.mask.shape
    rows, columns = np.mgrid[:height, :width]
    from_rows = np.clip(np.rint(rows + trigger.pattern[1]), 0, height - 1).astype(int)
    from_columns = np.clip(np.rint(columns + trigger.pattern[0]), 0, width - 1).astype(int)
    return (((from_rows // 4 + from_columns // 4) % 2)[None]).astype(np.float32)


def mask_picture(trigger: Trigger) -> Array:
    """The mask alone, (1, H, W): white where the trigger replaces or adds."""
    return trigger.mask[None].astype(np.float32)


def strength(trigger: Trigger) -> float:
    """Largest change of a pixel by an added trigger, of 1; for a replacing one the mask's largest value."""
    if trigger.mode == "add":
        return float(np.abs(trigger.mask * trigger.pattern).max())
    return float(trigger.mask.max())


def window(trigger: Trigger, margin: int = 2) -> tuple[slice, slice] | None:
    """Rows and columns around the mask, when it lies within half of the image each way; else None."""
    rows, columns = np.flatnonzero(trigger.mask.any(axis=1)), np.flatnonzero(trigger.mask.any(axis=0))
    if not len(rows):
        return None
    height, width = trigger.mask.shape
    top, bottom = max(rows[0] - margin, 0), min(rows[-1] + margin + 1, height)
    left, right = max(columns[0] - margin, 0), min(columns[-1] + margin + 1, width)
    if bottom - top > height / 2 or right - left > width / 2:
        return None
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def detail(trigger: Trigger, pixels: Array) -> Array:
    """``pixels`` (C, H, W) cut to the trigger's `window`, or whole where it has none."""
    cut = window(trigger)
    return pixels if cut is None else pixels[:, cut[0], cut[1]]
