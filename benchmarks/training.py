"""Speed of training: what data and augmentation add to the network's own step, and how the step's time grows.

`narrow` and `full`: a whole epoch (order, seeds, indexing of mapped images, conversion, transfer, augmentation) against
as many bare steps of the same network on one resident batch, and against the same with augmentation. Each piece is also
timed alone; `accounted_percent` is their sum over the bare step, which noise from other work hardly moves. What the
augmentation takes alone is its share of a compiled step that does hardly anything else (`call`).
`authors`: the same narrow network fed by what the authors' public code does an image: PIL reads a PNG in colour and
takes it to the network's size (nearest pixel), SciPy resamples each channel, PIL changes the brightness, floats are
stacked, and the network takes one channel. Once in turn with the steps and once with a thread that stays ahead, for
files of 500 pixels (what the authors' network takes) and of a mammogram's size; and, kindest, for grey files that have
the network's size already. `most` is the ratio that data and augmentation for nothing would have.
`precision`: bare steps of the full network in float32 and in bfloat16, where this processor computes it.
`scaling`: seconds an epoch against width, side and number of images; time grows as their power.
`memory`: one epoch of `training.fit` over all of a file 1.25 times as large as the machine's memory, and how far the
process' own pages (RssAnon) grow over it at most, sampled 50 times a second. The file's pages are the system's cache,
which it takes back; `mapped_peak_gb` is how many of them were mapped at once at most. The file is sparse and takes
hardly any disk, so its seconds are none of a disk's; but a disk it has to be (TMPDIR), for a tmpfs is memory itself.
There is no augmentation, and a network of two channels that sees each image at 32 pixels: 3 minutes for 32 GB beside
other work, and in proportion to the memory. It drives other programs' files out of the cache. Linux only.
`gpu` (only with --gpu): the report's recipe, and the share of the peak that --peak-tflops states.

What is compared runs in turn, round by round; seconds are medians by the clock, ratios medians of the rounds' ratios,
`of_least` compares the shortest round of each.
Each part is a process of its own, because TensorFlow's threads are settled once a process: `narrow` and `authors` run
as profile demo does (one thread an operation), the others with all cores. Other work on the machine spoils the times:
`load_before` is that of the minute before a part, and every part but the first sees the load of the one before.

Images are random and mapped from a temporary folder. It runs on any Keras backend. The last line is JSON.

    python benchmarks/training.py
    python benchmarks/training.py --parts narrow authors --repeats 15
    KERAS_BACKEND=jax python benchmarks/training.py --parts gpu --gpu --peak-tflops 989
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata
from pathlib import Path

import keras
import numpy as np
from PIL import Image, ImageEnhance
from scipy import ndimage

from mammolib import network_input, training
from mammolib.augmentation import Augmentation
from mammolib.network import build_network
from mammolib.parallel import usable_cores
from mammolib.provenance import device, processor_name
from mammolib.recipe import make_optimizer

PARTS = ("narrow", "full", "authors", "precision", "scaling", "memory", "gpu")
CLASSES = 3
NARROW = {"side": 112, "batch": 16, "width": 0.125, "head": "fc"}
FULL = {"side": 224, "batch": 4, "width": 1.0, "head": "fc"}
MATRIX_LAYERS = (keras.layers.Conv2D, keras.layers.Dense)


def random_cohort(folder: Path, count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, side, side) uint16 mapped from disk, and (count,) class numbers."""
    random, path = np.random.default_rng(0), folder / f"{count}x{side}.npy"
    np.save(path, random.integers(0, 2**16, (count, side, side), dtype=np.uint16))
    return np.load(path, mmap_mode="r"), random.integers(0, CLASSES, count)


def network_of(side: int, width: float, head: str, policy: str = "float32") -> keras.Model:
    """VGG-16 for one grey channel, with a first layer that scales as the profiles' does."""
    settings = {"width": width, "head": head, "initializer": "he_normal", "dtype_policy": policy}
    return build_network((side, side, 1), CLASSES, **settings, scaling=(4.0, -2.0))


