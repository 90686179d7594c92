r"""DemoVAE: synthetic brain data for a chosen age, sex or diagnosis, and data with those taken out.

An encoder x -> z and a decoder (z, d) -> x are trained so that z knows nothing of the demographics d and is white, N(0,
I) by construction of the loss rather than by sampling. With R(a, b) = sqrt(mean (a - b)^2):

    100 R(x, x_hat) + n R(cov z, I) + R(mean z, 0) + 10 sum_d R(corr(z, d), 0) + 1e-3 sum_d guidance_d

guidance_d: frozen linear models, fitted to real x once, must read d from data generated at drawn demographics. The sums
run over columns of d (a category of a categorical variable is a column), each once. The published covariance term
compares z'z with n I, which is n R(cov z, I) for z of mean 0; here the mean is taken out first and n is the nominal
batch size whatever the batch, so that neither a shifted z nor a small last batch changes what is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from neuro._check import check_option, check_positive_int
from neuro._provenance import provenance
from neuro.decoders._demographics import Demographics, GuidanceModels
from neuro.errors import ShapeMismatch, TrainingDiverged

__all__ = ["DemoVAE", "decorrelation_loss", "demovae_terms", "mean_loss", "rmse", "whiteness_loss"]

WEIGHTS = {"reconstruction": 100.0, "whiteness": 1000.0, "mean": 1.0, "decorrelation": 10.0, "guidance": 1e-3}
SCALES = ("none", "global")


def rmse(a: Tensor, b: Tensor | float = 0.0) -> Tensor:
    """Return sqrt(mean (a - b)^2), with a gradient of 0 where a equals b."""
    square = (a - b).square().mean()
    # The root has no slope at 0; there the gradient is 0 by choice, not NaN.
    return torch.where(square > 0, square.clamp_min(1e-30).sqrt(), square)


def whiteness_loss(z: Tensor) -> Tensor:
    """Return R(cov z, I) for z (n, k), the mean over rows taken out, covariance divided by n."""
    centred = z - z.mean(0)
    return rmse(centred.T @ centred / len(z), torch.eye(z.shape[1]).to(z))


def mean_loss(z: Tensor) -> Tensor:
    """Return R(mean z, 0)."""
    return rmse(z.mean(0))


def decorrelation_loss(z: Tensor, demographics: Tensor) -> Tensor:
    """Return the sum over columns d of R(corr(z, d), 0).

    Parameters
    ----------
    z : (n, k)
    demographics : (n, n_columns)
        A column that is constant in the batch has no correlation and adds 0.
    """
    a, d = z - z.mean(0), demographics - demographics.mean(0)
    a = a / a.norm(dim=0).clamp_min(1e-12)
    d = d / d.norm(dim=0).clamp_min(1e-12)
    return torch.stack([rmse(column) for column in (a.T @ d).T]).sum()


def demovae_terms(x: Tensor, x_hat: Tensor, z: Tensor, demographics: Tensor) -> dict[str, Tensor]:
    """Return the unweighted terms of the loss that concern data: x, x_hat (n, n_features), z (n, k), d (n, m)."""
    return {
        "reconstruction": rmse(x, x_hat),
        "whiteness": whiteness_loss(z),
        "mean": mean_loss(z),
        "decorrelation": decorrelation_loss(z, demographics),
    }


class DemoVAENetwork(nn.Module):
    """Encoder x -> width, ReLU -> n_latent; decoder [z; d] -> width, ReLU -> x."""

    def __init__(self, n_features: int, n_demographics: int, n_latent: int = 60, width: int = 1000):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(n_features, width), nn.ReLU(), nn.Linear(width, n_latent))
        self.decoder = nn.Sequential(
            nn.Linear(n_latent + n_demographics, width), nn.ReLU(), nn.Linear(width, n_features)
        )

    def decode(self, z: Tensor, demographics: Tensor) -> Tensor:
        """(n, n_latent), (n, n_demographics) -> (n, n_features)."""
        return self.decoder(torch.cat([z, demographics], 1))


class DemoVAE(BaseEstimator):
    """Demographic-conditioned autoencoder.

    Parameters
    ----------
    n_latent, width : int
        Sizes of z and of the two hidden layers.
    categorical : sequence of names, optional
        Variables that are categories though they are numbers; text and booleans always are.
    weights : mapping, optional
        Some of ``WEIGHTS``, to replace.
    scale : {"none", "global"}
        Divide data by nothing, as for connectivity, which is within -1 to 1, or by one number, their overall s.d. The
        mean of the training data is taken out in any case.
    n_generated : int
        Samples per step that guidance reads.
    n_epochs, batch_size : int
        The training set is divided into equal batches of at most ``batch_size``.
    learning_rate : float
        Of Adam.
    random_state : int
        Of weights, batches and samples.
    device : optional
        Where to compute.

    Attributes
    ----------
    network_ : DemoVAENetwork
    demographics_ : Demographics
        Names, means and s.d. or categories of the variables, and their reference: mean or commonest.
    guidance_ : GuidanceModels
        The frozen models; ``guidance_.read(x)`` reads demographics from data.
    history_ : list of dict
        Mean of each term, weighted, over the batches of each epoch.
    provenance_ : dict

    References
    ----------
    Orlichenko et al. (2025), IEEE Transactions on Biomedical Engineering 72, 1364-1374 (DemoVAE); arXiv:2405.07977.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> age = rng.uniform(20, 60, 200)
    >>> x = np.stack([age / 40, *rng.standard_normal((4, 200))], 1)
    >>> model = DemoVAE(n_latent=3, width=32, n_epochs=20, learning_rate=1e-2).fit(x, {"age": age})
    >>> model.sample({"age": 50.0}, 4).shape, model.latent(x).shape
    ((4, 5), (200, 3))
    """

    def __init__(
        self,
        n_latent: int = 60,
        width: int = 1000,
        *,
        categorical: Sequence[str] = (),
        weights: Mapping[str, float] | None = None,
        scale: str = "none",
        n_generated: int = 100,
        n_epochs: int = 3000,
        batch_size: int = 1000,
        learning_rate: float = 1e-4,
        random_state: int = 0,
        device: Any = None,
    ):
        self.n_latent = n_latent
        self.width = width
        self.categorical = categorical
        self.weights = weights
        self.scale = scale
        self.n_generated = n_generated
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.device = device

    def fit(self, x: Any, demographics: Any) -> DemoVAE:
        """Train.

        Parameters
        ----------
        x : array (n_people, n_features)
            Connectivity, volumes, betas...
        demographics : DataFrame or mapping of name -> values (n_people,)

        Raises
        ------
        ShapeMismatch
            If they are not of equally many people, or there are fewer than 4.
        ValueError
            If values are missing, or a variable has one value only.
        TrainingDiverged
            If the loss is no longer finite.
        """
        weights = {**WEIGHTS, **(self.weights or {})}
        for name in weights:
            check_option("weights", name, WEIGHTS)
        for name in ("n_latent", "width", "n_generated", "n_epochs"):
            check_positive_int(name, getattr(self, name))
        check_positive_int("batch_size", self.batch_size, 2)
        check_option("scale", self.scale, SCALES)
        x = _matrix(x)
        if len(x) < 4:
            raise ShapeMismatch(f"DemoVAE needs at least 4 people, got {len(x)}.")
        self.demographics_ = Demographics.fit(demographics, len(x), tuple(self.categorical))
        columns = self.demographics_.columns(demographics, len(x))
        self.mean_ = x.mean(0)
        sd = float((x - self.mean_).std()) if self.scale == "global" else 1.0
        if not sd > 0:
            raise ValueError("x must differ between people; every column is constant.")
        self.scale_ = sd
        scaled = (x - self.mean_) / sd
        self.guidance_ = GuidanceModels.fit(scaled, self.demographics_, columns, self.mean_, sd)
        device = torch.device("cpu" if self.device is None else self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            network = DemoVAENetwork(x.shape[1], columns.shape[1], self.n_latent, self.width)
        self.network_ = network.to(device)
        self.n_features_in_ = x.shape[1]
        self.provenance_ = provenance(device, self.random_state, n_people=len(x), weights=weights)
        data, given = (torch.as_tensor(a, dtype=torch.float32, device=device) for a in (scaled, columns))
        self.history_ = self._train(data, given, weights)
        self.network_.eval()
        return self

    def _train(self, x: Tensor, d: Tensor, weights: Mapping[str, float]) -> list[dict[str, float]]:
        optimizer = torch.optim.Adam(self.network_.parameters(), self.learning_rate)
        rng = np.random.default_rng([self.random_state, 1])
        draw = torch.Generator().manual_seed(self.random_state)
        n_batches = -(-len(x) // self.batch_size)
        history = []
        for epoch in range(self.n_epochs):
            sums = dict.fromkeys(weights, 0.0)
            for rows in np.array_split(rng.permutation(len(x)), n_batches):
                here = torch.from_numpy(rows).to(x.device)
                z = self.network_.encoder(x[here])
                terms = demovae_terms(x[here], self.network_.decode(z, d[here]), z, d[here])
                wanted = d[torch.from_numpy(rng.integers(0, len(x), self.n_generated)).to(x.device)]
                noise = torch.randn(self.n_generated, self.n_latent, generator=draw).to(x.device)
                terms["guidance"] = self.guidance_.loss(self.network_.decode(noise, wanted), wanted)
                weighted = {name: weights[name] * value for name, value in terms.items()}
                loss = torch.stack(list(weighted.values())).sum()
                if not torch.isfinite(loss):
                    bad = [k for k, v in weighted.items() if not torch.isfinite(v)] or ["their sum"]
                    raise TrainingDiverged(
                        f"loss became {loss.item()} in epoch {epoch} ({', '.join(bad)}). Lower learning_rate "
                        f"({self.learning_rate:g}), or use scale='global' if the data are large numbers."
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                for name, value in weighted.items():
                    sums[name] += value.item() / n_batches
            history.append(sums)
        return history

    def latent(self, x: Any) -> np.ndarray:
        """Return z (n, n_latent)."""
        return self._run(lambda x: self.network_.encoder(x), self._scaled(x))

    def reconstruct(self, x: Any, demographics: Any) -> np.ndarray:
        """Return x decoded at given demographics (each person's own, or one set for all), (n, n_features)."""
        scaled = self._scaled(x)
        d = self.demographics_.columns(demographics, len(scaled))
        return self._unscaled(self._run(lambda x, d: self.network_.decode(self.network_.encoder(x), d), scaled, d))

    def remove_confounds(self, x: Any, reference: Any = None) -> np.ndarray:
        """Return x as it would be if everybody had the reference demographics, (n, n_features).

        Parameters
        ----------
        x : array (n, n_features)
        reference : mapping of name -> value, optional
            By default the training mean of numbers and the commonest category.
        """
        return self.reconstruct(x, self.demographics_.reference if reference is None else reference)

    def sample(self, demographics: Any, n: int | None = None, random_state: int | None = None) -> np.ndarray:
        """Return synthetic data of people with given demographics.

        Parameters
        ----------
        demographics : mapping of name -> value, or table of m people
        n : int, optional
            Samples of each, by default 1: (m * n, n_features), those of a person together.
        random_state : int, optional
            By default the estimator's.
        """
        check_is_fitted(self)
        d = self.demographics_.columns(demographics)
        d = np.repeat(d, check_positive_int("n", 1 if n is None else n), axis=0)
        draw = torch.Generator().manual_seed(self.random_state if random_state is None else random_state)
        z = torch.randn(len(d), self.n_latent, generator=draw).numpy()
        return self._unscaled(self._run(lambda z, d: self.network_.decode(z, d), z, d))

    def _scaled(self, x: Any) -> np.ndarray:
        check_is_fitted(self)
        x = _matrix(x)
        if x.shape[1] != self.n_features_in_:
            raise ShapeMismatch(f"fitted to {self.n_features_in_} features, got {x.shape[1]}.")
        return (x - self.mean_) / self.scale_

    def _unscaled(self, x: np.ndarray) -> np.ndarray:
        return x * self.scale_ + self.mean_

    @torch.no_grad()
    def _run(self, function: Any, *arrays: np.ndarray) -> np.ndarray:
        device = next(self.network_.parameters()).device
        return function(*(torch.as_tensor(a, dtype=torch.float32, device=device) for a in arrays)).cpu().numpy()


def _matrix(x: Any) -> np.ndarray:
    x = np.asarray(x, dtype=float)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ShapeMismatch(f"x must be finite numbers (n_people, n_features), got shape {x.shape}.")
    return x
