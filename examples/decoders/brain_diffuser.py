"""
Brain-Diffuser: a blurry picture from ridge regression, repainted by a diffusion model
======================================================================================

Three closed-form regressions (latents of the picture, CLIP vision tokens, CLIP text tokens), then a diffusion model
that starts from the decoded latents and is told the decoded tokens. On a small phantom with the networks that ship;
with your own copy of NSD the same lines take ``brain_diffuser("nsd")`` and Versatile Diffusion.
"""

# %%
# A phantom in the files of the Natural Scenes Dataset: one person, z-scored within session, repeats averaged.
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from neuro.datasets import NSD
from neuro.datasets.phantom import write_phantom
from neuro.decoders.generators.diffusion import encode_images
from neuro.decoders.generators.phantom import load_phantom_pipeline
from neuro.decoders.generators.vae import VAEDecoder
from neuro.decoders.metrics.identify import two_way_identification
from neuro.decoders.metrics.pixels import pixcorr
from neuro.decoders.recipes.brain_diffuser import RegionNorms, brain_diffuser, region_conditions
from neuro.features.phantom_clip import load_phantom_clip
from neuro.features.tokens import image_tokens, text_tokens

folder = Path(tempfile.mkdtemp(prefix="phantom-"))
nsd = NSD(
    write_phantom(
        folder, n_subjects=1, n_sessions=2, n_images=200, size=64, trials_per_session=300, grid="small", snr=2
    )
)
responses = nsd.responses(subject=1, roi="nsdgeneral").zscore(by="session").average_repeats()
train, test = responses.split("shared1000")
print(f"{len(train)} training images, {len(test)} test images, {responses.n_voxels} voxels")

# %%
# Targets: phantom-clip tokens of pictures and of their captions (averaged), and the pipeline's latents.
clip, preprocess, tokenizer = load_phantom_clip()
pipeline = load_phantom_pipeline()
ids = np.unique(responses.stimulus)
pictures = nsd.stimuli.images(ids)
pixels = np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / 255
sentences = nsd.captions(ids)
states = [text_tokens(clip, tokenizer(list(of_one)), padding="zero").mean(0) for of_one in sentences]
targets = {
    "low_level": encode_images(pipeline.vae, torch.from_numpy(pixels), pipeline.size).numpy(),
    "image_tokens": image_tokens(clip, torch.stack([preprocess(Image.fromarray(p)) for p in pictures])).numpy(),
    "text_tokens": torch.stack(states).numpy(),
}

# %%
# Fit on the training images, decode the test images.
system = brain_diffuser("phantom").fit(train, targets, target_ids=ids)
decoded = system.decode(test)
row = {value: i for i, value in enumerate(ids.tolist())}
shown = [row[value] for value in decoded.ids.tolist()]
for name in targets:
    print(f"{name}: {two_way_identification(decoded[name], targets[name][shown]).value:.2f} two-way (chance 0.50)")

# %%
# Pictures of six test images: the decoded latents alone, and after the diffusion model has repainted them.
some = decoded.select(decoded.ids[:6])
blurry = VAEDecoder(pipeline.vae, pipeline.size).generate({"low_level": some["low_level"]})[:, 0]
repainted = system.reconstruct(pipeline, some, seed=0)[:, 0]
truth = pixels[shown[:6]]
for name, made in (("latents alone", blurry), ("repainted", repainted)):
    print(f"{name}: pixel correlation {pixcorr(made, truth).value:.2f}")
sheet = np.concatenate([np.concatenate(list(rows), axis=2) for rows in (truth, blurry, repainted)], axis=1)
Image.fromarray((255 * sheet.transpose(1, 2, 0)).round().astype(np.uint8)).save(folder / "brain_diffuser.png")
print("pictures (shown, latents alone, repainted):", folder / "brain_diffuser.png")

# %%
# What a region's weights stand for: how the decoded tokens would change if it alone were active, beside how tokens of
# pictures with a face, a place or food in their captions differ from others'. Lengths are those of this CLIP.
lengths = {name: float(np.linalg.norm(v - v.mean(0), axis=-1).mean()) for name, v in targets.items()}
latents = float(
    np.linalg.norm((targets["low_level"] - targets["low_level"].mean(0)).reshape(len(ids), -1), axis=1).mean()
)
norms = RegionNorms(latents, latents, lengths["image_tokens"], lengths["text_tokens"])
regions = {name: responses.voxels.roi(name) for name in ("V1", "FFA-1", "PPA")}
conditions = region_conditions(system, regions, norms=norms)
centre = targets["image_tokens"].mean(0)
words = {"face": {"face", "portrait"}, "place": {"view", "building", "empty"}, "food": {"food", "plate", "eat"}}
for name, tokens in zip(regions, conditions["image_tokens"], strict=True):
    change = (tokens - centre).ravel()
    likeness = {}
    for content, of_it in words.items():
        has = np.array([sum(bool(of_it & set(s.split())) for s in of_one) > 1 for of_one in sentences])
        axis = (targets["image_tokens"][has].mean(0) - targets["image_tokens"][~has].mean(0)).ravel()
        likeness[content] = change @ axis / np.linalg.norm(change) / np.linalg.norm(axis)
    print(f"{name}: " + ", ".join(f"{content} {value:+.2f}" for content, value in likeness.items()))
