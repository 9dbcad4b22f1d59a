"""What `dctcodec compare` does: images in, one page out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dctcodec.compare import Crop
from dctcodec.compare.comparison import Comparison, Settings, compare
from dctcodec.compare.contenders import Contender, contenders
from dctcodec.compare.document import image_document
from dctcodec.compare.embed import Region
from dctcodec.compare.page import page
from dctcodec.errors import ImageError, warn
from dctcodec.evaluate.machine import describe
from dctcodec.files import STANDARD_STREAM, write_output

LIMIT = 19_000_000
"""Characters of all images of a page. With the rest it stays below 20 MB."""
CURVES_NOTE = "Filled: the files that are compared. Further points are files of about half and one and a half times the size."


def run(
    sources: Sequence[str],
    output: str,
    settings: Settings,
    model: str,
    device: str,
    crop: Crop | None,
    rivals: Sequence[Contender] | None = None,
) -> None:
    """Compare images and write the page. `rivals`: the other codecs, None for all that there are.

    Raises ImageError, ModelError, TargetError and OutputError."""
    from dctcodec.cli.messages import about
    from dctcodec.codec import Codec
    from dctcodec.image import normalise, read_image

    rivals = contenders() if rivals is None else rivals
    images = []
    for source in sources:
        with about(source):
            image = normalise(read_image(source))
            images.append((source, image, region_of(crop, image.size)))
    codec = Codec(model, device)
    for tune in settings.tunes:
        codec.check(settings.effort, tune)
    documents = []
    with progress(len(images) * settings.steps(rivals)) as bar:
        for source, image, region in images:
            with about(source):
                name = "standard input" if source == STANDARD_STREAM else Path(source).name
                bar.set_description(name)
                comparison = compare(name, image, codec, rivals, settings, bar.update)
                documents.append(shown(comparison, region, LIMIT // len(images)))
    write_output(output, report(documents, settings, rivals).encode("utf-8", "replace"))


def shown(comparison: Comparison, region: Region | None = None, limit: int = LIMIT) -> dict[str, Any]:
    """The document of one comparison, of a region or all of the image. Warns where less is shown, to keep within `limit`."""
    region = region or Region(0, 0, *comparison.original.size)
    document = image_document(comparison, region, limit)
    left, top, width, height = document["region"]
    if (width, height) != (region.width, region.height):
        message = f"only {width}x{height}+{left}+{top} is shown, to keep the page below 20 MB; figures are of the whole image"
        warn(message)
    return document


def report(documents: Sequence[dict[str, Any]], settings: Settings, rivals: Sequence[Contender]) -> str:
    """The page of one or more images."""
    names = ", ".join(document["name"] for document in documents)
    data = {
        "images": documents,
        "match": settings.match,
        "made": made(rivals),
        "note": figures_note(settings),
        "curves_note": CURVES_NOTE,
    }
    return page(f"{names} – dctcodec compare", data)


def figures_note(settings: Settings) -> str:
    """What a reader of the table must know."""
    goal = (
        "Each other codec: the best file of at most as many bytes as dctcodec's."
        if settings.match == "size"
        else "Each other codec: the smallest file of at least dctcodec's PSNR."
    )
    searched = settings.target or len(settings.tunes) > 1
    search = " Where dctcodec searches for a size or a PSNR, its time to encode is that of the whole search." if searched else ""
    return (
        f"{goal} Small figures: the difference from dctcodec. PSNR, MS-SSIM and SSIMULACRA2 are over 8-bit RGB; more is better. "
        f"Times: one run on the machine below, dctcodec alone, the others beside each other in one thread each.{search}"
    )


def made(rivals: Sequence[Contender]) -> list[tuple[str, str]]:
    """What made the page, as terms and texts. Nothing of the user's machine but its processor and the versions of packages."""
    machine = describe()
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    libraries = "; ".join(dict.fromkeys(rival.library for rival in rivals))
    place = [machine["cpu"], f"{machine['cores']} cores", machine["gpu"], f"Python {machine['python']}"]
    return [("Made by", versions), ("Other codecs", libraries), ("On", ", ".join(filter(None, place)))]


def region_of(crop: Crop | None, size: tuple[int, int]) -> Region:
    """The region of an image of `size` that is shown; all of it for None. Raises ImageError where it is not inside the image."""
    if crop is None:
        return Region(0, 0, *size)
    width, height, left, top = crop
    left = (size[0] - width) // 2 if left is None else left
    top = (size[1] - height) // 2 if top is None else top
    if left < 0 or top < 0 or left + width > size[0] or top + height > size[1]:
        wanted = f"{width}x{height}" if crop[2] is None else f"{width}x{height}+{left}+{top}"
        raise ImageError(f"the part {wanted} is not inside the image of {size[0]}x{size[1]}: give a smaller --crop")
    return Region(left, top, width, height)


def progress(total: int) -> Any:
    """A progress bar on stderr, where that is a terminal."""
    from tqdm import tqdm

    return tqdm(total=total, unit="file", disable=None)
