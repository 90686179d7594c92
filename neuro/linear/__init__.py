"""Ridge regression onto many targets: the solver that encoders (features to voxels) and decoders (back) stand on.

- ``RidgeCV``: a penalty per target, chosen by cross-validation; ``Ridge``: with given penalties
- ``solve_ridge``: the equation as a function of arrays
- ``AlphaBoundary``, ``AlphaAtBoundaryWarning``: whether the grid of penalties reached far enough
- ``RepeatedStimuliWarning``: repeats of a stimulus stand on both sides of a split

For every fold: centre (``_design``, ``_chunks``), diagonalise once (``_eigh``), score all penalties (``_grid``,
``_folds``, ``_loo``, ``_scores``); then choose (``_alphas``, ``_cv``) and solve on all rows (``_refit``, ``_solve``).
"""

from neuro.linear._alphas import AlphaAtBoundaryWarning as AlphaAtBoundaryWarning
from neuro.linear._alphas import AlphaBoundary as AlphaBoundary
from neuro.linear._solve import solve_ridge as solve_ridge
from neuro.linear._splits import RepeatedStimuliWarning as RepeatedStimuliWarning
from neuro.linear.ridge import Ridge as Ridge
from neuro.linear.ridge import RidgeCV as RidgeCV
