"""Generator and discriminator of DCGAN (Radford et al. 2016), for 28x28 pictures or in the 64x64 layout.

The conditional networks take a label: the generator as an embedding beside the noise, the discriminator as a
projection (Miyato and Koyama 2018): the inner product of the label's embedding and the picture's features is
added to the logit. A label that enters as one more input plane must survive every layer before it can matter;
here it meets the features at the logit.
"""

import torch
from torch import Tensor, nn

# image_size -> generator: widths (in base_channels), kernels; discriminator: widths, side of the last map
LAYOUTS = {28: ((8, 4, 2), (3, 4, 4), (1, 2, 4), 3), 64: ((8, 4, 2, 1), (4, 4, 4, 4), (1, 2, 4, 8), 4)}
# Numbers that stand for the label beside the noise. With as many as the 256 of the noise, the generator was
# seen to follow the label alone and to draw one picture per class.
LABEL_SIZE = 10


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
    """Noise (n, latent_size), when conditional labels (n,) -> pictures (n, channels, size, size) in [-1, 1].

    Args:
        latent_size: length of the noise.
        classes: number of labels of a conditional network, 0 for an unconditional one.
        image_size: 28, or 64 for the original layout.
        base_channels: width of the discriminator's first layer; all others follow. 64 in the paper.
        channels: 1 for grey pictures, 3 for colour.
    """

    def __init__(
        self,
        latent_size: int = 256,
        classes: int = 0,
        image_size: int = 28,
        base_channels: int = 64,
        channels: int = 1,
    ):
        super().__init__()
        self.latent_size = latent_size
        self.classes = classes
        self.channels = channels
        widths, kernels, *_ = LAYOUTS[image_size]
        widths = [width * base_channels for width in widths]
        self.embedding = nn.Embedding(classes, LABEL_SIZE) if classes else None
        inputs = latent_size + (LABEL_SIZE if classes else 0)
        layers: list[nn.Module] = [nn.ConvTranspose2d(inputs, widths[0], 4, bias=False)]  # 1 -> 4
        # 4 -> 7 -> 14 -> 28 (4 -> 8 -> 16 -> 32 -> 64); no BatchNorm on the output
        for now, after, kernel in zip(widths, [*widths[1:], channels], kernels):
            up = nn.ConvTranspose2d(now, after, kernel, 2, 1, bias=after == channels)
            layers += [nn.BatchNorm2d(now), nn.ReLU(), up]
        self.layers = nn.Sequential(*layers, nn.Tanh())
        self.apply(initialise)
        self.to(memory_format=torch.channels_last)

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.embedding is not None:
            noise = torch.cat([noise, self.embedding(labels)], 1)  # (n, latent_size + 10)
        return self.layers(noise[:, :, None, None])


class Discriminator(nn.Module):
    """Pictures (n, channels, size, size), when conditional labels (n,) -> logits (n,): above 0 says real.

    Args:
        classes: number of labels of a conditional network, 0 for an unconditional one.
        image_size: 28, or 64 for the original layout.
        label_as: "projection", or "plane": an embedding of the label as one more channel of the picture
            (Mirza and Osindero 2014).
        base_channels: width of the first layer.
        channels: 1 for grey pictures, 3 for colour.
    """

    def __init__(
        self,
        classes: int = 0,
        image_size: int = 28,
        label_as: str = "projection",
        base_channels: int = 64,
        channels: int = 1,
    ):
        super().__init__()
        *_, widths, side = LAYOUTS[image_size]
        widths = [width * base_channels for width in widths]
        self.plane = bool(classes) and label_as == "plane"
        # 28 -> 14 (64 -> 32); no BatchNorm on the input
        layers: list[nn.Module] = [nn.Conv2d(channels + self.plane, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for now, after in zip(widths, widths[1:]):  # 14 -> 7 -> 3 (32 -> 16 -> 8 -> 4)
            layers += [nn.Conv2d(now, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        self.features = nn.Sequential(*layers)
        self.score = nn.Conv2d(widths[-1], 1, side)  # 3 -> 1 (4 -> 1)
        embedded = image_size**2 if self.plane else widths[-1]
        self.embedding = nn.Embedding(classes, embedded) if classes else None
        self.apply(initialise)
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, 0, 1 if self.plane else 0.02)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.plane:
            plane = self.embedding(labels).view_as(images[:, :1])  # (n, size * size) -> (n, 1, size, size)
            images = torch.cat([images, plane], 1)
        features = self.features(images.contiguous(memory_format=torch.channels_last))  # (n, width, 3, 3)
        logits = self.score(features).flatten()  # (n, 1, 1, 1) -> (n,)
        if self.embedding is not None and not self.plane:  # projection (Miyato and Koyama 2018, eq. 5)
            logits = logits + (features.sum((2, 3)) * self.embedding(labels)).sum(1)  # (n, width) -> (n,)
        return logits
