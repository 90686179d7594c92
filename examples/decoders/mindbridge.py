"""
MindBridge: a way into the shared space, and a way back into every brain
========================================================================

Pooled responses of every person lead to one embedding; a builder of each person's own leads from it back to
their responses. So responses can be translated from one brain to another, and a new person needs only an adapter
and a builder, trained while all else is frozen (reset-tuning). The same network from scratch is the comparison.
"""

# %%
# Three people of a phantom; two have all their images, the third few. Test images are those that all of them saw.
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from neuro.datasets import NSD
from neuro.datasets.phantom import write_phantom
from neuro.decoders import NeuralDecoder, image_targets
from neuro.decoders.generators import load_phantom_pipeline
from neuro.decoders.metrics import pixcorr, profile_correlation, retrieval, two_way_identification
from neuro.decoders.recipes import mindbridge_recipe
from neuro.features.phantom_clip import load_phantom_clip
from neuro.features.tokens import text_tokens

folder = Path(tempfile.mkdtemp(prefix="mindbridge-"))
sizes = {"n_subjects": 3, "n_sessions": 1, "n_images": 250, "trials_per_session": 500, "repeats": 2}
nsd = NSD(write_phantom(folder / "phantom", **sizes, size=64, grid="small", snr=2, n_jobs=1))
people = {s: nsd.responses(subject=s, roi="nsdgeneral").zscore(by="session").split("shared1000") for s in (1, 2, 3)}
train = {s: responses for s, (responses, _) in people.items()}
test = {s: responses for s, (_, responses) in people.items()}
test_ids = np.unique(test[3].stimulus)
few = train[3].select(trials=np.isin(train[3].stimulus, np.unique(train[3].stimulus)[:40]))
print(f"{len(test_ids)} test images; subjects 1 and 2: {len(np.unique(train[1].stimulus))} training images each")
print(f"subject 3: {len(np.unique(few.stimulus))} training images")

# %%
# Targets: image tokens, and the states of the first caption, each divided by the length of the pooled one.
used = np.unique(np.concatenate([train[1].stimulus, train[2].stimulus, few.stimulus, test_ids]))
targets = image_targets(nsd.stimuli.select(used), normalise="cls_norm")
clip, _, tokenizer = load_phantom_clip()
words = tokenizer([captions[0] for captions in nsd.captions(used)])
targets = targets.with_arrays({"text_tokens": text_tokens(clip, words, normalise="cls_norm").numpy()})


def score(name, decoder, subject):
    """Decode the test images of a subject and print how well they are found."""
    decoded = decoder.predict(test[subject])
    true = targets.select(decoded.ids)
    found = retrieval(decoded["image_tokens"], true["image_tokens"], pool=len(test_ids))
    print(f"{name}, subject {subject}")
    for result in (found.brain_to_image, found.image_to_brain):
        print(f"  {result.metric}: {result.value:.2f} (pool {found.pool}, chance {result.chance:.3f})")
    for target in ("image_tokens", "text_tokens"):
        result = two_way_identification(decoded[target], true[target])
        print(f"  two-way identification by {target}: {result.value:.2f} (chance {result.chance:.2f})")
    return decoded


# %%
# Two people together.
recipe = mindbridge_recipe("phantom").with_settings(epochs=25, learning_rate=1e-3)
bridge = NeuralDecoder(recipe)
bridge.fit([train[1], train[2]], targets, target_ids=targets.ids, test_ids=test_ids)
for subject in (1, 2):
    score("trained together", bridge, subject)

# %%
# Reset-tuning: half of each batch are trials of subject 3, half those of known people.
before = bridge.predict(test[1])["image_tokens"].copy()
bridge.reset_tune(
    3,
    few,
    targets,
    target_ids=targets.ids,
    test_ids=test_ids,
    source=[train[1], train[2]],
    epochs=25,
)
decoded = score("reset-tuned", bridge, 3)
same = np.array_equal(bridge.predict(test[1])["image_tokens"], before)
print("what is said of subject 1 is unchanged to the bit:", same)
scratch = NeuralDecoder(recipe.with_settings(epochs=25)).fit(few, targets, target_ids=targets.ids, test_ids=test_ids)
score("from scratch", scratch, 3)

# %%
# Responses that were never measured: those of one person, made of another's, beside what was measured. Correlations are
# over test images, voxel by voxel, and beside them those with the responses to other images.
network = bridge.system_.network.eval()
x = {}
for s, of_one in test.items():
    mean = of_one.average_repeats()
    where = {value: i for i, value in enumerate(mean.stimulus.tolist())}
    x[s] = torch.from_numpy(mean.to_numpy()[[where[value] for value in test_ids.tolist()]])
other = np.roll(np.arange(len(test_ids)), 1)
with torch.no_grad():
    for source, target in ((1, 2), (1, 3), (3, 1)):
        pseudo = network.pseudo_responses(network.embed(x[source], source), target)
        r = profile_correlation(pseudo, x[target], n_bootstraps=0).value
        chance = profile_correlation(pseudo[other], x[target], n_bootstraps=0).value
        print(f"subject {source} to {target}: r = {r:.2f} with measured responses (other images {chance:.2f})")

    # The cycle: from an embedding into another brain, and back.
    e = network.embed(x[1], 1)
    back = network.adapters.of(2).embed(network.pseudo_responses(e, 2, voxels=False))
    cosine = torch.cosine_similarity(e, back).mean()
    wrong = torch.cosine_similarity(e, back[other]).mean()
    print(f"embeddings of subject 1 through subject 2 and back: cosine {cosine:.2f} (other images {wrong:.2f})")

# %%
# Pictures of six test images of subject 3 from decoded image tokens, and from those of the images themselves: what
# perfect decoding would give.
pipeline = load_phantom_pipeline()
some = decoded.select(decoded.ids[:6])
shown = np.stack(nsd.stimuli.images(some.ids)).transpose(0, 3, 1, 2).astype(np.float32) / 255
told = {"decoded tokens": some["image_tokens"], "true tokens": targets.select(some.ids)["image_tokens"]}
rows = {k: pipeline.generate({"image_tokens": v}, steps=8, ids=some.ids)[:, 0] for k, v in told.items()}
for name, made in rows.items():
    result = pixcorr(made, shown)
    print(f"pictures from {name}: pixel correlation {result.value:.2f} (wrong pairs {result.chance:.2f})")
sheet = np.concatenate([np.concatenate(list(row), axis=2) for row in (shown, *rows.values())], axis=1)
Image.fromarray((255 * sheet.transpose(1, 2, 0)).round().astype(np.uint8)).save(folder / "mindbridge.png")
print("pictures (shown, decoded tokens, true tokens):", folder / "mindbridge.png")
