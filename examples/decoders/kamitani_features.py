"""
Unit by unit: features of a network's layers, each from its best voxels
=======================================================================

Every unit of every layer gets a ridge regression on the voxels that correlate most with it. Features decoded so are
judged over images (profile correlation), over units (pattern correlation), and by identification; then a picture is
fitted to them.
"""

# %%
# A phantom in the files of the Natural Scenes Dataset: one person, z-scored within session, repeats averaged.
import tempfile

import numpy as np
import torch

from neuro.datasets import NSD
from neuro.datasets.phantom import write_phantom
from neuro.decoders.generators.phantom import load_phantom_pipeline
from neuro.decoders.metrics.feature_decoding import pattern_correlation, profile_correlation
from neuro.decoders.metrics.identify import two_way_identification
from neuro.decoders.metrics.pixels import pixcorr
from neuro.decoders.recipes.kamitani import Inversion, fit_pictures, kamitani
from neuro.features.phantom_clip import load_phantom_clip

nsd = NSD(
    write_phantom(
        tempfile.mkdtemp(prefix="phantom-"),
        n_subjects=1,
        n_sessions=2,
        n_images=200,
        size=64,
        trials_per_session=300,
        grid="small",
        snr=2,
    )
)
responses = nsd.responses(subject=1, roi="nsdgeneral").zscore(by="session").average_repeats()
train, test = responses.split("shared1000")

# %%
# Targets: an early, a middle and the last layer of phantom-clip, pooled to 4 x 4 positions.
clip, preprocess, _ = load_phantom_clip()
tower = clip.visual


def layers(pixels):
    """Pictures (b, 3, 64, 64) in [0, 1] -> features of three layers, differentiable."""
    mean, std = (torch.tensor(tower.preprocess_cfg[key])[:, None, None] for key in ("mean", "std"))
    x = tower.stem((pixels - mean) / std)
    early = tower.layer1(x)
    middle = tower.layer2(early)
    last = tower.attnpool(tower.layer4(tower.layer3(middle)))
    pool = torch.nn.functional.adaptive_avg_pool2d
    return {"early": pool(early, 4), "middle": pool(middle, 4), "embedding": last}


ids = np.unique(responses.stimulus)
pixels = torch.from_numpy(np.stack(nsd.stimuli.images(ids)).transpose(0, 3, 1, 2).astype(np.float32) / 255)
with torch.no_grad():
    targets = {name: value.numpy() for name, value in layers(pixels).items()}
print({name: value.shape[1:] for name, value in targets.items()})

# %%
# All visual cortex, and single regions: early layers are best decoded from early areas.
row = {value: i for i, value in enumerate(ids.tolist())}
at_train = [row[value] for value in train.stimulus.tolist()]
for roi in (None, "early", "ventral"):
    system = kamitani("phantom", roi=roi).fit(train, targets, target_ids=ids)
    found = system.decode(test)
    if roi is None:
        decoded = found
    shown = [row[value] for value in found.ids.tolist()]
    for name, value in targets.items():
        mean, sd = value[at_train].mean(0), value[at_train].std(0)
        pattern = pattern_correlation(found[name], value[shown], mean, sd).value
        profile = profile_correlation(found[name], value[shown]).value
        two_way = two_way_identification(found[name], value[shown]).value
        print(
            f"{roi or 'all voxels'} -> {name}: pattern r {pattern:.2f}, profile r {profile:.2f}, two-way {two_way:.2f}"
        )

# %%
# Fit pictures to the decoded features, in the latent space of the autoencoder that ships (a GAN in the paper). Its
# latents have both signs: they are the positive latents of the descent, minus 3.
vae = load_phantom_pipeline().vae


def generator(z):
    """Latents (b, 2048) -> pictures (b, 3, 64, 64) in [0, 1]."""
    latents = (z - 3).reshape(-1, 8, 16, 16) / vae.config.scaling_factor
    return (vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)


some = decoded.select(decoded.ids[:3])
settings = Inversion(steps=40, learning_rate=(0.1, 1e-3), decay=0.0, n_latents=2048, upper=6.0)
made, losses = fit_pictures(some, layers, generator, settings=settings)
truth = pixels[[row[value] for value in some.ids.tolist()]].numpy()
print(
    f"pictures fitted: distance to the decoded features {losses.mean():.2f}, pixel correlation "
    f"{pixcorr(made, truth).value:.2f}"
)
