"""The discriminator D(x, z): is this window real art, and of the style that the code z describes?

A patch discriminator (Isola et al., CVPR 2017): every output judges one window of about 38 pixels. Spectral norm
(Miyato et al. 2018) bounds its slope; the code enters by projection (Miyato & Koyama 2018): the score of a window is a
linear function of its features plus their inner product with an embedding of the code.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Discriminator(nn.Module):
    """D(x, z).

    Args:
        code_size: length of the code.
        width: channels of the first layer; the following ones have two and four times as many.
    """

    def __init__(self, code_size: int, width: int = 32) -> None:
        super().__init__()
        self.features = nn.Sequential(
            spectral_norm(nn.Conv2d(3, width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(4 * width, 4 * width, 3, padding=1)),
            nn.LeakyReLU(0.2),
        )
        self.realism = spectral_norm(nn.Conv2d(4 * width, 1, 1))
        self.agreement = spectral_norm(nn.Linear(code_size, 4 * width, bias=False))

    def forward(self, images: Tensor, code: Tensor) -> Tensor:
        """Score windows: positive for real art of that style.

        Args:
            images: (B, 3, H, W) in [0, 1], H and W at least 16.
            code: (B, Z), one per picture.

        Returns:
            (B, 1, H / 8, W / 8).
        """
        features = self.features(images * 2 - 1)  # (B, C, H/8, W/8)
        wanted = self.agreement(code)[..., None, None]  # (B, C, 1, 1)
        return self.realism(features) + (features * wanted).sum(1, keepdim=True)
