"""Systems of the literature, each a short recipe over the parts of ``neuro.decoders``."""
