"""
NeuroPictor: a flat map of cortex steers a frozen diffusion model twice
=======================================================================

Responses are laid out as a picture of cortex. An image encoder, pretrained to fill in hidden patches of such maps,
reads them. One head gives text-like states (what is there), the other a hint for a copy of the UNet's encoder (where),
and both are trained by the diffusion loss while the diffusion model itself stays as it is. This page trains for a few
seconds: enough to see that the parts work, not to see what was seen.
"""

# %%
# One person of a phantom, and latents of the images as targets.
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler
from PIL import Image
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from neuro.datasets import NSD
from neuro.datasets.phantom import write_phantom
from neuro.decoders import NeuralDecoder, image_targets
from neuro.decoders.generators import decode_latents, denoise, encode_images, load_phantom_pipeline
from neuro.decoders.metrics import pixcorr, retrieval, two_way_identification
from neuro.decoders.recipes import neuropictor_recipe
from neuro.features.phantom_clip import load_phantom_clip
from neuro.features.tokens import text_tokens

folder = Path(tempfile.mkdtemp(prefix="neuropictor-"))
sizes = {"n_subjects": 1, "n_sessions": 1, "n_images": 240, "trials_per_session": 480, "repeats": 2}
nsd = NSD(write_phantom(folder / "phantom", **sizes, size=64, grid="small", snr=2, n_jobs=1))
train, test = nsd.responses(subject=1, roi="nsdgeneral").zscore(by="session").average_repeats().split("shared1000")
pipeline = load_phantom_pipeline()
targets = image_targets(
    nsd.stimuli.select(np.union1d(train.stimulus, test.stimulus)),
    readers={"low_level": lambda pictures: encode_images(pipeline.vae, pictures)},
    size=64,
)
print(f"{len(train)} training images, {len(test)} test images, {train.n_voxels} voxels")

# %%
# What this UNet reads of each image: states of its CLIP tokens and of its first caption, in their slots. Fine-tuning
# asks the semantic head for them, beside the diffusion loss.
clip, _, tokenizer = load_phantom_clip()
words = tokenizer([captions[0] for captions in nsd.captions(targets.ids)])
told = {"image_tokens": targets["image_tokens"], "text_tokens": text_tokens(clip, words, padding="zero")}
states = pipeline.conditioning.assemble(told).numpy()
targets = targets.with_arrays({"text_tokens": states})

# %%
# A map of 32 x 32 pixels, the brain seen from behind: each voxel gets a pixel of its own, as near to its place as the
# others allow.
size = 32
xyz = train.voxels.geometry.xyz
place = np.stack([-xyz[:, 2], xyz[:, 0]], axis=1)
place = (size - 1) * (place - place.min(0)) / np.ptp(place, axis=0)
pixels = np.indices((size, size)).reshape(2, -1).T
voxel, pixel = linear_sum_assignment(cdist(place, pixels, "sqeuclidean"))
layout = np.full(size * size, -1)
layout[pixel] = voxel
layout = layout.reshape(size, size)
moved = np.linalg.norm(pixels[pixel] - place[voxel], axis=1).mean()
print(f"{len(voxel)} voxels on {size * size} pixels, {moved:.1f} pixels from their places")

# %%
# Pretraining without pictures: three quarters of the patches are hidden, and predicted from the rest. The recipe then
# starts from this network.
recipe = neuropictor_recipe(
    "phantom",
    fine_tune=True,
    unet=pipeline.unet,
    scheduler=DDPMScheduler.from_config(pipeline.scheduler.config),
    pixels={1: layout},
    map_size=size,
    patch=4,
    depth=2,
    n_text_tokens=pipeline.conditioning.n_tokens,
)
network = recipe.network({"1": train.n_voxels}, torch.Generator().manual_seed(0))
x, x_test = torch.from_numpy(train.to_numpy()), torch.from_numpy(test.to_numpy())


def hidden_patches(responses):
    """Return the loss on hidden patches, hidden the same way in every call."""
    with torch.no_grad():
        return network.pretraining_loss(responses, 1, torch.Generator().manual_seed(1)).item()


