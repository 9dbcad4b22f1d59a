"""Optimiser of both trainings: Muon for the matrices and kernels, Adam for the rest.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): momentum, then the nearest orthogonal matrix by
Newton-Schulz steps. torch.optim.Muon takes 2-D parameters only; convolution kernels need the flattening done here.
"""

import torch
from torch import Tensor, nn

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalised(matrix: Tensor, steps: int = 5) -> Tensor:
    """Approximate U V^T of matrix = U S V^T, (..., m, n), computed in bfloat16."""
    a, b, c = _NEWTON_SCHULZ
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    x = (x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)).bfloat16()
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).float()


class Optimiser(torch.optim.Optimizer):
    """Every parameter moves by about `lr` a step, in root mean square; those of Muon by `muon_ratio` times that.

    `adam_only`: words in the names of parameters that stay with Adam although they are matrices (embeddings)."""

    def __init__(self, model: nn.Module, lr: float, muon_ratio: float = 1.0, adam_only: tuple[str, ...] = ()):
        muon, adam = [], []
        for name, parameter in model.named_parameters():
            matrix = parameter.ndim >= 2 and not any(word in name for word in adam_only)
            (muon if matrix else adam).append(parameter)
        groups = [{"params": adam, "muon": False, "ratio": 1.0}, {"params": muon, "muon": True, "ratio": muon_ratio}]
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            updates = self._muon(moved) if group["muon"] else map(self._adam, moved)
            for parameter, update in zip(moved, updates, strict=True):
                parameter.sub_(update, alpha=group["lr"] * group["ratio"])

    def _adam(self, parameter: Tensor, beta1: float = 0.9, beta2: float = 0.99) -> Tensor:
        state, grad = self.state[parameter], parameter.grad
        if not state:
            state["count"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["count"] += 1
        state["mean"].lerp_(grad, 1 - beta1)
        state["square"].lerp_(grad * grad, 1 - beta2)
        count = state["count"].item()
        mean, square = state["mean"] / (1 - beta1**count), state["square"] / (1 - beta2**count)
        return mean / (square.sqrt() + 1e-8)

    def _muon(self, parameters: list[Tensor]) -> list[Tensor]:
        """Updates of all parameters; matrices of one shape are orthogonalised together."""
        matrices = [self._momentum(parameter).reshape(len(parameter), -1) for parameter in parameters]
        updates: list[Tensor] = [None] * len(parameters)
        for shape in {matrix.shape for matrix in matrices}:
            alike = [number for number, matrix in enumerate(matrices) if matrix.shape == shape]
            # an orthogonal matrix has root mean square 1 / sqrt(longer side)
            results = orthogonalised(torch.stack([matrices[number] for number in alike])) * max(shape) ** 0.5
            for number, result in zip(alike, results, strict=True):
                updates[number] = result.reshape(parameters[number].shape)
        return updates

    def _momentum(self, parameter: Tensor, momentum: float = 0.95) -> Tensor:
        state, grad = self.state[parameter], parameter.grad
        if not state:
            state["mean"] = torch.zeros_like(parameter)
        state["mean"].lerp_(grad, 1 - momentum)
        return grad.lerp(state["mean"], momentum)
