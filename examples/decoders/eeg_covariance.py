"""
Rhythms of two classes: covariances of EEG epochs on their own manifold
=======================================================================

Epochs of two simulated classes have the same power in every channel; their rhythms differ in what follows what. Plain
covariances cannot see that. Covariances of channels stacked with delayed copies of themselves (augmented covariances)
can. How many copies, and how far apart, is chosen inside the training part of every fold.
"""

# %%
import numpy as np
from scipy.signal import lfilter

from neuro.decoders.eeg import (
    AugmentedCovariance,
    TangentSpace,
    airm_distance,
    covariance_pipeline,
    nested_cross_validation,
)

rng = np.random.default_rng(0)
n_epochs, n_channels, n_times = 96, 4, 200
label, run = np.arange(n_epochs) % 2, np.arange(n_epochs) // 16
epochs, mixing = np.empty((n_epochs, n_channels, n_times)), rng.standard_normal((n_channels, 2))
for i in range(n_epochs):
    # Damped oscillations of period 4 or 5 samples, mixed into channels that a bit of noise is added to.
    angle = 2 * np.pi / (4 if label[i] else 5)
    source = lfilter([1], [1, -2 * 0.6 * np.cos(angle), 0.36], rng.standard_normal((2, n_times + 100)))[:, 100:]
    epochs[i] = mixing @ source + 0.5 * rng.standard_normal((n_channels, n_times))
epochs /= epochs.std(-1, keepdims=True)
print(f"{n_epochs} epochs of {n_channels} channels and {n_times} samples in {run.max() + 1} runs")

# %%
# The geometry: mixing the channels, as another head or reference would, leaves distances as they are.
C = AugmentedCovariance(order=1).fit_transform(epochs)
W = rng.standard_normal((n_channels, n_channels))
before, after = (airm_distance(M @ C[0] @ M.T, M @ C[1] @ M.T) for M in (np.eye(n_channels), W))
print(f"distance of two epochs {before:.6f}, after mixing {after:.6f}")
space = TangentSpace().fit(C)
print(f"tangent vector of the mean: {np.abs(space.transform(space.reference_[None])).max():.1e}")

# %%
# Runs are held out whole, outside and inside.
plain, _ = nested_cross_validation(
    epochs, label, run, grid={"svm__C": [0.5, 1.0, 1.5]}, pipeline=covariance_pipeline(1, 1), cv=3, inner_cv=2
)
augmented, chosen = nested_cross_validation(
    epochs, label, run, grid={"covariance__order": [1, 2, 4], "covariance__lag": [1, 2]}, cv=3, inner_cv=2
)
print("plain covariance:    ", plain)
print("augmented covariance:", augmented)
print("chosen in each fold:", [(c["covariance__order"], c["covariance__lag"]) for c in chosen])
