"""
Takagi & Nishimoto: layout from early visual cortex, meaning from ventral cortex
================================================================================

Single trials, ridge regression, and a part of the brain for each part of the picture. Then the variants that swap
parts: a decoded sentence as the condition, and decoded features of early vision as further structure.
"""

# %%
# A phantom in the files of the Natural Scenes Dataset. Single trials stay single: each finds its image by id.
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from neuro.datasets import NSD
from neuro.datasets.phantom import write_phantom
from neuro.decoders.captioner import load_captioner
from neuro.decoders.generators.diffusion import encode_images
from neuro.decoders.generators.phantom import load_phantom_pipeline
from neuro.decoders.metrics.identify import two_way_identification
from neuro.decoders.recipes.takagi import takagi_nishimoto
from neuro.features import GaborPyramid
from neuro.features.phantom_clip import load_phantom_clip
from neuro.features.tokens import image_tokens, text_tokens

folder = Path(tempfile.mkdtemp(prefix="phantom-"))
nsd = NSD(
    write_phantom(
        folder, n_subjects=1, n_sessions=2, n_images=200, size=64, trials_per_session=300, grid="small", snr=2
    )
)
train, test = nsd.responses(subject=1, roi="nsdgeneral").zscore(by="session").split("shared1000")
print(f"{len(train)} training trials, {len(np.unique(test.stimulus))} test images")

# %%
# Targets: latents, text states of the captions (averaged), what the captioner reads, and oriented energy.
clip, preprocess, tokenizer = load_phantom_clip()
pipeline = load_phantom_pipeline()
ids = np.unique([*train.stimulus, *test.stimulus])
pictures = nsd.stimuli.images(ids)
pixels = np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / 255
states = [text_tokens(clip, tokenizer(list(of_one)), padding="zero").mean(0) for of_one in nsd.captions(ids)]
energy = GaborPyramid(size=64, orientations=4, scales=[4, 8], grid=8)
targets = {
    "low_level": encode_images(pipeline.vae, torch.from_numpy(pixels), pipeline.size).numpy(),
    "text_tokens": torch.stack(states).numpy(),
    "caption_states": image_tokens(clip, torch.stack([preprocess(Image.fromarray(p)) for p in pictures])).numpy(),
    "structure": energy.extract(nsd.stimuli.select(ids), progress=False).rows("energy", ids),
}
row = {value: i for i, value in enumerate(ids.tolist())}


def two_way(decoded):
    """Print how well each decoded feature tells its image from others."""
    shown = [row[value] for value in decoded.ids.tolist()]
    for name in decoded:
        score = two_way_identification(decoded[name], targets[name][shown]).value
        print(f"  {name}: {score:.2f} two-way (chance 0.50)")


# %%
# Latents from the early stream, text states from the ventral stream.
system = takagi_nishimoto("phantom").fit(train, targets, target_ids=ids)
decoded = system.decode(test)
print("latents:", {part.targets[0]: part.roi for part in system.parts})
two_way(decoded)
made = system.reconstruct(pipeline, decoded.select(decoded.ids[:4]), seed=0)
print("  pictures:", made.shape)

# %%
# A decoded sentence instead: states of the captioner's image encoder, then its words, then their text states.
variant = takagi_nishimoto("phantom", mode="text").fit(train, targets, target_ids=ids)
decoded = variant.decode(test)
print("text:")
two_way(decoded)
captions = load_captioner("phantom").caption(decoded["caption_states"])
for value, sentence in list(zip(decoded.ids.tolist(), captions, strict=True))[:4]:
    print(f"  decoded {sentence!r}, shown {nsd.captions(value)[0]!r}")
words = text_tokens(clip, tokenizer(captions), padding="zero").numpy()
some = decoded.select(decoded.ids[:4])
made = variant.reconstruct(pipeline, some, {"text_tokens": words[:4]}, seed=0)
print("  pictures:", made.shape)

# %%
# Structure: features of another network, from all streams. On real data a GAN fits the first picture to them.
structured = takagi_nishimoto("phantom", mode="structure").fit(train, targets, target_ids=ids)
print("structure:")
two_way(structured.decode(test))
