"""Damaged DICOM files through scan and intake: each is read, or left out for a reason of the closed list.

Small mammograms in eight transfer syntaxes are damaged in ten ways: bytes flipped, cut, wrong lengths, wrong value
representations, values out of range, more pixels claimed than there are, deep sequences, parts repeated, damaged
codestreams, and data that inflate to gigabytes. The last line is JSON: how many were read, why the others were not, how
many crashed or held up their process (which the limits of `mammolib.parallel` contain), and the peak of its memory.

    python benchmarks/fuzz.py --files 2000 --seed 20210624
"""

import argparse
import json
import resource
import struct
import tempfile
import time
import zlib
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from pydicom import dcmread, uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset

from mammolib.archive import scan_archive
from mammolib.intake import prepare_images
from mammolib.parallel import usable_cores
from mammolib.phantom_objects import transcode
from mammolib.provenance import processor_name
from mammolib.terms import REASONS

RULES = {"storage_classes": ["mammography"], "keep_burned_in": False, "spacing_range_mm": [0.01, 2.0]}
FRAME = {"height": 32, "width": 32, "aspect": "pad", "background": "zero"}
NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
ENCAPSULATED = (
    uid.RLELossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
)
LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")  # VRs of 4 bytes of length
SECRET = "Planted"  # what stands in every text of a file, and may stand nowhere else


def mammogram(syntax: str) -> Dataset:
    """A mammogram of 96 x 64 pixels and 12 bits, native."""
    y, x = np.mgrid[:96, :64]
    inside = ((y - 48) / 44) ** 2 + (x / 50) ** 2 < 1
    noise = np.random.default_rng(0).normal(0, 200, (96, 64))
    stored = np.where(inside, 2500 + noise, 50).astype(">u2" if syntax == uid.ExplicitVRBigEndian else "<u2")
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.DigitalMammographyXRayImageStorageForPresentation, "1.2.3"
    dataset.Modality, dataset.PresentationIntentType, dataset.Manufacturer = "MG", "FOR PRESENTATION", SECRET
    dataset.PatientName = dataset.PatientID = dataset.StudyID = dataset.SeriesDescription = SECRET
    dataset.StudyDate, dataset.ImageLaterality, dataset.ViewPosition = "20100501", "L", "CC"
    dataset.ImagerPixelSpacing, dataset.EstimatedRadiographicMagnificationFactor = ["0.5", "0.5"], "1"
    dataset.WindowCenter, dataset.WindowWidth, dataset.RescaleSlope, dataset.RescaleIntercept = "2000", "3500", "1", "0"
    dataset.ViewCodeSequence = [Dataset()]
    dataset.ViewCodeSequence[0].CodeValue = "399162004"
    dataset.ViewCodeSequence[0].CodingSchemeDesignator = "SCT"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelPaddingValue = 0
    dataset.add_new("PixelData", "OW", stored.tobytes())
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def sound_file(folder: Path, syntax: str) -> dict:
    """A file in parts: `head` up to the dataset, `body` (inflated), its `elements` as pydicom reads them, `order`."""
    path = folder / "sound"
    native = syntax in NATIVE
    mammogram(syntax if native else uid.ExplicitVRLittleEndian).save_as(path, enforce_file_format=True)
    if not native:
        transcode(path, syntax)
    content = path.read_bytes()
    start = 144 + dcmread(path).file_meta.FileMetaInformationGroupLength
    head, body = content[:start], content[start:]
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        body = zlib.decompress(body, -zlib.MAX_WBITS)
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    dataset = read_dataset(BytesIO(body), syntax == uid.ImplicitVRLittleEndian, order == "<")
    elements = map(dataset.get_item, dataset.keys())
    elements = [element for element in elements if hasattr(element, "value_tell")]
    return {"syntax": syntax, "head": head, "body": body, "elements": elements, "order": order}


def overwritten(body: bytes, place: int, new: bytes) -> bytes:
    """The same bytes with some others at a place."""
    return body[:place] + new + body[place + len(new) :]


def flip_bytes(random: np.random.Generator, sound: dict) -> bytes:
    """1 to 32 bytes anywhere."""
    body = bytearray(sound["body"])
    for place in random.integers(0, len(body), random.integers(1, 33)):
        body[place] ^= int(random.integers(1, 256))
    return bytes(body)


