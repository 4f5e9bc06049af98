"""Training: a loop whose order and randomness follow from (seed, epoch), and prediction.

Only Keras and NumPy in the loop, so that any Keras backend trains. Images stay (n, height, width) uint16, memory-
mapped where the caller maps them, and become (batch, height, width, 1) float32 in [0, 1] a batch at a time.
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from mammolib import checkpoint
from mammolib.network_input import to_network
from mammolib.recipe import rate_at

HISTORY = (
    "epoch", "loss", "accuracy", "validation_loss", "validation_accuracy", "seconds", "learning_rate", "images",
)  # fmt: skip


def predict(
    network: keras.Model, images: np.ndarray, batch_size: int | None = None, rows: np.ndarray | None = None,
    augmentation: keras.layers.Layer | None = None,
) -> np.ndarray:  # fmt: skip
    """Return the (n, classes) float32 output of `network` for (n, height, width) uint16 images, or for `rows` of them.

    A memory map is read a batch at a time; None takes 64 images of 224 x 224 pixels, and fewer of larger ones. With an
    augmentation each image is judged as one draw of it, as the authors' public code did: that distorts the number.
    """
    choose_compiler(network)
    # TensorFlow takes the networks of an ensemble for one function that is traced again and again
    logging.getLogger("tensorflow").addFilter(about_no_retracing)
    # the first block of the published width holds 64 float32 channels a pixel: over 8 GB for 64 images of 500 x 500
    batch_size = batch_size or max(1, min(64, 64 * 224**2 // (images.shape[1] * images.shape[2])))
    rows = np.arange(len(images)) if rows is None else np.asarray(rows)
    parts = [np.zeros((0, network.output_shape[-1]), np.float32)]
    for start in range(0, len(rows), batch_size):
        batch = to_network(images[rows[start : start + batch_size]], network.input_shape[-1])
        shown = batch if augmentation is None else augmentation(batch, training=True)
        parts.append(np.asarray(network.predict_on_batch(shown)))
    return np.concatenate(parts)


def about_no_retracing(record: logging.LogRecord) -> bool:
    """Tell whether a line of TensorFlow's log is about anything but retracing."""
    return "tf.function retracing" not in record.getMessage()


def choose_compiler(model: keras.Model) -> None:
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


def has_gpu() -> bool:
    """Tell whether the backend computes on one."""
    return any("gpu" in device or "cuda" in device for device in keras.distribution.list_devices())


def resolve_dtype_policy(dtype_policy: str) -> str:
    """Turn ``auto`` into mixed_bfloat16 on any GPU and on processors that compute it natively, else float32."""
    if dtype_policy != "auto":
        return dtype_policy
    if has_gpu():
        return "mixed_bfloat16"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            flags = next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        flags = ""
    return "mixed_bfloat16" if {"avx512_bf16", "amx_bf16"} & set(flags.split()) else "float32"


def seed_of(seed: int, run: int) -> int:
    """Return a training's own seed, so that its network, order and augmentation are not another's of the same run."""
    return int(np.random.SeedSequence([seed, run]).generate_state(1)[0] >> 1)


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
    choose_compiler(trainer)
    trainer.optimizer.build(trainer.trainable_variables)  # else its state could not be set before the first step
    return trainer


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
    augment_validation: bool = False,
    after: int = 0,
    earlier: Sequence[dict] = (),
    total: int | None = None,
    best: keras.Model | None = None,
    name: str = "model",
    keep_in: Path | None = None,
    keep_every: int = 1,
    facts: dict[str, dict] | None = None,
    report: Callable[[str], None] = print,
) -> list[dict]:
    """Train `network` in place, or go on where a run before was stopped: on one machine with equal weights.

    Parameters
    ----------
    images
        (n, height, width) uint16; only the rows asked for are read.
    labels
        (n,) int class numbers.
    training_rows, validation_rows
        Row numbers; without validation rows its loss and accuracy are NaN.
    optimizer
        As `recipe.make_optimizer` returns it; its learning rate is the schedule's start.
    augment_validation
        Judge the validation rows through the augmentation too, as the authors' public code did.
    after, earlier
        How many epochs came before, in other phases (`mammolib.phases`), and their rows where no checkpoint has them.
    best
        A copy of the network, which gets its weights at each epoch with a lower validation loss than all before.
    total
        Epochs of all phases, for the printed lines; None where this one is the last.
    name
        Of the network, for the printed lines and errors.
    keep_in, keep_every, facts
        Of the checkpoint: its file (None keeps none), the epochs from one to the next (0 keeps none; the last epoch
        has one), and `checkpoint.run_facts`; one of other facts is not taken up.
    report
        Gets one plain line an epoch, and one about a checkpoint that was found.

    Returns
    -------
    list of dict
        One row an epoch with the keys of `HISTORY`, earlier ones first. Loss and accuracy are means over the epoch's
        augmented batches, while the network was changing; the validation's are of the epoch's end; ``images`` is how
        many trained.

    Raises
    ------
    ValueError
        A batch larger than the training part, or of one image where a dense layer is normalised; labels out of range.
    FloatingPointError
        The loss is not finite, or explodes.
    OSError
        No space for a checkpoint.
    """
    training_rows = np.asarray(training_rows)
    check_run(network, images, labels, training_rows, batch_size)
    start_rate = float(optimizer.learning_rate)
    trainer = make_trainer(network, optimizer, augmentation)
    kept, history = [*trainer.weights, *trainer.optimizer.variables, *(best.weights if best else [])], list(earlier)
    keep_every = keep_every if keep_in else 0
    if keep_every:
        history = checkpoint.take_up(keep_in, facts or {}, kept, name, after, report) or history
    began, done, last = time.perf_counter(), max(len(history), after), after + epochs
    total = total or last
    for epoch in range(done + 1, last + 1):
        epoch_began = time.perf_counter()
        rate = rate_at(epoch - after, epochs, start_rate, schedule)
        trainer.optimizer.learning_rate = rate
        reseed(trainer, seed, epoch)
        loss, accuracy = run_epoch(trainer, images, labels, epoch_order(training_rows, seed, epoch), batch_size)
        check_loss(loss, [row["loss"] for row in history], network.output_shape[-1], epoch, name, rate)
        validation = validate(network, images, labels, validation_rows, augmentation if augment_validation else None)
        if validation_rows is not None and len(validation_rows):  # no number where normalisation overflows
            check_loss(validation[0], [], network.output_shape[-1], epoch, name, rate, "validation loss")
        if best is not None and validation[0] < min((row["validation_loss"] for row in history), default=np.inf):
            best.set_weights(network.get_weights())
        values = (epoch, loss, accuracy, *validation, time.perf_counter() - epoch_began, rate, len(training_rows))
        history.append(dict(zip(HISTORY, values, strict=True)))
        if keep_every and (epoch % keep_every == 0 or epoch == last):
            checkpoint.keep(keep_in, facts or {}, history, kept)
        seconds_left = (time.perf_counter() - began) / (epoch - done) * (total - epoch)
        report(epoch_line(name, history[-1], total, seconds_left))
    return history


