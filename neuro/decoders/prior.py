r"""From brain tokens to image tokens by diffusion: what a regression averages away is drawn back in.

Training: noise the image tokens x_0 to ``x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e`` (a_t the cumulative product of a
cosine schedule) and let a transformer that also sees the brain tokens predict x_0, by mean squared error. Sampling:
from noise back to x_0, by DDPM or DDIM. Learned null tokens sometimes replace the brain's, for the sake of guidance.

Schedules and samplers are those of diffusers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuro._check import check_option, check_positive_int, require
from neuro.decoders._blocks import built
from neuro.decoders._prior_network import PriorNetwork
from neuro.errors import ShapeMismatch, nearest

PRIOR_PRESETS: dict[str, dict[str, Any]] = {
    "mindeye": {"n_tokens": 257, "dim": 768, "heads": 12, "dim_head": 64, "scale": 768**0.5, "sampler": "ddpm"},
    "mindeye2": {"n_tokens": 256, "dim": 1664, "heads": 32, "dim_head": 52, "sampler": "ddim", "sampling_steps": 20},
    "see_through_their_minds": {
        "n_tokens": 257, "dim": 768, "heads": 12, "dim_head": 64, "scale": 768**0.5, "sampler": "ddpm",
        "memory": True, "drop_tokens": (0.60, 0.65),
    },
}  # fmt: skip


class DiffusionPrior(nn.Module):
    """A diffusion model of image tokens given brain tokens.

    Parameters
    ----------
    n_tokens, dim : int
        Of brain tokens and image tokens alike.
    depth, heads, dim_head : int
        Of the transformer.
    timesteps : int
        Noise levels during training.
    sampling_steps : int, optional
        By default all of them.
    sampler : {"ddpm", "ddim"}
        Whether sampling adds fresh noise at every step.
    drop_brain, drop_image : float, 0 to 1
        How often, in training, learned null tokens replace the brain tokens or the noisy ones.
    scale : float
        What targets are multiplied by (and samples divided by), so that their entries have about unit variance; the
        loss is in these units.
    memory : bool
        Brain tokens enter by cross-attention only.
    drop_tokens : float or (float, float)
        With ``memory``: share of the brain tokens hidden in training, or the range it is drawn from for each batch.
    generator : torch.Generator, optional
        Of the initial weights.

    References
    ----------
    Ho et al. (2020), NeurIPS; Ramesh et al. (2022), arXiv:2204.06125; Scotti et al. (2023), NeurIPS and (2024), ICML;
    Nichol & Dhariwal (2021), ICML (cosine schedule).

    Examples
    --------
    >>> prior = DiffusionPrior(n_tokens=3, dim=8, depth=1, heads=2, dim_head=4)      # doctest: +SKIP
    >>> prior.sample(torch.zeros(5, 3, 8), seeds=0).shape                            # doctest: +SKIP
    torch.Size([5, 3, 8])
    """

    def __init__(
        self,
        n_tokens: int,
        dim: int,
        *,
        depth: int = 6,
        heads: int = 8,
        dim_head: int = 64,
        timesteps: int = 100,
        sampling_steps: int | None = None,
        sampler: str = "ddpm",
        drop_brain: float = 0.2,
        drop_image: float = 0.2,
        scale: float = 1.0,
        memory: bool = False,
        drop_tokens: float | tuple[float, float] = 0.0,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        for name, value in {"n_tokens": n_tokens, "dim": dim, "depth": depth, "heads": heads}.items():
            check_positive_int(name, value)
        check_positive_int("dim_head", dim_head)
        check_option("sampler", sampler, ("ddpm", "ddim"))
        check_positive_int("timesteps", timesteps)
        for name, value in {"drop_brain": drop_brain, "drop_image": drop_image}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is a probability, between 0 and 1; got {value!r}.")
        if not scale > 0:
            raise ValueError(f"scale must be above 0, got {scale!r}.")
        steps = timesteps if sampling_steps is None else check_positive_int("sampling_steps", sampling_steps)
        if steps > timesteps:
            raise ValueError(f"sampling_steps must be at most the {timesteps} timesteps of training, got {steps}.")
        self.shape = (n_tokens, dim)
        self.timesteps, self.sampling_steps, self.sampler = timesteps, steps, sampler
        self.drop_brain, self.drop_image, self.scale = drop_brain, drop_image, float(scale)
        self.drop_tokens = (drop_tokens, drop_tokens) if isinstance(drop_tokens, (int, float)) else tuple(drop_tokens)
        if memory is False and max(self.drop_tokens) > 0:
            raise ValueError("drop_tokens hides brain tokens from cross-attention: it needs memory=True.")
        with torch.device("cpu"):
            self.noise_levels = self._scheduler("ddpm").alphas_cumprod.clone()
        self.network = built(lambda: PriorNetwork(n_tokens, dim, depth, heads, dim_head, memory), generator)

    @classmethod
    def from_settings(
        cls, settings: Mapping[str, Any], n_tokens: int, dim: int, generator: torch.Generator | None = None
    ) -> DiffusionPrior:
        """Build from a recipe's ``prior`` mapping; its ``output`` and ``target`` are names, not sizes.

        Raises
        ------
        ValueError
            If the mapping holds a setting that a prior does not have.
        """
        known = {*(cls.__init__.__kwdefaults__ or {})} - {"generator"}
        given = {k: v for k, v in settings.items() if k not in ("output", "target", "weight")}
        for name in given:
            if name not in known:
                raise ValueError(
                    f"a prior has no setting {name!r}{nearest(name, known) or ': ' + ', '.join(sorted(known))}."
                )
        return cls(n_tokens, dim, generator=generator, **given)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> DiffusionPrior:
        """Build a published prior: "mindeye", "mindeye2" or "see_through_their_minds"."""
        check_option("preset", name, PRIOR_PRESETS)
        return cls(**{**PRIOR_PRESETS[name], **changes})

    def add_noise(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Return ``sqrt(a_t) x + sqrt(1 - a_t) noise`` for ``x`` (B, ...) and steps ``t`` (B,)."""
        a = self.noise_levels.to(x)[t].reshape(-1, *[1] * (x.ndim - 1))
        return a.sqrt() * x + (1 - a).sqrt() * noise

    def loss(self, brain: Tensor, image: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean squared error (of scaled tokens) at random noise levels.

        Parameters
        ----------
        brain, image : (B, n_tokens, dim)
        generator : torch.Generator
            On the CPU; levels, noise and what is dropped come from it alone, whatever the device.
        """
        self._check(brain)
        self._check(image)
        n, device = len(brain), brain.device
        x = image.float() * self.scale

        def uniform(*size: int) -> Tensor:
            return torch.rand(size, generator=generator).to(device)

        t = torch.randint(self.timesteps, (n,), generator=generator).to(device)
        noise = torch.randn(x.shape, generator=generator).to(device)
        keep_brain, keep_image = uniform(n) >= self.drop_brain, uniform(n) >= self.drop_image
        low, high = self.drop_tokens
        hidden = low + (high - low) * uniform(1)
        keep_tokens = uniform(n, self.shape[0]) >= hidden if high > 0 else None
        guess = self.network(self.add_noise(x, t, noise), t, brain, keep_brain, keep_image, keep_tokens)
        return F.mse_loss(guess.float(), x)

    @torch.no_grad()
    def sample(
        self,
        brain: Tensor,
        *,
        seeds: int | Sequence[int] = 0,
        steps: int | None = None,
        guidance: float = 1.0,
        start: Tensor | None = None,
    ) -> Tensor:
        """Draw image tokens for brain tokens.

        Parameters
        ----------
        brain : (B, n_tokens, dim)
        seeds : int or sequence (B,)
            Of each item's own noise: what else is in the batch, and in which order, does not matter. One number gives
            all items the same noise.
        steps : int, optional
        guidance : float
            0 ignores the brain, 1 is the plain conditional sample (and costs half of any other value), above 1 moves
            further from the unconditional one.
        start : (B, n_tokens, dim), optional
            Noise to start from instead.

        Returns
        -------
        (B, n_tokens, dim) float32
        """
        self._check(brain)
        scheduler = self._scheduler(self.sampler)
        steps = self.sampling_steps if steps is None else check_positive_int("steps", steps)
        if steps > self.timesteps:
            raise ValueError(f"steps must be at most {self.timesteps}, the noise levels of training; got {steps}.")
        scheduler.set_timesteps(steps)
        numbers = [int(seeds)] * len(brain) if isinstance(seeds, (int, np.integer)) else [int(s) for s in seeds]
        if len(numbers) != len(brain):
            raise ShapeMismatch(f"seeds must be one number or one for each of {len(brain)} items, got {len(numbers)}.")
        generators = [torch.Generator().manual_seed(s) for s in numbers]

        def noise() -> Tensor:
            return torch.stack([torch.randn(self.shape, generator=g) for g in generators]).to(brain.device)

        if not len(brain):
            return brain.float()
        x = noise() if start is None else start.float()
        for t in scheduler.timesteps.tolist():
            guess = self._guess(x, torch.full((len(x),), t, device=x.device), brain, guidance)
            extra = {"generator": generators} if self.sampler == "ddpm" else {}
            x = scheduler.step(guess, t, x, return_dict=False, **extra)[0]
        return x / self.scale

    def _guess(self, x: Tensor, t: Tensor, brain: Tensor, guidance: float) -> Tensor:
        nobody = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        if guidance == 1:
            return self.network(x, t, brain).float()
        without = self.network(x, t, brain, keep_brain=nobody).float()
        if guidance == 0:
            return without
        return without + guidance * (self.network(x, t, brain).float() - without)

    def _scheduler(self, sampler: str) -> Any:
        diffusers = require("diffusers", "a diffusion prior", "decode")
        common = {
            "num_train_timesteps": self.timesteps,
            "beta_schedule": "squaredcos_cap_v2",
            "prediction_type": "sample",
            "clip_sample": False,
            "timestep_spacing": "trailing",  # the first step then sees pure noise, however few there are
        }
        return {"ddpm": diffusers.DDPMScheduler, "ddim": diffusers.DDIMScheduler}[sampler](**common)

    def _check(self, tokens: Tensor) -> None:
        if tuple(tokens.shape[1:]) != self.shape:
            raise ShapeMismatch(
                f"this prior works on tokens (n, {self.shape[0]}, {self.shape[1]}), got {tuple(tokens.shape)}."
            )
