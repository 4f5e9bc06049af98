"""Files of every transfer syntax, stored values to presentation values by hand and against pydicom, padding, air."""

import base64
import os
import struct
from contextlib import nullcontext
from io import BytesIO

import gdcm
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import apply_modality_lut, apply_voi, apply_voi_lut, apply_windowing

from mammolib import dicom
from mammolib.dicom import read_dicom, stored_values
from mammolib.headers import UnreadableImage
from mammolib.intake import silent
from mammolib.presentation import padding_table, presentation_table, presentation_values

RULES = {"storage_classes": ["mammography"], "keep_burned_in": False, "spacing_range_mm": [0.01, 2.0]}
# 8 x 8 values 0, 61, 122 ... 3843 of 12 bits, in HTJ2K (ITU-T T.814) without decomposition, one block of 8 x 8
HTJ2K = base64.b64decode(
    "/0//UQApQAAAAAAIAAAACAAAAAAAAAAAAAAACAAAAAgAAAAAAAAAAAABCwEB/1AACAACAAAAAP9SAAwAAAABAAAEBEAB/1wABEBg/5AACgAAAAAA"
    "fAAB/5PAAvag/3/ChV+7he8s0sG68JE625yRTiWV2fjCI8tfwbVvLt4hu/Op+tuiwc4moTn5xeEiEJdBAFb4MMke0ODSUD1KyfS2q7COMumLjgkc"
    "bAxLAgWiulEsjQj8AVr11DHoEGDoCKSEAMYhADGzAf/Z"
)


def image(bits=12, signed=0, photometric="MONOCHROME2", **elements) -> Dataset:
    dataset = Dataset()
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation, dataset.SamplesPerPixel = signed, 1
    dataset.PhotometricInterpretation = photometric
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def table(data, first, depth, vr="US", entries=None, **elements) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(data) if entries is None else entries, first, depth]
    item.add_new("LUTData", vr, list(data) if vr == "US" else np.array(data, "<u2").tobytes())
    for name, value in elements.items():
        setattr(item, name, value)
    return item


def present(dataset, stored, voi="lut", voi_index=0) -> np.ndarray:
    """Presentation values of stored bit patterns, padding aside."""
    stored = np.atleast_2d(np.array(stored, np.uint16))
    padding = padding_table(dataset)
    return presentation_values(dataset, stored, presentation_table(dataset, voi, voi_index), padding)[0].squeeze()


def written(path, stored=None, syntax=uid.ExplicitVRLittleEndian, frame=b"", drop=(), **elements) -> np.ndarray:
    """Write a mammogram, compressed where `frame` is given; returns its stored values, 64 x 64 random ones at first."""
    if stored is None:
        stored = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    usual = {"SOPClassUID": uid.DigitalMammographyXRayImageStorageForPresentation, "SOPInstanceUID": uid.generate_uid()}
    usual |= {"Modality": "MG", "PresentationIntentType": "FOR PRESENTATION", "ImageLaterality": "R"}
    usual |= {"Rows": stored.shape[0], "Columns": stored.shape[1], "BitsAllocated": 8 * stored.itemsize}
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    usual["PixelData"] = encapsulate([frame]) if frame else stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    dataset = image(**(usual | elements))
    for name in drop:
        delattr(dataset, name)
    dataset["PixelData"].VR = "OB" if frame or stored.itemsize == 1 else "OW"
    dataset["PixelData"].is_undefined_length = bool(frame)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    return stored


def compressed(path, syntax, **options) -> None:
    """Compress a file in place by pydicom's plug-ins, or by GDCM where they have none."""
    if syntax in (*uid.JPEG2000TransferSyntaxes, uid.RLELossless):
        dataset = pydicom.dcmread(path)
        dataset.compress(syntax, encoding_plugin="pylibjpeg", **options)
        dataset.save_as(path)
        return
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    change.SetInput(reader.GetImage())
    if syntax == uid.JPEGLSNearLossless:
        codec = gdcm.JPEGLSCodec()
        codec.SetLossless(False)
        codec.SetLossyError(3)
        change.SetUserCodec(codec)
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def patterns(path) -> np.ndarray:
    return stored_values(pydicom.dcmread(path))[0]


def caught_at(path, **options) -> UnreadableImage:
    with pytest.raises(UnreadableImage) as caught, silent():
        read_dicom(path, RULES, **options)
    assert caught.value.detail
    return caught.value


NATIVE = [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]
NATIVE += [uid.DeflatedExplicitVRLittleEndian]
LOSSLESS = [uid.RLELossless, uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless]


@pytest.mark.parametrize("syntax", NATIVE + LOSSLESS)
@pytest.mark.parametrize(("bits", "signed"), [(8, 0), (8, 1), (10, 0), (12, 0), (12, 1), (14, 1), (16, 0), (16, 1)])
def test_every_lossless_syntax_gives_the_stored_values(tmp_path, syntax, bits, signed):
    values = np.random.default_rng(bits).integers(0, 2**bits, (40, 32)) - signed * 2 ** (bits - 1)
    values = values.astype(("i" if signed else "u") + str(1 if bits == 8 else 2))
    native = syntax if syntax in NATIVE else uid.ExplicitVRLittleEndian
    written(tmp_path / "a", values, native, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=signed)
    if syntax in LOSSLESS:
        compressed(tmp_path / "a", syntax)
    assert pydicom.dcmread(tmp_path / "a").file_meta.TransferSyntaxUID == syntax
    pixels, facts = read_dicom(tmp_path / "a", RULES)
    low = -(2 ** (bits - 1)) if signed else 0
    np.testing.assert_array_equal(pixels, np.rint((values.astype(int) - low) / (2**bits - 1) * 65535))
    np.testing.assert_array_equal(patterns(tmp_path / "a"), values.astype(int) % 2**bits)
    written(tmp_path / "b", values, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=signed)
    assert facts["digest"] == read_dicom(tmp_path / "b", RULES)[1]["digest"]
    assert facts["reduced"] == 1
    assert "background" not in facts


