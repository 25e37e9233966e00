"""Data sets on the device: what identifies them, and their random crops."""

import torch

from common.fingerprint import fingerprint
from common.labelled_images import LabelledImages, crop_and_mirror


def test_a_part_of_the_images_keeps_their_labels():
    whole = LabelledImages(torch.arange(12).view(3, 2, 2), torch.tensor([5, 6, 7]), ["a"], depth=255)
    part = whole[torch.tensor([2, 0])]
    assert part.labels.tolist() == [7, 5]
    assert part.images[:, 0, 0].tolist() == [8, 0]
    assert (part.names, part.depth) == (["a"], 255)


def test_a_fingerprint_is_that_of_values_and_texts():
    known = (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of "abc" (FIPS 180-2)
    )
    assert fingerprint(torch.tensor(list(b"ab"), dtype=torch.uint8), ["c"]) == known
    assert fingerprint(b"a", ["bc"]) == known


def test_a_fingerprint_is_of_the_values_and_not_of_their_places():
    images = torch.arange(6, dtype=torch.uint8).view(2, 3)
    assert fingerprint(images.t()) == fingerprint(images.t().contiguous()) != fingerprint(images)


def test_names_that_are_not_utf8_have_a_fingerprint():
    assert fingerprint(["\udcff"]) == fingerprint(b"\xff")


def test_crop_and_mirror_against_one_image_at_a_time():
    images = torch.randint(256, (40, 9, 9, 3), dtype=torch.uint8)
    crops = crop_and_mirror(images, 6, torch.Generator().manual_seed(3))
    draws = torch.Generator().manual_seed(3)
    top, left = torch.randint(0, 9 - 6 + 1, (2, 40, 1), generator=draws)
    mirrored = torch.rand(40, 1, generator=draws) < 0.5
    assert mirrored.any() and not mirrored.all()
    for i in range(40):
        expected = images[i, top[i] : top[i] + 6, left[i] : left[i] + 6]
        assert torch.equal(crops[i], expected.flip(1) if mirrored[i] else expected)
