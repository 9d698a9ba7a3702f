from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from small_datasets import SIZE, block, encode, number_of, plain_image, save_image, save_json, save_numbers

from sam2_hf.training.data.annotated_video import Clip, images_in, read_image, read_index_map
from sam2_hf.training.data.coco import CocoImages, fill_polygon, segmentation_to_mask
from sam2_hf.training.data.data_sets import KINDS, Joined, open_data
from sam2_hf.training.data.image_folder import ImageFolder
from sam2_hf.training.data.palette_folder import PaletteFolder
from sam2_hf.training.data.sa_v import SaVEvaluation, SaVTraining
from sam2_hf.video_io.write_video import write_video

ONE, TWO = block(2, 3), block(12, 20)
NUMBERS = ONE * 1 + TWO * 7


class TestImageFolder:
    @pytest.mark.parametrize("mode", ["P", "L", "I;16"])
    def test_numbers_are_instances(self, tmp_path, mode):
        save_image(tmp_path / "images" / "street.jpg", 3)
        save_numbers(tmp_path / "masks" / "street.png", NUMBERS * (100 if mode == "I;16" else 1), mode)
        (found,) = ImageFolder(tmp_path)
        clip = found.read([0])
        assert clip.object_ids == ((100, 700) if mode == "I;16" else (1, 7))
        assert np.array_equal(clip.masks[0], np.stack([ONE, TWO]))
        assert number_of(clip.frames[0]) == 3

    def test_a_file_an_instance_may_overlap(self, tmp_path):
        save_image(tmp_path / "images" / "street.png", 3)
        for name, mask in {"car": ONE, "wheel": ONE & block(4, 3)}.items():
            save_numbers(tmp_path / "masks" / "street" / f"{name}.png", mask * 255, "L")
        masks = ImageFolder(tmp_path)[0].masks(0)
        assert list(masks) == ["car", "wheel"]
        assert np.array_equal(masks["car"] & masks["wheel"], masks["wheel"])

    def test_images_without_masks_are_passed_over(self, tmp_path):
        for number in range(12):
            save_image(tmp_path / "images" / f"{number}.jpg", number)
            if number != 5:
                save_numbers(tmp_path / "masks" / f"{number}.png", NUMBERS)
        names = [found.name for found in ImageFolder(tmp_path)]
        assert names == [f"{number}.jpg" for number in range(12) if number != 5]

    def test_nothing_found_says_what_was_expected(self, tmp_path):
        save_image(tmp_path / "images" / "street.jpg", 3)
        with pytest.raises(FileNotFoundError, match=r"expected images/NAME.jpg with masks/NAME.png"):
            ImageFolder(tmp_path)


class TestCoco:
    def write(self, folder, **more):
        save_image(folder / "val" / "1.jpg", 4)
        save_image(folder / "val" / "2.jpg", 5)
        square = [3.0, 2.0, 11.0, 2.0, 11.0, 8.0, 3.0, 8.0]
        crowd = {"size": list(SIZE), "counts": [0, 48, SIZE[0] * SIZE[1] - 48]}
        images = [{"id": i, "file_name": f"{i}.jpg", "height": SIZE[0], "width": SIZE[1]} for i in (1, 2)]
        annotations = [
            {"id": 11, "image_id": 1, "segmentation": [square], "iscrowd": 0},
            {"id": 12, "image_id": 1, "segmentation": encode(TWO), "iscrowd": 0},
            {"id": 13, "image_id": 1, "segmentation": crowd, "iscrowd": 1},
            {"id": 21, "image_id": 2, "segmentation": crowd, "iscrowd": 1},
        ]
        save_json(folder / "val.json", {"images": images, "annotations": annotations, **more})
        return folder / "val.json", folder / "val"

    def test_polygons_run_lengths_and_crowds(self, tmp_path):
        (found,) = CocoImages(*self.write(tmp_path))  # the other image is all crowd
        clip = found.read([0])
        assert clip.object_ids == (11, 12)
        assert np.array_equal(clip.masks[0], np.stack([ONE, TWO]))
        assert number_of(clip.frames[0]) == 4
        assert clip.ignored[0, :, :2].all()
        assert not clip.ignored[0, :, 2:].any()

    def test_refuses_other_files(self, tmp_path):
        save_json(tmp_path / "a.json", [1, 2])
        with pytest.raises(ValueError, match="must be a COCO file"):
            CocoImages(tmp_path / "a.json", tmp_path)

    @pytest.mark.parametrize("seed", range(10))
    def test_polygons_hold_the_pixels_whose_centre_is_inside(self, seed):
        rng = np.random.default_rng(seed)
        corners = rng.uniform(-5, 35, (rng.integers(3, 9), 2))
        mask = fill_polygon(corners, SIZE)
        for row, column in np.ndindex(SIZE):
            assert mask[row, column] == winds_an_odd_number_of_times(corners, column + 0.5, row + 0.5)

    def test_pieces_of_an_object_are_joined(self):
        pieces = [[0, 0, 4, 0, 4, 4, 0, 4], [2, 2, 8, 2, 8, 8, 2, 8]]
        mask = segmentation_to_mask(pieces, SIZE)
        assert mask.sum() == 16 + 36 - 4

    @pytest.mark.peers
    def test_polygons_are_close_to_those_of_pycocotools(self):
        from pycocotools import mask as reference

        rng = np.random.default_rng(0)
        for _ in range(20):
            corners = rng.uniform(5, 195, (5, 2))
            theirs = reference.decode(reference.frPyObjects([corners.flatten().tolist()], 200, 200))[..., 0] > 0
            ours = fill_polygon(corners, (200, 200))
            assert (ours & theirs).sum() / (ours | theirs).sum() > 0.9


