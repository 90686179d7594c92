"""
What a voxel sees in a movie: the thing, or its motion?
=======================================================

A phantom watches short clips in which an object, the camera, both or nothing moves. Some of its voxels answer to motion
in their preferred direction, some to a category of objects whatever they do, some to a category that moves. Features of
static pictures, of motion, and of both together are told apart by what each explains that the others cannot. Give a
file name to save the figure: ``python examples/plot_movie_phantom.py movie.png``.
"""

# %%
import sys

import numpy as np
import torch
from PIL import Image

from neuro.data import convolve_hrf
from neuro.datasets.phantom import render_clips, simulate_movie_responses
from neuro.encoders import BandedRidgeCV, RidgeCV, unique_variance
from neuro.features import MotionEnergy, optical_flow
from neuro.features.phantom_clip import PROMPTS, class_scores, load_phantom_clip

movies = render_clips(120, n_frames=20, size=64, fps=10, seed=1)
scanned = simulate_movie_responses(movies, 80, tr=1.0, n_runs=6, n_repeats=4, ncsnr=(0.8, 1.5), seed=2)
print(movies.clips)
print("what moves:", movies.motion["kind"].value_counts().to_dict())

# %%
# The flow of every pixel is known, so whatever measures motion can be measured itself: error in pixels per frame, over
# pixels that stay in view, against that of saying that nothing moves.
moving = [i for i in range(12) if movies.motion["kind"][i] != "static"]
error, zero = [], []
for i in moving:
    seen, truth = movies.visible(i), movies.flow[i]
    error.append(np.linalg.norm(optical_flow(movies.clips.frames(i)) - truth, axis=-1)[seen].mean())
    zero.append(np.linalg.norm(truth, axis=-1)[seen].mean())
print(f"optical flow: end-point error {np.mean(error):.2f} pixels, of no flow {np.mean(zero):.2f}")

# %%
# Static: which of six categories a small CLIP sees in the middle frame of each clip. Motion: energy of spatiotemporal
# filters, frame by frame. Joint: each category times the motion in each of eight directions, opposite ones subtracted.
model, preprocess, tokenizer = load_phantom_clip()
pictures = torch.stack([preprocess(Image.fromarray(still)) for still in movies.clips.stills().images()])
static = torch.softmax(class_scores(model, tokenizer, pictures), 1).numpy()
named = np.array(list(PROMPTS))[static.argmax(1)] == movies.motion["category"]
print(f"categories named rightly from the middle frame: {named.mean():.0%}, chance 17%")

pyramid = MotionEnergy(fps=10, size=(64, 64), spatial_frequencies=(0, 2, 4, 8))
energy = pyramid.transform_clips(movies.clips)
energy = energy - energy.min((0, 1))  # 0 is a blank screen
filters = pyramid.filters
directed = ((filters["temporal_frequency"] > 0) & filters["direction"].notna()).to_numpy()
towards = [energy[..., directed & (filters["direction"] == a).to_numpy()].mean(-1) for a in range(0, 360, 45)]
opponent = np.maximum(np.stack(towards, -1) - np.roll(np.stack(towards, -1), 4, -1), 0)
joint = (static[:, None, :, None] * opponent[:, :, None, :]).reshape(*opponent.shape[:2], -1)

# %%
# At the scanner's pace, convolved with a haemodynamic response within each run.
X = {}
for name, features in {"static": static, "motion": energy, "joint": joint}.items():
    band = convolve_hrf(scanned.timeline(features), scanned.tr, runs=scanned.runs)
    X[name] = band - band.mean(0)
print({name: band.shape for name, band in X.items()})

# %%
# Banded ridge gives each band and voxel its own penalty: here each band counts, or hardly does, in all combinations.
# Runs are held out whole. Unique variance is what is lost when a band is left out and all else is fitted again.
responses = scanned.responses.average_repeats()
Y = responses.to_numpy()
weights = [[a, b, c] for a in (1, 0.03) for b in (1, 0.03) for c in (1, 0.03) if max(a, b, c) == 1]
encoder = BandedRidgeCV(cv=5, band_weights=weights)
found = unique_variance(encoder, X, Y, cv=6, groups=scanned.runs)
ceiling = responses.noise_ceiling(ncsnr=scanned.truth["ncsnr"].to_numpy())
kind = scanned.truth["kind"].to_numpy()
share = found.unique / ceiling  # of the variance that a perfect model would explain
print(f"{'voxels':<10}{'n':>4}{'all bands':>11}" + "".join(f"{name:>9}" for name in found.names))
for k in ("motion", "category", "joint"):
    here = kind == k
    row = "".join(f"{np.median(share[b, here]):>9.2f}" for b in range(3))
    print(f"{k:<10}{here.sum():>4}{np.median((found.r2 / ceiling)[here]):>11.2f}{row}")
ahead = found.of("motion") > found.of("static")
print(f"motion voxels won by the motion band: {ahead[kind == 'motion'].mean():.0%}")
print(f"category voxels won by the static band: {1 - ahead[kind == 'category'].mean():.0%}")

# %%
# Weights on motion energy, summed over places and scales, point where a voxel prefers.
weights = RidgeCV(cv=5).fit(X["motion"][:, directed], Y, groups=scanned.runs).coef_
pointer = weights @ np.exp(1j * np.radians(filters["direction"][directed].to_numpy()))
preferred = np.degrees(np.angle(pointer)) % 360
planted = scanned.truth["direction"].to_numpy()
off = np.abs((preferred - planted + 180) % 360 - 180)[kind == "motion"]
print(f"preferred direction of motion voxels: median error {np.median(off):.0f} degrees, chance 90")

# %%
# Each voxel by what the two bands add, and its direction found against the one planted.
if len(sys.argv) > 1:
    from neuro.plotting import new_figure

    figure = new_figure(9.0, 4.2)
    left, right = figure.subplots(1, 2)
    for k, colour in {"motion": "#c1502e", "category": "#2d6a9f", "joint": "#7a7a7a"}.items():
        here = kind == k
        left.scatter(share[0, here], share[1, here], s=18, color=colour, label=k)
        if k != "category":
            right.scatter(planted[here], preferred[here], s=18, color=colour)
    left.set(xlabel="unique to static, share of ceiling", ylabel="unique to motion, share of ceiling")
    left.axline((0, 0), slope=1, color="0.7", linewidth=1, zorder=0)
    left.legend(frameon=False)
    right.plot([0, 360], [0, 360], color="0.7", linewidth=1, zorder=0)
    right.set(xlabel="planted direction, degrees", ylabel="direction of the weights, degrees")
    figure.savefig(sys.argv[1], dpi=110)
