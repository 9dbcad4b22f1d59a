"""The command line. Only click and the standard library are imported until a command needs more: --help is quick."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from dctcodec.cli.messages import about, failure_message, named, say
from dctcodec.cli.options import FiniteRange, check_quality
from dctcodec.container import parse
from dctcodec.errors import DctcodecError
from dctcodec.family import TUNES
from dctcodec.files import STANDARD_STREAM, check_output, make_folder, read_input, write_output
from dctcodec.installed import DEFAULT, installed
from dctcodec.limits import check_pixels

MAX_SEED = 2**32 - 1


class Deferred(click.Command):
    """A command known by name and one line of help; its module is imported when it is called."""

    def __init__(self, name: str, target: str, help: str):
        super().__init__(name, help=help)
        self.target = target

    def load(self) -> click.Command:
        module, attribute = self.target.split(":")
        try:
            command: click.Command = getattr(import_module(module), attribute)
            return command
        except ModuleNotFoundError as error:
            if str(error.name).startswith("dctcodec"):
                raise
            raise DctcodecError(f"this command needs the package {error.name}: pip install {error.name}") from error


class Commands(click.Group):
    """A group with deferred commands. Every failure is one line on stderr and an exit code: 2 for wrong usage, 130 for Ctrl-C,
    1 otherwise (for a broken pipe, click exits silently with 1)."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, Deferred) else command, rest

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        kwargs |= {"prog_name": kwargs.get("prog_name") or self.name, "standalone_mode": False}
        try:
            code = super().main(*args, **kwargs)
            sys.exit(code if isinstance(code, int) else 0)
        except click.Abort:
            sys.exit(130)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(2)
        except click.ClickException as error:
            say("error", _usage_message(error))
            sys.exit(error.exit_code)
        except OSError as error:
            sys.stdout = None  # else the interpreter tries again to flush it at exit, and complains
            _fail(str(error))
        except (DctcodecError, MemoryError, RuntimeError) as error:
            _fail(failure_message(error))


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from dctcodec import __version__

        click.echo(f"dctcodec {__version__}")
        ctx.exit()


def _check_colour(_: click.Context, __: click.Parameter, colour: str | None) -> str | None:
    if colour is not None:
        from PIL import ImageColor

        try:
            ImageColor.getrgb(colour)
        except ValueError as error:
            raise click.BadParameter(f"{colour} is not a colour. Use a CSS colour, such as white or #rrggbb.") from error
    return colour


