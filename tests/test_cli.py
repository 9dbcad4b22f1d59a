"""The command line as a user meets it: images in, .dct out and back, and one line on stderr for every mistake."""

import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from dctcodec import Codec, ModelError, installed
from dctcodec.cli.convert import workers_for
from dctcodec.cli.main import main
from dctcodec.environment import wait_asleep, without_amx
from dctcodec.image import take_apart

COMMAND = [sys.executable, "-m", "dctcodec"]
SIZE = (41, 35)


def dctcodec(*arguments: object, input: bytes | None = None) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=input)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def process(*arguments: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, timeout=120, **options)


def assert_one_error(result: Result, code: int, *words: str) -> None:
    """The only output is one line on stderr that begins with 'error: ' and holds all the words."""
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    assert all(word in lines[0] for word in words), lines[0]
    assert result.exit_code == code
    assert result.stdout_bytes == b""


def photograph() -> Image.Image:
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    planes = [128 + 90 * np.sin(rows / 9), 128 + 90 * np.cos(columns / 7), rows + 2 * columns]
    return Image.fromarray(np.stack(planes, -1).astype(np.uint8))


def difference(image: Image.Image) -> float:
    return float(np.abs(np.asarray(image, float) - np.asarray(photograph(), float)).mean())


@pytest.fixture
def png(tmp_path) -> Path:
    path = tmp_path / "photo.png"
    photograph().save(path)
    return path


@pytest.fixture(scope="session")
def encoded(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("encoded") / "photo.png"
    photograph().save(path)
    assert dctcodec("encode", path, "-o", path.with_suffix(".dct"), "--seed", 7).exit_code == 0
    return path.with_suffix(".dct").read_bytes()


@pytest.fixture
def dct(encoded, tmp_path) -> Path:
    path = tmp_path / "photo.dct"
    path.write_bytes(encoded)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Images in, .dct out and back


def test_a_picture_goes_out_and_comes_back(png, tmp_path):
    assert dctcodec("encode", png, "-o", tmp_path / "a.dct").exit_code == 0
    result = dctcodec("decode", tmp_path / "a.dct", "-o", tmp_path / "a.png")
    assert (result.exit_code, result.output) == (0, "")
    back = Image.open(tmp_path / "a.png")
    assert (back.size, back.mode, back.format) == (SIZE, "RGB", "PNG")
    assert difference(back) < 12
    assert names(tmp_path) == ["a.dct", "a.png", "photo.png"]


def test_grey_stays_grey(tmp_path):
    photograph().convert("L").save(tmp_path / "grey.png")
    assert dctcodec("encode", tmp_path / "grey.png", "-o", tmp_path / "grey.dct").exit_code == 0
    assert dctcodec("decode", tmp_path / "grey.dct", "-o", tmp_path / "back.png").exit_code == 0
    assert Image.open(tmp_path / "back.png").mode == "L"


def test_one_pixel_goes_out_and_comes_back(tmp_path):
    Image.new("RGB", (1, 1), (200, 30, 90)).save(tmp_path / "dot.png")
    assert dctcodec("encode", tmp_path / "dot.png", "-o", tmp_path / "dot.dct").exit_code == 0
    assert dctcodec("decode", tmp_path / "dot.dct", "-o", tmp_path / "back.png").exit_code == 0
    assert Image.open(tmp_path / "back.png").size == (1, 1)


def test_every_failure_names_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "file"):
        Path(name).write_bytes(b"no .dct")
    lines = dctcodec("decode", "a", "file", "-o", "out/").stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [["error", "a"], ["error", "file"]]


def test_a_model_of_the_same_prior_may_paint(dct, tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "twin").symlink_to(installed.find(installed.DEFAULT).path)
    monkeypatch.setattr(installed, "_PLACES", (*installed._PLACES, tmp_path / "models"))
    for name, more in (("own", []), ("twins", ["--model", "twin"])):
        assert dctcodec("decode", dct, "-o", tmp_path / f"{name}.png", *more).exit_code == 0
    assert (tmp_path / "own.png").read_bytes() == (tmp_path / "twins.png").read_bytes()
    result = dctcodec("decode", dct, "-o", tmp_path / "other.png", "--model", "dct-vae-cifar10")
    assert_one_error(result, 1, f"made with model {installed.DEFAULT}, not dct-vae-cifar10")


