"""
See Through Their Minds: an adapter for each person, tokens that look at one another
====================================================================================

Each person has a linear layer and a residual block of their own; trunk, token attention and prior are shared. The class
token is compared with the vector of the image and with that of its caption. A new person trains an adapter while all
else is frozen. The low-level branch is left out to save time; MindEye's page has one.
"""

# %%
# Three people of a phantom; the third comes later, with few images.
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from neuro.datasets import NSD
from neuro.datasets.phantom import write_phantom
from neuro.decoders import NeuralDecoder, image_targets, subject_parameters
from neuro.decoders.generators import load_phantom_pipeline
from neuro.decoders.metrics import pixcorr, retrieval, two_way_identification
from neuro.decoders.recipes import see_through_recipe
from neuro.features.phantom_clip import load_phantom_clip

folder = Path(tempfile.mkdtemp(prefix="see-through-"))
sizes = {"n_subjects": 3, "n_sessions": 1, "n_images": 250, "trials_per_session": 500, "repeats": 2}
nsd = NSD(write_phantom(folder / "phantom", **sizes, size=64, grid="small", snr=2, n_jobs=1))
people = {s: nsd.responses(subject=s, roi="nsdgeneral").zscore(by="session").split("shared1000") for s in (1, 2, 3)}
train = {s: responses for s, (responses, _) in people.items()}
test = {s: responses for s, (_, responses) in people.items()}
test_ids = np.unique(test[3].stimulus)
few = train[3].select(trials=np.isin(train[3].stimulus, np.unique(train[3].stimulus)[:40]))

# %%
# Targets: image tokens, and the vectors of image and caption.
used = np.unique(np.concatenate([train[1].stimulus, train[2].stimulus, few.stimulus, test_ids]))
targets = image_targets(nsd.stimuli.select(used), normalise="cls_norm")
clip, _, tokenizer = load_phantom_clip()
with torch.no_grad():
    vectors = clip.encode_text(tokenizer([captions[0] for captions in nsd.captions(used)]))
targets = targets.with_arrays({"text_embedding": vectors.numpy()})
print(targets)


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
# Two people together. What belongs to whom?
settings = {"epochs": 10, "batch_size": 32, "learning_rate": 1e-3}
recipe = see_through_recipe("phantom", low_level=False).with_settings(**settings)
decoder = NeuralDecoder(recipe).fit([train[1], train[2]], targets, target_ids=targets.ids, test_ids=test_ids)
network = decoder.system_.network
total = sum(p.numel() for p in network.parameters())
for subject in (1, 2):
    own = sum(p.numel() for p in subject_parameters(network, subject))
    print(f"weights of subject {subject} alone: {own / total:.0%} of {total:,}")
    score("trained together", decoder, subject)

# %%
# The third person trains adapters of their own; the rest is frozen, so the others see no difference.
before = decoder.predict(test[1], steps=5)["image_tokens"].copy()
decoder.reset_tune(3, few, targets, target_ids=targets.ids, test_ids=test_ids, source=[train[1], train[2]], epochs=10)
same = np.array_equal(decoder.predict(test[1], steps=5)["image_tokens"], before)
print("what is said of subject 1 is unchanged to the bit:", same)
decoded = score(f"adapters from {len(np.unique(few.stimulus))} images", decoder, 3)

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
Image.fromarray((255 * sheet.transpose(1, 2, 0)).round().astype(np.uint8)).save(folder / "see_through.png")
print("pictures (shown, decoded tokens, true tokens):", folder / "see_through.png")
