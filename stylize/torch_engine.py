"""The engine that computes with torch: on GPUs, and on processors for models that ``stylize.onnx_engine`` cannot run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stylize.checkpoint import load_model
from stylize.device import pick_device, pick_precision
from stylize.generator import FoldedGenerator, recolour, to_cells, to_pixels
from stylize.images import Pixels
from stylize.layers import Position


