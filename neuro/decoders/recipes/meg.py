"""Images from M/EEG: one network over all sensors and times of a window, contrast and regression at once.

``e = affine over time(conv(dilated blocks(M_s attention(x))))``; two heads predict an image's embedding, one for
retrieval (contrast), one for generation (regression). Trained on windows of different ends it says how decoding grows
with time; sliding a short one over a recording decodes as it comes in.

Benchetrit, Banville & King (2024), ICLR, arXiv:2310.19812. The sizes of attention and blocks are those of an unofficial
implementation, which did not reach the paper's retrieval.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neuro._check import check_option, check_positive_int
from neuro.decoders._blocks import built
from neuro.decoders.adapters import SubjectAdapters
from neuro.decoders.meg import (
    DilatedBlock,
    EmbeddingHead,
    SpatialAttention,
    SubjectSensors,
    TimeAffine,
    candidate_info_nce,
)
from neuro.decoders.recipes._subject_network import SubjectNetwork, check_subjects, preset_sizes
from neuro.decoders.recipes.settings import DecoderRecipe, LossTerm
from neuro.errors import ShapeMismatch

LAYOUTS = ("sensors_times", "times_sensors")
SIZES = {
    "nsd": {
        "n_times": 120,
        "n_outputs": 270,
        "n_harmonics": 32,
        "sensor_dropout": 0.1,
        "width": 320,
        "n_blocks": 2,
        "dropout": 0.1,
        "embedding": 2048,
        "dim": 1536,
    },
    "phantom": {
        "n_times": 50,
        "n_outputs": 24,
        "n_harmonics": 6,
        "sensor_dropout": 0.1,
        "width": 32,
        "n_blocks": 1,
        "dropout": 0.1,
        "embedding": 64,
        "dim": 128,
    },
}


class SensorAdapters(SubjectAdapters):
    """One :class:`SubjectSensors` per subject, each told where its sensors are.

    Parameters
    ----------
    make, n_sensors
        As ``make`` and ``n_voxels`` of :class:`SubjectAdapters`.
    positions : array (n_sensors, 2), or mapping of subject -> array
    """

    def __init__(self, make: Callable[..., nn.Module], positions: Any, n_sensors: Mapping[Hashable, int]):
        super().__init__(make)
        self.positions = positions
        for subject, count in n_sensors.items():
            self.add(subject, count)

    def add(
        self, subject: Hashable, n_voxels: int, generator: torch.Generator | None = None, **options: Any
    ) -> nn.Module:
        """Add a person of ``n_voxels`` sensors, at ``positions`` if given, else at those known for the person."""
        if options.get("positions") is None:
            options["positions"] = _positions_of(self.positions, subject)
        return super().add(subject, n_voxels, generator, **options)


class SensorNetwork(SubjectNetwork):
    """Sensors x times to an image's embedding.

    ``network(x, subject)`` takes (B, n_sensors, n_times), or (B, n_times, n_sensors) with
    ``layout="times_sensors"``, and returns ``contrastive_embedding`` and ``regressed_embedding``, both (B, dim).
    """

    def __init__(
        self,
        n_sensors: Mapping[Hashable, int],
        positions: Any,
        n_times: int,
        n_outputs: int,
        n_harmonics: int,
        sensor_dropout: float,
        width: int,
        n_blocks: int,
        dropout: float,
        embedding: int,
        dim: int,
        layout: str = "sensors_times",
    ):
        super().__init__()
        self.layout = check_option("layout", layout, LAYOUTS)
        self.n_times = check_positive_int("n_times", n_times)
        self.attention = SpatialAttention(n_outputs, n_harmonics, sensor_dropout)
        own = partial(SubjectSensors, n_outputs=n_outputs, n_harmonics=n_harmonics)
        self.adapters = SensorAdapters(own, positions, n_sensors)
        self.blocks = nn.Sequential(
            *(DilatedBlock(width if k else n_outputs, width, k, dropout) for k in range(n_blocks))
        )
        self.widen = nn.Conv1d(width, embedding, 1)
        self.over_time = TimeAffine(n_times)
        self.contrastive = EmbeddingHead(embedding, dim)
        self.regressed = EmbeddingHead(embedding, dim)

    @property
    def n_voxels(self) -> dict[str, int]:
        """Sensors of each subject."""
        return {name: int(module.n_sensors) for name, module in self.adapters.items()}

    def embed(self, x: Tensor, subject: Hashable) -> Tensor:
        """Sensors and times, as ``layout`` orders them -> (B, C)."""
        sensors = self.adapters.of(subject)
        if x.ndim == 3 and self.layout == "times_sensors":
            x = x.transpose(1, 2)
        if x.ndim != 3 or tuple(x.shape[1:]) != (sensors.n_sensors, self.n_times):
            raise ShapeMismatch(
                f"subject {subject} has {sensors.n_sensors} sensors and windows of {self.n_times} samples (layout "
                f"{self.layout}); got {x.ndim} axes, {tuple(x.shape)}, sensors before times. Cut recordings to the "
                "window the network was made for."
            )
        return self.over_time(self.widen(self.blocks(sensors(x, self.attention))))

    def forward(self, x: Tensor, subject: Hashable) -> dict[str, Tensor]:
        e = self.embed(x, subject)
        return {"contrastive_embedding": self.contrastive(e), "regressed_embedding": self.regressed(e)}

    def own_losses(
        self,
        inputs: Mapping[Hashable, Tensor],
        outputs: Mapping[Hashable, Mapping[str, Tensor]],
        targets: Mapping[Hashable, Mapping[str, Tensor]],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return ``contrast``: images of all subjects of the batch are each other's rivals, each image once."""
        said = torch.cat([outputs[s]["contrastive_embedding"] for s in inputs])
        seen = torch.cat([targets[s]["image_embedding"] for s in inputs])
        return {"contrast": candidate_info_nce(said, seen)}


