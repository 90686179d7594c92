"""Does a representation find the same thing odd as people do, and at which level of abstraction?

A triplet (i, j, k) names the odd one last. A representation agrees if s_ij strictly exceeds s_ik and s_jk; ties are
wrong, so a constant representation scores 0, a random one 1/3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import as_rng, check_option, check_positive_int, is_tensor
from neuro.errors import EmptySelection, NoRepeats, ShapeMismatch
from neuro.rsa.container import RDMs

CHUNK = 2**20  # numbers gathered at once
LEVELS = ("global_coarse", "local_fine", "class_boundary")


def check_triplets(triplets: Any, n: int | None = None) -> np.ndarray:
    """Return triplets as integers (n_triplets, 3) of three different items each, below ``n`` if given."""
    t = triplets.detach().cpu().numpy() if is_tensor(triplets) else np.asarray(triplets)
    if t.ndim != 2 or t.shape[1] != 3 or t.dtype.kind not in "iu":
        raise ShapeMismatch(f"triplets are whole numbers (n_triplets, 3), got {t.dtype} {t.shape}.")
    if not len(t):
        raise EmptySelection("no triplet is given.")
    if t.min() < 0 or (n is not None and t.max() >= n):
        raise ShapeMismatch(f"triplets name items {t.min()} to {t.max()}, there are {n}.")
    same = (t[:, 0] == t[:, 1]) | (t[:, 0] == t[:, 2]) | (t[:, 1] == t[:, 2])
    if same.any():
        raise ValueError(f"{int(same.sum()):,} of {len(t):,} triplets name an item twice.")
    return t.astype(np.int64)


def triplet_similarities(X: Any, triplets: Any, similarity: str = "cosine") -> Any:
    """Return the similarities (s_ij, s_ik, s_jk) of every triplet, (n_triplets, 3).

    Parameters
    ----------
    X : array or tensor (n_items, n_features), or RDMs with one RDM
        A representation, or dissimilarities, whose negative is the similarity.
    triplets : int array (n_triplets, 3)
    similarity : "cosine" or "dot"
        Not used for :class:`~neuro.rsa.RDMs`.
    """
    check_option("similarity", similarity, ["cosine", "dot"])
    if isinstance(X, RDMs):
        if X.n_rdms != 1:
            raise ShapeMismatch(f"one RDM is needed, got {X.n_rdms}; select one or average.")
        t, square = check_triplets(triplets, X.n_conditions), X.matrices[0]
        pairs = [square[t[:, a], t[:, b]] for a, b in ((0, 1), (0, 2), (1, 2))]
        return -_stack(pairs)
    if not is_tensor(X):
        X = np.asarray(X)
        X = X if X.dtype.kind == "f" else X.astype(float)
    if X.ndim != 2:
        raise ShapeMismatch(f"a representation is (n_items, n_features), got {tuple(X.shape)}.")
    t = check_triplets(triplets, X.shape[0])
    if similarity == "cosine":
        norm = (X**2).sum(1, keepdims=True) ** 0.5
        X = X / (norm + (norm == 0))
    parts = []
    step = max(CHUNK // max(int(X.shape[1]), 1), 1)
    for start in range(0, len(t), step):
        a, b, c = (X[t[start : start + step, k]] for k in range(3))
        parts.append(_stack([(a * b).sum(1), (a * c).sum(1), (b * c).sum(1)]))
    if is_tensor(X):
        import torch

        return torch.cat(parts)
    return np.concatenate(parts)


def odd_one_out(X: Any, triplets: Any, similarity: str = "cosine") -> np.ndarray:
    """Return which of the three items is odd to a representation, (n_triplets,): 0, 1, 2, or -1 for a tie.

    The odd one is what is left of the most similar pair; see :func:`triplet_similarities` for the parameters.
    """
    s = _numpy(triplet_similarities(X, triplets, similarity))
    odd = np.array([2, 1, 0])[s.argmax(1)]
    odd[(s == s.max(1, keepdims=True)).sum(1) != 1] = -1
    return odd


def odd_one_out_accuracy(X: Any, triplets: Any, similarity: str = "cosine", *, per_triplet: bool = False) -> Any:
    """Return the share of triplets (odd one last) in which a representation agrees; ties count as wrong.

    Parameters
    ----------
    X, triplets, similarity
        See :func:`triplet_similarities`.
    per_triplet : bool
        Return booleans (n_triplets,) instead.

    References
    ----------
    Hebart et al. (2020), Nature Human Behaviour 4, 1173-1185. Muttenthaler et al. (2023), ICLR.

    Examples
    --------
    >>> odd_one_out_accuracy(np.array([[1.0, 0], [1, 0.1], [0, 1]]), [[0, 1, 2], [0, 2, 1]])
    0.5
    """
    s = _numpy(triplet_similarities(X, triplets, similarity))
    right = (s[:, 0] > s[:, 1]) & (s[:, 0] > s[:, 2])
    return right if per_triplet else float(right.mean())


def choice_probabilities(X: Any, triplets: Any, similarity: str = "cosine", temperature: float = 1.0) -> Any:
    """Return the probability that the third, second and first item is odd: softmax of (s_ij, s_ik, s_jk) / temperature.

    (n_triplets, 3), in the order of the pairs; column 0 is the probability of the choice that the triplet states.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature!r}.")
    s = triplet_similarities(X, triplets, similarity) / temperature
    if is_tensor(s):
        return s.softmax(1)
    e = np.exp(s - s.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def choice_entropy(probabilities: Any) -> Any:
    """Return the entropy of choices in nats, (n_triplets,): 0 if certain, log 3 = 1.0986 if all three are alike."""
    p = probabilities
    if is_tensor(p):
        import torch

        return -torch.special.xlogy(p, p).sum(1)
    p = np.asarray(p, float)
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0).sum(1)


