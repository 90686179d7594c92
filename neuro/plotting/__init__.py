"""Figures of encoding studies. Every function returns a matplotlib Figure and shows nothing.

================================  ============================================================================
:func:`layer_profile`             score of every layer in depth order, per region, with intervals and ceilings
:func:`best_layer_by_roi`         best layer of each region (one model), or models side by side
:func:`layer_roi_heatmap`         region x layer matrix
:func:`voxel_histograms`          distribution of voxel scores per region, models against controls
:func:`noise_ceiling_scatter`     explained against explainable variance per voxel
:func:`prf_maps`                  estimated against true receptive fields
:func:`volume_map`                slices through a volume
:func:`surface_map`               inflated fsaverage5 from four sides
:func:`to_fsaverage5`             values of voxels or vertices onto that mesh
:func:`is_mni_like`               whether voxels lie on the template's cortex
:func:`contact_sheet`             stimuli with captions
:func:`unique_variance_bars`      what each feature space adds, per region
:func:`unique_variance_scatter`   what two feature spaces add to each voxel
:func:`unique_variance_triangle`  shares of three feature spaces, a dot per voxel
:func:`rgb_surface_map`           shares of three feature spaces as colours of the cortex
:func:`efficiency_curves`         scores against the number of training images
:func:`routing_maps_figure`       where each area looks in each image
:func:`routing_scores_figure`     attention against fixed windows, per area
:func:`rdm_images`                dissimilarity matrices side by side
:func:`embedding_map`             MDS or UMAP of conditions, regions or layers
:func:`model_bars`                models against the noise ceiling, with what differs from what
:func:`layer_curves`              similarity to measured RDMs layer by layer
:func:`lu_triangle`               accuracy of identification over thresholds (l, u)
:func:`transform_curves`          geo-topological transforms as functions
:func:`representation_graph`      short distances as a graph
:func:`reconstruction_sheet`      true images above decoded ones, best, median and worst
:func:`rank_curves`               how often the true image is among the first k of a gallery
:func:`scores_by_roi`             decoding from each region alone, with chance
:func:`window_scores`             decoding in time windows, with chance
:func:`model_styles`              the colours and dashes all figures share
================================  ============================================================================
"""

from neuro.plotting.best_layer import best_layer_by_roi
from neuro.plotting.cortex import is_mni_like, load_fsaverage5, to_fsaverage5
from neuro.plotting.decoding import rank_curves, reconstruction_sheet, scores_by_roi, window_scores
from neuro.plotting.efficiency import efficiency_curves
from neuro.plotting.heatmap import layer_roi_heatmap
from neuro.plotting.images import contact_sheet
from neuro.plotting.model_comparison import layer_curves, model_bars
from neuro.plotting.prf import prf_maps
from neuro.plotting.profiles import layer_profile
from neuro.plotting.rdms import embedding_map, rdm_images
from neuro.plotting.routing import routing_maps_figure, routing_scores_figure
from neuro.plotting.style import metric_label, model_styles, new_figure, short_names
from neuro.plotting.surface import surface_map
from neuro.plotting.topology import lu_triangle, representation_graph, transform_curves
from neuro.plotting.variance_partition import (
    band_colours,
    rgb_surface_map,
    ternary_shares,
    unique_variance_bars,
    unique_variance_scatter,
    unique_variance_triangle,
)
from neuro.plotting.volume import volume_map
from neuro.plotting.voxelwise import noise_ceiling_scatter, voxel_histograms

__all__ = [
    "band_colours",
    "best_layer_by_roi",
    "contact_sheet",
    "efficiency_curves",
    "embedding_map",
    "is_mni_like",
    "layer_curves",
    "layer_profile",
    "layer_roi_heatmap",
    "load_fsaverage5",
    "lu_triangle",
    "metric_label",
    "model_bars",
    "model_styles",
    "new_figure",
    "noise_ceiling_scatter",
    "prf_maps",
    "rank_curves",
    "rdm_images",
    "reconstruction_sheet",
    "representation_graph",
    "rgb_surface_map",
    "routing_maps_figure",
    "routing_scores_figure",
    "scores_by_roi",
    "short_names",
    "surface_map",
    "ternary_shares",
    "to_fsaverage5",
    "transform_curves",
    "unique_variance_bars",
    "unique_variance_scatter",
    "unique_variance_triangle",
    "volume_map",
    "voxel_histograms",
    "window_scores",
]
