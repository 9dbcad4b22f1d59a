"""Options that several commands share."""

import math
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any, TypeVar, cast

import click

from dctcodec.encoding import Encoding
from dctcodec.family import FAMILIES, TUNES
from dctcodec.files import STANDARD_STREAM, check_output
from dctcodec.installed import DEFAULT, find

SEED = click.IntRange(0, 2**63 - 1)
"""What torch's generators take, with room for a step's number to be added."""
MAX_SEED = 2**32 - 1
"""Largest seed that a file holds."""


Command = TypeVar("Command", bound=Callable[..., Any])


class FiniteRange(click.FloatRange):
    """A range of numbers that excludes infinity and nan."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def check_colour(_: click.Context, __: click.Parameter, colour: str | None) -> str | None:
    """Callback of options that take a colour. Raises BadParameter."""
    if colour is not None:
        from PIL import ImageColor

        try:
            ImageColor.getrgb(colour)
        except ValueError as error:
            raise click.BadParameter(f"{colour} is not a colour. Use a CSS colour, such as white or #rrggbb.") from error
    return colour


def with_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """A decorator that adds options to a command, in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


max_pixels_option = click.option(
    "--max-pixels", type=click.IntRange(min=1), help="Refuse images with more pixels.  [default: 2^27, or as memory allows]"
)
_encode_options = with_options(
    click.option(
        "--quality",
        type=FiniteRange(1, 100),
        help="Quality, 1 (smallest file) to 100.  [default: 50; dct-vae models have only one]",
    ),
    click.option(
        "--effort",
        type=click.IntRange(0, 9),
        help="0 (fastest) to 9. A longer search saves bits at equal quality.  [default: 1; 0 for dct-vae models]",
    ),
    click.option(
        "--tune",
        type=click.Choice(TUNES),
        default=TUNES[0],
        show_default=True,
        help="Optimise PSNR, or visual quality by MS-SSIM.",
    ),
    click.option("--target-bpp", type=FiniteRange(0, min_open=True), help="Best quality with at most this many bits per pixel."),
    click.option("--target-size", type=click.IntRange(min=1), metavar="BYTES", help="Best quality with at most this file size."),
    click.option("--target-psnr", type=FiniteRange(0), metavar="DB", help="Lowest quality with at least this PSNR."),
    click.option("--model", default=DEFAULT, show_default=True, help="Model to encode with; see `dctcodec models`."),
    click.option("--seed", type=click.IntRange(0, MAX_SEED), default=0, show_default=True, help="Seed of the decoder's noise."),
    click.option(
        "--background",
        metavar="COLOUR",
        callback=check_colour,
        help="Flatten transparency onto a colour, such as white or #rrggbb.",
    ),
    click.option("--to-srgb", is_flag=True, help="Convert colours to sRGB instead of keeping the profile."),
    click.option(
        "--strip",
        type=click.Choice(["all", "gps"]),
        is_flag=False,
        flag_value="all",
        help="all: drop EXIF and XMP; gps: drop only positions.  [--strip alone means all]",
    ),
    click.option("--note", is_flag=True, help="Store the options in the file; `dctcodec info` shows them."),
    max_pixels_option,
)
decode_options = with_options(
    click.option(
        "--temperature", type=FiniteRange(0, 10), help="Amount of synthesised texture.  [default: 0; 0.1 for dct-vae models]"
    ),
    click.option("--bands", type=click.IntRange(min=1), metavar="N", help="Decode only the first N of 8 bands of frequencies."),
    click.option("--model", metavar="NAME", help="Decode with another model that has the same prior.  [default: the file's]"),
    max_pixels_option,
)
"""Options of every command that decodes."""


def encode_options(command: Command) -> Command:
    """Options of every command that encodes. The command gets them as one Encoding, `encoding`."""

    @_encode_options
    @wraps(command)
    def with_encoding(**options: Any) -> None:
        given = {name: options.pop(name) for name in list(options) if name in _ENCODING}
        targets = {name: given.pop(f"target_{name}") for name in ("bpp", "size", "psnr")}
        target = [(name, value) for name, value in targets.items() if value is not None]
        check_quality(given["model"], given["quality"], dict(target))
        given["note"] = _note(click.get_current_context()) if given["note"] else None
        command(encoding=Encoding(target=target[0] if target else None, **given), **options)

    return cast(Command, with_encoding)


_ENCODING = {field.name for field in fields(Encoding)} - {"target"} | {"target_bpp", "target_size", "target_psnr"}
"""Names of the options."""


def _note(context: click.Context) -> str:
    """Version and options of encoding that were given."""
    from dctcodec import __version__

    options = [option for option in context.command.params if option.name in _ENCODING - {"note"}]
    given = [(p.opts[0], context.params[p.name]) for p in options if context.params[p.name] not in (None, p.get_default(context))]
    words = [option if value is True else f"{option} {value}" for option, value in given]
    return " ".join([f"dctcodec {__version__}", *words])


def check_page(output: str) -> None:
    """Raise UsageError where a page would get the ending of another file, OutputError where it cannot be written."""
    if output != STANDARD_STREAM and not output.lower().endswith((".html", ".htm")):
        raise click.UsageError(f"{output} would be an HTML page. Give it the ending .html.")
    check_output(output)


def check_quality(model: str, quality: float | None, targets: dict[str, float]) -> None:
    """Raise UsageError where more than one of a quality and targets is given, or any to a model that has one quality."""
    if (quality is not None) + len(targets) > 1:
        raise click.UsageError("Give one of --quality, --target-bpp, --target-size and --target-psnr.")
    if FAMILIES[find(model).family].one_quality and (quality is not None or targets):
        raise click.UsageError(f"The model {model} has one quality. Remove --quality and --target-....")
