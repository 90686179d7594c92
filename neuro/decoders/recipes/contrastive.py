"""The smallest network that is trained by contrast: what a ridge regression becomes when it may choose its loss.

``prediction = W ResMLP(LinearNorm_s(x))``, trained so that each brain finds its image among those of the batch. Ridge
asks for every number of an embedding to be right on average; contrast asks for the right image to be nearest, which is
what retrieval measures.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neuro._check import check_option, check_positive_int
from neuro.decoders._blocks import built
from neuro.decoders._subject_adapters import SubjectAdapters
from neuro.decoders.adapters import LinearNorm
from neuro.decoders.recipes.settings import DecoderRecipe, LossTerm
from neuro.decoders.trunks import ResMLP


class ContrastiveNetwork(nn.Module):
    """Voxels to one vector, or to tokens.

    ``network(x, subject)`` returns ``{"embedding": (B, *shape)}``.
    """

    def __init__(
        self,
        n_voxels: Mapping[Hashable, int],
        shape: tuple[int, ...],
        width: int,
        n_blocks: int,
        dropout: float,
        block_dropout: float,
    ):
        super().__init__()
        self.shape = shape
        self.adapters = SubjectAdapters(partial(LinearNorm, width=width, dropout=dropout), n_voxels)
        self.trunk = ResMLP(width, n_blocks, dropout=block_dropout)
        self.head = nn.Linear(width, int(torch.Size(shape).numel()))

    def forward(self, x: Tensor, subject: Hashable) -> dict[str, Tensor]:
        return {"embedding": self.head(self.trunk(self.adapters(x, subject))).unflatten(1, self.shape)}


def contrastive_recipe(
    shape: int | tuple[int, ...],
    target: str = "image_embedding",
    *,
    width: int = 512,
    n_blocks: int = 1,
    dropout: float = 0.5,
    block_dropout: float = 0.15,
    loss: str = "info_nce",
    temperature: float = 0.05,
    epochs: int = 30,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-2,
    mix_until: float = 0.0,
    repeats: str = "cycle",
) -> DecoderRecipe:
    """Return a recipe with one contrastive term; no prior, no pictures.

    Parameters
    ----------
    shape : int or tuple
        Of the target: 128 for a vector, (5, 128) for tokens.
    target : str
        Its name, and the name under which predictions come back.
    width, n_blocks, dropout, block_dropout
        Of the network; ``n_blocks=0`` leaves a linear map, a norm and a nonlinearity before the last layer.
    loss : {"info_nce", "soft_clip", "bimixco_then_soft_clip"}
    temperature : float
        Of all stages.
    mix_until : float
        Share of the epochs with mixed inputs (and BiMixCo).
    repeats : {"cycle", "single", "average"}
        One trial of each image per epoch, all of them, or their mean.

    Examples
    --------
    >>> contrastive_recipe(128, width=64).network({1: 500})(torch.zeros(2, 500), 1)["embedding"].shape
    torch.Size([2, 128])
    """
    check_option("loss", loss, ("info_nce", "soft_clip", "bimixco_then_soft_clip"))
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    check_positive_int("width", width)
    check_positive_int("n_blocks", n_blocks, minimum=0)
    sizes: dict[str, Any] = {"shape": shape, "width": width, "n_blocks": n_blocks}
    sizes |= {"dropout": dropout, "block_dropout": block_dropout}
    options = {"temperature": temperature, "start": temperature, "end": temperature}
    return DecoderRecipe(
        name="contrastive",
        preset="custom",
        build=partial(_build, **sizes),
        losses=(LossTerm("contrastive", loss, "embedding", target, options=options),),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warmup_epochs=epochs / 10,
        mix={"kind": "bimixco" if mix_until else "none", "probability": 0.5, "beta": 0.15, "until": mix_until},
        inputs={"repeats": repeats},
        decoded={target: "embedding"},
        options=sizes,
    )


def _build(
    n_voxels: Mapping[Hashable, int], generator: torch.Generator | None = None, **sizes: Any
) -> ContrastiveNetwork:
    return built(lambda: ContrastiveNetwork(n_voxels, **sizes), generator)
