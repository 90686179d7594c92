r"""Which brain belongs to which image: losses that pull matching pairs together, and those of MindBridge.

With predictions P and targets T flattened per item and scaled to unit length, and S = P T' / temperature::

    info_nce   (1/2) [CE(S, I) + CE(S', I)]
    soft_clip  the same, towards A = softmax(T T' / temperature) instead of I
    siglip     -mean_i sum_j log sigmoid(+-(scale p_i.t_j + bias)), + for pairs

All of them compute in float32 whatever autocast says (a temperature of .004 leaves float16 after a cosine of .3), give
finite values and gradients for all-zero rows, and let NaN through, so that the training loop sees it and says where.
:func:`neuro.decoders.mixing.bimixco` is the mixing variant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from neuro._check import check_option
from neuro.errors import ShapeMismatch

DIRECTIONS = ("both", "image_given_brain", "brain_given_image")
EPS = 1e-6  # rows shorter than this are divided by it instead of by their length


def unit_rows(x: Tensor) -> Tensor:
    """Return rows (n, ...) flattened, in float32 (float64 stays) and of length one: (n, d).

    >>> unit_rows(torch.tensor([[3.0, 4.0]], dtype=torch.float16))
    tensor([[0.6000, 0.8000]])
    """
    flat = x.flatten(1)
    return F.normalize(flat if flat.dtype == torch.float64 else flat.float(), dim=1, eps=EPS)


def full_precision(x: Tensor) -> Any:
    """Return a context in which products of float32 stay float32."""
    return torch.autocast(x.device.type, enabled=False)


def similarity(pred: Tensor, target: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """Return cosines divided by ``temperature``: (n, m) for predictions (n, ...) and targets (m, ...)."""
    with full_precision(pred):
        return unit_rows(pred) @ unit_rows(target).T / temperature


def info_nce(
    pred: Tensor,
    target: Tensor,
    temperature: float | Tensor = 0.07,
    *,
    direction: str = "both",
    gather: bool = False,
) -> Tensor:
    """Cross-entropy of finding each item's partner among the batch.

    Parameters
    ----------
    pred, target : (n, ...)
        Row i of one belongs to row i of the other; anything after the first axis is flattened.
    temperature : float or tensor
        A tensor may be learned (as exp of a parameter).
    direction : {"both", "image_given_brain", "brain_given_image"}
        Candidates are the targets, the predictions, or each in turn (the mean of both).
    gather : bool
        Take the rows of all processes of ``torch.distributed`` as one batch, see :func:`gather_rows`.

    Returns
    -------
    tensor ()

    Raises
    ------
    ShapeMismatch
        If the two are not as many or not as long.

    References
    ----------
    van den Oord et al. (2018), arXiv:1807.03748; Radford et al. (2021), ICML.

    Examples
    --------
    >>> info_nce(torch.eye(8), torch.eye(8), 1.0)      # log(1 + 7 / e)
    tensor(1.2740)
    """
    check_option("direction", direction, DIRECTIONS)
    pred, target = _pair(pred, target, gather)
    S = similarity(pred, target, temperature)
    own = torch.arange(len(S), device=S.device)
    forward, backward = (F.cross_entropy(s, own) for s in (S, S.T))
    return {"both": (forward + backward) / 2, "image_given_brain": forward, "brain_given_image": backward}[direction]


def soft_clip(pred: Tensor, target: Tensor, temperature: float | Tensor = 0.006, *, gather: bool = False) -> Tensor:
    """InfoNCE towards the similarities of the targets with one another, so that alike images are no full negatives.

    ``-(1/2) mean_i sum_j A_ij [log softmax(S)_ij + log softmax(S')_ij]`` with ``A = softmax(T T' / temperature)``.

    Parameters
    ----------
    pred, target : (n, ...)
    temperature : float or tensor
        The same for predictions and targets; MindEye moves it from .004 to .0075 by
        :func:`neuro.decoders.schedules.cosine_temperature`.
    gather : bool
        Take the rows of all processes as one batch.

    Returns
    -------
    tensor (), at least the mean entropy of A, which it reaches at ``pred == target``

    References
    ----------
    Scotti et al. (2023), NeurIPS (MindEye).
    """
    pred, target = _pair(pred, target, gather)
    S = similarity(pred, target, temperature)
    A = similarity(target, target, temperature).softmax(1)
    return -(A * (S.log_softmax(1) + S.T.log_softmax(1))).sum(1).mean() / 2


def siglip(
    pred: Tensor, target: Tensor, scale: float | Tensor = 10.0, bias: float | Tensor = -10.0, *, gather: bool = False
) -> Tensor:
    """Every pair on its own: is it one? Scale and bias are usually learned.

    References
    ----------
    Zhai et al. (2023), ICCV.
    """
    pred, target = _pair(pred, target, gather)
    logits = similarity(pred, target) * scale + bias
    signs = 2 * torch.eye(len(logits), device=logits.device, dtype=logits.dtype) - 1
    return -F.logsigmoid(signs * logits).sum(1).mean()


def mse(pred: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over everything, in float32."""
    _same_shape(pred, target)
    return F.mse_loss(pred.float(), target.float())


def mae(pred: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error over everything, in float32."""
    _same_shape(pred, target)
    return F.l1_loss(pred.float(), target.float())


def mse_normalised(pred: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of unit vectors: 2 (1 - cosine) / d, which is why MindBridge weighs it by 10,000.

    Parameters
    ----------
    pred, target : (n, ...)
        Flattened to d numbers per item.
    """
    _same_shape(pred, target)
    with full_precision(pred):
        return F.mse_loss(unit_rows(pred), unit_rows(target))


def soft_cont(student: Tensor, teacher: Tensor, augmented: Tensor, temperature: float = 0.2) -> Tensor:
    """Let a student's maps relate to those of an augmented image as the teacher's maps do.

    With all positions of all items as rows s, t, a of unit length and H the cross-entropy of a softmax:
    ``(1/2) [H(sm(t a' / T), s a' / T) + H(sm(a t' / T), a s' / T)]``.

    Parameters
    ----------
    student, teacher, augmented : (n, positions, d)
        ``augmented`` is the teacher on an augmented version of each image.
    temperature : float
        .075 in MindEye, .2 in MindEye2.

    Returns
    -------
    tensor (), smallest at ``student == teacher``
    """
    _same_shape(student, teacher)
    _same_shape(teacher, augmented)
    s, t, a = (x.flatten(0, -2) for x in (student, teacher, augmented))
    wanted, given = similarity(t, a, temperature), similarity(s, a, temperature)
    losses = [-(w.softmax(1) * g.log_softmax(1)).sum(1).mean() for w, g in ((wanted, given), (wanted.T, given.T))]
    return (losses[0] + losses[1]) / 2


def cycle(embedding: Tensor, build: Callable[[Tensor], Tensor], embed: Callable[[Tensor], Tensor]) -> Tensor:
    """One subject's embedding through another subject's brain and back: mean ``|e - embed(build(e))|^2``.

    Parameters
    ----------
    embedding : (n, d)
        Of subject a.
    build, embed : callable
        Subject b's builder (embedding to voxels) and adapter (voxels to embedding). With subject a's own pair, and
        voxels in place of the embedding, it is MindBridge's reconstruction loss.

    References
    ----------
    Wang et al. (2024), CVPR (MindBridge).
    """
    return mse(embed(build(embedding)), embedding)


def gather_rows(x: Tensor) -> Tensor:
    """Return the rows of all processes, in order of rank; without ``torch.distributed``, ``x`` itself.

    Differentiable: a loss of all rows that every process computes, with gradients averaged over processes as
    DistributedDataParallel does, gives exactly the gradient of one process that held the whole batch. All processes
    must hold as many rows.
    """
    dist = torch.distributed
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return x
    return _Gather.apply(x)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(_world())]
        torch.distributed.all_gather(parts, x.contiguous())
        ctx.n = len(x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        torch.distributed.all_reduce(total)
        start = torch.distributed.get_rank() * ctx.n
        return total[start : start + ctx.n]


def _world() -> int:
    return torch.distributed.get_world_size()


def _pair(pred: Tensor, target: Tensor, gather: bool) -> tuple[Tensor, Tensor]:
    if len(pred) != len(target) or pred[:1].numel() != target[:1].numel():
        raise ShapeMismatch(
            f"predictions {tuple(pred.shape)} and targets {tuple(target.shape)} must be as many items of as many "
            "numbers each: row i of one belongs to row i of the other."
        )
    if not len(pred):
        raise ShapeMismatch("a contrastive loss needs at least one item, got an empty batch.")
    return (gather_rows(pred), gather_rows(target)) if gather else (pred, target)


def _same_shape(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ShapeMismatch(f"expected two tensors of one shape, got {tuple(a.shape)} and {tuple(b.shape)}.")
