"""A decoding system made of closed-form decoders: which features from which voxels, and how they become pictures."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from neuro._check import check_option
from neuro.data import Responses
from neuro.decoders._linear_base import LinearDecoder
from neuro.decoders.decoded import Decoded
from neuro.errors import EmptySelection, ShapeMismatch, UnknownROI, nearest


@dataclass(frozen=True, eq=False)
class Part:
    """Some targets, decoded from some voxels by one kind of regression.

    Attributes
    ----------
    targets : tuple of str or None
        Names of the targets; None takes all that are given.
    decoder : LinearDecoder
        Unfitted; it is cloned, never fitted itself.
    roi : str, tuple of str or None
        Region (see :meth:`neuro.data.Voxels.roi`); None takes all voxels.
    """

    targets: tuple[str, ...] | None
    decoder: LinearDecoder
    roi: str | tuple[str, ...] | None = None


@dataclass(frozen=True)
class Generation:
    """How decoded features become pictures in the published system.

    Attributes
    ----------
    pipeline : str
        What the authors ran, in words.
    condition : tuple of str
        What the generator is given: decoded features, or what was made of them (sentences as ``prompt``, a ``depth``
        map), which :meth:`LinearSystem.reconstruct` then takes as ``condition``.
    init : str or None
        Decoded feature that the initial picture comes from.
    strength, steps, guidance, n
        As in :meth:`neuro.decoders.generators.base.Generator.generate`.
    mixing : mapping
        Weights of several conditions, for pipelines that take them when they are built.
    """

    pipeline: str
    condition: tuple[str, ...]
    init: str | None = None
    strength: float = 1.0
    steps: int = 50
    guidance: float = 7.5
    n: int = 1
    mixing: Mapping[str, float] = field(default_factory=dict)


class LinearSystem:
    """A published system over ridge decoders: ``fit``, ``decode``, ``reconstruct``.

    Parameters
    ----------
    name, preset, reference : str
    parts : tuple of Part
    generation : Generation or None
        None for systems whose pictures come from elsewhere.
    """

    def __init__(self, name: str, preset: str, parts: tuple[Part, ...], generation: Generation | None, reference: str):
        self.name, self.preset, self.parts = name, preset, tuple(parts)
        self.generation, self.reference = generation, reference

    def __repr__(self) -> str:
        decoded = [name for part in self.parts for name in part.targets or ("all targets",)]
        return f"{type(self).__name__}({self.name!r}, preset={self.preset!r}: {', '.join(decoded)})"

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets that :meth:`fit` needs; empty if it takes whatever is given."""
        return tuple(name for part in self.parts for name in part.targets or ())

    def fit(
        self,
        X: Any,
        targets: Mapping[str, Any],
        ids: Any = None,
        groups: Any = None,
        *,
        target_ids: Any = None,
        rois: Mapping[str, Any] | None = None,
    ) -> LinearSystem:
        """Fit every part.

        Parameters
        ----------
        X : array, tensor or Responses (n, n_voxels), or dict of subject -> those
        targets : dict of name -> array (n, ...)
        ids, groups, target_ids
            As in :meth:`neuro.decoders.linear.RidgeDecoder.fit`.
        rois : dict of region -> boolean mask (n_voxels,), or dict of subject -> such a dict
            Only for plain arrays; ``Responses`` know their regions.

        Returns
        -------
        self
        """
        for name in self.targets:
            if name not in targets:
                raise EmptySelection(
                    f"{self.name} needs targets {', '.join(self.targets)}; {name!r} is missing"
                    f"{nearest(name, targets) or ' from ' + (', '.join(map(str, targets)) or 'what was given')}"
                )
        fitted = []
        for part in self.parts:
            own = {name: targets[name] for name in part.targets or targets}
            decoder = clone(part.decoder)
            decoder.fit(_in_region(X, part.roi, rois), own, ids, groups, target_ids=target_ids)
            fitted.append(decoder)
        self.decoders_ = tuple(fitted)
        return self

    def decode(
        self,
        X: Any,
        ids: Any = None,
        subject: Hashable = None,
        *,
        rois: Mapping[str, Any] | None = None,
        folder: str | Path | None = None,
        allow_training: bool = False,
    ) -> Decoded:
        """Decode all targets of all parts; ``folder`` gets a subfolder for each part.

        Parameters
        ----------
        X, ids, subject, folder, allow_training
            As in :meth:`neuro.decoders.linear.RidgeDecoder.predict`.
        rois
            As in :meth:`fit`.
        """
        self._require_fitted()
        whole: Decoded | None = None
        for i, (part, decoder) in enumerate(zip(self.parts, self.decoders_, strict=True)):
            own = None if folder is None else Path(folder) / f"part-{i}"
            seen = _in_region(X, part.roi, rois, subject)
            found = decoder.predict(seen, ids, subject, folder=own, allow_training=allow_training)
            about = {"roi": part.roi, **found.provenance}
            whole = Decoded({}, found.ids, found.subject, self._about()) if whole is None else whole
            parts = {**whole.provenance["parts"], "+".join(found): about}
            whole = whole.with_arrays(dict(found), parts=parts, rescaling=_joint(parts))
        assert whole is not None
        return whole

    def reconstruct(
        self, generator: Any, decoded: Decoded, condition: Mapping[str, Any] | None = None, **changes: Any
    ) -> np.ndarray:
        """Turn decoded features into pictures with the published settings.

        Parameters
        ----------
        generator : Generator
            Anything with the ``generate`` of :class:`neuro.decoders.generators.base.Generator`.
        decoded : Decoded
        condition : dict of name -> array or list (n_items, ...), optional
            What was made from decoded features: sentences as ``prompt``, control pictures, a ``depth`` map. Takes
            precedence over decoded features of the same name.
        **changes
            Settings to change, as ``steps=20``, ``n=4``; others, as ``seed``, are passed on.

        Returns
        -------
        array (n_items, n, 3, height, width), float32 in [0, 1]
        """
        settings = self.generation
        if settings is None:
            raise ValueError(f"{self.name} has no pipeline that could be run on its features.")
        there = {**decoded, **(condition or {})}
        names = [*settings.condition, *([settings.init] if settings.init else [])]
        for name in names:
            if name not in there:
                raise EmptySelection(
                    f"{self.name} generates from {', '.join(names)}; {name!r} was neither decoded nor given as "
                    "condition."
                )
        given = {name: there[name] for name in settings.condition}
        if settings.init:  # generators read initial latents under this name
            given["low_level"] = there[settings.init]
        chosen = {key: getattr(settings, key) for key in ("strength", "steps", "guidance", "n")} | changes
        return generator.generate(given, ids=decoded.ids.tolist(), **chosen)

    def _about(self) -> dict[str, Any]:
        return {"system": self.name, "preset": self.preset, "reference": self.reference, "parts": {}}

    def _require_fitted(self) -> None:
        if not hasattr(self, "decoders_"):
            raise ValueError(f"{self.name} is not fitted yet: call fit first.")