@pytest.mark.parametrize("alike", ["8 bits in 16", "8 bits in 8, words"])
def test_8_bits_are_read_however_they_are_allocated(tmp_path, alike):
    values = np.arange(96, dtype=np.uint8).reshape(12, 8)
    if alike == "8 bits in 16":
        written(tmp_path / "a", values.astype(np.uint16), BitsStored=8, HighBit=7)
    else:
        data = values.reshape(-1, 2)[:, ::-1].tobytes()  # a word of big-endian OW holds its first pixel low
        written(tmp_path / "a", values, uid.ExplicitVRBigEndian, BitsStored=8, HighBit=7, PixelData=data)
        content = (tmp_path / "a").read_bytes()
        place = content.find(b"\x7f\xe0\x00\x10") + 4
        assert content[place : place + 2] == b"OB"
        (tmp_path / "a").write_bytes(content[:place] + b"OW" + content[place + 2 :])
    np.testing.assert_array_equal(patterns(tmp_path / "a"), values)


def smooth(rows=64, columns=64, most=4095) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    return np.rint(most * (0.5 + 0.25 * np.sin(x / 9) + 0.25 * np.cos(y / 7))).astype(np.uint16)


@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit])
def test_lossy_jpeg_of_8_bits_comes_close(tmp_path, syntax):
    values, buffer = smooth(most=255).astype(np.uint8), BytesIO()
    Image.fromarray(values).save(buffer, "JPEG", quality=95)
    written(tmp_path / "a", values, syntax, buffer.getvalue(), BitsStored=8, HighBit=7)
    assert np.abs(patterns(tmp_path / "a").astype(int) - values).max() <= 3


def test_lossy_jpeg_of_12_bits_is_refused_for_want_of_a_decoder(tmp_path):
    header = b"\xff\xd8\xff\xc1" + struct.pack(">HBHHBBBB", 11, 12, 64, 64, 1, 1, 0x11, 0)
    written(tmp_path / "a", None, uid.JPEGExtended12Bit, header + bytes(20) + b"\xff\xd9")
    assert caught_at(tmp_path / "a").reason == "unreadable"


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_near_lossless_jpeg_ls_comes_close_and_white_stays_white(tmp_path, bits):
    values = np.random.default_rng(0).integers(0, 2**bits, (64, 64)).astype(np.uint8 if bits == 8 else np.uint16)
    written(tmp_path / "a", values, BitsStored=bits, HighBit=bits - 1)
    compressed(tmp_path / "a", uid.JPEGLSNearLossless)
    assert np.abs(patterns(tmp_path / "a").astype(int) - values).max() <= 3


def test_lossy_jpeg_2000_comes_close(tmp_path):
    values = written(tmp_path / "a", smooth())
    compressed(tmp_path / "a", uid.JPEG2000, j2k_cr=[10])
    assert np.abs(patterns(tmp_path / "a").astype(int) - values).mean() < 4


@pytest.mark.parametrize("syntax", [uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K])
def test_high_throughput_jpeg_2000_is_read(tmp_path, syntax):
    values = (61 * np.arange(64)).reshape(8, 8)
    written(tmp_path / "a", values.astype(np.uint16), syntax, HTJ2K)
    np.testing.assert_array_equal(patterns(tmp_path / "a"), values)


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGLosslessSV1, uid.JPEG2000Lossless])
def test_a_frame_in_several_fragments_is_one(tmp_path, syntax):
    values = written(tmp_path / "a")
    compressed(tmp_path / "a", syntax)
    dataset = pydicom.dcmread(tmp_path / "a")
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([frame], fragments_per_frame=1 if syntax == uid.RLELossless else 3)
    dataset.save_as(tmp_path / "a")
    np.testing.assert_array_equal(patterns(tmp_path / "a"), values)


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, *LOSSLESS])
@pytest.mark.parametrize(("bits", "high"), [(12, 11), (12, 15), (10, 12), (8, 15)])
def test_overlays_beside_the_values_are_masked_wherever_the_high_bit_is(tmp_path, syntax, bits, high):
    rng = np.random.default_rng(0)
    values, beside = rng.integers(0, 2**bits, (32, 32)), rng.integers(0, 2**16, (32, 32))
    shift = high + 1 - bits
    mixed = (values << shift) | (beside & ~((2**bits - 1) << shift) & 0xFFFF)
    native = syntax if syntax in NATIVE else uid.ExplicitVRLittleEndian
    # the encoders write as many bits as are stored: those of the whole word, which is changed afterwards
    written(tmp_path / "a", mixed.astype(np.uint16), native, BitsStored=16, HighBit=15)
    if syntax in LOSSLESS:
        compressed(tmp_path / "a", syntax)
    dataset = pydicom.dcmread(tmp_path / "a")
    dataset.BitsStored, dataset.HighBit = bits, high
    dataset.save_as(tmp_path / "a")
    np.testing.assert_array_equal(patterns(tmp_path / "a"), values)


def test_of_more_frames_than_the_header_names_the_first_is_decoded(tmp_path):
    values = written(tmp_path / "a")
    compressed(tmp_path / "a", uid.JPEG2000Lossless)
    dataset = pydicom.dcmread(tmp_path / "a")
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([frame, frame])
    dataset.save_as(tmp_path / "a")
    np.testing.assert_array_equal(patterns(tmp_path / "a"), values)


def test_a_codestream_of_the_stored_bits_alone_needs_no_shift(tmp_path):
    values = written(tmp_path / "a")
    compressed(tmp_path / "a", uid.JPEG2000Lossless)
    dataset = pydicom.dcmread(tmp_path / "a")
    dataset.HighBit = 15
    dataset.save_as(tmp_path / "a")
    np.testing.assert_array_equal(patterns(tmp_path / "a"), values)


def test_long_pixels_are_read_after_the_header(tmp_path, monkeypatch):
    values = written(tmp_path / "a")
    compressed(tmp_path / "a", uid.RLELossless)
    monkeypatch.setattr(dicom, "DEFERRED", 100)
    facts = dicom.header_facts

    def without_pixels(dataset):
        assert [element.value for element in dataset.values() if element.tag == 0x7FE00010] == [None]
        return facts(dataset)

    monkeypatch.setattr(dicom, "header_facts", without_pixels)
    pixels, _ = read_dicom(tmp_path / "a", RULES)
    np.testing.assert_array_equal(pixels, np.rint(values / 4095 * 65535))


