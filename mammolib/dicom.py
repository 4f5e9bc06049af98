"""One DICOM mammogram to presentation values: decode, modality, window or VOI LUT, inversion once.

The order is PS3.3 C.7.6.3 and C.11. Every step but decoding is a function of the stored value alone, so it runs once
over the table of all stored values (4,096 of them at 12 bits), and the pixels then index that table.
"""

import errno
import hashlib
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder, pixel_array
from scipy import ndimage

from mammolib.headers import UnreadableImage, header_facts, judge
from mammolib.parallel import stderr_to
from mammolib.parameters import require_choice
from mammolib.presentation import VOI, inverted, padding_table, presentation_table, presentation_values, stored_bits

MOST_PIXELS = 50_000_000  # films of 24 x 30 cm at 42 micrometres have 40 million
DEFERRED = 2**26  # bytes; a longer element, such as the pixels of many frames, is read once the header is judged
# Pixels that one byte stands for at most: RLE writes a byte repeated 128 times in two, lossless JPEG takes at least one
# bit a pixel; the others know no such limit
PIXELS_A_BYTE = {uid.RLELossless: 64, uid.JPEGLossless: 8, uid.JPEGLosslessSV1: 8}
FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # SOF of JPEG and JPEG-LS
CODESTREAM = b"\xff\x4f\xff\x51"  # SOC and SIZ, how JPEG 2000 begins; some files have a JP2 header before it
JP2 = b"\0\0\0\x0cjP  "
REDUCIBLE = (uid.JPEG2000, uid.JPEG2000Lossless)
JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
# What libjpeg says where data end early, are no code, or are left over; but for up to 9 bytes before the end (EOI,
# FFD9), with which some encoders fill up, and for its word on values that an encoder took as signed
MISFIT = re.compile(rb"Corrupt JPEG data: (?!using signed|\d extraneous bytes before marker 0xd9)|Premature end of")
ZEROED = 16  # part of JPEG 2000 that isn't zeros in a row: empty packets are a byte of zeros each, but there are few
LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K)


def may_pass(error: BaseException) -> bool:
    """Whether the system failed, as a disk or a server that is away for a while does, and not the file.

    Libraries give the OSErrors that they raise for bad data no number; EINVAL comes of a place before the file's begin.
    """
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


@contextmanager
def unreadable(what: str) -> Iterator[None]:
    """Turn what is raised into UnreadableImage: `what`, and the kind of error, for its text may hold a header's.

    But for UnreadableImage, and an error that may pass: another run may read the file.
    """
    try:
        yield
    except UnreadableImage:
        raise
    except Exception as error:
        if may_pass(error):
            raise
        raise UnreadableImage("unreadable", f"{what} ({type(error).__name__})") from error


@contextmanager
def whole_jpeg() -> Iterator[None]:
    """Raise UnreadableImage where GDCM decodes JPEG whose data are fewer or more than its picture takes.

    libjpeg in it fills the picture up, and says so on file descriptor 2 alone, past Python: that is listened to, so
    only one thread of a process may decode. Unseen goes what is damaged and yet ends where it should: JPEG has no
    checksum, and most single bytes changed in lossless JPEG are of this kind. So does what follows a warning of another
    kind (an unknown revision of JFIF), for libjpeg says the first alone.
    """
    with TemporaryFile() as said:
        with stderr_to(said):
            yield
        said.seek(0)
        if MISFIT.search(said.read()):
            raise UnreadableImage("unreadable", "the JPEG data are damaged: fewer or more than the picture takes")


def require_whole_jpeg(data: bytes, rows: int, columns: int, samples: int = 1) -> None:
    """Raise where JPEG of 8 bits is not whole, see `whole_jpeg`: for Pillow, which fills up and tells nobody.

    Raises another error where GDCM can't decode it, such as arithmetic coding.
    """
    picture = {"rows": rows, "columns": columns, "samples_per_pixel": samples, "planar_configuration": 0}
    picture |= {"bits_allocated": 8, "bits_stored": 8, "pixel_representation": 0, "number_of_frames": 1}
    picture |= {"photometric_interpretation": "MONOCHROME2" if samples == 1 else "YBR_FULL"}
    picture["pixel_keyword"] = "PixelData"
    with whole_jpeg(), warnings.catch_warnings(record=True):  # pydicom's, where colours go by another name
        get_decoder(uid.JPEGBaseline8Bit).as_array(encapsulate([data]), raw=True, decoding_plugin="gdcm", **picture)


