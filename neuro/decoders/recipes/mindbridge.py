"""MindBridge: pooled voxels of every person in one space, and a way back, so that brains can be translated.

``e = Adapter_s(pool x)``; image and text tokens are linear in ``ResMLP(e)``; ``Builder_s(e)`` predicts the pooled
responses of person s to what ``e`` stands for. Trained with two further losses: reconstruction
``||Builder_s(e) - pool x||^2`` and the cycle ``||e_a - Adapter_b(Builder_b(e_a))||^2`` through another person's brain.
A new person is learned by *reset-tuning*: only their adapter and builder are trained.

Wang et al. (2024), MindBridge: a cross-subject brain decoding framework, CVPR, arXiv:2404.07850.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from neuro.decoders._blocks import built
from neuro.decoders.adapters import PooledBottleneck, SubjectAdapters, subject_parameters
from neuro.decoders.heads import Builder, TokenHead
from neuro.decoders.recipes._subject_network import SubjectNetwork, by_name, check_subjects, preset_sizes
from neuro.decoders.recipes.mindeye import SMALL_TEMPERATURES
from neuro.decoders.recipes.settings import DecoderRecipe, LossTerm
from neuro.decoders.trunks import ResMLP

SIZES = {
    "nsd": {
        "width": 2048,
        "n_pooled": 8192,
        "bottleneck": 128,
        "pooling": "max",
        "n_blocks": 4,
        "n_tokens": 257,
        "dim": 768,
        "n_text_tokens": 77,
        "text_dim": 768,
    },
    "phantom": {
        "width": 256,
        "n_pooled": 512,
        "bottleneck": 32,
        "pooling": "avg",
        "n_blocks": 2,
        "n_tokens": 5,
        "dim": 128,
        "n_text_tokens": 32,
        "text_dim": 128,
    },
}


class MindBridge(SubjectNetwork):
    """Voxels to image and text tokens, and back to voxels.

    ``network(x, subject)`` returns ``embedding`` (B, C), ``image_tokens`` (B, n_tokens, dim) and ``text_tokens``
    (B, n_text_tokens, text_dim).

    Voxels are pooled in their stored order, or region by region: ``network.add_subject(subject, n_voxels,
    regions=labels)``.
    """

    def __init__(
        self,
        n_voxels: Mapping[Hashable, int],
        width: int,
        n_pooled: int | Mapping[Any, int],
        bottleneck: int,
        pooling: str,
        n_blocks: int,
        n_tokens: int,
        dim: int,
        n_text_tokens: int,
        text_dim: int,
        regions: Mapping[Hashable, Sequence[Any]],
    ):
        super().__init__()
        pooled = {"width": width, "n_pooled": n_pooled, "bottleneck": bottleneck}
        self.adapters = SubjectAdapters(partial(PooledBottleneck, pooling=pooling, **pooled))
        self.builders = SubjectAdapters(partial(_builder, **pooled))
        for subject, count in n_voxels.items():
            self.add_subject(subject, count, regions=regions.get(subject))
        self.trunk = ResMLP(width, n_blocks)
        self.image = TokenHead(width, n_tokens, dim)
        self.text = TokenHead(width, n_text_tokens, text_dim)

    def decode(self, embedding: Tensor) -> dict[str, Tensor]:
        """Map embeddings, of one subject or averaged over several, to tokens."""
        h = self.trunk(embedding)  # (B, C)
        return {"image_tokens": self.image(h), "text_tokens": self.text(h)}

    def forward(self, x: Tensor, subject: Hashable) -> dict[str, Tensor]:
        e = self.embed(x, subject)
        return {"embedding": e, **self.decode(e)}

    def pseudo_responses(self, embedding: Tensor, subject: Hashable, voxels: bool = True) -> Tensor:
        """Return the responses of ``subject`` to what embeddings stand for.

        Parameters
        ----------
        embedding : tensor (B, C)
        subject : int or str
        voxels : bool
            (B, n_voxels), each voxel the mean of its bins; otherwise the pooled values (B, n_pooled) themselves.
        """
        pooled = self.builders(embedding, subject)
        return self.adapters.of(subject).pool.unpool(pooled) if voxels else pooled

    def translate(self, x: Tensor, source: Hashable, target: Hashable) -> Tensor:
        """Map responses of one person to those another would have given: (B, n_voxels of the target)."""
        return self.pseudo_responses(self.embed(x, source), target)

    def own_losses(
        self,
        inputs: Mapping[Hashable, Tensor],
        outputs: Mapping[Hashable, Mapping[str, Tensor]],
        targets: Mapping[Hashable, Mapping[str, Tensor]],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return ``reconstruction`` and ``cycle``, each the mean over the subjects of the batch.

        Parameters
        ----------
        inputs : mapping of subject -> tensor (B, n_voxels)
        outputs : mapping of subject -> outputs of this network
        targets : mapping
            Not used.
        generator : torch.Generator
            Draws, for each subject, through whose brain its embeddings cycle (another one, if there is one).
        """
        rebuilt, cycled = [], []
        for subject, x in inputs.items():
            e = outputs[subject]["embedding"]
            rebuilt.append(reconstruction_loss(self, x, e, subject))
            others = [s for s in self.subjects if s != str(subject)] or self.subjects
            pick = int(torch.randint(len(others), (), generator=generator, device=generator.device))
            cycled.append(cycle_loss(self, e, others[pick]))
        return {"reconstruction": torch.stack(rebuilt).mean(), "cycle": torch.stack(cycled).mean()}


