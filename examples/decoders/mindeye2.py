"""
MindEye2: one space that all people share
=========================================

A linear map of each person's own leads to a space that all share; everything after it (trunk, prior, contrast) is one
network. Two people train it together; a third one joins with a few images and everything is fine-tuned. The same few
images from scratch are the comparison, which so few images and epochs do not decide. The low-level head is left out to
save time; MindEye's page has one.
"""

# %%
# Three people of a phantom. The images that all of them saw are the test images.
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from neuro.datasets import NSD
from neuro.datasets.phantom import write_phantom
from neuro.decoders import NeuralDecoder, image_targets
from neuro.decoders.generators import load_phantom_pipeline
from neuro.decoders.metrics import pixcorr, retrieval, two_way_identification
from neuro.decoders.recipes import mindeye2_recipe

folder = Path(tempfile.mkdtemp(prefix="mindeye2-"))
sizes = {"n_subjects": 3, "n_sessions": 1, "n_images": 250, "trials_per_session": 500, "repeats": 2}
nsd = NSD(write_phantom(folder / "phantom", **sizes, size=64, grid="small", snr=2, n_jobs=1))
people = {s: nsd.responses(subject=s, roi="nsdgeneral").zscore(by="session").split("shared1000") for s in (1, 2, 3)}
train = {s: responses for s, (responses, _) in people.items()}
test = {s: responses for s, (_, responses) in people.items()}
test_ids = np.unique(test[3].stimulus)
few = train[3].select(trials=np.isin(train[3].stimulus, np.unique(train[3].stimulus)[:60]))
print(f"{len(test_ids)} test images; subjects 1 and 2: {len(np.unique(train[1].stimulus))} training images each")
print(f"subject 3: {len(np.unique(few.stimulus))} training images")

# %%
# Targets: tokens divided by the length of the first one.
used = np.unique(np.concatenate([train[1].stimulus, train[2].stimulus, few.stimulus, test_ids]))
targets = image_targets(nsd.stimuli.select(used), normalise="cls_norm")


def score(name, decoder, subject):
    """Decode the test images of a subject and print how well they are found."""
    decoded = decoder.predict(test[subject], steps=10)
    true = targets.select(decoded.ids)
    found = retrieval(decoded["retrieval_tokens"], true["image_tokens"], pool=len(test_ids))
    print(f"{name}, subject {subject}")
    for result in (found.brain_to_image, found.image_to_brain):
        print(f"  {result.metric}: {result.value:.2f} (pool {found.pool}, chance {result.chance:.3f})")
    result = two_way_identification(decoded["image_tokens"], true["image_tokens"])
    print(f"  two-way identification by the prior's tokens: {result.value:.2f} (chance {result.chance:.2f})")
    return decoded


# %%
# Two people share the network.
settings = {"epochs": 10, "batch_size": 32, "learning_rate": 1e-3}
recipe = mindeye2_recipe("phantom", low_level=False).with_settings(**settings)
shared = NeuralDecoder(recipe, repeats="cycle")
shared.fit([train[1], train[2]], targets, target_ids=targets.ids, test_ids=test_ids)
for subject in (1, 2):
    score("trained together", shared, subject)

# %%
# The third person: a linear map of their own, then all weights are tuned. From scratch, the same images alone.
shared.reset_tune(3, few, targets, target_ids=targets.ids, test_ids=test_ids, parts="all", epochs=16)
decoded = score("fine-tuned from two others", shared, 3)
alone = mindeye2_recipe("phantom", fine_tune=True, low_level=False).with_settings(**{**settings, "epochs": 16})
scratch = NeuralDecoder(alone, repeats="cycle").fit(few, targets, target_ids=targets.ids, test_ids=test_ids)
score("from scratch", scratch, 3)

# %%
# Pictures of six test images of the third person from the prior's tokens, and from the true ones: what perfect decoding
# would give.
pipeline = load_phantom_pipeline()
some = decoded.select(decoded.ids[:6])
shown = np.stack(nsd.stimuli.images(some.ids)).transpose(0, 3, 1, 2).astype(np.float32) / 255
told = {"decoded tokens": some["image_tokens"], "true tokens": targets.select(some.ids)["image_tokens"]}
rows = {k: pipeline.generate({"image_tokens": v}, steps=8, ids=some.ids)[:, 0] for k, v in told.items()}
for name, made in rows.items():
    result = pixcorr(made, shown)
    print(f"pictures from {name}: pixel correlation {result.value:.2f} (wrong pairs {result.chance:.2f})")
sheet = np.concatenate([np.concatenate(list(row), axis=2) for row in (shown, *rows.values())], axis=1)
Image.fromarray((255 * sheet.transpose(1, 2, 0)).round().astype(np.uint8)).save(folder / "mindeye2.png")
print("pictures (shown, decoded tokens, true tokens):", folder / "mindeye2.png")
