"""Contexts through the network, in chunks of voxels that fit a limit of memory.

Chunks do not change results: voxels do not see each other. The network stays on the device and in the mode it is in.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from neuro._check import check_positive_int
from neuro.encoders._in_context_network import InContextNetwork
from neuro.errors import ShapeMismatch
from neuro.linear._arrays import array_of, as_tensor, tensor_of

UNIT = 1e-2  # half-precision embeddings of unit length are off by less
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class ResponseScaleWarning(UserWarning):
    """Responses do not look like the z-scores that in-context networks are trained with."""


class Runner:
    """A network in evaluation mode on one device, called as often as needed."""

    def __init__(self, network: InContextNetwork, device: torch.device, precision: str):
        self.network, self.device, self.lower = network, device, PRECISIONS[precision]
        self.dtype = network.tokens.dtype
        self.state = {k: v.detach().to(device) for k, v in network.named_parameters()}

    def __call__(self, X: torch.Tensor, Y: torch.Tensor, attention: bool = False) -> Any:
        """Return weights (and attention) for embeddings (S, E) and responses (S, B)."""
        training = self.network.training
        self.network.eval()
        try:
            with (
                torch.no_grad(),
                torch.autocast(self.device.type, dtype=self.lower or torch.bfloat16, enabled=self.lower is not None),
            ):
                inputs = (X.to(self.device, self.dtype), Y.T.to(self.device, self.dtype), attention)
                return torch.func.functional_call(self.network, self.state, inputs)
        finally:
            self.network.train(training)

    def voxels_at_once(self, n_context: int, memory_limit: int, attention: bool = False) -> int:
        """Return how many voxels fit ``memory_limit`` bytes."""
        config = self.network.config
        each = config.bytes_per_voxel(n_context, self.dtype.itemsize)
        if attention:
            each += self.dtype.itemsize * config.n_layers * config.n_heads * (n_context + config.n_tokens) * 2
        return max(1, int(memory_limit) // each)


def context_weights(
    run: Runner, X: torch.Tensor, Y: torch.Tensor, draws: list[np.ndarray | None], standardize: bool, step: int
) -> torch.Tensor:
    """Return weights (n_voxels, n_features + 1), intercept last, averaged over contexts.

    ``draws`` are rows of X (n_images, n_features) and Y (n_images, n_voxels); None stands for all.
    """
    mean, sd, constant = scale_of(Y, standardize)
    out = torch.zeros(Y.shape[1], X.shape[1] + 1, dtype=run.dtype, device=Y.device)
    for i in range(0, Y.shape[1], step):
        here = slice(i, i + step)
        block = (Y[:, here].double() - mean[here]) / sd[here]
        for draw in draws:
            rows = slice(None) if draw is None else torch.from_numpy(draw)
            out[here] += run(X[rows], block[rows]).to(out) / len(draws)
    out *= torch.where(constant, torch.zeros_like(sd), sd).to(out)[:, None]
    out[:, -1] += mean.to(out)
    return out


def context_attention(run: Runner, X: torch.Tensor, Y: torch.Tensor, layer: Any, standardize: bool, step: int) -> Any:
    """Return attention (n_voxels, n_images) over the context, averaged over heads, of one block or all."""
    mean, sd, _ = scale_of(Y, standardize)
    out = torch.empty(Y.shape[1], len(X), dtype=run.dtype)
    for i in range(0, len(out), step):
        here = slice(i, i + step)
        attention = run(X, (Y[:, here].double() - mean[here]) / sd[here], True)[1]  # (L, B, H, T)
        picked = attention.to(run.dtype).mean(0) if layer == "mean" else attention[layer].to(run.dtype)
        out[here] = picked.mean(1)[:, run.network.config.n_tokens :].cpu()
    return out


def scale_of(Y: torch.Tensor, standardize: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what to subtract from each voxel, what to divide by, and which voxels are constant (these become 0)."""
    mean = Y.mean(0, dtype=torch.float64)
    constant = torch.eq(Y, Y[:1]).all(0)
    mean = torch.where(constant, Y[0].double(), mean)
    sd = (Y.double() - mean).square().mean(0).sqrt()
    one = torch.ones_like(sd)
    if standardize:
        return mean, torch.where(constant, one, sd), constant
    return torch.where(constant, mean, torch.zeros_like(mean)), one, constant


