import random
import struct
import subprocess
import sys
from fractions import Fraction

import av
import pytest
import torch
from clips import Faulty, blank_frame, number_in, numbers_in, write_clip, write_sound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kinds_of_clips import CLIPS, COUNT

from sam2_hf.video_io.file_source import REVERSE_BUFFER_BYTES, FileSource
from sam2_hf.video_io.open_video import open_video


def copy_packets(path, source, change):
    """A copy of a file with `change(packet)` done to each of its packets."""
    with av.open(str(source)) as original, av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as copy:
        stream = original.streams.video[0]
        target = copy.add_stream_from_template(stream)
        for packet in original.demux(stream):
            if packet.dts is not None:
                packet = change(packet)
                packet.stream = target
                copy.mux(packet)
    return path


@pytest.mark.parametrize("name", CLIPS)
def test_frames_are_numbered_as_they_are_shown(clips, name):
    with open_video(clips(name)) as video:
        assert video.num_frames == len(video) == COUNT
        assert numbers_in(video) == list(range(COUNT))


@pytest.mark.parametrize("name", CLIPS)
def test_any_order_gives_the_frames_of_reading_through(clips, name):
    with open_video(clips(name), cache_size=1) as video:
        through = list(video)
        order = list(range(COUNT)) * 2
        random.Random(0).shuffle(order)
        assert all(torch.equal(video[index], through[index]) for index in order)


@pytest.mark.parametrize("name", CLIPS)
def test_walking_backward_gives_the_same_frames(clips, name):
    with open_video(clips(name)) as video:
        forward = dict(video.iterate())
        backward = list(video.iterate(step=-1))
        assert [index for index, _ in backward] == list(range(COUNT))[::-1]
        assert all(torch.equal(frame, forward[index]) for index, frame in backward)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["open.mp4", "long.mp4", "untimed.avi"]))
def test_iterate_visits_what_range_visits(clips, data, name):
    start = data.draw(st.integers(0, COUNT - 1))
    stop = data.draw(st.integers(-1, COUNT))
    step = data.draw(st.integers(-7, 7).filter(bool))
    prefetch = data.draw(st.integers(0, 3))
    with open_video(clips(name), prefetch=prefetch) as video:
        visited = [(index, number_in(frame)) for index, frame in video.iterate(start, stop, step)]
    assert visited == [(index, index) for index in range(start, stop, step)]


@pytest.mark.parametrize(("name", "buffer_bytes", "most"), [("long.mp4", 0, 4), ("simple.avi", 2**30, 12)])
def test_walking_backward_holds_a_group_at_most_and_few_of_a_long_one(clips, monkeypatch, name, buffer_bytes, most):
    from sam2_hf.video_io import file_source

    held = []
    read = file_source._read_backward

    def spy(decoder, convert, segment):
        held.append(len(segment))
        yield from read(decoder, convert, segment)

    monkeypatch.setattr(file_source, "_read_backward", spy)
    monkeypatch.setattr(file_source, "REVERSE_BUFFER_BYTES", buffer_bytes)
    with open_video(clips(name)) as video:
        assert numbers_in(frame for _, frame in video.iterate(step=-1)) == list(range(COUNT))[::-1]
    assert max(held) == most


def test_opening_decodes_one_frame_and_reads_no_further(clips, monkeypatch):
    from sam2_hf.video_io import file_source

    monkeypatch.setattr(file_source, "build_frame_table", lambda *_: pytest.fail("the file was read through"))
    with open_video(clips("closed.mp4")) as video:
        assert video.num_frames == COUNT  # an MP4 lists its frames
        assert (video.height, video.width, video.fps, video.seekable) == (32, 112, 25.0, True)
        assert number_in(video[0]) == 0
        assert "40 frames, 112x32, 25 fps" in repr(video)
    with open_video(clips("closed.mkv")) as video:
        assert "not counted yet" in repr(video)


