"""Can the picture be told from others by the decoded caption? TF-IDF vectors of words, compared with the references'.

All references of a picture are one document. With ``tf`` the count of a word, ``df`` the documents that hold it and n
documents, a text is the vector ``tf ln(n / df)``, brought to unit length; decoded captions use the vocabulary and the
weights of the documents, and words they do not know count for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from neuro._check import check_positive_int
from neuro.decoders.metrics._caption_inputs import align_captions, count_references
from neuro.decoders.metrics.gallery import retrieval
from neuro.decoders.metrics.identify import two_way_identification
from neuro.decoders.metrics.result import MetricResult, versions
from neuro.decoders.metrics.tokenise import split_captions
from neuro.errors import ShapeMismatch


def tfidf_vectors(
    captions: Sequence[str], references: Sequence[Sequence[str]], tokeniser: str = "words"
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Turn captions and the references of their pictures into vectors of one vocabulary.

    Parameters
    ----------
    captions : sequence (n,) of str
    references : sequence (m,) of lists of str
        One document per picture.
    tokeniser : {"words", "ptb", "ptb_java"}

    Returns
    -------
    (n, n_words) float64, of unit length, or 0 for captions without a known word
    (m, n_words) float64
    list of the n_words words, sorted

    Examples
    --------
    >>> c, d, words = tfidf_vectors(["dog dog"], [["a dog"], ["a cat", "cats"]])
    >>> words, c.tolist()
    (['a', 'cat', 'cats', 'dog'], [[0.0, 0.0, 0.0, 1.0]])
    """
    documents = split_captions([" ".join(refs) for refs in references], tokeniser)
    vocabulary = sorted({w for words in documents for w in words})
    column = {w: i for i, w in enumerate(vocabulary)}

    def counts(texts: Sequence[Sequence[str]]) -> np.ndarray:
        out = np.zeros((len(texts), len(vocabulary)))
        for row, words in zip(out, texts, strict=True):
            for word, count in Counter(w for w in words if w in column).items():
                row[column[word]] = count
        return out

    rows = counts(documents)
    weights = np.log(len(documents) / np.maximum((rows > 0).sum(0), 1))
    return _unit(counts(split_captions(captions, tokeniser)) * weights), _unit(rows * weights), vocabulary


