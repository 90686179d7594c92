"""One small member of each family of networks, untrained, through Extractor."""

import numpy as np
import pytest
import torch

from neuro.features.extractor import Extractor
from neuro.features.families import FAMILIES

# Family -> (member, input size, options): small, and at a size that keeps it cheap.
WALK = {
    "AlexNet": ("torchvision:alexnet", 64, {}),
    "VGG": ("timm:vgg11", 64, {"num_classes": 4}),
    "Inception": ("timm:inception_v3", 96, {"aux_logits": False}),
    "ResNet": ("timm:resnet10t", 64, {}),
    "ResNeXt": ("timm:resnext26ts", 64, {}),
    "SE-ResNet": ("timm:seresnet33ts", 64, {}),
    "ResNeSt": ("timm:resnest14d", 64, {}),
    "DenseNet": ("timm:densenet121", 64, {}),
    "MobileNet": ("timm:mobilenetv2_050", 64, {}),
    "EfficientNet": ("timm:efficientnet_b0", 64, {}),
    "RegNet": ("timm:regnetx_002", 64, {}),
    "ConvNeXt": ("timm:convnext_atto", 64, {}),
    "ConvNeXt V2": ("timm:convnextv2_atto", 64, {}),
    "InceptionNeXt": ("timm:inception_next_atto", 64, {}),
    "EdgeNeXt": ("timm:edgenext_xx_small", 64, {}),
    "ConvMixer": ("timm:convmixer_1024_20_ks9_p14", 56, {}),
    "MLP-Mixer": ("timm:mixer_s32_224", 96, {}),
    "MetaFormer": ("timm:poolformer_s12", 64, {}),
    "FocalNet": ("timm:focalnet_tiny_srf", 64, {}),
    "HaloNet": ("timm:halonet26t", 256, {}),
    "LambdaNet": ("timm:lambda_resnet26t", 64, {}),
    "BoTNet": ("timm:botnet26t_256", 128, {}),
    "CoAtNet": ("timm:coatnet_nano_rw_224", 64, {}),
    "MaxViT": ("timm:maxvit_pico_rw_256", 64, {}),
    "DaViT": ("timm:davit_tiny", 64, {}),
    "Swin": ("timm:swin_tiny_patch4_window7_224", 112, {}),
    "CSWin-like": ("timm:twins_svt_small", 64, {}),
    "PVT": ("timm:pvt_v2_b0", 64, {}),
    "XCiT": ("timm:xcit_nano_12_p16_224", 64, {}),
    "CaiT": ("timm:cait_xxs24_224", 64, {"depth": 3}),
    "ViT": ("timm:vit_tiny_patch16_224", 64, {"depth": 3}),
    "DeiT": ("timm:deit_tiny_patch16_224", 64, {"depth": 3}),
    "BEiT": ("timm:beit_base_patch16_224", 64, {"depth": 2, "embed_dim": 96, "num_heads": 4}),
    "EVA": ("timm:eva02_tiny_patch14_224", 56, {"depth": 3}),
    "MAE and Hiera": ("timm:hiera_tiny_224", 224, {"stages": (1, 1, 1, 1), "embed_dim": 24}),
    "DINO": ("timm:vit_small_patch16_224", 64, {"depth": 2}),
    "DINOv2": ("timm:vit_small_patch14_reg4_dinov2", 56, {"depth": 2}),
    "DINOv3": ("timm:vit_small_patch16_dinov3", 64, {"depth": 2}),
    "CLIP ViT": ("open_clip:ViT-S-32-alt", None, {}),
    "CLIP ResNet": ("open_clip:RN50", 64, {}),
    "CLIP ConvNeXt": ("open_clip:convnext_tiny", 64, {}),
    "SigLIP": ("open_clip:ViT-B-32-SigLIP2-256", 64, {}),
    "MobileCLIP": ("open_clip:MobileCLIP-S1", 64, {}),
}
TOKENS = {  # families whose blocks give tokens: special tokens before the patches
    "ViT": 1, "DeiT": 1, "BEiT": 1, "EVA": 1, "DINO": 1, "DINOv2": 5, "DINOv3": 5, "CLIP ViT": 1, "SigLIP": 0,
    "MLP-Mixer": 0, "CaiT": 0, "XCiT": 0,
}  # fmt: skip


def test_every_recommended_name_exists():
    import open_clip
    import timm
    import torchvision.models

    timm_names, tags = set(timm.list_models()), set(timm.list_pretrained())
    clip_names, torch_names = set(open_clip.list_models()), set(torchvision.models.list_models())
    for family, names in FAMILIES.items():
        assert names, family
        for full in names:
            library, _, name = full.partition(":")
            known = {"timm": timm_names | tags, "open_clip": clip_names, "torchvision": torch_names}[library]
            assert name in known, full


def test_every_family_is_walked():
    assert set(WALK) == set(FAMILIES)


@pytest.mark.slow
@pytest.mark.parametrize("family", WALK)
def test_a_member_of_the_family_is_read(family, rng):
    name, size, kwargs = WALK[family]
    extractor = Extractor(name, None, input_size=size, model_kwargs=kwargs, device="cpu", batch_size=3)
    layers = extractor.layers
    chosen = extractor.chosen
    assert len(chosen) >= 4
    assert all(layers.info(n).layout != "other" for n in chosen)
    x = torch.randn(3, 3, *extractor.preprocess.size, generator=torch.Generator().manual_seed(0))
    together = extractor.read(x, chosen)
    alone = extractor.read(x[1:2], chosen)
    for layer in chosen:
        scale = float(together[layer].abs().max()) + 1e-6
        assert float((alone[layer][0] - together[layer][1]).abs().max()) < 1e-3 * scale + 1e-6, layer
    with torch.no_grad():
        output = extractor.network.module(x)
    final = "output" if "output" in layers else chosen[-1]
    if isinstance(output, torch.Tensor):
        scale = float(output.abs().max()) + 1e-6
        assert float((extractor.read(x, [final])[final] - output.flatten(1)).abs().max()) < 1e-3 * scale
    if family in TOKENS:
        blocks = [layers.info(n) for n in chosen if layers.info(n).layout == "tokens" and "embed" not in n]
        assert len(blocks) >= 2
        assert all(b.grid and len(b.special) == TOKENS[family] for b in blocks[:2])
    maps = [n for n in chosen if layers.info(n).grid]
    found = extractor.with_options(pool={n: "spatial:2" for n in maps}, layers=maps[:3]).extract(
        rng.integers(0, 256, (3, 40, 50, 3), dtype=np.uint8), progress=False
    )
    assert all(np.isfinite(found.rows(n)).all() for n in found.layers)