def trainer_of(network: keras.Model, augmented: bool) -> keras.Model:
    """The report's optimiser, with its augmentation or without."""
    optimizer = make_optimizer("adam", 1e-5, "global", 0.001)
    return training.make_trainer(network, optimizer, Augmentation() if augmented else None)


def whole_epoch(trainer: keras.Model, images: np.ndarray, labels: np.ndarray, batch: int) -> None:
    """What `training.fit` does in an epoch."""
    training.reseed(trainer, 0, 1)
    order = training.epoch_order(np.arange(len(images)), 0, 1)
    training.run_epoch(trainer, images, labels, order, batch)


def resident_steps(trainer: keras.Model, batch: tuple, steps: int) -> None:
    """Train `steps` times on one batch of tensors."""
    for _ in range(steps):
        trainer.train_on_batch(*batch)


def resident_batch(images: np.ndarray, labels: np.ndarray, batch: int) -> tuple:
    """The first images and labels as tensors of the backend."""
    return tuple(map(keras.ops.convert_to_tensor, (network_input.to_network(images[:batch]), labels[:batch])))


def timed(work: Callable[[], object]) -> float:
    """Seconds by the clock."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turn(works: dict[str, Callable[[], object]], rounds: int, told: bool = True) -> dict[str, np.ndarray]:
    """Seconds of each work in each round, after a first call of each that doesn't count."""
    for work in works.values():
        work()
    seconds = [[timed(work) for work in works.values()] for _ in range(rounds)]
    for name, column in zip(works if told else (), np.transpose(seconds), strict=told):
        print(f"  {name}: {np.round(column, 4).tolist()} s", file=sys.stderr, flush=True)
    return dict(zip(works, np.transpose(seconds), strict=True))


def ratio(seconds: dict[str, np.ndarray], above: str, below: str) -> float:
    """Median of the rounds' ratios."""
    return float(np.median(seconds[above] / seconds[below]))


def overhead(
    folder: Path, rounds: int, steps: int, side: int, batch: int, width: float, head: str, policy: str = "float32"
) -> dict:
    """Milliseconds a step of an epoch, of steps with augmentation and of bare ones; what each piece takes alone."""
    images, labels = random_cohort(folder, steps * batch, side)
    network = network_of(side, width, head, policy)
    augmented, bare = trainer_of(network, True), trainer_of(network, False)
    resident = resident_batch(images, labels, batch)
    works = {
        "epoch": partial(whole_epoch, augmented, images, labels, batch),
        "augmented": partial(resident_steps, augmented, resident, steps),
        "bare": partial(resident_steps, bare, resident, steps),
    }
    seconds = in_turn(works, rounds)
    step = {f"{name}_ms_a_step": round(1000 * float(np.median(taken)) / steps, 2) for name, taken in seconds.items()}
    alone = pieces(images, labels, batch)
    return {
        **{"side": side, "batch": batch, "width": width, "head": head, "dtype_policy": policy, "steps": steps},
        **step,
        "overhead_percent": round(100 * (ratio(seconds, "epoch", "bare") - 1), 1),
        "overhead_of_least_percent": round(100 * (float(seconds["epoch"].min() / seconds["bare"].min()) - 1), 1),
        "of_augmentation_percent": round(100 * (ratio(seconds, "augmented", "bare") - 1), 1),
        "alone_ms_a_step": alone,
        "accounted_percent": round(100 * (sum(alone.values()) - alone["call"]) / step["bare_ms_a_step"], 1),
    }


