"""Families of vision networks that are compared with the visual system, and members to start from, by name.

Every name can be given to :class:`neuro.features.Extractor`. The first of each family is the smallest. timm names
without a tag stand for timm's default weights; ``timm.list_pretrained("resnet50*")`` lists the others.
"""

from __future__ import annotations

FAMILIES: dict[str, list[str]] = {
    "AlexNet": ["torchvision:alexnet"],
    "VGG": ["timm:vgg11", "timm:vgg16", "timm:vgg19"],
    "Inception": ["timm:inception_v3", "timm:inception_v4", "timm:inception_resnet_v2"],
    "ResNet": ["timm:resnet10t", "timm:resnet18", "timm:resnet50", "timm:resnet101"],
    "ResNeXt": ["timm:resnext26ts", "timm:resnext50_32x4d", "timm:resnext101_32x8d"],
    "SE-ResNet": ["timm:seresnet50", "timm:seresnet33ts", "timm:seresnext50_32x4d"],
    "ResNeSt": ["timm:resnest14d", "timm:resnest50d", "timm:resnest101e"],
    "DenseNet": ["timm:densenet121", "timm:densenet169", "timm:densenet201"],
    "MobileNet": ["timm:mobilenetv2_050", "timm:mobilenetv2_100", "timm:mobilenetv3_large_100"],
    "EfficientNet": ["timm:efficientnet_b0", "timm:efficientnet_b3", "timm:tf_efficientnetv2_s"],
    "RegNet": ["timm:regnetx_002", "timm:regnety_032", "timm:regnety_160"],
    "ConvNeXt": ["timm:convnext_atto", "timm:convnext_tiny", "timm:convnext_base"],
    "ConvNeXt V2": ["timm:convnextv2_atto", "timm:convnextv2_tiny", "timm:convnextv2_base"],
    "InceptionNeXt": ["timm:inception_next_atto", "timm:inception_next_tiny", "timm:inception_next_base"],
    "EdgeNeXt": ["timm:edgenext_xx_small", "timm:edgenext_small", "timm:edgenext_base"],
    "ConvMixer": ["timm:convmixer_1024_20_ks9_p14", "timm:convmixer_768_32", "timm:convmixer_1536_20"],
    "MLP-Mixer": ["timm:mixer_s32_224", "timm:mixer_b16_224", "timm:mixer_l16_224"],
    "MetaFormer": ["timm:poolformer_s12", "timm:convformer_s18", "timm:caformer_s18", "timm:caformer_b36"],
    "FocalNet": ["timm:focalnet_tiny_srf", "timm:focalnet_small_lrf", "timm:focalnet_base_lrf"],
    "HaloNet": ["timm:halonet26t", "timm:halonet50ts", "timm:sehalonet33ts"],
    "LambdaNet": ["timm:lambda_resnet26t", "timm:lambda_resnet50ts"],
    "BoTNet": ["timm:botnet26t_256"],
    "CoAtNet": ["timm:coatnet_nano_rw_224", "timm:coatnet_0_rw_224", "timm:coatnet_1_rw_224"],
    "MaxViT": ["timm:maxvit_pico_rw_256", "timm:maxvit_tiny_tf_224", "timm:maxvit_base_tf_224"],
    "DaViT": ["timm:davit_tiny", "timm:davit_small", "timm:davit_base"],
    "Swin": ["timm:swin_tiny_patch4_window7_224", "timm:swinv2_cr_tiny_ns_224", "timm:swin_base_patch4_window7_224"],
    # CSWin itself is in neither library; these are the hierarchical transformers with windowed or strided attention
    # that come closest to its cross-shaped windows.
    "CSWin-like": ["timm:twins_svt_small", "timm:nest_tiny_jx", "timm:sequencer2d_s"],
    "PVT": ["timm:pvt_v2_b0", "timm:pvt_v2_b2", "timm:pvt_v2_b5"],
    "XCiT": ["timm:xcit_nano_12_p16_224", "timm:xcit_small_12_p16_224", "timm:xcit_medium_24_p16_224"],
    "CaiT": ["timm:cait_xxs24_224", "timm:cait_s24_224"],
    "ViT": ["timm:vit_tiny_patch16_224", "timm:vit_small_patch16_224", "timm:vit_base_patch16_224"],
    "DeiT": ["timm:deit_tiny_patch16_224", "timm:deit3_small_patch16_224", "timm:deit3_base_patch16_224"],
    "BEiT": ["timm:beit_base_patch16_224", "timm:beitv2_base_patch16_224"],
    "EVA": ["timm:eva02_tiny_patch14_224", "timm:eva02_base_patch14_224"],
    "MAE and Hiera": ["timm:hiera_tiny_224", "timm:vit_base_patch16_224.mae"],
    "DINO": ["timm:vit_small_patch16_224.dino", "timm:vit_base_patch16_224.dino"],
    "DINOv2": ["timm:vit_small_patch14_dinov2", "timm:vit_small_patch14_reg4_dinov2", "timm:vit_base_patch14_dinov2"],
    "DINOv3": ["timm:vit_small_patch16_dinov3", "timm:vit_base_patch16_dinov3"],
    "CLIP ViT": ["open_clip:ViT-S-32-alt", "open_clip:ViT-B-32", "open_clip:ViT-B-16", "open_clip:ViT-L-14"],
    "CLIP ResNet": ["open_clip:RN50", "open_clip:RN50x4"],
    "CLIP ConvNeXt": ["open_clip:convnext_tiny", "open_clip:convnext_base_w", "open_clip:convnext_large_d"],
    "SigLIP": ["open_clip:ViT-B-16-SigLIP", "open_clip:ViT-B-32-SigLIP2-256", "open_clip:ViT-SO400M-14-SigLIP"],
    "MobileCLIP": ["open_clip:MobileCLIP-S1", "open_clip:MobileCLIP-B"],
}
"""Family -> names for :class:`neuro.features.Extractor`, smallest first."""
