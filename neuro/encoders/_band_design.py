"""Features in bands, ready to be diagonalised for any band weights: what ``_design`` is for plain ridge.

With ``D = diag(sqrt(gamma))`` over the columns, banded ridge is plain ridge on ``X D``. Neither ``X'X`` nor ``X'Y`` is
formed again for new weights: ``(XD)'(XD) = D (X'X) D = Q diag(lam) Q'``, and with the basis ``D Q`` in the place of
``Q`` everything downstream works on the unweighted X. In the dual form the kernel is ``sum_k gamma_k K_k``.
"""

from __future__ import annotations

import copy

import torch

from neuro.encoders._arrays import gram64
from neuro.encoders._design import Design, _centred, _double_centred, mean_square_norm, take
from neuro.encoders._eigh import decompose
from neuro.encoders._grid import FoldFactor
from neuro.encoders._splits import Fold


class BandDesign(Design):
    """Centred features with their bands, rows in fold order.

    ``at(weights)`` gives the view for one candidate, sharing all data.

    Attributes
    ----------
    band : integer tensor (p,)
        Band of every column.
    kernels : tensor (n_bands, n, n) or None
        In the dual form.
    band_scales : tensor (n_bands,), float64
        Factors of the bands' kernels, or ones.
    """

    weights: torch.Tensor

    def __init__(self, features, band, order, intercept: bool, form: str, dtype, scale_bands: bool):
        self.intercept, self.form, self.dtype = intercept, form, dtype
        self.x_mean, square = mean_square_norm(features, intercept)
        self.mean_square = square
        self.scale = square**-0.5 if square > 0 else 1.0
        self.X = _centred(features, order, self.x_mean, self.scale, dtype)
        self.n, self.p = self.X.shape
        self.band, self.kernels = band, None
        n_bands = int(band.max()) + 1
        if form == "primal":
            self.gram = gram64(self.X)
            traces = torch.zeros(n_bands, dtype=torch.float64, device=band.device)
            traces.index_add_(0, band, self.gram.diagonal())
        else:
            self.kernels = torch.stack([gram64(self.X[:, band == k].T) for k in range(n_bands)])
            traces = torch.stack([K.diagonal().sum() for K in self.kernels])
        self.band_scales = equal_scales(traces) if scale_bands else torch.ones_like(traces)
        self._whole = None

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return len(self.band_scales)

    def similarity(self) -> torch.Tensor:
        """Cosine (n_bands, n_bands) between the bands' kernels."""
        if self.kernels is not None:
            flat = self.kernels.flatten(1)
            inner = flat @ flat.T
        else:
            member = torch.nn.functional.one_hot(self.band, self.n_bands).double()
            inner = member.T @ self.gram.square() @ member
        return cosines(inner)

    def at(self, weights: torch.Tensor) -> BandDesign:
        """Return this design with band weights (n_bands,)."""
        view = copy.copy(self)
        view.weights = weights * self.band_scales
        view._whole = None
        if self.kernels is not None:
            view.gram = torch.einsum("k,kij->ij", view.weights, self.kernels)
        return view

    def whole(self, alpha_min: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (lam, basis) of all rows; the basis takes unweighted X'Y to coordinates and back to weights."""
        if self.form == "dual":
            return super().whole(alpha_min)
        if self._whole is None:
            root = self.weights[self.band].sqrt()
            lam, V = decompose(
                self.gram * root * root[:, None], min(self.n - self.intercept, self.p), alpha_min, self.dtype
            )
            self._whole = lam, (root[:, None].to(V.dtype) * V).to(self.dtype)
        return self._whole

    def _primal(self, fold: Fold, rank: int, alpha_min: float) -> FoldFactor:
        val, train, gram, mean = self.fold_gram(fold)
        root = self.weights[self.band].sqrt()
        lam, Q = decompose(gram.mul_(root).mul_(root[:, None]), rank, alpha_min, self.dtype)
        del gram
        Q = Q * root[:, None].to(Q.dtype)
        Z = (val.to(Q.dtype) - mean.to(Q.dtype)) @ Q
        Q = Q.to(self.dtype)
        return FoldFactor(lam, Z, Q if train is None else train @ Q, mean.to(self.dtype))

    def fold_gram(self, fold: Fold):
        """Return held-out rows, centred training rows (None for a complement), their Gram matrix and their mean."""
        val = take(self.X, fold.val)
        if fold.complement:
            gram = gram64(val)
            torch.sub(self.gram, gram, out=gram)
            mean = -val.sum(0, dtype=torch.float64) / fold.n_train * self.intercept
            return val, None, gram.addr_(mean, mean, alpha=-fold.n_train), mean
        train = take(self.X, fold.train)
        mean = train.mean(0, dtype=torch.float64) * self.intercept
        train = train - mean.to(self.dtype)
        return val, train, gram64(train), mean


class KernelDesign(BandDesign):
    """The same for kernels that are given instead of features.

    Parameters
    ----------
    kernels : tensor (n_bands, n, n), float64
        Between the training stimuli, in their original order.
    """

    def __init__(self, kernels: torch.Tensor, order, intercept: bool, dtype, scale_bands: bool):
        self.intercept, self.form, self.dtype = intercept, "dual", dtype
        self.n = self.p = kernels.shape[1]
        place = torch.arange(self.n, device=kernels.device) if order is None else order
        self.kernels = kernels[:, place[:, None], place]
        if intercept:
            self.kernels = torch.stack([_double_centred(K) for K in self.kernels])
        traces = torch.stack([K.diagonal().sum() for K in self.kernels])
        self.mean_square = float(traces.sum().clamp(min=0)) / self.n
        self.scale = self.mean_square**-0.5 if self.mean_square > 0 else 1.0
        self.kernels = self.kernels * self.scale**2
        self.X = torch.empty(self.n, 0, dtype=dtype, device=kernels.device)
        self.band = torch.zeros(0, dtype=torch.int64, device=kernels.device)
        self.band_scales = equal_scales(traces) if scale_bands else torch.ones_like(traces)
        self._whole = None


def equal_scales(traces: torch.Tensor) -> torch.Tensor:
    """Return factors that give every band the mean trace; a band without variance keeps 1."""
    present = traces > 0
    mean = traces.sum() / present.sum().clamp(min=1)
    return torch.where(present, mean / torch.where(present, traces, 1.0), 1.0)


def cosines(inner: torch.Tensor) -> torch.Tensor:
    """Return ``inner_ij / sqrt(inner_ii inner_jj)``, 0 where a norm is 0."""
    norm = inner.diagonal().clamp(min=0).sqrt()
    norm = torch.where(norm > 0, norm, torch.inf)
    return inner / norm / norm[:, None]