def test_a_damaged_model_harms_no_other(tmp_path, monkeypatch):
    default = installed.find(installed.DEFAULT)
    for name, text in (("bert", "{}"), ("list", "[]"), ("text", "?")):
        (tmp_path / name).mkdir()
        (tmp_path / name / installed.CONFIG).write_text(text)
        monkeypatch.setattr(installed, "_PLACES", (*installed._PLACES, tmp_path))
        with pytest.raises(ModelError, match=f"{name} is damaged"):
            installed.find(name)
    assert installed.find(installed.DEFAULT) == default == installed.find_by_id(default.model_id)
    with pytest.raises(ModelError, match="is damaged"):
        installed.find_by_id(default.model_id ^ 1)


def test_stdin_and_stdout(png, encoded):
    out = dctcodec("encode", "-", "-o", "-", "--seed", 7, input=png.read_bytes())
    assert out.stdout_bytes == encoded
    back = dctcodec("decode", "-", "-o", "-", input=encoded)
    assert difference(Image.open(io.BytesIO(back.stdout_bytes))) < 12


def test_pipes_of_processes(png, encoded):
    out = process("encode", "-", "-o", "-", "--seed", 7, input=png.read_bytes(), stdout=subprocess.PIPE)
    assert (out.returncode, out.stderr, out.stdout) == (0, b"", encoded)


def test_more_quality_takes_more_bytes(png, tmp_path):
    for quality in (1, 40.5, 100):
        assert dctcodec("encode", png, "-o", tmp_path / f"{quality}.dct", "--quality", quality).exit_code == 0
    small, middle, large = (len((tmp_path / f"{quality}.dct").read_bytes()) for quality in (1, 40.5, 100))
    assert small < middle < large


def test_temperature_is_reproducible(dct, tmp_path):
    for name in ("a.png", "b.png"):
        assert dctcodec("decode", dct, "-o", tmp_path / name, "--temperature", 0.7).exit_code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_ending_chooses_the_format(dct, tmp_path):
    for ending, format in ((".jpg", "JPEG"), (".webp", "WEBP"), (".TIF", "TIFF")):
        assert dctcodec("decode", dct, "-o", tmp_path / f"out{ending}").exit_code == 0
        assert Image.open(tmp_path / f"out{ending}").format == format


def test_a_warning_is_one_line(tmp_path):
    Image.new("RGBA", SIZE, (9, 9, 9, 99)).save(tmp_path / "glass.png")
    assert dctcodec("encode", tmp_path / "glass.png", "-o", tmp_path / "glass.dct").output == ""
    result = dctcodec("decode", tmp_path / "glass.dct", "-o", tmp_path / "glass.jpg")
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: ") and "glass.dct" in line and "flattened on white" in line


# Several inputs


def test_several_inputs_go_into_a_directory_and_back(png, tmp_path):
    photograph().save(tmp_path / "other.bmp")
    assert dctcodec("encode", png, tmp_path / "other.bmp", "-o", tmp_path / "new" / "folder").exit_code == 0
    assert names(tmp_path / "new" / "folder") == ["other.dct", "photo.dct"]
    inputs = sorted((tmp_path / "new" / "folder").iterdir())
    assert dctcodec("decode", *inputs, "-o", tmp_path / "back").exit_code == 0
    assert names(tmp_path / "back") == ["other.png", "photo.png"]


@pytest.mark.parametrize("folder", ["there", "new/"])
def test_one_input_may_go_into_a_directory(folder, png, tmp_path):
    (tmp_path / "there").mkdir()
    assert dctcodec("encode", png, "-o", f"{tmp_path}/{folder}").exit_code == 0
    assert names(tmp_path / folder) == ["photo.dct"]


