"""From decoded features to pictures: one interface over all generators.

``generate(condition, init, strength=..., steps=..., guidance=..., n=..., seed=...)`` returns ``n`` candidates for every
item. Noise belongs to an item, not to a batch: it is fixed by the seed, the item's id and the candidate's number, so
that order, batch size and company change nothing.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from neuro._check import check_positive_int
from neuro.errors import DuplicateIds, EmptySelection, ShapeMismatch


def steps_run(strength: float, steps: int) -> int:
    """Return how many of ``steps`` denoising steps are run from an initial picture: int(strength * steps).

    Binary fractions that fall short of a whole number by rounding count as that number.

    Parameters
    ----------
    strength : float, 0 to 1
        0 leaves the initial picture as it is, 1 starts from pure noise.
    steps : int
        Of the whole schedule.

    Examples
    --------
    >>> steps_run(0.75, 50), steps_run(0.85, 20), steps_run(0.8, 50), steps_run(0.29, 100)
    (37, 17, 40, 29)
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie between 0 (the initial picture) and 1 (pure noise), got {strength!r}.")
    return int(round(strength * check_positive_int("steps", steps), 9))


def item_generators(seed: int, ids: Iterable[Any], candidate: int) -> list[torch.Generator]:
    """Return one torch generator (on the CPU) per item, fixed by seed, id and candidate."""
    out = []
    for item in ids:
        item = item.item() if isinstance(item, np.generic) else item
        digest = hashlib.blake2b(repr((int(seed), item, int(candidate))).encode(), digest_size=8).digest()
        out.append(torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1))
    return out


class Generator(ABC):
    """Pictures from decoded features.

    Attributes
    ----------
    size : (int, int)
        Height and width of the pictures, in pixels.
    """

    size: tuple[int, int]
    default_steps: int = 50
    default_guidance: float = 7.5

    def generate(
        self,
        condition: Mapping[str, Any],
        init: Any = None,
        *,
        strength: float = 1.0,
        steps: int | None = None,
        guidance: float | None = None,
        n: int = 1,
        seed: int = 0,
        batch_size: int = 8,
        ids: Sequence[Any] | None = None,
    ) -> np.ndarray:
        """Return pictures for decoded features.

        Parameters
        ----------
        condition : mapping of name -> array (n_items, ...), or Decoded
            What the generator reads of it is said by its class; ``low_level``, latents (n_items, c, h, w) already
            multiplied by the VAE's scaling factor, serves as initial picture where ``init`` is not given.
        init : array (n_items, 3, h, w), optional
            Initial pictures in [0, 1]; resized to the generator's size.
        strength : float, 0 to 1
            Share of the steps that are run: int(strength * steps). 1 is pure noise, 0 the round trip through the VAE.
        steps : int, optional
            Of the whole schedule; the generator's own number by default.
        guidance : float, optional
            Classifier-free guidance g: u + g (c - u). 1 skips the unconditional pass.
        n : int
            Candidates per item.
        seed : int
        batch_size : int
            Pictures at a time; does not change them.
        ids : sequence (n_items,), optional
            What an item's noise depends on besides the seed; those of a Decoded, or else the items' positions.

        Returns
        -------
        array (n_items, n, 3, height, width), float32 in [0, 1]

        Raises
        ------
        EmptySelection
            If there is nothing to condition on, or nothing to start from although ``strength`` is below 1.
        ShapeMismatch
            If arrays disagree on the number of items, or have shapes the generator cannot read.
        FloatingPointError
            If the result is not finite, as after an overflow in float16.
        """
        n, batch_size = check_positive_int("n", n), check_positive_int("batch_size", batch_size)
        steps = self.default_steps if steps is None else steps
        guidance = self.default_guidance if guidance is None else float(guidance)
        count = steps_run(strength, steps)
        n_items = count_items(condition, init)
        if ids is None:
            ids = getattr(condition, "ids", range(n_items))
        ids = list(ids)
        if len(ids) != n_items:
            raise ShapeMismatch(f"ids must name each of {n_items} items, got {len(ids)}.")
        if len(set(map(repr, ids))) < n_items:
            raise DuplicateIds("ids must be unique: items of one id would share their noise.")
        out = np.empty((n_items, n, 3, *self.size), np.float32)
        jobs = [(i, k) for k in range(n) for i in range(n_items)]
        for start in range(0, len(jobs), batch_size):
            chunk = jobs[start : start + batch_size]
            rows = [i for i, _ in chunk]
            generators = [item_generators(seed, [ids[i]], k)[0] for i, k in chunk]
            part = {name: take(value, rows) for name, value in condition.items()}
            first = None if init is None else as_float_tensor(take(init, rows))
            pictures = self._draw(part, first, count, steps, guidance, generators).float().cpu()
            if not torch.isfinite(pictures).all():
                raise FloatingPointError(
                    "the generator returned numbers that are not finite. In float16 that is an overflow: load it in "
                    "bfloat16 or float32. Otherwise look for such numbers in the condition."
                )
            for (i, k), picture in zip(chunk, pictures.clamp(0, 1).numpy(), strict=True):
                out[i, k] = picture
        return out

    @abstractmethod
    def _draw(
        self,
        condition: Mapping[str, Any],
        init: torch.Tensor | None,
        count: int,
        steps: int,
        guidance: float,
        generators: list[torch.Generator],
    ) -> torch.Tensor:
        """Return pictures (batch, 3, height, width) in [0, 1] for one batch; ``count`` of ``steps`` steps are run."""


def count_items(condition: Mapping[str, Any], init: Any = None) -> int:
    """Return the number of items that all arrays of a condition (and the initial pictures) agree on."""
    counts = {name: len(value) for name, value in condition.items()}
    if init is not None:
        if np.ndim(init) != 4 or np.shape(init)[1] != 3:
            raise ShapeMismatch(f"init must be pictures (n_items, 3, height, width) in [0, 1], got {np.shape(init)}.")
        counts["init"] = len(init)
    if not counts:
        raise EmptySelection("there is nothing to generate from: condition is empty and init is None.")
    if len(set(counts.values())) > 1:
        raise ShapeMismatch(f"conditions and init must describe the same items, got {counts}.")
    return next(iter(counts.values()))


def take(value: Any, rows: list[int]) -> Any:
    """Return rows of an array, of a tensor or of a list (texts)."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return value[rows]
    return [value[i] for i in rows]


def as_float_tensor(value: Any) -> torch.Tensor:
    """Return a float32 tensor on the CPU that shares no memory with an array."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", torch.float32)
    return torch.from_numpy(np.array(value, dtype=np.float32))
