"""
Brain Captioning: what was seen, in words
=========================================

Ridge regression to the states that a captioner's language model reads in place of a picture's, and the captioner's own
words. With NSD the captioner is GIT; here it is the small one that ships, which knows the phantom's world.
"""

# %%
# A phantom in the files of the Natural Scenes Dataset: one person, z-scored within session, repeats averaged.
import tempfile

import numpy as np
import torch
from PIL import Image

from neuro.datasets import NSD
from neuro.datasets.phantom import write_phantom
from neuro.decoders.captioner import load_captioner
from neuro.decoders.generators.diffusion import encode_images
from neuro.decoders.generators.phantom import load_phantom_pipeline
from neuro.decoders.metrics.identify import two_way_identification
from neuro.decoders.metrics.pixels import pixcorr
from neuro.decoders.recipes.brain_captioning import brain_captioning
from neuro.features.phantom_clip import load_phantom_clip
from neuro.features.tokens import image_tokens

folder = tempfile.mkdtemp(prefix="phantom-")
nsd = NSD(
    write_phantom(
        folder, n_subjects=1, n_sessions=2, n_images=200, size=64, trials_per_session=300, grid="small", snr=2
    )
)
responses = nsd.responses(subject=1, roi="nsdgeneral").zscore(by="session").average_repeats()
train, test = responses.split("shared1000")

# %%
# Targets: the image tokens that the captioner reads, and the latents of a diffusion model.
clip, preprocess, _ = load_phantom_clip()
pipeline, captioner = load_phantom_pipeline(), load_captioner("phantom")
ids = np.unique(responses.stimulus)
pictures = nsd.stimuli.images(ids)
pixels = np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / 255
targets = {
    "image_tokens": image_tokens(clip, torch.stack([preprocess(Image.fromarray(p)) for p in pictures])).numpy(),
    "low_level": encode_images(pipeline.vae, torch.from_numpy(pixels), pipeline.size).numpy(),
}
row = {value: i for i, value in enumerate(ids.tolist())}

# %%
# Decode, and let the language model speak. The control pairs brains with other people's pictures.
system = brain_captioning("phantom", depth=False).fit(train, targets, target_ids=ids)
decoded = system.decode(test)
shown = [row[value] for value in decoded.ids.tolist()]
print(
    f"{len(train)} training images; tokens: "
    f"{two_way_identification(decoded['image_tokens'], targets['image_tokens'][shown]).value:.2f} two-way (chance 0.50)"
)
captions = system.caption(captioner, decoded)
ceiling = captioner.caption(targets["image_tokens"][shown])
for value, sentence, best in list(zip(decoded.ids.tolist(), captions, ceiling, strict=True))[:6]:
    print(f"decoded {sentence!r}; from the picture {best!r}; shown {nsd.captions(value)[0]!r}")


def shared_words(sentences, references):
    """Share of a sentence's longer words that one of the picture's captions has too."""
    found = []
    for sentence, of_one in zip(sentences, references, strict=True):
        known = {word for caption in of_one for word in caption.replace(",", "").split()}
        words = [word for word in sentence.replace(",", "").split() if len(word) > 3]
        found.append(np.mean([word in known for word in words]) if words else 0.0)
    return float(np.mean(found))


references = nsd.captions(decoded.ids)
control = [references[i] for i in np.roll(np.arange(len(references)), 1)]
print(
    f"words also in the captions: {shared_words(captions, references):.2f}, "
    f"from the picture itself {shared_words(ceiling, references):.2f}, "
    f"against another picture's captions {shared_words(captions, control):.2f}"
)

# %%
# The same decoded features as pictures.
some = decoded.select(decoded.ids[:4])
made = system.reconstruct(pipeline, some, seed=0)[:, 0]
print(f"pixel correlation of {len(made)} pictures: {pixcorr(made, pixels[shown[:4]]).value:.2f}")
