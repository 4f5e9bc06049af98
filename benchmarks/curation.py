"""Speed and memory of curation, against the pipeline that most users write and against itself.

Files of 3328 x 2560 pixels and 12 bits are made from a smooth random breast with noise: uncompressed with a window,
uncompressed with a SIGMOID window and MONOCHROME1, and lossless JPEG 2000 with a window.

One process, by its own CPU seconds, in turn: our network image against pydicom's `pixel_array`, `apply_voi_lut`,
inversion, and skimage's anti-aliased `resize` of the whole picture in float, which finds no breast. Given our crop for
nothing it has less to resize and makes our picture: that time stands beside, and there the two are compared.

The intake, by the clock: one process, two, and two again with nothing changed, in turn, the first two without a cache.
Memory is the largest that the reading process, and the largest that one of its workers, ever held on the way from a
registry to the saved images and the gate's verdict, as in notebook 01, for many small files and for a tenth of them,
each in a process of its own. So that digests are settled, every second file counts as JPEG 2000 that was read smaller.

Other work on the machine spoils the times: `load_before` is that of the minute before the start.

The last line is JSON; seconds are medians.

    python benchmarks/curation.py --repeats 7 --files 24 --small 5000
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_voi_lut
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian, JPEG2000Lossless
from scipy import ndimage
from skimage.transform import resize

from mammolib import cohort, intake, leakage, repeats
from mammolib.archive import scan_archive
from mammolib.images import fit_to_network, placement, read_breast
from mammolib.parallel import usable_cores
from mammolib.pathology import DESCRIPTION
from mammolib.provenance import processor_name
from mammolib.registry import OPTIONAL, REQUIRED, classify

SIDE = 224
REGISTRY = list(dict.fromkeys((*REQUIRED, *OPTIONAL, *DESCRIPTION)))
RULES = {"storage_classes": ["mammography"], "keep_burned_in": False, "spacing_range_mm": [0.01, 2.0]}
READ = {"rules": RULES, "voi": "lut", "voi_index": 0}
FRAME = {"height": SIDE, "width": SIDE, "aspect": "pad", "background": "zero"}
KINDS = {
    "uncompressed, window": (ExplicitVRLittleEndian, {"WindowCenter": 2000, "WindowWidth": 3500}),
    "uncompressed, SIGMOID, MONOCHROME1": (
        ExplicitVRLittleEndian,
        {"WindowCenter": 2000, "WindowWidth": 2500, "VOILUTFunction": "SIGMOID"}
        | {"PhotometricInterpretation": "MONOCHROME1"},
    ),
    "JPEG 2000, window": (JPEG2000Lossless, {"WindowCenter": 2000, "WindowWidth": 3500}),
}


def draw(rows: int = 3328, columns: int = 2560) -> np.ndarray:
    """Half an ellipse of smooth random tissue with noise at the left edge: (rows, columns) uint16 of 12 bits."""
    random = np.random.default_rng(0)
    field = ndimage.gaussian_filter(random.normal(size=(rows // 8, columns // 8)), 6)
    field = ndimage.zoom(field / field.std(), 8, order=1)
    y, x = np.ogrid[:rows, :columns]
    depth = 1 - ((y - rows / 2) / (0.42 * rows)) ** 2 - (x / (0.55 * columns)) ** 2
    tissue = (1600 + 350 * field) * np.sqrt(np.clip(depth * 4, 0, 1)) * (depth > 0) + 100
    return np.clip(tissue + random.normal(scale=8, size=tissue.shape), 0, 4095).astype(np.uint16)


def draw_small(seed: int) -> np.ndarray:
    """Half an ellipse of blocks, none like those of another seed: (96, 64) uint16 of 12 bits."""
    y, x = np.ogrid[:96, :64]
    blocks = np.random.default_rng(seed).normal(2000, 200, (24, 16))
    inside = ((y - 48) / 42) ** 2 + (x / 50) ** 2 < 1
    return np.where(inside, np.kron(blocks, np.ones((4, 4))), 100).astype(np.uint16)


def mammogram(picture: np.ndarray, syntax: str, elements: dict) -> Dataset:
    """A DICOM object that shows the picture; MONOCHROME1 stores its negative."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalMammographyXRayImageStorageForPresentation, "1.2.3"
    dataset.Modality, dataset.PresentationIntentType, dataset.PatientID = "MG", "FOR PRESENTATION", "1"
    dataset.ImageLaterality, dataset.ViewPosition, dataset.StudyDate = "L", "CC", "20100501"
    dataset.ImagerPixelSpacing = ["0.07", "0.07"]
    dataset.Rows, dataset.Columns = picture.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation, dataset.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    for name, value in elements.items():
        setattr(dataset, name, value)
    stored = 4095 - picture if dataset.PhotometricInterpretation == "MONOCHROME1" else picture
    dataset.add_new("PixelData", "OW", stored.astype("<u2").tobytes())
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax, encoding_plugin="pylibjpeg")
    return dataset