def read_dicom(
    path: Path, rules: dict, voi: str = "lut", voi_index: int = 0, cover: tuple[int, int] | None = None
) -> tuple[np.ndarray, dict]:
    """Read one file; headers are judged before any pixel is decoded.

    Parameters
    ----------
    rules
        Keyword arguments of `headers.judge`.
    voi
        `lut` takes a VOI LUT before a window, `window` a window before a VOI LUT, `none` neither.
    voi_index
        Which of several LUTs or windows, from 0; the last one where there are fewer.
    cover
        (height, width): JPEG 2000 is decoded at the lowest resolution that reaches one of them, see `halvings`.

    Returns
    -------
    pixels : (rows, columns) uint16
        Presentation values over the full range, dense tissue bright, padding 0, in the stored orientation; at a lower
        resolution rows and columns are those of the file over `reduced`, rounded up.
    facts : dict
        See `header_facts`; `digest`, see `pixel_digest`; `reduced`, 1 at full resolution; and only where the
        header names padding `background`: which pixels are, bool in their shape.

    Raises
    ------
    UnreadableImage
        With the reason that `judge` gives, unreadable, or contradictory_inversion (see `air_is_dark`).
    OSError
        Where the file can't be read now, see `may_pass`.
    """
    require_choice("voi", voi, VOI)
    # An impossible birth date is no reason to lose an image. pydicom's warnings hold paths and header texts: they are
    # caught instead of printed.
    with pydicom.config.disable_value_validation(), warnings.catch_warnings(record=True):
        with unreadable("not a readable DICOM file"):
            dataset = pydicom.dcmread(path, defer_size=DEFERRED)
        with unreadable("header value of a wrong type"):
            facts = header_facts(dataset)
        reason, detail = judge(facts, **rules)
        if reason:
            raise UnreadableImage(reason, detail)
        with unreadable("rescale, LUT, window or padding not as in PS3.3 C.11 and C.7.5"):
            table, padding = presentation_table(dataset, voi, voi_index), padding_table(dataset)
        # At a lower resolution padding runs into its neighbours, which is seen unless it is dark
        seen = padding.any() and (table[padding].max() > 255 or inverted(dataset) is None)
        with unreadable("pixels can't be decoded"):
            stored, reduced = stored_values(dataset, None if seen else cover)
            pixels, background = presentation_values(dataset, stored, table, padding)
    facts |= {"digest": pixel_digest(stored), "reduced": reduced}
    if background is not None:
        # At a lower resolution a pixel beside bright ones may fall to the padding's value: single ones don't count
        facts["background"] = background if reduced == 1 else ndimage.binary_opening(background, np.ones((3, 3)))
    return pixels, facts


def pixel_digest(stored: np.ndarray) -> str:
    """SHA-256 of shape and decoded values: equal for one exposure in another syntax, window or header."""
    digest = hashlib.sha256("x".join(map(str, stored.shape)).encode())
    digest.update(np.ascontiguousarray(stored, dtype="<u2"))
    return digest.hexdigest()


def stored_values(dataset: pydicom.Dataset, cover: tuple[int, int] | None = None) -> tuple[np.ndarray, int]:
    """Decode to the bit patterns of the stored values, without what stands beside them (old overlays).

    Returns
    -------
    stored : (rows, columns) uint16
        Below 2**BitsStored; signed values in two's complement.
    reduced
        How many times smaller than the file's a side is, see `halvings`.
    """
    rows, columns, (bits, high) = int(dataset.Rows), int(dataset.Columns), stored_bits(dataset)
    frame, precision = encoded_frame(dataset, rows, columns)
    syntax, pixels, times = dataset.file_meta.TransferSyntaxUID, None, 0
    if cover and syntax in REDUCIBLE and not dataset.PixelRepresentation:
        times = halvings(frame, rows, columns, bits, cover)
        pixels = reduced_values(frame, precision, times) if times else None
    if pixels is None or pixels.shape != (-(-rows >> times), -(-columns >> times)):
        whole = {"bits_stored": precision, "correct_unused_bits": False}  # else a plug-in cuts off what is above
        if syntax in JPEG:
            whole["decoding_plugin"] = "gdcm"  # the one that tells
        with whole_jpeg():
            times, pixels = 0, pixel_array(dataset, index=0, view_only=True, **whole)
        if syntax in REDUCIBLE and codestream_start(frame) < 0:  # JPEG under a wrong name, which Pillow decodes
            require_whole_jpeg(frame, rows, columns)
    if precision > bits and high >= bits:  # a codestream of that precision has the values alone
        pixels = pixels.astype(np.uint16, copy=False) >> high + 1 - bits
    elif precision > bits and syntax in LOSSY:  # which overshoots: white would become black
        least = -(2 ** (bits - 1)) if dataset.PixelRepresentation else 0
        pixels = np.clip(pixels, least, least + 2**bits - 1)
    pixels = pixels.astype(np.uint16, copy=False)
    return pixels & np.uint16(2**bits - 1) if pixels.max() >= 2**bits else pixels, 2**times


