"""BLEU, ROUGE-L and CIDEr from words, by the equations of the COCO caption evaluation.

With h_k matched and g_k all k-grams of a candidate of length c, and r the length of the reference nearest to c,

    BLEU-k  = (h_1/g_1 ... h_k/g_k)^(1/k) * min(1, exp(1 - r/c))         sums over items before ratios: corpus BLEU
    ROUGE-L = (1 + b^2) P R / (R + b^2 P)                                P, R: longest common subsequence over lengths
    CIDEr   = 10 mean_k mean_refs exp(-(c - r)^2 / 2 s^2) min(u, v).v / (|u| |v|)     u, v: tf-idf of k-grams
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

Words = Sequence[str]
ORDER = 4

# The COCO evaluation's guards against 0/0; (1e-15)^(1/4) = 2e-4 is visible in the BLEU-4 of single sentences.
_TINY, _SMALL = 1e-15, 1e-9


def count_ngrams(words: Words, order: int = ORDER) -> Counter[tuple[str, ...]]:
    """Count the runs of 1 to ``order`` words.

    >>> count_ngrams(["a", "dog", "a"], 2)[("a",)]
    2
    """
    return Counter(tuple(words[i : i + k]) for k in range(1, order + 1) for i in range(len(words) - k + 1))


def bleu_statistics(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> np.ndarray:
    """Count what BLEU is made of.

    Returns
    -------
    (n_items, 2 * ORDER + 2)
        Matched k-grams, all k-grams of the candidate (k = 1..4), length of the candidate, length of the reference
        nearest to it (the shorter of two).
    """
    out = np.zeros((len(candidates), 2 * ORDER + 2))
    for row, words, refs in zip(out, candidates, references, strict=True):
        most: Counter[tuple[str, ...]] = Counter()
        for ref in refs:
            most |= count_ngrams(ref)
        for gram, count in count_ngrams(words).items():
            row[len(gram) - 1] += min(count, most[gram])
        row[ORDER : 2 * ORDER] = [max(0, len(words) - k) for k in range(ORDER)]
        row[-2] = len(words)
        row[-1] = min((abs(len(ref) - len(words)), len(ref)) for ref in refs)[1]
    return out


def bleu(statistics: np.ndarray) -> np.ndarray:
    """Return BLEU-1 to BLEU-4, (..., ORDER), of counts (..., 2 * ORDER + 2): of items, or of their sum.

    Examples
    --------
    >>> bleu(bleu_statistics([["a", "dog"]], [[["a", "dog", "runs"]]]))[0, 0].round(4)  # exp(1 - 3/2)
    np.float64(0.6065)
    """
    matched, all_ = statistics[..., :ORDER], statistics[..., ORDER : 2 * ORDER]
    precision = np.cumprod((matched + _TINY) / (all_ + _SMALL), axis=-1) ** (1 / np.arange(1, ORDER + 1))
    ratio = (statistics[..., -2] + _TINY) / (statistics[..., -1] + _SMALL)
    with np.errstate(over="ignore"):
        penalty = np.where(ratio < 1, np.exp(1 - 1 / ratio), 1.0)
    return precision * penalty[..., None]


def rouge_l(candidates: Sequence[Words], references: Sequence[Sequence[Words]], beta: float = 1.2) -> np.ndarray:
    """Return ROUGE-L of each item, (n_items,): best precision and best recall over references, recall ``beta`` heavier.

    Examples
    --------
    >>> rouge_l([["a", "dog"]], [[["a", "dog"], ["dogs"]]]).tolist()
    [1.0]
    """
    out = np.zeros(len(candidates))
    for i, (words, refs) in enumerate(zip(candidates, references, strict=True)):
        if not words:
            continue
        common = [(_common_subsequence(words, ref), len(ref)) for ref in refs if ref]
        precision = max((n / len(words) for n, _ in common), default=0.0)
        recall = max((n / length for n, length in common), default=0.0)
        if precision and recall:
            out[i] = (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    return out


def cider(
    candidates: Sequence[Words],
    references: Sequence[Sequence[Words]],
    *,
    documents: Sequence[Sequence[Words]] | None = None,
    sigma: float = 6.0,
) -> np.ndarray:
    """Return CIDEr-D of each item, (n_items,), on its scale of 0 to 10.

    Parameters
    ----------
    candidates, references
    documents : sequence (n_documents) of references, optional
        Of the images whose document frequencies weigh the n-grams; the references themselves by default. The weights,
        and with them the score, depend on this collection.
    sigma : float
        Of the penalty on differing lengths, in words.
    """
    documents = references if documents is None else documents
    frequency = Counter(gram for refs in documents for gram in {g for ref in refs for g in count_ngrams(ref)})
    most = math.log(len(documents))

    def vector(words: Words) -> tuple[list[dict[tuple[str, ...], float]], list[float]]:
        parts: list[dict[tuple[str, ...], float]] = [{} for _ in range(ORDER)]
        for gram, count in count_ngrams(words).items():
            parts[len(gram) - 1][gram] = count * (most - math.log(max(1, frequency[gram])))
        return parts, [math.sqrt(sum(v * v for v in part.values())) for part in parts]

    out = np.zeros(len(candidates))
    for i, (words, refs) in enumerate(zip(candidates, references, strict=True)):
        own, own_norm = vector(words)
        for ref in refs:
            other, other_norm = vector(ref)
            gap = max(0, len(words) - 1) - max(0, len(ref) - 1)
            total = 0.0
            for k in range(ORDER):
                product = sum(min(v, other[k].get(gram, 0.0)) * other[k].get(gram, 0.0) for gram, v in own[k].items())
                if own_norm[k] and other_norm[k]:
                    total += product / (own_norm[k] * other_norm[k])
            out[i] += 10 / ORDER / len(refs) * math.exp(-(gap**2) / (2 * sigma**2)) * total
    return out


def _common_subsequence(a: Words, b: Words) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for j, y in enumerate(b, start=1):
            above = row[j]
            row[j] = diagonal + 1 if x == y else max(above, row[j - 1])
            diagonal = above
    return row[-1]
