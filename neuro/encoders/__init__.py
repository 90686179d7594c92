"""Features to responses: linear encoders with one penalty per voxel, and what their weights say about space.

- ``RidgeCV``: ridge regression, penalties chosen by cross-validation (``alphas``, ``cv``, ``groups``)
- ``Ridge``: the same with given penalties
- ``solve_ridge``: the equation as a function of arrays
- ``BandedRidgeCV``: a weight per feature space and voxel; ``unique_variance``, ``split_scores`` say what each adds
- ``KernelRidgeCV``, ``MultipleKernelRidgeCV``: the same through kernels; ``StackedRidgeCV``: stacked regression
- ``ReceptiveFieldRidgeCV``: a receptive field for each voxel (fwRF), and ridge on the features pooled by it
- ``FactorisedEncoder``: where and what of each voxel learnt together, by gradient
- ``AttentionEncoder``: regions or voxels look at the image tokens they need (routing maps)
- ``routing_agreement``: do routing maps look at the object that drives an area, wherever it stands?
- ``InContextEncoder``: a trained network turns a few images of a new person into weights for every voxel;
  ``InContextConfig``, ``train_in_context``, ``three_stages``, ``SyntheticVoxels``, ``SubjectVoxels`` train one
- ``fit_voxel_chunks``: chunks of voxels on any number of processes or machines, one fitted estimator
- ``phantom_network``: the one that ships; ``text_selectivity``: which voxels answer to what a sentence says
- ``TimeResolvedRidgeCV``: a ridge for every site and time after an event (SEEG, MEG); ``average_windows``
- ``joint_beats_parts``: do joint image-text features beat each part and their linear union, site by site?
- ``Encoder``: image in, brain out: any of these and the network of its features as one differentiable function
- ``receptive_field``: centre and size, in degrees, of each voxel's weights over features of known position
- ``weight_energy``: the map that ``receptive_field`` needs, from an encoder's weights
- ``AlphaBoundary``, ``AlphaAtBoundaryWarning``: whether the grid of penalties reached far enough
- ``RepeatedStimuliWarning``: repeats of a stimulus stand on both sides of a split
"""

from neuro.encoders._bands import CollinearBandsWarning as CollinearBandsWarning
from neuro.encoders._in_context_fit import ResponseScaleWarning as ResponseScaleWarning
from neuro.encoders._in_context_stages import Stage as Stage
from neuro.encoders._in_context_stages import three_stages as three_stages
from neuro.encoders._kernels import IndefiniteKernelWarning as IndefiniteKernelWarning
from neuro.encoders.attention import AttentionEncoder as AttentionEncoder
from neuro.encoders.banded import BandedRidgeCV as BandedRidgeCV
from neuro.encoders.chunked import fit_voxel_chunks as fit_voxel_chunks
from neuro.encoders.encoder import Encoder as Encoder
from neuro.encoders.factorised import FactorisedEncoder as FactorisedEncoder
from neuro.encoders.in_context import InContextEncoder as InContextEncoder
from neuro.encoders.in_context import phantom_network as phantom_network
from neuro.encoders.in_context_baseline import published_ridge_baseline as published_ridge_baseline
from neuro.encoders.in_context_config import InContextConfig as InContextConfig
from neuro.encoders.in_context_synthetic import SubjectVoxels as SubjectVoxels
from neuro.encoders.in_context_synthetic import SyntheticVoxels as SyntheticVoxels
from neuro.encoders.in_context_training import TrainingRun as TrainingRun
from neuro.encoders.in_context_training import train_in_context as train_in_context
from neuro.encoders.integration import Integration as Integration
from neuro.encoders.integration import joint_beats_parts as joint_beats_parts
from neuro.encoders.kernel import KernelRidgeCV as KernelRidgeCV
from neuro.encoders.multiple_kernel import MultipleKernelRidgeCV as MultipleKernelRidgeCV
from neuro.encoders.receptive import ReceptiveFieldRidgeCV as ReceptiveFieldRidgeCV
from neuro.encoders.receptive import receptive_field_grid as receptive_field_grid
from neuro.encoders.receptive_field import receptive_field as receptive_field
from neuro.encoders.receptive_field import weight_energy as weight_energy
from neuro.encoders.routing import RoutingAgreement as RoutingAgreement
from neuro.encoders.routing import routing_agreement as routing_agreement
from neuro.encoders.selectivity import TextSelectivity as TextSelectivity
from neuro.encoders.selectivity import text_selectivity as text_selectivity
from neuro.encoders.split_scores import split_scores as split_scores
from neuro.encoders.stacked import StackedRidgeCV as StackedRidgeCV
from neuro.encoders.stacked import simplex_weights as simplex_weights
from neuro.encoders.time_resolved import TimeResolvedRidgeCV as TimeResolvedRidgeCV
from neuro.encoders.time_resolved import average_windows as average_windows
from neuro.encoders.unique_variance import UniqueVariance as UniqueVariance
from neuro.encoders.unique_variance import unique_variance as unique_variance
from neuro.linear._alphas import AlphaAtBoundaryWarning as AlphaAtBoundaryWarning
from neuro.linear._alphas import AlphaBoundary as AlphaBoundary
from neuro.linear._solve import solve_ridge as solve_ridge
from neuro.linear._splits import RepeatedStimuliWarning as RepeatedStimuliWarning
from neuro.linear.ridge import Ridge as Ridge
from neuro.linear.ridge import RidgeCV as RidgeCV