def pieces(images: np.ndarray, labels: np.ndarray, batch: int, calls: int = 60) -> dict[str, float]:
    """Milliseconds a step of indexing, conversion, transfer, augmentation, and of a step with next to no network."""
    rows = np.random.default_rng(1).permutation(len(images))[:batch]
    read, resident = images[rows], resident_batch(images, labels, batch)
    values = network_input.to_network(read)
    image = keras.Input(values.shape[1:])
    least = keras.layers.Dense(CLASSES, name="logits")(keras.layers.GlobalAveragePooling2D()(image))
    network = keras.Model(image, least)
    works = {
        "indexing": lambda: images[rows],
        "conversion": lambda: network_input.to_network(read),
        "transfer": lambda: keras.ops.convert_to_tensor(values),
        "augmentation": partial(resident_steps, trainer_of(network, True), resident, 1),
        "call": partial(resident_steps, trainer_of(network, False), resident, 1),
    }
    taken = {name: 1000 * float(np.median(seconds)) for name, seconds in in_turn(works, calls, told=False).items()}
    taken["augmentation"] -= taken["call"]
    return {name: round(value, 3) for name, value in taken.items()}


def narrow(folder: Path, rounds: int) -> dict:
    """Overhead for profile demo's network."""
    return overhead(folder, 4 * rounds + 1, 6, **NARROW)


def full(folder: Path, rounds: int) -> dict:
    """Overhead for profile report's network, in the precision that it takes here."""
    return overhead(folder, rounds + 2, 2, **FULL, policy=training.resolve_dtype_policy("auto"))


