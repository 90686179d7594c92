"""Image in, brain out: a network, the features read from it, and what voxels make of them, as one function of pixels.

    y = encoder(image) = readout( (features(preprocess(image)) - mean) / scale )

The function is differentiable with respect to the pixels, can be restricted to a region, and is stored without code.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuro.data import Responses, Stimuli
from neuro.encoders import _encoder_files as files
from neuro.encoders._encoder_fit import as_voxels, ceiling_of, fit_estimator
from neuro.encoders._encoder_network import card_of
from neuro.encoders._encoder_pixels import (
    batches_of,
    check_tensor,
    features_of_pictures,
    features_of_tensor,
    gradient_of,
)
from neuro.encoders._encoder_readout import check_scaler, match_layers, readout_of, scaled
from neuro.errors import ShapeMismatch
from neuro.features.pipeline import FeatureSource
from neuro.linear._arrays import array_of


class Encoder:
    """A fitted estimator and the extractor of its features, from images to responses.

    Parameters
    ----------
    extractor : Extractor or another feature source
        Whose preprocessing, pooling and projection made the features that the estimator was fitted to.
    estimator : fitted estimator
        One with linear weights (``Ridge``, ``RidgeCV``, ``BandedRidgeCV``, ``StackedRidgeCV``, ``KernelRidgeCV`` with a
        linear kernel, ``InContextEncoder``) or one over spatial tokens (``ReceptiveFieldRidgeCV``,
        ``FactorisedEncoder``, ``AttentionEncoder``).
    layer : str, list of str, or dict of the estimator's band or layer -> layer of the network, optional
        What the estimator was fitted to; a list stands side by side, or names the estimator's bands. By default the
        one layer that the extractor reads.
    voxels : Voxels or sequence of ids (n_voxels,), optional
        What is known of the responses: regions for :meth:`roi`.
    scaler : (mean, scale), object with ``mean_`` and ``scale_``, or dict of layer -> one of these, optional
        By which features were standardised for the fit. Flat features, in the order of the extractor.
    ceiling : array (n_voxels,), optional
        Noise ceiling, share of variance, that goes with the responses.
    license : str, optional
        Of the network's weights; what its library says of it by default.

    Attributes
    ----------
    extractor, estimator
        As given. The estimator of an encoder that was read from files is None unless it works on spatial tokens.
    layers : dict of the estimator's name -> layer of the network
    n_voxels : int
    voxels : Voxels
    index : integer array (n_voxels,)
        Place of each voxel in the encoder that this one was selected from.
    ceiling : array (n_voxels,) or None
    card : dict
        What one must know to use it.

    Raises
    ------
    NotFittedError, ShapeMismatch, ValueError
        If the estimator is not fitted, or was fitted to other features than the layers give.

    Notes
    -----
    Tensors are preprocessed in floats. Without resizing this is the network's own preprocessing; resized pixels differ
    from it by the rounding to grey levels that tensors do without, at most 1.5 of 255. Float64 tensors are
    computed in float64 throughout, except by encoders over spatial tokens that are networks themselves (float32).

    Examples
    --------
    >>> from neuro.features import Extractor
    >>> images = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    >>> network = Extractor("timm:resnet10t", pretrained=None, input_size=32, batch_size=10)
    >>> responses = np.random.default_rng(1).standard_normal((30, 4))
    >>> encoder = Encoder.fit(images, responses, extractor=network, layer="layer2")
    >>> encoder(images).shape, encoder.select([0, 2])(images).shape
    ((30, 4), (30, 2))
    >>> pixels = torch.rand(2, 3, 32, 32, requires_grad=True)
    >>> encoder(pixels).sum().backward()
    >>> pixels.grad.shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        extractor: FeatureSource,
        estimator: Any,
        *,
        layer: Any = None,
        voxels: Any = None,
        scaler: Any = None,
        ceiling: Any = None,
        license: str | None = None,
    ):
        if not isinstance(extractor, FeatureSource):
            raise TypeError(
                f"extractor must be an Extractor or another feature source, got {type(extractor).__name__}."
            )
        files.check_fitted(estimator)
        layers = match_layers(estimator, layer, extractor)
        readout = readout_of(estimator, layers, extractor)
        self._assemble(extractor, layers, readout, scaler, voxels, ceiling, license)
        self.estimator = estimator
        self.about_estimator = files.describe_estimator(estimator)

    def _assemble(self, extractor, layers, readout, scaler, voxels, ceiling, license) -> None:
        self.extractor, self.layers, self._readout, self.license = extractor, layers, readout, license
        specs = extractor.layer_specs(list(layers.values()))
        self._scaler = check_scaler(scaler, {k: int(np.prod(v["shape"])) for k, v in specs.items()})
        self.index = np.arange(len(readout))
        self.voxels = as_voxels(voxels, len(readout))
        self.ceiling = None if ceiling is None else np.array(array_of(ceiling), dtype=np.float64)
        if self.ceiling is not None and self.ceiling.shape != (len(readout),):
            raise ShapeMismatch(f"ceiling must be ({len(readout):,},), one per voxel; got {self.ceiling.shape}.")

    @classmethod
    def fit(
        cls,
        stimuli: Any,
        responses: Any,
        *,
        extractor: FeatureSource,
        layer: Any = None,
        estimator: Any = None,
        standardize: bool | None = None,
        groups: Any = None,
        progress: bool = False,
        **options: Any,
    ) -> Encoder:
        """Extract features, standardise them, fit an estimator, and join the three.

        Parameters
        ----------
        stimuli : Stimuli, uint8 array (n, height, width, 3), or folder of images
        responses : Responses, or array (n, n_voxels) with a row for each stimulus
            The stimuli of ``Responses`` are looked up by id, repeats and all.
        extractor : FeatureSource
        layer : str or list of str, or dict of band -> layer
            Several layers become the bands of an estimator that has bands, else columns side by side.
        estimator : estimator
            Of which a copy is fitted; ``RidgeCV()`` by default.
        standardize : bool, optional
            Bring every feature to mean 0 and deviation 1 over the rows of the fit. By default where features are
            vectors, except for ``InContextEncoder``, whose embeddings are what they are.
        groups : array (n,), optional
            What must stay together in the estimator's splits. By default the stimulus: that of ``Responses``, else
            images with the same contents.
        progress : bool
        **options
            ``voxels``, ``ceiling``, ``license``. By default voxels are those of ``Responses``, with their ceiling if
            stimuli repeat.

        Returns
        -------
        Encoder
        """
        fitted = fit_estimator(stimuli, responses, extractor, layer, estimator, standardize, groups, progress)
        if isinstance(responses, Responses):
            options = {"voxels": responses.voxels, "ceiling": ceiling_of(responses), **options}
        return cls(extractor, fitted.estimator, layer=fitted.layer, scaler=fitted.scaler, **options)

    # Images to responses

    @property
    def n_voxels(self) -> int:
        """Number of responses."""
        return len(self._readout)

    def __call__(self, images: Any) -> Any:
        """Predict responses.

        Parameters
        ----------
        images : uint8 array (n, height, width, 3), PIL image or list of them, Stimuli; or float tensor (n, 3, h, w)
            Arrays and pictures of any size go through the extractor as they did for the fit, a batch at a time.
            Tensors are RGB from 0 to 1, and predictions carry their gradient.

        Returns
        -------
        array (n, n_voxels), or a tensor on the device of ``images``

        Raises
        ------
        ShapeMismatch, ValueError
            If images have another shape, type or range.
        """
        wanted = list(dict.fromkeys(self.layers.values()))
        if isinstance(images, torch.Tensor):
            return self._read_out(features_of_tensor(self.extractor, check_tensor(images), wanted))
        if isinstance(images, Stimuli) and images.kind not in self.extractor.kinds:
            takes = " or ".join(self.extractor.kinds)
            raise ShapeMismatch(f"{self.extractor.name} takes stimuli of kind {takes}, got {images.kind}.")
        out = []
        with torch.no_grad():
            for items in batches_of(images, max(1, self.extractor.batch_size)):
                out.append(self._read_out(features_of_pictures(self.extractor, items, wanted)).numpy())
        return np.concatenate(out)

    def _read_out(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        features = scaled(features, self._scaler)
        return self._readout({name: features[layer] for name, layer in self.layers.items()})

    def gradient(self, images: Any, weights: Any = None) -> Any:
        """Return how a weighted sum of the responses changes with every pixel.

        Parameters
        ----------
        images : float tensor (n, 3, height, width) from 0 to 1, or uint8 array (n, height, width, 3)
        weights : array or tensor (n_voxels,) or (n, n_voxels), optional
            Of the sum; their mean by default.

        Returns
        -------
        tensor (n, 3, height, width), or array (n, height, width, 3) for an array
            Per unit of intensity, which runs from 0 to 1.
        """
        if isinstance(images, torch.Tensor):
            return gradient_of(self, check_tensor(images), weights, self.n_voxels, self.extractor.batch_size)
        pictures = np.stack([picture for items in batches_of(images, 64) for picture in items])
        pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        return self.gradient(pixels, weights).permute(0, 2, 3, 1).numpy()

    # Parts of the brain

    def roi(self, name: Any, atlas: str | None = None, hemi: str = "both") -> Encoder:
        """Return the encoder of one region (see ``Voxels.roi``), which shares the network."""
        return self.select(self.voxels.roi(name, atlas, hemi))

    def select(self, which: Any) -> Encoder:
        """Return the encoder of some voxels, which shares the network.

        Parameters
        ----------
        which : boolean mask (n_voxels,), indices, or the name of a region
        """
        index = self.voxels.index(array_of(which) if isinstance(which, torch.Tensor) else which)
        other = copy.copy(self)
        other._readout = self._readout.take(torch.from_numpy(index))
        other.voxels, other.index = self.voxels.select(index), self.index[index]
        other.ceiling = None if self.ceiling is None else self.ceiling[index]
        return other

    # What it is

    @property
    def card(self) -> dict[str, Any]:
        """What one must know to use this encoder: plain values."""
        return card_of(self)

    def __repr__(self) -> str:
        layers = ", ".join(self.layers.values())
        return f"Encoder({self.extractor.name} [{layers}] -> {self.n_voxels:,} voxels, {self.about_estimator['class']})"

    # Files

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write everything but the network's weights: ``encoder.json`` and safetensors, whole or not at all.

        The network is written as a recipe (name, weights, settings, fingerprint), to be opened again by :meth:`load`.
        """
        return files.save(self, Path(folder))

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        *,
        module: Any = None,
        pretrained: Any = None,
        preprocess: Any = None,
        device: Any = None,
    ) -> Encoder:
        """Open what :meth:`save` wrote, network included.

        Parameters
        ----------
        folder : path
        module : torch.nn.Module or str, optional
            The network, where it was a module of one's own or a local folder of a library.
        pretrained : path, optional
            The file of weights, where the network's were read from one. Paths in files are not followed.
        preprocess : callable, optional
            Where the network's preprocessing was a function of one's own.
        device : str or torch.device, optional
            The GPU if there is one, else the CPU.

        Raises
        ------
        CorruptFile, ShapeMismatch
            If files are damaged or do not fit each other.
        UnknownModel
            If the network is not the one that the encoder was fitted on.
        """
        return files.load(cls, Path(folder), module, pretrained, preprocess, device)
