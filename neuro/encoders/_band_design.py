"""Features in bands, ready to be diagonalised for any band weights: what ``_design`` is for plain ridge.

With ``D = diag(sqrt(gamma))`` over the columns, banded ridge is plain ridge on ``X D``. Neither ``X'X`` nor ``X'Y`` is
formed again for new weights: ``(XD)'(XD) = D (X'X) D = Q diag(lam) Q'``, and with the basis ``D Q`` in the place of
``Q`` everything downstream works on the unweighted X. In the dual form the kernel is ``sum_k gamma_k K_k``.
"""

from __future__ import annotations

import copy

import scipy.linalg
import torch

from neuro.encoders._band_products import product
from neuro.linear._arrays import gram64
from neuro.linear._design import Design, _centred, _double_centred, as_index, mean_square_norm, take
from neuro.linear._eigh import BIG, FLOAT32_ERROR, RELATIVE_ERROR, decompose
from neuro.linear._grid import FoldFactor
from neuro.linear._splits import Fold


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
    norms : tensor (n_bands,), float64
        Of the bands' kernels (Frobenius): no eigenvalue is above them.
    keep : int
        Bytes for Gram matrices of splits, which every candidate needs.
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
        self._start()

    def _start(self) -> None:
        self._whole, self._grams, self.keep = None, {}, 0
        if self.kernels is not None:
            self.norms = torch.linalg.matrix_norm(self.kernels)
            return
        blocks = (torch.nonzero(self.band == k)[:, 0] for k in range(self.n_bands))
        self.norms = torch.stack([torch.linalg.matrix_norm(self.gram[here[:, None], here]) for here in blocks])

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
        if self._whole is None:
            rank = min(self.n - self.intercept, self.p)
            if self.form == "dual":
                gram = _double_centred(self.gram) if self.intercept else self.gram.clone()
                lam, V = self._diagonalise(gram, rank, alpha_min, exact=True)
                self._whole = lam, V.to(self.dtype)
            else:
                root = self.weights[self.band].sqrt()
                lam, V = self._diagonalise(self.gram * root * root[:, None], rank, alpha_min, exact=True)
                self._whole = lam, (root[:, None].to(V.dtype) * V).to(self.dtype)
        return self._whole

    def factor(self, fold: Fold, alpha_min: float) -> tuple[FoldFactor, torch.Tensor | None]:
        """Return one split in its eigenbasis, and the columns of X that the basis is of; None is all."""
        if self.form == "dual":
            return self._dual(fold, min(fold.n_train - self.intercept, self.p), alpha_min), None
        columns = self._columns(alpha_min)
        val, train, gram, mean = self.fold_gram(fold)
        band = self.band
        if columns is not None:
            val, gram, mean, band = val[:, columns], gram[columns[:, None], columns], mean[columns], band[columns]
            train = None if train is None else train[:, columns]
        root = self.weights[band].sqrt()
        rank = min(fold.n_train - self.intercept, len(band))
        lam, Q = self._diagonalise(gram.mul(root).mul_(root[:, None]), rank, alpha_min)
        del gram
        Q = Q * root[:, None].to(Q.dtype)
        Z = product(val.to(Q.dtype) - mean.to(Q.dtype), Q)
        Q = Q.to(self.dtype)
        return FoldFactor(lam, Z, Q if train is None else product(train, Q), mean.to(self.dtype)), columns

    def fold(self, fold: Fold, alpha_min: float) -> FoldFactor:
        """Return one split in its eigenbasis."""
        return self.factor(fold, alpha_min)[0]

    def _dual(self, fold: Fold, rank: int, alpha_min: float) -> FoldFactor:
        train, val = (as_index(rows, self.n, self.X.device) for rows in (fold.train, fold.val))
        within, across = self.gram[train[:, None], train], self.gram[val[:, None], train]
        if self.intercept:
            mean = within.mean(0)
            across -= across.mean(1, keepdim=True) + mean - mean.mean()
            within = _double_centred(within)
        lam, U = self._diagonalise(within, rank, alpha_min)
        return FoldFactor(lam, product(across.to(U.dtype), U), U.to(self.dtype))

    def _columns(self, alpha_min: float) -> torch.Tensor | None:
        """Columns of the bands that matter beside the smallest penalty; None is all."""
        size = self.weights * self.norms
        order = torch.argsort(size)
        beside = torch.cumsum(size[order], 0) <= self._negligible(alpha_min)
        if not bool(beside.any()) or bool(beside.all()):
            return None
        kept = torch.ones_like(beside)
        kept[order[beside]] = False
        return torch.nonzero(kept[self.band])[:, 0]

    def _negligible(self, alpha_min: float) -> float:
        """Norm of what may be left out of a kernel: nothing, or what single precision leaves out, too."""
        return RELATIVE_ERROR / 2 * alpha_min if self.dtype == torch.float32 else 0.0

    def _diagonalise(self, gram: torch.Tensor, rank: int, alpha_min: float, exact: bool = False):
        """``decompose`` a matrix (overwritten), faster where that is good enough for scores or ``exact``.

        For scores in single precision, an error of the matrix that is small beside the smallest penalty is accepted,
        as in ``_eigh``: that of a decomposition in float32, and that of leaving out small eigenvalues.
        """
        if gram.device.type != "cpu" or len(gram) >= BIG:
            lam, V = decompose(gram, rank, alpha_min, self.dtype)
        else:
            error = FLOAT32_ERROR * float(self.weights @ self.norms)
            single = not exact and self.dtype == torch.float32 and error <= RELATIVE_ERROR * alpha_min
            lam, V = by_lapack(gram.float() if single else gram)
            noise = len(lam) * torch.finfo(torch.float64).eps * float(lam[-1].abs())
            keep = max(len(lam) - rank, int(torch.count_nonzero(lam <= noise)))
            lam, V = lam[keep:], V[:, keep:]
        small = 0 if exact else int(torch.count_nonzero(lam <= self._negligible(alpha_min)))
        first = min(small, max(len(lam) - 1, 0))
        return lam[first:].contiguous(), V[:, first:]

    def fold_gram(self, fold: Fold):
        """Return held-out rows, centred training rows (None for a complement), their Gram matrix and their mean."""
        val = take(self.X, fold.val)
        if fold.complement:
            known = self._grams.get(id(fold))
            if known is None:
                gram = gram64(val)
                torch.sub(self.gram, gram, out=gram)
                mean = -val.sum(0, dtype=torch.float64) / fold.n_train * self.intercept
                known = gram.addr_(mean, mean, alpha=-fold.n_train), mean
                if (len(self._grams) + 1) * gram.nbytes <= self.keep:
                    self._grams[id(fold)] = known
            return val, None, *known
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
        self._start()


def by_lapack(A: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Diagonalise a small symmetric matrix (overwritten): scipy's BLAS is faster at it than torch's."""
    try:
        lam, V = scipy.linalg.eigh(A.numpy().T, overwrite_a=True, check_finite=False, driver="evd")
    except scipy.linalg.LinAlgError:
        lam, V = scipy.linalg.eigh(A.numpy().T, check_finite=False, driver="evr")
    return torch.from_numpy(lam).double(), torch.from_numpy(V)


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
