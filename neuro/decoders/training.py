"""One training loop for all decoders: seeded, stopped early, and able to go on where it was killed.

Every random draw (order, mixing, noise, dropout) is a function of (seed, epoch, batch), so a run that is interrupted
and resumed gives the same weights, to the bit, as one that was not. What is learned, and from what, is the business of
a *task*; the loop knows batches, steps, rates, precision and files.

Under ``torchrun`` (or accelerate) each process takes its share of a batch; gradients are averaged and contrastive
losses gathered, which gives the same step as one process with the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from neuro.decoders._training_log import TrainingLog
from neuro.decoders._training_run import TrainingRun
from neuro.decoders._training_settings import PRECISIONS, Place, Task, TrainingResult, TrainingSettings
from neuro.errors import EmptySelection, SplitLeakage

__all__ = [
    "PRECISIONS",
    "Place",
    "Task",
    "TrainingResult",
    "TrainingSettings",
    "train",
    "validation_split",
]


def train(
    network: nn.Module,
    task: Task,
    settings: TrainingSettings,
    *,
    folder: str | Path | None = None,
    resume: bool = True,
    device: Any = None,
    accelerator: Any = None,
    tensorboard: bool = False,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> TrainingResult:
    """Train ``network`` in place; it ends with the weights of its best epoch, in evaluation mode.

    Parameters
    ----------
    network : nn.Module
        Weights with ``requires_grad=False`` stay as they are.
    task : Task
    settings : TrainingSettings
    folder : path, optional
        For checkpoints, ``log.tsv`` and TensorBoard files. Without one nothing is written.
    resume : bool
        Go on from the checkpoint in ``folder``, if there is one.
    device : str, torch.device, optional
        By default where the network is.
    accelerator : accelerate.Accelerator, optional
        Its device is used; processes are those of ``torch.distributed``, however started.
    tensorboard : bool
    progress : callable, optional
        Called after every step with a dict: step, n_steps, epoch, lr, total, terms, and ``validation`` after an epoch.

    Returns
    -------
    TrainingResult

    Raises
    ------
    TrainingDiverged
        If loss or gradient are not finite. The network holds the weights before that step, the folder the last
        checkpoint.
    StaleStore
        If ``folder`` holds the run of other settings, data or starting weights.
    CorruptFile
        If its checkpoint is damaged.
    """
    if task.n_batches < 1:
        raise EmptySelection("an epoch has no batch: there are fewer training stimuli than a batch holds.")
    run = TrainingRun(network, task, settings, None if folder is None else Path(folder), device, accelerator)
    log = TrainingLog(run.folder if run.main else None, tensorboard)
    try:
        if resume:
            run.resume()
        log.write(run.result.history)
        return _loop(run, log, progress)
    finally:
        log.close()


def _loop(run: TrainingRun, log: TrainingLog, progress: Callable[[dict[str, Any]], None] | None) -> TrainingResult:
    settings, task, result = run.settings, run.task, run.result
    since = 0
    while result.epochs < settings.epochs and not result.stopped_early:
        while run.batch < task.n_batches:
            report = run.step()
            since += 1
            log.step(report)
            if settings.checkpoint_every and since >= settings.checkpoint_every and run.batch < task.n_batches:
                run.save()
                since = 0
            if progress is not None and run.batch < task.n_batches:
                progress(report)
        report["validation"] = run.end_epoch()
        log.epoch(result.history)
        run.save()
        since = 0
        if progress is not None:
            progress(report)
    run.finish()
    return result


def validation_split(
    ids: Any, share: float = 0.1, seed: int = 0, test_ids: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Split stimuli (never trials) into training and validation ids.

    Parameters
    ----------
    ids : array (n_trials,)
        Stimulus of each training trial; repeats are welcome.
    share : float, 0 to below 1
        0 keeps no validation set.
    seed : int
    test_ids : array, optional
        Stimuli that will be tested on, to be sure that they are neither.

    Returns
    -------
    train, validation : arrays of ids, ascending

    Raises
    ------
    SplitLeakage
        If a test stimulus is among ``ids``.

    Examples
    --------
    >>> train, validation = validation_split([3, 3, 5, 7, 9], share=0.25, seed=1)
    >>> len(train), len(validation)
    (3, 1)
    """
    known = np.unique(np.asarray(ids))
    if test_ids is not None:
        both = np.intersect1d(known, np.asarray(test_ids))
        if len(both):
            raise SplitLeakage(
                f"{len(both):,} of {len(known):,} training stimuli are test stimuli, first {both[:3].tolist()}: what "
                "is tested must be seen in neither training nor validation. Split by stimulus first (Responses.split)."
            )
    if not 0 <= share < 1:
        raise ValueError(f"the validation share must be at least 0 and below 1, got {share!r}.")
    n = round(share * len(known)) if share else 0
    if share and not 0 < n < len(known):
        raise EmptySelection(f"a validation share of {share} of {len(known)} stimuli leaves one side empty.")
    order = np.random.default_rng([seed, 1]).permutation(known)
    return np.sort(order[n:]), np.sort(order[:n])