def unread(*arguments, **options):
    pytest.fail("pixels are decoded")  # no Exception, which would be caught


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"NumberOfFrames": 3}, "multi_frame"),
        ({"Modality": "CT"}, "not_mammogram"),
        ({"BurnedInAnnotation": "YES"}, "burned_in_annotation"),
        ({"Rows": 60000, "Columns": 60000}, "unreadable"),
        ({"Rows": 6000, "Columns": 6000}, "unreadable"),
        ({"Rows": 32}, "unreadable"),  # another frame, or a header of another image
        ({"Rows": 0}, "unreadable"),
        ({"PixelData": bytes(10)}, "unreadable"),
        ({"PhotometricInterpretation": "RGB"}, "unreadable"),
        ({"BitsStored": 17}, "unreadable"),
        ({"BitsStored": 0}, "unreadable"),
        ({"HighBit": 10}, "unreadable"),
        ({"HighBit": 16}, "unreadable"),
        ({"BitsAllocated": 32, "PixelData": bytes(4 * 64 * 64)}, "unreadable"),
        ({"drop": ["PixelRepresentation"]}, "unreadable"),
        ({"drop": ["BitsStored"]}, "unreadable"),
    ],
)
def test_what_is_no_image_is_refused_before_it_is_decoded(tmp_path, monkeypatch, elements, reason):
    written(tmp_path / "secret_name", **elements)
    monkeypatch.setattr(dicom, "pixel_array", unread)
    caught = caught_at(tmp_path / "secret_name")
    assert caught.reason == reason
    assert "secret_name" not in caught.detail


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("rows", [63, 65, 7000])
def test_more_or_fewer_pixels_than_the_codestream_has_are_refused_before_it_is_decoded(
    tmp_path, monkeypatch, syntax, rows
):
    if syntax == uid.RLELossless and rows < 7000:
        pytest.skip("RLE has no size of its own: the decoder finds out")
    written(tmp_path / "a")
    compressed(tmp_path / "a", syntax)
    dataset = pydicom.dcmread(tmp_path / "a")
    dataset.Rows = rows
    dataset.Columns = 64 if rows < 7000 else 7000
    dataset.save_as(tmp_path / "a")
    monkeypatch.setattr(dicom, "pixel_array", unread)
    assert caught_at(tmp_path / "a").reason == "unreadable"


@pytest.mark.parametrize("why", ["too many pixels", "more bits than allocated"])
def test_a_codestream_beyond_the_limits_is_refused_before_it_is_decoded(tmp_path, monkeypatch, why):
    written(tmp_path / "a")
    compressed(tmp_path / "a", uid.JPEG2000Lossless)
    dataset = pydicom.dcmread(tmp_path / "a")
    if why == "too many pixels":
        monkeypatch.setattr(dicom, "MOST_PIXELS", 64 * 64 - 1)
    else:
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.save_as(tmp_path / "a")
    monkeypatch.setattr(dicom, "pixel_array", unread)
    assert caught_at(tmp_path / "a").reason == "unreadable"


@pytest.mark.parametrize("syntax", [uid.JPEGLosslessSV1, uid.JPEGLSLossless])
def test_the_first_bytes_of_jpeg_2000_may_stand_in_a_comment_of_jpeg(tmp_path, syntax):
    values = written(tmp_path / "a")
    compressed(tmp_path / "a", syntax)
    dataset = pydicom.dcmread(tmp_path / "a")
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    comment = b"\xff\xfe\0\x32" + b"\xff\x4f\xff\x51".ljust(48, b"\1")
    dataset.PixelData = encapsulate([frame[:2] + comment + frame[2:]])
    dataset.save_as(tmp_path / "a")
    np.testing.assert_array_equal(patterns(tmp_path / "a"), values)


def test_jpeg_2000_in_its_file_format_is_read_at_any_resolution(tmp_path):
    values = smooth()
    written(tmp_path / "a", values)
    compressed(tmp_path / "a", uid.JPEG2000Lossless)
    dataset = pydicom.dcmread(tmp_path / "a")
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    header = struct.pack(">IIBBBB", *values.shape, 0, 1, 11, 7) + b"\0\0"
    boxes = [(b"jP  ", b"\r\n\x87\n"), (b"ftyp", b"jp2 \0\0\0\0jp2 ")]
    colour = struct.pack(">I4sBBBI", 15, b"colr", 1, 0, 0, 17)
    boxes += [(b"jp2h", struct.pack(">I4s", 8 + len(header), b"ihdr") + header + colour), (b"jp2c", frame)]
    dataset.PixelData = encapsulate([b"".join(struct.pack(">I4s", 8 + len(box), name) + box for name, box in boxes)])
    dataset.save_as(tmp_path / "a")
    np.testing.assert_array_equal(patterns(tmp_path / "a"), values)
    assert read_dicom(tmp_path / "a", RULES, cover=(32, 32))[1]["reduced"] == 2


def test_a_codestream_that_claims_more_than_it_can_hold_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    written(tmp_path / "a")
    compressed(tmp_path / "a", uid.JPEGLosslessSV1)
    dataset = pydicom.dcmread(tmp_path / "a")
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    place = frame.find(b"\xff\xc3") + 5
    assert frame[place : place + 4] == struct.pack(">HH", 64, 64)
    dataset.Rows = dataset.Columns = 7000
    dataset.PixelData = encapsulate([frame[:place] + struct.pack(">HH", 7000, 7000) + frame[place + 4 :]])
    dataset.save_as(tmp_path / "a")
    monkeypatch.setattr(dicom, "pixel_array", unread)
    assert "can't hold 7000 x 7000" in caught_at(tmp_path / "a").detail


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, *LOSSLESS])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.8])
def test_a_file_cut_short_is_unreadable(tmp_path, syntax, share):
    written(tmp_path / "a")
    if syntax in LOSSLESS:
        compressed(tmp_path / "a", syntax)
    whole = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(whole[: int(share * len(whole))])
    assert caught_at(tmp_path / "a").reason == "unreadable"