def test_one_failure_does_not_stop_the_others(png, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"not an image")
    result = dctcodec("encode", tmp_path / "bad.png", png, "-o", tmp_path / "out")
    assert_one_error(result, 1, "bad.png", "not an image")
    assert names(tmp_path / "out") == ["photo.dct"]


def test_inputs_of_one_name_are_refused_before_any_work(png, tmp_path):
    assert_one_error(dctcodec("encode", png, "elsewhere/photo.jpg", "-o", tmp_path / "out"), 2, "photo.jpg", "both")
    assert names(tmp_path) == ["photo.png"]


@pytest.mark.parametrize("output", ["-", "photo.png"])
def test_several_inputs_need_a_directory(output, png, monkeypatch):
    monkeypatch.chdir(png.parent)
    assert_one_error(dctcodec("encode", "a.png", "b.png", "-o", output), 2, "directory", output)


@pytest.mark.parametrize("name", ["a.dct", "a.PNG", "a.tif"])
def test_several_inputs_need_the_name_of_a_directory(name, png, tmp_path):
    result = dctcodec("encode", png, png, "-o", tmp_path / name)
    assert result.exit_code == 2 and "has the ending of a file" in result.stderr and not (tmp_path / name).exists()


def test_a_dct_file_does_not_get_the_ending_of_an_image(png, tmp_path):
    result = dctcodec("encode", png, "-o", tmp_path / "a.png")
    assert result.exit_code == 2 and "Add -o FILE.dct" in result.stderr and names(tmp_path) == ["photo.png"]


def test_a_report_does_not_get_the_ending_of_an_image(png):
    before = png.read_bytes()
    for words in (("compare", png, "-o", png), ("batch", "encode", png.parent, png.parent / "out", "--report", png)):
        result = dctcodec(*words)
        assert result.exit_code == 2 and ".html" in result.stderr and png.read_bytes() == before


def test_an_image_that_makes_pillow_fail_does_not_stop_the_others(png, tmp_path):
    image = Image.new("P", (9, 9))
    image.save(tmp_path / "bad.png", transparency=bytes(256))
    data = (tmp_path / "bad.png").read_bytes()
    place = data.index(b"tRNS") - 4
    chunk = b"tRNS" + bytes(300)
    longer = struct.pack(">I", 300) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "bad.png").write_bytes(data[:place] + longer + data[place + 12 + 256 :])
    result = dctcodec("encode", tmp_path / "bad.png", png, "-o", tmp_path / "out")
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1 and names(tmp_path / "out") == ["photo.dct"]


def test_the_settings_in_a_file_are_one_line(png, tmp_path):
    options = ("--note", "--to-srgb", "--quality", 40)
    assert dctcodec("encode", png, "-o", tmp_path / "a.dct", *options).exit_code == 0
    assert "dctcodec 0.1.0 --quality 40.0 --to-srgb\n" in dctcodec("info", tmp_path / "a.dct").stdout
    parts = replace(take_apart(Image.open(png)), text="a\nmodel  other\x1b[2J" + "b" * 9999)
    (tmp_path / "b.dct").write_bytes(Codec(device="cpu").encode(parts, 40))
    shown = dctcodec("info", tmp_path / "b.dct").stdout
    assert "a\\x0amodel  other\\x1b[2Jb" in shown and max(map(len, shown.splitlines())) < 1100


def test_stdin_has_no_name_in_a_directory(tmp_path):
    assert_one_error(dctcodec("encode", "-", "-o", tmp_path, input=b""), 2, "stdin")