def meg_network(
    n_voxels: Mapping[Hashable, int],
    preset: str = "nsd",
    generator: torch.Generator | None = None,
    *,
    positions: Any,
    layout: str = "sensors_times",
    **sizes: Any,
) -> SensorNetwork:
    """Build the untrained network.

    Parameters
    ----------
    n_voxels : mapping of subject -> int
        Number of sensors.
    preset : {"nsd", "phantom"}
        Published sizes (a window of 1 s at 120 Hz), or small ones.
    generator : torch.Generator, optional
        Draws the weights (seed 0 without one).
    positions : array (n_sensors, 2), or mapping of subject -> array
        Of the sensors, in a plane. NaN where unknown: such sensors are not used.
    layout : {"sensors_times", "times_sensors"}
        Order of the axes of a trial: as ``Responses`` have them, or as the training of decoders has time series.
    **sizes
        Any of ``SIZES[preset]``, changed.
    """
    chosen, counts = preset_sizes(SIZES, preset, sizes), check_subjects(n_voxels)
    return built(lambda: SensorNetwork(counts, positions, **chosen, layout=layout), generator)


def meg_recipe(
    preset: str = "nsd", *, positions: Any, balance: float = 0.75, layout: str = "sensors_times", **sizes: Any
) -> DecoderRecipe:
    """Return the system: ``balance`` times contrast plus the rest times squared error, target ``image_embedding``.

    Parameters
    ----------
    preset : {"nsd", "phantom"}
    positions, layout
        As in :func:`meg_network`.
    balance : float, 0 to 1
    **sizes
        As ``n_times``, ``dim``.
    """
    if not 0 <= balance <= 1:
        raise ValueError(f"balance must lie between 0 and 1, got {balance!r}.")
    preset_sizes(SIZES, preset, sizes)
    nsd = preset == "nsd"
    return DecoderRecipe(
        name="meg",
        preset=preset,
        build=partial(meg_network, preset=preset, positions=positions, layout=layout, **sizes),
        losses=(
            LossTerm("contrast", "own", "contrast", "image_embedding", weight=balance),
            LossTerm("regression", "mse", "regressed_embedding", "image_embedding", weight=1 - balance),
        ),
        epochs=50 if nsd else 30,
        batch_size=128,
        learning_rate=3e-4 if nsd else 2e-3,
        schedule="constant" if nsd else "one_cycle",
        inputs={"repeats": "single"},
        decoded={"image_embedding": "regressed_embedding", "contrastive_embedding": "contrastive_embedding"},
        options={"window": (-0.2, 0.8), "baseline": (-0.2, 0.0), "clip": 20.0},
        reference="Benchetrit, Banville & King (2024), ICLR, arXiv:2310.19812",
    )


def _positions_of(positions: Any, subject: Hashable) -> Any:
    if not isinstance(positions, Mapping):
        return positions
    found = {str(k): v for k, v in positions.items()}
    if str(subject) not in found:
        raise ShapeMismatch(f"no sensor positions for subject {subject}; there are some for {', '.join(found)}.")
    return found[str(subject)]