def winds_an_odd_number_of_times(corners, x, y):
    """Whether the angles to the corners, added up, make an odd number of turns."""
    relative = (corners[:, 0] - x) + 1j * (corners[:, 1] - y)
    turns = np.angle(np.roll(relative, -1) / relative).sum() / (2 * np.pi)
    return round(turns) % 2 == 1


class TestPaletteFolder:
    def write(self, root, resolution="", annotated=(0, 1, 2)):
        for name in ("bear", "camel"):
            for frame in range(3):
                save_image(root / "JPEGImages" / resolution / name / f"{frame:05}.jpg", frame)
            for frame in annotated:
                numbers = np.where(block(20, 28, 4, 4), 255, NUMBERS if frame else ONE * 1)
                save_numbers(root / "Annotations" / resolution / name / f"{frame:05}.png", numbers)

    def test_numbers_are_objects_and_255_is_nobodys(self, tmp_path):
        self.write(tmp_path)
        videos = PaletteFolder(tmp_path)
        assert [video.name for video in videos] == ["bear", "camel"]
        assert all(video.exclusive for video in videos)
        clip = videos[0].read([0, 2])
        assert clip.object_ids == (1, 7)
        assert np.array_equal(clip.masks[:, 0], np.stack([ONE, ONE]))
        assert np.array_equal(clip.masks[:, 1], np.stack([np.zeros_like(TWO), TWO]))
        assert np.array_equal(clip.ignored, np.stack([block(20, 28, 4, 4)] * 2))
        assert [number_of(frame) for frame in clip.frames] == [0, 2]

    def test_not_every_frame_need_have_masks(self, tmp_path):
        self.write(tmp_path, annotated=(0, 2))
        video = PaletteFolder(tmp_path)[1]
        assert video.num_frames == 3
        assert video.exclusive

    def test_a_list_of_names_and_a_folder_for_the_resolution_as_in_davis(self, tmp_path):
        self.write(tmp_path, resolution="480p")
        (tmp_path / "val.txt").write_text("camel\n\n")
        assert [video.name for video in PaletteFolder(tmp_path, tmp_path / "val.txt", "480p")] == ["camel"]
        assert [video.name for video in PaletteFolder(tmp_path, ["bear"], "480p")] == ["bear"]

    def test_names_what_is_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="Annotations is missing"):
            PaletteFolder(tmp_path)
        self.write(tmp_path)
        with pytest.raises(FileNotFoundError, match="the video 'wolf' has no folder"):
            PaletteFolder(tmp_path, ["wolf"])


class TestSaV:
    def write_training(self, root):
        folder = root / "sav_000"
        folder.mkdir()
        write_video(folder / "sav_000001.mp4", [plain_image(frame) for frame in range(9)], fps=24)
        manual = [[encode(ONE), encode(TWO)], [encode(ONE), None], [encode(ONE), encode(TWO)]]
        save_json(folder / "sav_000001_manual.json", {"masklet": manual, "masklet_id": [0, 4]})
        save_json(folder / "sav_000001_auto.json", {"masklet": [[encode(TWO)]] * 3, "masklet_id": [2]})

    def test_training_videos_have_masks_on_every_fourth_frame(self, tmp_path):
        self.write_training(tmp_path)
        (video,) = SaVTraining(tmp_path)
        assert (video.name, video.num_frames, list(video.annotated)) == ("sav_000001", 9, [0, 4, 8])
        clip = video.read([0, 4])
        assert clip.object_ids == ("manual 0", "manual 4")
        assert np.array_equal(clip.masks[0], np.stack([ONE, TWO]))
        assert np.array_equal(clip.masks[1], np.stack([ONE, np.zeros_like(TWO)]))
        assert [number_of(frame) for frame in clip.frames] == [0, 4]

    def test_objects_that_the_model_found_can_be_had_too(self, tmp_path):
        self.write_training(tmp_path)
        masks = SaVTraining(tmp_path, ["sav_000001"], kinds=("manual", "auto"))[0].masks(0)
        assert list(masks) == ["manual 0", "manual 4", "auto 2"]

    def test_evaluation_videos_have_a_file_an_object(self, tmp_path):
        for frame in range(5):
            save_image(tmp_path / "JPEGImages_24fps" / "sav_1" / f"{frame:05}.jpg", frame)
        for obj_id, mask, frames in (("000", ONE, (0, 4)), ("001", TWO, (4,))):
            for frame in frames:
                save_numbers(tmp_path / "Annotations_6fps" / "sav_1" / obj_id / f"{frame:05}.png", mask * 1, "L")
        (video,) = SaVEvaluation(tmp_path)
        assert (video.num_frames, list(video.annotated)) == (5, [0, 4])
        assert list(video.masks(0)) == ["000"]
        assert np.array_equal(video.masks(4)["001"], TWO)

    def test_names_what_is_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"has no VIDEO_manual\.json"):
            SaVTraining(tmp_path)
        with pytest.raises(FileNotFoundError, match="Annotations_6fps is missing"):
            SaVEvaluation(tmp_path)
        self.write_training(tmp_path)
        with pytest.raises(FileNotFoundError, match=r"has no sav_7_manual\.json"):
            SaVTraining(tmp_path, ["sav_7"])