def ours(path: Path) -> tuple[np.ndarray, dict]:
    """Network image (outside the breast 0) and place."""
    pixels, mask, facts = read_breast(path, SIDE, SIDE, "pad", RULES)
    source = facts["rows"], facts["columns"]
    return fit_to_network(pixels, mask, SIDE, SIDE, "pad", "zero", "", facts["reduced"], source)


def usual(path: Path, place: dict | None = None) -> np.ndarray:
    """As users make it, (SIDE, SIDE) float in [0, 1]: the whole picture, or the place of ours."""
    dataset = pydicom.dcmread(path)
    pixels = apply_voi_lut(dataset.pixel_array, dataset) / 4095
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        pixels = 1 - pixels
    if place is None:
        return resize(pixels, (SIDE, SIDE), anti_aliasing=True)
    top, left = place["crop_top"], place["crop_left"]
    crop = pixels[top : top + place["crop_height"], left : left + place["crop_width"]]
    above, rows, columns = placement(place, SIDE, SIDE, "pad")
    image = np.zeros((SIDE, SIDE))
    small = resize(crop, (rows, columns), anti_aliasing=True)
    image[above : above + rows, :columns] = small[:, ::-1] if place["flipped"] else small
    return image


def one_image(path: Path, repeats: int) -> dict:
    """CPU seconds of both ways, their ratios, and how far the two pictures lie apart."""
    seconds, (image, place) = [], ours(path)
    difference = np.abs(image / 65535 - usual(path, place))[image > 0].mean()
    for _ in range(repeats):
        times = [time.process_time()]
        for work, arguments in ((ours, (path,)), (usual, (path,)), (usual, (path, place))):
            work(*arguments)
            times.append(time.process_time())
        seconds.append(np.diff(times))
    own, whole, given = np.median(seconds, axis=0)
    return {
        "ours_cpu_s": round(float(own), 4),
        "usual_cpu_s": round(float(whole), 4),
        "usual_given_crop_cpu_s": round(float(given), 4),
        "times_faster": round(float(whole / own), 1),
        "times_faster_given_crop": round(float(given / own), 1),
        "difference_in_the_breast_percent": round(100 * float(difference), 3),
    }


def prepared(folder: Path, names: list[str], workers: int) -> float:
    """Seconds that the intake takes for files of a folder; its cache stays in `private` beside the folder."""
    rows = pd.DataFrame({"image_path": names, "ImageLaterality": "", "ViewPosition": "", "pixel_spacing_mm": ""})
    rows = rows.assign(reason="", detail="")
    began = time.perf_counter()
    with redirect_stdout(sys.stderr):
        rows, _ = intake.prepare_images(rows, folder, folder.parent / "private" / "cache", FRAME, READ, workers)
    assert rows["reason"].eq("").all(), rows["detail"].unique()
    return time.perf_counter() - began


def processes(folder: Path, kinds: list[Dataset], count: int, repeats: int) -> dict:
    """Seconds with one process, with two, and with two again when nothing changed, for files of all kinds in turn."""
    names = [f"{k}.dcm" for k in range(count)]
    for k, name in enumerate(names):
        pydicom.dcmwrite(folder / name, kinds[k % len(kinds)], enforce_file_format=True)
    prepared(folder, names[:2], 1)  # what is loaded at the first call
    seconds = []
    for _ in range(repeats):
        taken = []
        for workers in (1, 2):
            shutil.rmtree(folder.parent / "private")
            taken.append(prepared(folder, names, workers))
        seconds.append([*taken, prepared(folder, names, 2)])
    one, two, again = np.median(seconds, axis=0)
    return {
        **{"files": count, "one_process_s": round(one, 2), "two_processes_s": round(two, 2)},
        **{"again_s": round(again, 3), "two_times_faster": round(one / two, 2)},
        "again_percent": round(100 * again / two, 1),
    }