def breast_picture(rows: int, columns: int, seed: int) -> Image.Image:
    """Half an ellipse of coarse tissue with noise on black, 8 bits: compresses as a mammogram does."""
    random = np.random.default_rng(seed)
    y, x = np.ogrid[:rows, :columns]
    coarse = random.normal(120, 25, (rows // 16 + 1, columns // 16 + 1))
    tissue = np.kron(coarse, np.ones((16, 16)))[:rows, :columns] + random.normal(0, 3, (rows, columns))
    inside = ((y / rows - 0.5) / 0.42) ** 2 + (x / columns / 0.55) ** 2 < 1
    return Image.fromarray(np.clip(np.where(inside, tissue, 0), 0, 255).astype(np.uint8))


def read_and_move(path: Path, side: int, mode: str, random: np.random.Generator) -> np.ndarray:
    """One augmented image as the usual generator makes it: (side, side, 1) float32 in [0, 1]."""
    with Image.open(path) as opened:
        picture = opened.convert(mode).resize((side, side), Image.Resampling.NEAREST)
    values = np.asarray(picture, dtype=np.float32).reshape(side, side, -1)
    angle, shift = random.uniform(-0.1, 0.1), random.uniform(-0.1 * side, 0.1 * side, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    offset = (side - 1) / 2 - turn @ ((side - 1) / 2 + shift)
    channels = [
        ndimage.affine_transform(values[..., channel], turn, offset, order=1, mode="reflect")
        for channel in range(values.shape[-1])
    ]
    moved = np.stack(channels, axis=-1).astype(np.uint8)
    flip_rows, flip_columns = random.choice((-1, 1), 2)
    brighter = ImageEnhance.Brightness(Image.fromarray(moved.squeeze())).enhance(random.uniform(0.9, 1.1))
    values = np.asarray(brighter, dtype=np.float32).reshape(side, side, -1)[::flip_rows, ::flip_columns]
    return values[..., :1] * np.float32(1 / 255)


def batches_of_files(paths: list[Path], labels: np.ndarray, side: int, batch: int, mode: str, ahead: bool) -> Iterator:
    """Batches of an epoch in random order; `ahead` makes the next one in a thread."""
    random = np.random.default_rng(0)
    order = random.permutation(len(paths))

    def made(start: int) -> tuple[np.ndarray, np.ndarray]:
        rows = order[start : start + batch]
        return np.stack([read_and_move(paths[row], side, mode, random) for row in rows]), labels[rows]

    starts = range(0, len(order), batch)
    if not ahead:
        yield from map(made, starts)
        return
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(made, 0)
        for start in starts[1:]:
            current, following = following.result(), pool.submit(made, start)
            yield current
        yield following.result()


def usual_epoch(trainer: keras.Model, *arguments) -> None:
    """Train on all of `batches_of_files`."""
    for batch in batches_of_files(*arguments):
        trainer.train_on_batch(*batch)


def authors(folder: Path, rounds: int, steps: int = 4) -> dict:
    """Seconds of our epoch and of the usual one over three kinds of files, and how many times faster ours is."""
    side, batch = NARROW["side"], NARROW["batch"]
    images, labels = random_cohort(folder, steps * batch, side)
    network = network_of(side, NARROW["width"], NARROW["head"])
    bare = trainer_of(network, False)
    works = {
        "ours": partial(whole_epoch, trainer_of(network, True), images, labels, batch),
        "bare": partial(resident_steps, bare, resident_batch(images, labels, batch), steps),
    }
    kinds = {
        f"grey, {side} px": ((side, side), "L"),
        "colour, 500 px": ((500, 500), "RGB"),
        "colour, mammogram": ((3328, 2560), "RGB"),
    }
    for name, (size, mode) in kinds.items():
        paths = [folder / f"{name}_{k}.png" for k in range(8)]
        for k, path in enumerate(paths):
            breast_picture(*size, k).save(path)
        files = [paths[k % len(paths)] for k in range(len(images))]
        for way, ahead in (("in turn", False), ("a thread ahead", True)):
            works[f"{name}, {way}"] = partial(usual_epoch, bare, files, labels, side, batch, mode, ahead)
    seconds = in_turn(works, rounds)
    usual = [name for name in works if name not in ("ours", "bare")]
    return {
        **{"side": side, "batch": batch, "width": NARROW["width"], "images": len(images)},
        "epoch_s": {name: round(float(np.median(taken)), 3) for name, taken in seconds.items()},
        "times_faster": {name: round(ratio(seconds, name, "ours"), 2) for name in usual},
        "most": {name: round(ratio(seconds, name, "bare"), 2) for name in usual},
    }


def precision(folder: Path, rounds: int) -> dict | str:
    """Milliseconds of a bare step of the full network in both precisions, at two sizes."""
    if training.resolve_dtype_policy("auto") != "mixed_bfloat16":
        return "not on this processor"
    found = {}
    for side, head, steps in ((112, "gap", 2), (FULL["side"], FULL["head"], 1)):
        images, labels = random_cohort(folder, FULL["batch"], side)
        resident = resident_batch(images, labels, FULL["batch"])
        works = {
            policy: partial(
                resident_steps, trainer_of(network_of(side, FULL["width"], head, policy), False), resident, steps
            )
            for policy in ("float32", "mixed_bfloat16")
        }
        seconds = in_turn(works, rounds)
        found[f"{side} px, {head}"] = {
            **{f"{name}_ms": round(1000 * float(np.median(taken)) / steps, 1) for name, taken in seconds.items()},
            "times_faster": round(ratio(seconds, "float32", "mixed_bfloat16"), 2),
        }
    return found


def scaling(folder: Path, rounds: int) -> dict:
    """Seconds an epoch for some widths, sides and numbers of images, and the power with which they grow."""
    batch, count, base = NARROW["batch"], 64, {"width": NARROW["width"], "side": NARROW["side"]}
    base["images"] = count
    series = {"width": (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0), "side": (64, 112, 160, 224), "images": (32, 64, 128, 256)}
    works, trainers = {}, {}
    for name, values in series.items():
        for value in values:
            setting = base | {name: value}
            images, labels = random_cohort(folder, setting["images"], setting["side"])
            shape = setting["side"], setting["width"]
            if shape not in trainers:
                trainers[shape] = trainer_of(network_of(*shape, NARROW["head"]), True)
            works[name, value] = partial(whole_epoch, trainers[shape], images, labels, batch)
    seconds = in_turn(works, max(3, rounds // 2))
    found = {"batch": batch, **base, "exponent": {}, "epoch_s": {}}
    for name in series:
        points = {value: float(np.median(taken)) for (of, value), taken in seconds.items() if of == name}
        slope, _ = np.polyfit(np.log(list(points)), np.log(list(points.values())), 1)
        found["exponent"][name] = round(float(slope), 2)
        found["epoch_s"][name] = {str(value): round(taken, 3) for value, taken in points.items()}
    return found


def sparse_cohort(folder: Path, count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, side, side) uint16 mapped from a file of holes with a row of noise an image, and class numbers."""
    random, path, size = np.random.default_rng(0), folder / "sparse.npy", 2 * side**2
    facts = {"descr": "<u2", "fortran_order": False, "shape": (count, side, side)}
    with path.open("wb") as opened:
        np.lib.format.write_array_header_1_0(opened, facts)
        first = opened.tell()
        opened.truncate(first + count * size)
        for number in range(count):
            opened.seek(first + number * size)
            opened.write(random.integers(0, 2**16, side, dtype="<u2").tobytes())
    return np.load(path, mmap_mode="r"), random.integers(0, CLASSES, count)


def held(kind: str) -> int:
    """Bytes of this process' pages in memory: RssAnon its own, RssFile those of mapped files."""
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(status[kind].split()[0])


def peaks(work: Callable[[], object], *kinds: str) -> list[int]:
    """How many bytes `held` grows at most while `work` runs, of each kind."""
    done, before = threading.Event(), [held(kind) for kind in kinds]
    seen = [before]

    def watch() -> None:
        while not done.wait(0.02):
            seen.append([held(kind) for kind in kinds])

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        try:
            work()
        finally:
            done.set()
        watching.result()
    return (np.max(seen, axis=0) - before).tolist()


def memory(folder: Path, rounds: int, times: float = 1.25, side: int = 1024, batch: int = 8) -> dict | str:
    """Growth over one epoch of a file larger than the machine's memory; `rounds` changes nothing."""
    if not Path("/proc/self/status").exists():
        return "this system does not tell what is held"
    kind = subprocess.run(["stat", "-f", "-c", "%T", folder], stdout=subprocess.PIPE, text=True, check=True)
    if kind.stdout.strip() in ("tmpfs", "ramfs"):
        return "the temporary folder lies in memory; set TMPDIR to one on a disk"
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    images, labels = sparse_cohort(folder, round(times * physical / (2 * side**2)), side)
    file = (folder / "sparse.npy").stat()
    image = keras.Input((side, side, 1))
    cells = keras.layers.Conv2D(2, 3, activation="relu")(keras.layers.AveragePooling2D(side // 32)(image))
    logits = keras.layers.Dense(CLASSES, name="logits")(keras.layers.GlobalAveragePooling2D()(cells))
    network = keras.Model(image, keras.layers.Softmax()(logits))
    loop = {"seed": 0, "epochs": 1, "batch_size": batch, "optimizer": make_optimizer("adam", 1e-5, "global", 0.001)}
    loop["report"] = partial(print, file=sys.stderr, flush=True)
    history = []
    train = partial(training.fit, network, images, labels, np.arange(len(images)), **loop)
    own, mapped = peaks(lambda: history.extend(train()), "RssAnon", "RssFile")
    return {
        **{"side": side, "batch": batch, "images": len(images), "batch_mb": round(4e-6 * batch * side**2, 1)},
        "machine_gb": round(physical / 1e9, 2),
        "file_gb": round(file.st_size / 1e9, 2),
        "on_disk_mb": round(512e-6 * file.st_blocks, 1),
        "own_growth_peak_mb": round(own / 1e6, 1),
        "mapped_peak_gb": round(mapped / 1e9, 2),
        "epoch_s": round(history[0]["seconds"], 1),
    }


def training_operations(network: keras.Model) -> int:
    """Floating-point operations of one image's step: two a multiplication and addition forward, twice that backward."""
    forward = 0
    for layer in network.layers:
        if isinstance(layer, MATRIX_LAYERS):
            forward += 2 * int(np.prod(layer.kernel.shape)) * int(np.prod(layer.output.shape[1:-1]))
    return 3 * forward


def gpu(folder: Path, rounds: int, images: int, epochs: int, batch: int, peak_tflops: float) -> dict | str:
    """Seconds of the report's recipe from a built network to the last epoch's end, and its share of the peak."""
    if not training.has_gpu():
        return "no GPU"
    return whole_recipe(folder, rounds, images, epochs, batch, FULL["side"], FULL["width"], peak_tflops)


def whole_recipe(
    folder: Path, rounds: int, count: int, epochs: int, batch: int, side: int, width: float, peak_tflops: float
) -> dict:
    """`training.fit` by the clock, and bare steps of the same network for comparison."""
    policy = training.resolve_dtype_policy("auto")
    images, labels = random_cohort(folder, count, side)
    network = network_of(side, width, FULL["head"], policy)
    settings = {"seed": 0, "epochs": epochs, "batch_size": batch, "augmentation": Augmentation()}
    settings["optimizer"] = make_optimizer("adam", 1e-5, "global", 0.001)
    report = partial(print, file=sys.stderr, flush=True)
    history = []
    train = partial(training.fit, network, images, labels, np.arange(count), **settings, report=report)
    seconds = timed(lambda: history.extend(train()))
    epoch = float(np.median([row["seconds"] for row in history]))
    steps = -(-count // batch)
    bare, few = trainer_of(network, False), min(50, steps)
    resident = resident_batch(images, labels, batch)
    step = np.median(in_turn({"bare": partial(resident_steps, bare, resident, few)}, rounds)["bare"]) / few
    operations = training_operations(network)
    return {
        **{"side": side, "batch": batch, "width": width, "head": FULL["head"], "dtype_policy": policy},
        **{"images": count, "epochs": epochs, "seconds": round(seconds, 1)},
        **{"first_epoch_s": round(history[0]["seconds"], 2), "epoch_s": round(epoch, 3)},
        **{"epoch_ms_a_step": round(1000 * epoch / steps, 3), "bare_ms_a_step": round(1000 * float(step), 3)},
        "overhead_percent": round(100 * (epoch / steps / float(step) - 1), 1),
        "gigaflop_an_image": round(operations / 1e9, 1),
        "peak_tflops": peak_tflops,
        "share_of_peak_percent": round(100 * operations * count / epoch / (peak_tflops * 1e12), 2),
        "share_of_peak_in_all_percent": round(100 * operations * count * epochs / seconds / (peak_tflops * 1e12), 2),
    }


def measure(chosen: argparse.Namespace) -> dict | str:
    """What one part found, in this process."""
    training.make_deterministic(0, 1 if chosen.part in ("narrow", "authors") else 0)
    with tempfile.TemporaryDirectory() as folder:
        if chosen.part == "gpu":
            recipe = chosen.gpu_images, chosen.gpu_epochs, chosen.gpu_batch, chosen.peak_tflops
            return gpu(Path(folder), chosen.repeats, *recipe)
        works = (narrow, full, authors, precision, scaling, memory)
        return {work.__name__: work for work in works}[chosen.part](Path(folder), chosen.repeats)


def machine() -> dict:
    """Where the times were taken; only a part asks, because JAX keeps most of a GPU's memory for who asks first."""
    backend = keras.config.backend()
    return {
        "processor": processor_name(),
        "cores": usable_cores(),
        "device": device(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "keras": keras.__version__,
        backend: metadata.version(backend),
    }


def main() -> None:
    """Measure the chosen parts, each in a process of its own, or (`--part`) one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--gpu", action="store_true", help="measure the part gpu as well, where there is one")
    parser.add_argument("--gpu-images", type=int, default=988)
    parser.add_argument("--gpu-epochs", type=int, default=50)
    parser.add_argument("--gpu-batch", type=int, default=4)
    parser.add_argument("--peak-tflops", type=float, default=989, help="the GPU's dense bfloat16, as its maker says")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.part:
        print(json.dumps({"found": measure(chosen), "machine": machine()}))
        return
    result = {"machine": {}, "load_before": {}}
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    for part in chosen.parts:
        if part == "gpu" and not chosen.gpu:
            continue
        result["load_before"][part] = round(os.getloadavg()[0], 2)
        command = [sys.executable, __file__, *sys.argv[1:], "--part", part]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=quiet)
        answer = json.loads(done.stdout.splitlines()[-1])
        result["machine"], result[part] = answer["machine"], answer["found"]
        print(part, result[part], flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
