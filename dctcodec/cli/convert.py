"""The files of a command: done one after another in this process, or many at once in processes of one thread each."""

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from dctcodec.cli.messages import Line, about, collected, named, say
from dctcodec.container import parse
from dctcodec.encoding import Encoding
from dctcodec.errors import DctcodecError
from dctcodec.files import read_input, write_output
from dctcodec.limits import check_pixels
from dctcodec.progress import Tick, no_tick
from dctcodec.threads import count

Pair = tuple[str, str]
"""An input and its output: paths, or - for stdin and stdout."""
Work = Callable[[str, str, Tick], None]
"""What is done with a pair. Raises DctcodecError for what is wrong with this pair."""
FEW = 2
"""So many files are not worth processes of their own."""


@dataclass(frozen=True)
class EncodeFile:
    """An image file to a .dct file."""

    encoding: Encoding
    device: str

    def __call__(self, source: str, destination: str, tick: Tick) -> None:
        from dctcodec.image import read_image

        parts = self.encoding.parts(read_image(source, self.encoding.max_pixels))
        from dctcodec.codec import loaded  # which takes long: a bad image has been told of by now

        codec = loaded(self.encoding.model, self.device)
        codec.check(self.encoding.effort, self.encoding.tune)
        write_output(destination, self.encoding.encode(codec, parts, tick))


@dataclass(frozen=True)
class DecodeFile:
    """A .dct file to an image file. `upto`: only so many bytes of it; the rest is of `Codec.decode`."""

    device: str
    model: str | None = None
    temperature: float | None = None
    partial: bool = False
    upto: int | None = None
    bands: int | None = None
    max_pixels: int | None = None

    def __call__(self, source: str, destination: str, tick: Tick) -> None:
        data = read_input(source)
        self._check(source, data)
        data = data[: self.upto]
        part = self.partial or self.upto is not None
        from dctcodec.codec import codec_for, loaded  # which takes long: a bad file has been told of by now
        from dctcodec.image import write_image

        codec = loaded(self.model, self.device) if self.model else codec_for(data, self.device, part)
        codec.check_bands(self.bands)
        write_image(codec.decode(data, self.temperature, part, self.bands, tick, self.max_pixels), destination)

    def _check(self, source: str, data: bytes) -> None:
        """Tell of a bad file; warn of a truncated one."""
        file = parse(data, self.partial)
        check_pixels(*file.header.size, self.max_pixels)
        if file.partial:
            share = f"{100 * len(file.payload) / file.payload_length:.0f} %" if file.payload_length else "none"
            say("warning", named(source, f"the file is truncated: {share} of its symbols are decoded, unchecked for damage"))
        elif file.truncated:
            say("warning", named(source, "the file is truncated: transparency, profile or metadata may be missing"))


def run(work: Work, pairs: Sequence[Pair], workers: int = 1) -> int:
    """Do all pairs, in so many processes; where they are several, `work` travels to them. A failure does not stop the others.
    Returns the number of failures."""
    outcomes = _in_processes(work, pairs, workers) if workers > 1 else _here(work, pairs)
    failures = 0
    with closing(outcomes), _bar(len(pairs)) as done:
        for lines in outcomes:
            for line in lines:
                say(*line)
            failures += any(kind == "error" for kind, _ in lines)
            done(1)
    return failures


def workers_for(files: int, device: str) -> int:
    """As many processes as do so many files in the least time: 1 where a GPU does the work. Raises ModelError for a device that
    is not there."""
    if files <= FEW:
        return 1
    from dctcodec.batch.pool import default_workers
    from dctcodec.device import device_of

    return min(default_workers(), count(), files) if device_of(device) == "cpu" else 1


def _here(work: Work, pairs: Sequence[Pair]) -> Generator[list[Line], None, None]:
    for source, destination in pairs:
        with _image_bar() as tick:
            yield _attempt(work, source, destination, tick)


def _in_processes(work: Work, pairs: Sequence[Pair], workers: int) -> Generator[list[Line], None, None]:
    from dctcodec.batch import pool

    return pool.run(pairs, Quietly(work), workers, lambda pair: [("error", named(pair[0], pool.DEATH))])


@dataclass(frozen=True)
class Quietly:
    """A work whose lines on stderr are its result, for the process that shows the progress."""

    work: Work

    def __call__(self, pair: Pair) -> list[Line]:
        with collected() as lines:
            lines += _attempt(self.work, *pair, no_tick)
        return lines


def _attempt(work: Work, source: str, destination: str, tick: Tick) -> list[Line]:
    """The error of a pair, if there is one; warnings are said at once."""
    try:
        with about(source):
            work(source, destination, tick)
    except DctcodecError as error:
        return [("error", str(error))]
    return []


@contextmanager
def _bar(files: int) -> Iterator[Callable[[float], object]]:
    """A bar on stderr where there are several files and it is a terminal."""
    if files == 1 or sys.stderr is None or not sys.stderr.isatty():
        yield no_tick
        return
    from tqdm import tqdm

    with tqdm(total=files, unit="image", file=sys.stderr) as bar:
        yield bar.update


@contextmanager
def _image_bar() -> Iterator[Tick]:
    """A bar for one image that appears where it takes over two seconds and stderr is a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield no_tick
        return
    from tqdm import tqdm

    with tqdm(total=1, bar_format="{l_bar}{bar}| {elapsed}<{remaining}", delay=2, leave=False, file=sys.stderr) as bar:
        yield bar.update