def check_loss(
    loss: float, earlier: list[float], classes: int, epoch: int, network: str, rate: float, name: str = "loss"
) -> None:
    """Raise a FloatingPointError for a loss that is not finite or explodes, with epoch, rate and a hint.

    It explodes where it is over ten times what guessing costs, ln(classes), and not below the lowest of the epochs
    before: a random start may be as far off, but falls.
    """
    where = f"in epoch {epoch} of {network} at learning rate {rate:.3g}; try a lower learning_rate, or clip gradients"
    if not np.isfinite(loss):
        raise FloatingPointError(f"{name} is {loss} {where}")
    guessing = float(np.log(classes))
    if earlier and loss > 10 * guessing and loss >= min(earlier):
        raise FloatingPointError(f"loss explodes to {loss:.3g} (guessing costs {guessing:.3g}) {where}")


def check_run(network: keras.Model, images: np.ndarray, labels: np.ndarray, rows: np.ndarray, batch_size: int) -> None:
    """Raise a ValueError for what can be known to fail before the first epoch."""
    if not 1 <= batch_size <= len(rows):
        raise ValueError(f"batch_size: {batch_size}; allowed is 1 to {len(rows)}, the images that train")
    normalised = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if batch_size == 1 and any(len(layer.output.shape) == 2 for layer in normalised):
        raise ValueError(
            "batch_size: 1, but this head normalises over the batch, so one image is always 0; allowed is 2"
        )
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
        batch = to_network(images[rows], trainer.input_shape[-1])
        loss, accuracy = trainer.train_on_batch(batch, labels[rows])
        if not np.isfinite(loss):
            return float(loss), float("nan")
        sums += np.array([loss, accuracy]) * len(rows)
    loss, accuracy = sums / len(order)
    return float(loss), float(accuracy)


def validate(
    network: keras.Model, images: np.ndarray, labels: np.ndarray, rows: np.ndarray | None,
    augmentation: keras.layers.Layer | None = None,
) -> tuple[float, float]:  # fmt: skip
    """Return cross-entropy and accuracy of `network` on the given rows, NaN without rows; see `predict`."""
    if rows is None or len(rows) == 0:
        return float("nan"), float("nan")
    probabilities = predict(network, images, rows=rows, augmentation=augmentation)
    of_label = probabilities[np.arange(len(rows)), labels[rows]]
    right = probabilities.argmax(axis=1) == labels[rows]
    return float(-np.log(np.maximum(of_label, 1e-7)).mean()), float(right.mean())


def epoch_line(name: str, row: dict, epochs: int, seconds_left: float) -> str:
    """Return one plain line for the terminal: network, epoch, losses, accuracies, seconds, time left."""
    parts = [f"{name}  epoch {row['epoch']:3d}/{epochs}"]
    parts.append(f"loss {row['loss']:.4f} accuracy {row['accuracy']:.3f}")
    if not np.isnan(row["validation_loss"]):
        parts.append(f"validation loss {row['validation_loss']:.4f} accuracy {row['validation_accuracy']:.3f}")
    return "  ".join([*parts, f"{row['seconds']:.1f} s", f"{seconds_left:.0f} s left"])