first = hidden_patches(x_test)
optimiser = torch.optim.AdamW(network.encoder.parameters(), lr=1e-3)
draws = torch.Generator().manual_seed(2)
for _ in range(60):
    batch = x[torch.randint(len(x), (48,), generator=draws)]
    optimiser.zero_grad()
    network.pretraining_loss(batch, 1, draws).backward()
    optimiser.step()
print(f"hidden patches of test responses: loss {first:.2f} before pretraining, {hidden_patches(x_test):.2f} after")

# %%
# Fine-tuning. Times and noise are drawn anew in each batch, so that the loss is compared on fixed ones.


def diffusion_loss():
    """Return the diffusion loss on 16 test images, with the same times and noise in every call."""
    some = targets.select(test.stimulus[:16])
    with torch.no_grad():
        outputs = {"1": network(x_test[:16], 1)}
        wanted = {"1": {"low_level": torch.from_numpy(some["low_level"].copy())}}
        return network.own_losses({}, outputs, wanted, torch.Generator().manual_seed(3))["diffusion"].item()


network.eval()
first = diffusion_loss()
small = {"epochs": 2, "batch_size": 24, "learning_rate": 1e-3}
decoder = NeuralDecoder(recipe.with_settings(build=lambda n_voxels, generator=None: network, **small), validation=0)
decoder.fit(train, targets, target_ids=targets.ids, test_ids=test.stimulus)
history = decoder.training_.history
network.eval()
print(f"diffusion loss on test images: {first:.3f} before, {diffusion_loss():.3f} after")
print(f"text states in training: {history[0]['text']:.4f} in the first epoch, {history[-1]['text']:.4f} in the last")

# %%
# What the semantic head says: states minus their mean over training images, which says nothing of any one image. After
# so few steps it is not expected to find images.
decoded = decoder.predict(test)
centre = targets.select(train.stimulus)["text_tokens"].mean(0)
said, true = decoded["text_tokens"] - centre, targets.select(decoded.ids)["text_tokens"] - centre
found = retrieval(said, true, pool=len(test))
for result in (found.brain_to_image, found.image_to_brain):
    print(f"{result.metric}: {result.value:.2f} (pool {found.pool}, chance {result.chance:.3f})")
result = two_way_identification(said, true)
print(f"two-way identification: {result.value:.2f} (chance {result.chance:.2f})")

# %%
# Six pictures from the same noise: states alone, with the hint, and with the hint of another image.
some = decoded.select(decoded.ids[:6])
shown = np.stack(nsd.stimuli.images(some.ids)).transpose(0, 3, 1, 2).astype(np.float32) / 255
told = torch.from_numpy(some["text_tokens"].copy())
hint = torch.from_numpy(some["control"].copy())


def draw(hint, scale):
    """Return pictures from the decoded states, steered by a hint."""
    unet = network.controlled(hint, scale)
    noise = [torch.Generator().manual_seed(i) for i in range(len(told))]
    with torch.no_grad():
        latents = denoise(
            lambda z, t: unet(z, t, told, return_dict=False)[0],
            pipeline.scheduler,
            pipeline.latent_shape,
            noise,
            count=8,
            steps=8,
        )
    return decode_latents(pipeline.vae, latents).clamp(0, 1).numpy()


rows = {"states alone": draw(hint, 0.0), "with the hint": draw(hint, 1.0), "another's hint": draw(hint.roll(1, 0), 1.0)}
for name, made in rows.items():
    result = pixcorr(made, shown)
    changed = np.abs(made - rows["states alone"]).mean()
    print(f"{name}: pixel correlation {result.value:.2f} (wrong pairs {result.chance:.2f}), changed by {changed:.3f}")
sheet = np.concatenate([np.concatenate(list(row), axis=2) for row in (shown, *rows.values())], axis=1)
Image.fromarray((255 * sheet.transpose(1, 2, 0)).round().astype(np.uint8)).save(folder / "neuropictor.png")
print("pictures (shown, states alone, with the hint, with another's hint):", folder / "neuropictor.png")
