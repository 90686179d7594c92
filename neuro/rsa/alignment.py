"""How much of people's similarity judgements does a representation hold, one linear map away?

z = ((f - mu) / sigma) W + b is trained on odd-one-out triplets (i, j, k; k odd) by

    (1 - alpha) mean[-s_ij / tau + log(e^{s_ij / tau} + e^{s_ik / tau} + e^{s_jk / tau})]
    + alpha H(softmax(teacher cosines / tau), softmax(student cosines / tau))
    + lam ||W - mean(diag W) I||_F^2,

where the second term keeps the neighbourhoods that the representation had (its cosines over the items of a batch,
without the diagonal), and the third pulls W to a scaled identity, so that little data change little. With a teacher's
choice probabilities in place of choices, the first term is their Kullback-Leibler or Jensen-Shannon divergence.
Train and test triplets never share an object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import as_rng, check_option, check_positive_int, is_tensor, require
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa._settings import HasSettings
from neuro.rsa.odd_one_out import check_triplets, odd_one_out_accuracy

LOSSES = ("hard", "kl", "js")
MAX_LOCAL = 512  # items of a batch whose neighbourhoods are kept


class AlignmentProbe(HasSettings):
    """Linear alignment of a representation with odd-one-out choices.

    Parameters
    ----------
    lam : float >= 0
        Pull of W towards a scaled identity.
    alpha : float, 0 to 1
        Share of the loss that keeps the representation's own neighbourhoods.
    tau : float > 0
        Temperature of similarities.
    loss : "hard", "kl" or "js"
        Choices, or divergence from given probabilities.
    similarity : "cosine" or "dot"
    standardise : "global" or "feature"
        One mean and s.d. per feature changes the geometry before anything is learned; one mean per feature and a
        single s.d. ("global") only shifts and scales it.
    steps, batch_size, learning_rate
        Steps of Adam on batches of triplets, the rate falling to 0 along a cosine.
    rng : int or Generator, optional
        Of the order of triplets.

    Attributes
    ----------
    weights_ : array (n_features, n_features)
    bias_ : array (n_features,)
    mean_ : array (n_features,)
    scale_ : array (n_features,)
    losses_ : array (steps,)
        Loss of each batch.

    References
    ----------
    Muttenthaler et al. (2023), Improving neural network representations using human similarity judgments, NeurIPS.

    Examples
    --------
    >>> F = np.random.default_rng(0).normal(size=(30, 5))
    >>> triplets = [[0, 1, 2], [3, 4, 5], [0, 3, 6]]
    >>> AlignmentProbe(steps=2, rng=0).fit(F, triplets).transform(F).shape
    (30, 5)
    """

    def __init__(
        self,
        lam: float = 1e-2,
        alpha: float = 0.0,
        tau: float = 0.1,
        *,
        loss: str = "hard",
        similarity: str = "cosine",
        standardise: str = "global",
        steps: int = 500,
        batch_size: int = 1024,
        learning_rate: float = 3e-2,
        rng: int | np.random.Generator | None = None,
    ):
        self.lam = lam
        self.alpha = alpha
        self.tau = tau
        self.loss = loss
        self.similarity = similarity
        self.standardise = standardise
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.rng = rng

    def __repr__(self) -> str:
        return f"AlignmentProbe(lam={self.lam:g}, alpha={self.alpha:g}, tau={self.tau:g}, loss={self.loss!r})"

    def fit(self, F: Any, triplets: Any, probabilities: Any = None) -> AlignmentProbe:
        """Learn W and b.

        Parameters
        ----------
        F : array or tensor (n_items, n_features)
            Tensors are trained on where they are.
        triplets : int array (n_triplets, 3)
            Odd one last; for "kl" and "js" any order.
        probabilities : array (n_triplets, 3), optional
            For "kl" and "js": a teacher's probabilities that (i, j), (i, k) and (j, k) are the closest pair, as
            :func:`~neuro.rsa.odd_one_out.choice_probabilities` returns them.
        """
        torch = require("torch", "AlignmentProbe")
        self._check()
        x = F.detach() if is_tensor(F) else torch.as_tensor(np.asarray(F, dtype=np.float64))
        if x.ndim != 2:
            raise ShapeMismatch(f"a representation is (n_items, n_features), got {tuple(x.shape)}.")
        if not bool(torch.isfinite(x).all()):
            raise ValueError("the representation holds NaN or infinite values.")
        t = torch.as_tensor(check_triplets(triplets, len(x)), device=x.device)
        targets = self._targets(torch, probabilities, t, x)
        used = torch.unique(t)
        mean, scale = _moments(x[used], self.standardise)
        x = (x - mean) / scale
        W = torch.eye(x.shape[1], dtype=x.dtype, device=x.device).requires_grad_()
        b = torch.zeros(x.shape[1], dtype=x.dtype, device=x.device).requires_grad_()
        size = min(self.batch_size, len(t))
        optimiser = torch.optim.Adam([W, b], lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        rng, losses = as_rng(self.rng), []
        for rows in self._batches(len(t), size, rng):
            rows = torch.as_tensor(rows, device=x.device)
            optimiser.zero_grad()
            loss = self._loss(x, t[rows], None if targets is None else targets[rows], W, b, rng)
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        keep = (lambda v: v.detach()) if is_tensor(F) else (lambda v: v.detach().numpy())
        self.weights_, self.bias_, self.mean_, self.scale_ = keep(W), keep(b), keep(mean), keep(scale)
        self.losses_ = np.array(losses)
        return self

    def transform(self, F: Any) -> Any:
        """Return z = ((F - mu) / sigma) W + b, of the kind and on the device of ``F``."""
        if not hasattr(self, "weights_"):
            raise ValueError("this probe is not fitted: call fit first.")
        if F.shape[-1] != len(self.bias_):
            raise ShapeMismatch(f"the probe was fitted to {len(self.bias_)} features, got {F.shape[-1]}.")
        parts = [_like(v, F) for v in (self.mean_, self.scale_, self.weights_, self.bias_)]
        mean, scale, W, b = parts
        return ((F - mean) / scale) @ W + b

    def fit_transform(self, F: Any, triplets: Any, probabilities: Any = None) -> Any:
        """Fit, then transform the same items."""
        return self.fit(F, triplets, probabilities).transform(F)

    def score(self, F: Any, triplets: Any) -> float:
        """Return the odd-one-out accuracy of the transformed representation; ties are wrong, chance is 1/3."""
        return odd_one_out_accuracy(self.transform(F), triplets, self.similarity)

    def _batches(self, n: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        order, used = rng.permutation(n), 0
        for _ in range(self.steps):
            if used + size > n:
                order, used = rng.permutation(n), 0
            yield order[used : used + size]
            used += size

    def _check(self) -> None:
        check_option("loss", self.loss, LOSSES)
        check_option("similarity", self.similarity, ["cosine", "dot"])
        check_option("standardise", self.standardise, ["global", "feature"])
        check_positive_int("steps", self.steps)
        check_positive_int("batch_size", self.batch_size)
        if not (self.tau > 0 and self.lam >= 0 and 0 <= self.alpha <= 1):
            raise ValueError(
                f"tau must be positive, lam 0 or more and alpha a share, got {self.tau}, {self.lam}, {self.alpha}."
            )

    def _targets(self, torch: Any, probabilities: Any, t: Any, x: Any) -> Any:
        if (probabilities is None) != (self.loss == "hard"):
            raise ValueError(
                f"loss {self.loss!r} "
                + ("takes no probabilities." if self.loss == "hard" else "needs a teacher's probabilities.")
            )
        if probabilities is None:
            return None
        p = torch.as_tensor(probabilities, dtype=x.dtype, device=x.device)
        if p.shape != t.shape:
            raise ShapeMismatch(f"probabilities must be {tuple(t.shape)}, got {tuple(p.shape)}.")
        if not (bool((p >= 0).all()) and bool((abs(p.sum(1) - 1) < 1e-4).all())):
            raise ValueError("probabilities must not be negative and sum to 1 for each triplet.")
        return p

    def _loss(self, x: Any, t: Any, targets: Any, W: Any, b: Any, rng: np.random.Generator) -> Any:
        import torch

        items, local = torch.unique(t, return_inverse=True)
        teacher = x[items]
        z = teacher @ W + b
        loss = self.lam * identity_penalty(W)
        if self.alpha < 1:
            s = pair_similarities(z, local, self.similarity)
            match = triplet_loss(s, self.tau) if targets is None else soft_triplet_loss(s, targets, self.tau, self.loss)
            loss = loss + (1 - self.alpha) * match
        if self.alpha > 0 and len(items) > 2:
            rows = slice(None)
            if len(items) > MAX_LOCAL:
                rows = torch.as_tensor(rng.choice(len(items), MAX_LOCAL, replace=False), device=x.device)
            loss = loss + self.alpha * neighbourhood_loss(z[rows], teacher[rows], self.tau)
        return loss


# The terms of the loss, on tensors


def pair_similarities(z: Any, triplets: Any, similarity: str = "cosine") -> Any:
    """Return (s_ij, s_ik, s_jk) of every triplet from z (n_items, n_features), tensors, (n_triplets, 3)."""
    import torch

    if similarity == "cosine":
        z = torch.nn.functional.normalize(z, dim=1)
    a, b, c = (z[triplets[:, k]] for k in range(3))
    return torch.stack([(a * b).sum(1), (a * c).sum(1), (b * c).sum(1)], 1)


def triplet_loss(s: Any, tau: float = 1.0) -> Any:
    """Return mean[-s_ij / tau + logsumexp(s / tau)] of similarities (n_triplets, 3), the chosen pair first."""
    s = s / tau
    return (s.logsumexp(1) - s[:, 0]).mean()


def soft_triplet_loss(s: Any, probabilities: Any, tau: float = 1.0, kind: str = "kl") -> Any:
    """Return the mean divergence of softmax(s / tau) from a teacher's probabilities, (n_triplets, 3) each.

    "kl" is KL(teacher || student); "js" the mean of both divergences to their midpoint, at most log 2.
    """
    import torch

    check_option("kind", kind, ["kl", "js"])
    p, log_q = probabilities, (s / tau).log_softmax(1)
    if kind == "kl":
        return (torch.special.xlogy(p, p) - p * log_q).sum(1).mean()
    q = log_q.exp()
    m = (p + q) / 2
    each = [torch.special.xlogy(v, v) - torch.special.xlogy(v, m) for v in (p, q)]
    return (each[0] + each[1]).sum(1).mean() / 2


def neighbourhood_loss(student: Any, teacher: Any, tau: float = 1.0) -> Any:
    """Return the mean cross-entropy between softmaxes over the other items of cosines / tau, (n_items, n_features)."""
    import torch

    n = len(student)
    off = ~torch.eye(n, dtype=torch.bool, device=student.device)
    rows = []
    for x in (teacher, student):
        x = torch.nn.functional.normalize(x, dim=1)
        rows.append((x @ x.T / tau)[off].reshape(n, n - 1))
    return -(rows[0].softmax(1) * rows[1].log_softmax(1)).sum(1).mean()


def identity_penalty(W: Any) -> Any:
    """Return ||W - mean(diag W) I||_F^2."""
    return (W**2).sum() - W.diagonal().sum() ** 2 / len(W)


# Splitting by object


def split_triplets(
    triplets: Any, test: float = 0.2, *, objects: Any = None, rng: int | np.random.Generator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return indices of train and test triplets that share no object; triplets with objects of both are left out.

    Parameters
    ----------
    triplets : int array (n_triplets, 3)
    test : float
        Share of the objects that are tested on. The share of test triplets is about its cube, of train triplets about
        (1 - test)^3.
    objects : array (n_items,), optional
        The object that each item shows; by default each item is one.
    rng : int or Generator, optional
    """
    t = check_triplets(triplets)
    if not 0 < test < 1:
        raise ValueError(f"test is a share of the objects between 0 and 1, got {test!r}.")
    codes = _object_codes(t, objects)
    seen = np.unique(codes[t])
    order = as_rng(rng).permutation(seen)
    return _apart(codes[t], order[: max(round(test * len(seen)), 1)])


