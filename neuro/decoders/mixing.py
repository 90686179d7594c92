"""MixCo: brains are averaged in pairs, and the loss asks for both images in the same proportion.

For item i with partner pi(i) and share b_i ~ Beta(.15, .15)::

    x_i  <-  b_i x_i + (1 - b_i) x_pi(i)          M = diag(b)  +  (1 - b_i) at (i, pi(i))

Two things go wrong easily. Where an item is its own partner both numbers fall on one cell of M and must be *added* (an
assignment leaves 0 and a loss of nothing), and where several blocks (subjects, processes) are mixed within themselves
and scored together, partners must be counted from the block's own first row (:func:`join_blocks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuro._check import as_rng, is_tensor
from neuro.decoders.losses import gather_rows, similarity
from neuro.errors import EmptySelection, ShapeMismatch


def mixco(
    x: Any,
    rng: int | np.random.Generator | torch.Generator | None = None,
    beta: float = 0.15,
    probability: float = 0.5,
    *,
    derangement: bool = False,
) -> tuple[Any, Any, Any]:
    """Average items with random partners.

    Parameters
    ----------
    x : array or tensor (n, ...)
        Left as it is.
    rng : int, Generator of numpy or torch, or None
    beta : float, > 0
        Shares are drawn from Beta(beta, beta): near 0 or 1 for small values.
    probability : float, 0 to 1
        Of an item to be mixed at all; the others get share 1.
    derangement : bool
        Let no item be its own partner (needs two items).

    Returns
    -------
    mixed : like x
    permutation : (n,) int64
        Partner of each item.
    betas : (n,) float32
        Share of the item itself. Mix whatever else belongs to it with :func:`apply_mix`, as latent targets.

    References
    ----------
    Kim et al. (2020), arXiv:2010.06300; Scotti et al. (2023), NeurIPS.

    Examples
    --------
    >>> mixed, partner, share = mixco(np.eye(3), rng=0, probability=1.0)
    >>> np.allclose(mixed, share[:, None] * np.eye(3) + (1 - share[:, None]) * np.eye(3)[partner])
    True
    """
    permutation, betas = draw_mix(len(x), rng, beta, probability, derangement=derangement)
    if is_tensor(x):
        permutation, betas = torch.from_numpy(permutation).to(x.device), torch.from_numpy(betas).to(x.device)
    return apply_mix(x, permutation, betas), permutation, betas


def draw_mix(
    n: int,
    rng: int | np.random.Generator | torch.Generator | None,
    beta: float = 0.15,
    probability: float = 0.5,
    *,
    derangement: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw partners (n,) and shares (n,) for ``n`` items, as :func:`mixco` does."""
    if not beta > 0:
        raise ValueError(f"beta must be above 0, got {beta!r}.")
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must lie between 0 and 1, got {probability!r}.")
    if n < 1 + derangement:
        raise EmptySelection(f"mixing {'without own partners ' * derangement}needs {1 + derangement} items, got {n}.")
    if isinstance(rng, torch.Generator):
        rng = int(torch.randint(2**62, (), generator=rng, device=rng.device))
    rng = as_rng(rng)
    permutation = rng.permutation(n)
    while derangement and (permutation == np.arange(n)).any():  # accepted once in e draws, whatever n
        permutation = rng.permutation(n)
    betas = rng.beta(beta, beta, n).astype(np.float32)
    betas[rng.random(n) >= probability] = 1.0
    return permutation, betas


def apply_mix(x: Any, permutation: Any, betas: Any) -> Any:
    """Return ``b_i x_i + (1 - b_i) x_pi(i)`` for arrays or tensors (n, ...), in the precision of ``x``."""
    if not len(x) == len(permutation) == len(betas):
        raise ShapeMismatch(
            f"{len(x)} items need as many partners and shares, got {len(permutation)} and {len(betas)}."
        )
    if is_tensor(x):
        share = torch.as_tensor(betas, device=x.device).to(x.dtype)
        permutation = torch.as_tensor(permutation, device=x.device)
    else:
        x = np.asarray(x)
        share = np.asarray(betas).astype(x.dtype if x.dtype.kind == "f" else np.float64)
    share = share.reshape(-1, *[1] * (x.ndim - 1))
    return share * x + (1 - share) * x[permutation]


def join_blocks(mixes: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
    """Return partners and shares of blocks that were mixed each within itself and now stand one after the other.

    >>> join_blocks([(np.array([1, 0]), np.ones(2)), (np.array([1, 0]), np.ones(2))])[0]
    array([1, 0, 3, 2])
    """
    starts = np.cumsum([0, *[len(p) for p, _ in mixes]]).tolist()
    join: Any = torch.cat if is_tensor(mixes[0][0]) else np.concatenate
    moved = [p + start for (p, _), start in zip(mixes, starts, strict=False)]
    return join(moved), join([b for _, b in mixes])


def bimixco(
    pred: Tensor,
    target: Tensor,
    permutation: Any,
    betas: Any,
    temperature: float | Tensor = 0.006,
    *,
    gather: bool = False,
) -> Tensor:
    """InfoNCE of mixed items, in both directions: ``-(1/2) mean_i sum_j [M * log sm(S) + M' * log sm(S')]_ij``.

    Parameters
    ----------
    pred : tensor (n, ...)
        Predicted from mixed input.
    target : tensor (n, ...)
        Not mixed.
    permutation, betas : (n,)
        As :func:`mixco` gave them; of several blocks, through :func:`join_blocks`.
    temperature : float or tensor
    gather : bool
        Take the rows of all processes as one batch, partners counted from each process's first row.

    Returns
    -------
    tensor (); with all shares 1 it is :func:`neuro.decoders.losses.info_nce`, whatever the partners

    Notes
    -----
    As published, the rows of M sum to one and its columns need not.

    References
    ----------
    Scotti et al. (2023), NeurIPS (MindEye).
    """
    if not len(pred) == len(target) == len(permutation) == len(betas):
        raise ShapeMismatch(
            f"{len(pred)} predictions need as many targets, partners and shares; got {len(target)}, "
            f"{len(permutation)} and {len(betas)}."
        )
    permutation = torch.as_tensor(permutation, device=pred.device)
    betas = torch.as_tensor(betas, device=pred.device)
    if gather:
        n = len(pred)
        pred, target, permutation, betas = (gather_rows(v) for v in (pred, target, permutation, betas))
        permutation = permutation + torch.arange(len(pred), device=pred.device) // n * n
    S = similarity(pred, target, temperature)
    M = mixing_matrix(permutation, betas.to(S.dtype))
    return -(M * S.log_softmax(1) + M.T * S.T.log_softmax(1)).sum(1).mean() / 2


def mixing_matrix(permutation: Tensor, betas: Tensor) -> Tensor:
    """Return M (n, n): b_i at (i, i) plus 1 - b_i at (i, pi(i)).

    >>> mixing_matrix(torch.tensor([0, 2, 1]), torch.tensor([1.0, 0.25, 1.0]))
    tensor([[1.0000, 0.0000, 0.0000],
            [0.0000, 0.2500, 0.7500],
            [0.0000, 0.0000, 1.0000]])
    """
    return torch.diag(betas).scatter_add(1, permutation[:, None], (1 - betas)[:, None])
