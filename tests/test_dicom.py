"""Stored values to presentation values, by hand on five pixels and against pydicom; the gate on small files."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless, generate_uid

from mammolib.dicom import UnreadableImage, pixel_spacing, presentation_values, read_dicom
from mammolib.intake import prepare_image

PRESENTATION, PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2", "1.2.840.10008.5.1.4.1.1.1.2.1"


def image(bits=12, signed=0, photometric="MONOCHROME2", **elements) -> Dataset:
    dataset = Dataset()
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation, dataset.SamplesPerPixel = signed, 1
    dataset.PhotometricInterpretation = photometric
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def table(data, first, depth) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(data), first, depth]
    item.add_new("LUTData", "US", list(data))
    return item


def write(path, syntax=ExplicitVRLittleEndian, drop=(), **elements):
    """Write a 64 x 64 mammogram; returns its stored values."""
    stored = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    usual = {"SOPClassUID": PRESENTATION, "Modality": "MG", "PresentationIntentType": "FOR PRESENTATION"}
    usual |= {"SOPInstanceUID": generate_uid(), "Rows": 64, "Columns": 64, "PixelData": stored.tobytes()}
    usual |= {"ImageLaterality": "R", "ViewPosition": "CC", "Manufacturer": "maker"}
    dataset = image(**(usual | elements))
    for name in drop:
        delattr(dataset, name)
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax, encoding_plugin="pylibjpeg")
    dataset.save_as(path, enforce_file_format=True)
    return stored


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
        # the first of several windows
        ({"WindowCenter": [2048, 0], "WindowWidth": [4, 9]}, [2046, 2050, 0, 0, 0], [0, 65535, 0, 0, 0]),
        # rescale goes before the window: 2 x + 10
        (
            {"RescaleSlope": 2, "RescaleIntercept": 10, "WindowCenter": 20, "WindowWidth": 4}
            | {"VOILUTFunction": "LINEAR_EXACT"},
            [4, 5, 6, 0, 9],
            [0, 32767.5, 65535, 0, 65535],
        ),
        # a VOI LUT of 3 entries from 100, 8 bits out: clamped at both ends, and preferred to a window
        (
            {"VOILUTSequence": [table([0, 51, 255], 100, 8)], "WindowCenter": 0, "WindowWidth": 9},
            [0, 100, 101, 102, 4095],
            [0, 0, 13107, 65535, 65535],
        ),
        # a modality LUT before the window
        (
            {"ModalityLUTSequence": [table([10, 20, 30], 0, 16)], "WindowCenter": 20, "WindowWidth": 20}
            | {"VOILUTFunction": "LINEAR_EXACT"},
            [0, 1, 2, 3, 4095],
            [0, 32767.5, 65535, 65535, 65535],
        ),
        # two's complement: -2048 is darkest
        ({"signed": 1}, [0x800, 0xFFF, 0, 0x7FF, 0x801], [0, 32759.5, 32775.5, 65535, 16]),
        # overlay bits above Bits Stored are masked
        ({}, [0xF000, 0x1555, 0x2AAA, 0x8FFF, 0], [0, 21845, 43690, 65535, 0]),
    ],
)
def test_five_pixels_by_hand(elements, stored, shown):
    found = presentation_values(image(**elements), np.array(stored, np.uint16))
    assert found.dtype == np.uint16
    np.testing.assert_allclose(found.astype(float), shown, atol=0.51)  # rounding to whole numbers


@pytest.mark.parametrize(
    ("photometric", "shape", "dark_first"),
    [
        ("MONOCHROME2", None, True),
        ("MONOCHROME2", "IDENTITY", True),
        ("MONOCHROME2", "INVERSE", False),
        ("MONOCHROME1", None, False),
        ("MONOCHROME1", "IDENTITY", False),
        ("MONOCHROME1", "INVERSE", False),  # the two say one thing, undone once
    ],
)
def test_inversion_happens_once(photometric, shape, dark_first):
    dataset = image(photometric=photometric, **({"PresentationLUTShape": shape} if shape else {}))
    expected = [0, 65535] if dark_first else [65535, 0]
    assert presentation_values(dataset, np.array([0, 4095], np.uint16)).tolist() == expected


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("signed", [0, 1])
def test_windows_equal_pydicom(function, signed):
    dataset = image(signed=signed, WindowCenter=900, WindowWidth=1500, VOILUTFunction=function)
    dataset.RescaleSlope, dataset.RescaleIntercept = 1.5, -300
    stored = np.arange(4096, dtype=np.uint16)
    values = stored.astype(int) - 4096 * (stored >= 2048) if signed else stored
    theirs = apply_voi_lut(apply_modality_lut(values, dataset), dataset)
    low, high = (value * 1.5 - 300 for value in ((-2048, 2047) if signed else (0, 4095)))
    expected = (theirs - low) / (high - low) * 65535
    np.testing.assert_allclose(presentation_values(dataset, stored).astype(float), expected, atol=0.51)


def test_a_voi_lut_equals_pydicom():
    curve = np.rint(4095 * (np.arange(3000) / 2999) ** 0.7).astype(int)
    dataset = image(VOILUTSequence=[table(curve.tolist(), 400, 12)])
    stored = np.arange(4096, dtype=np.uint16)
    expected = apply_voi_lut(stored, dataset) / 4095 * 65535
    np.testing.assert_allclose(presentation_values(dataset, stored).astype(float), expected, atol=0.51)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_a_file_is_read_alike_in_every_syntax(tmp_path, syntax):
    stored = write(tmp_path / "a", syntax)
    pixels, facts = read_dicom(tmp_path / "a")
    np.testing.assert_array_equal(pixels, np.rint(stored / 4095 * 65535).astype(np.uint16))
    assert [facts[name] for name in ("ImageLaterality", "ViewPosition", "Manufacturer")] == ["R", "CC", "other"]
    assert facts["QualityControlImage"] == "NO"
    write(tmp_path / "b")
    assert facts["digest"] == read_dicom(tmp_path / "b")[1]["digest"]


def magnified():
    view, modifier = Dataset(), Dataset()
    modifier.CodeValue, modifier.CodingSchemeDesignator = "399163009", "SCT"
    view.ViewModifierCodeSequence = [modifier]
    return [view]


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Modality": "CR"}, "not_mammogram"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "not_mammogram"),
        ({"NumberOfFrames": 3}, "not_mammogram"),
        ({"SOPClassUID": PROCESSING}, "for_processing"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "for_processing"),
        ({"EstimatedRadiographicMagnificationFactor": 1.8}, "magnification_view"),
        ({"ViewCodeSequence": magnified()}, "magnification_view"),
        ({"Rows": 60000, "Columns": 60000}, "unreadable"),
        ({"PhotometricInterpretation": "RGB"}, "unreadable"),
        ({"WindowCenter": 9, "WindowWidth": -1}, "unreadable"),
        ({"PixelData": b"\x00" * 10}, "unreadable"),
        ({"drop": ["PixelRepresentation"]}, "unreadable"),
        ({"drop": ["Modality"]}, "unreadable"),
        ({"PixelSpacing": [0.005, 0.005]}, "spacing_implausible"),
        ({"PixelSpacing": [7, 7]}, "spacing_implausible"),
        ({"PixelSpacing": [-0.1, 0.3]}, "spacing_implausible"),
        ({"PixelSpacing": [0.1, 0.1, 0.1]}, "spacing_implausible"),
        ({"PixelSpacing": 0.1}, "spacing_implausible"),
        ({"ImagerPixelSpacing": [0.1, 0.1], "EstimatedRadiographicMagnificationFactor": -1}, "spacing_implausible"),
        ({"PixelSpacing": [7, 7], "Modality": "CT"}, "not_mammogram"),
    ],
)
def test_the_gate_names_its_reason(tmp_path, elements, reason):
    write(tmp_path / "secret_name", **elements)
    with pytest.raises(UnreadableImage) as caught:
        read_dicom(tmp_path / "secret_name")
    assert caught.value.reason == reason
    assert caught.value.detail
    assert "secret_name" not in caught.value.detail


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.8])
def test_a_file_cut_short_is_unreadable(tmp_path, syntax, share):
    write(tmp_path / "a", syntax)
    whole = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UnreadableImage) as caught:
        read_dicom(tmp_path / "a")
    assert caught.value.reason == "unreadable"


def test_a_bare_preamble_is_unreadable(tmp_path):
    (tmp_path / "a").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(UnreadableImage, match="unreadable"):
        read_dicom(tmp_path / "a")


@pytest.mark.parametrize("number", ["nan", "inf", "wide"])
def test_a_spacing_that_is_no_number_is_implausible(tmp_path, number):
    write(tmp_path / "a", PixelSpacing=["0.1", "0.1"])
    whole = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(whole.replace(b"0.1\\0.1 ", f"{number}\\0".encode().ljust(8)))
    with pytest.raises(UnreadableImage, match="spacing_implausible"):
        read_dicom(tmp_path / "a")


def test_no_free_text_of_a_header_is_kept(tmp_path):
    with pydicom.config.disable_value_validation():
        write(tmp_path / "a", ImageLaterality="Lee Ann", ViewPosition="ANN LEE", Manufacturer="bought by Ann Lee")
    facts = read_dicom(tmp_path / "a")[1]
    assert [facts[name] for name in ("ImageLaterality", "ViewPosition", "Manufacturer")] == ["", "", "other"]


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, (None, "")),
        ({"ImagerPixelSpacing": [0.1, 0.1]}, (0.1, "ImagerPixelSpacing")),
        (
            {"ImagerPixelSpacing": [0.1, 0.1], "EstimatedRadiographicMagnificationFactor": 1.25},
            (0.08, "ImagerPixelSpacing"),
        ),
        ({"PixelSpacing": [74.7, 46.5], "ImagerPixelSpacing": [0.1, 0.1]}, (0.1, "ImagerPixelSpacing")),
        (
            {"PixelSpacing": [0.09, 0.09], "ImagerPixelSpacing": [0.1, 0.1], "PixelSpacingCalibrationType": "GEOMETRY"},
            (0.09, "PixelSpacing"),
        ),
        ({"PixelSpacing": [0.05, 0.05]}, (0.05, "PixelSpacing")),
    ],
)
def test_pixel_spacing_and_where_it_comes_from(elements, expected):
    spacing, source = pixel_spacing(image(**elements))
    assert source == expected[1]
    assert spacing == (expected[0] if expected[0] is None else pytest.approx(expected[0]))


def test_a_panic_of_a_decoder_is_an_unreadable_file_and_prints_nothing(tmp_path, capfd):
    write(tmp_path / "a", RLELossless)
    content = bytearray((tmp_path / "a").read_bytes())
    content[content.find(b"\xe0\x7f\x10\x00") + 96] = 127  # more literal bytes than the segment's pixels
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(BaseException, match="index out of bounds") as caught:
        read_dicom(tmp_path / "a")
    assert not isinstance(caught.value, Exception), "another decoder: find bytes on which this one panics"
    capfd.readouterr()
    facts, _ = prepare_image(tmp_path / "a", "", 32, 32, "pad", "zero")
    assert facts == {"reason": "unreadable", "detail": "fails while it is read (PanicException)"}
    assert capfd.readouterr() == ("", "")


def test_the_header_s_side_counts_before_the_registry_s(tmp_path):
    """Where pixels can't tell (the same in both halves), the side decides which way the image is turned."""
    values = np.zeros((64, 64), np.uint16)
    values[4:60] = 1000 + 20 * np.arange(64)[None, :] % 600
    write(tmp_path / "a", PixelData=values.tobytes(), ImageLaterality="R")
    for side in ("", "L", "R"):
        facts, _ = prepare_image(tmp_path / "a", side, 32, 32, "pad", "zero")
        assert (facts["reason"], facts["ImageLaterality"], facts["flipped"]) == ("", "R", True), side


def test_an_impossible_birth_date_loses_no_image(tmp_path):
    with pydicom.config.disable_value_validation():
        write(tmp_path / "a", PatientBirthDate="19991399", WindowCenter="2048", WindowWidth="4096")
    read_dicom(tmp_path / "a")
