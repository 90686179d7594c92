"""Systems of the literature, each a short recipe over the parts of ``neuro.decoders``.

``RECIPES[name](preset)`` gives a :class:`~neuro.decoders.recipes.settings.DecoderRecipe` for
:class:`~neuro.decoders.NeuralDecoder`; ``LINEAR_SYSTEMS[name](preset)`` a system of closed-form decoders. The preset
"nsd" has the published sizes and settings, "phantom" those that train on a laptop.
"""

from __future__ import annotations

from neuro._check import check_option
from neuro.decoders.recipes.brain_captioning import brain_captioning
from neuro.decoders.recipes.brain_diffuser import brain_diffuser, region_conditions
from neuro.decoders.recipes.contrastive import contrastive_recipe
from neuro.decoders.recipes.kamitani import kamitani
from neuro.decoders.recipes.meg import meg_recipe
from neuro.decoders.recipes.mindbridge import mindbridge_recipe
from neuro.decoders.recipes.mindeye import mindeye_low_level_recipe, mindeye_recipe
from neuro.decoders.recipes.mindeye2 import mindeye2_recipe
from neuro.decoders.recipes.neuropictor import neuropictor_recipe
from neuro.decoders.recipes.see_through import see_through_recipe
from neuro.decoders.recipes.settings import DecoderRecipe, LossTerm
from neuro.decoders.recipes.takagi import takagi_nishimoto
from neuro.decoders.recipes.wave import wave_recipe

__all__ = [
    "LINEAR_SYSTEMS",
    "RECIPES",
    "DecoderRecipe",
    "LossTerm",
    "brain_captioning",
    "brain_diffuser",
    "kamitani",
    "meg_recipe",
    "mindbridge_recipe",
    "mindeye2_recipe",
    "mindeye_low_level_recipe",
    "mindeye_recipe",
    "neuropictor_recipe",
    "region_conditions",
    "see_through_recipe",
    "takagi_nishimoto",
    "wave_recipe",
]

WIDTHS = {"nsd": 768, "phantom": 128}  # of the image embedding that the contrastive decoder gives


def contrastive(preset: str = "nsd") -> DecoderRecipe:
    """Return contrast alone, from voxels to the image embedding."""
    return contrastive_recipe(WIDTHS[check_option("preset", preset, WIDTHS)])


RECIPES = {
    "contrastive": contrastive,
    "mindeye": mindeye_recipe,
    "mindeye_low_level": mindeye_low_level_recipe,
    "mindeye2": mindeye2_recipe,
    "mindbridge": mindbridge_recipe,
    "see_through": see_through_recipe,
}
"""Networks from voxels to features, by name."""

LINEAR_SYSTEMS = {
    "brain_diffuser": brain_diffuser,
    "takagi_nishimoto": takagi_nishimoto,
    "brain_captioning": brain_captioning,
    "kamitani": kamitani,
}
"""Closed-form systems, by name."""
