"""Small networks, some of which fail, to be imported by other processes."""

import os

import torch
from torch import nn


def tiny_network(image_shape):
    return nn.Conv2d(image_shape[2], image_shape[2], 3, padding=1)


class ShortOfMemory(nn.Module):
    """Runs out of memory beyond a number of images."""

    def __init__(self, image_shape, room):
        super().__init__()
        self.layer = tiny_network(image_shape)
        self.room = room
        self.passed = []

    def forward(self, images):
        if not self.training and len(images) > self.room:
            raise torch.cuda.OutOfMemoryError("no room")
        self.passed.append(len(images))
        return self.layer(images)


class NoRoomToTrain(nn.Module):
    """Fails in training as on a GPU without memory."""

    def __init__(self, image_shape):
        super().__init__()
        self.layer = tiny_network(image_shape)

    def forward(self, images):
        if self.training:
            raise torch.cuda.OutOfMemoryError("no room")
        return self.layer(images)


def dying_network(image_shape):
    """Ends its process without a message, as the kernel does when memory runs out."""
    os._exit(1)


def send_scores(detector, X, connection):
    connection.send(detector.score_samples(X))
