"""Which photos the arguments name, and where each goes: never out of the output folder."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stylize.batch.inputs import _fits, find_photos
from stylize.batch.planning import plan_batch
from stylize.errors import InputError

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(PNG)
    return path


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_as_windows_writes_them(tmp_path: Path, encoding: str) -> None:
    photos = [put(tmp_path / "a.png"), put(tmp_path / "ä.png")]
    (tmp_path / "list").write_bytes("".join(f"{photo}\r\n" for photo in photos).encode(encoding))
    found = find_photos([f"@{tmp_path / 'list'}"])
    assert [photo.path for photo in found.photos] == photos
    assert not found.failures


def test_a_picture_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a picture") as caught:
        find_photos([f"@{put(tmp_path / 'a.png')}"])
    assert "without @" in caught.value.hint


@pytest.mark.parametrize("separator", [b"\0", b"\n", b"\r\n"])
def test_lists(tmp_path: Path, separator: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(put(tmp_path / "work/a b.png").parent)
    put(tmp_path / "work/tree/sub/c.png")
    put(tmp_path / "other/d.png")
    lines = [b"a b.png", b"tree", b"../other/d.png", os.fsencode(tmp_path / "other/d.png"), b"gone.png", b""]
    Path("list").write_bytes(separator.join(lines))
    absolute = (tmp_path / "other/d.png").as_posix().lstrip("/")
    for arguments, stdin in ((["@list"], None), (["-"], io.BytesIO(Path("list").read_bytes()))):
        found = find_photos(arguments, stdin=stdin)
        places = [photo.relative.as_posix() for photo in found.photos]
        assert places == ["a b.png", "tree/sub/c.png", "other/d.png", absolute]
        assert [str(path) for path, _ in found.failures] == ["gone.png"]


def test_a_file_that_looks_like_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(put(tmp_path / "@photo.png").parent)
    assert [photo.relative.name for photo in find_photos(["@photo.png"]).photos] == ["@photo.png"]
    with pytest.raises(InputError, match="cannot read the list photo: no such file"):
        find_photos(["@photo"])


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    """Also those that may not be followed, which raise other errors than missing ones."""
    put(tmp_path / "a.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "long.png").symlink_to("x" * 300)
    assert len(find_photos([tmp_path]).photos) == 3  # the two fail by name when they are read


def test_a_photo_named_twice_is_one(tmp_path: Path) -> None:
    photo = put(tmp_path / "tree/a.png")
    assert len(find_photos([photo.parent, photo, photo.parent / ".." / "tree"]).photos) == 1


@pytest.mark.parametrize(
    ("path", "pattern", "fits"),
    [
        ("sub/IMG.JPG", "*.jpg", True),
        ("sub/IMG.JPG", "img*", True),
        ("sub/IMG.JPG", "sub", False),
        ("sub/deep/a.jpg", "sub/*", True),
        ("sub/deep/a.jpg", "*/deep/*", True),
        ("deep/a.jpg", "*/deep/*", True),
        ("sub/deep.jpg", "*/deep/*", False),
        ("a[1].jpg", "a[[]1].jpg", True),
    ],
)
def test_patterns(path: str, pattern: str, fits: bool) -> None:
    assert _fits(PurePosixPath(path), [pattern], []) == fits
    assert _fits(PurePosixPath(path), [], [pattern]) != fits
    assert not _fits(PurePosixPath(path), [pattern], ["*"])


def test_text_that_begins_as_a_picture_does_is_passed_over(tmp_path: Path) -> None:
    for name, text in {"b.txt": "BMW ride, 1998", "list": "P1 list", "notes.md": "Python notes", "p": "P6"}.items():
        (tmp_path / name).write_text(text)
    for format in ("BMP", "PPM"):
        Image.new("RGB", (3, 2), "teal").save(tmp_path / f"{format}-without-suffix", format)
    Image.new("1", (3, 2)).save(tmp_path / "bits", "PPM")
    (tmp_path / "comment").write_bytes(b"P3 # by hand\n1 1 255 1 2 3")
    (tmp_path / "damaged.bmp").write_text("BMW ride, 1998")
    found = find_photos([tmp_path])
    names = [photo.relative.name for photo in found.photos]
    assert names == ["BMP-without-suffix", "PPM-without-suffix", "bits", "comment", "damaged.bmp"]
    assert found.junk == 4


UNREADABLE = {
    "a.psd": b"8BPS\0\1" + bytes(20),
    "a.jxl": b"\xff\x0a" + bytes(20),
    "b.jxl": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20),
    "a.jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20),
    "a.exr": b"v/1\1" + bytes(20),
    "a.cr3": b"\0\0\0\x18ftypcrx " + bytes(20),
    "a.raf": b"FUJIFILMCCD-RAW " + bytes(20),
    "a.nef": b"MM\0*" + bytes(20),
    "named wrongly.jpg": b"8BPS\0\1" + bytes(20),
    "damaged.psd": b"",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_pictures_that_are_not_read_are_failures_not_junk(tmp_path: Path, name: str) -> None:
    put(tmp_path / "in/photo.png")
    (tmp_path / "in/notes.txt").write_text("8BPS is what a Photoshop file begins with")
    (tmp_path / "in" / name).write_bytes(UNREADABLE[name])
    found = find_photos([tmp_path / "in"])
    assert [photo.path.name for photo in found.photos] == ["photo.png"]
    ((path, reason),) = found.failures
    assert path.name == name and reason.startswith(f"cannot read {path}: it is a")
    assert found.junk == 1
    left_out = find_photos([tmp_path / "in"], exclude=[name.upper()])
    assert (left_out.failures, left_out.excluded) == ([], 1)


def test_a_raw_file_takes_no_name_from_the_photo_beside_it(tmp_path: Path) -> None:
    (tmp_path / "IMG_1.CR2").write_bytes(b"II*\0\x10\0\0\0CR\2\0" + bytes(20))
    put(tmp_path / "IMG_1.JPG")
    found = find_photos([tmp_path])
    assert [job.name for job in plan_batch(found, tmp_path / "out", format="WEBP").jobs] == ["IMG_1.webp"]
    assert [path.name for path, _ in found.failures] == ["IMG_1.CR2"]


def test_excluded_photos_are_counted(tmp_path: Path) -> None:
    for name in ("a.png", "raw/b.png", "raw/c.jpg", "notes.txt"):
        put(tmp_path / name)
    found = find_photos([tmp_path], include=["*.png"], exclude=["raw/*"])
    assert [photo.relative.name for photo in found.photos] == ["a.png"]
    assert (found.excluded, found.junk) == (3, 0)


@settings(max_examples=30, deadline=None)
@given(parts=st.lists(st.sampled_from(["..", ".", "", "a", "b c", "a.png"]), max_size=6), absolute=st.booleans())
def test_listed_paths_stay_below(parts: list[str], absolute: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name, *"123456")  # as deep as there can be ".."
        put(root / "a/a.png")
        path = os.path.join(root if absolute else os.path.relpath(root), "a", *parts)
        found = find_photos(["-"], stdin=io.BytesIO(os.fsencode(path)))
        for photo in found.photos:
            assert not photo.relative.is_absolute()
            assert ".." not in photo.relative.parts
            assert photo.relative.parts
            if not os.path.isdir(path):
                break
            assert photo.path.is_file()
