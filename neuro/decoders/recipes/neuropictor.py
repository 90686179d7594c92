"""NeuroPictor: flat maps of cortex, read by one image network for all people, steer a frozen diffusion model twice.

``tokens = MAE encoder(flat map of x)``. One head turns tokens into text-like states (what), the other into a hint for a
ControlNet copy of the UNet (where). Trained by the diffusion loss itself, ``||eps - UNet(z_t, t, what; where)||^2``, on
people together first, then on one.

Huo et al. (2024), NeuroPictor: refining fMRI-to-image reconstruction via multi-individual pretraining and multi-level
modulation, ECCV, arXiv:2403.18211.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from neuro._check import require
from neuro.decoders._blocks import built
from neuro.decoders._control import ControlledUNet, control_copy
from neuro.decoders.adapters import FlatMap, SubjectAdapters
from neuro.decoders.heads import ControlHint, SemanticTokens
from neuro.decoders.masked_autoencoder import MaskedAutoencoder
from neuro.decoders.recipes._subject_network import SubjectNetwork, by_name, check_subjects, preset_sizes
from neuro.decoders.recipes.settings import DecoderRecipe, LossTerm
from neuro.errors import MissingWeights, ShapeMismatch

SIZES = {
    "nsd": {
        "map_size": 256,
        "patch": 16,
        "width": 1024,
        "depth": 24,
        "n_heads": 16,
        "mlp_ratio": 4.0,
        "decoder_width": 512,
        "decoder_depth": 8,
        "n_text_tokens": 77,
        "text_hidden": 128,
        "hint_channels": 320,
        "latent_size": 64,
    },
    "phantom": {
        "map_size": 64,
        "patch": 8,
        "width": 128,
        "depth": 3,
        "n_heads": 4,
        "mlp_ratio": 2.0,
        "decoder_width": 64,
        "decoder_depth": 1,
        "n_text_tokens": 32,
        "text_hidden": 48,
        "hint_channels": 64,
        "latent_size": 16,
    },
}


class NeuroPictor(SubjectNetwork):
    """Voxels, laid out on flat maps, to text states and a control hint.

    ``network(x, subject)`` returns ``brain_tokens`` (B, 1 + patches, width), ``text_tokens`` (B, n_text_tokens, width)
    and ``control`` (B, hint_channels, latent_size, latent_size). :meth:`attach` gives it the diffusion model it steers.

    Layouts of flat maps come with the subject: ``network.add_subject(subject, n_voxels, pixels=layout)``.
    """

    def __init__(
        self,
        n_voxels: Mapping[Hashable, int],
        pixels: Mapping[Hashable, Any],
        map_size: int,
        patch: int,
        width: int,
        depth: int,
        n_heads: int,
        mlp_ratio: float,
        decoder_width: int,
        decoder_depth: int,
        n_text_tokens: int,
        text_hidden: int,
        hint_channels: int,
        latent_size: int,
    ):
        super().__init__()
        self.adapters = SubjectAdapters(partial(FlatMap, size=map_size))
        for subject, count in n_voxels.items():
            self.adapters.add(subject, count, pixels=pixels.get(subject))
        self.encoder = MaskedAutoencoder(
            (map_size, map_size),
            patch,
            width,
            depth,
            n_heads,
            decoder_width,
            decoder_depth,
            n_heads,
            mlp_ratio,
        )
        n_tokens = 1 + self.encoder.n_patches
        self.semantic = SemanticTokens(n_tokens, width, n_text_tokens, text_hidden)
        self.hint = ControlHint(n_tokens, width, hint_channels, latent_size)
        self.control: nn.Module | None = None
        self._frozen: tuple[Any, ...] = ()

    def forward(self, x: Tensor, subject: Hashable) -> dict[str, Tensor]:
        tokens = self.encoder.encode(self.embed(x, subject))  # (B, 1 + patches, D)
        return {"brain_tokens": tokens, "text_tokens": self.semantic(tokens), "control": self.hint(tokens)}

    def pretraining_loss(self, x: Tensor, subject: Hashable, generator: torch.Generator) -> Tensor:
        """Return the loss of the masked autoencoder on these responses, to train the encoder without pictures."""
        adapter = self.adapters.of(subject)
        valid = adapter(torch.ones_like(x[:1]))[0] > 0  # pixels that show a voxel
        return self.encoder(self.embed(x, subject), generator, valid)["loss"]

    def attach(self, unet: nn.Module, scheduler: Any | None = None) -> None:
        """Make the ControlNet copy of a UNet, and keep the UNet itself, which is never trained, for the loss.

        Parameters
        ----------
        unet : diffusers.UNet2DConditionModel
            Left as it is, and no part of this network's weights.
        scheduler : diffusers scheduler, optional
            Noise schedule of training; DDPM with Stable Diffusion's by default.

        Raises
        ------
        ShapeMismatch
            If hint or text states have other sizes than the UNet reads.
        """
        first, cross = unet.conv_in.out_channels, unet.config.cross_attention_dim
        width, channels = self.semantic.project.out_features, self.hint.zero.out_channels
        if (first, cross) != (channels, width):
            raise ShapeMismatch(
                f"this UNet takes hints of {first} channels and text states of {cross}, the network gives {channels} "
                f"and {width}. Build it with hint_channels={first} and width={cross}."
            )
        if scheduler is None:
            diffusers = require("diffusers", "the diffusion loss", "decode")
            scheduler = diffusers.DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
        self.control = control_copy(unet)
        self._frozen = (unet, scheduler)

    def controlled(self, hint: Tensor, scale: float = 1.0) -> ControlledUNet:
        """Return the attached UNet, steered by a hint; it is called like a UNet."""
        unet, _, control = self._attached()
        return ControlledUNet(unet, control, hint, scale)

    def own_losses(
        self,
        inputs: Mapping[Hashable, Tensor],
        outputs: Mapping[Hashable, Mapping[str, Tensor]],
        targets: Mapping[Hashable, Mapping[str, Tensor]],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return ``diffusion``: the mean squared error of the noise (or velocity) predicted at a random time.

        Parameters
        ----------
        inputs : mapping
            Not used.
        outputs : mapping of subject -> outputs of this network
        targets : mapping of subject -> {"low_level": latents (B, c, h, w), scaled}
        generator : torch.Generator
            Draws times and noise.
        """
        unet, scheduler, control = self._attached()
        subjects = list(outputs)
        latents = torch.cat([targets[s]["low_level"] for s in subjects])
        text = torch.cat([outputs[s]["text_tokens"] for s in subjects])
        hint = torch.cat([outputs[s]["control"] for s in subjects])

        n, where = len(latents), generator.device
        t = torch.randint(scheduler.config.num_train_timesteps, (n,), generator=generator, device=where)
        noise = torch.randn(latents.shape, generator=generator, device=where).to(latents)
        t = t.to(latents.device)
        noisy = scheduler.add_noise(latents, noise, t)
        wanted = noise
        if scheduler.config.prediction_type == "v_prediction":
            wanted = scheduler.get_velocity(latents, noise, t)

        steered = ControlledUNet(unet, control, hint)
        still = {f"unet.{k}": v for k, v in unet.state_dict().items()}  # detached: gradients pass, none stay
        predicted = functional_call(steered, still, (noisy, t, text), {"return_dict": False})[0]
        return {"diffusion": ((predicted.float() - wanted.float()) ** 2).mean()}

    def _attached(self) -> tuple[nn.Module, Any, nn.Module]:
        if self.control is None:
            raise MissingWeights(
                "this network steers a diffusion model and has none yet: network.attach(pipeline.unet) first "
                "(Stable Diffusion 2.1 at full size, the phantom pipeline at small size)."
            )
        unet, scheduler = self._frozen
        return unet, scheduler, self.control

    def _apply(self, fn: Callable, recurse: bool = True) -> NeuroPictor:
        if self._frozen:
            self._frozen[0]._apply(fn)
        return super()._apply(fn, recurse)


