"""How well do decoded captions describe what was seen? Scores against human captions, each with its tokenisation named.

All values are fractions, 0-1, except CIDEr, which runs from 0 to 10 (papers print both times 100). Corpus BLEU sums
counts before it divides and is not the mean of the BLEU of sentences: the two have different names here, as have METEOR
of the collection and of sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuro._check import as_rng, check_option, is_tensor
from neuro.decoders.metrics._caption_inputs import align_captions as align_captions
from neuro.decoders.metrics._caption_inputs import count_references
from neuro.decoders.metrics._java import meteor_scores, require_meteor
from neuro.decoders.metrics._ngrams import ORDER, Words, bleu, bleu_statistics, cider, rouge_l
from neuro.decoders.metrics._shuffles import check_shuffles, derangement
from neuro.decoders.metrics.result import MetricResult, mean_result, versions
from neuro.decoders.metrics.tokenise import TOKENISERS, split_captions
from neuro.errors import EmptySelection, ShapeMismatch

N_BOOTSTRAPS = 1000


def caption_scores(
    candidates: Any,
    references: Any,
    metrics: Sequence[str] | str = ("bleu", "rouge_l", "cider"),
    tokeniser: str = "ptb",
    *,
    encoder: Any = "phantom-clip",
    documents: Any = None,
    n_shuffles: int = 3,
    rng: int | np.random.Generator | None = 0,
) -> dict[str, MetricResult]:
    """Score one decoded caption per item against the item's references.

    Parameters
    ----------
    candidates : sequence (n,) of str, or dict of id -> str
    references : sequence (n,) of lists of str (or of str), or dict of id -> list of str
        Dicts are matched by key, in the order of the keys as integers where all are, else sorted as text.
    metrics : names
        Of :data:`CAPTION_METRICS`: "bleu", "rouge_l", "cider", "meteor" (Java), "embedding".
    tokeniser : {"ptb", "ptb_java", "words"}
        Penn Treebank words in pure Python, the same by Stanford's Java program, or lower-case runs of letters.
    encoder : str, TextExtractor, or callable
        For "embedding": a model of :class:`neuro.features.TextExtractor`, or ``f(list of n str) -> (n, d)``.
    documents : like references, optional
        Collection that weighs the n-grams of CIDEr; the references by default. Needed for a single item.
    n_shuffles : int
        Chance is the mean score over this many pairings of every caption with another item's references; 0 for none.
    rng : int, Generator or None
        For shuffles and bootstrap.

    Returns
    -------
    dict of name -> MetricResult
        ``bleu1`` .. ``bleu4`` and ``meteor`` of the collection, ``sentence_bleu1`` .. ``sentence_bleu4`` and
        ``sentence_meteor`` as means over items, ``rouge_l``, ``cider`` (0-10), ``embedding_similarity``.
        ``per_item`` is in the order of the items. Intervals resample items; METEOR of the collection has none.

    Raises
    ------
    ShapeMismatch, UnknownStimulus, EmptySelection
        If candidates and references do not belong together, or there are none.
    ModuleNotFoundError
        If "meteor" or "ptb_java" is asked for without Java or pycocoevalcap; asked before anything is computed.

    References
    ----------
    Papineni et al. (2002), ACL (BLEU). Lin (2004), ACL workshop (ROUGE). Vedantam et al. (2015), CVPR (CIDEr, here
    CIDEr-D). Denkowski and Lavie (2014), WMT (METEOR). Chen et al. (2015), arXiv:1504.00325 (COCO evaluation).

    Examples
    --------
    >>> scores = caption_scores(["a dog runs", "two cats"], [["a dog runs"], ["a bus", "one red bus"]], "rouge_l")
    >>> scores["rouge_l"].per_item.tolist()
    [1.0, 0.0]
    """
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    for name in names:
        check_option("metrics", name, CAPTION_METRICS)
    check_option("tokeniser", tokeniser, TOKENISERS)
    n_shuffles = check_shuffles(n_shuffles)
    _, texts, reference_texts = align_captions(candidates, references)
    if "cider" in names and documents is None and len(texts) == 1:
        raise EmptySelection(
            "CIDEr of one item is 0 by definition, as no n-gram is rarer than another. Pass documents=, the references "
            "of a larger collection, or leave it out."
        )
    if "meteor" in names:
        require_meteor()
    rng = as_rng(rng)
    flat = split_captions([*texts, *(r for refs in reference_texts for r in refs)], tokeniser)
    words, rest = flat[: len(texts)], iter(flat[len(texts) :])
    work = _Work(
        texts,
        reference_texts,
        words,
        [[next(rest) for _ in refs] for refs in reference_texts],
        [derangement(len(texts), rng) for _ in range(n_shuffles if len(texts) > 1 else 0)],
        rng,
        f"{TOKENISERS[tokeniser][1]}, {count_references(reference_texts)}",
        {"encoder": encoder, "documents": documents, "tokeniser": tokeniser},
    )
    out: dict[str, MetricResult] = {}
    for name in names:
        out |= CAPTION_METRICS[name](work)
    return out


@dataclass(frozen=True, eq=False)
class _Work:
    """What the metrics share: texts and words of all items, and permutations that pair no item with itself."""

    texts: list[str]
    reference_texts: list[list[str]]
    words: list[Words]
    reference_words: list[list[Words]]
    shuffles: list[np.ndarray]
    rng: np.random.Generator
    note: str
    options: dict[str, Any] = field(default_factory=dict)

    def shuffled(self, values: Sequence[Any]) -> Iterator[list[Any]]:
        for order in self.shuffles:
            yield [values[i] for i in order]

    def chance(self, score: Callable[[list[Any]], float]) -> float | None:
        found = [score(words) for words in self.shuffled(self.words)]
        return float(np.mean(found)) if found else None


def _bleu(work: _Work) -> dict[str, MetricResult]:
    statistics = bleu_statistics(work.words, work.reference_words)
    wrong = [bleu_statistics(words, work.reference_words) for words in work.shuffled(work.words)]
    n = len(statistics)
    weights = work.rng.multinomial(n, np.full(n, 1 / n), N_BOOTSTRAPS) if n > 1 else None
    spread = None if weights is None else np.quantile(bleu(weights @ statistics), [0.025, 0.975], axis=0)
    whole, items = bleu(statistics.sum(0)), bleu(statistics)
    out: dict[str, MetricResult] = {}
    for k in range(ORDER):
        how = f"BLEU-{k + 1} of {{}}, nearest reference length; {work.note}"
        out[f"bleu{k + 1}"] = MetricResult(
            f"bleu{k + 1}",
            float(whole[k]),
            how.format("the collection"),
            n,
            float(np.mean([bleu(w.sum(0))[k] for w in wrong])) if wrong else None,
            None if spread is None else (float(spread[0, k]), float(spread[1, k])),
            versions=_versions(),
        )
    for k in range(ORDER):
        out[f"sentence_bleu{k + 1}"] = mean_result(
            f"sentence_bleu{k + 1}",
            items[:, k],
            protocol=f"mean BLEU-{k + 1} of sentences, nearest reference length; {work.note}",
            chance=float(np.mean([bleu(w)[:, k].mean() for w in wrong])) if wrong else None,
            rng=work.rng,
            versions=_versions(),
        )
    return out


def _rouge_l(work: _Work) -> dict[str, MetricResult]:
    result = mean_result(
        "rouge_l",
        rouge_l(work.words, work.reference_words),
        protocol=f"ROUGE-L, beta 1.2, best precision and recall over references; {work.note}",
        chance=work.chance(lambda words: rouge_l(words, work.reference_words).mean()),
        rng=work.rng,
        versions=_versions(),
    )
    return {"rouge_l": result}


def _cider(work: _Work) -> dict[str, MetricResult]:
    documents, source = None, "these references"
    if work.options["documents"] is not None:
        given = work.options["documents"]
        given = list(given.values()) if isinstance(given, Mapping) else list(given)
        texts = [[d] if isinstance(d, str) else list(d) for d in given]
        flat = iter(split_captions([t for refs in texts for t in refs], work.options["tokeniser"]))
        documents, source = [[next(flat) for _ in refs] for refs in texts], f"{len(texts)} given documents"
    result = mean_result(
        "cider",
        cider(work.words, work.reference_words, documents=documents),
        protocol=f"CIDEr-D (0-10), sigma 6, document frequencies of {source}; {work.note}",
        chance=work.chance(lambda words: cider(words, work.reference_words, documents=documents).mean()),
        rng=work.rng,
        versions=_versions(),
    )
    return {"cider": result}


def _meteor(work: _Work) -> dict[str, MetricResult]:
    joined = [" ".join(w) for w in work.words]
    pairings = [joined, *work.shuffled(joined)]
    references = [[" ".join(w) for w in refs] for refs in work.reference_words]
    (total, items), *wrong = meteor_scores(pairings, references)
    how = "METEOR 1.5 of {}, English, normalised; " + work.note
    return {
        "meteor": MetricResult(
            "meteor",
            total,
            how.format("the collection"),
            len(items),
            float(np.mean([t for t, _ in wrong])) if wrong else None,
            versions=_versions("pycocoevalcap"),
        ),
        "sentence_meteor": mean_result(
            "sentence_meteor",
            items,
            protocol=how.format("sentences, their mean"),
            chance=float(np.mean([i for _, i in wrong])) if wrong else None,
            rng=work.rng,
            versions=_versions("pycocoevalcap"),
        ),
    }


def _embedding(work: _Work) -> dict[str, MetricResult]:
    name, encode = text_encoder(work.options["encoder"])
    references = [r for refs in work.reference_texts for r in refs]
    vectors = _unit(name, encode([*work.texts, *references]), len(work.texts) + len(references))
    own, rest = vectors[: len(work.texts)], vectors[len(work.texts) :]
    owner = np.repeat(np.arange(len(own)), [len(refs) for refs in work.reference_texts])
    counts = np.bincount(owner)

    def score(order: np.ndarray) -> np.ndarray:
        return np.bincount(owner, weights=(own[order][owner] * rest).sum(1)) / counts

    result = mean_result(
        "embedding_similarity",
        score(np.arange(len(own))),
        protocol=f"cosine of text embeddings by {name}, mean over {count_references(work.reference_texts)}",
        chance=float(np.mean([score(order).mean() for order in work.shuffles])) if work.shuffles else None,
        rng=work.rng,
        versions=_versions("torch", "open_clip_torch"),
    )
    return {"embedding_similarity": result}


CAPTION_METRICS: dict[str, Callable[[_Work], dict[str, MetricResult]]] = {
    "bleu": _bleu,
    "rouge_l": _rouge_l,
    "cider": _cider,
    "meteor": _meteor,
    "embedding": _embedding,
}
"""Name -> what computes it; one name may give several results."""


def text_encoder(encoder: Any) -> tuple[str, Callable[[list[str]], Any]]:
    """Return name and function (list of n str -> (n, d)) of a text encoder given by name, as object or as function."""
    if callable(encoder):
        return getattr(encoder, "name", None) or getattr(encoder, "__name__", type(encoder).__name__), encoder
    from neuro.features import TextExtractor

    extractor = TextExtractor(encoder) if isinstance(encoder, str) else encoder

    def encode(texts: list[str]) -> np.ndarray:
        return extractor.compute(extractor.prepare([[t] for t in texts]), ["output"])["output"]

    return extractor.name, encode


def _unit(name: str, vectors: Any, n: int) -> np.ndarray:
    v = np.asarray(vectors.detach().cpu().numpy() if is_tensor(vectors) else vectors, dtype=np.float64)
    if v.ndim != 2 or len(v) != n:
        raise ShapeMismatch(f"{name} must return one vector for each of {n} captions, got {v.shape}.")
    norm = np.linalg.norm(v, axis=1, keepdims=True)
    return v / np.where(norm == 0, 1.0, norm)


def _versions(*packages: str) -> dict[str, str]:
    return versions(("neuro", "numpy", *packages))
