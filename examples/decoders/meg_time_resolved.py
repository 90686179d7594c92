"""
When does the brain know? Decoding images from sensors, window by window
========================================================================

Two phantoms look at scenes under simulated sensors. What they see, as a small CLIP describes it, shows in the sensors
from 0.1 to 0.2 s after the picture and at no other time. Sliding windows find it there, growing windows from then on; a
network over all sensors, with spatial attention, learns both people at once and retrieves new images.
"""

# %%
import numpy as np
import torch
from PIL import Image

from neuro.datasets.phantom import render_scenes
from neuro.datasets.phantom.sensors import simulate_sensors
from neuro.decoders.neural import NeuralDecoder
from neuro.decoders.recipes.meg import meg_recipe
from neuro.decoders.windows import decode_windows, generalise_over_time, growing_windows, sliding_windows
from neuro.features.phantom_clip import load_phantom_clip

scenes = render_scenes(240, size=48, seed=7)
model, preprocess, _ = load_phantom_clip()
with torch.no_grad():
    images = model.encode_image(torch.stack([preprocess(Image.fromarray(i)) for i in scenes.images])).numpy()
images = images - images.mean(0)
images = images @ np.linalg.svd(images, full_matrices=False)[2][:8].T  # 8 principal components
images /= images.std(0)
meg = simulate_sensors(images, n_subjects=2, n_sensors=32, n_repeats=4, interval=(0.1, 0.2), snr=0.7, seed=1)
print(f"{len(images)} images, {meg.responses[1]}")

# %%
# Sliding windows of 100 ms. Every score is of images that the window's ridge regression has not seen, the repeats of
# an image together; its interval is over images.
Y = meg.responses[1]
windows = sliding_windows(meg.times, 0.1)
course = decode_windows(Y, images[Y.stimulus], windows, n_bootstraps=300)
print(course.table()[["start", "stop", "value", "ci_low", "ci_high", "chance"]].round(3).to_string(index=False))
print(f"peak at {course.peak[0]:.1f} to {course.peak[1]:.1f} s; planted {meg.interval[0]} to {meg.interval[1]} s")
print(course.results[0].protocol)

# %%
# Growing windows from the picture's onset: what had arrived by then.
growing = decode_windows(Y, images[Y.stimulus], growing_windows(meg.times, 0.1, start=0.0)[:5], n_bootstraps=100)
for (_, stop), score in zip(growing.windows, growing.scores, strict=True):
    print(f"up to {stop:.1f} s: {score:.3f}")

# %%
# Trained in one window, tested in another: the planted code lasts as long as the effect, and is one and the same.
fine = np.array([[0.0, 0.1], [0.1, 0.14], [0.14, 0.2], [0.2, 0.3]])
print("train (rows) on, test (columns) on", [f"{a:.2f}-{b:.2f}" for a, b in fine])
print(generalise_over_time(Y, images[Y.stimulus], fine).scores.round(2))

# %%
# The network: virtual channels by attention over sensor positions, dilated convolutions, contrast and regression.
rows = {s: r.stimulus < 200 for s, r in meg.responses.items()}
window = (meg.times >= 0.0) & (meg.times < 0.3)
X = {s: r.to_numpy()[:, :, window].transpose(0, 2, 1) for s, r in meg.responses.items()}
sizes = {"n_times": int(window.sum()), "dim": images.shape[1], "n_outputs": 16, "n_harmonics": 5, "width": 16}
recipe = meg_recipe("phantom", positions=meg.positions, layout="times_sensors", embedding=32, **sizes)
decoder = NeuralDecoder(recipe.with_settings(epochs=15, learning_rate=4e-3))
ids = {s: r.stimulus[rows[s]] for s, r in meg.responses.items()}
decoder.fit({s: X[s][rows[s]] for s in X}, {"image_embedding": images.astype(np.float32)}, ids)
for s, r in meg.responses.items():
    decoded = decoder.predict(X[s][~rows[s]], r.stimulus[~rows[s]], s)
    n = len(decoded.ids)
    similarity = np.corrcoef(decoded["contrastive_embedding"], images[decoded.ids])[:n, n:]
    rank = (similarity >= np.diag(similarity)[:, None]).sum(1)
    print(
        f"network, subject {s}: the right one of {n} new images is first for {np.mean(rank == 1):.0%} of them, among "
        f"five for {np.mean(rank <= 5):.0%}; chance {1 / n:.1%} and {5 / n:.0%}"
    )
