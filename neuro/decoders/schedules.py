"""What changes while a decoder trains: the temperature of its loss, and its learning rate."""

from __future__ import annotations

import math

from neuro._check import check_option, check_positive_int

SCHEDULES = ("one_cycle", "cosine", "constant")


def cosine_temperature(step: int, n_steps: int, start: float = 0.004, end: float = 0.0075) -> float:
    """Return the temperature at ``step`` of ``n_steps``: from start to end along half a cosine.

    ``end + (start - end) / 2 * (1 + cos(pi step / (n_steps - 1)))``; held at ``end`` afterwards.

    >>> [round(cosine_temperature(k, 161), 6) for k in (0, 80, 160)]
    [0.004, 0.00575, 0.0075]
    """
    check_positive_int("n_steps", n_steps)
    if start <= 0 or end <= 0:
        raise ValueError(f"temperatures must be above 0, got {start!r} to {end!r}.")
    return _half_cosine(step / (n_steps - 1) if n_steps > 1 else 1.0, start, end)


def learning_rate(
    step: int,
    n_steps: int,
    peak: float,
    schedule: str = "one_cycle",
    *,
    warmup: float = 0.1,
    start_div: float = 25.0,
    final_div: float = 1000.0,
) -> float:
    """Return the learning rate of ``step`` out of ``n_steps``.

    Parameters
    ----------
    step : int
        Counted from 0; beyond the end the last rate holds.
    n_steps : int
    peak : float
    schedule : {"one_cycle", "cosine", "constant"}
        "one_cycle" goes from peak / start_div up to peak and down to peak / (start_div final_div), along half cosines
        (as ``torch.optim.lr_scheduler.OneCycleLR``); "cosine" warms up linearly and goes down to peak / final_div;
        "constant" warms up linearly and stays.
    warmup : float, 0 to 1
        Share of the steps before the peak.

    References
    ----------
    Smith & Topin (2019), Super-convergence.

    Examples
    --------
    >>> [round(learning_rate(k, 101, 1.0, warmup=0.2), 4) for k in (0, 19, 100)]
    [0.04, 0.9997, 0.0]
    """
    check_option("schedule", schedule, SCHEDULES)
    check_positive_int("n_steps", n_steps)
    if not 0 <= warmup <= 1:
        raise ValueError(f"warmup is a share of the steps, between 0 and 1; got {warmup!r}.")
    if schedule == "one_cycle":
        top = max(warmup * n_steps - 1, 0.0)
        if step <= top and top > 0:
            return _half_cosine(step / top, peak / start_div, peak)
        return _half_cosine((step - top) / max(n_steps - 1 - top, 1.0), peak, peak / (start_div * final_div))
    top = warmup * n_steps
    if step < top:
        return peak * (step + 1) / (top + 1)
    if schedule == "constant":
        return peak
    return _half_cosine((step - top) / max(n_steps - 1 - top, 1.0), peak, peak / final_div)


def _half_cosine(progress: float, start: float, end: float) -> float:
    progress = min(max(progress, 0.0), 1.0)
    return end + (start - end) / 2 * (1 + math.cos(math.pi * progress))
