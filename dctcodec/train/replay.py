"""Training steps on a GPU, recorded once and then replayed (CUDA graphs): a step of the paper's networks is thousands of kernels,
most of which run for less time than it takes to launch them.

A recorded step must not wait for the GPU, and must not depend on Python numbers that change from step to step.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

Result = TypeVar("Result")
WARM_UP = 5
"""Steps before the recording: libraries choose their kernels, and the optimiser makes its averages."""


class Replay:
    """`gradients(batch, step)` puts gradients into the model's parameters, whatever was in them, and returns the loss and what else
    there is; `move()` takes the optimiser's step. Both as given for some steps, then as recorded: batches must be of one shape."""

    def __init__(self, model: nn.Module, gradients: Callable[[Tensor, Tensor], tuple[Tensor, ...]], move: Callable[[], None]):
        self._model, self._gradients, self._move = model, gradients, move
        self._stream, self._taken = torch.cuda.Stream(), 0
        self._inputs: tuple[Tensor, Tensor] | None = None

    def gradients(self, batch: Tensor, step: Tensor) -> tuple[Tensor, ...]:
        if self._inputs is None:
            self._inputs = batch.clone(), step.clone()
        inputs = self._inputs
        for held, new in zip(inputs, (batch, step), strict=True):
            held.copy_(new)
        if self._taken == WARM_UP:
            self._record(*inputs)
        if self._taken < WARM_UP:
            return self._on_the_side(lambda: self._gradients(*inputs))
        self._first.replay()
        return self._results

    def move(self) -> None:
        if self._taken < WARM_UP:
            self._on_the_side(self._move)
        else:
            self._second.replay()
        self._taken += 1

    def _record(self, batch: Tensor, step: Tensor) -> None:
        self._first, self._second = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        self._model.zero_grad()  # so that they are allocated in the recording's own memory
        with torch.cuda.graph(self._first, stream=self._stream):
            self._results = self._gradients(batch, step)
        with torch.cuda.graph(self._second, pool=self._first.pool(), stream=self._stream):
            self._move()

    def _on_the_side(self, work: Callable[[], Result]) -> Result:
        """Run on the stream that is recorded later, so that autograd's state is on it."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            result = work()
        torch.cuda.current_stream().wait_stream(self._stream)
        return result