def encoded_frame(dataset: pydicom.Dataset, rows: int, columns: int) -> tuple[bytes, int]:
    """Pixel Data (7FE0,0010) and the bits of a value in it, where it can hold what Rows and Columns claim."""
    data, bits, syntax = dataset.PixelData, int(dataset.BitsAllocated), dataset.file_meta.TransferSyntaxUID
    if not 0 < rows * columns <= MOST_PIXELS:
        raise UnreadableImage("unreadable", f"{rows} x {columns} pixels claimed; 1 to {MOST_PIXELS:,} are read")
    if not syntax.is_encapsulated:
        claimed = rows * columns * bits // 8
        if not claimed <= len(data) < 2 * claimed:
            raise UnreadableImage("unreadable", f"{rows} x {columns} pixels take {claimed:,} bytes, not {len(data):,}")
        return data, bits
    data = get_frame(data, 0, number_of_frames=1)
    if rows * columns > PIXELS_A_BYTE.get(syntax, MOST_PIXELS) * len(data):
        raise UnreadableImage("unreadable", f"{len(data):,} bytes can't hold {rows} x {columns} pixels")
    if syntax == uid.RLELossless:
        return data, bits
    held, precision = codestream_size(data)
    if held != (rows, columns) or precision > bits:
        detail = f"{held} pixels of {precision} bits in the codestream, {(rows, columns)} of {bits} in the header"
        raise UnreadableImage("unreadable", detail)
    coded = data.rstrip(b"\0\xff")
    if not coded.endswith(b"\xd9"):  # EOI or EOC, FFD9; decoders fill up what is missing
        raise UnreadableImage("unreadable", "the codestream has no end")
    if codestream_start(data) >= 0 and bytes(max(512, len(coded) // ZEROED)) in coded:  # for decoders take it
        raise UnreadableImage("unreadable", "zeros in place of a stretch of the codestream")
    return data, precision


def codestream_size(frame: bytes) -> tuple[tuple[int, int], int]:
    """(Rows, columns) and bits of a value in JPEG, JPEG-LS or JPEG 2000 (ISO/IEC 10918-1, 14495-1, 15444-1)."""
    start = codestream_start(frame)
    if start >= 0:
        right, bottom, left, top, precision = struct.unpack_from(">4I18xB", frame, start + 8)
        return (bottom - top, right - left), (precision & 0x7F) + 1
    place = 2
    while frame[place + 1] not in FRAME_MARKERS:
        place += 1 if frame[place + 1] == 0xFF else 2 + int.from_bytes(frame[place + 2 : place + 4], "big")
    precision, rows, columns = struct.unpack_from(">BHH", frame, place + 4)
    return (rows, columns), precision


def codestream_start(frame: bytes) -> int:
    """Where JPEG 2000 begins in a frame, -1 where it is none: JPEG and JPEG-LS may hold the same bytes anywhere."""
    return frame.find(CODESTREAM, 0, 2**16) if frame.startswith((CODESTREAM, JP2)) else -1


def halvings(frame: bytes, rows: int, columns: int, bits: int, cover: tuple[int, int]) -> int:
    """How often JPEG 2000 can be halved before it reaches neither height nor width of `cover`.

    No more often than the codestream has levels of decomposition; not where it is signed, for Pillow shifts those
    values, has more than Bits Stored, or is JPEG under a wrong name; and only to sizes that Pillow decodes, which
    rounds where others round up.
    """
    place = codestream_start(frame) + 2
    if place < 2 or frame[place + 40] >= bits:  # Ssiz: bits - 1, and 128 if signed
        return 0
    while frame[place : place + 2] != b"\xff\x52":  # COD
        place += 2 + struct.unpack_from(">H", frame, place + 2)[0]
    for times in range(frame[place + 9], 0, -1):
        small = [-(-side >> times) for side in (rows, columns)]
        nearest = [side + 2 ** (times - 1) >> times for side in (rows, columns)]
        if small == nearest and (small[0] >= cover[0] or small[1] >= cover[1]):
            return times
    return 0


def reduced_values(frame: bytes, precision: int, times: int) -> np.ndarray | None:
    """Decode JPEG 2000 halved some `times`, (rows, columns) unsigned; None where Pillow can't.

    Pillow shifts values up until they fill 8 or 16 bits, which is undone.
    """
    # the full decoding that follows a fault tells whether the file is unreadable
    with suppress(Exception), Image.open(BytesIO(frame), formats=["JPEG2000"]) as picture:
        picture.reduce = times
        values = np.asarray(picture)
        return values >> 8 * values.itemsize - precision
    return None
