"""Kernels between stimuli: linear, polynomial, RBF, sigmoid, cosine, or a function of two arrays."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from neuro._check import check_option
from neuro.errors import ShapeMismatch

NEGATIVE = 1e-8  # of the largest eigenvalue: what is below -NEGATIVE of it is not rounding


class IndefiniteKernelWarning(UserWarning):
    """A kernel has negative eigenvalues, which are treated as zero."""


def linear(A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    """``a'b``."""
    return A @ B.T


def polynomial(
    A: torch.Tensor, B: torch.Tensor, gamma: float | None = None, coef0: float = 1.0, degree: float = 3
) -> torch.Tensor:
    """``(gamma a'b + coef0)^degree``; gamma is 1 / n_features unless given."""
    return (_gamma(gamma, A) * (A @ B.T) + coef0) ** degree


def rbf(A: torch.Tensor, B: torch.Tensor, gamma: float | None = None) -> torch.Tensor:
    """``exp(-gamma |a - b|^2)``; gamma is 1 / n_features unless given."""
    distance = A.square().sum(1)[:, None] + B.square().sum(1) - 2 * (A @ B.T)
    return (-_gamma(gamma, A) * distance.clamp(min=0)).exp()


def sigmoid(A: torch.Tensor, B: torch.Tensor, gamma: float | None = None, coef0: float = 1.0) -> torch.Tensor:
    """``tanh(gamma a'b + coef0)``, which need not be positive definite; gamma is 1 / n_features unless given."""
    return (_gamma(gamma, A) * (A @ B.T) + coef0).tanh()


def cosine(A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    """``a'b / (|a| |b|)``; 0 for a row of zeros."""
    return _unit(A) @ _unit(B).T


KERNELS: dict[str, Callable[..., torch.Tensor]] = {
    "linear": linear,
    "polynomial": polynomial,
    "rbf": rbf,
    "sigmoid": sigmoid,
    "cosine": cosine,
}


def check_kernel(kernel: Any) -> Any:
    """Return ``kernel`` if it is a name, "precomputed" or callable."""
    return kernel if callable(kernel) else check_option("kernel", kernel, [*KERNELS, "precomputed"])


def kernel_matrix(kernel: Any, A: torch.Tensor, B: torch.Tensor, parameters: dict[str, Any] | None) -> torch.Tensor:
    """Return the kernel (n_A, n_B) in float64 between rows of ``A`` and ``B`` (float64).

    A callable takes arrays if it cannot take tensors: it is called with numpy arrays and may return either.
    """
    if callable(kernel):
        K = kernel(A.cpu().numpy(), B.cpu().numpy(), **(parameters or {}))
        K = torch.as_tensor(np.asarray(K) if not isinstance(K, torch.Tensor) else K).to(A)
    else:
        try:
            K = KERNELS[kernel](A, B, **(parameters or {}))
        except TypeError as error:
            raise ValueError(f"kernel {kernel!r} does not take the parameters {parameters}: {error}.") from None
    if K.shape != (len(A), len(B)):
        raise ShapeMismatch(f"the kernel must give ({len(A):,}, {len(B):,}) numbers; its shape is {tuple(K.shape)}.")
    if not bool(torch.isfinite(K).all()):
        raise ValueError(f"kernel {kernel!r} gave NaN or infinity; its parameters were {parameters}.")
    return K


def check_square(K: torch.Tensor, name: str) -> torch.Tensor:
    """Return a kernel between training stimuli if it is square and symmetric."""
    if K.ndim != 2 or K.shape[0] != K.shape[1]:
        raise ShapeMismatch(f"{name} must be (n_stimuli, n_stimuli); its shape is {tuple(K.shape)}.")
    if not bool(torch.allclose(K, K.T, rtol=1e-5, atol=1e-6 * float(K.abs().max()))):
        raise ValueError(f"{name} must be symmetric between the training stimuli.")
    return (K + K.T) / 2


def warn_of_indefinite(kernels: list[torch.Tensor], names: list[str], stacklevel: int = 3) -> None:
    """Warn once if kernels have eigenvalues below zero by more than rounding."""
    bad = []
    for K, name in zip(kernels, names, strict=True):
        lam = torch.linalg.eigvalsh(K)
        if float(lam[0]) < -NEGATIVE * float(lam.abs().max()):
            bad.append(f"{name} ({int((lam < -NEGATIVE * lam.abs().max()).sum()):,} of {len(lam):,})")
    if bad:
        warnings.warn(
            f"{len(bad)} of {len(kernels)} kernels have negative eigenvalues: {', '.join(bad)}. They are treated as "
            "zero; a positive definite kernel (linear, rbf, cosine) has none.",
            IndefiniteKernelWarning,
            stacklevel=stacklevel,
        )


def _gamma(gamma: float | None, A: torch.Tensor) -> float:
    return 1 / A.shape[1] if gamma is None else gamma


def _unit(A: torch.Tensor) -> torch.Tensor:
    norm = A.square().sum(1, keepdim=True).sqrt()
    return A / torch.where(norm > 0, norm, 1.0)
