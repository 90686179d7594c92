"""What a published decoding system is beside its network: losses, schedule and generation, as plain data.

A recipe holds one function, which builds the untrained network for given subjects, and numbers. The training loop
reads the numbers; nothing here runs.

A network of a recipe is called as ``network(x, subject) -> {name: tensor}`` with ``x`` (B, n_voxels of the subject).
:class:`LossTerm` names one of these outputs and one target.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from neuro._check import check_option, check_positive_int
from neuro.errors import nearest

if TYPE_CHECKING:
    import torch
    from torch import nn

LOSS_KINDS = {
    "bimixco_then_soft_clip": "BiMixCo at options['temperature'] while inputs are mixed (until mix['until'] of the "
    "epochs), then SoftCLIP at a temperature that goes from options['start'] to options['end']",
    "soft_clip": "SoftCLIP at options['temperature']",
    "info_nce": "symmetric InfoNCE at options['temperature']",
    "prior": "mean squared error of the diffusion prior that recipe.prior describes",
    "mse": "mean squared error",
    "normalised_mse": "mean squared error of L2-normalised tokens, flattened",
    "l1": "mean absolute error",
    "soft_cont": "SoftCont at options['temperature'], position by position",
    "own": "network.own_losses(inputs, outputs, targets, generator)[output], a scalar",
}


@dataclass(frozen=True)
class LossTerm:
    """One term of a training loss: ``weight * kind(outputs[output], targets[target])``.

    Parameters
    ----------
    name : str
        Column of the training log.
    kind : str
        A key of ``LOSS_KINDS``.
    output : str
        Which output of the network; for ``kind="own"`` the key in what ``own_losses`` returns.
    target : str
        Which target (``"image_tokens"``, ``"text_tokens"``, ``"low_level"``, ...); ``""`` where there is none.
    weight : float
    options : mapping
        Numbers of that kind, as ``temperature``. ``weight_after`` replaces ``weight`` once inputs are no longer mixed.
    """

    name: str
    kind: str
    output: str
    target: str
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        check_option("kind", self.kind, LOSS_KINDS)


@dataclass(frozen=True)
class DecoderRecipe:
    """A decoding system at one size, untrained.

    Parameters
    ----------
    name, preset : str
        As ``"mindeye"``, ``"nsd"`` (the published sizes) or ``"phantom"`` (small).
    build : callable
        ``build(n_voxels, generator=None) -> nn.Module`` with ``n_voxels = {subject: count}``.
    losses : tuple of LossTerm
    epochs, batch_size : int
        ``batch_size`` counts trials of all subjects together.
    learning_rate, weight_decay : float
        The greatest rate of the schedule; decay spares biases and norms.
    schedule : {"one_cycle", "constant"}
    warmup_epochs : float
        Epochs of rising rate (``pct_start`` of one-cycle is this over ``epochs``).
    mix : mapping
        ``kind`` ("bimixco" or "none"), ``probability`` that a batch is mixed, ``beta`` (both parameters of the Beta
        distribution), ``until`` (share of the epochs).
    inputs : mapping
        ``repeats``: "average", "cycle" (one trial of an image by step index) or "single"; ``noise``: standard deviation
        of Gaussian noise added to z-scored responses.
    prior : mapping or None
        Sizes of the diffusion prior: ``output`` and ``target`` it maps between, ``depth``, ``heads``, ``dim_head``,
        ``timesteps``, ``sampling_steps``, ``drop_brain``, ``drop_image``, ``scale`` (of targets),
        ``memory`` (brain tokens enter by cross-attention only), ``drop_tokens``.
    decoded : mapping
        Name in :class:`neuro.decoders.decoded.Decoded` -> output of the network it comes from; ``"prior"`` stands for
        samples of the prior.
    augment : mapping
        Image augmentation before target embeddings are made: ``crop`` (smallest share), ``flip``, ``jitter``, ``gray``.
    generation : mapping
        ``pipeline``, ``steps``, ``guidance``, ``strength``, ``n_candidates``, ``scheduler``, ...
    options : mapping
        What only this system has.
    reference : str
        The paper.
    """

    name: str
    preset: str
    build: Callable[..., nn.Module]
    losses: tuple[LossTerm, ...]
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 1e-2
    schedule: str = "one_cycle"
    warmup_epochs: float = 2.0
    mix: Mapping[str, Any] = field(default_factory=lambda: {"kind": "none"})
    inputs: Mapping[str, Any] = field(default_factory=lambda: {"repeats": "average"})
    prior: Mapping[str, Any] | None = None
    decoded: Mapping[str, str] = field(default_factory=dict)
    augment: Mapping[str, Any] = field(default_factory=dict)
    generation: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    reference: str = ""

    def __post_init__(self):
        check_positive_int("epochs", self.epochs)
        check_positive_int("batch_size", self.batch_size)
        check_option("schedule", self.schedule, ("one_cycle", "constant"))
        check_option("mix['kind']", self.mix.get("kind", "none"), ("none", "bimixco"))

    def network(self, n_voxels: Mapping[Hashable, int], generator: torch.Generator | None = None) -> nn.Module:
        """Build the untrained network for these subjects, initialised from ``generator`` alone."""
        return self.build(dict(n_voxels), generator=generator)

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of all targets that training needs."""
        return tuple(dict.fromkeys(term.target for term in self.losses if term.target))

    def with_settings(self, **changes: Any) -> DecoderRecipe:
        """Return the same recipe with other numbers, as ``recipe.with_settings(epochs=5)``."""
        known = [f.name for f in fields(self)]
        for name in changes:
            if name not in known:
                raise ValueError(f"a recipe has no setting {name!r}{nearest(name, known) or ': ' + ', '.join(known)}.")
        return replace(self, **changes)

    def describe(self) -> dict[str, Any]:
        """Return all settings as plain data, for provenance."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("build", "losses")}
        copied = {k: dict(v) if isinstance(v, Mapping) else v for k, v in plain.items()}
        return {**copied, "losses": [{**asdict(t), "options": dict(t.options)} for t in self.losses]}
