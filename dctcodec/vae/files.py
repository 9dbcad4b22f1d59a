"""Models of the paper in their folders: `vae.safetensors` (float weights, all of the model), `config.json`, and of a codec
`prior.safetensors` (the diffusion prior as integers, which alone decides a file's symbols)."""

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dctcodec import installed
from dctcodec.errors import ModelError, last_line
from dctcodec.family import VAE
from dctcodec.modules import built_alike
from dctcodec.vae.config import Config, from_table
from dctcodec.vae.model import PaperModel


def load_model(name: str, device: torch.device | str = "cpu") -> tuple[Config, PaperModel]:
    """The configuration and the float model of an installed model's name. Raises ModelError."""
    info = installed.find(name)
    if "config" not in info.config:
        raise ModelError(f"the model {name} is of the family {info.family}, which is not the paper's")
    try:
        config = from_table(info.config["config"])
        with built_alike():
            model = PaperModel(config.shape)
        tensors, state = load_file(info.path / VAE), model.state_dict()
        model.load_state_dict({key: tensor.to(state[key].dtype) for key, tensor in tensors.items() if key in state})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"the model {name} is damaged ({last_line(error)}): install dctcodec again") from error
    return config, model.eval().requires_grad_(False).to(device)
