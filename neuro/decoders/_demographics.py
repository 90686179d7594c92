"""Demographics as columns of numbers, and frozen linear models that read them from data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from neuro.errors import ShapeMismatch, nearest


@dataclass(frozen=True, eq=False)
class Demographics:
    """What the variables are.

    Attributes
    ----------
    names : tuple of str
    numbers : dict of name -> (mean, s.d.)
        Continuous variables; their column is standardised.
    categories : dict of name -> list of values
        Categorical variables; each value has a column, 1 or 0.
    reference : dict of name -> value
        The mean of numbers, the commonest category.
    """

    names: tuple[str, ...]
    numbers: dict[str, tuple[float, float]]
    categories: dict[str, list[Any]]
    reference: dict[str, Any]

    @classmethod
    def fit(cls, table: Any, n: int, categorical: tuple[str, ...] = ()) -> Demographics:
        """Learn the variables of ``n`` people."""
        frame = _frame(table, n)
        for name in categorical:
            if name not in frame:
                raise ValueError(f"no demographic variable {name!r}{nearest(name, frame.columns)}")
        if not len(frame.columns):
            raise ShapeMismatch("at least one demographic variable is needed.")
        numbers, categories, reference = {}, {}, {}
        for name, values in frame.items():
            if values.nunique() < 2:
                raise ValueError(f"demographic variable {name!r} has one value only, {values.iloc[0]!r}: leave it out.")
            if name in categorical or values.dtype.kind not in "fiu":
                categories[name] = sorted(v.item() if isinstance(v, np.generic) else v for v in values.unique())
                counts = values.value_counts()
                reference[name] = min(counts.index[counts == counts.max()].tolist())
            else:
                numbers[name] = (float(values.mean()), float(values.std(ddof=0)))
                reference[name] = numbers[name][0]
        return cls(tuple(frame.columns), numbers, categories, reference)

    @property
    def slices(self) -> dict[str, slice]:
        """Where the columns of each variable are."""
        out, start = {}, 0
        for name in self.names:
            width = len(self.categories[name]) if name in self.categories else 1
            out[name] = slice(start, start + width)
            start += width
        return out

    def columns(self, table: Any, n: int | None = None) -> np.ndarray:
        """Return columns (n, n_columns); single values stand for everybody."""
        frame = _frame(table, n)
        missing = [name for name in self.names if name not in frame]
        if missing:
            raise ValueError(f"demographics lack {', '.join(missing)}; fitted were {', '.join(self.names)}.")
        parts = []
        for name in self.names:
            values = frame[name]
            if name in self.categories:
                known = self.categories[name]
                unknown = set(values.tolist()) - set(known)
                if unknown:
                    first = sorted(unknown, key=str)[0]
                    raise ValueError(f"{name} {first!r} was not among the people fitted; there were {known}.")
                parts.append(np.stack([(values == c).to_numpy(float) for c in known], 1))
            else:
                mean, sd = self.numbers[name]
                parts.append(((values.to_numpy(float) - mean) / sd)[:, None])
        return np.concatenate(parts, 1)


@dataclass(frozen=True, eq=False)
class GuidanceModels:
    """Ridge regression (alpha 100) for numbers, logistic regression (C 100) for categories, fitted once to real data.

    Attributes
    ----------
    models : dict of name -> (weights (n_columns, n_features), intercept (n_columns,))
    """

    demographics: Demographics
    models: dict[str, tuple[Tensor, Tensor]]
    mean: np.ndarray
    scale: float

    @classmethod
    def fit(
        cls, x: np.ndarray, demographics: Demographics, columns: np.ndarray, mean: np.ndarray, scale: float
    ) -> GuidanceModels:
        """Fit to scaled data and their columns; ``mean`` and ``scale`` are of the scaling."""
        from sklearn.linear_model import LogisticRegression, Ridge

        models = {}
        for name, where in demographics.slices.items():
            if name in demographics.numbers:
                model = Ridge(alpha=100.0).fit(x, columns[:, where])
            else:
                model = LogisticRegression(C=100.0, max_iter=2000).fit(x, columns[:, where].argmax(1))
            weights, intercept = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
            if len(weights) < where.stop - where.start:  # two categories: one row of weights, of the second
                weights, intercept = np.concatenate([-weights, weights]) / 2, np.array([-0.5, 0.5]) * intercept
            models[name] = (torch.as_tensor(weights).float(), torch.as_tensor(intercept).float())
        return cls(demographics, models, mean, scale)

    def loss(self, x: Tensor, wanted: Tensor) -> Tensor:
        """Return the sum over variables of RMSE (numbers) or cross-entropy (categories); x scaled, (n, n_features)."""
        losses = []
        for name, (weights, intercept) in self.models.items():
            said = x @ weights.to(x).T + intercept.to(x)
            truth = wanted[:, self.demographics.slices[name]]
            if name in self.demographics.numbers:
                losses.append((said - truth).square().mean().sqrt())
            else:
                losses.append(F.cross_entropy(said, truth.argmax(1)))
        return torch.stack(losses).sum()

    def read(self, x: Any) -> pd.DataFrame:
        """Return what the frozen models take people's demographics to be, from data (n, n_features)."""
        scaled = (np.asarray(x, dtype=float) - self.mean) / self.scale
        out = {}
        for name, (weights, intercept) in self.models.items():
            said = scaled @ weights.double().numpy().T + intercept.double().numpy()
            if name in self.demographics.numbers:
                mean, sd = self.demographics.numbers[name]
                out[name] = said[:, 0] * sd + mean
            else:
                out[name] = np.array(self.demographics.categories[name])[said.argmax(1)]
        return pd.DataFrame(out)


def _frame(table: Any, n: int | None) -> pd.DataFrame:
    if isinstance(table, Mapping) and not isinstance(table, pd.DataFrame):
        lengths = {len(v) for v in table.values() if np.ndim(v) == 1}
        if len(lengths) > 1:
            raise ShapeMismatch(f"demographic variables must be of equally many people, got {sorted(lengths)}.")
        rows = lengths.pop() if lengths else (n or 1)
        table = {k: list(v) if np.ndim(v) == 1 else [v] * rows for k, v in table.items()}
    frame = pd.DataFrame(table).reset_index(drop=True)
    if n is not None and len(frame) != n:
        raise ShapeMismatch(f"demographics describe {len(frame)} people, the data {n}.")
    if bool(frame.isna().any(axis=None)):
        worst = frame.isna().sum().idxmax()
        raise ValueError(f"demographics are missing for some people (most in {worst!r}): leave those people out.")
    return frame
