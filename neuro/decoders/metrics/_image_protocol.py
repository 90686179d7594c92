"""What image protocols fix, as data."""

from __future__ import annotations

from dataclasses import dataclass, fields

from neuro._check import check_option

SCORES = ("two_way", "distance")


@dataclass(frozen=True)
class NetworkUse:
    """One feature metric of a protocol.

    Attributes
    ----------
    metric : str
        Name in the results.
    network : str
        Key of ``NETWORKS``.
    size : int or None
        Height and width to which images are squashed for it, without cropping; None for the network's own.
    score : {"two_way", "distance"}
        Two-way identification, or the mean correlation distance.
    pretrained : bool
        False for the network's untrained twin, a control.
    """

    metric: str
    network: str
    size: int | None
    score: str = "two_way"
    pretrained: bool = True


@dataclass(frozen=True)
class ImageProtocol:
    """How decoded images are scored.

    Attributes
    ----------
    name : str
    source : str
        Whose evaluation this is.
    test_set : int or None
        Test images of the published numbers.
    trials : str
        What is done with repeats of an image and with several samples, in words.
    samples : {"single", "similarity", "metric"}
        One reconstruction per image; or several, averaged in their similarity to the true images, or in the metric.
    pre_resize : int or None
        Both reconstruction and true image are first brought to this size (true images lose detail too).
    pixel_size : int or None
        Size at which PixCorr and SSIM are taken; None for the true images' own.
    pixel_resize, network_resize : str
        As :func:`neuro.decoders.metrics.pixels.resize_images` names methods.
    antialias : bool
        For tensor methods.
    blend : float or None
        Share of the enhanced image in what is scored; the rest is the blurry (low-level) one.
    pixcorr : {"signed", "absolute"} or None
    ssim : {"ssim2d", "ssim_columnwise", "ssim_rgb"} or None
    networks : tuple of NetworkUse
    anchor, ties, distractors, similarity : str
        As :func:`neuro.decoders.metrics.identify.two_way_identification` takes them.
    notes : str
    """

    name: str
    source: str
    test_set: int | None
    trials: str
    samples: str = "single"
    pre_resize: int | None = None
    pixel_size: int | None = None
    pixel_resize: str = "tensor_bilinear"
    network_resize: str = "tensor_bilinear"
    antialias: bool = True
    blend: float | None = None
    pixcorr: str | None = "signed"
    ssim: str | None = "ssim2d"
    networks: tuple[NetworkUse, ...] = ()
    anchor: str = "recon"
    ties: str = "strict"
    distractors: str = "all"
    similarity: str = "correlation"
    notes: str = ""

    def __post_init__(self):
        check_option("samples", self.samples, ("single", "similarity", "metric"))
        for use in self.networks:
            check_option(f"score of {use.metric}", use.score, SCORES)
        if self.blend is not None and not 0 < self.blend < 1:
            raise ValueError(f"blend must lie between 0 and 1, got {self.blend!r}.")

    @property
    def label(self) -> str:
        """The name, with every field that differs from the published protocol of that name."""
        published = PROTOCOLS.get(self.name)
        if published is None or published == self:
            return self.name
        changed = [f.name for f in fields(self) if getattr(self, f.name) != getattr(published, f.name)]
        return f"{self.name} changed: " + ", ".join(f"{name}={getattr(self, name)!r}" for name in changed)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its metrics."""
        pixels = [name for name in ("pixcorr", "ssim") if getattr(self, name) is not None]
        return (*pixels, *(use.metric for use in self.networks))


def _networks(sizes: tuple[int | None, ...], effnet: str = "effnet_v2", clip: str = "clip") -> tuple[NetworkUse, ...]:
    names = ("alexnet2", "alexnet5", "inception", "clip")
    uses = [NetworkUse(n, clip if n == "clip" else n, size) for n, size in zip(names, sizes[:4], strict=True)]
    uses += [
        NetworkUse(n, net, size, "distance")
        for n, net, size in zip(("effnet", "swav"), (effnet, "swav"), sizes[4:], strict=False)
    ]
    return tuple(uses)


_MINDEYE_NETWORKS = _networks((256, 256, 342, 224, 255, 224), "effnet_v2")

PROTOCOLS: dict[str, ImageProtocol] = {
    p.name: p
    for p in (
        ImageProtocol(
            "brain_diffuser",
            "Ozcelik & VanRullen (2023), Scientific Reports 13, 15666",
            982,
            "repeats averaged in voxel space",
            pixel_size=425,
            pixel_resize="pil_bicubic",
            network_resize="pil_bilinear",
            ssim="ssim_columnwise",
            networks=_networks((224,) * 6, "effnet_v1"),
            notes="scikit-image 0.17. Later users of this protocol with scikit-image >= 0.20 report ssim2d.",
        ),
        ImageProtocol(
            "mindeye",
            "Scotti et al. (2023), NeurIPS",
            982,
            "repeats averaged in voxel space",
            pre_resize=256,
            pixel_size=425,
            antialias=False,
            networks=_MINDEYE_NETWORKS,
            notes="True images pass through 256 pixels too. torchvision of the time did not antialias tensors.",
        ),
        ImageProtocol(
            "mindeye2",
            "Scotti et al. (2024), ICML",
            1000,
            "outputs of the repeats averaged",
            pre_resize=256,
            pixel_size=425,
            antialias=False,
            blend=0.75,
            networks=_MINDEYE_NETWORKS,
            notes="Scored image: .75 enhanced + .25 blurry, which raises PixCorr and SSIM. Report it without as well.",
        ),
        ImageProtocol(
            "takagi",
            "Takagi & Nishimoto (2023), CVPR",
            982,
            "five samples per image, averaged in similarity",
            samples="similarity",
            antialias=True,
            pixcorr=None,
            ssim=None,
            networks=_networks((None,) * 4),
            anchor="true",
            notes="Input sizes are each network's own.",
        ),
        ImageProtocol(
            "brain_captioning",
            "Ferrante et al. (2023), Brain Captioning",
            982,
            "repeats averaged in voxel space",
            pixcorr="absolute",
            ssim="ssim_rgb",
            networks=_networks((None,) * 4, clip="clip_b32"),
            anchor="true",
            ties="win",
            distractors="one",
            similarity="cosine",
            notes="The one distractor may be the image itself and draws are won: chance is .5 + 1/(2n).",
        ),
        ImageProtocol(
            "phantom",
            "neuro, for phantom images",
            None,
            "repeats averaged; several samples averaged in the metric",
            samples="metric",
            networks=(
                NetworkUse("clip", "phantom_clip", None),
                NetworkUse("clip_distance", "phantom_clip", None, "distance"),
                NetworkUse("clip_untrained", "phantom_clip", None, pretrained=False),
            ),
            ties="half",
            notes="phantom-clip, and its untrained twin as a control: what that finds is not content.",
        ),
    )
}
"""Protocols by name."""
