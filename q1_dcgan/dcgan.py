"""Generator and discriminator of DCGAN (Radford et al. 2016), for 28x28 pictures or, as published, 64x64.

The conditional networks take a label: the generator as an embedding beside the noise, the discriminator as a
projection (Miyato & Koyama 2018): the inner product of the label's embedding with the picture's features is
added to its logit. A label that comes in as one more input plane must survive every layer before it can
matter; here it meets the features right at the logit.
"""

import torch
from torch import Tensor, nn

# image_size -> generator: widths in base_channels, kernels; discriminator: widths, side of the last maps
LAYOUTS = {28: ((8, 4, 2), (3, 4, 4), (1, 2, 4), 3), 64: ((8, 4, 2, 1), (4, 4, 4, 4), (1, 2, 4, 8), 4)}


def initialise(module: nn.Module) -> None:
    """Convolutions N(0, 0.02), BatchNorm weights N(1, 0.02), biases 0 (Radford et al. 2016, section 4)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1, 0.02)
        nn.init.zeros_(module.bias)


class Generator(nn.Module):
    """Noise (n, latent_size), labels (n,) when conditional -> pictures (n, 1, image_size, image_size), -1..1.

    Args:
        latent_size: length of the noise.
        classes: 0, or how many labels the conditional network knows.
        image_size: 28, or 64 for the original layout.
        base_channels: feature maps of the discriminator's first layer, 64 in the paper; all widths follow.
    """

    def __init__(
        self, latent_size: int = 256, classes: int = 0, image_size: int = 28, base_channels: int = 64
    ):
        super().__init__()
        self.latent_size, self.classes = latent_size, classes
        widths, kernels, *_ = LAYOUTS[image_size]
        channels = [width * base_channels for width in widths]
        # Ten numbers beside the 256 of the noise. With as many as the noise, the generator was seen to follow
        # the label alone and to draw one picture per class.
        self.embedding = nn.Embedding(classes, classes) if classes else None
        inputs = latent_size + classes
        layers: list[nn.Module] = [nn.ConvTranspose2d(inputs, channels[0], 4, bias=False)]  # 1 -> 4
        for now, after, kernel in zip(
            channels, (*channels[1:], 1), kernels
        ):  # 4 -> 7 -> 14 -> 28 (4 -> 8 -> 16 -> 32 -> 64)
            layers += [
                nn.BatchNorm2d(now),
                nn.ReLU(),
                nn.ConvTranspose2d(now, after, kernel, 2, 1, bias=after == 1),
            ]
        layers.append(nn.Tanh())
        self.layers = nn.Sequential(*layers)
        self.apply(initialise)
        self.to(memory_format=torch.channels_last)

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.embedding is not None:
            noise = torch.cat([noise, self.embedding(labels)], 1)
        return self.layers(noise[:, :, None, None])


class Discriminator(nn.Module):
    """Pictures (n, 1, image_size, image_size), labels (n,) when conditional -> logits (n,): above 0 is real.

    Args:
        classes: 0, or how many labels the conditional network knows.
        image_size: 28, or 64 for the original layout.
        label_as: "projection", or "plane": an embedding of the label as a second channel of the picture
            (Mirza & Osindero 2014).
        base_channels: feature maps of the first layer.
    """

    def __init__(
        self, classes: int = 0, image_size: int = 28, label_as: str = "projection", base_channels: int = 64
    ):
        super().__init__()
        *_, widths, side = LAYOUTS[image_size]
        channels = [width * base_channels for width in widths]
        self.plane = bool(classes) and label_as == "plane"
        layers: list[nn.Module] = [
            nn.Conv2d(1 + self.plane, channels[0], 4, 2, 1),
            nn.LeakyReLU(0.2),
        ]  # 28 -> 14 (64 -> 32); no BatchNorm on the input
        for now, after in zip(channels, channels[1:]):
            # 14 -> 7 -> 3 (32 -> 16 -> 8 -> 4)
            layers += [nn.Conv2d(now, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        self.features = nn.Sequential(*layers)
        self.score = nn.Conv2d(channels[-1], 1, side)  # 3 -> 1 (4 -> 1)
        self.embedding = (
            nn.Embedding(classes, image_size**2 if self.plane else channels[-1]) if classes else None
        )
        self.apply(initialise)
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, 0, 1 if self.plane else 0.02)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.plane:
            images = torch.cat([images, self.embedding(labels).view_as(images)], 1)  # (n, 2, 28, 28)
        features = self.features(images.contiguous(memory_format=torch.channels_last))  # (n, 256, 3, 3)
        logits = self.score(features).flatten()  # (n, 1, 1, 1) -> (n,)
        if self.embedding is not None and not self.plane:
            logits = logits + (features.sum((2, 3)) * self.embedding(labels)).sum(
                1
            )  # projection on the pooled features (n, 256)
        return logits
