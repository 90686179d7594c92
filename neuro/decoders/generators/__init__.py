"""Conditions to images: one interface over diffusion pipelines, VAEs and the shipped phantom pipeline."""
