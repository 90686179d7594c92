"""
Which picture was seen? Ridge regression and contrast on the same data
======================================================================

Ridge regression wants every number of an image embedding to be right on average. Contrast wants the right image to be
nearest, which is what retrieval measures. Both decode one image embedding here, with a control whose training pairs are
shuffled, and the decoded embeddings search a gallery.
"""

# %%
# One person of a phantom.
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from neuro.datasets import NSD
from neuro.datasets.phantom import write_phantom
from neuro.decoders import NeuralDecoder, RidgeDecoder, contrastive_recipe, image_targets
from neuro.decoders.metrics import Gallery, results_table, retrieval, two_way_identification

folder = Path(tempfile.mkdtemp(prefix="contrast-"))
sizes = {"n_subjects": 1, "n_sessions": 3, "n_images": 600, "trials_per_session": 400, "repeats": 2}
nsd = NSD(write_phantom(folder / "phantom", **sizes, size=64, grid="small", snr=2, n_jobs=1))
train, test = nsd.responses(subject=1, roi="nsdgeneral").zscore(by="session").split("shared1000")
test_ids = np.unique(test.stimulus)
print(f"{len(train)} training trials, {len(test_ids)} test images, {train.n_voxels} voxels")

# %%
# The target: the image embedding of phantom-clip, minus its mean over the training images, which says nothing of any
# one of them.
ids = np.union1d(train.stimulus, test_ids)
targets = image_targets(nsd.stimuli.select(ids))
embedding = targets["image_embedding"]
embedding = embedding - embedding[np.isin(targets.ids, train.stimulus)].mean(0)
targets = targets.with_arrays({"image_embedding": embedding})
wanted = {"image_embedding": targets["image_embedding"]}

# %%
# Two decoders, and the second one again with training images in another order: each trial then has a wrong image.
ridge = RidgeDecoder("auto", standardize=True).fit(train.average_repeats(), wanted, target_ids=targets.ids)
recipe = contrastive_recipe(128, width=256, epochs=20, mix_until=1 / 3, loss="bimixco_then_soft_clip")
contrast = NeuralDecoder(recipe).fit(train, wanted, target_ids=targets.ids, test_ids=test_ids)
order = np.random.default_rng(0).permutation(len(targets.ids))
control = NeuralDecoder(recipe).fit(train, {"image_embedding": embedding[order]}, target_ids=targets.ids)
decoded = {
    "ridge": ridge.predict(test),
    "contrast": contrast.predict(test),
    "contrast, shuffled pairs": control.predict(test),
}

# %%
# Both directions, since they differ, and identification. The pool is all test images.
scores = {}
for name, said in decoded.items():
    true = targets.select(said.ids)["image_embedding"]
    found = retrieval(said["image_embedding"], true, pool=len(test_ids))
    scores[name] = {**found.results(), "two-way": two_way_identification(said["image_embedding"], true)}
columns = ["system", "metric", "value", "ci_low", "ci_high", "chance", "n"]
print(results_table(scores)[columns].to_string(index=False, float_format="{:.3f}".format))

# %%
# A gallery of all images, of training and test: what does it find for the first brains?
gallery = Gallery(targets["image_embedding"], ids=targets.ids)
said = decoded["contrast"]
hits = gallery.search(said["image_embedding"], k=5)
among = np.mean([value in row for value, row in zip(said.ids, hits.ids, strict=True)])
print(
    f"the shown image is among the first 5 of {len(gallery)} for {among:.0%} of brains (chance {5 / len(gallery):.1%})"
)
for value, row in list(zip(said.ids.tolist(), hits.ids, strict=True))[:4]:
    print(f"  shown {nsd.captions(value)[0]!r}")
    print(f"  found {nsd.captions(row[0].item())[0]!r}")

# %%
# Shown images in the first column, the five nearest beside them.
lines = [[value, *row] for value, row in zip(said.ids[:6], hits.ids[:6], strict=True)]
sheet = np.concatenate([np.concatenate(nsd.stimuli.images(line), axis=1) for line in lines])
Image.fromarray(sheet).save(folder / "contrastive_retrieval.png")
print("pictures (shown, then found):", folder / "contrastive_retrieval.png")
