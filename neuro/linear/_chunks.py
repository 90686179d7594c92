"""Voxels in chunks: bounded memory, centred responses, and one place where threads are started."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

CHUNK = {"cpu": 2048, "cuda": 32768}  # voxels at once, at most: more gains nothing and leaves the caches


class Buffers:
    """Scratch memory that is taken once and handed out again: fresh pages cost as much as the arithmetic."""

    def __init__(self, dtype: torch.dtype, device: torch.device):
        self.dtype, self.device = dtype, device
        self._flat: dict[str, torch.Tensor] = {}

    def __call__(self, name: str, *shape: int) -> torch.Tensor:
        """Return an uninitialised tensor of ``shape`` over the memory called ``name``."""
        size = 1
        for length in shape:
            size *= length
        flat = self._flat.get(name)
        if flat is None or flat.numel() < size:
            flat = self._flat[name] = torch.empty(size, dtype=self.dtype, device=self.device)
        return flat[:size].view(shape)


class Responses:
    """Y behind a door that hands out centred chunks in fold order and remembers the means."""

    def __init__(self, Y, order, intercept: bool, dtype: torch.dtype, device: torch.device):
        self.Y, self.intercept, self.dtype, self.device = Y, intercept, dtype, device
        self.order = None if order is None else order.to(Y.device)
        self.n, self.n_voxels = Y.shape
        self.mean = torch.zeros(self.n_voxels, dtype=torch.float64, device=device)
        self.scale = _power_of_two(Y)

    def chunk(self, voxels: slice, buffers: Buffers) -> torch.Tensor:
        """Return rows in fold order (n, n_chunk), minus their mean, times ``scale``; notes the mean."""
        out = self._gather(voxels, self.order, buffers)
        if self.intercept:
            mean = out.mean(0)
            out.sub_(mean)
            self.mean[voxels] = mean.double() / self.scale
        return out

    def rows(self, voxels: slice, rows: slice | torch.Tensor, buffers: Buffers) -> torch.Tensor:
        """Return some rows of what ``chunk`` returned for these voxels before."""
        order = torch.arange(self.n, device=self.Y.device) if self.order is None else self.order
        where = order[rows if isinstance(rows, slice) else rows.to(order.device)]
        out = self._gather(voxels, where, buffers)
        return out.sub_((self.mean[voxels] * self.scale).to(self.dtype)) if self.intercept else out

    def _gather(self, voxels: slice, rows: torch.Tensor | None, buffers: Buffers) -> torch.Tensor:
        source = self.Y[:, voxels]
        out = buffers("responses", self.n if rows is None else len(rows), source.shape[1])
        if rows is None:
            out.copy_(source)
        elif source.dtype == out.dtype and source.device == out.device:
            torch.index_select(source, 0, rows, out=out)
        else:
            out.copy_(source.index_select(0, rows))
        return out.mul_(self.scale) if self.scale != 1 else out

    def rounding(self, voxels: slice) -> torch.Tensor:
        """Return the mean square (n_chunk,) below which a centred voxel is only the rounding of its mean."""
        return (self.mean[voxels].abs() * (8 * torch.finfo(self.dtype).eps * self.scale)).square().to(self.dtype)

    def score_unit(self, scoring: str) -> float:
        """Return what takes scores of scaled responses back to the responses' units."""
        return self.scale**-2.0 if scoring == "neg_mse" else 1.0


def _power_of_two(Y: torch.Tensor) -> float:
    """Return a power of two that brings responses in odd units (tesla, say) near 1, where float32 squares are safe."""
    sample = Y[:: max(1, len(Y) // 64)].double()
    size = float((sample - sample.mean(0)).abs().max()) or float(sample.abs().max())
    return 1.0 if size == 0 or 2**-20 < size < 2**20 else 2.0 ** -round(math.log2(size))


def over_chunks(
    work: Callable[[slice, Buffers], None],
    responses: Responses,
    per_voxel: int,
    memory_limit: int,
    n_jobs: int | None = None,
) -> None:
    """Call ``work(voxels, buffers)`` for every chunk of voxels.

    Parameters
    ----------
    work : callable
        Writes its results in place; chunks are independent.
    per_voxel : int
        Numbers that one voxel needs in scratch memory.
    memory_limit : int
        Bytes; half of it is for the chunks of all threads together.
    n_jobs : int or None
        Threads, through joblib; None is 1 (the products inside use all cores already).
    """
    from joblib import Parallel, delayed, effective_n_jobs

    jobs = 1 if n_jobs is None else effective_n_jobs(n_jobs)
    size = torch.finfo(responses.dtype).bits // 8
    fits = memory_limit // (2 * jobs * size * max(per_voxel, 1))
    largest = CHUNK.get(responses.device.type, CHUNK["cpu"])
    chunk = int(max(1, min(fits, largest, -(-responses.n_voxels // jobs))))
    n_chunks = -(-responses.n_voxels // chunk)
    chunk = -(-responses.n_voxels // n_chunks)  # even
    chunks = [slice(i, min(i + chunk, responses.n_voxels)) for i in range(0, responses.n_voxels, chunk)]
    if jobs == 1:
        buffers = Buffers(responses.dtype, responses.device)
        for voxels in chunks:
            work(voxels, buffers)
        return

    def one(voxels: slice) -> None:
        work(voxels, Buffers(responses.dtype, responses.device))

    Parallel(n_jobs=jobs, prefer="threads", require="sharedmem")(delayed(one)(voxels) for voxels in chunks)


def in_threads(tasks: list[Callable[[], Any]], device: torch.device, one_by_one: bool) -> list[Any]:
    """Return the results of ``tasks``, run side by side with one core each, or one by one with all cores.

    LAPACK's eigensolvers gain little from a second core and lose much where it is busy with something else.
    """
    cores = torch.get_num_threads()
    if one_by_one or device.type != "cpu" or cores == 1 or len(tasks) == 1:
        return [task() for task in tasks]

    def alone(task: Callable[[], Any]) -> Any:
        torch.set_num_threads(1)  # of this thread only
        return task()

    with ThreadPoolExecutor(min(cores, len(tasks))) as pool:
        return list(pool.map(alone, tasks))
