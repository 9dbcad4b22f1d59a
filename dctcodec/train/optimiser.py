"""The optimiser: Muon for matrices and kernels, Adam for other parameters.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): momentum, then the nearest orthogonal matrix by
Newton-Schulz steps. torch.optim.Muon takes 2-D parameters only; convolution kernels need the flattening done here.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dctcodec.device import trains_in_bfloat16

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalised(matrix: Tensor, steps: int = 5) -> Tensor:
    """Approximate U V^T of matrix = U S V^T, (..., m, n), computed in bfloat16 where training is."""
    a, b, c = _NEWTON_SCHULZ
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    x = x.bfloat16() if trains_in_bfloat16(x.device) else x
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).float()


class Optimiser(torch.optim.Optimizer):
    """Every parameter moves by about `lr` a step, in root mean square; those of Muon by `muon_ratio` times that.

    `adam_only`: words in the names of parameters that stay with Adam although they are matrices (embeddings)."""

    def __init__(self, model: nn.Module, lr: float, muon_ratio: float = 1.0, adam_only: tuple[str, ...] = ()):
        muon: list[Tensor] = []
        adam: list[Tensor] = []
        for name, parameter in model.named_parameters():
            matrix = parameter.ndim >= 2 and not any(word in name for word in adam_only)
            (muon if matrix else adam).append(parameter)
        groups = [{"params": adam, "muon": False, "ratio": 1.0}, {"params": muon, "muon": True, "ratio": muon_ratio}]
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # there is nothing to compute a loss anew with
        """Move by the gradients there are. Nothing here waits for a GPU, nor depends on numbers of Python's that change, so that a
        step there may be recorded (`replay.py`) if `lr` is a tensor."""
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if moved:
                updates = self._muon(moved) if group["muon"] else self._adam(moved)
                torch._foreach_mul_(updates, group["lr"])
                torch._foreach_add_(moved, updates, alpha=-group["ratio"])

    def _adam(self, parameters: list[Tensor], beta1: float = 0.9, beta2: float = 0.99) -> list[Tensor]:
        gradients = _gradients(parameters)
        means, squares = self._kept(parameters, "mean"), self._kept(parameters, "square")
        counts = self._kept(parameters, "count", lambda parameter: parameter.new_zeros(()))
        torch._foreach_add_(counts, 1)
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_lerp_(squares, torch._foreach_mul(gradients, gradients), 1 - beta2)
        steps = torch.stack(counts)
        first, second = (list((1 - beta**steps).unbind()) for beta in (beta1, beta2))
        roots = torch._foreach_sqrt(torch._foreach_div(squares, second))
        torch._foreach_add_(roots, 1e-8)
        return list(torch._foreach_div(torch._foreach_div(means, first), roots))

    def _muon(self, parameters: list[Tensor], momentum: float = 0.95) -> list[Tensor]:
        """Updates of all parameters; matrices of one shape are orthogonalised together."""
        gradients, means = _gradients(parameters), self._kept(parameters, "mean")
        torch._foreach_lerp_(means, gradients, 1 - momentum)
        ahead = torch._foreach_lerp(gradients, means, momentum)
        matrices = [one.reshape(len(one), -1) for one in ahead]
        updates: dict[int, Tensor] = {}
        for shape in {matrix.shape for matrix in matrices}:
            alike = [number for number, matrix in enumerate(matrices) if matrix.shape == shape]
            # an orthogonal matrix has root mean square 1 / sqrt(longer side)
            results = orthogonalised(torch.stack([matrices[number] for number in alike])) * max(shape) ** 0.5
            for number, result in zip(alike, results, strict=True):
                updates[number] = result.reshape(parameters[number].shape)
        return [updates[number] for number in range(len(parameters))]

    def _kept(self, parameters: list[Tensor], name: str, begin: Callable[[Tensor], Tensor] = torch.zeros_like) -> list[Tensor]:
        """The optimiser's state of each parameter under a name."""
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = begin(parameter)
        return [self.state[parameter][name] for parameter in parameters]


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    """Of parameters that have one."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
