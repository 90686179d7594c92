"""Conditions to images: one interface over diffusion pipelines, VAEs and the shipped phantom pipeline.

One of :data:`KINDS` with its weights, or "phantom", is opened by :func:`load_generator`; every :class:`Generator` has
``generate(condition, init, strength=..., steps=..., guidance=..., n=..., seed=...)``, with noise that belongs to the
item and not to its place in a batch.
"""

from neuro.decoders.generators.base import Generator as Generator
from neuro.decoders.generators.base import item_generators as item_generators
from neuro.decoders.generators.base import steps_run as steps_run
from neuro.decoders.generators.conditioning import Conditioning as Conditioning
from neuro.decoders.generators.conditioning import Part as Part
from neuro.decoders.generators.controlnet import ControlNetDiffusion as ControlNetDiffusion
from neuro.decoders.generators.depth import DepthDiffusion as DepthDiffusion
from neuro.decoders.generators.diffusion import LatentDiffusion as LatentDiffusion
from neuro.decoders.generators.diffusion import TokenDiffusion as TokenDiffusion
from neuro.decoders.generators.diffusion import decode_latents as decode_latents
from neuro.decoders.generators.diffusion import denoise as denoise
from neuro.decoders.generators.diffusion import encode_images as encode_images
from neuro.decoders.generators.ip_adapter import IPAdapterDiffusion as IPAdapterDiffusion
from neuro.decoders.generators.loading import KINDS as KINDS
from neuro.decoders.generators.loading import load_generator as load_generator
from neuro.decoders.generators.loading import load_pipeline as load_pipeline
from neuro.decoders.generators.low_level_init import blend as blend
from neuro.decoders.generators.low_level_init import low_level_pictures as low_level_pictures
from neuro.decoders.generators.phantom import PhantomDiffusion as PhantomDiffusion
from neuro.decoders.generators.phantom import load_phantom_pipeline as load_phantom_pipeline
from neuro.decoders.generators.sdxl import SDXLRefiner as SDXLRefiner
from neuro.decoders.generators.stable import StableDiffusion as StableDiffusion
from neuro.decoders.generators.unclip import UnCLIPDiffusion as UnCLIPDiffusion
from neuro.decoders.generators.vae import VAEDecoder as VAEDecoder
from neuro.decoders.generators.versatile import VersatileDiffusion as VersatileDiffusion
