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
    """A graph that runs on the CPU. `model`: an ONNX file's bytes."""

    def __init__(self, model: bytes):
        self._model = model
        self._made: dict[int, Any] = {}  # by number of threads
        self._lock = Lock()
        _SESSIONS.add(self)

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The graph's outputs."""
        large = sum(array.nbytes for array in inputs.values()) > _LARGE
        outputs: list[np.ndarray] = self._session().run(None, inputs, _giving_back() if large else None)
        return outputs

    def forget(self) -> None:
        """Leave behind what another process made. It is never freed: that would wait for threads that are not here."""
        self._lock = Lock()
        for made in self._made.values():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
        self._made = {}

    def __reduce__(self) -> tuple[type["Session"], tuple[bytes]]:
        return Session, (self._model,)

    def _session(self) -> Any:
        count = threads.count()
        with self._lock:
            if count not in self._made:
                self._made[count] = _session(self._model, count)
            return self._made[count]


_LARGE = 2**24
"""After a run with more bytes of inputs, sessions give their unused memory back: it is many times as much."""
_SESSIONS: WeakSet[Session] = WeakSet()
_memory_lock = Lock()
_one_memory: bool | None = None
"""Whether all sessions share memory; None before the first one."""


def _forget_all() -> None:
    global _memory_lock, _one_memory
    _memory_lock = Lock()
    if _one_memory:  # another thread may have been in it
        _one_memory = False
    for session in list(_SESSIONS):
        session.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _session(model: bytes, count: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count
    options.log_severity_level = 3  # errors alone
    options.enable_mem_pattern = False  # which would keep one block of memory for each session and size of its inputs
    if _share_memory():
        options.add_session_config_entry("session.use_env_allocators", "1")
    # threads that wait actively for work take the processor from others
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # which would multiply weights, and round them, where sums are to be multiplied
    unwanted = ["ConvMulFusion"]
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"], disabled_optimizers=unwanted)


def _share_memory() -> bool:
    """Whether all sessions of this process share the memory that is kept from run to run. By itself each session would keep as much
    as it ever needed."""
    global _one_memory
    with _memory_lock:
        if _one_memory is None:
            _one_memory = _make_memory()
        return _one_memory


def _make_memory() -> bool:
    """Make memory for all sessions, where onnxruntime can."""
    import onnxruntime

    kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    place = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
    try:
        onnxruntime.create_and_register_allocator(place, onnxruntime.OrtArenaCfg(0, -1, -1, -1))
    except Exception:  # onnxruntime has exceptions of its own; another library of this process may have made it
        return False
    return True


@cache
def _giving_back() -> Any:
    """Options of a run after which sessions keep no memory that is not in use."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options
