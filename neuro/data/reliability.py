"""Placeholder until the real module lands."""

import numpy as np


def ncsnr_from_repeats(Y, stimulus, zscored=True):
    raise NotImplementedError


def noise_ceiling(ncsnr, n_repeats):
    inv = np.mean(1.0 / np.atleast_1d(n_repeats))
    ncsnr = np.asarray(ncsnr, float)
    return ncsnr**2 / (ncsnr**2 + inv)


def spearman_brown(r, n=2): ...
def split_half(Y, stimulus): ...