@pytest.mark.parametrize("syntax", [uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless])
def test_a_codestream_cut_short_in_a_whole_file_is_unreadable(tmp_path, syntax):
    written(tmp_path / "a")
    compressed(tmp_path / "a", syntax)
    dataset = pydicom.dcmread(tmp_path / "a")
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([frame[: len(frame) // 2]])
    dataset.save_as(tmp_path / "a")
    assert caught_at(tmp_path / "a").detail == "the codestream has no end"


def encoded(path, syntax, values=None, **options) -> bytes:
    """Write a mammogram in a JPEG syntax, by Pillow where it is lossy and of 8 bits; returns its codestream."""
    if syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit):
        values, buffer = breast(noise=15) // 16 if values is None else values, BytesIO()
        values = values.astype(np.uint8)
        Image.fromarray(values).save(buffer, "JPEG", quality=90, **options)
        written(path, values, syntax, buffer.getvalue(), BitsStored=8, HighBit=7)
        return buffer.getvalue()
    written(path, breast(noise=15) if values is None else values)
    compressed(path, syntax, **options)
    return get_frame(pydicom.dcmread(path).PixelData, 0, number_of_frames=1)


def replaced(path, frame) -> None:
    dataset = pydicom.dcmread(path)
    dataset.PixelData = encapsulate([frame])
    dataset.save_as(path)


DAMAGES = {
    "cut in half, with an end": lambda data: data[: len(data) // 2] + b"\xff\xd9",
    "a third lost from the middle": lambda data: data[: len(data) // 3] + data[len(data) * 2 // 3 :],
    "a third zeroed": lambda data: data[: len(data) // 3] + bytes(len(data) // 3) + data[len(data) // 3 * 2 :],
    "a sixth zeroed": lambda data: data[: len(data) // 2] + bytes(len(data) // 6) + data[len(data) * 2 // 3 :],
    "bytes before the end": lambda data: data[:-2] + bytes(40) + data[-2:],
}


@pytest.mark.parametrize("syntax", dicom.JPEG)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_jpeg_that_decoders_fill_up_is_unreadable(tmp_path, syntax, damage):
    frame = encoded(tmp_path / "a", syntax)
    replaced(tmp_path / "a", DAMAGES[damage](frame))
    caught = caught_at(tmp_path / "a")
    assert caught.reason == "unreadable"
    assert "damaged" in caught.detail, "says libjpeg in GDCM something else?"


@pytest.mark.parametrize("options", [{"restart_marker_rows": 1}, {"restart_marker_blocks": 5}, {"optimize": True}])
@pytest.mark.parametrize("damage", [None, *DAMAGES])
def test_jpeg_with_restarts_is_read_where_it_is_whole(tmp_path, options, damage):
    frame = encoded(tmp_path / "a", uid.JPEGBaseline8Bit, **options)
    if damage is None:
        read_dicom(tmp_path / "a", RULES)
        return
    replaced(tmp_path / "a", DAMAGES[damage](frame))
    assert caught_at(tmp_path / "a").reason == "unreadable"


@pytest.mark.parametrize("syntax", dicom.JPEG)
@pytest.mark.parametrize("picture", ["breast", "zeros", "white", "bright frame", "noise", "a wide one", "a tall one"])
@pytest.mark.parametrize("fill", [b"", b"\xff\xff", b"\0", bytes(5)])
def test_whole_jpeg_is_read_whatever_it_shows_and_however_it_is_filled_up(tmp_path, syntax, picture, fill):
    values = breast(noise=0 if picture == "breast" else 15)
    if picture in ("zeros", "white"):
        values = np.full_like(values, 0 if picture == "zeros" else 4095)
    elif picture == "bright frame":
        values[:40] = values[-40:] = values[:, -40:] = 4095
    elif picture == "noise":
        values = np.random.default_rng(0).integers(0, 4096, values.shape).astype(np.uint16)
    elif picture.startswith("a "):
        values = values[:1] if picture == "a wide one" else values[:, :1]
    values = values >> 4 if syntax in dicom.LOSSY else values
    frame = encoded(tmp_path / "a", syntax, values)
    whole = patterns(tmp_path / "a")
    replaced(tmp_path / "a", frame.rstrip(b"\0")[:-2] + fill + b"\xff\xd9")
    np.testing.assert_array_equal(patterns(tmp_path / "a"), whole)
    if syntax not in dicom.LOSSY:
        np.testing.assert_array_equal(whole, values)


def test_jpeg_under_the_name_of_jpeg_2000_is_read_where_it_is_whole(tmp_path):
    frame = encoded(tmp_path / "a", uid.JPEGBaseline8Bit)
    dataset = pydicom.dcmread(tmp_path / "a")
    dataset.file_meta.TransferSyntaxUID = uid.JPEG2000
    dataset.save_as(tmp_path / "a")
    with silent():
        read_dicom(tmp_path / "a", RULES)
    for damage in DAMAGES.values():
        replaced(tmp_path / "a", damage(frame))
        assert "damaged" in caught_at(tmp_path / "a").detail


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEG2000])
@pytest.mark.parametrize("begin", [0.01, 0.4, 0.8])
@pytest.mark.parametrize("cover", [None, (60, 40)])
def test_jpeg_2000_with_a_stretch_of_zeros_is_unreadable(tmp_path, syntax, begin, cover):
    frame = encoded(tmp_path / "a", syntax, **({"j2k_cr": [3]} if syntax == uid.JPEG2000 else {}))
    first, n = frame.find(b"\xff\x93") + 2 + int(begin * len(frame)), len(frame) // 6
    replaced(tmp_path / "a", frame[:first] + bytes(n) + frame[first + n :])
    assert "zeros" in caught_at(tmp_path / "a", cover=cover).detail


@pytest.mark.parametrize("order", ["LRCP", "RLCP", "RPCL", "PCRL", "CPRL"])
def test_the_empty_packets_of_jpeg_2000_are_no_stretch_of_zeros(tmp_path, order):
    values, buffer = np.zeros((1024, 768), np.uint16), BytesIO()
    values[300:540, :160] = breast(noise=15)  # 3 of 4 precincts are empty, a byte each in each of 8 layers
    fine = {"precinct_size": (64, 64), "codeblock_size": (32, 32), "quality_layers": [80, 60, 40, 30, 20, 15, 12, 10]}
    Image.fromarray(values).save(buffer, "JPEG2000", irreversible=True, no_jp2=True, progression=order, **fine)
    precision = {"BitsStored": 16, "HighBit": 15}
    written(tmp_path / "a", values, uid.JPEG2000, buffer.getvalue() + bytes(len(buffer.getvalue()) % 2), **precision)
    read_dicom(tmp_path / "a", RULES)


@pytest.mark.parametrize("failing", [False, True])
def test_what_is_written_to_stderr_goes_there_again_after_a_decoding(tmp_path, capfd, failing):
    frame = encoded(tmp_path / "a", uid.JPEGLosslessSV1)
    if failing:
        replaced(tmp_path / "a", DAMAGES["a third zeroed"](frame))
    with pytest.raises(UnreadableImage) if failing else nullcontext():
        read_dicom(tmp_path / "a", RULES)
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_a_bare_preamble_is_unreadable(tmp_path):
    (tmp_path / "a").write_bytes(bytes(128) + b"DICM")
    assert caught_at(tmp_path / "a").reason == "unreadable"


def test_lut_data_shorter_than_declared_are_named(tmp_path):
    written(tmp_path / "a", VOILUTSequence=[table([1, 2, 3], 0, 8, entries=4)])
    assert caught_at(tmp_path / "a").detail == "LUT Data (0028,3006) is not 4 entries of 8 bits as declared"


def test_an_impossible_birth_date_loses_no_image(tmp_path):
    with pydicom.config.disable_value_validation():
        written(tmp_path / "a", PatientBirthDate="19991399", WindowCenter="2048", WindowWidth="4096")
    read_dicom(tmp_path / "a", RULES)


@pytest.mark.parametrize(
    ("elements", "stored", "shown"),
    [
        # no window: 12 bits over the full range
        ({}, [0, 1365, 2730, 4095, 0], [0, 21845, 43690, 65535, 0]),
        # LINEAR, c 2048, w 4: 0 up to 2046, 1 above 2049, between (x - 2047.5) / 3 + 0.5
        (
            {"WindowCenter": 2048, "WindowWidth": 4},
            [2046, 2047, 2048, 2049, 2050],
            [0, 65535 / 3, 65535 * 2 / 3, 65535, 65535],
        ),
        # a width of 1 is a step: 0 up to c - 0.5, 1 above; an empty function is LINEAR
        (
            {"WindowCenter": 100, "WindowWidth": 1, "VOILUTFunction": ""},
            [0, 99, 100, 101, 4095],
            [0, 0, 65535, 65535, 65535],
        ),
        # LINEAR_EXACT: (x - 2048) / 4 + 0.5
        (
            {"WindowCenter": 2048, "WindowWidth": 4, "VOILUTFunction": "LINEAR_EXACT"},
            [2046, 2047, 2048, 2049, 2050],
            [0, 16383.75, 32767.5, 49151.25, 65535],
        ),
        # SIGMOID: 1 / (1 + exp(-4 (x - 100) / 40)); at 110 exp(-1)
        (
            {"WindowCenter": 100, "WindowWidth": 40, "VOILUTFunction": "SIGMOID"},
            [100, 110, 90, 120, 0],
            [32767.5, 65535 * 0.7310586, 65535 * 0.2689414, 65535 * 0.8807971, 65535 * 0.0000454],
        ),
        # rescale goes before the window: 2 x + 10
        (
            {"RescaleSlope": 2, "RescaleIntercept": 10, "WindowCenter": 20, "WindowWidth": 4}
            | {"VOILUTFunction": "LINEAR_EXACT"},
            [4, 5, 6, 0, 9],
            [0, 32767.5, 65535, 0, 65535],
        ),
        # a falling slope turns the order round
        ({"RescaleSlope": -1, "RescaleIntercept": 4095}, [0, 4095, 1365, 2730, 0], [65535, 0, 43690, 21845, 65535]),
        # a VOI LUT of 3 entries from 100, 8 bits out: clamped at both ends, and preferred to a window
        (
            {"VOILUTSequence": [table([0, 51, 255], 100, 8)], "WindowCenter": 0, "WindowWidth": 9},
            [0, 100, 101, 102, 4095],
            [0, 0, 13107, 65535, 65535],
        ),
        # two entries of 8 bits in a word: 10, 20, 30, 250
        (
            {"VOILUTSequence": [table([0x140A, 0xFA1E], 0, 8, "OW", entries=4)]},
            [0, 1, 2, 3, 4],
            [257 * 10, 257 * 20, 257 * 30, 257 * 250, 257 * 250],
        ),
        # a modality LUT before the window
        (
            {"ModalityLUTSequence": [table([10, 20, 30], 0, 16)], "WindowCenter": 20, "WindowWidth": 20}
            | {"VOILUTFunction": "LINEAR_EXACT"},
            [0, 1, 2, 3, 4095],
            [0, 32767.5, 65535, 65535, 65535],
        ),
        # a modality LUT before a VOI LUT that begins at its 20
        (
            {"ModalityLUTSequence": [table([10, 20, 30], 0, 16)]}
            | {"VOILUTSequence": [table([*range(5, 15), 255], 20, 8)]},
            [0, 1, 2, 3, 4095],
            [257 * 5, 257 * 5, 65535, 65535, 65535],
        ),
        # two's complement: -2048 is darkest
        ({"signed": 1}, [0x800, 0xFFF, 0, 0x7FF, 0x801], [0, 32759.5, 32775.5, 65535, 16]),
        # a table from -2 on, its first value as SS and as US; and of unsigned values from 40,000 on, as SS
        (
            {"signed": 1, "VOILUTSequence": [table([0, 51, 102, 255], -2, 8)]},
            [0xFFE, 0xFFF, 0, 1, 0x800],
            [0, 13107, 26214, 65535, 0],
        ),
        (
            {"signed": 1, "VOILUTSequence": [table([0, 51, 102, 255], 65534, 8)]},
            [0xFFE, 0xFFF, 0, 1, 0x800],
            [0, 13107, 26214, 65535, 0],
        ),
        (
            {"bits": 16, "VOILUTSequence": [table([0, 51, 255], 40000 - 65536, 8)]},
            [40000, 40001, 40002, 0, 65535],
            [0, 13107, 65535, 0, 65535],
        ),
    ],
)
def test_five_pixels_by_hand(elements, stored, shown):
    with pydicom.config.disable_value_validation():
        found = present(image(**elements), stored)
    assert found.dtype == np.uint16
    np.testing.assert_allclose(found.astype(float), shown, atol=0.51)  # rounding to whole numbers


def test_a_table_of_65536_entries_declares_0():
    dataset = image(bits=16, VOILUTSequence=[table(range(65535, -1, -1), 0, 16, entries=0)])
    assert present(dataset, [0, 1, 65535]).tolist() == [65535, 65534, 0]


SEVERAL = {"WindowCenter": [1000, 2000], "WindowWidth": [2, 4], "VOILUTFunction": "LINEAR_EXACT"}
SEVERAL["VOILUTSequence"] = [table([0, 255], 3000, 8), table([0, 51, 255], 3500, 8)]


@pytest.mark.parametrize(
    ("voi", "voi_index", "last_dark", "first_bright"),
    [
        ("lut", 0, 3000, 3001),
        ("lut", 1, 3500, 3502),
        ("lut", 5, 3500, 3502),  # the last where there are fewer
        ("window", 0, 999, 1001),
        ("window", 1, 1998, 2002),
        ("window", 9, 1998, 2002),
        ("none", 1, 0, 4095),
    ],
)
def test_which_of_several_luts_and_windows(voi, voi_index, last_dark, first_bright):
    shown = present(image(**SEVERAL), np.arange(4096), voi, voi_index)
    assert np.flatnonzero(shown == 0)[-1] == last_dark
    assert np.flatnonzero(shown == 65535)[0] == first_bright


@pytest.mark.parametrize(("voi", "missing"), [("lut", "VOILUTSequence"), ("window", "WindowCenter")])
def test_the_other_kind_stands_in_for_the_one_asked_for(voi, missing):
    dataset = image(**SEVERAL)
    delattr(dataset, missing)
    other = {"lut": "window", "window": "lut"}[voi]
    expected = present(image(**SEVERAL), np.arange(4096), other)
    np.testing.assert_array_equal(present(dataset, np.arange(4096), voi), expected)


def test_an_unknown_voi_is_named(tmp_path):
    with pytest.raises(ValueError, match="voi: 'windows' is unknown; allowed are lut, window, none"):
        read_dicom(tmp_path / "a", RULES, "windows")


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("index", [0, 1])
def test_windows_equal_pydicom(function, signed, index):
    dataset = image(signed=signed, WindowCenter=[900, -50], WindowWidth=[1500, 700], VOILUTFunction=function)
    dataset.RescaleSlope, dataset.RescaleIntercept = 1.5, -300
    stored = np.arange(4096, dtype=np.uint16)
    values = stored.astype(int) - 4096 * (stored >= 2048) if signed else stored
    theirs = apply_windowing(apply_modality_lut(values, dataset), dataset, index)
    low, high = (value * 1.5 - 300 for value in ((-2048, 2047) if signed else (0, 4095)))
    expected = (theirs - low) / (high - low) * 65535
    np.testing.assert_allclose(present(dataset, stored, "window", index).astype(float), expected, atol=0.51)


@pytest.mark.parametrize("vr", ["US", "OW"])
def test_luts_equal_pydicom(vr):
    curve = np.rint(4095 * (np.arange(3000) / 2999) ** 0.7).astype(int)
    dataset = image(VOILUTSequence=[table([0, 4095], 0, 12, vr), table(curve.tolist(), 400, 12, vr)])
    dataset.ModalityLUTSequence = [table(np.arange(4096)[::-1].tolist(), 0, 16, vr)]
    dataset.set_original_encoding(False, True)
    stored = np.arange(4096, dtype=np.uint16)
    expected = apply_voi(apply_modality_lut(stored, dataset), dataset, 1) / 4095 * 65535
    np.testing.assert_allclose(present(dataset, stored, "lut", 1).astype(float), expected, atol=0.51)
    del dataset.ModalityLUTSequence
    expected = apply_voi_lut(stored, dataset) / 4095 * 65535
    np.testing.assert_allclose(present(dataset, stored).astype(float), expected, atol=0.51)


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("vr", ["US", "OW"])
def test_lut_data_are_read_in_the_file_s_byte_order(tmp_path, syntax, vr):
    item = table([0x0001, 0x0100, 0x0FFF], 1000, 12, vr)
    if vr == "OW" and syntax == uid.ExplicitVRBigEndian:
        item.LUTData = np.array([0x0001, 0x0100, 0x0FFF], ">u2").tobytes()
    values = written(tmp_path / "a", syntax=syntax, VOILUTSequence=[item])
    expected = np.select([values <= 1000, values == 1001], [1, 256], 4095) / 4095 * 65535
    np.testing.assert_array_equal(read_dicom(tmp_path / "a", RULES)[0], np.rint(expected))


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 9, "WindowWidth": -1},
        {"WindowCenter": 9, "WindowWidth": 0.5},
        {"WindowCenter": 9, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 9, "WindowWidth": 9, "VOILUTFunction": "CUBIC"},
        {"WindowCenter": float("nan"), "WindowWidth": 9},
        {"WindowCenter": 9, "WindowWidth": float("inf")},
        {"RescaleSlope": float("nan"), "RescaleIntercept": 0},
        {"RescaleSlope": 0, "RescaleIntercept": 0},
        {"RescaleSlope": 1, "RescaleIntercept": float("inf")},
        {"RescaleSlope": 1e308, "RescaleIntercept": 0},
        {"VOILUTSequence": [table([1, 2, 3], 0, 8, entries=4)]},
        {"VOILUTSequence": [table([1, 2, 3], 0, 8, entries=0)]},
        {"VOILUTSequence": [table([1, 2, 300], 0, 8)]},
        {"VOILUTSequence": [table([1, 2, 3], 0, 17)]},
        {"VOILUTSequence": [table([1, 2, 3], 0, 0)]},
        {"VOILUTSequence": [table([1, 2, 3], 0, 16, LUTDescriptor=[3, 0])]},
        {"VOILUTSequence": [table([1, 2, 3], 0, 16, "OW", LUTData=b"\1\2\3")]},
        {"VOILUTSequence": [table([], 0, 16, entries=3, LUTData=None)]},
        {"VOILUTSequence": [Dataset()]},
        {"ModalityLUTSequence": [Dataset()]},
        {"PixelPaddingValue": [1, 2]},
    ],
)
def test_degenerate_tables_and_windows_are_unreadable(tmp_path, elements):
    with pydicom.config.disable_value_validation():
        written(tmp_path / "a", **elements)
    assert caught_at(tmp_path / "a").reason == "unreadable"


@pytest.mark.parametrize(
    ("photometric", "shape", "dark_first"),
    [
        ("MONOCHROME2", None, True),
        ("MONOCHROME2", "IDENTITY", True),
        ("MONOCHROME1", None, False),
        ("MONOCHROME1", "IDENTITY", False),
        ("MONOCHROME1", "INVERSE", False),  # the two say one thing, undone once
    ],
)
def test_inversion_happens_once(photometric, shape, dark_first):
    dataset = image(photometric=photometric, **({"PresentationLUTShape": shape} if shape else {}))
    expected = [0, 65535] if dark_first else [65535, 0]
    assert present(dataset, [0, 4095]).tolist() == expected


def breast(rows=240, columns=160, noise=0, seed=0) -> np.ndarray:
    """Stored values of 12 bits: a textured breast at the left in flat dark air, and a bright label."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    inside = ((y - rows * 0.5) / (rows * 0.4)) ** 2 + (x / (columns * 0.6)) ** 2 < 1
    texture = np.kron(rng.normal(2200, 500, (rows // 8, columns // 8)), np.ones((8, 8)))
    values = np.where(inside, texture, 100) + rng.normal(0, noise, (rows, columns))
    values[8:24, columns - 40 : columns - 16] = 4000
    return np.clip(values, 0, 4095).astype(np.uint16)


CONTRADICTORY = {"photometric": "MONOCHROME2", "PresentationLUTShape": "INVERSE"}


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("noise", [0, 15])
def test_air_decides_where_monochrome2_and_inverse_contradict_each_other(negative, mirrored, noise):
    values = breast(noise=noise)
    values[72:168, 16:80] = 4095  # flat, but at no edge
    values = values[:, :: -1 if mirrored else 1]
    shown = present(image(**CONTRADICTORY), 4095 - values if negative else values)
    np.testing.assert_array_equal(shown, np.rint(values / 4095 * 65535))


@pytest.mark.parametrize("negative", [False, True])
def test_a_film_s_surroundings_do_not_count_as_air(negative):
    values = np.full((300, 300), 7, np.uint16)
    film = breast()
    values[30:270, 70:230] = 4095 - film if negative else film
    shown = present(image(**CONTRADICTORY, PixelPaddingValue=7), values)[30:270, 70:230]
    np.testing.assert_array_equal(shown, np.rint(film / 4095 * 65535))


@pytest.mark.parametrize("negative", [False, True])
def test_air_that_is_padding_decides_too(negative):
    values = breast()
    dark = 4095 if negative else 0
    values = np.where(values == 100, dark, 4095 - values if negative else values)
    shown = present(image(**CONTRADICTORY, PixelPaddingValue=dark), values)
    np.testing.assert_array_equal(shown == 0, values == dark)
    assert shown[120, 20] == round((4095 - values[120, 20] if negative else values[120, 20]) / 4095 * 65535)


PICTURES = ("no air", "as much black as white", "three times as much black as white", "little black")


@pytest.mark.parametrize("picture", [*PICTURES, "black above", "flat"])
def test_a_picture_without_a_verdict_is_contradictory(tmp_path, picture):
    rng = np.random.default_rng(0)
    values = np.kron(rng.integers(0, 3500, (30, 20)), np.ones((8, 8))) + rng.integers(0, 595, (240, 160))
    values = values.astype(np.uint16)
    if picture == "as much black as white":
        values[:, :40], values[:, 120:] = 0, 4095
    if picture == "three times as much black as white":
        values[:, :20], values[:, 154:] = 0, 4095
    if picture == "little black":
        values[:, :7] = 0
    if picture == "black above":
        values[:80] = 0
    if picture == "flat":
        values[:] = 100
    written(tmp_path / "a", values, PresentationLUTShape="INVERSE")
    assert caught_at(tmp_path / "a").reason == "contradictory_inversion"


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("elements", "padded"),
    [
        ({"PixelPaddingValue": 5}, [5]),
        ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 2}, [0, 1, 2]),
        ({"PixelPaddingValue": 4095, "PixelPaddingRangeLimit": 4093}, [4093, 4094, 4095]),
        ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 0}, [0]),
        ({"PixelPaddingRangeLimit": 2}, []),
        ({"PixelPaddingValue": 65535}, []),  # no stored value can be that
        ({"signed": 1, "PixelPaddingValue": -2000}, [4096 - 2000]),
        ({"signed": 1, "PixelPaddingValue": 65536 - 2000}, [4096 - 2000]),  # US where SS is meant
        ({"signed": 1, "PixelPaddingValue": -2, "PixelPaddingRangeLimit": 1}, [0, 1, 4094, 4095]),
        ({"signed": 1, "PixelPaddingValue": -2, "PixelPaddingRangeLimit": 0}, [0, 4094, 4095]),
    ],
)
def test_padding_is_dark_whatever_the_photometric_interpretation(photometric, elements, padded):
    with pydicom.config.disable_value_validation():
        dataset = image(photometric=photometric, RescaleSlope=3, RescaleIntercept=-70, **elements)
        found = np.flatnonzero(padding_table(dataset))
        assert found.tolist() == padded
        shown = present(dataset, np.arange(4096))
        for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
            if name in dataset:
                delattr(dataset, name)
        expected = present(dataset, np.arange(4096))
    expected[padded] = 0
    np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_of_a_file_is_its_background(tmp_path, photometric):
    value = int(written(tmp_path / "a")[0, 0])
    values = written(tmp_path / "a", PixelPaddingValue=value, photometric=photometric)
    pixels, facts = read_dicom(tmp_path / "a", RULES)
    np.testing.assert_array_equal(facts["background"], values == value)
    assert (pixels[values == value] == 0).all()
    assert facts["background"].any()


def halved(path, values, times, syntax=uid.JPEG2000Lossless) -> tuple[np.ndarray, dict]:
    """A file of these values, read at a size to be had by halving them some times."""
    written(path, values)
    compressed(path, syntax)
    return read_dicom(path, RULES, cover=tuple(-(-side >> times) for side in values.shape))


def low_pass(values: np.ndarray) -> np.ndarray:
    """LL band of the reversible transform of JPEG 2000 (ISO/IEC 15444-1 F.4.8.1), of even sides."""
    for axis in (0, 1):
        even, odd = np.moveaxis(values, axis, 0)[::2], np.moveaxis(values, axis, 0)[1::2]
        high = odd - (even + np.concatenate([even[1:], even[-1:]])) // 2
        values = np.moveaxis(even + (np.concatenate([high[:1], high[:-1]]) + high + 2) // 4, 0, axis)
    return values


@pytest.mark.parametrize("times", [0, 1, 2, 3])
def test_jpeg_2000_is_read_at_the_lowest_resolution_that_covers(tmp_path, times):
    values = smooth(96, 64)
    pixels, facts = halved(tmp_path / "a", values, times)
    expected = values.astype(int)
    for _ in range(times):
        expected = low_pass(expected)
    expected = expected.clip(0, 4095)  # the last step of decoding
    assert facts["reduced"] == 2**times
    assert (facts["rows"], facts["columns"]) == (96, 64)
    np.testing.assert_array_equal(pixels, np.rint(expected / 4095 * 65535))


def test_a_lower_resolution_has_another_digest_and_is_left_to_who_asks(tmp_path):
    _, facts = halved(tmp_path / "a", smooth(), 1)
    whole = read_dicom(tmp_path / "a", RULES)[1]
    assert (facts["reduced"], whole["reduced"]) == (2, 1)
    assert facts["digest"] != whole["digest"]


@pytest.mark.parametrize(
    ("shape", "cover", "reduced"),
    [
        ((64, 64), (16, 16), 4),
        ((64, 64), (17, 17), 2),
        ((64, 64), (33, 33), 1),
        ((64, 64), (100, 16), 4),  # one side is enough
        ((64, 64), (1, 1), 32),  # as far as there are levels
        ((65, 64), (16, 16), 2),  # Pillow rounds 16.25 to 16, the codestream up to 17
        ((63, 62), (16, 16), 4),
    ],
)
def test_how_far_jpeg_2000_is_halved(tmp_path, shape, cover, reduced):
    written(tmp_path / "a", smooth(*shape))
    compressed(tmp_path / "a", uid.JPEG2000Lossless)
    pixels, facts = read_dicom(tmp_path / "a", RULES, cover=cover)
    assert facts["reduced"] == reduced
    assert pixels.shape == tuple(-(-side // reduced) for side in shape)


REASONS = ("signed", "signed by the header alone", "a bright padding", "more bits than stored", "another syntax")


@pytest.mark.parametrize("why", [*REASONS, "air decides"])
def test_what_cannot_be_read_smaller_is_read_whole(tmp_path, why):
    values, elements, syntax = breast(), {}, uid.JPEG2000Lossless
    if why == "signed":
        values, elements = values.astype(np.int16) - 2048, {"PixelRepresentation": 1}
    if why == "a bright padding":
        values[:, 150:], elements = 4095, {"PixelPaddingValue": 4095}
    if why == "air decides":
        values[:, 150:], elements = 0, {"PixelPaddingValue": 0, "PresentationLUTShape": "INVERSE"}
    if why == "another syntax":
        syntax = uid.JPEGLosslessSV1
    stored = 16 if why == "more bits than stored" else 12
    written(tmp_path / "a", values, BitsStored=stored, HighBit=stored - 1, **elements)
    compressed(tmp_path / "a", syntax)
    dataset = pydicom.dcmread(tmp_path / "a")
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.PixelRepresentation = int(why.startswith("signed"))
    dataset.save_as(tmp_path / "a")
    pixels, facts = read_dicom(tmp_path / "a", RULES, cover=(60, 40))
    assert facts["reduced"] == 1
    np.testing.assert_array_equal(pixels, read_dicom(tmp_path / "a", RULES)[0])


def test_a_dark_padding_is_background_at_a_lower_resolution_too(tmp_path):
    values = breast()
    values[:, 120:] = 0
    written(tmp_path / "a", values, PixelPaddingValue=0)
    compressed(tmp_path / "a", uid.JPEG2000Lossless)
    _, facts = read_dicom(tmp_path / "a", RULES, cover=(60, 40))
    assert facts["reduced"] == 4
    assert facts["background"][:, 31:].all()
    assert not facts["background"][15:45, :15].any()  # tissue; beside an edge, air falls to 0


@pytest.mark.parametrize("fragments", [1, 4])
def test_fragments_and_8_bits_are_read_at_a_lower_resolution(tmp_path, fragments):
    values = smooth(most=255).astype(np.uint8)
    written(tmp_path / "a", values, BitsStored=8, HighBit=7)
    compressed(tmp_path / "a", uid.JPEG2000Lossless)
    dataset = pydicom.dcmread(tmp_path / "a")
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([frame], fragments_per_frame=fragments)
    dataset.save_as(tmp_path / "a")
    pixels, facts = read_dicom(tmp_path / "a", RULES, cover=(32, 32))
    assert facts["reduced"] == 2
    np.testing.assert_array_equal(pixels, 257 * low_pass(values.astype(int)).clip(0, 255))


def test_a_panic_of_a_decoder_is_no_exception(tmp_path):
    """Whoever calls `read_dicom` has to catch BaseException."""
    written(tmp_path / "a")
    compressed(tmp_path / "a", uid.RLELossless)
    content = bytearray((tmp_path / "a").read_bytes())
    content[content.find(b"\xe0\x7f\x10\x00") + 96] = 127  # more literal bytes than the segment's pixels
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(BaseException, match="index out of bounds") as caught, silent():
        read_dicom(tmp_path / "a", RULES)
    assert not isinstance(caught.value, Exception), "another decoder: find bytes on which this one panics"
