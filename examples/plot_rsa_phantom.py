"""
Is the same region recognisable in another person?
==================================================

Representational geometry of several people over the images they share: RDMs by region, identification of regions across
people by geometry and by topology, a test of models with noise ceilings, and a searchlight. On a small phantom whose
truth is known; with your own copy of NSD, give its folder: ``python examples/plot_rsa_phantom.py /data/nsd``.
"""

# %%
import sys
import tempfile
from pathlib import Path

import numpy as np

from neuro.datasets import NSD
from neuro.datasets.phantom import write_phantom
from neuro.features import Extractor, GaborPyramid
from neuro.rsa import Searchlight, evaluate, identify_regions, rdm

if len(sys.argv) > 1 and Path(sys.argv[1]).is_dir():
    root = Path(sys.argv[1])
else:
    root = write_phantom(
        tempfile.mkdtemp(prefix="phantom-"),
        n_subjects=3, n_sessions=2, n_images=400, size=64, trials_per_session=600, grid="small", snr=2.0,
    )  # fmt: skip
nsd = NSD(root)
regions = ["V1", "V2", "V3", "hV4", "FFA-1", "EBA", "PPA", "RSC"]

# %%
# Everybody saw the shared images, so their RDMs can be compared. Conditions are matched by name, never by position.
people = []
for subject in nsd.subjects:
    responses = nsd.responses(subject=subject, roi="nsdgeneral").zscore(by="session").average_repeats()
    people.append(responses.split("shared1000")[1])
brain = rdm(people, "correlation", by="roi", voxels={name: name for name in regions})
print(brain)

# %%
# Each region of a left-out person is guessed from the others: by raw dissimilarities, by their ranks, and by what
# lies between the smallest and the largest ones. "rgtm" chooses those bounds without looking at the left-out person.
for transform in ("raw", "rank", (0.2, 0.8), "rgtm"):
    found = identify_regions(brain, transform=transform)
    print(f"{transform!s:<12} {found.accuracy['correlation']:.0%} identified, chance {found.chance:.0%}")

# %%
# Two models of vision against every region; intervals hold for other images.
images = nsd.stimuli.select(brain.conditions)
network = Extractor("phantom-clip", pool="mean")
last = network.chosen[-1]
gabor = GaborPyramid(size=64, orientations=4, scales=[4, 8], grid=8).extract(images, progress=False)
clip = network.extract(images, layers=[last], progress=False)
models = {
    "Gabor": rdm(gabor.rows("energy", brain.conditions), conditions=brain.conditions),
    "phantom-clip": rdm(clip.rows(last, brain.conditions), conditions=brain.conditions),
}
for region in regions:
    result = evaluate(models, brain.select({"roi": region}), "corr", resample="stimulus", n_boot=200, rng=0)
    low, high = result.ci().T
    scores = "  ".join(
        f"{m} {s:.2f} [{a:.2f}, {b:.2f}]" for m, s, a, b in zip(result.models, result.scores, low, high, strict=True)
    )
    print(f"{region:<6} {scores}  ceiling {result.ceiling.lower:.2f} to {result.ceiling.upper:.2f}")

# %%
# Where in the volume does a model's geometry stand? One NIfTI per model, spheres never leaving the mask.
light = Searchlight(models, radius=3, metric="correlation", method="corr").fit(people[0])
nifti = light.to_nifti()
print(f"searchlight: {light.scores_.shape[1]} centres, best {np.nanmax(light.scores_, axis=1).round(2)}, {nifti.shape}")