def size_of_contexts(n: int, n_bootstrap: Any, context_size: Any, least: int) -> int:
    """Return how many of ``n`` images are read at once, or say why they cannot be."""
    many = check_positive_int("n_bootstrap", n_bootstrap) > 1
    size = (200 if many else n) if context_size is None else check_positive_int("context_size", context_size)
    if size > n or (many and size == n):
        raise ValueError(
            f"context_size must be below the {n:,} images given, got {size:,}"
            f"{': all of several contexts would be the same' if many and size == n else ''}."
        )
    if size < least:
        raise ValueError(
            f"the context has {size:,} images, but the network was trained with at least {least}. "
            "Give more images, or a network trained with shorter contexts."
        )
    return size


def weights_on_texts(coef: Any, intercept: Any, texts: Any, kind: str) -> Any:
    """Return the cosine of weights (n_voxels, n_features) with texts (n_texts, n_features), or what they predict."""
    T = (texts.detach() if isinstance(texts, torch.Tensor) else as_tensor(np.atleast_2d(texts))).to(torch.float64)
    W = tensor_of(coef, T.device).double()
    if T.ndim != 2 or T.shape[1] != W.shape[-1]:
        raise ShapeMismatch(
            f"text_embeddings must be (n_texts, {W.shape[-1]}), in the space of the images' embeddings; "
            f"got {tuple(T.shape)}."
        )
    lengths_of("text_embeddings", T)
    T = torch.nn.functional.normalize(T, dim=1)
    if kind == "cosine":
        out = torch.nn.functional.normalize(W, dim=-1) @ T.T
    else:
        out = W @ T.T + torch.as_tensor(array_of(intercept), device=T.device)[..., None]
    out = out.to(tensor_of(coef).dtype)
    return out if isinstance(texts, torch.Tensor) else out.numpy()


def lengths_of(name: str, X: torch.Tensor) -> torch.Tensor:
    """Return the norms of rows; rows without a direction are an error."""
    lengths = torch.linalg.vector_norm(X.double(), dim=1)
    bad = ~(torch.isfinite(lengths) & (lengths > 0))
    if bool(bad.any()):
        raise ValueError(
            f"{name} has {int(bad.sum()):,} rows that are zero or not finite (the first is "
            f"{int(torch.nonzero(bad)[0])}): they have no direction. Leave them out."
        )
    return lengths


def unit_rows(X: torch.Tensor, normalize: bool) -> torch.Tensor:
    """Return embeddings of unit length, or say that they are not."""
    lengths = lengths_of("X", X)
    if normalize:
        return (X.double() / lengths[:, None]).to(X.dtype if X.is_floating_point() else torch.float64)
    off = (lengths - 1).abs() > UNIT
    if bool(off.any()):
        raise ValueError(
            f"X must hold embeddings of unit length, which the network was trained with; {int(off.sum()):,} of "
            f"{len(X):,} have other lengths, from {float(lengths.min()):.3g} to {float(lengths.max()):.3g}. "
            "Divide each by its norm, or set normalize=True."
        )
    return X


def warn_of_scale(Y: torch.Tensor) -> None:
    """Warn, once with a count, of responses that are no z-scores."""
    if len(Y) < 10:
        return
    mean, sd = Y.mean(0, dtype=torch.float64), Y.double().std(0)
    far = ((mean.abs() > 1) | (sd > 3) | (sd < 0.05)) & ~torch.eq(Y, Y[:1]).all(0)
    share = float(far.double().mean())
    if share > 0.05:
        warnings.warn(
            f"{int(far.sum()):,} of {len(far):,} voxels ({share:.0%}) have responses with a mean above 1 or a s.d. "
            "outside 0.05 to 3, but networks are trained with responses z-scored per voxel. Z-score them over all of "
            "the subject's data, or set standardize=True.",
            ResponseScaleWarning,
            stacklevel=3,
        )
