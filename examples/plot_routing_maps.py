"""
Which places of an image does an area listen to?
================================================

Areas that prefer animals or food answer to their object wherever it stands, so no fixed window fits them. An
attention-routed encoder gives every area a window of its own in every image, its routing map. Here the truth is known:
on the phantom, the maps are held against the object that was planted as an area's cause.
"""

# %%
# Scenes whose main object is an animal, a dish or a sign of moderate size, anywhere in the picture; and how much of
# every pixel shows each of the three categories.
import sys
import tempfile
from itertools import count, islice
from pathlib import Path

import numpy as np

from neuro.datasets.phantom import render, sample_scene
from neuro.datasets.phantom.scenes import coverage
from neuro.encoders import AttentionEncoder, routing_agreement
from neuro.features import Extractor
from neuro.plotting import routing_maps_figure, routing_scores_figure

CATEGORIES = ("animal", "food", "word")
N_TRAIN, N_TEST = 640, 160


def suits(scene):
    main = scene[scene.main]
    return scene.category in CATEGORIES and main.width * main.height < 0.2


def shown(scene):
    cover = coverage(scene, 32)
    parts = [[cover[item.name] for item in scene.objects if item.category == c] for c in CATEGORIES]
    return [np.sum(part, axis=0) if part else np.zeros((32, 32)) for part in parts]


scenes = list(islice(filter(suits, (sample_scene(7, i) for i in count())), N_TRAIN + N_TEST))
images = np.stack([render(scene, 64) for scene in scenes])
masks = np.clip([shown(scene) for scene in scenes], 0, 1)  # (n, 3, 32, 32)

# %%
# Tokens: 8 x 8 places, 192 channels of a small CLIP.
network = Extractor("phantom-clip", pool=None, device="cpu")
tokens = network.extract(images, layers=["layer2"], progress=False)["layer2"][:].reshape(-1, 192, 8, 8)

# %%
# What is planted: three areas encode what *their* object looks like (tokens averaged over it), wherever it stands, and
# nothing where there is none. An early area encodes what stands at one fixed place, whatever it is.
rng = np.random.default_rng(0)
scaled = (tokens - tokens.mean((0, 2, 3), keepdims=True)) / tokens.std((0, 2, 3), keepdims=True)
look = rng.standard_normal((192, 6)) / np.sqrt(192)
on_grid = masks.reshape(len(masks), 3, 8, 4, 8, 4).mean((3, 5))
present = masks.mean((2, 3)) > 0.01
responses, areas = [], {}
for k, name in enumerate((*CATEGORIES, "early")):
    if name == "early":
        seen = scaled[:, :, 3, 3]
    else:
        share = on_grid[:, k] / np.maximum(on_grid[:, k].sum((1, 2), keepdims=True), 1e-9)
        seen = np.einsum("nchw,nhw->nc", scaled, share) * present[:, k, None]
    signal = seen @ look @ rng.standard_normal((6, 16))
    responses.append(signal / signal.std(0) + 0.4 * rng.standard_normal(signal.shape))
    areas[name] = np.arange(16 * k, 16 * k + 16)
Y = np.concatenate(responses, 1).astype(np.float32)

# %%
# Attention, with its fair baselines on the same tokens: ridge over all of them, and one fixed window per area.
train, test = slice(N_TRAIN), slice(N_TRAIN, None)
settings = {"n_dims": 64, "n_heads": 4, "n_hidden": 64, "dropout": 0.3, "weight_decay": 0.3, "learning_rate": 2e-3}
schedule = {"epochs": 40, "patience": 12, "decay_every": 15, "batch_size": 32, "clip": 1.0}
encoder = AttentionEncoder(areas, **settings, **schedule, baselines=("ridge", "factorised"))
encoder.fit(tokens[train], Y[train])
by_voxel = encoder.compare(tokens[test], Y[test])
labels = {"attention": "attention", "ridge": "ridge, all tokens", "factorised": "fixed window"}
scores = {labels[k]: {area: float(r[v].mean()) for area, v in areas.items()} for k, r in by_voxel.items()}
for name, by_area in scores.items():
    print(f"{name:<18}", "  ".join(f"{area} r = {r:.2f}" for area, r in by_area.items()))

# %%
# Do the maps look at the object? Against its area (what a uniform map puts there), and against the mean map.
maps = encoder.routing_maps(tokens[test])
agreement = routing_agreement(maps[:, :3], masks[test], smallest=0.01).summary(CATEGORIES)
print(agreement.round(3).to_string(index=False))

# %%
# Where areas look: the object outlined in blue.
row = [i for c in CATEGORIES for i in [j for j, scene in enumerate(scenes[test]) if scene.category == c][:2]]
outlines = np.concatenate([masks[test][row], np.zeros((len(row), 1, 32, 32))], 1)
figures = {
    "maps": routing_maps_figure(images[test][row], maps[row], list(areas), outlines=outlines),
    "scores": routing_scores_figure(scores, agreement),
}
folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="routing-"))
for name, figure in figures.items():
    figure.savefig(folder / f"routing_{name}.png", dpi=110)
print("figures in", folder)
