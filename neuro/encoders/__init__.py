"""Features to responses: linear encoders with one penalty per voxel, and what their weights say about space.

- ``RidgeCV``: ridge regression, penalties chosen by cross-validation (``alphas``, ``cv``, ``groups``)
- ``Ridge``: the same with given penalties
- ``solve_ridge``: the equation as a function of arrays
- ``receptive_field``: centre and size, in degrees, of each voxel's weights over features of known position
- ``weight_energy``: the map that ``receptive_field`` needs, from an encoder's weights
- ``AlphaBoundary``, ``AlphaAtBoundaryWarning``: whether the grid of penalties reached far enough
- ``RepeatedStimuliWarning``: repeats of a stimulus stand on both sides of a split
"""

from neuro.encoders._alphas import AlphaAtBoundaryWarning as AlphaAtBoundaryWarning
from neuro.encoders._alphas import AlphaBoundary as AlphaBoundary
from neuro.encoders._solve import solve_ridge as solve_ridge
from neuro.encoders._splits import RepeatedStimuliWarning as RepeatedStimuliWarning
from neuro.encoders.receptive_field import receptive_field as receptive_field
from neuro.encoders.receptive_field import weight_energy as weight_energy
from neuro.encoders.ridge import Ridge as Ridge
from neuro.encoders.ridge import RidgeCV as RidgeCV