def swap_regions(maps: Tensor, others: Tensor, region: Tensor) -> Tensor:
    """Return maps whose pixels inside ``region`` come from ``others``: one picture's content in another's layout.

    Parameters
    ----------
    maps, others : tensor (B, H, W)
        Flat maps of two sets of pictures.
    region : bool tensor (H, W)
    """
    if maps.shape != others.shape or maps.shape[-2:] != region.shape:
        raise ShapeMismatch(
            f"maps, others and region must agree, got {tuple(maps.shape)}, {tuple(others.shape)} and "
            f"{tuple(region.shape)}."
        )
    return torch.where(region.to(torch.bool), others, maps)


def neuropictor_network(
    n_voxels: Mapping[Hashable, int],
    preset: str = "nsd",
    generator: torch.Generator | None = None,
    pixels: Mapping[Hashable, Any] | None = None,
    unet: nn.Module | None = None,
    scheduler: Any = None,
    **sizes: Any,
) -> NeuroPictor:
    """Build the untrained network.

    Parameters
    ----------
    n_voxels : mapping of subject -> int
    preset : {"nsd", "phantom"}
        The published encoder gives 257 x 1024 tokens of 256 x 256 maps; its depth here is that of ViT-L.
    generator : torch.Generator, optional
        Draws the weights (seed 0 without one).
    pixels : mapping of subject -> int array (map_size, map_size), optional
        Which voxel each pixel of a subject's flat map shows, -1 for none; voxels in rows without it.
    unet : diffusers.UNet2DConditionModel, optional
        The diffusion model to steer, attached at once; ``width``, ``hint_channels`` and ``latent_size`` are then its.
    scheduler : diffusers scheduler, optional
        The noise that ``unet`` was trained with and what it predicts; Stable Diffusion's without one.
    **sizes
        Any of ``SIZES[preset]``, changed.
    """
    chosen, counts = preset_sizes(SIZES, preset, {**_sizes_of(unet), **sizes}), check_subjects(n_voxels)
    network = built(lambda: NeuroPictor(counts, by_name(pixels), **chosen), generator)
    if unet is not None:
        network.attach(unet, scheduler)
    return network