class TestFiles:
    @pytest.mark.parametrize("name", ["{}.png", "frame{}.png", "0_cam{}.PNG"])
    def test_images_come_in_the_order_of_their_numbers(self, tmp_path, name):
        for number in (1, 10, 2, 100):
            save_image(tmp_path / name.format(number), number % 7)
        found = [path.removeprefix(str(tmp_path)) for path in images_in(tmp_path)]
        assert found == [f"/{name.format(number)}" for number in (1, 2, 10, 100)]

    def test_frames_of_a_video_come_in_the_order_of_their_numbers(self, tmp_path):
        for number in (1, 10, 2):
            save_image(tmp_path / "JPEGImages" / "street" / f"frame{number}.jpg", number)
            save_numbers(tmp_path / "Annotations" / "street" / f"frame{number}.png", ONE)
        (video,) = PaletteFolder(tmp_path)
        assert [number_of(video.image(frame)) for frame in range(3)] == [1, 2, 10]

    def test_images_are_upright_and_in_colour(self, tmp_path):
        image = Image.fromarray(np.arange(24 * 32, dtype=np.uint8).reshape(24, 32))
        exif = Image.Exif()
        exif[0x0112] = 6  # a quarter turn
        image.save(tmp_path / "a.jpg", exif=exif)
        assert read_image(tmp_path / "a.jpg").shape == (32, 24, 3)

    def test_colours_are_no_numbers(self, tmp_path):
        save_image(tmp_path / "a.png", 3)
        with pytest.raises(ValueError, match=r"a\.png must hold numbers .* got the mode RGB"):
            read_index_map(tmp_path / "a.png")

    def test_images_and_masks_must_have_one_size(self, tmp_path):
        save_image(tmp_path / "images" / "street.jpg", 3)
        save_numbers(tmp_path / "masks" / "street.png", NUMBERS[:-2])
        with pytest.raises(ValueError, match=r"street.jpg: images and masks must have one size, got \(24, 32\)"):
            ImageFolder(tmp_path)[0].read([0])


class TestClip:
    def test_keeps_the_objects_that_are_chosen(self):
        clip = Clip(plain_image(0)[None], np.stack([ONE, TWO, ONE])[None], ("a", "b", "c"))
        chosen = clip.with_objects([2, 1])
        assert chosen.object_ids == ("c", "b")
        assert np.array_equal(chosen.masks[0], np.stack([ONE, TWO]))

    def test_refuses_what_does_not_fit(self):
        with pytest.raises(ValueError, match="for 2 objects"):
            Clip(plain_image(0)[None], ONE[None, None], ("a", "b"))
        with pytest.raises(ValueError, match="ignored must be"):
            Clip(plain_image(0)[None], ONE[None, None], ("a",), ignored=ONE)


class TestByName:
    def test_kinds_are_opened_with_their_options(self, tmp_path):
        assert len(open_data("synthetic", {"count": 3, "size": [64, 64]})) == 3
        save_image(tmp_path / "images" / "street.jpg", 3)
        save_numbers(tmp_path / "masks" / "street.png", NUMBERS)
        assert open_data("image_folder", {"root": str(tmp_path)})[0].name == "street.jpg"

    def test_names_what_does_not_exist(self):
        with pytest.raises(ValueError, match=r"kind must be one of \['challenges', 'coco', .* got 'davis'"):
            open_data("davis", {})
        for kind in KINDS:
            with pytest.raises(ValueError, match=f"data of the kind '{kind}' has no option 'colour'; known are"):
                open_data(kind, {"colour": 1})

    def test_joined_sets_follow_one_another(self):
        first, second = open_data("synthetic", {"count": 2}), open_data("synthetic", {"count": 3, "split": "test"})
        joined = Joined([first, second])
        assert [video.name for video in joined] == ["train 0", "train 1", "test 0", "test 1", "test 2"]
        assert len(joined) == 5
        with pytest.raises(IndexError, match=r"0\.\.4"):
            joined[5]
