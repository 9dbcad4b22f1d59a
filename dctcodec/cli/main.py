"""The command line. Only click and the standard library are imported until a command needs more: --help is quick."""

import io
import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from dctcodec.cli.convert import DecodeFile, EncodeFile, Pair, Work, run, workers_for
from dctcodec.cli.messages import failure_message, missing_package, say
from dctcodec.cli.options import decode_options, encode_options
from dctcodec.encoding import Encoding
from dctcodec.environment import one_heap, wait_asleep, without_amx
from dctcodec.errors import DctcodecError
from dctcodec.files import STANDARD_STREAM, check_output, make_folder, read_input
from dctcodec.installed import installed


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
            raise DctcodecError(missing_package(error)) from error


class Commands(click.Group):
    """A group with deferred commands. Every failure is one line on stderr and an exit code: 2 for wrong usage, 130 for Ctrl-C,
    1 otherwise (for a broken pipe, click exits silently with 1)."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, Deferred) else command, rest

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        kwargs |= {"prog_name": kwargs.get("prog_name") or self.name, "standalone_mode": False}
        if isinstance(sys.stdout, io.TextIOWrapper):  # names and texts may have letters that the terminal has not
            sys.stdout.reconfigure(errors="backslashreplace")
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
        except ModuleNotFoundError as error:
            if str(error.name).startswith("dctcodec"):
                raise
            _fail(missing_package(error))
        except (DctcodecError, MemoryError, RuntimeError) as error:
            message = failure_message(error)
            if message is None:
                raise
            _fail(message)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from dctcodec import __version__

        click.echo(f"dctcodec {__version__}")
        ctx.exit()


inputs_argument = click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
output_option = click.option(
    "-o", "--output", metavar="OUT", help="Output file, - for stdout, or a directory (required for several inputs)."
)
device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to compute."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("dctcodec", cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version.")
def main() -> None:
    """Encode images to .dct files and decode them with a neural codec."""
    wait_asleep()
    without_amx()
    one_heap()


main.add_command(Deferred("compare", "dctcodec.cli.compare:compare", "Compare with other codecs in an HTML report."))
main.add_command(Deferred("app", "dctcodec.cli.app:app", "Encode and compare interactively in the browser."))
main.add_command(Deferred("batch", "dctcodec.cli.batch:batch", "Encode, decode or verify whole archives."))
main.add_command(Deferred("bench", "dctcodec.cli.bench:bench", "Measure the codec against JPEG, WebP, AVIF and JPEG XL."))
main.add_command(Deferred("train", "dctcodec.cli.train:train", "Train a model."))
main.add_command(Deferred("eval", "dctcodec.cli.eval:evaluate", "Measure the paper's models: likelihood, collapse, attack."))


@main.command()
@inputs_argument
@output_option
@encode_options
@device_option
def encode(inputs: tuple[str, ...], output: str | None, encoding: Encoding, device: str) -> None:
    """Encode images to .dct files. INPUT may be - for stdin."""
    pairs = _pairs(inputs, output, ".dct")
    for _, destination in pairs:
        if _is_image(destination):
            raise click.UsageError(f"{destination} has the ending of an image. Add -o FILE.dct.")
    _run(EncodeFile(encoding, device), pairs, workers_for(len(pairs), device))


@main.command()
@inputs_argument
@output_option
@click.option("--partial", is_flag=True, help="Decode a truncated file to a coarser image.")
@click.option("--upto", type=click.IntRange(min=1), metavar="BYTES", help="Decode only the first BYTES of the file.")
@decode_options
@device_option
def decode(
    inputs: tuple[str, ...],
    output: str | None,
    temperature: float | None,
    partial: bool,
    upto: int | None,
    bands: int | None,
    model: str | None,
    device: str,
    max_pixels: int | None,
) -> None:
    """Decode .dct files to images. The ending of OUT sets the format. For - and for a directory it is PNG."""
    pairs = _pairs(inputs, output, ".png")
    from dctcodec.image import check_ending

    for _, destination in pairs:
        check_ending(destination)
    work = DecodeFile(device, model, temperature, partial, upto, bands, max_pixels)
    _run(work, pairs, workers_for(len(pairs), device))


@main.command()
@click.argument("files", metavar="FILE.dct...", nargs=-1, required=True)
@json_option
def info(files: tuple[str, ...], as_json: bool) -> None:
    """Show what .dct files contain. Truncated files work too.

    Prints the image's size, model, quality, step, chunks with their bytes, and bits per pixel.
    """
    from dctcodec.cli.info import facts

    found: list[dict[str, Any]] = []

    def work(source: str, *_: object) -> None:
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


def _pairs(inputs: tuple[str, ...], output: str | None, ending: str) -> list[Pair]:
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


def _pairs_in_directory(inputs: tuple[str, ...], output: str, ending: str) -> list[Pair]:
    if STANDARD_STREAM in inputs:
        raise click.UsageError("Input from stdin has no name. Give -o a file, and no other input.")
    if output == STANDARD_STREAM or (os.path.exists(output) and not os.path.isdir(output)):
        raise click.UsageError(f"Several inputs need a directory; {output} is not one.")
    if not os.path.isdir(output) and (output.endswith(".dct") or _is_image(output)):
        raise click.UsageError(f"Several inputs need a directory; {output} has the ending of a file.")
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


def _is_image(name: str) -> bool:
    from dctcodec.image import has_image_ending

    return has_image_ending(name)


def _run(work: Work, pairs: list[Pair], workers: int = 1) -> None:
    if run(work, pairs, workers):
        sys.exit(1)


def _usage_message(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    hint = f" See {context.command_path} --help." if context else ""
    return error.format_message() + hint


def _fail(message: str) -> NoReturn:
    say("error", message)
    sys.exit(1)
