"""Which photos `lensblend render` takes, where renderings go, and what it says of them."""

import io
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

import lensblend

RNG = np.random.default_rng(0)


def save(path, size=(48, 64), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path, **options)
    return path


@pytest.fixture
def photo(tmp_path):
    return save(tmp_path / "photos" / "a.jpg")


@pytest.fixture
def render(in_process, trained):
    def run(*arguments, model=trained, cwd=None):
        return in_process("render", *arguments, "-m", model, cwd=cwd)

    return run


@pytest.fixture
def piped(trained):
    """Run the verb in a process of its own, with bytes at both ends."""

    def run(*arguments, **options):
        command = [sys.executable, "-m", "lensblend.cli.render", *map(str, arguments), "-m", str(trained)]
        options = {"input": b"", "stdout": subprocess.PIPE, **options}
        if "stdin" in options:
            del options["input"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, env=environment, stderr=subprocess.PIPE, timeout=300, check=False, **options)

    return run


def made(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_without_output_the_rendering_lies_beside_its_photo_and_all_is_said_on_stderr(render, photo):
    done = render(photo)
    assert done.code == 0, done.err
    assert made(photo.parent) == ["a-bokeh.jpg", "a.jpg"]
    assert done.out == ""
    assert "1 of 1 photos rendered beside them" in done.err


@pytest.mark.parametrize(
    ("output", "options", "name", "kind"),
    [
        ("b.png", [], "b.png", "PNG"),
        ("b.JPG", [], "b.JPG", "JPEG"),
        ("new/b.webp", [], "new/b.webp", "WEBP"),
        ("b.tiff", ["--format", "tiff"], "b.tiff", "TIFF"),
        ("out", ["--format", "webp"], "out/a.webp", "WEBP"),
        ("out.d", [], "out.d/a.jpg", "JPEG"),
    ],
)
def test_a_suffix_of_a_format_makes_a_file_and_anything_else_a_folder(
    render, photo, tmp_path, output, options, name, kind
):
    done = render(photo, "-o", f"{tmp_path}/{output}", *options)
    assert done.code == 0, done.err
    with Image.open(tmp_path / name) as image:
        assert image.format == kind


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-o", "b.gif"], "b.gif` ends in .gif, which is not written; use one of .png"),
        (["-o", "b.png", "--format", "jpeg"], "b.png` is no jpeg by its suffix"),
        (["b.jpg", "-o", "c.jpg"], "`c.jpg` is one picture, but there are 2 photos; give `--output` a folder"),
        (["b.jpg", "-o", "-"], "standard output takes one picture, but there are 2 photos"),
        (["-o", "-", "--json"], "would both go to standard output"),
        (["-", "--json"], "would both go to standard output"),
        (["-", "-", "-o", "out"], "`-` is one photo, which standard input holds; name it once"),
        (["--quality", "0"], "is a whole number from 1 to 100, but got 0"),
        (["--quality", "x"], "is a whole number from 1 to 100, but got x"),
        (["--max-megapixels", "-1"], "is a number above 0, but got -1"),
        (["--overwrite", "--skip-existing"], "not allowed with argument"),
        (["--format", "gif"], "invalid choice: 'gif'"),
        (["none.jpg"], "none.jpg does not exist; check the path"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_read(in_process, photo, arguments, says):
    save(photo.with_name("b.jpg"))
    done = in_process("render", "a.jpg", *arguments, "-m", "unused", cwd=photo.parent)
    assert done.code == 2
    assert says in done.err
    assert made(photo.parent) == ["a.jpg", "b.jpg"]


def test_what_is_there_is_replaced_only_when_asked(render, photo):
    target = photo.with_name("a-bokeh.jpg")
    target.write_bytes(b"mine")
    other = save(photo.with_name("b.jpg"))
    done = render(photo, other)
    assert done.code == 2
    assert f"{target} would be replaced; add --overwrite, leave what is there with --skip-existing" in done.err
    assert made(photo.parent) == ["a-bokeh.jpg", "a.jpg", "b.jpg"]
    done = render(photo, other, "--skip-existing", "--json")
    assert done.code == 0, done.err
    assert target.read_bytes() == b"mine"
    assert [json.loads(line)["status"] for line in done.out.splitlines()] == ["skipped", "rendered"]
    assert "1 of 2 photos rendered beside them; renderings of 1 were there and left alone" in done.err
    assert render(photo, "--overwrite").code == 0
    assert target.read_bytes() != b"mine"


def test_weight_maps_that_are_there_are_replaced_only_when_asked(render, photo):
    mine = photo.with_name("a-W1-gaussian25.png")
    mine.write_bytes(b"mine")
    done = render(photo, "--weights")
    assert done.code == 2
    assert "a-W1-gaussian25.png would be replaced" in done.err
    assert made(photo.parent) == ["a-W1-gaussian25.png", "a.jpg"]


def test_a_photo_is_not_replaced_even_when_asked(in_process, photo):
    before = photo.read_bytes()
    for output in (photo, photo.parent):
        done = in_process("render", photo, "-m", "unused", "-o", output, "--overwrite")
        assert done.code == 2
        assert "would be overwritten by its rendering" in done.err
    named = save(photo.with_name("a-bokeh.jpg"))
    done = in_process("render", photo, named, "-m", "unused", "--overwrite")
    assert done.code == 2
    assert "a-bokeh.jpg would be overwritten by the rendering of" in done.err
    assert photo.read_bytes() == before


def test_folders_are_mirrored_and_what_is_passed_over_is_said(render, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "photos" / "out"
    save(folder / "a.jpg")
    save(folder / "trip" / "a.png")
    save(folder / "trip" / "moves.gif")
    save(folder / ".hidden" / "a.png")
    os.symlink(folder, folder / "trip" / "again")
    done = render(folder, "-o", out)
    assert done.code == 0, done.err
    assert made(out) == ["a.jpg"]
    assert f"Passed over: {folder / 'trip'}, a subfolder; add --recursive" in done.err
    done = render(folder, "-r", "-o", out, "--overwrite")
    assert done.code == 0, done.err
    assert made(out) == ["a.jpg", "trip/a.png"]
    assert "moves.gif, of a format that is not read" in done.err
    assert ".hidden" not in done.err


def test_what_was_rendered_before_is_no_photo_of_a_folder(render, tmp_path):
    folder = tmp_path / "photos"
    for name in ("a.jpg", "b.png", "c-bokeh.jpg"):
        save(folder / name)
    assert render(folder, "--weights").code == 0
    first = made(folder)
    assert {"a-bokeh.jpg", "b-bokeh.png", "c-bokeh-bokeh.jpg", "a-W0-photo.png"} <= set(first)
    # A file that lost its mark is known by its name, beside the photo that it is called after.
    save(folder / "a-bokeh.jpg")
    done = render(folder, "--weights", "--overwrite")
    assert done.code == 0, done.err
    assert made(folder) == first
    assert "3 of 3 photos rendered" in done.err
    assert "which lensblend has rendered already; name the file itself to render it" in done.err
    assert "more like it" in done.err
    done = render(folder / "a-bokeh.jpg")
    assert done.code == 0, done.err
    assert (folder / "a-bokeh-bokeh.jpg").exists()


def test_links_that_lead_in_a_circle_are_left_out_like_other_files_that_cannot_be_read(render, tmp_path):
    save(tmp_path / "photos" / "a.jpg")
    for name in ("loop.jpg", "folder"):
        (tmp_path / "photos" / name).symlink_to(name)
    done = render(tmp_path / "photos", "--recursive", "-o", tmp_path / "out")
    assert done.code == 1
    assert "loop.jpg` cannot be read (Too many levels of symbolic links)" in done.err
    assert made(tmp_path / "out") == ["a.jpg"]
    (tmp_path / "out" / "a.jpg").unlink()
    for circle in ("out/x/y", "out/x"):
        (tmp_path / "out" / "x").unlink(missing_ok=True)
        (tmp_path / "out" / "x").symlink_to("x")
        done = render(tmp_path / "photos" / "a.jpg", "-o", tmp_path / circle)
        assert done.code == 1
        assert "could not be written (Too many levels of symbolic links" in done.err
        assert "lead in a circle: remove them" in done.err


def test_a_folder_without_photos_is_named(in_process, tmp_path):
    (tmp_path / "empty").mkdir()
    done = in_process("render", tmp_path / "empty", "-m", "unused")
    assert done.code == 1
    assert "holds no photo to render" in done.err


def test_a_line_of_json_says_what_became_of_each_photo(render, trained, tmp_path):
    photos = [save(tmp_path / "a.jpg"), tmp_path / "b.jpg"]
    photos[1].write_bytes(b"<html>")
    done = render(*photos, "--json", "--device", "cpu")
    assert done.code == 1
    lines = {line["file"]: line for line in map(json.loads, done.out.splitlines())}
    good, bad = (lines[str(path)] for path in photos)
    assert good["output"] == str(tmp_path / "a-bokeh.jpg")
    assert (good["status"], good["size"], good["device"], good["error"]) == ("rendered", [48, 64], "cpu", None)
    assert 0 < good["seconds"] < 60
    assert good["settings"] == {"blend_at": "photo"}
    assert bad["status"] == "failed"
    assert "no readable image" in bad["error"]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_a_rendering_says_what_made_it_and_nothing_of_where(render, trained, tmp_path, suffix):
    photo = save(tmp_path / f"a{suffix}")
    assert render(photo).code == 0
    with Image.open(tmp_path / f"a-bokeh{suffix}") as image:
        said = image.getexif()[305]
        assert suffix != ".png" or image.text["lensblend"] == said
    program, version, made_by = said.split(" ", 2)
    assert (program, version) == ("lensblend", lensblend.__version__)
    content = json.loads(made_by)
    assert content["model"] == f"{trained.name}/phase3"
    assert len(content["sha256"]) == 64
    assert content["settings"] == {"blend_at": "photo"}
    assert str(tmp_path) not in said


def test_sixteen_bits_and_transparency_are_kept_or_their_loss_is_said(render, tmp_path):
    deep = RNG.integers(0, 65536, (48, 64, 4)).astype(np.uint16)
    photo = tmp_path / "a.png"
    assert cv2.imwrite(str(photo), deep)
    done = render(photo, "-o", tmp_path / "b.tif")
    assert done.code == 0, done.err
    stored = cv2.imread(str(tmp_path / "b.tif"), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    assert len(np.unique(stored[..., :3])) > 1000
    np.testing.assert_array_equal(stored[..., 3], deep[..., 3])
    done = render(photo, "-o", tmp_path / "b.jpg")
    assert done.code == 0, done.err
    assert "its transparency is laid over white, since JPEG holds none" in done.err
    assert "its 16 bits per channel become 8" in done.err


def test_quality_is_heard(render, photo, tmp_path):
    for quality in (10, 95):
        assert render(photo, "-o", tmp_path / f"{quality}.jpg", "--quality", quality).code == 0
    assert (tmp_path / "10.jpg").stat().st_size < (tmp_path / "95.jpg").stat().st_size / 2
    for name in ("90.png", "90.tif"):
        refused = render(photo, "-o", tmp_path / name, "--quality", 90)
        assert refused.code == 2
        assert "`--quality 90` would have no effect: nothing is lost in" in refused.err
        assert not (tmp_path / name).exists()


def test_full_size_is_the_default_and_the_papers_way_is_there(render, photo, picture, tmp_path):
    for name, way in (("default", []), ("photo", ["--blend-at", "photo"]), ("network", ["--blend-at", "network"])):
        assert render(photo, "-o", tmp_path / f"{name}.png", *way).code == 0
    default, full, papers = (picture(tmp_path / f"{name}.png") for name in ("default", "photo", "network"))
    np.testing.assert_array_equal(default, full)
    assert (papers != full).any()


def test_a_photo_beyond_the_limit_is_refused_with_the_way_out(render, photo):
    done = render(photo, "--max-megapixels", "0.003")
    assert done.code == 1
    assert "is too large" in done.err
    assert "--max-megapixels" in done.err
    assert made(photo.parent) == ["a.jpg"]


def test_standard_input_and_output_carry_nothing_but_pictures(piped, photo):
    done = piped("-", input=photo.read_bytes())
    assert done.returncode == 0, done.stderr
    with Image.open(io.BytesIO(done.stdout)) as image:
        image.load()
        assert (image.format, image.size) == ("JPEG", (64, 48))
    assert b"1 of 1 photos rendered to standard output" in done.stderr
    done = piped("-", "-o", photo.parent, "--format", "png", input=photo.read_bytes())
    assert done.returncode == 0, done.stderr
    assert (made(photo.parent), done.stdout) == (["a.jpg", "stdin.png"], b"")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", b"Standard input is empty"),
        (b"<html>", b"`stdin` is no readable image"),
        (b"\x89PNG\r\n\x1a\n", b"`stdin`"),
    ],
)
def test_what_is_no_photo_on_standard_input_is_answered_in_a_line(piped, content, says):
    done = piped("-", input=content)
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_standard_input_that_cannot_be_read_is_said(piped, tmp_path):
    descriptor = os.open(tmp_path / "written", os.O_WRONLY | os.O_CREAT)
    done = piped("-", stdin=descriptor)
    os.close(descriptor)
    assert done.returncode == 1
    assert b"Standard input cannot be read (Bad file descriptor)" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_standard_output_is_said(piped, photo):
    with open("/dev/full", "wb") as full:
        done = piped(photo, "-o", "-", stdout=full)
    assert done.returncode == 1
    assert b"Standard output could not be written (No space left on device)" in done.stderr


def test_a_disk_that_fills_stops_the_work_in_a_line(render, photo, monkeypatch):
    import lensblend.storage as storage

    save(photo.with_name("b.jpg"))
    monkeypatch.setattr(storage, "flush", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    done = render(photo.parent, "-o", photo.parent / "out", "--json")
    assert done.code == 1
    assert done.err.count("No space left on device") == 1
    assert "free some space" in done.err
    assert [json.loads(line)["status"] for line in done.out.splitlines()] == ["failed"]
    assert made(photo.parent) == ["a.jpg", "b.jpg"]
