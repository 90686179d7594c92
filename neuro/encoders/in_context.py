"""What are a new brain's voxel weights, given a few images it has seen? A trained network answers without being fitted.

For every voxel the network reads pairs (an image's embedding, the response to it), the context, and returns weights::

    [w_v, b_v] = network({(x_s, y_sv)}),        prediction for another image: w_v . x + b_v

so the result is an ordinary linear encoder with ``coef_`` and ``intercept_``. How it was trained:
:func:`~neuro.encoders.in_context_training.train_in_context`.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from neuro._check import as_rng, check_option, check_positive_int
from neuro._files import atomic_path
from neuro.encoders._in_context_files import load_checkpoint, load_network, save_network
from neuro.encoders._in_context_fit import (
    PRECISIONS,
    Runner,
    context_attention,
    context_weights,
    size_of_contexts,
    unit_rows,
    warn_of_scale,
    weights_on_texts,
)
from neuro.encoders._in_context_fit import ResponseScaleWarning as ResponseScaleWarning
from neuro.encoders._in_context_network import InContextNetwork
from neuro.encoders.in_context_config import InContextConfig
from neuro.errors import ShapeMismatch
from neuro.linear._arrays import array_of, check_device, like_input, tensor_of
from neuro.linear._linear import LinearEncoder, check_fit_data

FITTED = "fitted.safetensors"
PHANTOM = Path(__file__).parent / "weights" / "phantom_in_context"
OPTIONS = (
    "normalize",
    "standardize",
    "n_bootstrap",
    "context_size",
    "random_state",
    "precision",
    "voxel_batch",
    "memory_limit",
)


class InContextEncoder(LinearEncoder):
    """Encoder whose weights a network emits after reading a context; nothing is trained when it is fitted.

    Parameters
    ----------
    network : InContextNetwork, "phantom", or path to a folder that ``save`` or ``train_in_context`` wrote
        "phantom" is the network that ships, see :func:`phantom_network`. For released checkpoints see
        :meth:`from_checkpoint`.
    normalize : bool
        Bring embeddings to unit length, which networks expect, in ``fit`` and ``predict``. Otherwise embeddings of
        other lengths are refused: ``coef_`` belongs to unit embeddings.
    standardize : bool
        Z-score each voxel's responses with the mean and s.d. of the context, and scale weights back. For responses in
        other units than z-scores; with z-scores over all of a subject's data, False wastes nothing.
    n_bootstrap : int
        Average the weights of so many random contexts. 1 reads the whole context at once.
    context_size : int or None
        Images in each of them, drawn without replacement; None is all for one context, 200 for several.
    random_state : int or None
        Seed of those draws.
    device : str, torch.device or None
        Where to compute; None is where the data is.
    precision : {"float32", "bfloat16", "float16"}
        Of products inside the network; "float32" leaves the network as it is (float64 if its weights are).
    voxel_batch : int or None
        Voxels at a time; None takes as many as ``memory_limit`` allows.
    memory_limit : int
        Bytes of working memory for activations.

    Attributes
    ----------
    coef_ : (n_voxels, n_features)
        Of unit embeddings.
    intercept_ : (n_voxels,)
    context_size_ : int
        Images read at once.
    X_context_, Y_context_ : (n_images, n_features), (n_images, n_voxels)
        The context, as the network reads it (unit embeddings; responses as given).

    Notes
    -----
    Voxels do not influence each other, and the order of images does not matter. Constant voxels get zero weights and
    their constant as intercept.

    References
    ----------
    Yu et al. (2025), Meta-Learning an In-Context Transformer Model of Human Higher Visual Cortex, arXiv 2505.15813.
    """

    def __init__(
        self,
        network: Any,
        *,
        normalize: bool = False,
        standardize: bool = False,
        n_bootstrap: int = 1,
        context_size: int | None = None,
        random_state: int | None = 0,
        device: Any = None,
        precision: str = "float32",
        voxel_batch: int | None = None,
        memory_limit: int = 2**30,
    ):
        self.network = network
        self.normalize = normalize
        self.standardize = standardize
        self.n_bootstrap = n_bootstrap
        self.context_size = context_size
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.voxel_batch = voxel_batch
        self.memory_limit = memory_limit

    def fit(self, X: Any, y: Any) -> InContextEncoder:
        """Read a new subject's context.

        Parameters
        ----------
        X : array or tensor (n_images, n_features)
            Embeddings, of unit length unless ``normalize``. Never written to.
        y : array, tensor or Responses (n_images, n_voxels) or (n_images,)
            Responses, z-scored per voxel as they were in training.

        Returns
        -------
        self

        Raises
        ------
        ShapeMismatch
            If embeddings are not of the network's size, or rows disagree.
        ValueError
            If the context is shorter than the network was trained with, embeddings are not of unit length, or data is
            not finite.

        Warns
        -----
        ResponseScaleWarning
            If responses are far from z-scores.
        """
        network = self._network()
        config = network.config
        A, Y, _, home, flat = check_fit_data(self, X, y, self.device)
        if A.shape[1] != config.n_features:
            raise ShapeMismatch(
                f"X must have {config.n_features} features, as the network was made for"
                f"{f' ({config.embedding})' if config.embedding else ''}, got {A.shape[1]}."
            )
        check_option("precision", self.precision, PRECISIONS)
        check_positive_int("memory_limit", self.memory_limit)
        size = size_of_contexts(len(A), self.n_bootstrap, self.context_size, config.min_context)
        A = unit_rows(A, self.normalize)
        if not self.standardize:
            warn_of_scale(Y)
        run = Runner(network, A.device, self.precision)
        rng = as_rng(self.random_state)
        draws = [None] if size == len(A) else [rng.choice(len(A), size, replace=False) for _ in range(self.n_bootstrap)]
        weights = context_weights(run, A, Y, draws, self.standardize, self._voxels_at_once(run, size))
        self.X_context_ = like_input(A, home)
        self.Y_context_ = like_input(Y[:, 0] if flat else Y, home)
        self.context_size_ = size
        coef, intercept = weights[:, :-1].contiguous(), weights[:, -1].contiguous()
        self.coef_ = like_input(coef[0] if flat else coef, home)
        self.intercept_ = float(intercept[0]) if flat else like_input(intercept, home)
        return self

    def _apply(self, X: torch.Tensor) -> torch.Tensor:
        return super()._apply(unit_rows(X, self.normalize))

    def selectivity(self, text_embeddings: Any, kind: str = "cosine") -> Any:
        """Say how much each voxel's weights point towards each sentence, for a joint image-text embedding.

        Parameters
        ----------
        text_embeddings : array or tensor (n_texts, n_features)
            From the text tower that belongs to the image embedding, e.g. ``TextExtractor``'s "output". Lengths do not
            matter.
        kind : {"cosine", "response"}
            Cosine between weights and text, comparable between voxels; or the predicted response to the text taken as
            an image, intercept included. Compare texts within a voxel: images and texts occupy different parts of the
            embedding.

        Returns
        -------
        array or tensor (n_voxels, n_texts), or (n_texts,) if fitted to flat responses
        """
        check_is_fitted(self)
        check_option("kind", kind, ("cosine", "response"))
        return weights_on_texts(self.coef_, self.intercept_, text_embeddings, kind)

    def context_attention(self, layer: int | str = "mean", voxels: Any = None) -> Any:
        """Say which context images a voxel's weights were read from.

        Parameters
        ----------
        layer : int or "mean"
            Block of the network, negative from the end; "mean" averages over blocks.
        voxels : indices or mask, optional
            All by default.

        Returns
        -------
        array or tensor (n_voxels, n_images), or (n_images,) if fitted to flat responses
            Attention, averaged over heads, of the token that becomes the weights; rows as in ``voxels``, columns as in
            ``X_context_``. Rows sum to less than 1: the rest goes to the learned tokens. It says where the network
            looked, not what would change if an image were absent.
        """
        check_is_fitted(self)
        network = self._network()
        n_layers = network.config.n_layers
        indices = range(-n_layers, n_layers)
        if not (isinstance(layer, str) and layer == "mean") and (isinstance(layer, bool) or layer not in indices):
            raise ValueError(f"layer must be 'mean' or an index of the network's {n_layers} blocks, got {layer!r}.")
        A = tensor_of(self.X_context_)
        A = A.to(check_device(self.device, A))
        Y = tensor_of(self.Y_context_)
        flat = Y.ndim == 1
        Y = Y.reshape(len(Y), -1)
        if voxels is not None:
            Y = Y[:, torch.from_numpy(np.arange(Y.shape[1])[array_of(voxels)].reshape(-1))]
        run = Runner(network, A.device, self.precision)
        step = self._voxels_at_once(run, len(A), attention=True)
        out = context_attention(run, A, Y, layer, self.standardize, step)
        out = out[0] if flat and voxels is None else out
        return like_input(out, self.X_context_.device if isinstance(self.X_context_, torch.Tensor) else None)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the network, the settings and, once fitted, context and weights: safetensors and JSON, no pickle."""
        from safetensors.torch import save

        settings = {name: getattr(self, name) for name in OPTIONS}
        with atomic_path(Path(folder), directory=True) as temporary:
            fitted = "coef_" in self.__dict__
            save_network(self._network(), temporary, encoder=settings, fitted=fitted)
            if fitted:
                arrays = {
                    name: torch.as_tensor(array_of(getattr(self, name))).contiguous().clone()
                    for name in ("coef_", "intercept_", "X_context_", "Y_context_")
                }
                (temporary / FITTED).write_bytes(save(arrays, metadata={"context_size": str(self.context_size_)}))
        return Path(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], **changes: Any) -> InContextEncoder:
        """Return what ``save`` wrote, or a new encoder over the network that ``train_in_context`` wrote.

        Parameters
        ----------
        folder : path
        **changes
            Settings to replace.
        """
        network, settings = load_network(folder)
        encoder = cls(network, **{**settings.get("encoder", {}), **changes})
        if settings.get("fitted"):
            from safetensors import safe_open

            with safe_open(str(Path(folder) / FITTED), framework="numpy") as file:
                for name in file.keys():  # noqa: SIM118 - not a mapping
                    value = file.get_tensor(name)
                    setattr(encoder, name, float(value) if value.ndim == 0 else value)
                encoder.context_size_ = int(file.metadata()["context_size"])
            encoder.n_features_in_ = network.config.n_features
        return encoder

    @classmethod
    def from_checkpoint(
        cls, path: str | os.PathLike[str], config: InContextConfig | None = None, **settings: Any
    ) -> InContextEncoder:
        """Return an encoder over a checkpoint that BraInCoRL's program wrote.

        Parameters
        ----------
        path : path
            A state dict as ``.safetensors``, ``.pt`` or a Lightning ``.ckpt``; only tensors and plain values are read.
        config : InContextConfig, optional
            E.g. ``InContextConfig.clip()``: a checkpoint of other sizes is refused. Read off the file if not given.
        **settings
            Of the encoder.
        """
        return cls(load_checkpoint(path, config), **settings)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with the network and all arrays on the CPU."""
        state = super().__getstate__()
        state.pop("_loaded", None)
        network = state.get("network")
        if isinstance(network, torch.nn.Module) and any(p.device.type != "cpu" for p in network.parameters()):
            state["network"] = copy.deepcopy(network).cpu()
        return state

    def _network(self) -> InContextNetwork:
        if isinstance(self.network, InContextNetwork):
            return self.network
        if isinstance(self.network, (str, os.PathLike)):
            cached = self.__dict__.get("_loaded")
            if cached is None or cached[0] != os.fspath(self.network):
                folder = PHANTOM if self.network == "phantom" else self.network
                self._loaded = cached = (os.fspath(self.network), load_network(folder)[0])
            return cached[1]
        raise TypeError(
            "network must be a trained InContextNetwork, the folder of one, or 'phantom', got "
            f"{type(self.network).__name__}. Train one with train_in_context, or read a released checkpoint with "
            "InContextEncoder.from_checkpoint."
        )

    def _voxels_at_once(self, run: Runner, n_context: int, attention: bool = False) -> int:
        if self.voxel_batch is not None:
            return check_positive_int("voxel_batch", self.voxel_batch)
        return run.voxels_at_once(n_context, self.memory_limit, attention)


def phantom_network(**settings: Any) -> InContextEncoder:
    """Return an encoder over the network that ships: trained on simulated subjects, to try, check and learn with.

    It reads contexts of unit phantom-clip embeddings (``Extractor("phantom-clip")``, layer "output", 128 numbers) and
    z-scored responses of phantom subjects (``write_phantom``). ``metrics.json`` in its folder says how it was trained
    (``scripts/train_phantom_in_context.py``) and how it compares with ridge regression on a subject it has never seen.
    It knows nothing about real brains.

    Parameters
    ----------
    **settings
        Of :class:`InContextEncoder`.

    Examples
    --------
    >>> phantom_network().fit(np.eye(128)[:40], np.random.default_rng(0).standard_normal((40, 3))).coef_.shape
    (3, 128)
    """
    return InContextEncoder("phantom", **settings)
