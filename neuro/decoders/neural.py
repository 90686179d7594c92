"""Neural decoders: any recipe, any number of subjects, one fit and one predict."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuro._check import check_option, check_positive_int
from neuro._provenance import provenance
from neuro.decoders._neural_data import REPEATS, SubjectTrials, TargetRows, plain_rows, read_subjects, subject_of
from neuro.decoders._neural_files import read_decoder, write_decoder
from neuro.decoders._neural_losses import DecoderSystem, check_recipe
from neuro.decoders._neural_predict import decode_trials, name_outputs
from neuro.decoders._neural_task import DecodingTask
from neuro.decoders._subject_adapters import add_subject, subject_parameters
from neuro.decoders.decoded import Decoded
from neuro.decoders.prior import DiffusionPrior
from neuro.decoders.recipes.settings import DecoderRecipe
from neuro.decoders.reset_tuning import frozen_except, subject_shares
from neuro.decoders.training import TrainingResult, TrainingSettings, train, validation_split
from neuro.errors import ShapeMismatch, SplitLeakage, UnknownSubject
from neuro.linear._arrays import check_device


class NeuralDecoder:
    """A network from brains to targets, trained as a recipe says.

    Parameters
    ----------
    recipe : DecoderRecipe
        As ``mindeye_recipe("nsd")``, ``mindbridge_recipe("phantom")`` or ``contrastive_recipe(128)``.
    validation : float, 0 to below 1
        Share of the training images (never of the test images, never of single trials) kept to choose the best epoch;
        0 keeps the last epoch.
    patience : int, optional
        Epochs without a better validation score before training stops.
    repeats : {"cycle", "single", "average"}, optional
        How repeats of a training image are used; by default as the recipe says.
    precision : {"fp32", "bf16", "fp16"}
    accumulate : int
        Batches per optimiser step.
    clip : float or None
    checkpoint_every : int, optional
        Steps between checkpoints, beside those after every epoch.
    random_state : int
        Of weights, split, order, mixing, noise and dropout. The same seed gives the same decoder on the same machine.
    device : str, torch.device, optional
        The CPU by default.

    Attributes
    ----------
    subjects_ : list of str
    n_voxels_ : dict subject -> int
    training_ : TrainingResult
    train_ids_, validation_ids_ : arrays
        Stimuli of the last training.
    provenance_ : dict

    Notes
    -----
    Responses and targets may be memory maps or layers of a feature store: only the rows of a batch are read. NSD
    subject 1 with the 257 x 768 tokens of 8,859 images is 7.0 GB of targets and 1.6 GB of responses on disk; a batch of
    32 is 25 MB and 2 MB in memory. The MindEye network (about 1.0e9 weights) with gradients and AdamW's moments takes
    16 GB beside it.

    Examples
    --------
    >>> from neuro.decoders.recipes.contrastive import contrastive_recipe
    >>> rng = np.random.default_rng(0)
    >>> Y = rng.standard_normal((60, 4))
    >>> X = Y @ rng.standard_normal((4, 20))
    >>> recipe = contrastive_recipe(4, width=16, epochs=2, batch_size=16)
    >>> decoder = NeuralDecoder(recipe).fit({1: X[:50]}, {"image_embedding": Y}, ids={1: np.arange(50)})
    >>> decoder.predict(X[50:], ids=np.arange(50, 60), subject=1)
    Decoded(image_embedding (10, 4); 10 stimuli, subject 1)
    """

    def __init__(
        self,
        recipe: DecoderRecipe,
        *,
        validation: float = 0.1,
        patience: int | None = None,
        repeats: str | None = None,
        precision: str = "fp32",
        accumulate: int = 1,
        clip: float | None = 1.0,
        checkpoint_every: int | None = None,
        random_state: int = 0,
        device: Any = None,
    ):
        self.recipe = recipe
        self.validation = validation
        self.patience = patience
        self.repeats = repeats
        self.precision = precision
        self.accumulate = accumulate
        self.clip = clip
        self.checkpoint_every = checkpoint_every
        self.random_state = random_state
        self.device = device

    def fit(
        self,
        X: Any,
        targets: Any,
        ids: Any = None,
        *,
        target_ids: Any = None,
        test_ids: Any = None,
        folder: str | Path | None = None,
        resume: bool = True,
        tensorboard: bool = False,
        progress: Callable[[dict[str, Any]], None] | None = None,
        accelerator: Any = None,
    ) -> NeuralDecoder:
        """Train.

        Parameters
        ----------
        X : dict subject -> (n_trials, n_voxels), Responses, or list of Responses
            Single trials; repeats of an image are used as ``repeats`` says. Read a batch at a time.
        targets : dict name -> (n_images, ...), or Features
            One row per image, read a batch at a time. A function ``f(ids, rng)`` makes the targets of a batch, as
            embeddings of augmented images.
        ids : dict subject -> (n_trials,), or array for one subject
            Image of each trial; ``Responses`` name them.
        target_ids : array (n_images,), optional
            Image of each row of the targets; by default images are row numbers.
        test_ids : array, optional
            Images that will be tested on: an error if one of them is here.
        folder : path, optional
            For checkpoints and logs; a killed training goes on from there and gives the same decoder, to the bit.
        resume, tensorboard, progress, accelerator
            See :func:`neuro.decoders.training.train`.

        Returns
        -------
        self

        Raises
        ------
        SplitLeakage, ShapeMismatch, UnknownStimulus, UnknownSubject, TrainingDiverged, StaleStore, CorruptFile
        """
        settings = self._settings(self.recipe)
        trials, rows = read_subjects(X, ids), TargetRows(targets, target_ids)
        known, held_out = self._split(trials, rows, test_ids)
        generator = torch.Generator().manual_seed(self.random_state)
        n_voxels = {t.subject: t.n_voxels for t in trials}
        system = self._build(n_voxels, rows.shape, generator)
        task = DecodingTask(self.recipe, trials, rows, known, held_out, self._repeats())
        self._check_outputs(system, trials[0], rows)
        how = {"folder": folder, "resume": resume, "tensorboard": tensorboard, "progress": progress}
        self._accept(system, n_voxels)
        self._train(task, settings, known, held_out, accelerator=accelerator, **how)
        return self

    def reset_tune(
        self,
        subject: Hashable,
        X: Any,
        targets: Any,
        ids: Any = None,
        *,
        target_ids: Any = None,
        test_ids: Any = None,
        source: Any = None,
        source_ids: Any = None,
        share: float = 0.5,
        parts: str = "subject",
        epochs: int | None = None,
        learning_rate: float | None = None,
        folder: str | Path | None = None,
        resume: bool = True,
        progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> NeuralDecoder:
        """Let a new person (or a known one, anew) into a trained decoder.

        Parameters
        ----------
        subject : int or str
            Added if unknown.
        X : (n_trials, n_voxels) or Responses
            Of the new subject.
        targets, ids, target_ids, test_ids, folder, resume, progress
            As in :meth:`fit`.
        source, source_ids : optional
            Trials of subjects that the decoder knows, as in ``fit``: they fill the rest of every batch, as partners
            in contrast and cycle.
        share : float, above 0 to 1
            The new subject's share of a batch, where there are sources.
        parts : {"subject", "all"}
            Train the subject's own weights and freeze all others, which leaves what the decoder says of other people
            as it was to the bit (MindBridge); or fine-tune everything (MindEye2).
        epochs, learning_rate : optional
            By default those of the recipe.

        Returns
        -------
        self
        """
        check_option("parts", parts, ("subject", "all"))
        self._fitted()
        changes = {"epochs": epochs, "learning_rate": learning_rate}
        recipe = self.recipe.with_settings(**{k: v for k, v in changes.items() if v is not None})
        settings = self._settings(recipe)
        own = read_subjects({subject: X}, None if ids is None else {subject: ids})
        others = [] if source is None else read_subjects(source, source_ids)
        for t in others:
            self._known(t.subject)
        shares = subject_shares(len(others), share)
        trials, rows = [*own, *others], TargetRows(targets, target_ids)
        self._check_voxels(trials)
        known, held_out = self._split(own, rows, test_ids)
        shared = np.setdiff1d(np.concatenate([t.images for t in trials]), held_out)
        if test_ids is not None:
            validation_split(shared, 0, test_ids=test_ids)
        rows.check(shared)
        name = own[0].subject
        if name not in self.n_voxels_:
            self.add_subject(subject, own[0].n_voxels)
        task = DecodingTask(recipe, trials, rows, shared, held_out, self._repeats(), shares, validate_on=[name])
        trained = subject_parameters(self.system_.network, name) if parts == "subject" else None
        with frozen_except(self.system_, trained):
            self._train(task, settings, known, held_out, folder=folder, resume=resume, progress=progress)
        return self

    def add_subject(self, subject: Hashable, n_voxels: int) -> NeuralDecoder:
        """Give a new person untrained weights of their own; what is said of others does not change, to the bit."""
        self._fitted()
        check_positive_int("n_voxels", n_voxels)
        add_subject(self.system_.network, subject, n_voxels)
        self.n_voxels_[str(subject)] = n_voxels
        self.subjects_ = list(self.n_voxels_)
        return self

    def predict(
        self,
        X: Any,
        ids: Any = None,
        subject: Hashable = None,
        *,
        average_repeats: str = "outputs",
        steps: int | None = None,
        guidance: float = 1.0,
        seed: int = 0,
        batch_size: int = 256,
        allow_training: bool = False,
    ) -> Decoded:
        """Decode.

        Parameters
        ----------
        X : array or Responses (n_trials, n_voxels)
        ids : array (n_trials,), optional
            Rows with one id are repeats of one image; by default all rows are different.
        subject : optional
            Whose responses; needed if the decoder knows several and ``Responses`` do not say.
        average_repeats : {"outputs", "voxels"}
            Run the network on every trial and average what it says (MindEye2), or average responses first.
        steps, guidance : optional
            Of the prior's sampling.
        seed : int
            Of the prior's noise; each image has its own, whatever else is in the batch.
        batch_size : int
        allow_training : bool
            Decode images that the decoder was trained on, as to train a second stage.

        Returns
        -------
        Decoded
            Under the names of ``recipe.decoded``; images in order of first appearance.

        Raises
        ------
        UnknownSubject, ShapeMismatch, SplitLeakage
        """
        self._fitted()
        check_option("average_repeats", average_repeats, ("outputs", "voxels"))
        check_positive_int("batch_size", batch_size)
        if subject is None:
            subject = self._whose(X)
        name = self._known(subject)
        rows, known = plain_rows(X, ids)
        named = known is not None
        trials = SubjectTrials(name, rows, np.arange(len(rows)) if known is None else known)
        self._check_voxels([trials])
        if named and not allow_training:
            self._refuse_training(name, trials.images)
        _, first = np.unique(trials.ids, return_index=True)
        order = np.argsort(first, kind="stable")  # of first appearance
        outputs = decode_trials(self.system_.network, trials, order, average_repeats == "voxels", batch_size)
        sampling = {"steps": steps, "guidance": guidance, "seed": seed, "batch_size": batch_size}
        arrays = name_outputs(self.recipe, self.system_.prior, outputs, trials.images[order], self._shapes, **sampling)
        about = {
            **self.provenance_,
            "average_repeats": average_repeats,
            "prior": None if self.system_.prior is None else {"steps": steps, "guidance": guidance, "seed": seed},
            "rescaling": "none",
        }
        return Decoded(arrays, trials.images[order], subject, about)

    def save(self, folder: str | Path) -> Path:
        """Write weights (safetensors) and description (JSON); the folder appears whole or not at all."""
        self._fitted()
        return write_decoder(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path, recipe: DecoderRecipe, device: Any = None) -> NeuralDecoder:
        """Read what :meth:`save` wrote; ``recipe`` is the one it was trained with.

        Raises
        ------
        CorruptFile
            If a file is damaged.
        StaleStore
            If the folder was written with another recipe.
        """
        about, tensors = read_decoder(Path(folder), recipe)
        decoder = cls(recipe, **about["settings"], device=device)
        shapes = {k: None if v is None else tuple(v) for k, v in about["target_shapes"].items()}
        system = decoder._build(about["n_voxels"], shapes.get, torch.Generator().manual_seed(0))
        system.load_state_dict(tensors)
        decoder._accept(system.eval(), about["n_voxels"])
        decoder._shapes = shapes
        decoder._seen = {k: np.asarray(v) for k, v in about["seen"].items()}
        decoder.train_ids_, decoder.validation_ids_ = (np.asarray(about[k]) for k in ("train_ids", "validation_ids"))
        decoder.training_ = TrainingResult(**about["training"])
        decoder.provenance_ = about["provenance"]
        return decoder

    # Inside

    def _settings(self, recipe: DecoderRecipe) -> TrainingSettings:
        check_option("repeats", self._repeats(), REPEATS)
        return TrainingSettings(
            epochs=recipe.epochs,
            learning_rate=recipe.learning_rate,
            schedule=recipe.schedule,
            warmup=min(recipe.warmup_epochs / recipe.epochs, 1.0),
            weight_decay=recipe.weight_decay,
            accumulate=self.accumulate,
            clip=self.clip,
            precision=self.precision,
            patience=self.patience,
            checkpoint_every=self.checkpoint_every,
            seed=self.random_state,
        )

    def _repeats(self) -> str:
        return self.recipe.inputs.get("repeats", "cycle") if self.repeats is None else self.repeats

    def _split(self, trials: list[SubjectTrials], rows: TargetRows, test_ids: Any) -> tuple[np.ndarray, np.ndarray]:
        check_recipe(self.recipe, rows)
        ids = np.concatenate([t.images for t in trials])
        known, held_out = validation_split(ids, self.validation, self.random_state, test_ids)
        rows.check(np.unique(ids))
        return known, held_out

    def _build(
        self, n_voxels: Mapping[str, int], shape: Callable[[str], tuple[int, ...] | None], generator: torch.Generator
    ) -> DecoderSystem:
        network = self.recipe.network(n_voxels, generator)
        prior = None
        if self.recipe.prior is not None:
            target = self.recipe.prior["target"]
            size = shape(target)
            if size is None or len(size) not in (1, 2):
                raise ShapeMismatch(f"a prior draws vectors (d,) or tokens (n, d); target {target!r} is {size}.")
            size = (1, *size) if len(size) == 1 else size
            prior = DiffusionPrior.from_settings(self.recipe.prior, *size, generator=generator)
        return DecoderSystem(network, prior).to(check_device(self.device, torch.zeros(0)))

    def _check_outputs(self, system: DecoderSystem, trials: SubjectTrials, rows: TargetRows) -> None:
        """Refuse a wrong token grid before training starts."""
        x = torch.from_numpy(trials.read(np.zeros(2, int))).to(next(system.parameters()).device)
        with torch.no_grad():
            outputs = system.eval().network(x, trials.subject)
        for term in self.recipe.losses:
            expected = rows.shape(term.target) if term.target in rows.sources and term.output in outputs else None
            if expected is not None and tuple(outputs[term.output].shape[1:]) != expected:
                raise ShapeMismatch(
                    f"the network's {term.output!r} is {tuple(outputs[term.output].shape[1:])} per image, target "
                    f"{term.target!r} {expected}. Build the recipe for these targets (n_tokens, dim, latent_shape), or "
                    "extract the targets that it asks for."
                )
        self._shapes = {name: rows.shape(name) for name in self.recipe.targets}

    def _accept(self, system: DecoderSystem, n_voxels: Mapping[str, int]) -> None:
        self.system_ = system
        self.n_voxels_ = dict(n_voxels)
        self.subjects_ = list(n_voxels)
        self._seen: dict[str, np.ndarray] = {}

    def _train(
        self, task: DecodingTask, settings: TrainingSettings, known: np.ndarray, held_out: np.ndarray, **how: Any
    ) -> None:
        self.training_ = train(self.system_, task, settings, **how)
        for t in task.trials:
            seen = [t.images, self._seen[t.subject]] if t.subject in self._seen else [t.images]
            self._seen[t.subject] = np.unique(np.concatenate(seen))
        self.train_ids_, self.validation_ids_ = known, held_out
        device = next(self.system_.parameters()).device
        self.provenance_ = provenance(
            device,
            self.random_state,
            decoder="NeuralDecoder",
            recipe=json.loads(json.dumps(self.recipe.describe(), default=str)),
            precision=self.precision,
            best_epoch=self.training_.best_epoch,
            epochs=self.training_.epochs,
            n_train=len(known),
            n_validation=len(held_out),
        )

    def _fitted(self) -> None:
        if not hasattr(self, "system_"):
            raise ValueError("this NeuralDecoder is not fitted yet: call fit first, or NeuralDecoder.load.")

    def _whose(self, X: Any) -> Hashable:
        if hasattr(X, "trials"):
            return subject_of(X)
        if len(self.subjects_) > 1:
            raise UnknownSubject(f"say whose responses these are: subject= one of {', '.join(self.subjects_)}.")
        return self.subjects_[0]

    def _known(self, subject: Hashable) -> str:
        if str(subject) not in self.n_voxels_:
            raise UnknownSubject(
                f"this decoder does not know subject {subject!r}; it knows {', '.join(self.subjects_)}. Let the "
                "subject in with reset_tune(subject, X, targets)."
            )
        return str(subject)

    def _check_voxels(self, trials: list[SubjectTrials]) -> None:
        for t in trials:
            expected = self.n_voxels_.get(t.subject, t.n_voxels)
            if t.n_voxels != expected:
                raise ShapeMismatch(
                    f"the decoder knows subject {t.subject} with {expected:,} voxels, got {t.n_voxels:,}. Were the "
                    "responses selected with another mask or region?"
                )

    def _refuse_training(self, subject: str, images: np.ndarray) -> None:
        seen = np.intersect1d(self._seen.get(subject, []), images)
        if len(seen):
            raise SplitLeakage(
                f"{len(seen):,} of {len(images):,} images were in training or validation, first {seen[:3].tolist()}. "
                "Split by stimulus; allow_training=True decodes them nevertheless."
            )
