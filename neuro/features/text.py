"""Text towers of CLIP models over captions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from neuro._check import check_option, check_positive_int
from neuro._files import hash_bytes
from neuro.data import Stimuli
from neuro.errors import ShapeMismatch, UnknownLayer, UnknownModel
from neuro.features.extractor import resolve_device
from neuro.features.fingerprint import describe_module, hash_weights
from neuro.features.layers import Layers, probe
from neuro.features.models import DEFAULT, load_network
from neuro.features.pipeline import DTYPES, FeatureSource, mean_of_groups
from neuro.features.precision import resolve_precision
from neuro.features.reader import Reading, read_layers


class TextExtractor(FeatureSource):
    """Embed sentences, or the captions of images, with the text tower of a CLIP model.

    An image's features are the mean over its captions, as many as there are.

    Parameters
    ----------
    model : str
        ``"open_clip:ViT-B-32"`` or ``"phantom-clip"``.
    pretrained : str, path, True or None
        As for :class:`~neuro.features.Extractor`.
    layers : list of names
        Of ``.layers``; ``"output"``, the joint embedding, by default.
    pool : {"eot", "mean"}
        How hidden layers are read: at the end-of-text token, or averaged over the sentence's tokens, padding left out.
    normalize : bool
        Bring each caption's vector to unit length before averaging.
    seed, device, batch_size, precision, dtype
        As for :class:`~neuro.features.Extractor`; ``batch_size`` counts stimuli.
    """

    kinds = ("text", "image", "clip")

    def __init__(
        self,
        model: str,
        pretrained: Any = DEFAULT,
        *,
        layers: Sequence[str] = ("output",),
        pool: str = "eot",
        normalize: bool = False,
        seed: int = 0,
        device: str | torch.device | None = None,
        precision: str = "float32",
        batch_size: int = 64,
        model_kwargs: Mapping[str, Any] | None = None,
        dtype: str = "float32",
    ):
        import open_clip

        self.pool = check_option("pool", pool, ("eot", "mean"))
        self.dtype = check_option("dtype", dtype, DTYPES)
        self.batch_size = check_positive_int("batch_size", batch_size)
        self.normalize = bool(normalize)
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device)
        if not isinstance(model, str):
            raise UnknownModel(f"model must be a name such as 'open_clip:ViT-B-32' or 'phantom-clip', got {model!r}.")
        self.network = load_network(model, pretrained, seed, model_kwargs, keep_text=True)
        whole = self.network.whole
        self._tower: Any = _TextTower(whole).eval()
        self._weights = hash_weights(self._tower)
        self._structure = describe_module(self._tower)["structure"]
        self._tower.to(device=self.device, dtype=self.precision.weights)
        if model == "phantom-clip":
            from neuro.features.phantom_clip import FOLDER, WordTokenizer

            self._tokenize: Callable = WordTokenizer.from_file(FOLDER / "vocabulary.json")
        else:
            self._tokenize = open_clip.get_tokenizer(model.removeprefix("open_clip:"))
        self.context_length = int(self._sample(["a"]).shape[1])
        self.name = f"{self.network.name} text" + ("" if self.network.trained else " (untrained)")
        self._chosen = self._checked_names(layers)

    @cached_property
    def layers(self) -> Layers:
        """What can be read: name -> shape for one sentence, in order of depth."""
        tokens = self._sample(["a dog on a beach", "two people in a red car", "food"]).to(self.device)
        with self.precision.active(self.device):
            return probe(self._tower, tokens, self.name, sequence=self.context_length)

    def identity(self) -> dict[str, Any]:
        """Return network, weights, tokeniser, averaging and precision."""
        tokens = self._sample(["The quick brown fox, 7 dogs: jump!", "a person with food, seen from the left"])
        return {
            "network": {
                **self.network.identity,
                "weights": self._weights,
                "structure": self._structure,
                "tower": "text",
            },
            "tokenizer": hash_bytes(tokens.numpy()),
            "captions": "mean",
            "normalize": self.normalize,
            "precision": self.precision.describe(),
        }

    def info(self) -> dict[str, Any]:
        """Return how it was run."""
        return {"weights": self.network.weights, "trained": self.network.trained, "device": str(self.device)}

    def layer_specs(self, layers: Sequence[str] | None) -> dict[str, dict[str, Any]]:
        """Return shapes and pooling."""
        names = self._chosen if layers is None else self._checked_names(layers)
        specs = {}
        for name in names:
            info = self.layers.info(name)
            channels = info.shape[0] if info.layout in ("vector", "tokens_last") else info.shape[-1]
            specs[name] = {"shape": (channels,), "spec": {"pool": None if info.layout == "vector" else self.pool}}
        return specs

    def items(self, stimuli: Stimuli, ids: np.ndarray) -> list[list[str]]:
        """Return a list of sentences for every stimulus."""
        if stimuli.kind == "text":
            return [[text] for text in stimuli.images(ids)]
        captions = stimuli.captions(ids)
        for key, found in zip(np.asarray(ids).tolist(), captions, strict=True):
            if not found:
                raise ShapeMismatch(f"stimulus {key!r} has no caption.")
        return captions

    def hashes(self, stimuli: Stimuli, ids: np.ndarray) -> list[str]:
        """Return hashes of the sentences: the pixels do not matter here."""
        return [hash_bytes("\0".join(texts).encode()) for texts in self.items(stimuli, ids)]

    def token(self, stimuli: Stimuli) -> None:
        """Captions come from a table, not from files: only hashes can tell."""
        return None

    def prepare(self, items: list[Any]) -> tuple[torch.Tensor, list[int]]:
        """Return tokens of all sentences, and how many sentences each stimulus has."""
        return self._tokenize([text for texts in items for text in texts]), [len(texts) for texts in items]

    def compute(self, prepared: Any, layers: Sequence[str], pad_to: int = 0) -> dict[str, np.ndarray]:
        """Return features averaged over each stimulus's sentences."""
        tokens, counts = prepared
        parts: dict[str, list[np.ndarray]] = {name: [] for name in layers}
        for start in range(0, len(tokens), self.batch_size):
            chunk = tokens[start : start + self.batch_size]
            n = len(chunk)
            if pad_to > n or (start and n < self.batch_size):
                chunk = torch.cat([chunk, chunk[-1:].expand(max(pad_to, self.batch_size) - n, -1)])
            chunk = chunk.to(self.device)
            readings = {name: self._reading(name, chunk) for name in layers}
            with self.precision.active(self.device):
                found = read_layers(self._tower, chunk, readings)
            for name, value in found.items():
                vectors = value[:n].float()
                if self.normalize:
                    vectors = torch.nn.functional.normalize(vectors, dim=1)
                parts[name].append(vectors.cpu().numpy())
        return {name: mean_of_groups(np.concatenate(p), counts) for name, p in parts.items()}

    def _sample(self, texts: list[str]) -> torch.Tensor:
        """Tokenise sentences of our own, whose words a small vocabulary need not know."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._tokenize(texts)

    def _reading(self, layer: str, tokens: torch.Tensor) -> Reading:
        info = self.layers.info(layer)
        part = getattr(self.network.whole, "text", self.network.whole)
        kind = getattr(self.network.whole, "text_pool_type", None) or getattr(part, "pool_type", "argmax")
        end = _end_of_text(tokens, kind, getattr(part, "eos_id", getattr(part, "text_eos_id", None)))

        def reduce(x: torch.Tensor) -> torch.Tensor:
            if info.layout == "vector":
                return x.float()
            x = (x if info.layout == "tokens" else x.transpose(1, 2)).float()  # (n, tokens, channels)
            if self.pool == "eot":
                return x[torch.arange(len(x), device=x.device), end]
            inside = _inside(tokens).float()[..., None]
            return (x * inside).sum(1) / inside.sum(1)

        return Reading(info, reduce)

    def _checked_names(self, layers: Sequence[str]) -> tuple[str, ...]:
        names = tuple(dict.fromkeys([layers] if isinstance(layers, str) else layers))
        for name in names:
            if self.layers.info(name).layout == "other":
                raise UnknownLayer(f"layer {name!r} of {self.name} has no axis of tokens that could be told apart.")
        return names

    def __repr__(self) -> str:
        return (
            f"TextExtractor({self.name}, weights: {self.network.weights}, {self.precision.describe()} on {self.device})"
        )


class _TextTower(torch.nn.Module):
    """The text side of an open_clip model as a module from tokens to embeddings."""

    def __init__(self, whole: Any):
        super().__init__()
        for name in ("text", "transformer", "token_embedding", "ln_final"):
            part = getattr(whole, name, None)
            if isinstance(part, torch.nn.Module):
                setattr(self, name, part)
        for name in ("positional_embedding", "text_projection"):
            part = getattr(whole, name, None)
            if isinstance(part, torch.Tensor):
                self.register_parameter(name, torch.nn.Parameter(part.detach(), requires_grad=False))
            elif isinstance(part, torch.nn.Module):
                setattr(self, name, part)
        # Kept out of the module tree: its image tower is no layer of this network.
        object.__setattr__(self, "_encode", whole)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self._encode.encode_text(tokens)

    def _apply(self, fn, recurse=True):
        self._encode._apply(fn)
        return super()._apply(fn, recurse)


def _end_of_text(tokens: torch.Tensor, pool_type: str, eos: int | None) -> torch.Tensor:
    """Return where each sentence (n, tokens) is read, as the network itself does."""
    if pool_type == "eos" and eos is not None:
        return (tokens == eos).int().argmax(1)
    if pool_type == "first":
        return torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
    if pool_type == "last":
        return torch.full((len(tokens),), tokens.shape[1] - 1, device=tokens.device)
    return tokens.argmax(1)


def _inside(tokens: torch.Tensor) -> torch.Tensor:
    """Return which tokens are not padding: a sentence shorter than the context repeats one number to the end."""
    tail = (tokens == tokens[:, -1:]).flip(1).int().cumprod(1).sum(1)
    length = torch.where(tail > 1, tokens.shape[1] - tail, tokens.shape[1])
    return torch.arange(tokens.shape[1], device=tokens.device) < length[:, None]