def flip_header(random: np.random.Generator, sound: dict) -> bytes:
    """1 to 8 bytes before the pixels."""
    body, end = bytearray(sound["body"]), sound["elements"][-1].value_tell
    for place in random.integers(0, end, random.integers(1, 9)):
        body[place] ^= int(random.integers(1, 256))
    return bytes(body)


def damage_codestream(random: np.random.Generator, sound: dict) -> bytes:
    """1 to 8 of the first 200 bytes of the pixels: offsets, markers, the decoder's own header."""
    body, begin = bytearray(sound["body"]), sound["elements"][-1].value_tell
    for place in begin + random.integers(0, min(200, len(body) - begin), random.integers(1, 9)):
        body[place] = int(random.integers(0, 256))
    return bytes(body)


def cut(random: np.random.Generator, sound: dict) -> bytes:
    """The end is missing."""
    return sound["body"][: random.integers(0, len(sound["body"]))]


def repeat_part(random: np.random.Generator, sound: dict) -> bytes:
    """A part stands there once more, somewhere."""
    begin, end, place = np.sort(random.integers(0, len(sound["body"]), 3))
    return sound["body"][:place] + sound["body"][begin:end] + sound["body"][place:]


def wrong_length(random: np.random.Generator, sound: dict) -> bytes:
    """One element says that it is longer or shorter."""
    element = sound["elements"][random.integers(len(sound["elements"]))]
    short = element.VR is not None and element.VR not in LONG
    lengths = (0, 1, 7, 255, 2**15, 2**16 - 1) if short else (0, 1, 255, 2**20, 2**31, 2**32 - 2, 2**32 - 1)
    new = struct.pack(sound["order"] + ("H" if short else "I"), random.choice(lengths))
    return overwritten(sound["body"], element.value_tell - len(new), new)


def wrong_vr(random: np.random.Generator, sound: dict) -> bytes:
    """One element has another value representation; in implicit syntax, another tag."""
    element = sound["elements"][random.integers(len(sound["elements"]))]
    back = 8 if element.VR is None or element.VR in LONG else 4
    vr = str(
        random.choice((*LONG, "AS", "AT", "CS", "DS", "FD", "IS", "PN", "SL", "SS", "UI", "UL", "US", "XX", "\0\0"))
    )
    return overwritten(sound["body"], element.value_tell - back, vr.encode())


def wrong_number(random: np.random.Generator, sound: dict) -> bytes:
    """One of the numbers that describe the pixels is another."""
    element = random.choice([k for k, element in enumerate(sound["elements"]) if element.tag.group == 0x28])
    element = sound["elements"][element]
    if element.length == 2:
        new = struct.pack(sound["order"] + "H", random.choice((0, 1, 2, 3, 7, 8, 12, 15, 16, 17, 32, 64, 4096, 65535)))
    else:
        new = str(random.choice(("-1", "0", "1e999", "nan", "9" * 9, "x", "\\", "1\\2"))).encode()
        new = new[: element.length].ljust(element.length)
    return overwritten(sound["body"], element.value_tell, new)


def huge_image(random: np.random.Generator, sound: dict) -> bytes:
    """More pixels are claimed than there are."""
    body = sound["body"]
    for element in sound["elements"]:
        if element.tag in (0x00280010, 0x00280011):
            side = struct.pack(sound["order"] + "H", random.choice((7000, 20000, 65535)))
            body = overwritten(body, element.value_tell, side)
    return body


def deep_sequence(random: np.random.Generator, sound: dict) -> bytes:
    """Sequences within sequences, 10 to 30,000 of them, with or without their ends."""
    depth = int(random.choice((10, 500, 3000, 30000)))
    vr = b"" if sound["syntax"] == uid.ImplicitVRLittleEndian else b"SQ\0\0"
    tag = struct.pack(sound["order"] + "HH", 0x0054, 0x0220) + vr + b"\xff" * 4
    item = struct.pack(sound["order"] + "HHI", 0xFFFE, 0xE000, 2**32 - 1)
    ends = [struct.pack(sound["order"] + "HHI", 0xFFFE, element, 0) for element in (0xE00D, 0xE0DD)]
    nested = (tag + item) * depth + b"".join(ends) * (depth if random.random() < 0.5 else 0)
    place = sound["elements"][-1].value_tell - (8 if sound["elements"][-1].VR is None else 12)
    return sound["body"][:place] + nested + sound["body"][place:]


