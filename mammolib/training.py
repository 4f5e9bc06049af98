"""Training: input values, optimiser, and a loop whose order and randomness follow from (seed, epoch).

Only Keras and NumPy in the loop, so that any Keras backend trains. Images stay (n, height, width) uint16, memory-
mapped where the caller maps them, and become (batch, height, width, 1) float32 in [0, 1] a batch at a time.
"""

import time
from collections.abc import Callable

import keras
import numpy as np

from mammolib.parameters import CHOICES, require_choice

OPTIMIZERS = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}
CLIPS = {"global": "global_clipnorm", "variable": "clipnorm", "none": None}
IMAGENET_GREY = (103.939 + 116.779 + 123.68) / 3  # means of blue, green, red that keras.applications.vgg16 subtracts
HISTORY = (
    "fold", "epoch", "loss", "accuracy", "validation_loss", "validation_accuracy", "seconds", "learning_rate",
)  # fmt: skip


def to_network(images: np.ndarray) -> np.ndarray:
    """Convert (n, height, width) uint16 to (n, height, width, 1) float32 in [0, 1]."""
    if images.dtype != np.uint16 or images.ndim != 3:
        raise ValueError(f"images: {images.dtype} of shape {images.shape}; allowed is uint16 (n, height, width)")
    return np.multiply(images[..., None], np.float32(1 / 65535), dtype=np.float32)


