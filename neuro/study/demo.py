"""The demonstration: a phantom, a whole encoding study on it, and its report, in a few minutes on a laptop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from neuro.study.config import StudyConfig, parse_study
from neuro.study.run import StudyRun, run_study

ROIS = ["V1", "V2", "V3", "hV4", "OFA", "FFA-1", "EBA", "OPA", "PPA", "RSC", "VWFA-1"]

STUDY = """\
# The study that `neuro demo` runs. Change it and run it again:
#   neuro run {file}
# To analyse real NSD data, change `root` to its folder, and `subjects`.

[study]
name = "demo"
title = "Does a vision network explain the phantom's visual cortex?"
seed = 0
output = "results"

[dataset]
kind = "nsd"
root = "phantom"
subjects = {subjects}
voxels = "nsdgeneral"
rois = {rois}
zscore = "session"

[[models]]
name = "phantom-clip"
model = "phantom-clip"
pool = "spatial:4"
project = 1000

[[models]]
name = "untrained"
model = "phantom-clip"
pretrained = false
pool = "spatial:4"
project = 1000

[[models]]
name = "Gabor"
model = "gabor"
layers = ["energy"]
options = {{ size = 96, orientations = 4, scales = [4, 8, 16], grid = 8, degrees = 8.4 }}

# For encoders that look at places; not encoded layer by layer.
[[models]]
name = "phantom-clip maps"
model = "phantom-clip"
layers = ["layer1.1", "layer2.1"]
pool = "spatial:8"
layerwise = false

# Every layer of the models above, one by one.
[encoder]
alphas = "auto"
cv = 5

# Several encoders side by side, on the same images.
[[encode]]
name = "ridge"
kind = "ridge"
bands = {{ network = ["phantom-clip", "layer3.1"], Gabor = ["Gabor", "energy"] }}

[[encode]]
name = "banded"
kind = "banded"
bands = {{ network = ["phantom-clip", "layer3.1"], Gabor = ["Gabor", "energy"] }}
options = {{ n_iter = 8 }}
curve = {curve}
draws = 2

[[encode]]
name = "receptive field"
kind = "receptive-field"
model = "phantom-clip maps"
layer = "layer1.1"
options = {{ extent = 8.4, cv = 5, fields = {{ n_sizes = 3, smallest = 0.1, largest = 0.35 }} }}

[[encode]]
name = "attention"
kind = "attention"
model = "phantom-clip maps"
layer = "layer2.1"

[encode.options]
n_dims = 64
n_heads = 4
n_hidden = 64
dropout = 0.3
weight_decay = 0.3
learning_rate = 2e-3
clip = 1.0
epochs = 40
patience = 12
decay_every = 15
batch_size = 32

# A network that was trained on other phantom subjects reads the training images and emits weights: no fit.
[[encode]]
name = "in-context"
kind = "in-context"
model = "phantom-clip"
layer = "attnpool"
network = "phantom"
options = {{ context_size = {context} }}
curve = {curve}
draws = 2

[[encode]]
name = "ridge, same embedding"
kind = "ridge"
model = "phantom-clip"
layer = "attnpool"
curve = {curve}
draws = 2

[evaluation]
split = "shared1000"
n_bootstraps = 1000
n_permutations = 1000

[rsa]
metric = "correlation"
method = "corr"
n_conditions = 150
n_bootstraps = 500

# And back: images, words and layout from the responses to the test images.
[decode]
decoders = ["ridge"]
pool = 50
n_images = {pictures}
"""


def run_demo(folder: str | Path, small: bool = False, say: Callable[[str], None] = print) -> StudyRun:
    """Write the phantom and the study file into ``folder``, run the study, and return what it did.

    Parameters
    ----------
    folder : path
        Everything goes here; running again computes only what is missing.
    small : bool
        One subject, coarse voxels and few pictures: seconds instead of minutes, too little for conclusions.
    say : function of one line
    """
    import tomllib

    from neuro.datasets.phantom import write_phantom

    folder = Path(folder).resolve()
    say(f"phantom -> {folder / 'phantom'}")
    if small:
        write_phantom(folder / "phantom", 1, 2, 160, 64, trials_per_session=240, grid="small", snr=1.5)
    else:
        write_phantom(folder / "phantom", n_subjects=2, n_sessions=3, n_images=750, size=96)
    subjects = [1] if small else [1, 2]
    file = folder / "study.toml"
    curve = [20, 50, 100] if small else [30, 100, 300]
    text = STUDY.format(
        file=file, subjects=subjects, rois=ROIS, curve=curve, context=curve[-1], pictures=9 if small else 30
    )
    if not file.is_file():
        file.write_text(text, encoding="utf-8")
    config: StudyConfig = parse_study(tomllib.loads(file.read_text(encoding="utf-8")), folder)
    return run_study(config, say=say)
