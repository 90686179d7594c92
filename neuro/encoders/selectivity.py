"""Which voxels answer to what a sentence says? Words through CLIP's text tower, held against voxels' weights.

Over a joint embedding of images and texts a linear encoder's weights w_v lie in the space of sentences. With unit text
embeddings t_k of what is asked for and t_0 of a neutral set, and C the covariance of image embeddings,

    s_vk = cos(C w_v, t_k - t_0),        z_vk = (s_vk - mean over voxels) / s.d. over voxels

C w_v is the covariance of embeddings with the predicted response: where images that drive the voxel lie. Weights alone
(``kind="cosine"``, the published query) also hold what cancels correlated or noisy features, and texts reach far into
directions in which images hardly vary, where weights are anything: with more data, and so weaker penalties, that map
gets worse. The difference of texts takes out what all sentences share: texts and images occupy different parts of the
embedding, and the way from the one to the other says nothing about content.

Haufe et al. (2014), On the interpretation of weight vectors of linear models in multivariate neuroimaging, NeuroImage
87, 96-110.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from neuro._check import check_option
from neuro.data import Stimuli
from neuro.errors import ShapeMismatch
from neuro.linear._arrays import array_of

KINDS = ("pattern", "cosine", "response")
OTHERS = "others"
UNIT = 1e-2  # half-precision embeddings of unit length are off by less


@dataclass(frozen=True, eq=False)
class TextSelectivity:
    """Result of :func:`text_selectivity`.

    Parameters
    ----------
    names : tuple of str
        What was asked for, n_names.
    values : array (n_voxels, n_names)
        Cosines, or predicted differences of responses.
    z : array (n_voxels, n_names)
        The same, standardised over voxels.
    directions : array (n_names, n_features)
        Text minus neutral, t_k - t_0.
    kind : str
    neutral : str
        What was contrasted with, in words.
    """

    names: tuple[str, ...]
    values: np.ndarray
    z: np.ndarray
    directions: np.ndarray
    kind: str
    neutral: str

    @property
    def preferred(self) -> np.ndarray:
        """Name with the highest z of every voxel (n_voxels,); "" where the weights are zero."""
        found = np.array(self.names)[np.where(np.isfinite(self.z), self.z, -np.inf).argmax(1)]
        return np.where(np.isfinite(self.z).any(1), found, "")

    def to_frame(self) -> pd.DataFrame:
        """Return one row per voxel and name: voxel, name, value, z."""
        n, k = self.values.shape
        return pd.DataFrame(
            {
                "voxel": np.repeat(np.arange(n), k),
                "name": np.tile(self.names, n),
                "value": self.values.ravel(),
                "z": self.z.ravel(),
            }
        )


def text_selectivity(
    encoder: Any,
    texts: Any,
    *,
    text_extractor: Any = None,
    neutral: Any = OTHERS,
    kind: str = "pattern",
    images: Any = None,
) -> TextSelectivity:
    """Map how much every voxel prefers what sentences say.

    Parameters
    ----------
    encoder : fitted linear encoder
        With ``coef_`` (n_voxels, n_features) over unit image embeddings of a joint image-text model: ``RidgeCV``,
        ``InContextEncoder``, ...
    texts : mapping of name -> sentence or sentences, sequence of sentences, or array (n_texts, n_features)
        Several sentences of one name are averaged on the sphere. Arrays are text embeddings of unit length; a mapping
        may hold arrays (n_sentences, n_features) too.
    text_extractor : TextExtractor
        Of the model whose image embedding the encoder reads, e.g. ``TextExtractor("phantom-clip")``; its "output" is
        taken. Not needed for embeddings.
    neutral : "others", None, sentences or array (n_texts, n_features)
        What to contrast with: for every name the mean of all others (two at least), nothing, or their mean.
    kind : {"pattern", "cosine", "response"}
        Cosine of the direction with the voxel's pattern ``C w_v``, or with its weights, both comparable between voxels
        of any gain; or ``w_v . (t_k - t_0)``, the predicted difference in the units of the responses.
    images : array or tensor (n_images, n_features), optional
        Image embeddings of unit length, such as those the encoder was fitted to: needed for patterns, and checked for
        their length in any case. An ``InContextEncoder`` brings its context.

    Returns
    -------
    TextSelectivity
        Voxels with zero weights have NaN.

    Raises
    ------
    ShapeMismatch
        If texts and weights are not of one space.
    ValueError
        If embeddings are not of unit length, a name has no sentence, or a contrast has nothing to contrast with.

    References
    ----------
    Yu et al. (2025), arXiv 2505.15813 (text queries); Haufe et al. (2014), NeuroImage 87, 96-110 (patterns).

    Examples
    --------
    >>> from neuro.encoders import Ridge
    >>> X = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    >>> encoder = Ridge(0.1).fit(X, X[:, :2])  # one voxel answers to the first axis, one to the second
    >>> text_selectivity(encoder, {"first": X[:1], "second": X[1:2]}, images=X).preferred.tolist()
    ['first', 'second']
    """
    check_is_fitted(encoder)
    check_option("kind", kind, KINDS)
    coef = np.atleast_2d(array_of(encoder.coef_)).astype(np.float64)
    images = getattr(encoder, "X_context_", None) if images is None else images
    if images is not None:
        images = _embeddings("images", images, coef.shape[1])
        _check_unit("images", images)
    elif kind == "pattern":
        raise ValueError(
            "kind='pattern' needs images=, the unit embeddings (n_images, n_features) that the encoder was fitted to, "
            "or others of the same model; kind='cosine' takes the weights as they are."
        )
    named = _named(texts)
    T = np.stack([_direction(name, given, text_extractor, coef.shape[1]) for name, given in named.items()])
    base, words = _neutral(neutral, T, text_extractor, coef.shape[1])
    directions = T - base
    lengths = np.linalg.norm(directions, axis=1)
    if (lengths < 1e-6).any():
        raise ValueError(
            f"{list(named)[int(lengths.argmin())]!r} and the neutral set have the same embedding, so there is nothing "
            "to contrast. Give other sentences."
        )
    readout = coef if kind != "pattern" else _patterns(coef, images)
    values, norms = readout @ directions.T, np.linalg.norm(readout, axis=1)
    zero = norms == 0
    if kind != "response":
        values = values / np.where(zero, 1.0, norms)[:, None] / lengths
    values[zero] = np.nan
    return TextSelectivity(tuple(named), values, _standardised(values, zero), directions, kind, words)


def _patterns(coef: np.ndarray, images: Any) -> np.ndarray:
    """Return each voxel's ``C w``, (n_voxels, n_features), for the covariance C of images (n_images, n_features)."""
    centred = images - images.mean(0)
    return (coef @ centred.T) @ centred / len(centred)