# Repeats of a triplet


def response_counts(triplets: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct sets (n_sets, 3), ascending items, and how often each was odd, (n_sets, 3).

    Examples
    --------
    >>> sets, counts = response_counts([[0, 1, 2], [1, 0, 2], [2, 1, 0]])
    >>> sets, counts
    (array([[0, 1, 2]]), array([[1, 0, 2]]))
    """
    t = check_triplets(triplets)
    ordered = np.sort(t, axis=1)
    sets, which = np.unique(ordered, axis=0, return_inverse=True)
    which = which.reshape(-1)
    position = (sets[which] == t[:, 2:]).argmax(1)
    counts = np.zeros((len(sets), 3), int)
    np.add.at(counts, (which, position), 1)
    return sets, counts


def agreement_ceiling(triplets: Any, *, leave_one_out: bool = False) -> float:
    """Return how well anything can do on triplets with repeated answers: the mean over sets of the majority's share.

    Parameters
    ----------
    triplets : int array (n_responses, 3), odd one last
        Sets with one answer are left out.
    leave_one_out : bool
        The mean agreement of each answer with the majority of the *other* answers (ties share), which unlike the
        majority's share is not inflated when sets have few answers.

    Raises
    ------
    NoRepeats
        If no set was answered twice.
    """
    counts = response_counts(triplets)[1].astype(float)
    total = counts.sum(1)
    counts, total = counts[total > 1], total[total > 1]
    if not len(counts):
        raise NoRepeats("no triplet was answered twice, so agreement is not known.")
    if not leave_one_out:
        return float((counts.max(1) / total).mean())
    agree = np.zeros(len(counts))
    for k in range(3):
        others = counts.copy()
        others[:, k] -= 1
        best = others == others.max(1, keepdims=True)
        agree += np.where(counts[:, k] > 0, counts[:, k] / total * best[:, k] / best.sum(1), 0.0)
    return float(agree.mean())


def response_entropy(triplets: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return sets (n_sets, 3) answered more than once and the entropy of the answers in nats, (n_sets,)."""
    sets, counts = response_counts(triplets)
    keep = counts.sum(1) > 1
    if not keep.any():
        raise NoRepeats("no triplet was answered twice, so the uncertainty of answers is not known.")
    counts = counts[keep]
    return sets[keep], choice_entropy(counts / counts.sum(1, keepdims=True))


def error_consistency(correct_a: Any, correct_b: Any) -> float:
    """Return Cohen's kappa of who is right where: 0 if errors coincide as often as by chance, 1 if always.

    Parameters
    ----------
    correct_a, correct_b : boolean arrays (n_items,)

    Returns
    -------
    float
        (c_obs - c_exp) / (1 - c_exp), c_exp = p_a p_b + (1 - p_a)(1 - p_b); NaN if both are always right or always
        wrong.

    References
    ----------
    Geirhos, Meding & Wichmann (2020), NeurIPS 33.
    """
    a, b = np.asarray(correct_a), np.asarray(correct_b)
    if a.shape != b.shape or a.ndim != 1 or not a.size:
        raise ShapeMismatch(f"error consistency needs two vectors over the same items, got {a.shape} and {b.shape}.")
    for x in (a, b):
        if not np.isin(x, [0, 1]).all():
            raise ValueError("correct_a and correct_b are boolean: right or wrong.")
    observed = float((a == b).mean())
    p, q = float(a.mean()), float(b.mean())
    expected = p * q + (1 - p) * (1 - q)
    return (observed - expected) / (1 - expected) if expected < 1 else float("nan")


# Levels of abstraction


def triplet_levels(triplets: Any, tree: Any) -> np.ndarray:
    """Return the level of abstraction that each triplet asks about, (n_triplets,) str, "" for none.

    "global_coarse": three superordinate categories. "local_fine": three items of one category. "class_boundary": two
    items of one category and one of another.

    Parameters
    ----------
    triplets : int array (n_triplets, 3)
    tree : array or DataFrame (n_items, n_depths), or mapping item -> path
        Labels of each item from the coarsest category to the finest; one column is both. The same label below two
        different categories is two categories.

    References
    ----------
    Muttenthaler et al. (2025), Aligning machine and human visual representations across abstraction levels, Nature.
    """
    coarse, fine = _tree_codes(tree)
    t = check_triplets(triplets, len(coarse))
    different = [_n_distinct(codes[t]) for codes in (coarse, fine)]
    level = np.full(len(t), "", dtype="<U14")
    level[different[1] == 2] = "class_boundary"
    level[different[0] == 3] = "global_coarse"
    level[different[1] == 1] = "local_fine"
    return level


def sample_triplets(
    tree: Any, level: str, n_triplets: int, *, rng: int | np.random.Generator | None = None
) -> np.ndarray:
    """Return distinct random sets of items of one level, (n_triplets, 3), for asking people or models.

    For "class_boundary" the item of the other category stands last; elsewhere no answer is implied.
    """
    check_option("level", level, LEVELS)
    check_positive_int("n_triplets", n_triplets)
    rng = as_rng(rng)
    coarse, fine = _tree_codes(tree)
    codes = coarse if level == "global_coarse" else fine
    members = [np.flatnonzero(codes == c) for c in range(codes.max() + 1)]
    needed = {"global_coarse": 1, "local_fine": 3, "class_boundary": 2}[level]
    homes = [m for m in members if len(m) >= needed]
    if not homes or (needed == 1 and len(homes) < 3) or (needed == 2 and len(members) < 2):
        raise EmptySelection(f"the tree has no triplet of level {level!r}.")
    found: dict[tuple[int, ...], np.ndarray] = {}
    ways = {1: lambda m: 1.0, 2: lambda m: len(m) * (len(m) - 1), 3: lambda m: len(m) * (len(m) - 1) * (len(m) - 2)}
    weights = np.array([ways[needed](m) for m in homes], float)
    weights /= weights.sum()
    misses = 0
    while len(found) < n_triplets and misses < 1000 + 100 * n_triplets:
        if level == "global_coarse":
            three = [int(rng.choice(homes[h])) for h in rng.choice(len(homes), 3, replace=False)]
        else:
            home = homes[rng.choice(len(homes), p=weights)]
            three = [int(x) for x in rng.choice(home, needed, replace=False)]
            if level == "class_boundary":
                three.append(int(rng.choice(np.flatnonzero(codes != codes[home[0]]))))
        key = tuple(sorted(three))
        if key in found:
            misses += 1
        found.setdefault(key, np.array(three))
    if len(found) < n_triplets:
        raise EmptySelection(f"only {len(found):,} different triplets of level {level!r} were found.")
    return np.stack(list(found.values()))


def level_report(
    X: Any, triplets: Any, tree: Any, similarity: str = "cosine", *, temperature: float = 1.0
) -> pd.DataFrame:
    """Return one row per level of abstraction: agreement with the answers, and whether uncertainty agrees.

    Parameters
    ----------
    X, similarity
        See :func:`triplet_similarities`.
    triplets : int array (n_responses, 3), odd one last
        Repeated sets give the ceiling and the uncertainty of people.
    tree
        See :func:`triplet_levels`.
    temperature : float
        Of the model's choice probabilities.

    Returns
    -------
    DataFrame
        level, n_responses, accuracy, ceiling (:func:`agreement_ceiling`), entropy (mean, nats, of the model's choices),
        entropy_rho (Spearman correlation over sets of the entropies of model and people). NaN where repeats are
        missing or constant.
    """
    t = check_triplets(triplets)
    level = triplet_levels(t, tree)
    right = odd_one_out_accuracy(X, t, similarity, per_triplet=True)
    rows = []
    for name in LEVELS:
        here = level == name
        row: dict[str, Any] = {"level": name, "n_responses": int(here.sum())}
        if here.any():
            row["accuracy"] = float(right[here].mean())
            row["entropy"] = float(
                _numpy(choice_entropy(choice_probabilities(X, t[here], similarity, temperature))).mean()
            )
            try:
                row["ceiling"] = agreement_ceiling(t[here])
                sets, people = response_entropy(t[here])
                model = _numpy(choice_entropy(choice_probabilities(X, sets, similarity, temperature)))
                row["entropy_rho"] = _spearman(model, people)
            except NoRepeats:
                pass
        rows.append(row)
    columns = ["level", "n_responses", "accuracy", "ceiling", "entropy", "entropy_rho"]
    return pd.DataFrame(rows).reindex(columns=columns)


def _tree_codes(tree: Any) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the coarsest and of the finest category of each item."""
    if isinstance(tree, Mapping):
        if sorted(tree) != list(range(len(tree))):
            raise ShapeMismatch("a tree given as a mapping needs a path for every item 0, 1, 2...")
        tree = [tree[item] for item in range(len(tree))]
    table = pd.DataFrame(np.asarray(tree) if not isinstance(tree, pd.DataFrame) else tree.to_numpy())
    if not len(table):
        raise EmptySelection("the tree holds no item.")
    coarse = pd.factorize(table[0])[0]
    fine = table.groupby(list(table.columns), sort=False).ngroup().to_numpy()
    return coarse, fine


def _n_distinct(x: np.ndarray) -> np.ndarray:
    s = np.sort(x, axis=1)
    return 1 + (np.diff(s, axis=1) != 0).sum(1)


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.stats import rankdata

    a, b = rankdata(a), rankdata(b)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _stack(columns: list[Any]) -> Any:
    if is_tensor(columns[0]):
        import torch

        return torch.stack(columns, 1)
    return np.stack(columns, 1)


def _numpy(x: Any) -> np.ndarray:
    return x.detach().cpu().numpy() if is_tensor(x) else np.asarray(x)