@pytest.fixture
def decoded(monkeypatch):
    """The packets that decoders are given."""
    from sam2_hf.video_io.frame_decoder import FrameDecoder

    packets = []
    decode = FrameDecoder._decode
    monkeypatch.setattr(FrameDecoder, "_decode", lambda self, packet: packets.append(packet) or decode(self, packet))
    return packets


@pytest.mark.parametrize("name", ["closed.mp4", "open.mp4", "fragments.mp4", "closed.mkv", "open.ts", "simple.avi"])
def test_any_frame_costs_decoding_from_the_key_frame_before_it(clips, decoded, name):
    with open_video(clips(name)) as video:
        for index in (38, 14, 30, 5):
            decoded.clear()
            assert number_in(video[index]) == index
            # A group of 12, and what the codec holds back. Matroska seeks to the group before for some.
            assert len(decoded) <= 12 + 5


def test_walking_backward_decodes_each_frame_once_where_groups_are_short(clips, decoded):
    with open_video(clips("simple.avi")) as video:
        assert numbers_in(frame for _, frame in video.iterate(step=-1)) == list(range(COUNT))[::-1]
    assert len(decoded) <= COUNT + 8  # a packet more for each group


def test_going_on_from_where_it_stands_decodes_nothing_twice(clips, decoded):
    with open_video(clips("long.mp4"), cache_size=1) as video:
        assert [number_in(video[index]) for index in range(1, COUNT)] == list(range(1, COUNT))
    assert len(decoded) <= COUNT + 1


def test_fragments_are_counted_to_the_last(tmp_path):
    path = write_clip(
        tmp_path / "fragments.mp4", 200, gop=5, container_options={"movflags": "frag_keyframe+empty_moov"}
    )
    with open_video(path) as video:
        assert video.num_frames == 200
        assert number_in(video[199]) == 199


def test_a_frame_that_was_just_used_comes_from_the_cache(clips, monkeypatch):
    with open_video(clips("closed.mp4"), cache_size=2) as video:
        first, second = video[7], video[8]
        monkeypatch.setattr(video, "_load", lambda index: pytest.fail("decoded again"))
        assert video[7] is first
        assert video[8] is second


def test_frames_that_iterate_gave_out_are_at_hand(clips, monkeypatch):
    with open_video(clips("closed.mp4")) as video:
        monkeypatch.setattr(video, "_load", lambda index: pytest.fail("decoded again"))
        assert all(video[index] is frame for index, frame in video.iterate())


def test_times_of_a_variable_rate_are_told(tmp_path):
    times = [0, 40, 50, 300, 310, 320, 1000, 1500, 1533, 1600]
    path = write_clip(tmp_path / "uneven.mkv", len(times), times=times.__getitem__)
    with open_video(path) as video:
        assert numbers_in(video) == list(range(len(times)))
        assert [round(1000 * video.timestamp(index)) for index in range(len(times))] == times
        assert number_in(video[7]) == 7


def test_files_without_times_have_no_timestamps(clips):
    with open_video(clips("bare.h264")) as video:
        assert video.timestamp(3) is None


