"""One module per subject, kept by the subject's name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neuro._check import check_positive_int
from neuro.decoders._blocks import built
from neuro.errors import DuplicateIds, ShapeMismatch, UnknownSubject, nearest


class SubjectAdapters(nn.ModuleDict):
    """One module per subject, by name.

    Parameters
    ----------
    make : callable
        ``make(n_voxels, **options) -> nn.Module``, as ``functools.partial(LinearNorm, width=4096)``. Inputs are
        checked against the module's ``n_voxels``, if it has one.
    n_voxels : mapping of subject -> int, optional
    generator : torch.Generator, optional
        Draws the weights, subject after subject. Without one each subject has a seed of its own, made from its name.

    Examples
    --------
    >>> from functools import partial
    >>> from neuro.decoders.adapters import LinearNorm
    >>> adapters = SubjectAdapters(partial(LinearNorm, width=8), {1: 30, 2: 50})
    >>> adapters(torch.zeros(4, 50), subject=2).shape
    torch.Size([4, 8])
    """

    def __init__(
        self,
        make: Callable[..., nn.Module],
        n_voxels: Mapping[Hashable, int] | None = None,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self._make = make
        for subject, count in (n_voxels or {}).items():
            self.add(subject, count, generator)

    @property
    def subjects(self) -> list[str]:
        """Names of the subjects, as strings."""
        return list(self.keys())

    @property
    def n_voxels(self) -> dict[str, int]:
        """Voxels of each subject."""
        return {name: int(module.n_voxels) for name, module in self.items() if hasattr(module, "n_voxels")}

    def add(
        self, subject: Hashable, n_voxels: int, generator: torch.Generator | None = None, **options: Any
    ) -> nn.Module:
        """Add a subject; all other weights stay as they are, to the bit.

        Parameters
        ----------
        subject : int or str
            ``1`` and ``"1"`` are the same subject.
        n_voxels : int
        generator : torch.Generator, optional
            Without one the seed is made from the subject's name.
        **options
            What only this subject's module is told, as ``regions`` of its voxels.

        Raises
        ------
        DuplicateIds
            If the subject is there already.
        """
        name = str(subject)
        if name in self:
            raise DuplicateIds(f"subject {name} has an adapter already; adding it again would forget what it learned.")
        if not name or "." in name or hasattr(self, name):
            raise ValueError(f"a subject cannot be called {name!r}: use letters, digits, '-' and '_'.")
        check_positive_int("n_voxels", n_voxels)
        if generator is None:
            seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
            generator = torch.Generator().manual_seed(seed)
        module = built(lambda: self._make(n_voxels, **options), generator)
        like = next(self.parameters(), None)
        if like is not None:
            module.to(like)
        self[name] = module.train(self.training)
        return module

    def of(self, subject: Hashable) -> nn.Module:
        """Return the module of one subject.

        Raises
        ------
        UnknownSubject
            Naming the subjects there are.
        """
        name = str(subject)
        if name not in self:
            known = ", ".join(self.keys()) or "none"
            raise UnknownSubject(
                f"there is no adapter for subject {name}{nearest(name, self.keys()) or ''}; "
                f"this network knows {known}. Add the subject first, then train its adapter (reset-tuning)."
            )
        return self[name]

    def forward(self, x: Tensor, subject: Hashable) -> Tensor:
        """Map (B, ..., n_voxels of the subject) by that subject's module."""
        module = self.of(subject)
        expected = getattr(module, "n_voxels", None)
        if expected is not None and x.shape[-1] != expected:
            raise ShapeMismatch(
                f"the adapter of subject {subject} expects {expected:,} voxels, got {x.shape[-1]:,} (input of "
                f"shape {tuple(x.shape)}). Were the responses selected with another mask or region?"
            )
        return module(x)


def subject_parameters(network: nn.Module, subject: Hashable) -> list[nn.Parameter]:
    """Return all weights of ``network`` that belong to one subject alone."""
    return [weight for adapters in _adapters(network) for weight in adapters.of(subject).parameters()]


def add_subject(
    network: nn.Module, subject: Hashable, n_voxels: int, generator: torch.Generator | None = None, **options: Any
) -> None:
    """Give a subject a module in every :class:`SubjectAdapters` of ``network``."""
    for adapters in _adapters(network):
        adapters.add(subject, n_voxels, generator, **options)


def _adapters(network: nn.Module) -> Iterator[SubjectAdapters]:
    return (m for m in network.modules() if isinstance(m, SubjectAdapters))
