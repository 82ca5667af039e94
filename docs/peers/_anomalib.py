"""DRAEM and GANomaly of anomalib, trained by its engine until the budget is spent.

Both take any size that is a multiple of 32 and a power of 2; they get the same 128 × 128 pixels as
the other methods, as three channels. Everything else is as anomalib sets it, save for DRAEM's batch
size, 8 as in its paper, and its foreign textures: those that scikit-image ships, in place of the
5,640 of DTD, which would have to be downloaded.
"""

import time

import _torchvision  # noqa: F401, before anomalib
import numpy as np
import torch
from anomalib.data import ImageBatch, ImageItem
from anomalib.engine import Engine
from anomalib.models import Draem, Ganomaly
from lightning.pytorch.callbacks import Callback
from skimage import data as skimage_data
from skimage.color import gray2rgb
from skimage.io import imsave
from torch.utils.data import DataLoader, Dataset

TEXTURES = ("brick", "grass", "gravel", "astronaut", "coffee", "chelsea", "rocket", "coins", "moon")
BATCH_SIZE = {"draem": 8, "ganomaly": 32}


def to_tensor(X):
    """Convert uint8 images to (n, 3, h, w) from 0 to 1."""
    X = X if X.ndim == 4 else np.repeat(X[..., None], 3, -1)
    return torch.from_numpy(np.ascontiguousarray(X)).permute(0, 3, 1, 2).float() / 255


class Images(Dataset):
    """Good images as anomalib's items."""

    def __init__(self, X):
        self.X = to_tensor(X)

    def __len__(self):
        return len(self.X)

    def __getitem__(self, index):
        return ImageItem(image=self.X[index], gt_label=torch.tensor(0))


class Budget(Callback):
    """Stop training when the processor time is spent, and keep the losses."""

    def __init__(self, seconds):
        self.seconds, self.losses = seconds, []

    def on_train_start(self, trainer, module):
        """Start the clock."""
        self.start = time.process_time()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        """Look at the clock."""
        loss = outputs["loss" if "loss" in outputs else "generator_loss"]
        self.losses.append(float(loss.detach()))
        if time.process_time() - self.start >= self.seconds:
            trainer.should_stop = True


class AnomalibModel:
    """One of anomalib's models that need no pretrained weights."""

    def __init__(self, name):
        self.name = name

    def fit(self, X, folder, seconds, seed):
        """Train for some seconds."""
        if seconds is None:
            raise ValueError(f"`--seconds` must be a number for {self.name}, got None instead.")
        if self.name == "draem":
            write_textures(folder / "textures")
            size = Draem.configure_pre_processor(X.shape[1:3])
            self.module = Draem(dtd_dir=folder / "textures", pre_processor=size)
        else:
            self.module = Ganomaly(pre_processor=Ganomaly.configure_pre_processor(X.shape[1:3]))
        budget = Budget(seconds)
        loader = DataLoader(
            Images(X),
            batch_size=BATCH_SIZE[self.name],
            shuffle=True,
            drop_last=len(X) > BATCH_SIZE[self.name],
            collate_fn=ImageBatch.collate,
        )
        engine = Engine(
            callbacks=[budget],
            default_root_dir=folder,
            max_epochs=-1,
            min_epochs=0,
            accelerator="cpu",
            devices=1,
            limit_val_batches=0,
            enable_progress_bar=False,
        )
        engine.fit(self.module, train_dataloaders=loader)
        few = max(1, len(budget.losses) // 10)
        return {
            "steps": len(budget.losses),
            "first_loss": float(np.mean(budget.losses[:few])),
            "last_loss": float(np.mean(budget.losses[-few:])),
        }

    @torch.inference_mode()
    def detect(self, X):
        """Score images by the model's raw scores; GANomaly has no map."""
        model, transform = self.module.model.eval(), self.module.pre_processor.transform
        found = [model(transform(to_tensor(X[i : i + 16]))) for i in range(0, len(X), 16)]
        scores = -torch.cat([one.pred_score.flatten() for one in found]).double().numpy()
        if found[0].anomaly_map is None:
            return scores, None
        maps = torch.cat([one.anomaly_map.reshape(-1, *X.shape[1:3]) for one in found])
        return scores, maps.double().numpy()

    def save(self, path):
        """Write the weights."""
        torch.save(self.module.model.state_dict(), path)


def write_textures(folder):
    """Write photographs that ship with scikit-image, cut into squares of 256 pixels."""
    folder.mkdir()
    for name in TEXTURES:
        image = getattr(skimage_data, name)()
        image = image if image.ndim == 3 else gray2rgb(image)
        for row in range(0, image.shape[0] - 255, 256):
            for column in range(0, image.shape[1] - 255, 256):
                square = image[row : row + 256, column : column + 256]
                imsave(folder / f"{name}_{row}_{column}.png", square, check_contrast=False)
