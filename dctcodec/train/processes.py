"""Training by several processes that `torchrun` started: ranks, barriers, averaged gradients."""

import os

import torch
from torch import distributed, nn

from dctcodec.errors import ConfigError


def processes() -> int:
    """Number of processes that torchrun started."""
    return int(os.environ.get("WORLD_SIZE", 1))


def local_batch(batch: int) -> int:
    """One process's part of a batch. Raises ConfigError where processes cannot have equal parts."""
    if batch % processes():
        raise ConfigError(f"batch = {batch} cannot be divided by {processes()} processes: use another number of processes")
    return batch // processes()


def rank() -> int:
    """This process's number. Process 0 writes files."""
    return int(os.environ.get("RANK", 0))


def barrier() -> None:
    """Wait for all processes, so that each sees what process 0 has written."""
    if processes() > 1:
        distributed.barrier()


def join_processes(device: str) -> int:
    """Join the processes that torchrun started; returns their number."""
    world = processes()
    if world > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return world


def average_gradients(model: nn.Module, world: int) -> None:
    """Average gradients over all processes, in one message: one message per parameter takes longer than the step."""
    if world == 1:
        return
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # some batches do not use every part of the network; a part that no batch uses keeps no gradient
    needed = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    message = torch.cat([needed, *[gradient.flatten() for gradient in gradients]])
    distributed.all_reduce(message)
    needed, *sums = message.split([len(parameters), *[p.numel() for p in parameters]])
    for parameter, gradient, total, processes_needing in zip(parameters, gradients, sums, needed.tolist(), strict=True):
        parameter.grad = gradient.copy_(total.view_as(gradient)).div_(world) if processes_needing else None


def agree(seconds: float, world: int) -> float:
    """Process 0's clock, so that all processes end at the same step."""
    if world == 1:
        return seconds
    box = [seconds]
    distributed.broadcast_object_list(box)
    return box[0]