DAMAGES = (
    *(flip_bytes, flip_header, damage_codestream, cut, repeat_part, wrong_length, wrong_vr, wrong_number),
    *(huge_image, deep_sequence),
)


def whole(sound: dict, body: bytes, more: int = 0) -> bytes:
    """A file of a body, deflated where its syntax says so; then it may inflate to `more` mebibytes."""
    if sound["syntax"] != uid.DeflatedExplicitVRLittleEndian:
        return sound["head"] + body
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    parts = [sound["head"], deflate.compress(body)]
    parts += [deflate.compress(bytes(2**20)) for _ in range(more)]
    return b"".join([*parts, deflate.flush()])


def sound_files(folder: Path) -> list[dict]:
    """One of each syntax."""
    return [sound_file(folder, syntax) for syntax in (*NATIVE, *ENCAPSULATED)]


def write_files(folder: Path, count: int, seed: int, bombs: int) -> list[str]:
    """Write damaged files, all syntaxes and damages in turn, and some that inflate to 1.5 GiB; returns their names."""
    random, names, sound = np.random.default_rng(seed), [], sound_files(folder.parent)
    for k in range(count - bombs):
        chosen, damage = sound[k % len(sound)], DAMAGES[k // len(sound) % len(DAMAGES)]
        names.append(f"{damage.__name__}_{k}.dcm")
        (folder / names[-1]).write_bytes(whole(chosen, damage(random, chosen)))
    for k in range(bombs):
        names.append(f"bomb_{k}.dcm")
        (folder / names[-1]).write_bytes(whole(sound[3], sound[3]["body"], 1536))
    return names


def through(folder: Path, names: list[str], workers: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of the scan and of the intake, in the order of names."""
    headers = scan_archive(folder, folder.parent / "private" / "cache", RULES, workers)
    rows = pd.DataFrame({"image_path": names, "ImageLaterality": "", "ViewPosition": "", "pixel_spacing_mm": ""})
    rows = rows.assign(reason="", detail="")
    read = {"rules": RULES, "voi": "lut", "voi_index": 0}
    rows, _ = prepare_images(rows, folder, folder.parent / "private" / "cache", FRAME, read, workers)
    return headers.set_index("image_path").loc[names].reset_index(), rows


def check(table: pd.DataFrame) -> None:
    """AssertionError where a file was neither read nor left out for a known reason, or a detail tells a text of it."""
    unknown = set(table["reason"]) - {"", *REASONS}
    assert not unknown, f"reasons {unknown} are in no list"
    assert (table["detail"].str.len() > 0).equals(table["reason"] != ""), "a reason without detail"
    assert not table["detail"].str.contains(f"{SECRET}|/|_[0-9]", regex=True).any(), "a detail tells what a file says"


def main() -> None:
    """Make the files, put them through, and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--bombs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=20210624)
    parser.add_argument("--workers", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "files"
        files.mkdir()
        names = write_files(files, chosen.files, chosen.seed, chosen.bombs)
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        headers, rows = through(files, names, chosen.workers)
        seconds = time.perf_counter() - began
    for table in (headers, rows):
        check(table)
    kinds = pd.Series(names).str.replace(r"_[0-9]+\.dcm", "", regex=True)
    result = {"files": len(names), "seed": chosen.seed, "seconds": round(seconds, 1)}
    result["machine"] = {"processor": processor_name(), "cores": usable_cores(), "workers": chosen.workers}
    result["read"] = int((rows["reason"] == "").sum())
    result["read_of_each_damage"] = (rows["reason"] == "").groupby(kinds).sum().to_dict()
    result["left_out"] = rows.loc[rows["reason"] != "", "reason"].value_counts().to_dict()
    details = Counter(pd.concat([headers["detail"], rows["detail"]]))
    stopped = ("crashes what reads it", "takes too long to read")
    result["stopped"] = {detail: details[detail] for detail in stopped}
    result["no_memory"] = sum(n for detail, n in details.items() if "MemoryError" in detail)
    # A forked process begins with its parent's pages
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    result["peak_of_a_worker_mb"] = round(peak / 1024)
    result["beyond_its_parent_mb"] = round((peak - before) / 1024)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
