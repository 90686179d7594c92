"""
Image in, brain out
===================

A fitted encoder and the network that its features come from, joined into one function of pixels: it answers to any
picture, says which pixels matter to a region, and is stored without code. This is what synthesis and decoding start
from.
"""

# %%
# A small phantom in the files of the Natural Scenes Dataset; with your own copy of NSD give its folder instead.
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from neuro.datasets import NSD
from neuro.datasets.phantom import write_phantom
from neuro.encoders import Encoder
from neuro.features import Extractor
from neuro.plotting import contact_sheet
from neuro.stats import pearson_r

work = Path(tempfile.mkdtemp(prefix="encoder-"))
if len(sys.argv) > 1 and Path(sys.argv[1]).is_dir():
    root = Path(sys.argv[1])
else:
    sizes = {"n_subjects": 1, "n_sessions": 2, "n_images": 160, "trials_per_session": 240}
    root = write_phantom(work / "phantom", **sizes, size=64, grid="small", snr=1.5)
nsd = NSD(root)
responses = nsd.responses(subject=1, roi="nsdgeneral").zscore(by="session").average_repeats()
train, test = responses.split("shared1000")

# %%
# One call extracts features, standardises them on the training rows, keeps repeats of a picture together, fits ridge
# with a penalty per voxel, and joins it all.
network = Extractor("phantom-clip", pool="spatial:4", device="cpu")
encoder = Encoder.fit(nsd.stimuli, train, extractor=network, layer="layer2")
print(encoder)

# %%
# Pictures in, responses out: uint8 arrays, PIL images and stimuli as they are.
pictures = nsd.stimuli[test.stimulus]
r = pearson_r(test.to_numpy(), encoder(pictures))
for roi in ("V1", "FFA-1", "PPA"):
    part = encoder.roi(roi)  # shares the network
    print(f"{roi:<6} {part.n_voxels:3d} voxels, held-out r = {np.nanmean(r[part.index]):.2f}")

# %%
# Tensors carry gradients: how would a region's mean response change with every pixel?
region = encoder.roi("FFA-1")
best = np.argsort(region(pictures).mean(1))[::-1][:4]
gradient = region.gradient(pictures[best])
lit = np.abs(gradient).sum(-1)
shown = [(255 * g / g.max()).astype(np.uint8) for g in lit]
titles = [f"FFA-1 predicts {value:.2f}" for value in region(pictures[best]).mean(1)]
sheet = contact_sheet([*pictures[best], *shown], [*titles, *["|gradient|"] * 4], columns=4)
sheet.savefig(work / "gradient.png", dpi=110)

pixels = torch.from_numpy(pictures[best]).permute(0, 3, 1, 2).float() / 255
for _ in range(10):  # a few steps uphill
    step = region.gradient(pixels)
    pixels = (pixels + 0.02 * step / step.abs().amax((1, 2, 3), keepdim=True)).clamp(0, 1)
before, after = region(pictures[best]).mean(), region(pixels).mean().item()
print(f"ten steps along the gradient: predicted FFA-1 from {before:.2f} to {after:.2f}")

# %%
# Files: a recipe of the network, safetensors and JSON. The network is opened again by its name, and checked.
encoder.save(work / "encoder")
again = Encoder.load(work / "encoder", device="cpu")
print("same numbers from the files:", np.array_equal(again(pictures), encoder(pictures)))
card = again.card
print(card["network"]["name"], card["input"]["size"], card["license"], card["ceiling"])
print("figures and files in", work)
