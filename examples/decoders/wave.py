"""
Whole-brain contrast: scans of parcels, images and captions
===========================================================

A causal transformer over scans is first trained to foresee the next scan of simulated resting brains, then pulled
towards the CLIP vectors of the pictures a phantom saw and of their captions. The planted response to a picture peaks in
the third scan after it.
"""

# %%
import numpy as np
import torch
from PIL import Image

from neuro.datasets.phantom import render_scenes
from neuro.decoders.neural import NeuralDecoder
from neuro.decoders.recipes.wave import wave_recipe
from neuro.decoders.sequence_pretraining import SequenceModel, pretrain_sequences
from neuro.features.phantom_clip import load_phantom_clip

rng = np.random.default_rng(0)
scenes = render_scenes(400, size=48, seed=11)
model, preprocess, tokenizer = load_phantom_clip()
with torch.no_grad():
    image = model.encode_image(torch.stack([preprocess(Image.fromarray(i)) for i in scenes.images])).numpy()
    text = model.encode_text(tokenizer([c[0] for c in scenes.table["captions"]])).numpy()
image, text = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (image, text))

# %%
# Brains of 40 parcels. At rest, activity goes on by a stable linear law, with networks of parcels acting together.
# A picture adds to that: eight directions of its CLIP vector, through a haemodynamic response over five scans.
n_parcels, n_scans = 40, 5
law = 0.85 * np.linalg.qr(rng.standard_normal((n_parcels, n_parcels)))[0]
networks = rng.standard_normal((6, n_parcels))


def rest(n, length):
    x = np.zeros((n, length, n_parcels))
    for t in range(1, length):
        drive = rng.standard_normal((n, 6)) @ networks + 0.3 * rng.standard_normal((n, n_parcels))
        x[:, t] = x[:, t - 1] @ law + drive
    return x / x[:, 5:].std()


centred = image - image.mean(0)
z = centred @ np.linalg.svd(centred, full_matrices=False)[2][:8].T
z /= z.std(0)
response = np.array([0.1, 0.5, 1.0, 0.8, 0.3])
repeats = 2
seen = np.repeat(np.arange(len(image)), repeats)
scans = (
    rest(len(seen), 25)[:, -n_scans:]
    + 0.5 * response[:, None] * (z[seen] @ rng.standard_normal((8, n_parcels)))[:, None]
)
scans = (scans / scans.std()).astype(np.float32)

# %%
# Pretraining: foresee the next scan of resting brains.
sizes = {"width": 32, "n_layers": 1, "n_heads": 2, "n_positions": 24}
recipe = wave_recipe("phantom", **sizes).with_settings(epochs=10)
start = recipe.network({1: n_parcels}, torch.Generator().manual_seed(0))
run = pretrain_sequences(
    SequenceModel(start.encoder), list(rest(150, 25)[:, 5:]), "next", n_steps=150, batch_size=16, learning_rate=5e-3
)
print(f"next scan, resting brains kept apart: error {run.validation:.3f}, of guessing the median {run.baseline:.3f}")

# %%
# Contrast with images and captions, from scratch and from the pretrained transformer; 320 images train, 80 test.
train = seen < 320
targets = {"image_embedding": image.astype(np.float32), "text_embedding": text.astype(np.float32)}


def pretrained(n_voxels, generator=None):
    network = recipe.network(n_voxels, generator)
    network.encoder.load_state_dict(start.encoder.state_dict())
    return network


for name, build in {"from scratch": recipe.build, "pretrained": pretrained}.items():
    decoder = NeuralDecoder(recipe.with_settings(build=build))
    decoder.fit({1: scans[train]}, targets, {1: seen[train]})
    decoded = decoder.predict(scans[~train], seen[~train], 1)
    said = decoded["image_embedding"]
    said = said / np.linalg.norm(said, axis=1, keepdims=True)
    for what, truth in (("image", image), ("caption", text)):
        centre = truth[:320].mean(0)  # of the training images
        similarity = np.corrcoef(said - centre, truth[decoded.ids] - centre)[: len(said), len(said) :]
        rank = (similarity > np.diag(similarity)[:, None]).sum(1)
        print(
            f"{name}: {what} given brain, two-way {1 - rank.mean() / (len(said) - 1):.2f} (chance 0.50), "
            f"among 5 of {len(said)} {np.mean(rank < 5):.0%} (chance {5 / len(said):.0%})"
        )