inputs_argument = click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
output_option = click.option(
    "-o", "--output", metavar="OUT", help="Output file, - for stdout, or a directory: needed for several inputs."
)
device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to compute."
)
max_pixels_option = click.option(
    "--max-pixels", type=click.IntRange(min=1), help="Refuse larger images.  [default: 2^27, or as memory allows]"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("dctcodec", cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version.")
def main() -> None:
    """Encode images to .dct files and decode them with a neural codec."""


main.add_command(Deferred("compare", "dctcodec.cli.compare:compare", "Compare with other codecs in an HTML report."))
main.add_command(Deferred("app", "dctcodec.cli.app:app", "Encode and compare interactively in the browser."))
main.add_command(Deferred("bench", "dctcodec.cli.bench:bench", "Measure against JPEG, WebP, AVIF and JPEG XL."))
main.add_command(Deferred("train", "dctcodec.cli.train:train", "Train a model."))
main.add_command(Deferred("eval", "dctcodec.cli.eval:evaluate", "Evaluate the paper's models: likelihood, collapse."))


@main.command()
@inputs_argument
@output_option
@click.option(
    "--quality", type=FiniteRange(1, 100), help="Quality, 1 (smallest file) to 100.  [default: 50; dct-vae models have one]"
)
@click.option(
    "--effort",
    type=click.IntRange(0, 9),
    default=0,
    show_default=True,
    help="0 to 9. More effort searches longer and gives a better image.",
)
@click.option("--tune", type=click.Choice(TUNES), default=TUNES[0], show_default=True, help="Measure to optimise.")
@click.option("--target-bpp", type=FiniteRange(0, min_open=True), help="Best quality within this many bits per pixel.")
@click.option("--target-size", type=click.IntRange(min=1), metavar="BYTES", help="Best quality within this file size.")
@click.option("--target-psnr", type=FiniteRange(0), metavar="DB", help="Lowest quality with at least this PSNR.")
@click.option("--model", default=DEFAULT, show_default=True, help="Model to encode with; see `dctcodec models`.")
@device_option
@click.option("--seed", type=click.IntRange(0, MAX_SEED), default=0, show_default=True, help="Seed of the decoder's noise.")
@click.option(
    "--background",
    metavar="COLOUR",
    callback=_check_colour,
    help="Flatten transparency on a colour, such as white or #rrggbb.",
)
@click.option("--to-srgb", is_flag=True, help="Convert colours to sRGB instead of keeping the profile.")
@click.option(
    "--strip",
    type=click.Choice(["all", "gps"]),
    is_flag=False,
    flag_value="all",
    help="Drop EXIF and XMP; gps: drop only positions.",
)
@click.option("--note", is_flag=True, help="Store the settings in the file; `dctcodec info` shows them.")
@max_pixels_option
def encode(
    inputs: tuple[str, ...],
    output: str | None,
    quality: float | None,
    effort: int,
    tune: str,
    target_bpp: float | None,
    target_size: int | None,
    target_psnr: float | None,
    model: str,
    device: str,
    seed: int,
    max_pixels: int | None,
    **keep: Any,
) -> None:
    """Encode images to .dct files. INPUT may be - for stdin."""
    options: dict[str, Any] = {"seed": seed, "effort": effort, "tune": tune}
    wanted = {"bpp": target_bpp, "size": target_size, "psnr": target_psnr}
    targets = {name: value for name, value in wanted.items() if value is not None}
    check_quality(model, quality, targets)
    text = _note(click.get_current_context()) if keep.pop("note") else None
    pairs = _pairs(inputs, output, ".dct")
    from dctcodec.image import read_image, take_apart

    def work(source: str, destination: str) -> None:
        parts = replace(take_apart(read_image(source, max_pixels), **keep), text=text)
        from dctcodec.codec import loaded

        with _picture_bar() as tick:
            codec = loaded(model, device)
            codec.check(effort, tune)
            if targets:
                data = codec.encode_to(parts, bpp=target_bpp, size=target_size, psnr=target_psnr, **options, tick=tick)
            else:
                data = codec.encode(parts, quality, **options, tick=tick)
        write_output(destination, data)

    _run(work, pairs)


def _note(context: click.Context) -> str:
    """Version and options that were given, but for files."""
    from dctcodec import __version__

    options = [p for p in context.command.params if p.name not in ("inputs", "output", "device", "note")]
    given = [(p.opts[0], context.params[p.name]) for p in options if context.params[p.name] not in (None, p.get_default(context))]
    words = [f"{option} {value}" for option, value in given]
    return " ".join([f"dctcodec {__version__}", *words])


@main.command()
@inputs_argument
@output_option
@click.option(
    "--temperature", type=FiniteRange(0), help="0 is smooth, 1 synthesises texture.  [default: 0; 0.1 for dct-vae models]"
)
@click.option("--partial", is_flag=True, help="Decode a truncated file to a coarser image.")
@click.option("--upto", type=click.IntRange(min=1), metavar="BYTES", help="Decode only the first BYTES of the file.")
@click.option("--bands", type=click.IntRange(min=1), metavar="N", help="Decode only the first N of 8 bands of frequencies.")
@click.option("--latents", "old_bands", type=click.IntRange(min=1), hidden=True)
@click.option("--model", metavar="NAME", help="Another model with the same prior.  [default: the file's]")
@device_option
@max_pixels_option
def decode(
    inputs: tuple[str, ...],
    output: str | None,
    temperature: float | None,
    partial: bool,
    upto: int | None,
    bands: int | None,
    old_bands: int | None,
    model: str | None,
    device: str,
    max_pixels: int | None,
) -> None:
    """Decode .dct files to images. The format is that of OUT's ending, PNG for - and for a directory."""
    bands = bands or old_bands
    pairs = _pairs(inputs, output, ".png")
    from dctcodec.image import check_ending, write_image

    for _, destination in pairs:
        check_ending(destination)

    def work(source: str, destination: str) -> None:
        data = read_input(source)
        _check_file(source, data, partial, max_pixels)
        data = data[:upto]
        part = partial or upto is not None
        from dctcodec.codec import codec_for, loaded

        codec = loaded(model, device) if model else codec_for(data, device, part)
        if bands and bands > codec.family.bands:
            raise DctcodecError(f"the model {codec.model.name} has {codec.family.bands} bands: --bands {bands} is too many")
        with _picture_bar() as tick:
            image = codec.decode(data, temperature, part, bands, tick, max_pixels)
        write_image(image, destination)

    _run(work, pairs)


def _check_file(source: str, data: bytes, partial: bool, max_pixels: int | None) -> None:
    """Tell of a bad file before torch is loaded; warn of a truncated one."""
    file = parse(data, partial)
    check_pixels(*file.header.size, max_pixels)
    if file.partial:
        share = f"{100 * len(file.payload) / file.payload_length:.0f} %" if file.payload_length else "none"
        say("warning", named(source, f"the file is truncated: {share} of its symbols are decoded, unchecked for damage"))
    elif file.truncated:
        say("warning", named(source, "the file is truncated: transparency, profile or metadata may be missing"))


@main.command()
@click.argument("files", metavar="FILE.dct...", nargs=-1, required=True)
@json_option
def info(files: tuple[str, ...], as_json: bool) -> None:
    """Show what .dct files contain. Truncated files work too.

    Prints the image's size, model, quality, step, chunks with their bytes, and bits per pixel.
    """
    from dctcodec.cli.info import facts

    found: list[dict[str, Any]] = []

    def work(source: str, _: str) -> None:
        found.append({"file": source} | facts(read_input(source)))
        if not as_json:
            if len(found) > 1:
                click.echo()
            echo_table(found[-1])

    try:
        _run(work, [(file, file) for file in files])
    finally:
        if as_json and found:
            click.echo(json.dumps(found if len(files) > 1 else found[0], indent=2))


@main.command()
@json_option
def models(as_json: bool) -> None:
    """List the installed models and their figures."""
    cards: list[dict[str, Any]] = [
        {"name": m.name, "id": "-" if m.model_id is None else f"{m.model_id:08x}", "family": m.family}
        | {"description": m.description, "bytes": m.bytes, "path": str(m.path), "figures": m.figures}
        for m in installed()
    ]
    if as_json:
        click.echo(json.dumps(cards, indent=2))
        return
    for number, card in enumerate(cards):
        figures = card.pop("figures")
        if number:
            click.echo()
        echo_table(card | figures)


def echo_table(rows: dict[str, Any]) -> None:
    """Print names and values, one a line."""
    width = max(map(len, rows))
    for name, value in rows.items():
        shown = ", ".join(f"{key} {part}" for key, part in value.items()) if isinstance(value, dict) else value
        click.echo(f"{name.replace('_', ' '):<{width}}  {shown}")


def _pairs(inputs: tuple[str, ...], output: str | None, ending: str) -> list[tuple[str, str]]:
    """Each input with its output; makes the output directory where one is wanted. Raises UsageError."""
    if output is None:
        wanted = f"-o FILE{ending}" if len(inputs) == 1 else "-o DIRECTORY"
        raise click.UsageError(f"No output given. Add {wanted}.")
    if len(inputs) > 1 or output.endswith(os.sep) or os.path.isdir(output):
        pairs = _pairs_in_directory(inputs, output, ending)
    else:
        pairs = [(inputs[0], output)]
        check_output(output)
    sources = {os.path.realpath(source) for source in inputs if source != STANDARD_STREAM}
    for _, destination in pairs:
        if destination != STANDARD_STREAM and os.path.realpath(destination) in sources:
            raise click.UsageError(f"{destination} is also an input and would be overwritten.")
    return pairs


def _pairs_in_directory(inputs: tuple[str, ...], output: str, ending: str) -> list[tuple[str, str]]:
    if STANDARD_STREAM in inputs:
        raise click.UsageError("Input from stdin has no name. Give -o a file, and no other input.")
    if output == STANDARD_STREAM or (os.path.exists(output) and not os.path.isdir(output)):
        raise click.UsageError(f"Several inputs need a directory; {output} is not one.")
    pairs: dict[str, str] = {}
    for source in inputs:
        destination = os.path.join(output, Path(source).stem + ending)
        if destination in pairs:
            raise click.UsageError(f"{pairs[destination]} and {source} would both be written to {destination}.")
        pairs[destination] = source
    make_folder(Path(output))
    for destination in pairs:
        check_output(destination)
    return [(source, destination) for destination, source in pairs.items()]


def _run(work: Callable[[str, str], None], pairs: list[tuple[str, str]]) -> None:
    """Process all pairs. A failure does not stop the others."""
    failures = 0
    for source, destination in _with_progress(pairs):
        try:
            with about(source):
                work(source, destination)
        except DctcodecError as error:
            say("error", str(error))
            failures += 1
    if failures:
        sys.exit(1)


def _with_progress(pairs: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The pairs, with a bar on stderr where there are several and it is a terminal."""
    if len(pairs) == 1 or sys.stderr is None or not sys.stderr.isatty():
        return iter(pairs)
    from tqdm import tqdm

    return iter(tqdm(pairs, unit="picture", file=sys.stderr))


@contextmanager
def _picture_bar() -> Iterator[Callable[[float], object]]:
    """A bar for one image that appears where it takes over two seconds and stderr is a terminal."""
    from tqdm import tqdm

    quiet = sys.stderr is None or not sys.stderr.isatty()
    form = "{l_bar}{bar}| {elapsed}<{remaining}"
    with tqdm(total=1, bar_format=form, delay=2, leave=False, disable=quiet, file=sys.stderr) as bar:
        yield bar.update


def _usage_message(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    hint = f" See {context.command_path} --help." if context else ""
    return error.format_message() + hint


def _fail(message: str) -> NoReturn:
    say("error", message)
    sys.exit(1)
