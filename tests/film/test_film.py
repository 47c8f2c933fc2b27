"""Films: steady painting, and the command from file to file. Clips are made here, by PyAV."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import time
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from command import STYLIZE, Run, assert_refused, content
from PIL import Image

av = pytest.importorskip("av")
pytest.importorskip("cv2")

from stylize.errors import InputError, OutputError, RefusedError  # noqa: E402
from stylize.film import painting, reading  # noqa: E402
from stylize.film.painting import Begun, Painted, paint_film  # noqa: E402
from stylize.film.reading import Survey, pixels_of  # noqa: E402
from stylize.film.writing import loaded  # noqa: E402
from stylize.options import FilmOptions, Look  # noqa: E402
from stylize.painting.steady import Steady  # noqa: E402
from stylize.painting.stylizer import Stylizer  # noqa: E402
from stylize.styles.style_code import StyleCode  # noqa: E402

RATE = 25
BASE = Fraction(1, 12_800)


def scene(make_picture: object, seed: int = 0) -> np.ndarray:
    return make_picture(96, 320, seed=seed)  # type: ignore[operator]


def panned(scene: np.ndarray, frames: int, step: int = 2) -> list[np.ndarray]:
    """64×64 windows that go to the right."""
    return [scene[16:80, 8 + step * n : 72 + step * n] for n in range(frames)]


def write_clip(
    path: Path,
    frames: list[np.ndarray],
    *,
    times: list[int] | None = None,
    sound: bool = True,
    sound_from: Fraction = Fraction(0),
    turn: int = 0,
) -> Path:
    """A film of frames, H.264 and AAC; ``times`` in units of ``BASE``, the beginning of the sound in seconds."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=RATE, options={"crf": "10", "preset": "ultrafast"})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt, video.codec_context.time_base, video.time_base = "yuv420p", BASE, BASE
        if turn:
            if not hasattr(video, "set_display_rotation"):
                pytest.skip("this PyAV writes no turned films")
            video.set_display_rotation(turn)
        audio = output.add_stream("aac", rate=8000, layout="mono") if sound else None
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts = times[number] if times else number * 512
            frame.time_base = BASE
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if audio is not None:
            for start in range(0, 8000 * len(frames) // RATE, 1024):
                wave = np.sin(np.arange(start, start + 1024) / 5).astype(np.float32)[None]
                tone = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                tone.sample_rate, tone.pts, tone.time_base = 8000, start + int(8000 * sound_from), Fraction(1, 8000)
                output.mux(audio.encode(tone))
            output.mux(audio.encode(None))
    return path


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as film:
        return [bytes(p) for p in film.demux(next(s for s in film.streams if s.type == kind)) if p.size]


def survey(path: Path) -> Survey:
    steps = reading.survey(path)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def frames_in(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as film:
        return [pixels_of(frame, 5) for frame in film.decode(video=0)]


@pytest.fixture
def clip(tmp_path: Path, make_picture: object) -> Path:
    return write_clip(tmp_path / "clip.mp4", panned(scene(make_picture), 40))


@pytest.fixture
def painter(stylizer: Stylizer, style_code: StyleCode, make_picture: object) -> Steady:
    return Steady({None: stylizer.freeze([scene(make_picture)[16:80, 8:72]], style_code)})


def test_strokes_go_with_what_moves(
    stylizer: Stylizer, style_code: StyleCode, painter: Steady, make_picture: object
) -> None:
    frames = panned(scene(make_picture), 8)
    alone = stylizer.freeze([frames[0]], style_code)

    def trembling(outputs: list[np.ndarray]) -> float:
        """Mean difference along the known motion, away from the border."""
        pairs = pairwise(outputs)
        return float(np.mean([np.abs(a[8:-8, 10:-8].astype(int) - b[8:-8, 8:-10]).mean() for a, b in pairs]))

    steady = [painter(frame)[None] for frame in frames]
    assert trembling(steady) < 0.5 * trembling([alone(frame) for frame in frames])
    assert np.abs(steady[-1].astype(int) - alone(frames[-1])).mean() < 0.8 * alone(frames[-1]).std()


def test_a_cut_begins_anew(stylizer: Stylizer, style_code: StyleCode, painter: Steady, make_picture: object) -> None:
    first, other = panned(scene(make_picture), 3), panned(scene(make_picture, 9), 1)[0]
    for frame in first:
        painter(frame)
    painted = painter(other)[None]
    assert np.array_equal(painted, painter.painters[None](other))


def test_what_does_not_move_stays_byte_for_byte(painter: Steady, make_picture: object) -> None:
    frame = panned(scene(make_picture), 1)[0]
    outputs = [painter(frame)[None] for _ in range(4)]
    assert max(np.abs(outputs[0].astype(int) - other).max() for other in outputs) <= 1


def test_strength_0_is_the_film(stylizer: Stylizer, style_code: StyleCode, make_picture: object) -> None:
    frames = panned(scene(make_picture), 2)
    steady = Steady({None: stylizer.freeze(frames, style_code, Look(strength=0))})
    assert np.array_equal(steady(frames[0])[None], frames[0])


def test_scenes_and_times_are_found(tmp_path: Path, make_picture: object) -> None:
    times = [0, 512, 1024, 3000, 3512, 9000, 9512, 10024]
    frames = panned(scene(make_picture), 5) + [255 - f for f in panned(scene(make_picture, 7), 3)]
    found = survey(write_clip(tmp_path / "a.mp4", frames, times=times, sound=False))
    assert found.times == times
    assert found.scenes == [0, 5]
    assert found.samples(1) == [5, 6, 7]


def test_a_film_with_sound(run: Run, clip: Path, code_file: Path, tmp_path: Path) -> None:
    before = clip.read_bytes()
    result = run("video", clip, "--style", code_file, "--output", "out.mp4", "--json", "--quiet")
    assert (result.code, result.stderr) == (0, "")
    assert '"frames": 40' in result.stdout.decode()
    assert clip.read_bytes() == before
    assert packets(tmp_path / "out.mp4", "audio") == packets(clip, "audio")
    first, second = survey(clip), survey(tmp_path / "out.mp4")
    assert (first.times, first.base, first.size, first.rate) == (second.times, second.base, second.size, second.rate)
    painted, photos = frames_in(tmp_path / "out.mp4"), frames_in(clip)
    assert np.abs(painted[5].astype(int) - photos[5]).mean() > 5
    assert not list(tmp_path.glob(".*stylize*"))
    assert_refused(run("video", clip, "--style", code_file, "--output", "out.mp4"), 4, "out.mp4 exists", "--overwrite")


def test_turned_and_of_variable_rate(run: Run, code_file: Path, tmp_path: Path, make_picture: object) -> None:
    times = [0, 512, 2048, 2560, 5000]
    frames = [np.concatenate([f, f[:, :32]], axis=1) for f in panned(scene(make_picture), 5)]
    write_clip(tmp_path / "phone.mov", frames, times=times, turn=-90)
    assert survey(tmp_path / "phone.mov").size == (64, 96)
    assert run("video", "phone.mov", "--style", code_file).code == 0
    found = survey(tmp_path / "phone_waves.mov")
    assert (found.times, found.size) == (times, (64, 96))


@pytest.mark.parametrize("name", ["out.mkv", "out.webm"])
def test_other_containers(run: Run, code_file: Path, tmp_path: Path, make_picture: object, name: str) -> None:
    write_clip(tmp_path / "clip.mp4", panned(scene(make_picture), 4), sound=name.endswith("mkv"))
    result = run("video", "clip.mp4", "--style", code_file, "--output", name, "--quality", "40")
    assert result.code == 0, result.stderr
    assert len(frames_in(tmp_path / name)) == 4


def test_goes_on_where_it_was_and_gives_the_same(
    stylizer: Stylizer, clip: Path, code_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painting, "SEGMENT", 8)
    whole = list(paint_film(clip, [code_file], output=tmp_path / "whole.mp4", stylizer=stylizer))
    assert whole[-1].frames == 40  # type: ignore[union-attr]
    events = paint_film(clip, [code_file], output=tmp_path / "parts.mp4", stylizer=stylizer)
    for event in events:
        if event == Painted(21):
            break
    events.close()  # as a kill would
    assert not (tmp_path / "parts.mp4").exists()
    again = list(paint_film(clip, [code_file], output=tmp_path / "parts.mp4", stylizer=stylizer))
    assert next(event for event in again if isinstance(event, Begun)).done == 16
    assert packets(tmp_path / "parts.mp4", "video") == packets(tmp_path / "whole.mp4", "video")


def test_other_options_do_not_go_on(
    stylizer: Stylizer, clip: Path, code_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painting, "SEGMENT", 8)
    events = paint_film(clip, [code_file], output=tmp_path / "a.mp4", stylizer=stylizer)
    for event in events:
        if event == Painted(12):
            break
    events.close()
    said: list[str] = []
    again = paint_film(
        clip, [code_file], options=FilmOptions(quality=20), output=tmp_path / "a.mp4", stylizer=stylizer,
        on_warning=said.append,
    )  # fmt: skip
    assert next(event for event in again if isinstance(event, Begun)).done == 0
    assert [message for message in said if message.startswith("8 frames") and "removed" in message] == said
    again.close()
    assert not list(tmp_path.glob(".a.mp4.stylize"))  # it held nothing


def test_one_run_at_a_time(stylizer: Stylizer, clip: Path, code_file: Path, tmp_path: Path) -> None:
    first = paint_film(clip, [code_file], output=tmp_path / "a.mp4", stylizer=stylizer)
    next(first)
    with pytest.raises(OutputError, match="another run is at work"):
        next(paint_film(clip, [code_file], output=tmp_path / "a.mp4", stylizer=stylizer))
    first.close()


@pytest.mark.parametrize("damage", [lambda data: data[:300], lambda data: b"", lambda data: data[:299] + b"?" * 40])
def test_a_damaged_work_folder_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "work" / "000000.npz"
    path.parent.mkdir()
    np.savez(path, data=np.zeros(500))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RefusedError, match="damaged") as caught:
        loaded(path)
    assert str(path.parent) in caught.value.hint


def test_a_late_clock_begins_at_0(run: Run, code_file: Path, tmp_path: Path, make_picture: object) -> None:
    late = [90_000_000 + 512 * n for n in range(4)]  # two hours
    write_clip(tmp_path / "late.ts", panned(scene(make_picture), 4), times=late, sound_from=90_000_000 * BASE)
    assert run("video", "late.ts", "--style", code_file, "--output", "out.mp4").code == 0
    with av.open(str(tmp_path / "out.mp4")) as film:
        starts = {stream.type: float(stream.start_time * stream.time_base) for stream in film.streams}
        assert min(starts.values()) == 0 and max(starts.values()) < 0.2
        assert film.duration < 1_000_000


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_a_clock_that_goes_back(run: Run, code_file: Path, tmp_path: Path, make_picture: object, name: str) -> None:
    clip = write_clip(tmp_path / "once.ts", panned(scene(make_picture), 30))
    (tmp_path / "twice.ts").write_bytes(clip.read_bytes() * 2)
    result = run("video", "twice.ts", "--style", code_file, "--output", name)
    assert result.code == 0 and "clock goes back in 1 place" in result.stderr
    assert len(survey(tmp_path / name).times) == 60
    sound, once = packets(tmp_path / name, "audio"), packets(clip, "audio")
    assert len(sound) >= 2 * len(once) - 2
    with av.open(str(tmp_path / name)) as film:
        assert 2.3 < film.duration / 1_000_000 < 2.7


def test_sound_whose_times_go_back_a_little(run: Run, code_file: Path, tmp_path: Path, make_picture: object) -> None:
    clip = write_clip(tmp_path / "once.ts", panned(scene(make_picture), 8))
    (tmp_path / "twice.ts").write_bytes(clip.read_bytes() * 2)
    result = run("video", "twice.ts", "--style", code_file, "--output", "out.mp4")
    assert result.code == 0, result.stderr
    assert "packets of sound or subtitles are left out" in result.stderr


@pytest.mark.parametrize(("diagonal", "axis"), [((-1, 1), 1), ((1, -1), 0), ((-1, -1), (0, 1))])
def test_mirrored(tmp_path: Path, make_picture: object, diagonal: tuple[int, int], axis: int | tuple[int, int]) -> None:
    """The matrix of its track says which sides are changed."""
    clip = write_clip(tmp_path / "clip.mp4", panned(scene(make_picture), 2), sound=False)
    data = bytearray(clip.read_bytes())
    at = data.index(b"tkhd") + 44
    for place, sign in zip((at, at + 16), diagonal, strict=True):
        data[place : place + 4] = (sign << 16).to_bytes(4, "big", signed=True)
    (tmp_path / "mirrored.mp4").write_bytes(data)
    assert np.array_equal(frames_in(tmp_path / "mirrored.mp4")[1], np.flip(frames_in(clip)[1], axis))


def test_what_a_file_is_called_does_not_matter(clip: Path, tmp_path: Path) -> None:
    for name in ("clip-12:30.mp4", "http:clip.mp4", "a%03d ä?#.mp4", "pipe:0"):
        (tmp_path / name).write_bytes(clip.read_bytes())
        assert len(survey(tmp_path / name).times) == 40


def test_covers_are_no_film(tmp_path: Path, make_picture: object) -> None:
    """Neither the cover of a song, nor that of a film, which may come first; nor is a photo one."""
    Image.fromarray(scene(make_picture)).save(tmp_path / "photo.jpg")
    write_clip(tmp_path / "clip.mp4", panned(scene(make_picture), 3))
    for name, kinds in (("song.mp4", ("audio",)), ("film.mp4", ("video", "audio"))):
        with av.open(str(tmp_path / name), "w") as output, av.open(str(tmp_path / "clip.mp4")) as film:
            cover = output.add_stream("mjpeg")
            cover.width, cover.height, cover.pix_fmt = 320, 96, "yuvj420p"
            cover.disposition = av.stream.Disposition.attached_pic
            copies = {s.index: output.add_stream_from_template(s) for s in film.streams if s.type in kinds}
            picture = av.Packet((tmp_path / "photo.jpg").read_bytes())
            picture.stream, picture.pts, picture.dts, picture.time_base = cover, 0, 0, Fraction(1, 25)
            output.mux(picture)
            for packet in film.demux():
                if packet.dts is not None and packet.stream_index in copies:
                    packet.stream = copies[packet.stream_index]
                    output.mux(packet)
    with pytest.raises(InputError, match="no video stream"):
        survey(tmp_path / "song.mp4")
    assert survey(tmp_path / "film.mp4").size == (64, 64)
    with pytest.raises(InputError, match="no film, but a picture") as caught:
        survey(tmp_path / "photo.jpg")
    assert "stylize transfer" in caught.value.hint


def test_codecs(run: Run, code_file: Path, tmp_path: Path, make_picture: object) -> None:
    frames = panned(scene(make_picture), 2)
    write_clip(tmp_path / "clip.mp4", frames, sound=False)
    assert run("video", "clip.mp4", "--style", code_file, "--output", "hevc.mp4", "--codec", "hevc").code == 0
    assert b"hvc1" in (tmp_path / "hevc.mp4").read_bytes()
    with av.open(str(tmp_path / "odd.mkv"), "w") as output:
        video = output.add_stream("ffv1", rate=RATE)
        video.width, video.height, video.pix_fmt = 63, 47, "yuv444p"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frames[0][:47, :63]), format="rgb24")
        output.mux([*video.encode(frame), *video.encode(None)])
    result = run("video", "odd.mkv", "--style", code_file, "--output", "av1.mp4", "--codec", "av1")
    assert_refused(result, 2, "--codec av1: cannot encode 63x47 pixels", "--codec h264")


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_an_interrupt_leaves_no_film(
    clip: Path, code_file: Path, tiny_model: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    environment |= {"STYLIZE_MODEL": str(tiny_model)}
    command = [*STYLIZE, "video", clip.name, "--style", code_file.name, "-o", "out.mp4"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    while process.poll() is None and not (tmp_path / ".out.mp4.stylize" / "film.json").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    if process.returncode != 0:  # it may have been quicker
        assert process.returncode == 130, stderr
        assert stderr.decode().splitlines()[-1] == "stopped: the same command goes on"
        assert not (tmp_path / "out.mp4").exists()


def refused_films(folder: Path) -> dict[str, bytes]:
    sound = io.BytesIO()
    with av.open(sound, "w", format="wav") as output:
        stream = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        tone.sample_rate = 8000
        output.mux(stream.encode(tone))
    return {"sound.wav": sound.getvalue(), "text.mp4": b"no film at all", "empty.mp4": b""}


def test_what_is_no_film_is_refused(run: Run, clip: Path, code_file: Path, tmp_path: Path) -> None:
    for name, data in refused_films(tmp_path).items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:2000])
    before = content(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo.mp4")
        assert_refused(run("video", "fifo.mp4", "--style", code_file), 1, "not a regular file")
    if Path("/dev/zero").exists():
        assert_refused(run("video", clip, "--style", code_file, "--mask", "/dev/zero", "-o", "o.mp4"), 1, "/dev/zero")
    words = {"sound.wav": "no video stream", "text.mp4": "cannot read", "empty.mp4": "cannot read", "cut.mp4": ""}
    for name, word in words.items():
        assert_refused(run("video", name, "--style", code_file, "-o", "out.mp4"), 1, name, word)
    assert_refused(run("video", "none.mp4", "--style", code_file), 1, "no such file")
    assert_refused(run("video", tmp_path, "--style", code_file), 1, "a folder")
    assert_refused(run("video", clip, "--style", code_file, "-o", clip), 4, "output is the input")
    assert_refused(run("video", clip, "--style", code_file, "-o", "out.gif"), 2, ".gif", ".mp4")
    assert_refused(run("video", clip, "--style", code_file, "-o", "out.webm", "--codec", "h264"), 2, "--codec h264")
    assert_refused(run("video", clip, "--style", code_file, "-o", "no/out.mp4"), 4, "no folder")
    assert_refused(run("video", clip, "--style", code_file, "--mask", "alpha"), 2, "alpha")
    assert content(tmp_path) == before


def test_without_the_extra(run: Run, clip: Path, code_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stylize import extras

    monkeypatch.setattr(extras, "_is_installed", lambda module: module != "av")
    assert_refused(run("video", clip, "--style", code_file), 2, "needs PyAV", 'pip install ".[video]"')
