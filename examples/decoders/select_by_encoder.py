"""
Which of several reconstructions? Ask an encoder
================================================

A diffusion model draws another picture with every seed. An encoding model that was fitted on the training images
predicts the brain response to each candidate, and the candidate whose prediction is most like the measured response is
taken. The true picture has no part in it. What it gains over taking any candidate is judged by features that neither
generator nor encoder reads: pixels.
"""

# %%
# One person of a phantom, repeats averaged; ten test images.
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from neuro.data import Stimuli
from neuro.datasets import NSD
from neuro.datasets.phantom import write_phantom
from neuro.decoders import RidgeDecoder, image_targets, select_best
from neuro.decoders.generators import load_phantom_pipeline
from neuro.decoders.metrics import pixcorr, retrieval, two_way_identification
from neuro.encoders import Encoder
from neuro.features import Extractor
from neuro.stats import pearson_r

folder = Path(tempfile.mkdtemp(prefix="select-"))
sizes = {"n_subjects": 1, "n_sessions": 2, "n_images": 300, "trials_per_session": 300, "repeats": 2}
nsd = NSD(write_phantom(folder / "phantom", **sizes, size=64, grid="small", snr=2, n_jobs=1))
responses = nsd.responses(subject=1, roi="nsdgeneral").zscore(by="session").average_repeats()
train, test = responses.split("shared1000")
print(f"{len(train)} training images, {len(test)} test images, {responses.n_voxels} voxels")

# %%
# A linear decoder of image tokens.
targets = image_targets(nsd.stimuli.select(np.unique(responses.stimulus)))
tokens = {"image_tokens": targets["image_tokens"]}
decoder = RidgeDecoder(3e2, standardize=True).fit(train, tokens, target_ids=targets.ids)
decoded = decoder.predict(test)
true = targets.select(decoded.ids)["image_tokens"]
found = retrieval(decoded["image_tokens"], true, pool=len(test))
for result in (found.brain_to_image, found.image_to_brain):
    print(f"{result.metric}: {result.value:.2f} (pool {found.pool}, chance {result.chance:.3f})")
result = two_way_identification(decoded["image_tokens"], true)
print(f"two-way identification: {result.value:.2f} (chance {result.chance:.2f})")

# %%
# An encoder, fitted on training images only: an early layer of phantom-clip, with places.
network = Extractor("phantom-clip", pool="spatial:4", device="cpu")
encoder = Encoder.fit(nsd.stimuli, train, extractor=network, layer="layer2")
r = pearson_r(test.to_numpy(), encoder(nsd.stimuli[test.stimulus]))
print(f"encoder: r = {np.nanmean(r):.2f} on test images, mean over voxels")

# %%
# Four candidates for each of ten test images.
pipeline = load_phantom_pipeline()
some = decoded.select(decoded.ids[:10])
candidates = pipeline.generate(some, steps=6, n=4, seed=0)
shown = np.stack(nsd.stimuli.images(some.ids)).transpose(0, 3, 1, 2).astype(np.float32) / 255
where = {value: i for i, value in enumerate(test.stimulus.tolist())}
measured = test.to_numpy()[[where[value] for value in some.ids.tolist()]]


def predicted_responses(pictures):
    """Return what the encoder says of pictures (m, 3, h, w) on 0..1."""
    with torch.no_grad():
        return encoder(torch.from_numpy(pictures)).numpy()


def clip_tokens(pictures):
    """Return image tokens of pictures (m, 3, h, w) on 0..1, as the targets are made."""
    arrays = (255 * pictures.transpose(0, 2, 3, 1)).round().astype(np.uint8)
    return image_targets(Stimuli.from_array(arrays))["image_tokens"]


# %%
# Three ways to pick. The last knows the true picture: a bound, marked as such wherever it is printed. All read
# phantom-clip, so none may be judged by it.
network_family = {"family": "phantom-clip", "evaluation": "pixels"}
picked = {
    "encoder": select_best(
        candidates, measured, "encoder", features=predicted_responses, scorer="encoder", **network_family
    ),
    "own tokens": select_best(
        candidates, some["image_tokens"], "embedding", features=clip_tokens, scorer="own tokens", **network_family
    ),
    "oracle": select_best(
        candidates,
        targets.select(some.ids)["image_tokens"],
        "oracle",
        features=clip_tokens,
        scorer="true tokens",
        **network_family,
    ),
}

# %%
# Judged by pixels: the pick against the mean of its four candidates, with a bootstrap interval over images. Ten images
# of a phantom decide little; the interval says so.
values = np.stack([pixcorr(candidates[:, k], shown).per_item for k in range(candidates.shape[1])], axis=1)
wrong = pixcorr(candidates[:, 0], shown).chance
print(f"pixel correlation of any candidate {values.mean():.2f}, of wrong pairs {wrong:.2f}")
for name, selection in picked.items():
    gain = selection.gain(values, "pixcorr", family="pixels")
    low, high = gain.ci
    label = " (ORACLE: chosen with the truth)" if gain.oracle else ""
    print(f"{name}: {gain.details['picked']:.2f}, gain {gain.value:+.3f} [{low:+.3f}, {high:+.3f}], chance 0{label}")
try:
    picked["encoder"].gain(values, "clip", family="phantom-clip")
except ValueError as error:
    print("judged by the scorer's own family:", error)

# %%
# The score itself always rises; that only says how many candidates were tried.
result = picked["encoder"].score_gain()
print(
    f"score of the picks: {result.value:.2f} s.d. above their mean, {result.chance:.2f} expected of meaningless scores"
)

# %%
# A sheet: shown, the four candidates, the encoder's pick.
rows = [shown, *candidates.swapaxes(0, 1), picked["encoder"].take(candidates)]
sheet = np.concatenate([np.concatenate(list(row), axis=2) for row in rows], axis=1)
Image.fromarray((255 * sheet.transpose(1, 2, 0)).round().astype(np.uint8)).save(folder / "select_by_encoder.png")
print("pictures (shown, four candidates, picked):", folder / "select_by_encoder.png")