def reconstruction_loss(network: MindBridge, x: Tensor, embedding: Tensor, subject: Hashable) -> Tensor:
    """``mean (pool_s(x) - Builder_s(e))^2``."""
    return mse_loss(network.builders(embedding, subject), network.adapters.of(subject).pool(x))


def cycle_loss(network: MindBridge, embedding: Tensor, through: Hashable) -> Tensor:
    """``mean (e - Adapter_b(Builder_b(e)))^2``: out of a brain and back, through the brain of ``through``."""
    return mse_loss(network.adapters.of(through).embed(network.builders(embedding, through)), embedding)


def reset_tuning_parameters(network: nn.Module, subject: Hashable) -> list[nn.Parameter]:
    """Return what reset-tuning trains: the adapter and the builder of one subject.

    Give these to the optimiser alone; batches hold as many trials of known subjects as of the new one, so that the
    cycle through known brains keeps the new embedding in the shared space.
    """
    return subject_parameters(network, subject)


def mindbridge_network(
    n_voxels: Mapping[Hashable, int],
    preset: str = "nsd",
    generator: torch.Generator | None = None,
    regions: Mapping[Hashable, Sequence[Any]] | None = None,
    **sizes: Any,
) -> MindBridge:
    """Build the untrained network.

    Parameters
    ----------
    n_voxels : mapping of subject -> int
    preset : {"nsd", "phantom"}
        The phantom's adapters average neighbours; the published ones take maxima.
    generator : torch.Generator, optional
        Draws the weights (seed 0 without one).
    regions : mapping of subject -> sequence (n_voxels,), optional
        Label of each voxel, to pool region by region; ``n_pooled={region: count}`` gives every subject the same bins.
    **sizes
        Any of ``SIZES[preset]``, changed.
    """
    chosen, counts = preset_sizes(SIZES, preset, sizes), check_subjects(n_voxels)
    return built(lambda: MindBridge(counts, **chosen, regions=by_name(regions)), generator)


def mindbridge_recipe(preset: str = "nsd", n_subjects: int = 4, **sizes: Any) -> DecoderRecipe:
    """Return the system: SoftCLIP and squared error for image and text tokens, reconstruction and cycle.

    Targets ``image_tokens`` and ``text_tokens`` (text tokens divided by the length of the pooled one).
    ``options["reset_tuning"]`` holds the settings for a new person.

    Parameters
    ----------
    preset : {"nsd", "phantom"}
    n_subjects : int
        The published learning rate is 1.5e-4 for four subjects and 3e-4 for one.
    """
    nsd = preset == "nsd"
    tau = {"temperature": 0.005 if nsd else SMALL_TEMPERATURES["temperature"]}
    squared = 1e4 if nsd else 1e2
    return DecoderRecipe(
        name="mindbridge",
        preset=preset,
        build=partial(mindbridge_network, preset=preset, **sizes),
        losses=(
            LossTerm("image_contrast", "soft_clip", "image_tokens", "image_tokens", options=tau),
            LossTerm("text_contrast", "soft_clip", "text_tokens", "text_tokens", options=tau),
            LossTerm("image", "normalised_mse", "image_tokens", "image_tokens", weight=squared),
            LossTerm("text", "normalised_mse", "text_tokens", "text_tokens", weight=squared),
            LossTerm("reconstruction", "own", "reconstruction", ""),
            LossTerm("cycle", "own", "cycle", ""),
        ),
        epochs=600 if nsd else 40,
        batch_size=50 if nsd else 128,
        learning_rate=(1.5e-4 if n_subjects > 1 else 3e-4) if nsd else 3e-4,
        inputs={"repeats": "cycle"},
        decoded={"image_tokens": "image_tokens", "text_tokens": "text_tokens"},
        augment={"crop": 0.6, "flip": True, "jitter": True, "gray": True} if nsd else {},
        generation={
            "pipeline": "versatile_dual" if nsd else "phantom",
            "scheduler": "unipc",
            "steps": 20,
            "guidance": 5.0,
            "strength": 1.0,
            "text_ratio": 0.5,
            "n_candidates": 8,
            "scorer": "own_embedding",
        },
        options={"reset_tuning": {"epochs": 200 if nsd else 40, "share_of_new_subject": 0.5, "n_trials": 4000}},
        reference="Wang et al. (2024), CVPR, arXiv:2404.07850",
    )


def _builder(n_voxels: int, width: int, n_pooled: int | Mapping, bottleneck: int, regions: Any = None) -> Builder:
    return Builder(width, sum(n_pooled.values()) if isinstance(n_pooled, Mapping) else n_pooled, bottleneck)