def _sizes_of(unet: nn.Module | None) -> dict[str, int]:
    if unet is None:
        return {}
    config: Any = unet.config
    return {
        "width": config.cross_attention_dim,
        "hint_channels": config.block_out_channels[0],
        "latent_size": config.sample_size,
    }


def neuropictor_recipe(
    preset: str = "nsd",
    fine_tune: bool = False,
    unet: nn.Module | None = None,
    scheduler: Any = None,
    **sizes: Any,
) -> DecoderRecipe:
    """Return the system: the diffusion loss and, when fine-tuning, .1 x squared error to text states.

    Targets ``low_level`` (latents of the UNet's autoencoder, scaled) and, fine-tuning, ``text_tokens``.

    Parameters
    ----------
    preset : {"nsd", "phantom"}
    fine_tune : bool
        One person, from weights of many.
    unet : diffusers.UNet2DConditionModel, optional
        The diffusion model to steer; training needs it.
    scheduler : diffusers scheduler, optional
        As in :func:`neuropictor_network`.
    """
    nsd = preset == "nsd"
    diffusion = LossTerm("diffusion", "own", "diffusion", "low_level")
    text = LossTerm("text", "mse", "text_tokens", "text_tokens", weight=0.1)
    return DecoderRecipe(
        name="neuropictor",
        preset=preset,
        build=partial(neuropictor_network, preset=preset, unet=unet, scheduler=scheduler, **sizes),
        losses=(diffusion, text) if fine_tune else (diffusion,),
        epochs=(200 if fine_tune else 100) if nsd else 20,
        batch_size=16 if nsd else 64,
        learning_rate=1e-4 if nsd else 3e-4,
        weight_decay=1e-2,
        schedule="constant",
        warmup_epochs=0.0,
        inputs={"repeats": "single"},
        decoded={"text_tokens": "text_tokens", "control": "control"},
        generation={
            "pipeline": "stable_diffusion" if nsd else "phantom",
            "scheduler": "ddim",
            "steps": 50 if nsd else 20,
            "guidance": 5.0,
            "strength": 1.0,
            "n_candidates": 1,
        },
        options={
            "precision": "bf16" if nsd else "fp32",
            "fine_tune": fine_tune,
            "guidance_stage": {"learning_rate": 1e-5, "epochs": 20, "empty_prompt": 0.05},
        },
        reference="Huo et al. (2024), ECCV, arXiv:2403.18211",
    )
