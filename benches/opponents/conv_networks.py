"""The convolutional networks of the benches, and their arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from fastvae.layers import Conv2d, Layer, MaxPool2d


@dataclass(frozen=True)
class Network:
    """A convolutional VAE: convolutions and pooling; the decoder mirrors the encoder."""

    name: str
    image: tuple[int, int, int]  # height, width, channels
    hidden: tuple[Layer, ...]
    latent_dim: int
    batch: int

    @property
    def n_features(self) -> int:
        """Numbers of an image."""
        height, width, channels = self.image
        return height * width * channels

    def sizes(self) -> list[tuple[int, int, int]]:
        """The image, and the output of each layer of the encoder."""
        found = [self.image]
        for layer in self.hidden:
            height, width, channels = found[-1]
            if isinstance(layer, Conv2d):
                kernel, stride, padding = layer.kernel_size, layer.stride, layer.padding
                height, width = ((side + 2 * padding - kernel) // stride + 1 for side in (height, width))
                channels = layer.channels
            else:
                height, width = height // layer.size, width // layer.size
            found.append((height, width, channels))
        return found

    def multiply_adds(self) -> list[int]:
        """Those of each layer of the encoder for an image, then of one head; padding counts as pixels."""
        sizes, found = self.sizes(), []
        for layer, before, after in zip(self.hidden, sizes, sizes[1:], strict=False):
            taps = layer.kernel_size**2 if isinstance(layer, Conv2d) else 0
            found.append(after[0] * after[1] * after[2] * before[2] * taps)
        height, width, channels = sizes[-1]
        return [*found, height * width * channels * self.latent_dim]

    def step_flops(self) -> float:
        """Operations of a step's products: forward pass and both gradients; the first layer has no input gradient."""
        *layers, head = self.multiply_adds()
        forward = 2 * sum(layers) + 3 * head  # mu, logvar and the decoder's first layer
        return 2.0 * self.batch * (3 * forward - layers[0])

    def encode_flops(self, n: int) -> float:
        """Operations of `transform` of n images; fastvae computes both heads."""
        *layers, head = self.multiply_adds()
        return 2.0 * n * (sum(layers) + 2 * head)


def _strided(channels: tuple[int, ...], **options: bool) -> tuple[Layer, ...]:
    return tuple(Conv2d(c, 4, stride=2, padding=1, **options) for c in channels)


def _vgg(channels: tuple[int, ...]) -> tuple[Layer, ...]:
    return tuple(layer for c in channels for layer in (Conv2d(c, 3, padding=1), Conv2d(c, 3, padding=1), MaxPool2d(2)))


NETWORKS = [
    Network("28x28x1, 32-64", (28, 28, 1), _strided((32, 64)), 16, 128),
    Network("32x32x3, 32-64-128", (32, 32, 3), _strided((32, 64, 128)), 64, 128),
    Network("64x64x3, 32-64-128-256", (64, 64, 3), _strided((32, 64, 128, 256)), 128, 64),
]
MORE = [
    Network("32x32x3, 3x3 and pooling, 32-32-64-64", (32, 32, 3), _vgg((32, 64)), 64, 128),
    Network("32x32x3, 32-64-128, batch norm", (32, 32, 3), _strided((32, 64, 128), batch_norm=True), 64, 128),
]
