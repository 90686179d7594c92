"""From the whole brain, scan after scan, to images and words: a causal transformer over parcels.

    x_t (P parcels) --linear--> h_t (C);   [h_1 .. h_T, CLS] --GPT-2 blocks, causal--> tanh(W last + b) --> embedding

CLS is learned and stands right after a sequence's last scan, so it alone has seen all of it. The blocks are pretrained
on scans without stimuli (:mod:`neuro.decoders.sequence_pretraining`), the embedding is pulled towards image and caption
vectors by two contrastive losses with learned scales.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from neuro._check import check_positive_int, require
from neuro.decoders.losses import info_nce
from neuro.errors import ShapeMismatch

LARGEST_SCALE = 100.0  # of similarities, as CLIP clips it


class ParcelGPT(nn.Module):
    """Causal transformer over scans of parcels.

    Parameters
    ----------
    n_parcels : int
        1024 in the published corpus.
    width, n_layers, n_heads : int
        768, 4 and 12 as published.
    n_positions : int
        Longest sequence, CLS included.
    dropout : float
    seed : int
        Of the weights; the caller's random state is left alone.
    """

    def __init__(
        self,
        n_parcels: int = 1024,
        width: int = 768,
        n_layers: int = 4,
        n_heads: int = 12,
        n_positions: int = 512,
        dropout: float = 0.1,
        seed: int = 0,
    ):
        super().__init__()
        transformers = require("transformers", "the transformer over scans", "decode")
        if width % n_heads:
            raise ValueError(f"width must be a multiple of n_heads, got {width} and {n_heads}.")
        self.n_parcels = check_positive_int("n_parcels", n_parcels)
        self.width, self.n_positions = width, check_positive_int("n_positions", n_positions, 2)
        config = transformers.GPT2Config(
            vocab_size=1,
            n_positions=n_positions,
            n_embd=width,
            n_layer=n_layers,
            n_head=n_heads,
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            use_cache=False,
            bos_token_id=0,
            eos_token_id=0,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = nn.Linear(n_parcels, width)
            self.cls = nn.Parameter(0.02 * torch.randn(width))
            self.gpt = transformers.GPT2Model(config)
            self.pool = nn.Linear(width, width)
        # Scans are no words: there is no table of them to look up, or to train.
        self.gpt.wte.weight.requires_grad_(False)

    def states(self, h: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return hidden states (B, N, C) of embedded sequences (B, N, C), of which the first ``lengths`` are valid."""
        if h.shape[1] > self.n_positions:
            raise ShapeMismatch(f"sequences may have {self.n_positions} positions, CLS included, got {h.shape[1]}.")
        mask = None
        if lengths is not None:
            mask = (torch.arange(h.shape[1], device=h.device) < lengths[:, None]).long()
        return self.gpt(inputs_embeds=h, attention_mask=mask).last_hidden_state

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embed sequences.

        Parameters
        ----------
        x : (B, T, P)
        lengths : int tensor (B,), optional
            Scans of each sequence; the rest of its T is padding, whatever it holds.

        Returns
        -------
        (B, C)
        """
        B, T = self._check(x)
        h = self.embed(x)  # (B, T, C)
        cls = self.cls.to(h.dtype).expand(B, 1, -1)
        if lengths is None:
            return self.pool(self.states(torch.cat([h, cls], 1))[:, -1]).tanh()
        if lengths.shape != (B,) or int(lengths.min()) < 1 or int(lengths.max()) > T:
            raise ShapeMismatch(f"lengths must be {B} numbers from 1 to {T}, got {lengths.tolist()}.")
        h = torch.cat([h, h.new_zeros(B, 1, self.width)], 1)
        rows = torch.arange(B, device=h.device)
        at = torch.zeros(h.shape[:2], dtype=torch.bool, device=h.device)
        at[rows, lengths] = True
        h = torch.where(at[..., None], cls, h)  # (B, T + 1, C)
        return self.pool(self.states(h, lengths + 1)[rows, lengths]).tanh()

    def _check(self, x: Tensor) -> tuple[int, int]:
        if x.ndim != 3 or x.shape[2] != self.n_parcels or not x.shape[1]:
            raise ShapeMismatch(f"expected (B, T, {self.n_parcels} parcels), got {tuple(x.shape)}.")
        return x.shape[0], x.shape[1]


class WholeBrainContrast(nn.Module):
    """Mean of the symmetric InfoNCE losses with image and with caption vectors, each with a learned scale.

    Parameters
    ----------
    scale : float
        Of similarities at the start: 1 / temperature.
    """

    def __init__(self, scale: float = 1 / 0.07):
        super().__init__()
        self.start_at = float(scale)
        self.log_scales = nn.Parameter(torch.full((2,), math.log(scale)))

    def start(self, generator: torch.Generator) -> None:
        nn.init.constant_(self.log_scales, math.log(self.start_at))

    @property
    def scales(self) -> Tensor:
        """(image, text), at most LARGEST_SCALE."""
        return self.log_scales.clamp(max=math.log(LARGEST_SCALE)).exp()

    def terms(self, brain: Tensor, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        """Return the two losses apart, ``image`` and ``text``."""
        to_image, to_text = self.scales
        return {"image": info_nce(brain, image, 1 / to_image), "text": info_nce(brain, text, 1 / to_text)}

    def forward(self, brain: Tensor, image: Tensor, text: Tensor) -> Tensor:
        """(B, d) each -> ()."""
        terms = self.terms(brain, image, text)
        return (terms["image"] + terms["text"]) / 2


def drop_inputs(x: Tensor, share: float = 0.2, generator: torch.Generator | None = None) -> Tensor:
    """Return scans (B, T, P) with a random share of entries set to 0, the mean of z-scored data.

    The rest is not scaled up: unlike dropout this augments data.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must be at least 0 and below 1, got {share!r}.")
    if not share:
        return x
    kept = torch.rand(x.shape, generator=generator, device="cpu" if generator is None else generator.device) >= share
    return x * kept.to(x.device)


def shuffle_times(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return scans (B, T, P) of every sequence in random order.

    Published as an augmentation, and off by default here: a causal model reads its sequence in order, and was
    pretrained to foresee the next scan; shuffled, time carries nothing.
    """
    order = torch.rand(x.shape[:2], generator=generator).argsort(1).to(x.device)
    return torch.gather(x, 1, order[..., None].expand_as(x))


def augment(x: Tensor, drop: float = 0.2, shuffle: bool = False, generator: torch.Generator | None = None) -> Tensor:
    """Return augmented scans: :func:`drop_inputs`, and :func:`shuffle_times` if asked for."""
    x = drop_inputs(x, drop, generator)
    return shuffle_times(x, generator) if shuffle else x


def pad_sequences(sequences: Any) -> tuple[Tensor, Tensor]:
    """Return sequences (T_i, P) as one tensor (n, longest, P), zeros after their ends, and their lengths (n,)."""
    parts = [torch.as_tensor(s, dtype=torch.float32) for s in sequences]
    if not parts or any(p.ndim != 2 or not len(p) or p.shape[1] != parts[0].shape[1] for p in parts):
        raise ShapeMismatch("sequences must be (n_scans, n_parcels) each, of equally many parcels and not empty.")
    return nn.utils.rnn.pad_sequence(parts, batch_first=True), torch.tensor([len(p) for p in parts])
