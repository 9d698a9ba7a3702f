"""Clips of many kinds, each of `COUNT` numbered frames."""

from __future__ import annotations

COUNT = 40
X264 = "scenecut=0:bframes=3"
# File name, and how to write it. Between them: packets out of order, times by showing and by decoding, times that
# start late, no index, an index of key frames, an index of all frames, fragments, key frames only, one key frame.
CLIPS = {
    "closed.mp4": {},
    "open.mp4": {"options": {"x264-params": f"{X264}:open-gop=1:b-pyramid=normal"}},
    "long.mp4": {"gop": 1000, "options": {"x264-params": f"{X264}:keyint=1000"}},
    "short.mp4": {"options": {"x264-params": f"{X264}:keyint=2:min-keyint=1"}},
    "fragments.mp4": {"gop": 5, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "closed.mkv": {},
    "open.ts": {"options": {"x264-params": f"{X264}:open-gop=1"}},
    "refresh.mkv": {"options": {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}},
    "simple.avi": {"codec": "mpeg4"},
    "reordered.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "stills.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "old.mpg": {"codec": "mpeg1video", "options": {"bf": "2"}},
    "lossless.mkv": {"codec": "ffv1"},
    "altref.webm": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}},
    # no usable times: H.264 in AVI has those of decoding for both, a bare stream has none
    "untimed.avi": {},
    "bare.h264": {},
}
