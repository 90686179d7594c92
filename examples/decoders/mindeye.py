"""
MindEye: contrast finds the picture, a prior and a blurry start paint it
========================================================================

Two networks for one person. The semantic one is trained by contrast, for retrieval, and by a diffusion prior, which
turns brain tokens into image tokens that a generator can read. The low-level one predicts latents of the picture, from
which the generator starts. On a small phantom with the networks that ship; with your own copy of NSD the same lines
take ``mindeye_recipe("nsd")`` and Versatile Diffusion.
"""

# %%
# A phantom in the files of the Natural Scenes Dataset: one person, single trials z-scored within session.
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from neuro.datasets import NSD
from neuro.datasets.phantom import write_phantom
from neuro.decoders import NeuralDecoder, image_targets
from neuro.decoders.generators import encode_images, load_phantom_pipeline, low_level_pictures
from neuro.decoders.metrics import pixcorr, retrieval, two_way_identification
from neuro.decoders.recipes import mindeye_low_level_recipe, mindeye_recipe

folder = Path(tempfile.mkdtemp(prefix="mindeye-"))
sizes = {"n_subjects": 1, "n_sessions": 2, "n_images": 300, "trials_per_session": 300, "repeats": 2}
nsd = NSD(write_phantom(folder / "phantom", **sizes, size=64, grid="small", snr=2, n_jobs=1))
train, test = nsd.responses(subject=1, roi="nsdgeneral").zscore(by="session").split("shared1000")
test_ids = np.unique(test.stimulus)
print(f"{len(train)} training trials, {len(test_ids)} test images, {train.n_voxels} voxels")

# %%
# Targets: the tokens of phantom-clip, divided by the length of the first one, and latents of the pipeline's VAE.
pipeline = load_phantom_pipeline()
ids = np.union1d(train.stimulus, test_ids)
targets = image_targets(
    nsd.stimuli.select(ids),
    normalise="cls_norm",
    readers={"low_level": lambda pictures: encode_images(pipeline.vae, pictures)},
    size=64,
)
print(targets)

# %%
# Train both networks. Batches and epochs are few, and the low-level head has one block, so that it takes seconds.
meaning = NeuralDecoder(mindeye_recipe("phantom").with_settings(epochs=16, batch_size=32, learning_rate=1e-3))
meaning.fit(train, targets, target_ids=targets.ids, test_ids=test_ids)
brief = {"epochs": 4, "batch_size": 32, "learning_rate": 3e-3}
layout = NeuralDecoder(mindeye_low_level_recipe("phantom", block_channels=(32,)).with_settings(**brief))
layout.fit(train, targets, target_ids=targets.ids, test_ids=test_ids)
for name, decoder in (("semantic", meaning), ("low-level", layout)):
    print(f"{name} network: best of {decoder.training_.epochs} epochs is number {decoder.training_.best_epoch}")

# %%
# Retrieval reads the contrastive tokens, identification the prior's samples. Both against all test images.
decoded = meaning.predict(test, steps=15)
decoded = decoded.with_arrays({"low_level": layout.predict(test).select(decoded.ids)["low_level"]})
true = targets.select(decoded.ids)
found = retrieval(decoded["retrieval_tokens"], true["image_tokens"], pool=len(test_ids))
for result in (found.brain_to_image, found.image_to_brain):
    print(f"{result.metric}: {result.value:.2f} (pool {found.pool}, chance {result.chance:.3f})")
for name in ("image_tokens", "low_level"):
    result = two_way_identification(decoded[name], true[name])
    print(f"two-way identification by {name}: {result.value:.2f} (chance {result.chance:.2f})")

# %%
# Pictures of eight test images: decoded latents alone, pure noise told the prior's tokens, and both together.
some = decoded.select(decoded.ids[:8])
shown = np.stack(nsd.stimuli.images(some.ids)).transpose(0, 3, 1, 2).astype(np.float32) / 255
tokens = {"image_tokens": some["image_tokens"]}
how = {"steps": 8, "seed": 0, "ids": some.ids}
rows = {
    "latents alone": low_level_pictures(pipeline.vae, some["low_level"]),
    "tokens alone": pipeline.generate(tokens, **how)[:, 0],
    "tokens, from the latents": pipeline.generate(some, strength=0.85, **how)[:, 0],
}
for name, made in rows.items():
    result = pixcorr(made, shown)
    print(f"{name}: pixel correlation {result.value:.2f} (wrong pairs {result.chance:.2f})")

# %%
# A sheet: shown, then the three rows above.
sheet = np.concatenate([np.concatenate(list(row), axis=2) for row in (shown, *rows.values())], axis=1)
Image.fromarray((255 * sheet.transpose(1, 2, 0)).round().astype(np.uint8)).save(folder / "mindeye.png")
print("pictures:", folder / "mindeye.png")