# Wrong usage


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_no_output_is_wrong_usage(command):
    assert_one_error(dctcodec(command, "photo"), 2, "Add -o FILE")
    assert_one_error(dctcodec(command, "photo", "other"), 2, "Add -o DIRECTORY")


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode"],
        ["paint"],
        ["encode", "a.png", "-o", "a.dct", "--speed", "9"],
        ["encode", "a.png", "-o", "a.dct", "--quality", "0"],
        ["encode", "a.png", "-o", "a.dct", "--quality", "101"],
        ["encode", "a.png", "-o", "a.dct", "--quality", "nan"],
        ["encode", "a.png", "-o", "a.dct", "--quality", "good"],
        ["encode", "a.png", "-o", "a.dct", "--seed", "-1"],
        ["encode", "a.png", "-o", "a.dct", "--device", "abacus"],
        ["decode", "a.dct", "-o", "a.png", "--temperature", "-0.1"],
        ["decode", "a.dct", "-o", "a.png", "--temperature", "inf"],
        ["info"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_that_names_the_help(arguments):
    assert_one_error(dctcodec(*arguments), 2, "--help")


@pytest.mark.parametrize("output", ["photo.png", "./photo.png", "link.png"])
def test_the_input_is_never_overwritten(output, png, monkeypatch):
    monkeypatch.chdir(png.parent)
    (png.parent / "link.png").symlink_to(png)
    before = png.read_bytes()
    assert_one_error(dctcodec("encode", "photo.png", "-o", output), 2, output, "overwritten")
    assert png.read_bytes() == before


# Bad input and bad output


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), (b"", "empty"), (b"dear diary", "not an image"), ("folder", "is a directory")],
    ids=["missing", "empty", "text", "directory"],
)
def test_bad_pictures_are_one_line(content, words, tmp_path):
    path = tmp_path / "bad.png"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    assert_one_error(dctcodec("encode", path, "-o", tmp_path / "out.dct"), 1, "bad.png", words)
    assert not (tmp_path / "out.dct").exists()


def test_a_line_break_in_a_name_stays_on_the_line(tmp_path):
    assert_one_error(dctcodec("encode", tmp_path / "two\nlines.png", "-o", tmp_path / "out.dct"), 1, "two lines")