def _standardised(values: np.ndarray, zero: np.ndarray) -> np.ndarray:
    kept = values[~zero]
    if not len(kept):
        return np.full_like(values, np.nan)
    sd = kept.std(0)
    return (values - kept.mean(0)) / np.where(sd > 0, sd, 1.0)


def _named(texts: Any) -> dict[str, Any]:
    if isinstance(texts, Mapping):
        named = {str(k): v for k, v in texts.items()}
    elif isinstance(texts, str):
        named = {texts: texts}
    elif _is_array(texts):
        E = np.atleast_2d(array_of(texts))
        named = {f"text {i}": row[None] for i, row in enumerate(E)}
    elif isinstance(texts, Sequence):
        named = {str(t): t for t in texts}
    else:
        raise TypeError(
            f"texts must be sentences, a mapping of names to sentences, or embeddings, got {type(texts).__name__}."
        )
    if not named:
        raise ValueError("texts must hold at least one sentence, got none.")
    return named


def _direction(name: str, given: Any, text_extractor: Any, n_features: int) -> np.ndarray:
    """Return the unit mean (n_features,) of one name's sentences."""
    E = _rows(f"texts[{name!r}]", given, text_extractor, n_features)
    mean = E.mean(0)
    length = np.linalg.norm(mean)
    if length < 1e-6:
        raise ValueError(f"the sentences of {name!r} cancel each other out; ask for them one by one.")
    return mean / length


def _neutral(neutral: Any, T: np.ndarray, text_extractor: Any, n_features: int) -> tuple[np.ndarray, str]:
    """Return what to take off every direction, (n_names or 1, n_features), and what it is."""
    if neutral is None:
        return np.zeros((1, n_features)), "nothing"
    if isinstance(neutral, str) and neutral == OTHERS:
        if len(T) < 2:
            raise ValueError(
                "neutral='others' contrasts every name with the others and needs at least two names, got one. Give "
                "neutral sentences, e.g. neutral=['a picture', 'a view'], or None."
            )
        return (T.sum(0) - T) / (len(T) - 1), "the mean of the other names"
    E = _rows("neutral", neutral, text_extractor, n_features)
    words = f"{len(E)} embeddings" if _is_array(neutral) else "; ".join(_sentences("neutral", neutral))
    return E.mean(0, keepdims=True), words


def _rows(name: str, given: Any, text_extractor: Any, n_features: int) -> np.ndarray:
    """Return unit embeddings (n_sentences, n_features) of sentences, or check the ones given."""
    if _is_array(given):
        E = _embeddings(name, given, n_features)
        _check_unit(name, E)
        return E
    sentences = _sentences(name, given)
    if text_extractor is None:
        raise ValueError(
            f"{name} holds sentences, which need text_extractor=TextExtractor(...) of the model whose image embedding "
            "the encoder reads; or give embeddings."
        )
    found = text_extractor.extract(
        Stimuli.from_texts(sentences, ids=list(range(len(sentences)))), layers=["output"], progress=False
    )
    E = _embeddings(f"the text embedding of {text_extractor.name}", found.rows("output"), n_features)
    return E / np.linalg.norm(E, axis=1, keepdims=True)


def _sentences(name: str, given: Any) -> list[str]:
    sentences = [given] if isinstance(given, str) else list(given)
    if not sentences or not all(isinstance(s, str) and s.strip() for s in sentences):
        raise ValueError(f"{name} must hold at least one sentence, and no empty ones, got {sentences!r}.")
    return sentences


def _is_array(given: Any) -> bool:
    return isinstance(given, np.ndarray) or (hasattr(given, "detach") and hasattr(given, "shape"))


def _embeddings(name: str, given: Any, n_features: int) -> np.ndarray:
    E = np.atleast_2d(array_of(given)).astype(np.float64)
    if E.ndim != 2 or E.shape[1] != n_features or not len(E):
        raise ShapeMismatch(
            f"{name} must be (n, {n_features}), as the encoder's weights are; its shape is {E.shape}. Image and text "
            "embedding must come from the same model, the joint embedding of both towers."
        )
    return E


def _check_unit(name: str, E: np.ndarray) -> None:
    lengths = np.linalg.norm(E, axis=1)
    off = ~(np.abs(lengths - 1) <= UNIT)
    if off.any():
        raise ValueError(
            f"{name} must hold embeddings of unit length; {int(off.sum()):,} of {len(E):,} have other lengths, from "
            f"{lengths.min():.3g} to {lengths.max():.3g}. Divide each by its norm (and fit the encoder to those)."
        )
