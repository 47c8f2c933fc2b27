"""The fixed networks that the losses look through."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from stylize.engines.device import channels_last
from stylize.networks.perceptual import PerceptualNetwork
from stylize.networks.random_filters import RandomNetwork

NetworkT = TypeVar("NetworkT", bound=PerceptualNetwork | RandomNetwork)


class Judges(NamedTuple):
    """The networks of the losses, each normalised on pictures like those that it will judge."""

    perceptual: PerceptualNetwork  # φ
    patterns: RandomNetwork  # ρ


def freeze(network: nn.Module, device: torch.device) -> None:
    """Prepare a network that is only looked through, in place: on the device, laid out for its convolutions."""
    channels_last(network.to(device)).eval().requires_grad_(False)


def as_judge(network: NetworkT, pictures: Iterable[Tensor], device: torch.device) -> NetworkT:
    """Make a network a judge, in place: frozen on the device, its channels brought to one scale.

    Args:
        pictures: batches (B, 3, H, W) in [0, 1] to normalise it on; the first is asked for when it is on the device.
    """
    freeze(network, device)
    network.normalise(pictures)
    return network