@pytest.mark.parametrize("command", ["decode", "info"])
@pytest.mark.parametrize("damage", ["missing", "empty", "foreign", "half", "longer", "flipped", "directory"])
def test_bad_dct_files_are_one_line(command, damage, encoded, tmp_path):
    path = tmp_path / "bad.dct"
    flipped = bytearray(encoded)
    flipped[len(encoded) // 2] ^= 4
    half = encoded[: len(encoded) // 2] if command == "decode" else encoded[:15]  # info tells of the rest what is there
    contents = {"empty": b"", "foreign": b"GIF89a" * 20, "half": half}
    contents |= {"longer": encoded + b"!", "flipped": bytes(flipped)}
    if damage == "directory":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(contents[damage])
    output = ["-o", tmp_path / "out.png"] if command == "decode" else []
    assert_one_error(dctcodec(command, path, *output), 1, "bad.dct")
    assert not (tmp_path / "out.png").exists()


def test_an_unknown_model_is_one_line(png, tmp_path):
    assert_one_error(dctcodec("encode", png, "-o", tmp_path / "a.dct", "--model", "nonesuch"), 1, "nonesuch")


def test_an_unknown_ending_is_said_before_any_work(tmp_path):
    result = dctcodec("decode", tmp_path / "missing.dct", "-o", tmp_path / "out.xyz")
    assert_one_error(result, 1, ".xyz", ".png")


@pytest.mark.parametrize("output", ["gone/out.dct", "photo.dct/out.dct"])
def test_an_impossible_output_is_said_before_any_work(output, dct, tmp_path):
    assert_one_error(dctcodec("encode", tmp_path / "missing.png", "-o", tmp_path / output), 1, "cannot write")


def test_a_directory_that_cannot_be_made_is_one_line(png, dct, tmp_path):
    assert_one_error(dctcodec("encode", png, png.parent / "b.png", "-o", dct / "new"), 1, "directory")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("output", ["/dev/full", "-"])
def test_a_full_disk_is_one_line(output, png):
    with open("/dev/full", "wb") as full:
        result = process("encode", png, "-o", output, stdout=full)
    assert result.returncode == 1
    lines = result.stderr.decode().splitlines()
    assert len(lines) == 1 and lines[0].endswith(f"cannot write {output}: no space left on device")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_under_text_is_one_line(dct):
    with open("/dev/full", "wb") as full:
        result = process("info", dct, stdout=full)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1 and result.stderr.startswith(b"error: ")


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX pipes")
@pytest.mark.parametrize("command", ["info", "decode"])
def test_a_closed_pipe_is_quiet(command, dct):
    reading, writing = os.pipe()
    os.close(reading)
    arguments = [command, dct] if command == "info" else [command, dct, "-o", "-"]
    result = process(*arguments, stdout=writing)
    os.close(writing)
    assert (result.returncode, result.stderr) == (1, b"")


def test_an_interrupt_is_exit_130_without_a_traceback(png, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("dctcodec.image.read_image", interrupted)
    result = dctcodec("encode", png, "-o", tmp_path / "a.dct")
    assert (result.exit_code, result.output.strip()) == (130, "")
    assert names(tmp_path) == ["photo.png"]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")]
)
def test_too_little_memory_is_one_line(error, png, tmp_path, monkeypatch):
    def full(*_):
        raise error

    monkeypatch.setattr("dctcodec.image.read_image", full)
    assert_one_error(dctcodec("encode", png, "-o", tmp_path / "a.dct"), 1, "photo.png", "not enough memory")


# Many inputs, in processes


@pytest.fixture
def many(tmp_path, monkeypatch) -> list[Path]:
    """Five images, a broken one among them, and two cores for them."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr("dctcodec.batch.pool.default_workers", lambda: 2)
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for number, path in enumerate(paths):
        photograph().rotate(number * 30).save(path)
    paths[2].write_bytes(b"not an image")
    return paths


def test_many_inputs_give_the_files_that_one_by_one_calls_give(many, tmp_path):
    result = dctcodec("encode", *many, "-o", tmp_path / "together")
    assert_one_error(result, 1, "2.png", "not an image")
    there = [path for path in many if path.stem != "2"]
    assert names(tmp_path / "together") == [f"{path.stem}.dct" for path in there]
    for path in there:
        assert dctcodec("encode", path, "-o", tmp_path / "one.dct").exit_code == 0
        assert (tmp_path / "one.dct").read_bytes() == (tmp_path / "together" / f"{path.stem}.dct").read_bytes()
    coded = sorted((tmp_path / "together").iterdir())
    coded[1].write_bytes(coded[1].read_bytes()[:-4])
    result = dctcodec("decode", *coded, "-o", tmp_path / "back", "--partial")
    assert result.exit_code == 0 and [line.split(": ")[0] for line in result.stderr.splitlines()] == ["warning"]
    assert str(coded[1]) in result.stderr and names(tmp_path / "back") == [f"{path.stem}.png" for path in there]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
def test_an_interrupt_of_many_is_exit_130_and_leaves_whole_files(tmp_path):
    for number in range(30):
        photograph().resize((320, 240)).rotate(number).save(tmp_path / f"{number}.png")
    inputs = [str(path) for path in tmp_path.glob("*.png")]
    command = [*COMMAND, "encode", *inputs, "-o", str(tmp_path / "out")]
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # where a shell has the tests ignore it, a child would too
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True, env=environment)
    signal.signal(signal.SIGINT, before)
    while not list((tmp_path / "out").glob("*.dct")) and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    assert (process.communicate(timeout=60)[1].strip(), process.returncode) == (b"", 130)
    assert all(dctcodec("info", path).exit_code == 0 for path in (tmp_path / "out").glob("*.dct"))
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize(
    ("files", "device", "threads", "workers"), [(2, "cpu", "8", 1), (3, "cuda", "8", 1), (9, "cpu", "1", 1), (3, "cpu", "8", 3)]
)
def test_processes_are_as_many_as_files_and_cores(files, device, threads, workers, monkeypatch):
    monkeypatch.setattr("dctcodec.batch.pool.default_workers", lambda: 4)
    monkeypatch.setattr("dctcodec.device.device_of", lambda name: name)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert workers_for(files, device) == workers


# info, models, help


def test_info_shows_what_the_file_holds(dct):
    facts = json.loads(dctcodec("info", dct, "--json").stdout)
    assert (facts["width"], facts["height"], facts["colour"], facts["seed"]) == (*SIZE, "RGB", 7)
    assert facts["model"] == installed.DEFAULT
    assert facts["quality"] == pytest.approx(50, abs=0.1)
    assert facts["bytes"] == dct.stat().st_size == facts["header_bytes"] + sum(facts["chunks"].values())
    assert facts["payload_bytes"] == facts["chunks"]["symbols"]
    assert facts["bpp"] == pytest.approx(8 * facts["bytes"] / (SIZE[0] * SIZE[1]), abs=1e-4)
    text = dctcodec("info", dct).stdout
    assert installed.DEFAULT in text and "payload bytes" in text


def test_models_lists_the_default_with_its_figures():
    cards = {card["name"]: card for card in json.loads(dctcodec("models", "--json").stdout)}
    assert cards[installed.DEFAULT]["figures"] and cards[installed.DEFAULT]["bytes"] > 0
    assert installed.DEFAULT in dctcodec("models").stdout


def test_the_package_runs_as_a_module():
    from dctcodec import __version__

    assert process("--version", stdout=subprocess.PIPE).stdout.split() == [b"dctcodec", __version__.encode()]


def test_version_and_help():
    from dctcodec import __version__

    assert dctcodec("--version").stdout == f"dctcodec {__version__}\n"
    text = dctcodec("--help").stdout
    assert all(name in text for name in ("encode", "decode", "info", "models", "bench", "train"))
    assert dctcodec().exit_code == 2


@pytest.mark.parametrize("command", ["encode", "decode", "info", "models", "bench", "train"])
def test_every_command_has_help(command):
    result = dctcodec(command, "--help")
    assert result.exit_code == 0 and f"dctcodec {command}" in result.stdout


HEAVY = {"torch", "numpy", "PIL", "tqdm", "onnxruntime", "constriction"}


@pytest.mark.parametrize("arguments", [["--help"], ["encode", "--help"], ["models"], ["info"]])
def test_what_needs_no_model_imports_nothing_heavy(arguments, dct):
    arguments = [*arguments, str(dct)] if arguments == ["info"] else arguments
    script = (
        "import sys, dctcodec\n"
        f"assert not {HEAVY} & set(sys.modules)\n"
        "from dctcodec.cli.main import main\n"
        f"try: main({arguments})\n"
        f"finally: print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).stderr == b"[]\n"


def test_threads_sleep_where_they_wait_unless_the_caller_says_otherwise():
    asleep = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}
    for given, expected in [
        ({}, asleep | {"OPENBLAS_NUM_THREADS": "1"}),
        ({"OPENBLAS_NUM_THREADS": "2"}, asleep | {"OPENBLAS_NUM_THREADS": "2"}),
        ({"GOMP_SPINCOUNT": "9"}, {"GOMP_SPINCOUNT": "9", "OPENBLAS_NUM_THREADS": "1"}),
    ]:
        environment = dict(given)
        wait_asleep(environment)
        assert environment == expected


def test_amx_is_left_out_unless_the_caller_says_otherwise():
    for given, expected in [({}, "AVX512_CORE_FP16"), ({"ONEDNN_MAX_CPU_ISA": "DEFAULT"}, "DEFAULT")]:
        environment = dict(given)
        without_amx(environment)
        assert environment == {"ONEDNN_MAX_CPU_ISA": expected}


def test_help_is_quick():
    seconds = []
    for _ in range(3):
        start = os.times()
        subprocess.run([*COMMAND, "--help"], stdout=subprocess.DEVNULL, check=True)
        end = os.times()  # of the processor, which other work cannot lengthen; Windows tells none of children
        seconds.append(end.children_user + end.children_system - start.children_user - start.children_system)
    assert min(seconds) < 0.5
