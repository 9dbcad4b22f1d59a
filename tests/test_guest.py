"""dctcodec in somebody else's process: threads, forks, torch's settings, random state and pickles are as they were."""

import copy
import io
import os
import pickle
import random
import signal
import threading
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import dctcodec
from dctcodec import Codec, ModelError

MODELS = ["flagship-1", "dct-vae-cifar10"]


def test_threads_leave_no_warning_filter_behind(codec, make_picture):
    streams = [io.BytesIO() for _ in range(6)]
    for side, stream in zip((40, 200) * 3, streams, strict=True):
        make_picture(side, side).save(stream, "PNG")
    before = list(warnings.filters)
    barrier = threading.Barrier(6)

    def work(stream: io.BytesIO) -> None:
        image = Image.open(stream)
        barrier.wait()
        dctcodec.image.take_apart(image)

    threads = [threading.Thread(target=work, args=(stream,)) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_encodes_and_decodes(codec, make_picture, threads):
    threads(2)
    image = make_picture(200, 150)
    data = codec.encode(image)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            codec.decode(codec.encode(image))
            os.write(writing, codec.encode(image))
        finally:
            os._exit(0)
    os.close(writing)
    for _ in range(600):
        if os.waitpid(child, os.WNOHANG)[0]:
            break
        time.sleep(0.1)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    with os.fdopen(reading, "rb") as found:
        assert found.read() == data


@pytest.mark.parametrize("model", MODELS)
def test_a_default_dtype_makes_no_difference(model, make_picture):
    image = make_picture(40, 33)
    data = Codec(model, "cpu").encode(image)
    expected = Codec(model, "cpu").decode(data, temperature=0.5)
    torch.set_default_dtype(torch.float64)
    try:
        loaded = Codec(model, "cpu")
        assert loaded.encode(image) == data
        assert np.array_equal(loaded.decode(data, temperature=0.5), expected)
        if model != "dct-vae-cifar10":
            assert loaded.code_length(data) > 0
            loaded.tile_bits(data)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("effort", [0, 1])
def test_random_states_are_untouched(model, effort, make_picture):
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    codec = Codec(model, "cpu")
    codec.decode(codec.encode(make_picture(40, 33), effort=min(effort, codec.family.most_effort)), temperature=1)
    assert random.getstate() == states[0]
    assert all(np.array_equal(now, then) for now, then in zip(np.random.get_state(), states[1], strict=True))
    assert torch.equal(torch.get_rng_state(), states[2])


def test_threads_grad_mode_and_deterministic_settings_are_untouched(codec, make_picture):
    before = torch.get_num_threads(), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()
    codec.decode(codec.encode(make_picture(40, 33), effort=1))
    assert (torch.get_num_threads(), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()) == before


def test_a_used_codec_pickles_and_copies(codec, make_picture):
    image = make_picture(40, 33)
    data = codec.encode(image)
    for other in (pickle.loads(pickle.dumps(codec)), copy.deepcopy(codec)):
        assert (other.model.name, other.device) == (codec.model.name, codec.device)
        assert other.encode(image) == data


@pytest.mark.parametrize("device", ["tpu", "", "cuda:x", "mps", "meta"])
def test_devices_that_are_not_there_are_errors_of_ours(device):
    with pytest.raises(ModelError, match="use auto, cpu"):
        Codec(device=device)


def test_a_device_has_a_number():
    assert Codec(device="cpu:0").device == "cpu"
    with pytest.raises(ModelError, match="CUDA"):
        Codec(device=f"cuda:{torch.cuda.device_count()}")
