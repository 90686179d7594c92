"""What is installed, whether it works together, and what to do where it does not."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import warnings
from dataclasses import dataclass

NEEDED = {
    "numpy": "numpy",
    "scipy": "scipy",
    "pandas": "pandas",
    "sklearn": "scikit-learn",
    "nibabel": "nibabel",
    "nilearn": "nilearn",
    "torch": "torch",
    "torchvision": "torchvision",
    "open_clip": "open_clip_torch",
    "timm": "timm",
    "h5py": "h5py",
    "matplotlib": "matplotlib",
    "PIL": "Pillow",
}
OPTIONAL = {
    "xarray": ("xarray", "Responses.to_xarray"),
    "submitit": ("submitit", "SLURM"),
    "diffusers": ("diffusers", "images from decoded features"),
    "transformers": ("transformers", "captions from decoded features"),
    "accelerate": ("accelerate", "training decoders on several GPUs"),
    "skimage": ("scikit-image", "SSIM"),
    "faiss": ("faiss-cpu", "galleries of millions of images"),
    "pycocoevalcap": ("pycocoevalcap", "METEOR, which also needs Java"),
    "himalaya": ("himalaya", "benchmarks"),
}


@dataclass(frozen=True)
class Check:
    """One finding; ``needed`` is false for what neuro works without."""

    name: str
    ok: bool
    needed: bool
    text: str


def examine() -> list[Check]:
    """Return what was found, the packages by importing them."""
    found = [_python()]
    found += [_package(module, name) for module, name in NEEDED.items()]
    found += [_optional(module, *about) for module, about in OPTIONAL.items()]
    return [*found, _gpu(), _threads(), _memory(), _disk(), _phantom_clip()]


def _python() -> Check:
    ok = sys.version_info >= (3, 11)
    return Check("python", ok, True, platform.python_version() + ("" if ok else ": neuro needs 3.11 or newer"))


def _package(module: str, name: str) -> Check:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(module)
        return Check(name, True, True, importlib.metadata.version(name))
    except ImportError as error:
        return Check(name, False, True, f"not importable ({error}). Install it with: pip install {name}")
    except RuntimeError as error:
        # A torch from one index and a torchvision from another load, but do not fit.
        return Check(name, False, True, f"{error}. Install torch and torchvision together from one index.")


def _optional(module: str, name: str, purpose: str) -> Check:
    try:
        return Check(name, True, False, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, False, f"absent; only for {purpose}. Install it with: pip install {name}")


def _gpu() -> Check:
    try:
        import torch
    except Exception as error:
        return Check("GPU", False, False, f"torch does not load: {error}")
    if torch.cuda.is_available():
        device = torch.cuda.get_device_properties(0)
        return Check("GPU", True, False, f"{device.name}, {device.total_memory / 2**30:.0f} GiB")
    return Check("GPU", False, False, "no CUDA device; everything runs on the CPU")


def _threads() -> Check:
    return Check("CPU cores", True, False, f"{os.cpu_count()} ({platform.machine()})")


def _memory() -> Check:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError, AttributeError):
        return Check("memory", True, False, "unknown")
    return Check("memory", total > 3, False, f"{total:.0f} GiB")


def _disk() -> Check:
    free = shutil.disk_usage(os.getcwd()).free / 2**30
    return Check("free disk here", free > 1, False, f"{free:.0f} GiB")


def _phantom_clip() -> Check:
    try:
        from neuro.features.phantom_clip import load_phantom_clip

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, _, _ = load_phantom_clip()
    except Exception as error:
        return Check("phantom-clip", False, True, f"does not load ({error}). Reinstall neuro.")
    n = sum(p.numel() for p in model.parameters())
    return Check("phantom-clip", True, True, f"{n / 1e6:.1f} M parameters")
