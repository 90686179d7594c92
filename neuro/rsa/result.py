"""How good are the models, how sure is that, and which differ?

Scores, both noise ceilings and all their resamples are kept together, so that any contrast L of them has a variance,

    t = L s / sqrt(v(L)),    v from subjects, a bootstrap times n / (n - 1), or the dual formula,

and model against model, model against ceiling and ceiling against zero are one computation.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import check_option
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa._contrasts import draw_p, project, ratio, root, sample_variance, wilcoxon
from neuro.rsa._resample import dual_variance
from neuro.rsa.ceiling import Ceiling
from neuro.stats.multiple import fdr

CORRECTIONS = (None, "fdr", "bonferroni", "max")


@dataclass(frozen=True, eq=False)
class Result:
    """Evaluation of models by :func:`neuro.rsa.evaluate`; immutable.

    Parameters
    ----------
    models : tuple of str
    scores : array (n_models,)
        Mean similarity to the subjects' RDMs on all data, cross-validated if ``cv`` says so.
    scores_by_subject : array (n_models, n_subjects)
    ceiling : Ceiling
    samples : dict of str -> array (n_boot, n_repeats, n_models + 2)
        Scores, lower and upper ceiling of every resample: "subject", "stimulus", "both", all three for a dual
        bootstrap; without resampling "jackknife", each subject left out in turn (from three subjects on, not for
        cross-validation). NaN where a draw had too few distinct stimuli or subjects.
    method, resample, cv : str, str or None, dict or None
    n_subjects, n_stimuli : int
        Units that could be resampled.
    nonnegative : bool
        All dissimilarities of data and models are >= 0, so that a cosine cannot be negative.
    seed : int or None
    """

    models: tuple[str, ...]
    scores: np.ndarray
    scores_by_subject: np.ndarray
    ceiling: Ceiling
    samples: Mapping[str, np.ndarray]
    method: str
    resample: str | None
    cv: Mapping[str, Any] | None
    n_subjects: int
    n_stimuli: int
    nonnegative: bool = False
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("scores", "scores_by_subject"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))
        object.__setattr__(self, "models", tuple(str(m) for m in self.models))
        object.__setattr__(self, "samples", {k: _frozen(v) for k, v in self.samples.items()})
        if self.scores_by_subject.shape != (len(self.models), self.n_subjects):
            raise ShapeMismatch(
                f"scores must be ({len(self.models)}, {self.n_subjects}), got {self.scores_by_subject.shape}."
            )

    # Estimates and their covariance

    @property
    def estimates(self) -> np.ndarray:
        """Scores, lower and upper ceiling on all data, (n_models + 2,)."""
        return np.concatenate([self.scores, [self.ceiling.lower, self.ceiling.upper]])

    @property
    def evaluations(self) -> np.ndarray:
        """Scores of every resample, averaged over repeats of the cross-validation, (n_boot, n_models).

        Without resampling: of every subject, (n_subjects, n_models).
        """
        if self.resample is None:
            return self.scores_by_subject.T.copy()
        return self.samples[self._main].mean(1)[:, : len(self.models)]

    @property
    def dof(self) -> int:
        """Degrees of freedom: units - 1, of the scarcer unit where both were resampled."""
        if self.resample in (None, "subject"):
            return self.n_subjects - 1
        return (self.n_stimuli if self.resample == "stimulus" else min(self.n_subjects, self.n_stimuli)) - 1

    def variance(self, contrasts: Any = None) -> np.ndarray:
        """Sampling variance of contrasts (n_contrasts, n_models + 2) of scores, lower and upper ceiling.

        By default of each of them. Without resampling it is the jackknife over subjects: for scores just the variance
        over subjects / n_subjects; bounds of different subjects share data, which that formula would overlook.
        """
        contrasts = np.eye(len(self.estimates)) if contrasts is None else np.atleast_2d(np.asarray(contrasts, float))
        if self.resample is None:
            if self.n_subjects < 2:
                raise EmptySelection("one subject and no resampling leave no estimate of variability.")
            if "jackknife" in self.samples:
                left_out = project(self.samples["jackknife"][:, 0], contrasts)
                return left_out.var(0) * (self.n_subjects - 1)
            by_subject = np.vstack(
                [self.scores_by_subject, self.ceiling.lower_by_subject, self.ceiling.upper_by_subject]
            )
            return project(by_subject.T, contrasts).var(0, ddof=1) / self.n_subjects
        raw = {k: sample_variance(x, contrasts) for k, x in self.samples.items()}
        if self.resample == "dual":
            return dual_variance(raw["both"], raw["subject"], raw["stimulus"], self.n_subjects, self.n_stimuli)
        n = self.dof + 1
        return raw[self._main] * n / (n - 1)

    @property
    def covariance(self) -> np.ndarray:
        """Joint covariance of scores, lower and upper ceiling, (n_models + 2, n_models + 2)."""
        k = len(self.estimates)
        i, j = np.triu_indices(k, 1)
        differences = np.eye(k)[i] - np.eye(k)[j]
        v = self.variance()
        out = np.diag(v)
        out[i, j] = out[j, i] = (v[i] + v[j] - self.variance(differences)) / 2 if len(i) else 0.0
        return out

    @property
    def sem(self) -> np.ndarray:
        """Standard error of each score, (n_models,).

        NaN where too few resamples left a negative variance after the folds' share was taken off.
        """
        return root(self.variance()[: len(self.models)])

    def ci(self, level: float = 0.95, kind: str = "t") -> np.ndarray:
        """Confidence intervals (n_models, 2).

        Parameters
        ----------
        level : float
        kind : "t" or "percentile"
            score +- t_dof sem, or quantiles of the resamples, whose spread is corrected for the number of units.
        """
        check_option("kind", kind, ["t", "percentile"])
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {level!r}.")
        m = len(self.models)
        if kind == "t":
            from scipy.stats import t

            half = t.ppf(0.5 + level / 2, self.dof) * self.sem
            return np.stack([self.scores - half, self.scores + half], 1)
        draws = self._corrected_draws(np.eye(len(self.estimates))[:m])
        return np.nanquantile(draws, [0.5 - level / 2, 0.5 + level / 2], axis=0).T

    # Tests

    def test_zero(self, test: str = "t", alternative: str = "greater", correction: str | None = None) -> pd.DataFrame:
        """Is each score above 0? One row per model.

        ``test`` is "t"; "bootstrap", p = (count + 1) / (n_boot + 1) of resamples centred on the estimate, with the
        corrected variance and the tails of t; or "wilcoxon" over subjects. ``correction`` None, "fdr", "bonferroni" or
        "max" (the largest statistic in each resample) adds a column ``p_corrected``.

        A cosine of non-negative RDMs is positive whatever the model: use :func:`neuro.rsa.permutation_test`.
        """
        if not self._zero_means_something:
            warnings.warn(
                f"{self.method} of such dissimilarities is above 0 for any model, so that this test says "
                "nothing; use permutation_test, or corr / corr_cov.",
                stacklevel=2,
            )
        m = len(self.models)
        rows = pd.DataFrame({"model": self.models})
        return self._test(rows, np.eye(m + 2)[:m], self.scores_by_subject, test, alternative, correction)

    def test_pairs(
        self, test: str = "t", alternative: str = "two-sided", correction: str | None = None
    ) -> pd.DataFrame:
        """Which models differ? One row per pair of models."""
        m = len(self.models)
        i, j = np.triu_indices(m, 1)
        rows = pd.DataFrame({"model_a": np.array(self.models, object)[i], "model_b": np.array(self.models, object)[j]})
        contrasts = np.eye(m + 2)[i] - np.eye(m + 2)[j]
        by_subject = self.scores_by_subject[i] - self.scores_by_subject[j]
        return self._test(rows, contrasts, by_subject, test, alternative, correction)

    def test_ceiling(
        self, bound: str = "lower", test: str = "t", alternative: str = "two-sided", correction: str | None = None
    ) -> pd.DataFrame:
        """Does each model differ from a noise ceiling? One row per model; differences are model - ceiling."""
        check_option("bound", bound, ["lower", "upper"])
        m = len(self.models)
        contrasts = np.eye(m + 2)[:m] - np.eye(m + 2)[m + (bound == "upper")]
        ceiling = self.ceiling.upper_by_subject if bound == "upper" else self.ceiling.lower_by_subject
        rows = pd.DataFrame({"model": self.models, "bound": bound})
        return self._test(rows, contrasts, self.scores_by_subject - ceiling, test, alternative, correction)

    def test_ceiling_zero(self, test: str = "t", alternative: str = "greater") -> pd.DataFrame:
        """Are the noise ceilings above 0, so that subjects share anything at all? Two rows."""
        m = len(self.models)
        by_subject = np.stack([self.ceiling.lower_by_subject, self.ceiling.upper_by_subject])
        return self._test(pd.DataFrame({"bound": ["lower", "upper"]}), np.eye(m + 2)[m:], by_subject, test, alternative)

    def _test(
        self,
        rows: pd.DataFrame,
        contrasts: np.ndarray,
        by_subject: np.ndarray,
        test: str,
        alternative: str,
        correction: str | None = None,
    ) -> pd.DataFrame:
        check_option("test", test, ["t", "bootstrap", "wilcoxon"])
        check_option("alternative", alternative, ["greater", "less", "two-sided"])
        check_option("correction", correction, CORRECTIONS)
        if not len(contrasts):
            return rows.assign(difference=[], statistic=[], dof=[], p=[])
        difference = np.array([c[c != 0] @ self.estimates[c != 0] for c in contrasts])
        if test == "wilcoxon":
            statistic, p = wilcoxon(by_subject, alternative)
        else:
            se = root(self.variance(contrasts))
            statistic = np.where(difference == 0, 0.0, ratio(difference, se))
            p = self._t_p(statistic, alternative)
            if test == "bootstrap":
                p = draw_p(self._corrected_draws(contrasts), alternative)
        out = rows.assign(difference=difference, statistic=statistic, dof=self.dof, p=p, test=test)
        if correction == "max":
            out["p_corrected"] = self._max_p(contrasts, statistic, alternative)
        elif correction == "fdr":
            out["p_corrected"] = fdr(p)
        elif correction == "bonferroni":
            out["p_corrected"] = np.minimum(p * np.isfinite(p).sum(), 1.0)
        return out

    def _t_p(self, statistic: np.ndarray, alternative: str) -> np.ndarray:
        from scipy.stats import t

        if self.dof < 1:
            return np.full(len(statistic), np.nan)
        one = t.sf(statistic, self.dof)
        return {"greater": one, "less": 1 - one, "two-sided": 2 * t.sf(np.abs(statistic), self.dof)}[alternative]

    def _corrected_draws(self, contrasts: np.ndarray) -> np.ndarray:
        """Resampled contrasts with the spread that tests assume, (n_boot, n_contrasts).

        Centred on the estimate, with the corrected standard error, and stretched so that normal draws become draws of
        t with the degrees of freedom of the variance: counting them then keeps its level with few subjects.
        """
        centre = np.array([c[c != 0] @ self.estimates[c != 0] for c in contrasts])
        return centre + np.nan_to_num(root(self.variance(contrasts))) * self._studentised(contrasts)

    def _studentised(self, contrasts: np.ndarray) -> np.ndarray:
        from scipy.stats import norm, t

        if self.resample is None:
            raise ValueError("this needs resamples; evaluate with resample='subject', 'stimulus', 'both' or 'dual'.")
        draws = project(self.samples[self._main].mean(1), contrasts)
        known = np.isfinite(draws)
        many = known.sum(0) > 1
        mean, sd = np.zeros(len(contrasts)), np.zeros(len(contrasts))
        mean[many] = np.nanmean(draws[:, many], axis=0)
        sd[many] = np.nanstd(draws[:, many], axis=0, ddof=1)
        z = np.divide(draws - mean, sd, out=np.zeros_like(draws), where=sd > 0)
        return np.where(known, -np.sign(z) * t.ppf(norm.cdf(-np.abs(z)), self.dof), np.nan)

    def _max_p(self, contrasts: np.ndarray, statistic: np.ndarray, alternative: str) -> np.ndarray:
        """Adjusted p from the largest studentised deviation over all contrasts in each resample."""
        z = self._studentised(contrasts)
        sign = {"greater": z, "less": -z, "two-sided": np.abs(z)}[alternative]
        observed = {"greater": statistic, "less": -statistic, "two-sided": np.abs(statistic)}[alternative]
        largest = np.max(sign[np.isfinite(sign).all(1)], axis=1)
        p = (1 + (largest[:, None] >= observed).sum(0)) / (1 + len(largest))
        return np.where(np.isfinite(observed), p, np.nan)

    # Reports

    def effect_sizes(self) -> pd.DataFrame:
        """Cohen's d over subjects, distances from both ceilings, and the share of the ceilings reached.

        A share above 1 of the lower bound is marked: the model is at least as good as the data can show.
        """
        lower, upper = self.ceiling.lower, self.ceiling.upper
        many = self.n_subjects > 1
        sd = self.scores_by_subject.std(1, ddof=1) if many else np.full(len(self.models), np.nan)
        mean = self.scores_by_subject.mean(1)
        return pd.DataFrame(
            {
                "model": self.models,
                "score": self.scores,
                "cohens_d": ratio(mean, sd),
                "below_lower_ceiling": lower - self.scores,
                "below_upper_ceiling": upper - self.scores,
                "share_of_lower_ceiling": ratio(self.scores, np.full(len(self.scores), lower)),
                "share_of_upper_ceiling": ratio(self.scores, np.full(len(self.scores), upper)),
                "above_lower_ceiling": self.scores > lower,
            }
        )

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Return one tidy row per model: score, standard error, interval, p and ceilings."""
        out = pd.DataFrame({"model": self.models, "method": self.method, "score": self.scores})
        blank = np.full(len(self.models), np.nan)
        known = self._has_variance
        low, high = self.ci(level).T if known else (blank, blank)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            zero = self.test_zero()["p"].to_numpy() if known else blank
            ceiling = self.test_ceiling()["p"].to_numpy() if known else blank
        return out.assign(
            sem=self.sem if known else blank,
            ci_low=low,
            ci_high=high,
            p_zero=zero if self._zero_means_something else blank,
            p_lower_ceiling=ceiling,
            lower_ceiling=self.ceiling.lower,
            upper_ceiling=self.ceiling.upper,
            dof=self.dof,
            n_subjects=self.n_subjects,
            n_stimuli=self.n_stimuli,
            resample=self.resample or "none",
        )

    def summary(self) -> str:
        """Return a short table in words."""
        how = {None: "no resampling", "dual": "dual bootstrap over subjects and stimuli"}.get(
            self.resample, f"bootstrap over {self.resample}"
        )
        if self.cv:
            how += f", cross-validated over {self.cv['over']}"
        lines = [f"{self.method}, {self.n_subjects} subjects, {self.n_stimuli} stimuli; {how}"]
        reason = f" ({self.ceiling.reason})" if self.ceiling.reason else ""
        lines.append(f"noise ceiling {self.ceiling.lower:.3f} to {self.ceiling.upper:.3f}{reason}")
        width = max(len(m) for m in self.models)
        for row in self.to_frame().sort_values("score", ascending=False).itertuples():
            p = f"  p = {row.p_zero:.2g}" if np.isfinite(row.p_zero) else ""
            lines.append(f"{row.model:<{width}}  {row.score:6.3f}  [{row.ci_low:.3f}, {row.ci_high:.3f}]{p}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"Result({len(self.models)} models; {self.method}; {self.n_subjects} subjects; resample={self.resample!r})"
        )

    # Files

    def save(self, path: str | Path) -> None:
        """Write a folder: ``result.json``, ``scores.tsv`` and ``samples.tsv``, atomically."""
        from neuro.rsa._result_files import save

        save(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read what :meth:`save` wrote."""
        from neuro.rsa._result_files import load

        return cls(**load(path))

    # Inside

    @property
    def _main(self) -> str:
        return "both" if self.resample == "dual" else str(self.resample)

    @property
    def _zero_means_something(self) -> bool:
        positive = ("bures", "cka_biased", "neg_riem_dist")
        return self.method not in positive and not (self.method in ("cosine", "cosine_cov") and self.nonnegative)

    @property
    def _has_variance(self) -> bool:
        return self.resample is not None or self.n_subjects > 1


def _frozen(x: Any) -> np.ndarray:
    out = np.array(x, float)
    out.flags.writeable = False
    return out
