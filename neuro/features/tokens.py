"""What a CLIP says of each part of a picture or a sentence: token sequences in the joint space.

A CLIP ends in one vector. Decoders and generators want the sequence it was read from, in the same space:

- vision transformer: last hidden states -> final LayerNorm -> visual projection, class token first (257 x 768 for
  ViT-L/14, as Versatile Diffusion and MindEye take them);
- residual network with attention pooling: the attention pool's output at every position, where only the first, the
  image embedding, is read as a rule (5 x 128 for phantom-clip);
- text: every hidden state through the final LayerNorm and the text projection.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from neuro._check import check_option
from neuro.errors import ShapeMismatch, UnknownModel
from neuro.features.text import _end_of_text

NORMALISATIONS = ("none", "cls_norm")


def image_tokens(model: Any, pixels: Any, *, normalise: str = "none", batch_size: int | None = None) -> torch.Tensor:
    """Return the tokens of pictures in the joint space; token 0 is the image embedding where the model has one.

    Parameters
    ----------
    model : open_clip.CLIP, open_clip.CustomTextCLIP or transformers.CLIPVisionModelWithProjection
        In evaluation mode, on any device. ``transformers.CLIPModel`` works as well.
    pixels : tensor or array (n, 3, height, width)
        Preprocessed as the model wants it.
    normalise : {"none", "cls_norm"}
        ``"cls_norm"`` divides all tokens of a picture by the length of its first one (MindEye, Versatile Diffusion).
    batch_size : int, optional
        Pictures at a time; all at once by default.

    Returns
    -------
    tensor (n, n_tokens, d), float32, on the model's device
        No gradient is tracked.

    Raises
    ------
    UnknownModel
        If the image tower is of no kind that has such tokens.
    ShapeMismatch
        If ``pixels`` is not a stack of pictures.

    References
    ----------
    Scotti et al. (2023), Reconstructing the Mind's Eye, NeurIPS.
    """
    check_option("normalise", normalise, NORMALISATIONS)
    tower = getattr(model, "visual", model)
    read = _reader(model, tower)
    weight = next(model.parameters())
    pixels = torch.as_tensor(pixels)
    if pixels.ndim != 4:
        raise ShapeMismatch(f"pixels must be (n, 3, height, width), got {tuple(pixels.shape)}.")
    with torch.no_grad():
        parts = [read(chunk.to(weight)).float() for chunk in pixels.split(batch_size or max(len(pixels), 1))]
    return normalise_tokens(torch.cat(parts), normalise)


def text_tokens(
    model: Any, ids: Any, *, normalise: str = "none", padding: str = "keep", batch_size: int | None = None
) -> torch.Tensor:
    """Return the projected states of sentences' tokens.

    Parameters
    ----------
    model : open_clip.CLIP, open_clip.CustomTextCLIP or transformers.CLIPTextModelWithProjection
    ids : int tensor or array (n, length)
        From the model's tokenizer.
    normalise : {"none", "cls_norm"}
        ``"cls_norm"`` divides by the length of the sentence's own embedding (that of its end token).
    padding : {"keep", "zero"}
        What stands after a sentence's end token: the network's states there, or zeros.
    batch_size : int, optional

    Returns
    -------
    tensor (n, length, d), float32, on the model's device

    Raises
    ------
    UnknownModel
        If the text tower is of no known kind.
    ShapeMismatch
        If ``ids`` is not (n, length).
    """
    check_option("normalise", normalise, NORMALISATIONS)
    check_option("padding", padding, ("keep", "zero"))
    ids = torch.as_tensor(ids)
    if ids.ndim != 2:
        raise ShapeMismatch(f"ids must be (n, length), got {tuple(ids.shape)}.")
    device = next(model.parameters()).device
    with torch.no_grad():
        parts = [_text_states(model, chunk.to(device)) for chunk in ids.split(batch_size or max(len(ids), 1))]
    states = torch.cat([states.float() for states, _ in parts])
    end = torch.cat([end for _, end in parts])
    if padding == "zero":
        states = states * (torch.arange(ids.shape[1], device=device) <= end[:, None])[..., None]
    if normalise == "none":
        return states
    return states / _lengths_of(states[torch.arange(len(states), device=device), end])[:, None, None]


def sentence_lengths(ids: Any) -> torch.Tensor:
    """Return how many tokens each sentence (n, length) has, its end token included: the largest id is the end.

    >>> sentence_lengths([[1, 5, 9, 0], [1, 9, 0, 0]]).tolist()
    [3, 2]
    """
    return torch.as_tensor(ids).argmax(1) + 1


def normalise_tokens(tokens: Any, normalise: str = "cls_norm") -> Any:
    """Divide all tokens (n, n_tokens, d) of an item by the length of its first; ``"none"`` leaves them.

    NumPy in, NumPy out.

    >>> normalise_tokens(np.array([[[3.0, 4.0], [1.0, 1.0]]])).tolist()
    [[[0.6, 0.8], [0.2, 0.2]]]
    """
    check_option("normalise", normalise, NORMALISATIONS)
    if normalise == "none":
        return tokens
    if isinstance(tokens, torch.Tensor):
        return tokens / _lengths_of(tokens[:, 0])[:, None, None]
    tokens = np.asarray(tokens)
    length = np.linalg.norm(tokens[:, 0], axis=-1)
    return tokens / np.where(length > 0, length, 1)[:, None, None]


def _lengths_of(vectors: torch.Tensor) -> torch.Tensor:
    length = vectors.norm(dim=-1)
    return torch.where(length > 0, length, torch.ones_like(length))


def _reader(model: Any, tower: Any) -> Any:
    """Return what turns pixels into tokens for this image tower."""
    if hasattr(tower, "attnpool") and hasattr(tower, "stem"):
        return lambda x: _attention_pool(tower, x)
    if hasattr(tower, "ln_post") and hasattr(tower, "transformer") and getattr(tower, "attn_pool", None) is None:
        return lambda x: _open_clip_vit(tower, x)
    if hasattr(model, "vision_model") and hasattr(model, "visual_projection"):
        return lambda x: _transformers_vit(model, x)
    raise UnknownModel(
        f"no way to read image tokens from {type(tower).__name__}: there are ways for open_clip's vision transformers "
        "(without attentional pooling) and attention-pooled ResNets, and for transformers' "
        "CLIPVisionModelWithProjection."
    )


def _attention_pool(tower: Any, x: torch.Tensor) -> torch.Tensor:
    """Attend from every position instead of the mean only."""
    x = tower.layer4(tower.layer3(tower.layer2(tower.layer1(tower.stem(x)))))
    pool = tower.attnpool
    x = x.flatten(2).permute(2, 0, 1)  # (h*w, n, channels)
    x = torch.cat([x.mean(0, keepdim=True), x]) + pool.positional_embedding[:, None].to(x.dtype)
    out, _ = functional.multi_head_attention_forward(
        x,
        x,
        x,
        x.shape[-1],
        pool.num_heads,
        in_proj_weight=None,
        in_proj_bias=torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]),
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=pool.c_proj.weight,
        out_proj_bias=pool.c_proj.bias,
        training=False,
        need_weights=False,
        use_separate_proj_weight=True,
        q_proj_weight=pool.q_proj.weight,
        k_proj_weight=pool.k_proj.weight,
        v_proj_weight=pool.v_proj.weight,
    )
    return out.transpose(0, 1)


def _open_clip_vit(tower: Any, x: torch.Tensor) -> torch.Tensor:
    # The model pools after this LayerNorm or before it; per token the two orders agree.
    tokens = tower.ln_post(tower.transformer(tower._embeds(x)))
    return tokens if tower.proj is None else tokens @ tower.proj


def _transformers_vit(model: Any, x: torch.Tensor) -> torch.Tensor:
    vision = model.vision_model
    return model.visual_projection(vision.post_layernorm(vision(pixel_values=x).last_hidden_state))


def _text_states(model: Any, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return projected states (n, length, d) and where each sentence is read (n,)."""
    if hasattr(model, "text_model") and hasattr(model, "text_projection"):
        eos = model.config.eos_token_id
        known = isinstance(eos, int) and eos != 2 and bool((ids == eos).any(1).all())  # 2: configs from before a fix
        end = (ids == eos).int().argmax(1) if known else ids.argmax(1)
        return model.text_projection(model.text_model(input_ids=ids).last_hidden_state), end
    part = getattr(model, "text", model)
    known = hasattr(part, "token_embedding") and hasattr(part, "ln_final")
    if not known or getattr(part, "cls_emb", None) is not None:
        raise UnknownModel(
            f"no way to read text tokens from {type(part).__name__}: there are ways for open_clip's text transformers "
            "and for transformers' CLIPTextModelWithProjection."
        )
    if hasattr(part, "_embeds"):
        x, mask = part._embeds(ids)
    else:
        length = ids.shape[1]
        x = part.token_embedding(ids) + part.positional_embedding[:length]
        mask = None if part.attn_mask is None else part.attn_mask[:length, :length]
    states = part.ln_final(part.transformer(x, attn_mask=mask))
    projection = part.text_projection
    if projection is not None:
        states = projection(states) if isinstance(projection, torch.nn.Module) else states @ projection
    kind = getattr(model, "text_pool_type", None) or getattr(part, "pool_type", "argmax")
    return states, _end_of_text(ids, kind, getattr(part, "eos_id", getattr(part, "text_eos_id", None)))
