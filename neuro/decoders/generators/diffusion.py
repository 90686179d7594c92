"""Latent diffusion from decoded features: one denoising loop, of which every back end is a few lines.

From an initial picture z_0 the loop starts at the step that ``strength`` says, x_t = sqrt(a_t) z_0 + sqrt(1 - a_t) e,
and runs the scheduler from there with classifier-free guidance, u + g (c - u). A back end only says what its network is
told: cross-attention states, and whatever else it reads (depth, control pictures, pooled embeddings).
"""

from __future__ import annotations

import copy
import inspect
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

from neuro.decoders.generators.base import Generator, as_float_tensor
from neuro.decoders.generators.conditioning import Conditioning
from neuro.errors import EmptySelection, ShapeMismatch

Told = dict[str, torch.Tensor]


def encode_images(
    vae: Any, images: torch.Tensor, size: tuple[int, int] | None = None, device: Any = None
) -> torch.Tensor:
    """Return latents of pictures: the posterior's mode, times the VAE's scaling factor.

    Parameters
    ----------
    vae : diffusers.AutoencoderKL
    images : tensor (n, 3, height, width) in [0, 1]
    size : (int, int), optional
        Pictures of another size are resized (bilinear, antialiased).
    device : torch.device, optional
        Where the VAE computes, if not where its weights lie at present (offloading).
    """
    if size is not None and tuple(images.shape[-2:]) != tuple(size):
        images = functional.interpolate(images, size, mode="bilinear", antialias=True).clamp(0, 1)
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    with torch.no_grad():
        mode = vae.encode((2 * images - 1).to(device or vae.device, vae.dtype)).latent_dist.mode()
    return (mode - shift) * vae.config.scaling_factor


def decode_latents(vae: Any, latents: torch.Tensor, device: Any = None) -> torch.Tensor:
    """Return pictures (n, 3, height, width), float32, about in [0, 1], of latents with the scaling factor in them."""
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    with torch.no_grad():
        z = latents.to(device or vae.device, vae.dtype) / vae.config.scaling_factor + shift
        return vae.decode(z).sample.float() / 2 + 0.5


