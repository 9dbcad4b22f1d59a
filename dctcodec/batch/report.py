"""A batch to look at: a page with its summary, and the images of most bits per pixel beside what was made of them."""

import warnings
from pathlib import Path
from typing import Any

from dctcodec.batch.account import Account
from dctcodec.batch.manifest import Row
from dctcodec.batch.store import Store
from dctcodec.batch.work import Encode
from dctcodec.files import write_output


def write(path: Path, account: Account, work: Encode) -> None:
    """Write the page of a batch that was encoded. Raises InputError, OutputError, FormatError."""
    from dctcodec.compare.page import page
    from dctcodec.compare.run import made

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are in the manifest; of large images the page shows a part
        images = [_document(row, account, work) for row in account.hardest]
    data: dict[str, Any] = {
        "images": images,
        "match": "size",
        "made": [pair for pair in made(()) if pair[1]],
        "note": "\n".join([account.summary(work.verb), "The images are those of most bits per pixel.", *account.last_errors()]),
    }
    write_output(path, page("Archive – dctcodec batch", data).encode("utf-8", "replace"))


def _document(row: Row, account: Account, work: Encode) -> dict[str, Any]:
    """An image and its version."""
    from dctcodec.codec import codec_for
    from dctcodec.compare.comparison import Comparison
    from dctcodec.compare.run import LIMIT, shown
    from dctcodec.compare.version import Version, measured
    from dctcodec.image import normalise, put_together

    original = normalise(put_together(work.original(Store(account.source).read(row["source"]), row["source"])))
    data = Store(account.destination).read(row["output"])
    codec = codec_for(data)
    image, figures = measured(original, data, lambda file: normalise(codec.decode(file, 0)), None, row["seconds"])
    bits = codec.tile_bits(data)
    version = Version("dctcodec", f"model {codec.model.name}", data, image, figures, tile_bits=bits)
    return shown(Comparison(row["source"], original, (version,)), limit=LIMIT // len(account.hardest))
