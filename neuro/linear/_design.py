"""The features of one fit, ready to be diagonalised: as a Gram matrix (primal) or as a kernel (dual), in float64.

Features are centred on the mean of all rows and scaled to trace(K) / n = 1 once. What a fold needs is a *down-date*:
its training Gram matrix is that of all rows minus that of its own rows, minus the outer product of the means.
"""

from __future__ import annotations

import torch

from neuro.linear._arrays import gram64
from neuro.linear._eigh import decompose
from neuro.linear._grid import FoldFactor
from neuro.linear._splits import Fold


def take(A: torch.Tensor, rows: slice | torch.Tensor | tuple[slice, ...]) -> torch.Tensor:
    """Return rows of ``A``; a view where they are a slice."""
    if isinstance(rows, tuple):
        return A[rows[0]] if len(rows) == 1 else torch.cat([A[r] for r in rows])
    return A[rows]


def as_index(rows: slice | torch.Tensor | tuple[slice, ...], n: int, device: torch.device) -> torch.Tensor:
    """Return rows as an index tensor."""
    return rows if isinstance(rows, torch.Tensor) else take(torch.arange(n, device=device), rows)


def mean_square_norm(X: torch.Tensor, intercept: bool) -> tuple[torch.Tensor, float]:
    """Return the feature means (0 without intercept) and trace(K) / n of the centred rows, both in float64."""
    n, p = X.shape
    origin = X[0].double() * intercept  # so that one pass suffices, whatever the offset
    total, square = (torch.zeros(p, dtype=torch.float64, device=X.device) for _ in range(2))
    for rows in _pieces(n, p):
        block = X[rows].double() - origin
        total += block.sum(0)
        square += block.square_().sum(0)
    shift = total / n * intercept
    return origin + shift, float((square - n * shift**2).clamp_(min=0).sum()) / n


def _pieces(n: int, p: int, size: int = 2**18) -> list[slice]:
    """Blocks of rows that stay in the cache."""
    step = max(1, size // p)
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]


class Design:
    """Centred, scaled features with their rows in fold order.

    Attributes
    ----------
    X : tensor (n, p), working dtype
    x_mean : tensor (p,), float64
    scale : float
        ``X = (features - x_mean) * scale``; penalties in these units are ``alpha * scale^2``.
    form : str, "primal" or "dual"
    """

    def __init__(self, features, order, intercept: bool, form: str, dtype: torch.dtype):
        self.intercept, self.form, self.dtype = intercept, form, dtype
        self.x_mean, square = mean_square_norm(features, intercept)
        self.mean_square = square
        self.scale = square**-0.5 if square > 0 else 1.0
        self.X = _centred(features, order, self.x_mean, self.scale, dtype)
        self.n, self.p = self.X.shape
        self.gram = gram64(self.X if form == "primal" else self.X.T)
        self._whole: tuple[torch.Tensor, torch.Tensor] | None = None

    def whole(self, alpha_min: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (lam, basis) of all rows: basis (p, k) in the primal, (n, k) in the dual form. Worked out once."""
        if self._whole is not None:
            return self._whole
        gram = self.gram
        if self.form == "dual" and self.intercept:
            gram = _double_centred(gram)
        lam, V = decompose(gram, min(self.n - self.intercept, self.p), alpha_min, self.dtype)
        self._whole = lam, V.to(self.dtype)
        return self._whole

    @property
    def rank(self) -> int:
        """Largest matrix to diagonalise."""
        return min(self.n, self.p)

    def fold(self, fold: Fold, alpha_min: float) -> FoldFactor:
        """Diagonalise the training rows of one fold and express its held-out rows in that basis."""
        rank = min(fold.n_train - self.intercept, self.p)
        return (self._primal if self.form == "primal" else self._dual)(fold, rank, alpha_min)

    def _primal(self, fold: Fold, rank: int, alpha_min: float) -> FoldFactor:
        val = take(self.X, fold.val)
        if fold.complement:
            gram = gram64(val)
            torch.sub(self.gram, gram, out=gram)
            mean = -val.sum(0, dtype=torch.float64) / fold.n_train * self.intercept
            gram.addr_(mean, mean, alpha=-fold.n_train)
        else:
            train = take(self.X, fold.train)
            mean = train.mean(0, dtype=torch.float64) * self.intercept
            train = train - mean.to(self.dtype)
            gram = gram64(train)
        lam, Q = decompose(gram, rank, alpha_min, self.dtype)
        del gram
        Z = (val.to(Q.dtype) - mean.to(Q.dtype)) @ Q
        Q = Q.to(self.dtype)
        return FoldFactor(lam, Z, Q if fold.complement else train @ Q, mean.to(self.dtype))

    def _dual(self, fold: Fold, rank: int, alpha_min: float) -> FoldFactor:
        train = as_index(fold.train, self.n, self.X.device)
        val = as_index(fold.val, self.n, self.X.device)
        within, across = self.gram[train[:, None], train], self.gram[val[:, None], train]
        if self.intercept:
            mean = within.mean(0)
            across -= across.mean(1, keepdim=True) + mean - mean.mean()
            within = _double_centred(within)
        lam, U = decompose(within, rank, alpha_min, self.dtype)
        return FoldFactor(lam, across.to(U.dtype) @ U, U.to(self.dtype))


def _double_centred(K: torch.Tensor) -> torch.Tensor:
    mean = K.mean(0)
    return K - mean - mean[:, None] + mean.mean()


def _centred(features, order, mean, scale: float, dtype: torch.dtype) -> torch.Tensor:
    """``(features[order] - mean) * scale``, a few rows at a time, subtracting in float64."""
    X = torch.empty(features.shape, dtype=dtype, device=features.device)
    for rows in _pieces(*features.shape):
        block = features[rows] if order is None else features[order[rows]]
        X[rows] = (block.double() - mean).mul_(scale)
    return X