def check_preset(preset: str, presets: Mapping[str, Any]) -> Any:
    """Return the settings of a preset, or say which there are."""
    return presets[check_option("preset", preset, presets)]


def _joint(parts: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return the parts' output scaling: one name if they agree."""
    found = {key: about["rescaling"] for key, about in parts.items()}
    return next(iter(found.values())) if len(set(found.values())) == 1 else found


def _in_region(X: Any, roi: Any, rois: Mapping[str, Any] | None, subject: Hashable = None) -> Any:
    if roi is None:
        return X
    if isinstance(X, Mapping):
        return {s: _in_region(data, roi, rois, s) for s, data in X.items()}
    if isinstance(X, Responses):
        return X.select(voxels=X.voxels.roi(list(roi) if isinstance(roi, tuple) else roi))
    names = [roi] if isinstance(roi, str) else list(roi)
    known = (rois or {}).get(subject, rois or {})
    missing = [name for name in names if name not in known]
    if missing:
        raise UnknownROI(
            f"region {missing[0]!r} is needed, and an array does not know its regions: pass Responses, or "
            f"rois={{{missing[0]!r}: mask}}; there is {', '.join(map(str, known)) or 'none'}."
        )
    mask = np.logical_or.reduce([np.asarray(known[name]) for name in names])
    if mask.dtype != bool or mask.shape != (X.shape[1],):
        raise ShapeMismatch(f"a region is a boolean mask of {X.shape[1]:,} voxels, got {mask.dtype} {mask.shape}.")
    return X[:, mask]