def input_scaling(images: np.ndarray, kind: str, rows: np.ndarray) -> tuple[float, float]:
    """Return the factor and offset of the network's first layer.

    Parameters
    ----------
    images
        (n, height, width) uint16.
    rows
        Row numbers of the training images; up to 256 of them, evenly spaced, are read.
    kind
        ``unit`` leaves values in [0, 1]. ``standardise`` brings pixels above 0 (the breast, where the background is
        zero) to mean 0 and standard deviation 1: without it, what all breasts share outweighs what tells them apart,
        and small steps learn nothing. ``imagenet`` is what Keras' ImageNet kernels were trained on: 0 to 255 minus the
        mean grey of its photographs.
    """
    require_choice("input_scaling", kind, CHOICES["input_scaling"])
    if kind == "unit":
        return 1.0, 0.0
    if kind == "imagenet":
        return 255.0, -IMAGENET_GREY
    sample = images[rows[:: -(-len(rows) // 256)]]
    breast = sample[sample > 0].astype(np.float64) / 65535
    if breast.size == 0 or breast.std() == 0:
        raise ValueError("input_scaling: standardise, but the training images are flat; allowed for them is unit")
    return float(1 / breast.std()), float(-breast.mean() / breast.std())


def predict(
    network: keras.Model, images: np.ndarray, batch_size: int | None = None, rows: np.ndarray | None = None
) -> np.ndarray:
    """Return the (n, classes) float32 output of `network` for (n, height, width) uint16 images, or for `rows` of them.

    A memory map is read a batch at a time; None takes 64 images of 224 x 224 pixels, and fewer of larger ones.
    """
    without_xla(network)
    # the first block of the published width holds 64 float32 channels a pixel: over 8 GB for 64 images of 500 x 500
    batch_size = batch_size or max(1, min(64, 64 * 224**2 // (images.shape[1] * images.shape[2])))
    rows = np.arange(len(images)) if rows is None else np.asarray(rows)
    parts = [
        np.asarray(network.predict_on_batch(to_network(images[rows[start : start + batch_size]])))
        for start in range(0, len(rows), batch_size)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, network.output_shape[-1]), np.float32)


def without_xla(model: keras.Model) -> None:
    """Compile by the graph, not XLA, under TensorFlow: it did not pay here, and can't run the augmentation on a CPU."""
    model.jit_compile = keras.config.backend() == "jax"


def make_deterministic(seed: int, operation_threads: int = 0) -> None:
    """Seed Python, NumPy and Keras, and make TensorFlow's operations repeatable (same machine, versions, threads).

    `operation_threads` is how many threads share one operation of TensorFlow, 0 for all cores. With 1 only whole
    operations run side by side: on 2 cores a tenth faster for an eighth of VGG-16's width in batches of 4, and many
    times slower for all of it. It has to be set before TensorFlow computes anything.
    """
    keras.utils.set_random_seed(seed)
    if keras.config.backend() == "tensorflow":
        import tensorflow

        if operation_threads:
            tensorflow.config.threading.set_intra_op_parallelism_threads(operation_threads)
        tensorflow.config.experimental.enable_op_determinism()


def resolve_dtype_policy(dtype_policy: str) -> str:
    """Turn ``auto`` into mixed_bfloat16 on any GPU and on processors that compute it natively, else float32."""
    if dtype_policy != "auto":
        return dtype_policy
    if any("gpu" in device or "cuda" in device for device in keras.distribution.list_devices()):
        return "mixed_bfloat16"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            flags = next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        flags = ""
    return "mixed_bfloat16" if {"avx512_bf16", "amx_bf16"} & set(flags.split()) else "float32"


def seed_of(seed: int, fold: int) -> int:
    """Return a fold's own seed, so that its network, order and augmentation are not another fold's."""
    return int(np.random.SeedSequence([seed, fold]).generate_state(1)[0] >> 1)


def make_optimizer(
    optimizer: str, learning_rate: float, clip: str = "none", clip_norm: float = 0.001
) -> keras.optimizers.Optimizer:
    """Return the optimiser; `clip` is by the norm of all gradients (``global``), of each (``variable``), or ``none``.

    Stand-alone Keras of 2018 clipped by the global norm under the name that clips each variable in Keras 3.
    """
    if not learning_rate > 0:
        raise ValueError(f"learning_rate: {learning_rate}; allowed is above 0")
    if clip != "none" and not clip_norm > 0:
        raise ValueError(f"clip_norm: {clip_norm}; allowed is above 0 where clip is {clip}")
    settings = {CLIPS[clip]: clip_norm} if clip != "none" else {}
    return OPTIMIZERS[optimizer](learning_rate=learning_rate, **settings)


def rate_at(epoch: int, epochs: int, learning_rate: float, schedule: str) -> float:
    """Return the learning rate of `epoch` (from 1): constant, or half a cosine that would reach 0 after the last."""
    require_choice("schedule", schedule, CHOICES["schedule"])
    if schedule == "constant":
        return learning_rate
    return learning_rate * 0.5 * (1 + float(np.cos(np.pi * (epoch - 1) / epochs)))


def epoch_order(rows: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Return `rows` in the order of (seed, epoch), whatever was drawn before."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


def reseed(model: keras.Model, seed: int, epoch: int) -> None:
    """Set every seed generator in `model` (augmentation, dropout) from (seed, epoch)."""
    generators = [variable for variable in model.non_trainable_variables if "seed_generator_state" in variable.path]
    for index, state in enumerate(generators):
        state.assign(np.random.SeedSequence([seed, epoch, index]).generate_state(2).astype(state.dtype))


def make_trainer(
    network: keras.Model, optimizer: keras.optimizers.Optimizer, augmentation: keras.layers.Layer | None = None
) -> keras.Model:
    """Return a compiled model of augmentation and `network` up to its logits; it shares the network's weights.

    The network itself stays free of the augmentation layer, so that its file loads wherever Keras is.
    """
    logits = keras.Model(network.input, network.get_layer("logits").output, name="to_logits")
    image = keras.Input(network.input_shape[1:], name="image")
    trainer = keras.Model(image, logits(augmentation(image) if augmentation is not None else image), name="trainer")
    trainer.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    without_xla(trainer)
    return trainer


def shuffled(labels: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """Return a copy of `labels` permuted among `rows` alone: the control that must learn nothing."""
    out = labels.copy()
    out[rows] = np.random.default_rng([seed, 0]).permutation(labels[rows])
    return out


def fit(
    network: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    training_rows: np.ndarray,
    validation_rows: np.ndarray | None = None,
    *,
    seed: int,
    epochs: int,
    batch_size: int,
    optimizer: keras.optimizers.Optimizer,
    schedule: str = "constant",
    augmentation: keras.layers.Layer | None = None,
    fold: int = 0,
    report: Callable[[str], None] = print,
) -> list[dict]:
    """Train `network` in place.

    Parameters
    ----------
    images
        (n, height, width) uint16; only the rows asked for are read.
    labels
        (n,) int class numbers.
    training_rows, validation_rows
        Row numbers; without validation rows its loss and accuracy are NaN.
    optimizer
        As `make_optimizer` returns it; its learning rate is the schedule's start.
    fold
        Goes into the history and the printed lines.
    report
        Gets one plain line an epoch.

    Returns
    -------
    list of dict
        One row an epoch with the keys of `HISTORY`. Loss and accuracy are means over the epoch's augmented batches,
        while the network was changing; the validation's are of the epoch's end, without augmentation.

    Raises
    ------
    ValueError
        A batch larger than the training part, or labels out of range.
    FloatingPointError
        The loss is not finite.
    """
    training_rows = np.asarray(training_rows)
    check_run(network, images, labels, training_rows, batch_size)
    start_rate = float(optimizer.learning_rate)
    trainer = make_trainer(network, optimizer, augmentation)
    history, began = [], time.perf_counter()
    for epoch in range(1, epochs + 1):
        epoch_began = time.perf_counter()
        rate = rate_at(epoch, epochs, start_rate, schedule)
        trainer.optimizer.learning_rate = rate
        reseed(trainer, seed, epoch)
        loss, accuracy = run_epoch(trainer, images, labels, epoch_order(training_rows, seed, epoch), batch_size)
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"loss is {loss} in epoch {epoch} of fold {fold} at learning rate {rate:.3g}; "
                "try a lower learning_rate, or clip: global"
            )
        validation_loss, validation_accuracy = validate(network, images, labels, validation_rows)
        seconds = time.perf_counter() - epoch_began
        values = (fold, epoch, loss, accuracy, validation_loss, validation_accuracy, seconds, rate)
        history.append(dict(zip(HISTORY, values, strict=True)))
        report(epoch_line(history[-1], epochs, (time.perf_counter() - began) / epoch * (epochs - epoch)))
    return history


def check_run(network: keras.Model, images: np.ndarray, labels: np.ndarray, rows: np.ndarray, batch_size: int) -> None:
    """Raise a ValueError for what can be known to fail before the first epoch."""
    if not 1 <= batch_size <= len(rows):
        raise ValueError(f"batch_size: {batch_size}; allowed is 1 to {len(rows)}, the images of the training part")
    if len(labels) != len(images):
        raise ValueError(f"labels: {len(labels)} for {len(images)} images")
    classes = network.output_shape[-1]
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels: {labels.min()} to {labels.max()}; allowed is 0 to {classes - 1}")


def run_epoch(
    trainer: keras.Model, images: np.ndarray, labels: np.ndarray, order: np.ndarray, batch_size: int
) -> tuple[float, float]:
    """Take one step a batch in the given order of rows and return the mean loss and accuracy over images."""
    sums = np.zeros(2)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        loss, accuracy = trainer.train_on_batch(to_network(images[rows]), labels[rows])
        if not np.isfinite(loss):
            return float(loss), float("nan")
        sums += np.array([loss, accuracy]) * len(rows)
    loss, accuracy = sums / len(order)
    return float(loss), float(accuracy)


def validate(
    network: keras.Model, images: np.ndarray, labels: np.ndarray, rows: np.ndarray | None
) -> tuple[float, float]:
    """Return cross-entropy and accuracy of `network` on the given rows, NaN without rows."""
    if rows is None or len(rows) == 0:
        return float("nan"), float("nan")
    probabilities = predict(network, images, rows=rows)
    of_label = probabilities[np.arange(len(rows)), labels[rows]]
    right = probabilities.argmax(axis=1) == labels[rows]
    return float(-np.log(np.maximum(of_label, 1e-7)).mean()), float(right.mean())


def epoch_line(row: dict, epochs: int, seconds_left: float) -> str:
    """Return one plain line for the terminal: fold, epoch, losses, accuracies, seconds, time left."""
    parts = [f"fold {row['fold']}  epoch {row['epoch']:3d}/{epochs}"]
    parts.append(f"loss {row['loss']:.4f} accuracy {row['accuracy']:.3f}")
    if not np.isnan(row["validation_loss"]):
        parts.append(f"validation loss {row['validation_loss']:.4f} accuracy {row['validation_accuracy']:.3f}")
    return "  ".join([*parts, f"{row['seconds']:.1f} s", f"{seconds_left:.0f} s left"])
