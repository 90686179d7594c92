"""Learning to read responses without pictures: hide most patches of a response, predict them from the rest.

A response, as a vector of voxels or as a flat map, is cut into patches. A random ``mask_ratio`` of them is hidden; the
encoder sees only the rest; a small decoder predicts the hidden ones, with the squared error as loss. The encoder then
reads whole responses for a decoder of images (NeuroPictor: flat maps; MinD-Vis: voxels in a row).

He et al. (2022), Masked autoencoders are scalable vision learners, CVPR; Chen et al. (2023), Seeing beyond the brain,
CVPR. Letters: B trials, N patches, p values of a patch, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from neuro.decoders._blocks import TransformerBlock
from neuro.errors import ShapeMismatch

__all__ = ["MaskedAutoencoder"]


class MaskedAutoencoder(nn.Module):
    """A masked autoencoder of vectors or maps.

    Parameters
    ----------
    shape : int or (int, int)
        Voxels of a response, or height and width of its map. Filled up with zeros to whole patches.
    patch : int
        16 in both systems: 16 voxels, or 16 x 16 pixels.
    width, depth, n_heads : int
        Of the encoder.
    decoder_width, decoder_depth, decoder_heads : int
    mlp_ratio : float
        1 in MinD-Vis, 4 in vision transformers.
    mask_ratio : float
        Share of patches hidden.
    normalise : bool
        Predict each patch z-scored by its own mean and standard deviation.
    """

    def __init__(
        self,
        shape: int | tuple[int, int],
        patch: int = 16,
        width: int = 1024,
        depth: int = 24,
        n_heads: int = 16,
        decoder_width: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        mlp_ratio: float = 1.0,
        mask_ratio: float = 0.75,
        normalise: bool = False,
    ):
        super().__init__()
        if not 0 < mask_ratio < 1:
            raise ValueError(f"mask_ratio must lie between 0 and 1, got {mask_ratio}.")
        if width % n_heads or decoder_width % decoder_heads:
            raise ShapeMismatch(
                f"widths must be multiples of the heads: encoder {width} and {n_heads}, "
                f"decoder {decoder_width} and {decoder_heads}."
            )
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.patch, self.width, self.mask_ratio, self.normalise = patch, width, mask_ratio, normalise
        self.grid = tuple(math.ceil(n / patch) for n in self.shape)
        self.n_patches, values = math.prod(self.grid), patch ** len(self.shape)

        self.embed = nn.Linear(values, width)
        self.cls = nn.Parameter(torch.empty(width))
        self.positions = nn.Parameter(torch.empty(1 + self.n_patches, width))
        self.blocks = nn.Sequential(*(TransformerBlock(width, n_heads, mlp_ratio) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)

        self.narrow = nn.Linear(width, decoder_width)
        self.hidden = nn.Parameter(torch.empty(decoder_width))
        self.decoder_positions = nn.Parameter(torch.empty(1 + self.n_patches, decoder_width))
        self.decoder = nn.Sequential(
            *(TransformerBlock(decoder_width, decoder_heads, mlp_ratio) for _ in range(decoder_depth))
        )
        self.predict = nn.Sequential(nn.LayerNorm(decoder_width), nn.Linear(decoder_width, values))
        self.start(torch.Generator().manual_seed(0))

    def start(self, generator: torch.Generator) -> None:
        for weight in (self.cls, self.positions, self.hidden, self.decoder_positions):
            nn.init.normal_(weight, std=0.02, generator=generator)

    @property
    def encoder_parameters(self) -> list[nn.Parameter]:
        """Weights that :meth:`encode` uses; the rest is only for pretraining."""
        parts = (self.embed, self.blocks, self.norm)
        return [self.cls, self.positions, *(weight for part in parts for weight in part.parameters())]

    def patches(self, x: Tensor) -> Tensor:
        """(B, n) or (B, H, W) -> (B, N, p)."""
        if tuple(x.shape[1:]) != self.shape:
            raise ShapeMismatch(f"this autoencoder reads responses of shape {self.shape}, got {tuple(x.shape[1:])}.")
        fill = [amount for n, g in zip(self.shape, self.grid, strict=True) for amount in (g * self.patch - n, 0)]
        x = nn.functional.pad(x, fill[::-1])
        if len(self.shape) == 1:
            return x.unflatten(1, (-1, self.patch))
        x = x.unflatten(1, (-1, self.patch)).unflatten(3, (-1, self.patch))  # (B, gh, ph, gw, pw)
        return x.permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)

    def unpatch(self, patches: Tensor) -> Tensor:
        """(B, N, p) -> (B, n) or (B, H, W)."""
        if len(self.shape) == 1:
            return patches.flatten(1)[:, : self.shape[0]]
        x = patches.unflatten(1, self.grid).unflatten(3, (self.patch, self.patch))  # (B, gh, gw, ph, pw)
        x = x.permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)
        return x[:, : self.shape[0], : self.shape[1]]

    def encode(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return the tokens of responses, class token first.

        Parameters
        ----------
        x : tensor (B, n) or (B, H, W)
        keep : long tensor (B, K), optional
            Patches that are seen; all of them without it.

        Returns
        -------
        tensor (B, 1 + N, D) or (B, 1 + K, D)
        """
        tokens = self.embed(self.patches(x)) + self.positions[1:]
        if keep is not None:
            tokens = tokens.gather(1, keep[..., None].expand(-1, -1, self.width))
        cls = (self.cls + self.positions[0]).expand(len(x), 1, -1)
        return self.norm(self.blocks(torch.cat([cls, tokens], 1)))

    def draw_masks(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return ``keep`` (n, K), patches that are seen, and ``hidden`` (n, N), True where a patch is not."""
        n_keep = max(1, round(self.n_patches * (1 - self.mask_ratio)))
        order = torch.rand(n, self.n_patches, generator=generator, device=generator.device).argsort(1)
        hidden = torch.ones_like(order, dtype=torch.bool).scatter_(1, order[:, :n_keep], False)
        return order[:, :n_keep], hidden

    def forward(self, x: Tensor, generator: torch.Generator, valid: Tensor | None = None) -> dict[str, Tensor]:
        """Hide patches, predict them.

        Parameters
        ----------
        x : tensor (B, n) or (B, H, W)
        generator : torch.Generator
            Draws what is hidden.
        valid : bool tensor of the shape of one response, optional
            Where there is cortex; errors elsewhere do not count.

        Returns
        -------
        dict
            ``loss`` (mean squared error of what was hidden), ``reconstruction`` of the shape of ``x``, and ``hidden``
            (B, N).
        """
        keep, hidden = (t.to(x.device) for t in self.draw_masks(len(x), generator))
        seen = self.narrow(self.encode(x, keep))  # (B, 1 + K, D')
        tokens = self.hidden.to(seen.dtype).expand(len(x), self.n_patches, -1)
        tokens = tokens.scatter(1, keep[..., None].expand(-1, -1, seen.shape[-1]), seen[:, 1:])
        tokens = torch.cat([seen[:, :1], tokens], 1) + self.decoder_positions
        predicted = self.predict(self.decoder(tokens))[:, 1:]  # (B, N, p)

        target = self.patches(x)
        if self.normalise:
            mean, std = target.mean(-1, keepdim=True), target.std(-1, keepdim=True, correction=0)
            target = (target - mean) / (std + 1e-6)
        inside = torch.ones(self.shape, device=x.device) if valid is None else valid.to(x)
        weight = self.patches(inside[None].to(x.dtype)) * hidden[..., None]  # (B, N, p)
        loss = (weight * (predicted - target).float() ** 2).sum() / weight.sum().clamp(min=1)
        if self.normalise:
            predicted = predicted * (std + 1e-6) + mean
        return {"loss": loss, "reconstruction": self.unpatch(predicted), "hidden": hidden}
