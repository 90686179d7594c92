"""What networks of all recipes share: subjects by name, and sizes by preset."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neuro._check import check_option
from neuro.decoders.adapters import SubjectAdapters, add_subject, subject_parameters
from neuro.errors import EmptySelection, nearest


class SubjectNetwork(nn.Module):
    """A network with one adapter per subject and everything else shared.

    ``network(x, subject)`` maps (B, n_voxels of the subject) to a dict of named outputs.
    """

    adapters: SubjectAdapters

    @property
    def subjects(self) -> list[str]:
        """Names of the subjects, as strings."""
        return self.adapters.subjects

    @property
    def n_voxels(self) -> dict[str, int]:
        """Voxels of each subject."""
        return self.adapters.n_voxels

    def add_subject(
        self, subject: Hashable, n_voxels: int, generator: torch.Generator | None = None, **options: Any
    ) -> None:
        """Add a person; what is known about others does not change, to the bit."""
        add_subject(self, subject, n_voxels, generator, **options)

    def subject_parameters(self, subject: Hashable) -> list[nn.Parameter]:
        """Return the weights that belong to this subject alone."""
        return subject_parameters(self, subject)

    def embed(self, x: Tensor, subject: Hashable) -> Tensor:
        """Map responses to the space that all subjects share: (B, C)."""
        return self.adapters(x, subject)


def preset_sizes(presets: Mapping[str, Mapping[str, Any]], preset: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sizes of a preset with some changed.

    Raises
    ------
    ValueError
        If there is no such preset, or no such size.
    """
    check_option("preset", preset, presets)
    sizes = dict(presets[preset])
    for name in changes:
        if name not in sizes:
            raise ValueError(
                f"this network has no size {name!r}{nearest(name, sizes) or '; it has ' + ', '.join(sizes)}."
            )
    return {**sizes, **changes}


def check_subjects(n_voxels: Mapping[Hashable, int]) -> dict[Hashable, int]:
    """Return a copy; a network needs one subject at least."""
    if not n_voxels:
        raise EmptySelection("a network needs at least one subject: give n_voxels = {subject: count}.")
    return dict(n_voxels)


def by_name(values: Mapping[Hashable, Any] | None) -> dict[Hashable, Any]:
    """Return what belongs to subjects so that it is found under the name as given and as text.

    A decoder knows its subjects by text, a caller perhaps by number.
    """
    values = dict(values or {})
    return {**values, **{str(name): value for name, value in values.items()}}
