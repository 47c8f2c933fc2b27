"""The mean of the weights of several models: stages of one training, or ends of one that began alike.

    pip install ".[torch]"
    python examples/studies/average_models.py stage4.safetensors stage5.safetensors model.safetensors

The last file is written, the others are read. Where models are near enough to each other for a mean to work at all, it
is often better than each of them (Wortsman et al., "Model soups", ICML 2022). Measure it: ``stylize evaluate``.
Models without a common beginning give rubbish. Style codes of the old models do not fit the new one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from stylize.errors import StylizeError
from stylize.files.atomic import check_target
from stylize.networks.model import load_model, save_model


def main() -> None:
    """Read the models, write their mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    try:
        check_target(options.output, overwrite=False)
        models = [load_model(path) for path in options.models]
        if len({model.sizes for model in models}) > 1:
            raise SystemExit("the models have different sizes")
        means = {
            name: torch.stack([model.state_dict()[name].double() for model in models]).mean(0).to(tensor.dtype)
            for name, tensor in models[0].state_dict().items()
        }
        models[0].load_state_dict(means)
        print(save_model(models[0], options.output, {"averaged": str(len(models))}))
    except StylizeError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