def peaks(folder: Path, counts: list[int]) -> dict:
    """Largest memory in MB of the reading process and of a worker, and the gate's seconds, for few and many files."""
    for k in range(counts[-1]):
        content = mammogram(draw_small(k), ExplicitVRLittleEndian, {"SOPInstanceUID": f"1.2.{k}"})
        pydicom.dcmwrite(folder / f"{k}.dcm", content, enforce_file_format=True)
    found = {}
    for count in counts:
        shutil.rmtree(folder.parent / "private", ignore_errors=True)
        command = [sys.executable, __file__, "--peak", str(count), str(folder)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[count] = json.loads(done.stdout.splitlines()[-1])
    few, many = (found[count]["reading_mb"] + found[count]["worker_mb"] for count in counts)
    return {"peaks": found, "more_percent": round(100 * (many / few - 1), 1)}


def peak(folder: Path, count: int) -> dict:
    """Largest memory in MB of this process and of a worker, and the gate's seconds, after `count` files."""
    with redirect_stdout(sys.stderr):
        seconds = curated(folder, count)
    # ru_maxrss of this process would be that of what started it, where that had more
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    kilobytes = {"reading_mb": int(status["VmHWM"].split()[0])}
    kilobytes["worker_mb"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {name: round(size / 1024, 1) for name, size in kilobytes.items()} | {"gate_s": round(seconds, 1)}


def curated(folder: Path, count: int) -> float:
    """Seconds of the leakage gate, the last of what notebook 01 does with files: registry, intake, digests, split."""
    private, places, classes = folder.parent / "private", np.arange(count), ["a", "b", "c"]
    registry = pd.DataFrame({"patient_id": [f"p{k}" for k in places], "label": np.take(classes, places % 3)})
    registry["image_path"] = [f"{k}.dcm" for k in places]
    rows = classify(registry.reindex(columns=REGISTRY, fill_value=""), classes)
    rows = cohort.name_rows(rows, private / "key.csv", 0)
    rows, images = intake.prepare_images(rows, folder, private / "cache", FRAME, READ, 2)
    rows["reduced"] = rows["reduced"].mask(places % 2 == 1, 2)
    rows = intake.settle_digests(rows, images, folder, private / "cache", FRAME, READ, 2)
    rows, _ = cohort.judge_quality_control(repeats.exclude_repeats(cohort.exclude_without_side(rows)))
    table = cohort.cohort_table(rows, None, 0.12, 0)
    assert len(table) == count, rows["detail"].unique()
    intake.save_images(private / "images.npy", images, table["slot"].to_numpy())
    began = time.perf_counter()
    leaks, compared = leakage.find_leaks(table, images, 0.75, private / "cache", 2)
    leakage.require_no_leaks(leaks)
    print(compared)
    return time.perf_counter() - began


def headers(folder: Path) -> dict:
    """Headers a second below a folder, read and known already, with two processes."""
    found = {}
    for way in ("read", "known"):
        began = time.perf_counter()
        with redirect_stdout(sys.stderr):
            n = len(scan_archive(folder, folder.parent / "scanned" / "cache", RULES, 2))
        found[f"{way}_a_second"] = round(n / (time.perf_counter() - began))
    return found


def main() -> None:
    """Measure all of it, or (`--peak`) the memory of one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--small", type=int, default=5000)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.peak:
        print(json.dumps(peak(Path(chosen.peak[1]), int(chosen.peak[0]))))
        return
    machine = {"processor": processor_name(), "cores": usable_cores(), "system": platform.platform()}
    result = {"machine": machine | {"python": platform.python_version()}, "load_before": round(os.getloadavg()[0], 2)}
    picture = draw()
    kinds = {name: mammogram(picture, syntax, elements) for name, (syntax, elements) in KINDS.items()}
    with tempfile.TemporaryDirectory() as full, tempfile.TemporaryDirectory() as small:
        folders = [Path(folder) / "files" for folder in (full, small)]
        for folder in folders:
            folder.mkdir()
        path = Path(full) / "one.dcm"
        for name, content in kinds.items():
            pydicom.dcmwrite(path, content, enforce_file_format=True)
            result[name] = one_image(path, chosen.repeats)
            print(name, result[name], flush=True)
        result["intake"] = processes(folders[0], list(kinds.values()), chosen.files, chosen.repeats)
        result["memory"] = peaks(folders[1], [max(1, chosen.small // 10), chosen.small])
        result["headers"] = headers(folders[1])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
