"""WAVE: raw BOLD of the whole brain, scan by scan, contrasted with images and captions.

``z = W pool(GPT([embed x_1 .. embed x_T, CLS]))`` for 1024 parcels and 5 scans of a trial, after pretraining the
transformer on scans without stimuli; loss = mean of InfoNCE with CLIP's image vector and with its caption vector, both
with learned scales. There are no subject-specific weights: parcels are the same in all people.

Differences from the published code: scans keep their order (shuffling them defeats a causal model and its pretraining),
and there is no prompt network (its tokens were cast to integers, so that no gradient reached it).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neuro._check import check_positive_int
from neuro.decoders.adapters import SubjectAdapters
from neuro.decoders.recipes._subject_network import SubjectNetwork, check_subjects, preset_sizes
from neuro.decoders.recipes.settings import DecoderRecipe, LossTerm
from neuro.decoders.wave import ParcelGPT, WholeBrainContrast, augment
from neuro.errors import ShapeMismatch

SIZES = {
    "nsd": {"width": 768, "n_layers": 4, "n_heads": 12, "n_positions": 512, "dropout": 0.1, "dim": 768, "drop": 0.2},
    "phantom": {"width": 64, "n_layers": 2, "n_heads": 4, "n_positions": 64, "dropout": 0.1, "dim": 128, "drop": 0.1},
}


class Parcels(nn.Identity):
    """Scans of one person as they are: parcels are the same in all people, so nobody has weights of their own."""

    def __init__(self, n_voxels: int, n_parcels: int):
        super().__init__()
        if n_voxels != n_parcels:
            raise ShapeMismatch(f"this network reads {n_parcels} parcels of every person, got {n_voxels}.")
        self.n_voxels = n_voxels


class WaveNetwork(SubjectNetwork):
    """Scans of parcels to one vector in the space of images and captions.

    ``network(x, subject)`` takes (B, n_scans, n_parcels) and returns ``image_embedding`` (B, dim).
    """

    def __init__(
        self,
        subjects: Mapping[Hashable, int],
        width: int,
        n_layers: int,
        n_heads: int,
        n_positions: int,
        dropout: float,
        dim: int,
        drop: float,
        shuffle: bool = False,
        seed: int = 0,
    ):
        super().__init__()
        n_parcels = next(iter(subjects.values()))
        self.adapters = SubjectAdapters(partial(Parcels, n_parcels=n_parcels), subjects)
        self.drop, self.shuffle = drop, shuffle
        self.encoder = ParcelGPT(n_parcels, width, n_layers, n_heads, n_positions, dropout, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.project = nn.Linear(width, check_positive_int("dim", dim))
        self.contrast = WholeBrainContrast()

    def forward(self, x: Tensor, subject: Hashable, lengths: Tensor | None = None) -> dict[str, Tensor]:
        x = self.adapters(x, subject)
        if self.training:
            x = augment(x, self.drop, self.shuffle)
        return {"image_embedding": self.project(self.encoder(x, lengths))}

    def own_losses(
        self,
        inputs: Mapping[Hashable, Tensor],
        outputs: Mapping[Hashable, Mapping[str, Tensor]],
        targets: Mapping[Hashable, Mapping[str, Tensor]],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return the losses with ``image`` and ``text``, over the scans of all subjects of the batch together."""
        brain, image, text = (
            torch.cat([values[s][name] for s in inputs])
            for values, name in (
                (outputs, "image_embedding"),
                (targets, "image_embedding"),
                (targets, "text_embedding"),
            )
        )
        return self.contrast.terms(brain, image, text)


def wave_network(
    n_voxels: Mapping[Hashable, int],
    preset: str = "nsd",
    generator: torch.Generator | None = None,
    *,
    shuffle: bool = False,
    **sizes: Any,
) -> WaveNetwork:
    """Build the untrained network.

    Parameters
    ----------
    n_voxels : mapping of subject -> int
        Parcels, the same number for all: 1024 as published.
    preset : {"nsd", "phantom"}
        Published sizes, or small ones.
    generator : torch.Generator, optional
        Seeds the weights (seed 0 without one).
    shuffle : bool
        Shuffle scans while training, as published.
    **sizes
        Any of ``SIZES[preset]``, changed.
    """
    chosen, counts = preset_sizes(SIZES, preset, sizes), check_subjects(n_voxels)
    seed = 0 if generator is None else int(torch.randint(2**31, (), generator=generator, device=generator.device))
    return WaveNetwork(counts, **chosen, shuffle=shuffle, seed=seed)


def wave_recipe(preset: str = "nsd", *, shuffle: bool = False, **sizes: Any) -> DecoderRecipe:
    """Return the system; targets ``image_embedding`` and ``text_embedding``.

    ``options["pretraining"]`` holds the settings of the stage before, for
    :func:`neuro.decoders.sequence_pretraining.pretrain_sequences`; ``steps`` is the published length of training.
    """
    preset_sizes(SIZES, preset, sizes)
    nsd = preset == "nsd"
    return DecoderRecipe(
        name="wave",
        preset=preset,
        build=partial(wave_network, preset=preset, shuffle=shuffle, **sizes),
        losses=(
            LossTerm("image_contrast", "own", "image", "image_embedding", weight=0.5),
            LossTerm("text_contrast", "own", "text", "text_embedding", weight=0.5),
        ),
        epochs=200 if nsd else 30,
        batch_size=16 if nsd else 64,
        learning_rate=1e-5 if nsd else 1e-3,
        weight_decay=0.03,
        inputs={"repeats": "single"},
        decoded={"image_embedding": "image_embedding"},
        generation={"pipeline": "versatile_dual" if nsd else "phantom", "n_candidates": 2},
        options={"n_scans": 5, "steps": 50_000, "pretraining": {"objective": "next", "n_steps": 5000 if nsd else 300}},
        reference="Thomas, Ré & Poldrack (2022), NeurIPS (the pretrained transformer); WAVE (public code)",
    )
