"""Encoders side by side: what an entry ``[[encode]]`` of a study file may say, checked before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from neuro.errors import StudyError, nearest


@dataclass(frozen=True)
class Kind:
    """An encoder that study files and the command line know.

    Parameters
    ----------
    estimator : str
        Class in ``neuro.encoders``.
    reads : str
        "features": layers side by side; "bands": two or more feature spaces, kept apart; "maps": layers with places;
        "embedding": one vector per image.
    text : str
        What it does, for reports.
    """

    estimator: str
    reads: str
    text: str


KINDS = {
    "ridge": Kind("RidgeCV", "features", "ridge regression with a penalty per {channel}"),
    "kernel": Kind("KernelRidgeCV", "features", "kernel ridge regression with a penalty per {channel}"),
    "banded": Kind("BandedRidgeCV", "bands", "banded ridge regression: a penalty per {channel} and feature space"),
    "multiple-kernel": Kind(
        "MultipleKernelRidgeCV", "bands", "multiple-kernel ridge: a weight per {channel} and feature space"
    ),
    "stacked": Kind("StackedRidgeCV", "bands", "stacked regression: one ridge per feature space, mixed per {channel}"),
    "receptive-field": Kind(
        "ReceptiveFieldRidgeCV",
        "maps",
        "feature-weighted receptive fields: a Gaussian window per {channel}, then ridge",
    ),
    "factorised": Kind(
        "FactorisedEncoder", "maps", "windows and feature weights of every {channel} trained together, by gradient"
    ),
    "attention": Kind(
        "AttentionEncoder", "maps", "attention routing: each region looks at the places of an image that it needs"
    ),
    "in-context": Kind(
        "InContextEncoder", "embedding", "a trained network reads the training images and responses and emits weights"
    ),
}
"""Kinds of encoders, by the name that ``kind`` and ``--encoder`` take."""

QUERIES = ("rois", "hemispheres", "voxels", "one")
# What the study sets itself, or what a text file cannot say.
NOT_OPTIONS = ("self", "bands", "band_weights", "network", "grid", "checkpoint", "baselines", "random_state")


@dataclass(frozen=True)
class EncodeConfig:
    """One of several encoders that are fitted on the same folds of the same images, and compared.

    Parameters
    ----------
    name : str
        As it shall stand in the results.
    kind : str
        One of ``KINDS``.
    model, layer : str
        What it reads: a model of the study, and a layer of it or a list of layers. ``layer`` may be left out where the
        model has one.
    bands : dict name -> [model, layer]
        Instead of ``model``: feature spaces. "banded", "multiple-kernel" and "stacked" need two or more; "ridge" and
        "kernel" put them side by side.
    network : str
        "in-context" only: folder of a trained network (or of a saved encoder), or "phantom" for the one that ships.
    options : dict
        Arguments of the encoder's class; ``scoring`` is "r2" unless given. Also understood: ``alphas = {start, stop,
        n}`` (powers of ten), ``fields`` as a dict of arguments of :func:`neuro.encoders.receptive_field_grid`, and
        ``queries`` "rois" (default of "attention"), "hemispheres", "voxels" (of "factorised") or "one".
    curve : list of int
        Numbers of training images at which it is fitted and scored as well: a data-efficiency curve.
    draws : int
        Random sets of images at each point of the curve.
    examples : int
        "attention" only: test images whose routing maps are kept.
    """

    name: str
    kind: str
    model: str | None = None
    layer: Any = None
    bands: Mapping[str, Any] = field(default_factory=dict)
    network: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    curve: tuple[int, ...] = ()
    draws: int = 5
    examples: int = 6

    @property
    def about(self) -> Kind:
        """Its kind."""
        return KINDS[self.kind]

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models it reads."""
        return (self.model,) if self.model is not None else tuple(dict.fromkeys(m for m, _ in self.bands.values()))

    def layers_of(self, model: str) -> tuple[str, ...]:
        """Layers of a model that it names; none where the model's only layer is meant."""
        if self.model is None:
            return tuple(str(k) for m, k in self.bands.values() if m == model)
        if self.layer is None:
            return ()
        return (self.layer,) if isinstance(self.layer, str) else tuple(map(str, self.layer))


WHERE = "encode[{i}] ({name!r})"