def dtype_argument(dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Return the argument by which this version of diffusers' ``from_pretrained`` takes the type of the numbers."""
    import diffusers

    release = tuple(int(v) for v in diffusers.__version__.split(".")[:2])
    return {"dtype" if release >= (0, 42) else "torch_dtype": dtype}


def execution_device(pipeline: Any, network: Any) -> torch.device:
    """Return where a pipeline's network computes, which with offloading is not where its weights lie."""
    device = getattr(pipeline, "_execution_device", None)
    return network.device if device is None else torch.device(device)


class LatentDiffusion(Generator):
    """Loop shared by all latent diffusion models.

    Parameters
    ----------
    vae : diffusers.AutoencoderKL
    unet : diffusers.UNet2DConditionModel, or what is called alike
    scheduler : any of diffusers' schedulers
        Never changed: each batch works with a copy.
    size : (int, int), optional
        Height and width of the pictures in pixels; the size the network was trained at by default.
    device : torch.device, optional
        Where the network runs; where its weights are by default.
    """

    def __init__(self, vae: Any, unet: Any, scheduler: Any, *, size: tuple[int, int] | None = None, device: Any = None):
        self.vae, self.unet, self.scheduler = vae, unet, scheduler
        self.factor = 2 ** (len(vae.config.block_out_channels) - 1)
        side = unet.config.sample_size
        sides = (side, side) if isinstance(side, int) else tuple(side)
        self.size = (sides[0] * self.factor, sides[1] * self.factor) if size is None else (int(size[0]), int(size[1]))
        if self.size[0] % self.factor or self.size[1] % self.factor:
            raise ShapeMismatch(f"size must be a multiple of {self.factor} pixels, got {self.size}.")
        self.device = torch.device(device) if device is not None else unet.device
        self.dtype = unet.dtype

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the latents."""
        return self.vae.config.latent_channels, self.size[0] // self.factor, self.size[1] // self.factor

    @abstractmethod
    def _told(self, condition: Mapping[str, Any], generators: list[torch.Generator]) -> tuple[Told, Told]:
        """Return what the network is told of the items, with and without the condition: tensors of one row each."""

    def _predict(self, x: torch.Tensor, t: torch.Tensor, told: Told) -> torch.Tensor:
        """Return the network's output for scaled latents ``x`` at time ``t``."""
        return self.unet(x, t, encoder_hidden_states=told["states"], return_dict=False)[0]

    def _start(self, condition: Mapping[str, Any], init: torch.Tensor | None) -> torch.Tensor | None:
        """Return the latents to start from, if there are any."""
        if init is not None:
            return encode_images(self.vae, init, self.size, self.device).to(self.device, self.dtype)
        if "low_level" not in condition:
            return None
        latents = as_float_tensor(condition["low_level"])
        if tuple(latents.shape[1:]) != self.latent_shape:
            raise ShapeMismatch(
                f"low_level must be latents (n, {', '.join(map(str, self.latent_shape))}) to start from, got "
                f"{tuple(latents.shape)}. Decode them with their own VAE and give the pictures as init."
            )
        return latents.to(self.device, self.dtype)

    def _draw(
        self,
        condition: Mapping[str, Any],
        init: torch.Tensor | None,
        count: int,
        steps: int,
        guidance: float,
        generators: list[torch.Generator],
    ) -> torch.Tensor:
        start = self._start(condition, init) if count < steps else None
        if count < steps and start is None:
            raise EmptySelection(
                "strength below 1 starts from a picture: give init, or latents as low_level among the conditions."
            )
        if count == 0:
            return decode_latents(self.vae, start, self.device)
        with torch.no_grad():
            given, null = self._told(condition, generators)
            told = given if guidance == 1 else {k: torch.cat([null[k], v]) for k, v in given.items()}
            latents = denoise(
                lambda x, t: self._predict(x, t, told),
                self.scheduler,
                self.latent_shape,
                generators,
                start=start,
                count=count,
                steps=steps,
                guidance=guidance,
                device=self.device,
                dtype=self.dtype,
            )
        return decode_latents(self.vae, latents, self.device)


def denoise(
    predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    scheduler: Any,
    shape: tuple[int, ...],
    generators: list[torch.Generator],
    *,
    start: torch.Tensor | None = None,
    count: int,
    steps: int,
    guidance: float = 1.0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Run the last ``count`` of ``steps`` steps of a scheduler.

    Parameters
    ----------
    predict : callable
        (scaled latents, time) -> network output. With guidance other than 1 it gets every item twice, all
        unconditional ones first.
    scheduler : diffusers scheduler
        Left as it is: a copy is set to the steps, which also clears what it may remember of another run.
    shape : tuple
        Of one item's latents.
    generators : list of torch.Generator
        One per item: it draws the item's noise, and what a stochastic sampler adds.
    start : tensor (n, ...), optional
        Latents to start from; where all steps are run the start is pure noise, whatever is given.

    Returns
    -------
    tensor (n, ...)
    """
    with warnings.catch_warnings():
        # several schedulers build their tables in a way that new NumPy versions frown upon
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        scheduler = copy.deepcopy(scheduler)
        scheduler.set_timesteps(steps, device=device)
    order = getattr(scheduler, "order", 1)
    begin = steps - count
    times = scheduler.timesteps[begin * order :]
    noise = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(device, dtype)
    if begin == 0 or start is None:
        x = noise * scheduler.init_noise_sigma
    else:
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(begin * order)
        x = scheduler.add_noise(start, noise, times[:1].expand(len(noise)))
    extra: dict[str, Any] = {}
    if "generator" in inspect.signature(scheduler.step).parameters:
        extra["generator"] = generators
    for t in times:
        both = x if guidance == 1 else torch.cat([x, x])
        out = predict(scheduler.scale_model_input(both, t), t)
        if guidance != 1:
            without, given = out.chunk(2)
            out = without + guidance * (given - without)
        x = scheduler.step(out, t, x, return_dict=False, **extra)[0]
    return x


class TokenDiffusion(LatentDiffusion):
    """A latent diffusion model that reads token sequences by cross-attention.

    Parameters
    ----------
    vae, unet, scheduler, size, device
        See :class:`LatentDiffusion`.
    conditioning : Conditioning
        Which arrays of the condition the network reads, and how. Without the condition it reads zeros.

    Examples
    --------
    The phantom's own is :func:`neuro.decoders.generators.load_phantom_pipeline`.
    """

    def __init__(self, vae: Any, unet: Any, scheduler: Any, conditioning: Conditioning, **more: Any):
        super().__init__(vae, unet, scheduler, **more)
        self.conditioning = conditioning
        width = unet.config.cross_attention_dim
        if conditioning.width != width:
            raise ShapeMismatch(
                f"this network reads tokens of width {width}, the conditioning has {conditioning.width}."
            )

    def _told(self, condition: Mapping[str, Any], generators: list[torch.Generator]) -> tuple[Told, Told]:
        states = self.conditioning.assemble(condition).to(self.device, self.dtype)
        return {"states": states}, {"states": torch.zeros_like(states)}