def test_frames_hidden_by_an_edit_list_do_not_count(clips, tmp_path):
    def five_frames_earlier(packet):
        shift = int(Fraction(5, 25) / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        return packet

    # As a trimmed phone clip has it: what is shown before time 0 is hidden.
    path = copy_packets(tmp_path / "trimmed.mp4", clips("closed.mp4"), five_frames_earlier)
    with open_video(path) as video:
        assert video.num_frames == COUNT - 5
        assert numbers_in(video) == list(range(5, COUNT))
        assert [number_in(video[index]) for index in (30, 0, 12, 1)] == [35, 5, 17, 6]


def test_frames_hidden_at_the_end_do_not_count(clips, tmp_path):
    # An edit list as cameras write it when the owner cuts off the end: 20 of 40 frames, from the first on.
    path = tmp_path / "trimmed.mp4"
    content = bytearray(clips("closed.mp4").read_bytes())
    entry = content.index(b"elst") + 12
    struct.pack_into(">I", content, entry, 800)  # milliseconds
    path.write_bytes(content)
    with open_video(path) as video:
        frames = numbers_in(video)
        assert frames == list(range(len(frames)))
        assert 20 <= len(frames) == video.num_frames < 25  # frames in between are needed to decode the last


def test_a_recording_may_begin_between_two_key_frames(clips, tmp_path):
    path = tmp_path / "late.ts"
    content = clips("open.ts").read_bytes()
    path.write_bytes(content[len(content) // 188 * 2 // 5 * 188 :])  # whole packets of a transport stream
    with open_video(path, cache_size=1) as video:
        frames = numbers_in(video)
        assert 10 < len(frames) == video.num_frames < 40
        assert frames == list(range(COUNT - len(frames), COUNT))
        assert [number_in(video[index]) for index in (7, 0, 3)] == [frames[7], frames[0], frames[3]]


def test_a_last_frame_that_stays_for_long_is_no_damage(tmp_path):
    times = [0, 40, 80, 120, 1120, 1160]

    def hold_the_last(packet):
        if round(packet.pts * packet.time_base * 1000) == times[-1]:
            packet.duration = int(Fraction(19, 10) / packet.time_base)
        return packet

    plain = write_clip(tmp_path / "plain.mkv", len(times), times=times.__getitem__, options={"bf": "0"})
    path = copy_packets(tmp_path / "screen.mkv", plain, hold_the_last)
    with av.open(str(path)) as container:
        assert container.duration >= 3_000_000  # microseconds
    with open_video(path) as video:
        assert numbers_in(video) == list(range(len(times)))


def test_where_a_packet_holds_no_frame_the_one_before_is_shown_on(tmp_path):
    not_coded = bytes([0, 0, 1, 0xB6, 0b01010000, 0b01001111])  # MPEG-4: a predicted frame like the one before

    def silence_seven(packet):
        if round(packet.pts * packet.time_base * 25) != 7:
            return packet
        empty = av.Packet(not_coded)
        empty.pts, empty.dts, empty.time_base = packet.pts, packet.dts, packet.time_base
        return empty

    path = copy_packets(tmp_path / "held.mp4", write_clip(tmp_path / "plain.mp4", codec="mpeg4"), silence_seven)
    with open_video(path) as video:
        assert len(video) == COUNT
        assert [number_in(video[index]) for index in (5, 6, 7, 7, 8, 20, 7, 39)] == [5, 6, 6, 6, 8, 20, 6, 39]
        assert numbers_in(video) == [*range(7), 6, *range(8, COUNT)]
        assert numbers_in(frame for _, frame in video.iterate(10, 4, -1)) == [10, 9, 8, 6, 6, 5]


def test_gaps_that_a_container_fills_with_empty_packets_hold_no_frames(tmp_path):
    times = [0, 40, 80, 200, 240, 280, 480, 520]  # AVI has nothing but a packet for every 40 ms
    path = write_clip(tmp_path / "gaps.avi", len(times), codec="mpeg4", times=times.__getitem__)
    with open_video(path) as video:
        assert numbers_in(video) == list(range(len(times)))
        assert [number_in(video[index]) for index in (6, 2, 3)] == [6, 2, 3]


def test_empty_packets_are_no_frames_and_do_not_end_the_clip(clips):
    def with_empty_packets(container):
        for packet in container.demux(video=0):
            yield packet
            if packet.size > 0:
                empty = av.Packet()
                empty.stream, empty.pts, empty.dts = packet.stream, packet.pts, packet.dts
                yield empty

    with FileSource(lambda: Faulty(av.open(str(clips("closed.mkv"))), with_empty_packets), "a clip") as video:
        assert numbers_in(video) == list(range(COUNT))


@pytest.mark.parametrize("late", [0, 13])
def test_recordings_strung_together_are_counted_through(clips, tmp_path, late):
    path = tmp_path / "twice.ts"
    # The times start over in the middle: all of them the same, or all but the first between the earlier ones.
    other = write_clip(tmp_path / "other.ts", COUNT, times=lambda index: 40 * index + late * (index > 0), gop=1000)
    path.write_bytes(clips("open.ts").read_bytes() + other.read_bytes())
    with open_video(path) as video:
        assert numbers_in(video) == list(range(COUNT)) * 2
        assert [number_in(video[index]) for index in (COUNT + 5, 5, COUNT - 1, COUNT)] == [5, 5, COUNT - 1, 0]


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (COUNT, IndexError, "frame 40 is out of range: .* has frames 0 to 39"),
        (-1, IndexError, "out of range"),
        (1.5, TypeError, "float"),
        (slice(3), TypeError, "iterate"),
    ],
)
def test_refuses_frames_that_are_not_there(clips, index, error, message):
    with open_video(clips("closed.mp4")) as video, pytest.raises(error, match=message):
        video[index]


def test_refuses_walks_that_make_no_sense(clips):
    with open_video(clips("closed.mp4")) as video:
        with pytest.raises(ValueError, match="step"):
            video.iterate(step=0)
        with pytest.raises(IndexError, match="out of range"):
            video.iterate(COUNT)


def test_refuses_files_that_are_no_videos(tmp_path, clips):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video" * 100)
    (tmp_path / "no_index.mp4").write_bytes(clips("closed.mp4").read_bytes()[:1000])
    write_sound(tmp_path / "sound.mp4")
    blank = write_clip(tmp_path / "blank.mkv", 3)
    for index in range(3):
        blank_frame(blank, index, keep=8)
    with pytest.raises(FileNotFoundError, match="no such video"):
        open_video(tmp_path / "missing.mp4")
    with pytest.raises(ValueError, match=r"empty\.mp4' is an empty file"):
        open_video(tmp_path / "empty.mp4")
    with pytest.raises(ValueError, match=r"text\.mp4' is not a video that can be read: .*[Ii]nvalid data"):
        open_video(tmp_path / "text.mp4")
    with pytest.raises(ValueError, match=r"no_index\.mp4' is not a video"):
        open_video(tmp_path / "no_index.mp4")
    with pytest.raises(ValueError, match=r"blank\.mkv' cannot be decoded: "):
        open_video(blank)
    with pytest.raises(ValueError, match=r"song\.mp4' has no video in it, only: a cover image, audio"):
        open_video(write_sound(tmp_path / "song.mp4", cover=True))
    with pytest.raises(ValueError, match=r"sound\.mp4' has no video in it, only: audio"):
        open_video(tmp_path / "sound.mp4")


def test_without_pyav_an_error_says_how_to_get_it(clips, monkeypatch):
    path = clips("closed.mp4")
    monkeypatch.setattr(av, "__version__", "16.1.0")
    with pytest.raises(ImportError, match=r"newer PyAV than 16\.1\.0; install it with: pip install 'av>=17'"):
        open_video(path)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match="needs PyAV; install it with: pip install 'av>=17'"):
        open_video(path)


@pytest.mark.slow
def test_memory_stays_flat_over_ten_thousand_frames(tmp_path):
    path = write_clip(tmp_path / "long.mp4", 10_000, gop=250, codec="mpeg4", size=(240, 320))
    peaks = {}
    for reading in ("start=0, stop=500", "start=0", "start=9999, step=-1"):
        script = (
            "import resource, sys; from sam2_hf.video_io.open_video import open_video\n"
            f"video = open_video({str(path)!r})\n"
            f"for _ in video.iterate({reading}): pass\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
        )
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
        peaks[reading] = int(run.stdout)
    decoded = 10_000 * 240 * 320 * 3 / 2**20  # 2200 MiB
    assert peaks["start=0"] - peaks["start=0, stop=500"] < 16 < decoded
    assert peaks["start=9999, step=-1"] - peaks["start=0, stop=500"] < 2 * REVERSE_BUFFER_BYTES / 2**20
