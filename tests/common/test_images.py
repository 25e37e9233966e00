"""One reader for all four questions: whatever the file, the pixels are those of the plain 8-bit picture."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.images import Depth, find_parts, list_classes, list_images, natural, read_image
from common.runtime import RunError, UsageError
from q1_dcgan import mnist_dataset
from q2_protonet import omniglot_dataset
from q3_pix2pix import maps_dataset
from q4_darts import cifar10_dataset

QUESTIONS = ["q1", "q2", "q3", "q4"]
GREY = np.full((48, 48), 255, np.uint8)  # a thick L, which shows the way up, and a grey square
GREY[8:40, 8:16], GREY[32:40, 8:32], GREY[8:20, 28:40] = 0, 0, 102
COLOUR = np.stack([GREY, GREY, np.where(GREY == 102, 204, GREY)], -1).astype(np.uint8)


def load(question, folder, data_root, **parts):
    """The data set in `folder`: names of the classes, and pixels of the first part in the order of the files."""
    if question == "q1":
        parts = mnist_dataset.load(data_root, mnist_dataset.DataOptions("folder", folder))
        return parts["train"].names, parts["train"].images.numpy()
    if question == "q2":
        options = omniglot_dataset.DataOptions("folder", folder=folder, no_rotations=True)
        train = omniglot_dataset.load(data_root, options)["train"]
        return train.names, np.concatenate([train.images[i, :n].numpy() for i, n in enumerate(train.counts)])
    if question == "q3":
        train = maps_dataset.load(data_root, maps_dataset.DataOptions("folder", folder), 32)["train"]
        return train.names, train.images[:, :3].numpy().transpose(0, 2, 3, 1)
    train = cifar10_dataset.load(data_root, cifar10_dataset.DataOptions("folder", folder))["train"]
    order = np.argsort([n for n in np.random.default_rng(0).permutation(1)])  # a single picture is not mixed
    return train.names, train.images.numpy()[order] if len(train) == 1 else train.images.numpy()