def check_encoders(
    entries: Sequence[EncodeConfig], models: Mapping[str, Sequence[str] | None], where: str = WHERE
) -> None:
    """Refuse entries that cannot be run.

    Parameters
    ----------
    entries : list of EncodeConfig
    models : dict name -> layers, or None where they are not known yet
    where : str
        How errors call an entry, from its index ``i`` and its ``name``.

    Raises
    ------
    StudyError
        Naming the entry, what is wrong, and the nearest name there is.
    """
    names = [entry.name for entry in entries]
    for i, entry in enumerate(entries):
        here = where.format(i=i, name=entry.name)
        if names.count(entry.name) > 1 or entry.name in models:
            raise StudyError(f"{here}: encoders and models need distinct names, got {[*models, *names]}.")
        if entry.kind not in KINDS:
            raise StudyError(f"{here}: unknown kind {entry.kind!r}{_near(entry.kind, KINDS)} {_listed(KINDS)}")
        for problem in _problems(entry, models):
            raise StudyError(f"{here}: {problem}")


def _problems(entry: EncodeConfig, models: Mapping[str, Sequence[str] | None]) -> Iterator[str]:
    reads = entry.about.reads
    if (entry.model is None) == (not entry.bands):
        yield "needs either model (and layer) or bands = { name = [model, layer], ... }."
    for band, what in entry.bands.items():
        pair = isinstance(what, Sequence) and not isinstance(what, str) and len(what) == 2
        if not pair or not all(isinstance(x, str) for x in what):
            yield f"band {band!r} must be [model, layer], got {what!r}."
    if reads == "bands" and len(entry.bands) < 2:
        yield (
            f"kind {entry.kind!r} weighs feature spaces against each other and needs two bands or more, got "
            f"{list(entry.bands)}. With one, use kind = 'ridge'."
        )
    if reads in ("maps", "embedding") and entry.bands:
        yield f"kind {entry.kind!r} reads model and layer, not bands."
    for model in entry.models:
        if model not in models:
            yield f"unknown model {model!r}{_near(model, models)} Models of the study: {', '.join(models)}."
        layers = models[model]
        for layer in entry.layers_of(model):
            if layers is not None and layer not in layers:
                yield f"no layer {layer!r} of model {model!r}{_near(layer, layers)} {_listed(layers, 'Layers')}"
        if not entry.layers_of(model) and layers is not None and len(layers) != 1:
            yield f"model {model!r} has {len(layers)} layers: say which with layer = ... {_listed(layers, 'Layers')}"
    if reads == "embedding" and len(entry.layers_of(str(entry.model))) > 1:
        yield f"kind {entry.kind!r} reads one layer, got {list(entry.layer)}."
    if (entry.network is not None) != (entry.kind == "in-context"):
        yield "kind 'in-context', and no other, needs network = folder of a trained network, or 'phantom'."
    allowed = options_of(entry.kind)
    for option in entry.options:
        if option not in allowed:
            near = _near(option, allowed)
            yield f"unknown option {option!r} of kind {entry.kind!r}{near} {_listed(allowed, 'Options')}"
    if entry.options.get("queries", "rois") not in QUERIES:
        yield f"queries must be {', '.join(map(repr, QUERIES))}, got {entry.options['queries']!r}."
    for name, least in (("draws", 2), ("examples", 0)):
        value = getattr(entry, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            yield f"{name} must be an integer of at least {least}, got {value!r}."
    bad = [n for n in entry.curve if isinstance(n, bool) or not isinstance(n, int) or n < 10]
    if bad or len(set(entry.curve)) != len(entry.curve):
        yield f"curve must hold different numbers of images, at least 10 each, got {list(entry.curve)}."


def options_of(kind: str) -> list[str]:
    """Return the options that an encoder's kind takes."""
    import neuro.encoders

    parameters = inspect.signature(getattr(neuro.encoders, KINDS[kind].estimator).__init__).parameters
    return [name for name in parameters if name not in NOT_OPTIONS]


def _listed(names: Any, what: str = "Kinds") -> str:
    names = list(names)
    more = f", ... ({len(names)} in all)" if len(names) > 24 else ""
    return f"{what}: {', '.join(names[:24])}{more}."


def _near(name: str, options: Any) -> str:
    return nearest(name, options) or "."
