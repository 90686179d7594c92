"""
Which features predict which voxels?
====================================

A voxelwise encoding study in a few lines, on a small phantom whose truth is known. With your own copy of NSD, give its
folder instead: ``python examples/plot_encode_phantom.py /data/nsd``.
"""

# %%
# A phantom writes the same files as the Natural Scenes Dataset, so the same loader reads both.
import sys
import tempfile
from pathlib import Path

import numpy as np

from neuro.datasets import NSD
from neuro.datasets.phantom import write_phantom
from neuro.encoders import RidgeCV
from neuro.features import Extractor, GaborPyramid
from neuro.stats import pearson_r

if len(sys.argv) > 1 and Path(sys.argv[1]).is_dir():
    root = Path(sys.argv[1])
else:
    folder = tempfile.mkdtemp(prefix="phantom-")
    root = write_phantom(
        folder, n_subjects=1, n_sessions=2, n_images=160, size=64, trials_per_session=240, grid="small", snr=1.5
    )
nsd = NSD(root)

# %%
# Z-score single trials within each session, then average repeats, then split by image: in this order the noise ceiling
# means what it says, and no image stands on both sides.
responses = nsd.responses(subject=1, roi="nsdgeneral").zscore(by="session").average_repeats()
train, test = responses.split("shared1000")
ceiling = test.noise_ceiling()
print(f"{len(train)} training images, {len(test)} test images, {responses.n_voxels} voxels")

# %%
# Two models of vision: oriented energy, and the last layer of a small CLIP.
models = {
    "Gabor": GaborPyramid(size=64, orientations=4, scales=[4, 8], grid=8),
    "phantom-clip": Extractor("phantom-clip", pool="mean"),
}
layers = {"Gabor": "energy", "phantom-clip": models["phantom-clip"].chosen[-1]}
scores = {}
for name, model in models.items():
    features = model.extract(nsd.stimuli.select(responses.stimulus), layers=[layers[name]], progress=False)
    X_train, X_test = (features.rows(layers[name], side.stimulus) for side in (train, test))
    mean, sd = X_train.mean(0), X_train.std(0) + 1e-6
    encoder = RidgeCV(cv=5, random_state=0).fit((X_train - mean) / sd, train.to_numpy())
    scores[name] = pearson_r(test.to_numpy(), encoder.predict((X_test - mean) / sd))

# %%
# Early areas follow the energy, category areas the network.
for roi in ("V1", "V2", "FFA-1", "PPA"):
    mask = responses.voxels.roi(roi)
    row = "  ".join(f"{name} r = {np.nanmean(r[mask]):.2f}" for name, r in scores.items())
    print(f"{roi:<6} {row}  ceiling r = {np.sqrt(ceiling[mask]).mean():.2f}")

# %%
# Scores go back into the brain as an image that any program opens.
image = responses.voxels.to_nifti(scores["phantom-clip"].astype(np.float32))
print("map:", image.shape)