def caption_identification(
    candidates: Any,
    references: Any,
    *,
    pool: int = 300,
    repeats: int | None = 30,
    top: Sequence[int] = (1, 10),
    tokeniser: str = "words",
    rng: int | np.random.Generator | None = 0,
) -> dict[str, MetricResult]:
    """How often the references of the right picture are the most similar to a decoded caption.

    Parameters
    ----------
    candidates, references
        As for :func:`neuro.decoders.metrics.captions.caption_scores`.
    pool, repeats : int, int or None
        Random pools of pictures for ``retrieve_image_given_caption``; None takes the expectation over all pools.
    top : sequence of int
        Also the share of captions whose picture is among the k most similar of all n.
    tokeniser : {"words", "ptb", "ptb_java"}
    rng : int, Generator or None

    Returns
    -------
    dict
        ``caption_two_way`` (pictures compete for the caption; half credit for ties, so that a caption without a known
        word scores 1/2), ``retrieve_image_given_caption``, ``caption_top<k>``, ``caption_rdm_correlation``. Pictures as
        similar as the right one share its place.

    Raises
    ------
    ValueError
        If there are fewer items than the pool.

    Examples
    --------
    >>> references = [["the dog"], ["the bus"], ["two cats", "cats"]]
    >>> found = caption_identification(["a dog", "one bus", "cats"], references, pool=3, top=())
    >>> found["caption_two_way"].value, found["retrieve_image_given_caption"].value
    (1.0, 1.0)
    """
    pool = check_positive_int("pool", pool, 2)
    top = [check_positive_int("top", k) for k in top]
    _, texts, reference_texts = align_captions(candidates, references)
    n = len(texts)
    if n < pool:
        raise ValueError(f"a pool of {pool} pictures needs as many items, got {n}. Give pool={n} or less.")
    if top and max(top) >= n:
        raise ValueError(f"top must be below the number of items, {n}, got {max(top)}.")
    decoded, true, vocabulary = tfidf_vectors(texts, reference_texts, tokeniser)
    unknown = ~decoded.any(1)
    decoded, true = _with_length(decoded, 0), _with_length(true, 1)
    note = f"cosine of TF-IDF vectors, {len(vocabulary):,} words ({tokeniser!r}), {count_references(reference_texts)}"
    details = {"vocabulary": len(vocabulary), "captions_without_known_word": int(unknown.sum())}

    def named(result: MetricResult, name: str) -> MetricResult:
        used = versions(("neuro", "numpy"))
        return replace(result, metric=name, details={**result.details, **details}, versions=used)

    two_way = two_way_identification(
        decoded,
        true,
        anchor="recon",
        ties="half",
        metric="cosine",
        rng=rng,
        protocol=f"pictures compete, ties 1/2; {note}",
    )
    drawn = "all pools" if repeats is None else f"{repeats} random pools"
    pools = retrieval(decoded, true, pool, repeats, rng, protocol=f"top-1 of {pool}, {drawn}; {note}")
    out = {
        "caption_two_way": named(two_way, "caption_two_way"),
        "retrieve_image_given_caption": named(pools.brain_to_image, "retrieve_image_given_caption"),
    }
    for k in top:
        found = retrieval(decoded, true, n, None, rng, k=k, protocol=f"top-{k} of all {n}; {note}").brain_to_image
        out[f"caption_top{k}"] = named(found, f"caption_top{k}")
    rdm = rdm_correlation(decoded, true, protocol=f"Pearson of the upper triangles of dot products; {note}")
    out["caption_rdm_correlation"] = named(rdm, "caption_rdm_correlation")
    return out


def rdm_correlation(decoded: Any, true: Any, *, protocol: str | None = None) -> MetricResult:
    """Correlate the similarities between decoded items with those between the true ones.

    Asks whether decoding keeps the geometry of the set, without asking for any single item.

    Parameters
    ----------
    decoded, true : arrays (n, d) and (n, e)
        Vectors of the same n items; their dot products are the similarities, so bring them to unit length for cosines.
    protocol : str, optional

    Returns
    -------
    MetricResult
        Pearson correlation over the n(n - 1)/2 pairs; chance 0. Pairs share items: no interval is given. NaN where all
        pairs are equally similar.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((6, 4))
    >>> round(rdm_correlation(2 * x @ np.linalg.qr(np.ones((4, 4)) + np.eye(4))[0], x).value, 12)
    1.0
    """
    a, b = np.asarray(decoded, dtype=np.float64), np.asarray(true, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b) or len(a) < 3:
        raise ShapeMismatch(f"decoded and true must be (n, d) of the same n >= 3 items, got {a.shape} and {b.shape}.")
    pairs = np.triu_indices(len(a), 1)
    x, y = ((rows @ rows.T)[pairs] for rows in (a, b))
    x, y = x - x.mean(), y - y.mean()
    length = np.sqrt((x @ x) * (y @ y))
    value = x @ y / length if length > 0 else np.nan
    return MetricResult(
        "rdm_correlation",
        float(value),
        protocol or "Pearson of the upper triangles of dot products",
        len(a),
        0.0,
        details={"pairs": len(pairs[0])},
    )


def _with_length(rows: np.ndarray, which: int) -> np.ndarray:
    """Give rows of zeros a direction of their own: their cosine with everything is 0, a tie, not undefined."""
    extra = np.zeros((len(rows), 2))
    extra[~rows.any(1), which] = 1
    return np.hstack([rows, extra])


def _unit(rows: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norm == 0, 1.0, norm)
