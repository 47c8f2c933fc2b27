"""Checkpoints: everything that a training run needs to go on, and what can be taken out of one."""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from stylize.engines.device import autocast, channels_last, training_precision
from stylize.errors import RefusedError, UsageError, shown
from stylize.files import tensors as tensor_file
from stylize.files.atomic import write_atomically
from stylize.files.model_file import FORMAT, MAX_CHECKPOINT_BYTES, MAX_MODEL_BYTES
from stylize.files.packaged import model_file, packaged
from stylize.networks.discriminator import Discriminator
from stylize.networks.generator import StyleConv
from stylize.networks.model import Model, check_tensors, load_model, load_perceptual, load_tensors
from stylize.options import TrainingOptions

_NAME = re.compile(r"step-[0-9]{7,15}\.safetensors")


class TrainingState:
    """The networks and optimisers of a run, and how to store them."""

    def __init__(self, options: TrainingOptions, device: torch.device) -> None:
        torch.manual_seed(options.seed)
        self.step = 0
        self.overflows = 0  # in a row
        if options.init == "scratch":
            light = load_perceptual(Path(options.light) if options.light else packaged("perceptual"))
            torch.manual_seed(options.seed)  # whatever it was built with
            self.model = Model(replace(options.sizes, perceptual=light.widths))
            self.model.encoder.perceptual = light
        else:
            self.model = load_model(model_file(options.init))
        size = 2 * sum(tensor.numel() for tensor in self.model.state_dict().values())  # in half precision
        if size > MAX_MODEL_BYTES:
            raise UsageError(
                f"a model of {size >> 20} MB could not be loaded again: the limit is {MAX_MODEL_BYTES >> 20} MB",
                hint="smaller `sizes.widths`, `sizes.bank` or `sizes.code`",
            )
        self.model = self.model.to(device).train().requires_grad_(True)
        channels_last(self.model.encoder.perceptual)
        self.model.encoder.perceptual.requires_grad_(False)
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.discriminator = channels_last(Discriminator(self.model.sizes.code).to(device))
        self.precision = _precision_of(options, device)
        groups = [{"params": parameters} for parameters in _by_rate(self.model)]
        self.optimiser = torch.optim.Adam(groups, lr=options.rate, betas=(0.9, 0.99), fused=True)
        self.discriminator_optimiser = torch.optim.Adam(
            self.discriminator.parameters(), lr=options.discriminator_rate, betas=(0.5, 0.99), fused=True
        )

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "average": self.average, "discriminator": self.discriminator}

    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"optimiser": self.optimiser, "discriminator_optimiser": self.discriminator_optimiser}

    def tensors(self) -> tensor_file.Tensors:
        """Everything, in fp32."""
        tensors: tensor_file.Tensors = {}
        for prefix, module in self._modules().items():
            tensors |= {f"{prefix}.{k}": v.detach().cpu().float().numpy() for k, v in module.state_dict().items()}
        for prefix, optimiser in self._optimisers().items():
            for index, state in optimiser.state_dict()["state"].items():
                tensors |= {f"{prefix}.{index}.{k}": v.detach().cpu().float().numpy() for k, v in state.items()}
        return tensors

    def save(self, path: Path) -> None:
        """Write everything to a file."""
        metadata = {"stylize.format": str(FORMAT), "stylize.kind": "checkpoint", "step": str(self.step)}
        write_atomically(path, tensor_file.to_bytes(self.tensors(), metadata), overwrite=True)

    def load(self, path: Path) -> None:
        """Go on where ``save`` was called. Raises RefusedError for a file of another run, or a damaged one."""
        what = f"checkpoint {path.name}"
        tensors, metadata = tensor_file.read(path, "checkpoint", max_bytes=MAX_CHECKPOINT_BYTES)
        tensor_file.check_kind(metadata, "checkpoint", FORMAT, what)
        try:
            self.restore(tensors, int(metadata["step"]), what)
        except (KeyError, ValueError, IndexError) as error:  # no step, or moments of other parameters
            raise tensor_file.malformed(f"{what} does not hold the state of a training") from error

    def restore(self, tensors: tensor_file.Tensors, step: int, what: str = "state") -> None:
        """Go on where ``tensors`` was called. Raises RefusedError for those of other networks."""
        for prefix, module in self._modules().items():
            device = next(module.parameters()).device
            own = _below(tensors, prefix)
            check_tensors(module, own, what)
            module.load_state_dict({k: torch.from_numpy(v).to(device) for k, v in own.items()})
        for prefix, optimiser in self._optimisers().items():
            parameters = parameters_of(optimiser)
            states: dict[int, dict[str, Tensor]] = defaultdict(dict)
            for key, value in _below(tensors, prefix).items():
                index, _, name = key.partition(".")
                moment = torch.from_numpy(value)
                fits = moment.numel() == 1 if name == "step" else moment.shape == parameters[int(index)].shape
                if not fits:
                    raise ValueError(key)
                if name != "step":  # laid out like its parameter: the order of sums is part of "exactly"
                    moment = torch.empty_like(parameters[int(index)]).copy_(moment)
                states[int(index)][name] = moment
            if any(set(state) != {"step", "exp_avg", "exp_avg_sq"} for state in states.values()):
                raise ValueError(prefix)
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": dict(states), "param_groups": groups})
        self.step = step

    def autocast(self) -> AbstractContextManager[object]:
        """The precision of the convolutions, as a context."""
        return autocast(next(self.model.parameters()).device, self.precision)

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Moving average of the weights of E and G; early on it follows faster."""
        decay = min(decay, (1 + self.step) / (10 + self.step))
        follow = get_ema_multi_avg_fn(decay)
        follow(list(self.average.parameters()), list(self.model.parameters()), self.step)


def parameters_of(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Everything that an optimiser updates, in the order in which it numbers it."""
    return [p for group in optimiser.param_groups for p in group["params"]]


