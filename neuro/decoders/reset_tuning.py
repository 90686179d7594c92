"""A new person enters a trained decoder: only what belongs to that person is learned.

MindBridge calls it reset-tuning: all shared weights are frozen, and batches hold trials of the new subject beside
those of known ones. :meth:`neuro.decoders.neural.NeuralDecoder.reset_tune` does it; here are its two ingredients.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from torch import nn


@contextlib.contextmanager
def frozen_except(network: nn.Module, trained: Iterable[nn.Parameter] | None) -> Iterator[None]:
    """Let only ``trained`` weights (None: all) have gradients inside; afterwards all is as it was.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    >>> with frozen_except(net, net[1].parameters()):
    ...     [p.requires_grad for p in net.parameters()]
    [False, False, True, True]
    """
    before = [(p, p.requires_grad) for p in network.parameters()]
    chosen = None if trained is None else {id(p) for p in trained}
    try:
        for p, _ in before:
            p.requires_grad_(chosen is None or id(p) in chosen)
            p.grad = None
        yield
    finally:
        for p, flag in before:
            p.requires_grad_(flag)
            p.grad = None


def subject_shares(n_sources: int, share: float) -> list[float]:
    """Return the shares of a batch of the new subject and of each source subject.

    >>> subject_shares(2, share=0.5)
    [0.5, 0.25, 0.25]
    """
    if not 0 < share <= 1 or (share == 1 and n_sources):
        raise ValueError(
            f"share is the new subject's part of a batch, above 0 and (with sources) below 1; got {share!r}."
        )
    return [1.0] if not n_sources else [share, *[(1 - share) / n_sources] * n_sources]
