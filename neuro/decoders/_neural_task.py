"""What a neural decoder learns from: batches of several subjects, a recipe's losses, retrieval on held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuro._files import fingerprint, hash_bytes
from neuro.decoders._neural_data import Batches, SubjectTrials, TargetRows
from neuro.decoders._neural_losses import (
    CONTRASTIVE,
    PIXELWISE,
    Batch,
    DecoderSystem,
    batch_losses,
    mixing_epochs,
    paired,
    prior_loss,
)
from neuro.decoders.losses import similarity
from neuro.decoders.mixing import join_blocks, mixco
from neuro.decoders.recipes.settings import DecoderRecipe
from neuro.decoders.training import Place
from neuro.errors import EmptySelection, ShapeMismatch

VALIDATION_POOL = 300  # images of a subject, at most: as many as published retrieval pools


class DecodingTask:
    """Batches, losses and validation of one recipe.

    Parameters
    ----------
    recipe : DecoderRecipe
    trials : list of SubjectTrials
    targets : TargetRows
    train, validation : arrays of image ids
    repeats : {"cycle", "single", "average"}
    shares : sequence of float, optional
        Share of each subject in a batch; equal by default.
    validate_on : sequence of str, optional
        Subjects whose held-out images are scored; all by default.
    """

    def __init__(
        self,
        recipe: DecoderRecipe,
        trials: list[SubjectTrials],
        targets: TargetRows,
        train: np.ndarray,
        validation: np.ndarray,
        repeats: str,
        shares: Sequence[float] | None = None,
        validate_on: Sequence[str] | None = None,
    ):
        self.recipe, self.trials, self.targets = recipe, trials, targets
        shares = [1 / len(trials)] * len(trials) if shares is None else list(shares)
        sizes = [max(int(recipe.batch_size * share), 1) for share in shares]
        images = [t.where(train) for t in trials]
        empty = [t.subject for t, own in zip(trials, images, strict=True) if not len(own)]
        if empty:
            raise EmptySelection(f"subject {empty[0]} saw none of the training images.")
        self.batches = Batches(trials, images, sizes, repeats)
        if sum(self.batches.sizes) < 2 and any(t.kind in CONTRASTIVE for t in recipe.losses):
            raise EmptySelection("contrastive losses need at least two images in a batch; raise batch_size.")
        scored = [t for t in trials if validate_on is None or t.subject in validate_on]
        self.held_out = [(t, t.where(validation)[:VALIDATION_POOL]) for t in scored]
        self.train_ids, self.validation_ids = train, validation

    @property
    def n_batches(self) -> int:
        """Batches of an epoch: until the subject with most trials is through."""
        return self.batches.n_batches

    @property
    def identity(self) -> dict[str, Any]:
        """Recipe, data and split."""
        data = {
            t.subject: [t.X.fingerprint(), hash_bytes(t.ids if t.ids.dtype.kind != "O" else t.ids.astype(str))]
            for t in self.trials
        }
        sources = {k: v.fingerprint() for k, v in self.targets.sources.items()}
        return {
            "recipe": fingerprint(self.recipe.describe()),
            "responses": fingerprint(data),
            "targets": fingerprint(sources),
            "split": fingerprint([self.train_ids.tolist(), self.validation_ids.tolist()]),
            "batches": [self.batches.repeats, self.batches.sizes],
        }

    def losses(self, system: DecoderSystem, place: Place) -> dict[str, Tensor]:
        """Return the weighted terms of one batch."""
        return batch_losses(self.recipe, system, self.draw(system, place), place)

    def draw(self, system: DecoderSystem, place: Place) -> Batch:
        """Read a batch and run the network on it."""
        recipe, device = self.recipe, next(system.parameters()).device
        mixing = place.epoch < mixing_epochs(recipe, place.n_epochs)
        inputs, outputs, ids, mixes = {}, {}, [], []
        for s, trials in enumerate(self.trials):
            images, repeats = self._own_share(*self.batches.of(s, place.epoch, place.batch, place.seed), place)
            x = trials.read(images, None if self.batches.repeats == "average" else repeats)
            if recipe.inputs.get("noise"):
                noise = place.rng(2, s).standard_normal(x.shape, dtype=np.float32)
                x = x + np.float32(recipe.inputs["noise"]) * noise
            if mixing:
                beta, probability = recipe.mix.get("beta", 0.15), recipe.mix.get("probability", 0.5)
                x, *mix = mixco(x, place.rng(1, s), beta, probability)
                mixes.append(tuple(mix))
            inputs[trials.subject] = torch.from_numpy(x).to(device)
            outputs[trials.subject] = system.network(inputs[trials.subject], trials.subject)
            ids.append(trials.images[images])
        names = np.concatenate(ids)
        wanted = list(dict.fromkeys([*recipe.targets, *self._augmented()]))
        targets = {
            name: torch.from_numpy(self.targets.read(name, names, place.rng(5, i))).to(device)
            for i, name in enumerate(wanted)
        }
        mix = None
        if mixing:
            partners, shares = join_blocks(mixes)
            mix = torch.from_numpy(partners).to(device), torch.from_numpy(shares).to(device)
        return Batch(inputs, outputs, targets, mix)

    def _augmented(self) -> list[str]:
        return [t.options["augmented"] for t in self.recipe.losses if "augmented" in t.options]

    def _own_share(self, images: np.ndarray, repeats: np.ndarray, place: Place) -> tuple[np.ndarray, np.ndarray]:
        if len(images) % place.n_processes:
            raise ShapeMismatch(
                f"{len(images)} images of a subject in a batch cannot be shared by {place.n_processes} processes: "
                "choose a batch_size that is a multiple of processes times subjects."
            )
        size = len(images) // place.n_processes
        own = slice(place.process * size, (place.process + 1) * size)
        return images[own], repeats[own]

    def validate(self, system: DecoderSystem) -> dict[str, float] | None:
        """Return scores on held-out images, repeats averaged, as means over subjects.

        "score" is the mean reciprocal rank of the right image (and of the right brain) where the recipe contrasts,
        otherwise minus its regression terms, otherwise minus the prior's loss; None where it has neither.
        """
        held_out = [(t, images) for t, images in self.held_out if len(images) > 1]
        if not held_out:
            return None
        rows = [self._scores(system, trials, images) for trials, images in held_out]
        if not rows[0]:
            return None
        means = {k: float(np.mean([r[k] for r in rows])) for k in rows[0]}
        if "retrieval" in means:
            return {"score": means.pop("retrieval"), **means}
        losses = [v for k, v in means.items() if k != "prior"] or list(means.values())
        return {"score": -float(np.sum(losses)), **means}

    def _scores(self, system: DecoderSystem, trials: SubjectTrials, images: np.ndarray) -> dict[str, float]:
        device = next(system.parameters()).device
        out: dict[str, list[Tensor]] = {}
        for start in range(0, len(images), 256):
            x = torch.from_numpy(trials.read(images[start : start + 256])).to(device)
            for name, value in system.network(x, trials.subject).items():
                out.setdefault(name, []).append(value.float())
        outputs = {k: torch.cat(v) for k, v in out.items()}
        ids, rng = trials.images[images], np.random.default_rng(0)
        target = {k: torch.from_numpy(self.targets.read(k, ids, rng)).to(device) for k in self.recipe.targets}
        scores: dict[str, float] = {}
        for term in self.recipe.losses:
            if term.kind in CONTRASTIVE and "retrieval" not in scores:
                scores["retrieval"] = mean_reciprocal_rank(*paired(outputs[term.output], target[term.target], term))
            elif term.kind in PIXELWISE:
                pair = paired(outputs[term.output], target[term.target], term)
                scores[term.name] = term.weight * float(PIXELWISE[term.kind](*pair))
            elif term.kind == "prior":
                scores["prior"] = float(prior_loss(system, outputs[term.output], target[term.target], rng))
        return scores


def mean_reciprocal_rank(pred: Tensor, target: Tensor) -> float:
    """Return the mean of 1 / rank of the right partner by cosine, over both directions; equals count half.

    >>> mean_reciprocal_rank(torch.eye(4), torch.eye(4))
    1.0
    """
    S = similarity(pred, target)
    own = S.diagonal()
    ranks = []
    for scores in (S, S.T):
        above, equal = (scores > own[:, None]).sum(1), (scores == own[:, None]).sum(1)
        ranks.append(1 + above + (equal - 1) / 2)
    return float((1 / torch.cat(ranks)).mean())