def checkpoint_name(step: int) -> str:
    """What the checkpoint after so many steps is called."""
    return f"step-{step:07d}.safetensors"


def checkpoints_of(run: Path) -> list[Path]:
    """The checkpoints in a training run's folder, the newest first. What has another name people keep there."""
    found = (path for path in (run / "checkpoints").glob("step-*") if _NAME.fullmatch(path.name))
    return sorted(found, key=step_of, reverse=True)


def step_of(checkpoint: Path) -> int:
    """After how many steps a checkpoint was written, by its name."""
    return int(checkpoint.stem.removeprefix("step-"))


def load_discriminator(path: Path, code_size: int) -> Discriminator:
    """D out of a checkpoint of a training run, in fp32.

    Args:
        path: ``RUN/checkpoints/step-….safetensors``.
        code_size: of the run's model.

    Raises:
        InputError: the file is missing.
        RefusedError: it is no checkpoint, does not fit, or its D has never been trained.
    """
    what = f"checkpoint {shown(path.name)}"
    tensors, metadata = tensor_file.read(path, "checkpoint", max_bytes=MAX_CHECKPOINT_BYTES)
    tensor_file.check_kind(metadata, "checkpoint", FORMAT, what)
    if not any(name.startswith("discriminator_optimiser.") for name in tensors):
        raise RefusedError(
            f"the discriminator of {what} has not been trained",
            hint="it learns where `weights.adversarial` is not 0, from `adversarial_start` on",
        )
    own = {k.removeprefix("discriminator."): v for k, v in tensors.items() if k.startswith("discriminator.")}
    network = Discriminator(code_size)
    load_tensors(network, own, what)
    return network.eval().requires_grad_(False)


def _precision_of(options: TrainingOptions, device: torch.device) -> torch.dtype:
    """In what the convolutions are computed: bf16, where the machine has it and nothing else is asked for."""
    if options.precision == "32":
        return torch.float32
    return torch.bfloat16 if options.precision == "bf16" else training_precision(device)


def _by_rate(model: Model) -> tuple[list[nn.Parameter], ...]:
    """What is trained, by the learning rate that it has: G's kernels, the maps by which G reads a code, and E.

    A step in one of many kernels changes a picture a little; one in the maps, or in E, changes all that is painted.
    """
    convs = [cast(StyleConv, conv) for conv in model.generator.convs.values()]
    maps = [p for conv in convs for linear in (conv.mix, conv.modulate) for p in linear.parameters()]
    return [conv.weight for conv in convs], maps, [p for p in model.encoder.parameters() if p.requires_grad]


def _below(tensors: tensor_file.Tensors, prefix: str) -> tensor_file.Tensors:
    return {k.removeprefix(f"{prefix}."): v for k, v in tensors.items() if k.startswith(f"{prefix}.")}
