"""Sessions of onnxruntime that work in anybody's process: made when first used, with our number of threads, and anew after a
fork."""

import ctypes
import os
from collections.abc import Mapping
from functools import cache
from threading import Lock
from typing import Any
from weakref import WeakSet

import numpy as np

from dctcodec import threads


class Session:
    """A graph that runs on the CPU. `model`: an ONNX file's bytes; `keeps`: whether it keeps its memory between calls. That is
    faster, but takes memory while several threads compute."""

    def __init__(self, model: bytes, keeps: bool = True):
        self._model, self._keeps = model, keeps
        self._made: dict[int, Any] = {}  # by number of threads
        self._lock = Lock()
        _SESSIONS.add(self)

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The graph's outputs."""
        large = self._keeps and sum(array.nbytes for array in inputs.values()) > _LARGE
        outputs: list[np.ndarray] = self._session().run(None, inputs, _giving_back() if large else None)
        return outputs

    def forget(self) -> None:
        """Leave behind what another process made. It is never freed: that would wait for threads that are not here."""
        self._lock = Lock()
        for made in self._made.values():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
        self._made = {}

    def __reduce__(self) -> tuple[type["Session"], tuple[bytes, bool]]:
        return Session, (self._model, self._keeps)

    def _session(self) -> Any:
        count = threads.count()
        with self._lock:
            if count not in self._made:
                self._made[count] = _session(self._model, count, self._keeps)
            return self._made[count]


_LARGE = 2**24
"""After a run with more bytes of inputs, a session frees its memory, which is many times as much."""
_SESSIONS: WeakSet[Session] = WeakSet()


def _forget_all() -> None:
    for session in list(_SESSIONS):
        session.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _session(model: bytes, count: int, keeps: bool) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count
    options.log_severity_level = 3  # errors alone
    options.enable_cpu_mem_arena = options.enable_mem_pattern = keeps
    # threads that wait actively for work take the processor from others
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # which would multiply weights, and round them, where sums are to be multiplied
    unwanted = ["ConvMulFusion"]
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"], disabled_optimizers=unwanted)


@cache
def _giving_back() -> Any:
    """Options of a run after which a session keeps no memory."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options
