"""
What do a new brain's voxels want, from a few pictures it has seen?
===================================================================

An in-context encoder is not fitted: a trained network reads pictures with a voxel's responses to them, its context, and
answers with the voxel's weights. Here the network that ships meets a simulated person it was never trained on.
"""

# %%
# A phantom of a seed that training never used, seen through phantom-clip's joint embedding of images and texts.
import tempfile
import warnings

import matplotlib
import numpy as np

from neuro.datasets import NSD
from neuro.datasets.phantom import load_truth, write_phantom
from neuro.encoders import AlphaAtBoundaryWarning, InContextEncoder, RidgeCV
from neuro.encoders.selectivity import text_selectivity
from neuro.features import Extractor, TextExtractor
from neuro.features.phantom_clip import PROMPTS
from neuro.stats import explained_variance

matplotlib.use("Agg")
from matplotlib import pyplot as plt

folder = tempfile.mkdtemp(prefix="phantom-")
nsd = NSD(write_phantom(folder, n_subjects=1, n_sessions=1, n_images=250, size=64, seed=11, grid="small", snr=1.5))
responses = nsd.responses(subject=1, roi="nsdgeneral").zscore(by="session").average_repeats()
features = Extractor("phantom-clip").extract(nsd.stimuli.select(responses.stimulus), layers=["output"], progress=False)
X = features.rows("output", responses.stimulus)
X = X / np.linalg.norm(X, axis=1, keepdims=True)
Y = responses.to_numpy()
seen, new = slice(0, 150), slice(150, 250)

# %%
# Ridge regression has to learn 128 weights from each voxel's own responses. The network knows what voxels tend to want.
warnings.simplefilter("ignore", AlphaAtBoundaryWarning)  # with 20 pictures the best penalty is often the largest
sizes, curves = (20, 30, 50, 100, 150), {"in-context": [], "ridge": []}
for n in sizes:
    for name, encoder in (("in-context", InContextEncoder("phantom")), ("ridge", RidgeCV())):
        encoder.fit(X[seen][:n], Y[seen][:n])
        curves[name].append(float(explained_variance(Y[new], encoder.predict(X[new])).mean()))
for n, *scores in zip(sizes, *curves.values(), strict=True):
    print(f"{n:>4} pictures: " + ", ".join(f"{m} {s:.3f}" for m, s in zip(curves, scores, strict=True)))

# %%
# Its weights are ordinary weights over a joint embedding, so sentences can be held against them.
encoder = InContextEncoder("phantom").fit(X[seen], Y[seen])
found = text_selectivity(encoder, PROMPTS, text_extractor=TextExtractor("phantom-clip"))
truth = load_truth(nsd.root, 1)
planted = truth["preference"][truth["general"]]
for name, z in zip(found.names, found.z.T, strict=True):
    here, elsewhere = z[planted == name], z[(planted != name) & (planted != "")]
    if len(here) > 1:
        share = (here[:, None] > elsewhere).mean()
        print(f"{name:<7} {len(here):>3} planted voxels above other category voxels: {share:.0%}")

# %%
# Which pictures were the weights read from? Attention of the token that becomes the weights, (n_voxels, n_images), by
# block: the first one collects the pictures that a voxel answered to most, the second follows responses less closely.
# Which block does what is an accident of training.
face = np.flatnonzero(planted == "face")
for block in (0, 1):
    attention = encoder.context_attention(block, voxels=face)
    r = np.corrcoef(attention.mean(0), Y[seen][:, face].mean(1))[0, 1]
    print(f"block {block}: attention and responses of face voxels correlate with r = {r:.2f}")
attention = encoder.context_attention(0, voxels=face).mean(0)
most = nsd.stimuli.select(responses.stimulus[seen][np.argsort(-attention)[:8]])

# %%
# The curves, the map of one query, and the pictures that counted most for face voxels.
figure = plt.figure(figsize=(10, 5), layout="constrained")
grid = figure.add_gridspec(2, 8, height_ratios=[2, 1])
ax = figure.add_subplot(grid[0, :4])
for name, values in curves.items():
    ax.plot(sizes, values, "o-", label=name)
ax.axhline(0, color="0.8", lw=0.8, zorder=0)
ax.set(xlabel="pictures of context", ylabel="explained variance, mean over voxels", title="A new person")
ax.legend(frameon=False)
ax = figure.add_subplot(grid[0, 4:])
order = [name for name in found.names if (planted == name).sum() > 1]
for i, name in enumerate(order):
    z = found.z[planted == name, found.names.index("face")]
    ax.plot(z, i + np.random.default_rng(0).uniform(-0.2, 0.2, len(z)), ".", alpha=0.6)
ax.set(yticks=range(len(order)), yticklabels=order, xlabel='z of the query "face"', title="Planted preference")
for i, image in enumerate(most.images()):
    ax = figure.add_subplot(grid[1, i])
    ax.imshow(image)
    ax.axis("off")
    if i == 0:
        ax.set_title("Most attended for face voxels", loc="left", fontsize=9)
print(f"{len(figure.axes)} panels")
