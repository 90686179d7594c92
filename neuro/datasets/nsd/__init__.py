"""The Natural Scenes Dataset (Allen et al. 2022, Nature Neuroscience 25, 116-126), as it lies on disk.

==============  ================================================================================
``layout``      where every file stands; names of subjects, spaces and preparations of betas
``design``      which picture was shown in which trial, and what the person answered
``betas``       readers of the beta files, in % signal change, by voxel
``cache``       betas of a set of voxels, read once into memory-mapped files
``rois``        region label files
``stimuli``     the picture brick and its table
``captions``    COCO captions by picture
``splits``      training and test pictures by name
``download``    the public bucket: plan, then download
``nsd``         :class:`NSD`, which ties them together
==============  ================================================================================
"""

from neuro.datasets.nsd.layout import PREPS, SPACES
from neuro.datasets.nsd.nsd import NSD
from neuro.datasets.nsd.splits import SPLITS, Split

__all__ = ["NSD", "PREPS", "SPACES", "SPLITS", "Split"]