def object_folds(
    triplets: Any, n_folds: int = 3, *, objects: Any = None, rng: int | np.random.Generator | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (train, test) indices of triplets; each fold tests on one part of the objects, see :func:`split_triplets`.

    Few folds leave more test triplets: with k folds a share of about 1 / k^3 of all triplets is tested in each.
    """
    t = check_triplets(triplets)
    check_positive_int("n_folds", n_folds, 2)
    codes = _object_codes(t, objects)
    parts = np.array_split(as_rng(rng).permutation(np.unique(codes[t])), n_folds)
    for part in parts:
        yield _apart(codes[t], part)


@dataclass(frozen=True, eq=False)
class Alignment:
    """Result of :func:`align_probe`.

    Parameters
    ----------
    table : DataFrame
        One row per fold: fold, n_train, n_test, before, after (odd-one-out accuracies on objects not trained on), lam.
    probe : AlignmentProbe
        Fitted to all triplets with the penalty that most folds chose.
    """

    table: pd.DataFrame
    probe: AlignmentProbe

    @property
    def before(self) -> float:
        """Mean accuracy without the probe."""
        return float(np.average(self.table["before"], weights=self.table["n_test"]))

    @property
    def after(self) -> float:
        """Mean accuracy with it."""
        return float(np.average(self.table["after"], weights=self.table["n_test"]))


def align_probe(
    F: Any,
    triplets: Any,
    *,
    lam: float | Sequence[float] = (1e-3, 1e-2, 1e-1, 1.0),
    n_folds: int = 3,
    objects: Any = None,
    rng: int | np.random.Generator | None = None,
    **settings: Any,
) -> Alignment:
    """Score the linear alignment of a representation on objects that it was not trained on.

    Parameters
    ----------
    F : array or tensor (n_items, n_features)
    triplets : int array (n_triplets, 3), odd one last
    lam : float or several
        Of several, the best on a further split by object inside the training triplets is taken; the test triplets
        never choose.
    n_folds : int
    objects : array (n_items,), optional
        See :func:`split_triplets`.
    rng : int or Generator, optional
    **settings
        Of :class:`AlignmentProbe`.
    """
    t = check_triplets(triplets, F.shape[0])
    rng = as_rng(rng)
    lams = list(lam) if isinstance(lam, Sequence) else [lam]
    similarity = settings.get("similarity", "cosine")
    rows = []
    for fold, (train, test) in enumerate(object_folds(t, n_folds, objects=objects, rng=rng)):
        best = lams[0]
        if len(lams) > 1:
            inner, held = split_triplets(t[train], 0.4, objects=objects, rng=rng)
            seed = int(rng.integers(2**31))
            scores = [
                AlignmentProbe(x, rng=seed, **settings).fit(F, t[train][inner]).score(F, t[train][held]) for x in lams
            ]
            best = lams[int(np.argmax(scores))]
        probe = AlignmentProbe(best, rng=int(rng.integers(2**31)), **settings).fit(F, t[train])
        before = odd_one_out_accuracy(F, t[test], similarity)
        row = {"fold": fold, "n_train": len(train), "n_test": len(test), "before": before}
        rows.append({**row, "after": probe.score(F, t[test]), "lam": best})
    table = pd.DataFrame(rows)
    chosen = float(table["lam"].mode().iloc[0])
    final = AlignmentProbe(chosen, rng=int(rng.integers(2**31)), **settings).fit(F, t)
    return Alignment(table, final)


def _object_codes(t: np.ndarray, objects: Any) -> np.ndarray:
    if objects is None:
        return np.arange(t.max() + 1)
    codes = np.unique(np.asarray(objects), return_inverse=True)[1].reshape(-1)
    if len(codes) <= t.max():
        raise ShapeMismatch(f"objects name {len(codes):,} items, the triplets go up to item {t.max():,}.")
    return codes


def _apart(codes: np.ndarray, tested: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inside = np.isin(codes, tested)
    train, test = np.flatnonzero(~inside.any(1)), np.flatnonzero(inside.all(1))
    if not len(train) or not len(test):
        raise EmptySelection(
            f"splitting by object leaves {len(train):,} train and {len(test):,} test triplets of {len(codes):,}: "
            "too few triplets for so many objects."
        )
    return train, test


def _moments(x: Any, standardise: str) -> tuple[Any, Any]:
    mean = x.mean(0)
    if standardise == "global":
        scale = ((x - mean) ** 2).mean().sqrt().expand(x.shape[1]).clone()
    else:
        scale = x.std(0, correction=0)
    scale[scale == 0] = 1.0
    return mean, scale


def _like(v: Any, x: Any) -> Any:
    if is_tensor(x):
        import torch

        return torch.as_tensor(v, dtype=x.dtype, device=x.device)
    return v.detach().cpu().numpy() if is_tensor(v) else v
