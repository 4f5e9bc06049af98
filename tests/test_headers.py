"""Headers: facts by hand, one element for each rule and a near miss beside it, and elements of any content."""

import json
import math

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import UID_dictionary

from mammolib.headers import SCAN_TAGS, UnreadableImage, header_facts, judge
from mammolib.terms import REASONS

MG, MG_RAW = "1.2.840.10008.5.1.4.1.1.1.2", "1.2.840.10008.5.1.4.1.1.1.2.1"
CR, DX, DX_RAW = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1.1"
SC, SC_WORDS = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.3"
CT, BTO = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.13.1.3"
RULES = {
    "storage_classes": ["mammography", "computed_radiography", "secondary_capture"],
    "keep_burned_in": False,
    "spacing_range_mm": [0.01, 2.0],
}
IDENTITY = ("PatientID", "StudyInstanceUID", "SOPInstanceUID", "source_uid", "image_date", "acquisition_time")


@pytest.fixture(autouse=True)
def _as_files_are_read():
    with pydicom.config.disable_value_validation():
        yield


def coded(value, scheme="SCT", **elements) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "meaning"
    return changed(item, **elements)


def changed(dataset, **elements) -> Dataset:
    """Set elements, but those that are None."""
    for name, value in elements.items():
        if value is not None:
            setattr(dataset, name, value)
    return dataset


def mammogram(**elements) -> Dataset:
    """A header that may enter, of a right cranio-caudal view."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"
    usual = {"SOPClassUID": MG, "SOPInstanceUID": "1.2.3", "StudyInstanceUID": "1.2", "PatientID": "0007"}
    usual |= {"ImageType": ["DERIVED", "PRIMARY", ""], "AcquisitionDate": "20060105", "AcquisitionTime": "101530.25"}
    usual |= {"Modality": "MG", "PresentationIntentType": "FOR PRESENTATION", "Manufacturer": "HOLOGIC, Inc."}
    usual |= {"BodyPartExamined": "BREAST", "PositionerType": "MAMMOGRAPHIC", "ViewPosition": "CC"}
    usual |= {"ViewCodeSequence": [coded("399162004")], "AnatomicRegionSequence": [coded("76752008")]}
    usual |= {"ImageLaterality": "R", "Rows": 3328, "Columns": 2560, "BitsStored": 12, "SamplesPerPixel": 1}
    usual |= {"PhotometricInterpretation": "MONOCHROME2", "ImagerPixelSpacing": [0.07, 0.07]}
    usual |= {"BurnedInAnnotation": "NO", "WindowCenter": 2048, "WindowWidth": 4096}
    usual |= {"SourceImageSequence": [changed(Dataset(), ReferencedSOPInstanceUID="1.2.4")]}
    return changed(dataset, **(usual | elements))


def film(**elements) -> Dataset:
    """A digitised film as archives hold it: secondary capture, Modality RG, no spacing but Spatial Resolution."""
    dataset = Dataset()
    usual = {"SOPClassUID": SC, "Modality": "RG", "BodyPartExamined": "BREAST", "ViewPosition": "MLO"}
    usual |= {"Laterality": "L", "SpatialResolution": ".05", "ImageType": ["DERIVED", "PRIMARY"]}
    return changed(dataset, **(usual | elements))


def verdict(dataset, **rules) -> str:
    reason, detail = judge(header_facts(dataset), **(RULES | rules))
    assert bool(detail) == bool(reason)
    return reason


def test_the_facts_of_a_good_header_by_hand():
    assert header_facts(mammogram()) == {
        **{"PatientID": "0007", "StudyInstanceUID": "1.2", "SOPInstanceUID": "1.2.3", "source_uid": "1.2.4"},
        **{"image_date": "2006-01-05", "acquisition_time": "101530.25", "storage_class": "mammography"},
        **{"Modality": "MG", "PresentationIntentType": "FOR PRESENTATION", "frames": 1, "samples": 1, "breast": True},
        **{"image_kind": "", "view_kind": "", "view_kind_source": "", "BurnedInAnnotation": "NO"},
        **{"QualityControlImage": "NO", "ImageLaterality": "R", "laterality_contradictory": False},
        **{"ViewPosition": "CC", "Manufacturer": "Hologic", "magnification": None, "pixel_spacing_mm": 0.07},
        **{"pixel_spacing_source": "ImagerPixelSpacing", "rows": 3328, "columns": 2560, "bits": 12},
        **{"PhotometricInterpretation": "MONOCHROME2", "syntax": "JPEGLosslessSV1", "voi": "linear"},
    }
    assert verdict(mammogram()) == ""


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"SOPClassUID": None}, "unreadable"),
        ({"Modality": None}, "unreadable"),
        ({"Modality": "US"}, "not_mammogram"),
        ({"SamplesPerPixel": 3}, "not_mammogram"),
        ({"SOPClassUID": CT}, "storage_class"),
        ({"SOPClassUID": MG_RAW}, "for_processing"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "for_processing"),
        ({"SOPClassUID": DX_RAW}, "for_processing"),
        ({"NumberOfFrames": 2}, "multi_frame"),
        ({"SOPClassUID": BTO}, "multi_frame"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.4"}, "multi_frame"),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMO_PROJ", "RIGHT"]}, "multi_frame"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "TOMO_SCOUT"]}, "multi_frame"),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"]}, "synthesised"),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMO", "GENERATED_2D", "", "150000"]}, "synthesised"),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMO_2D", "LEFT"]}, "synthesised"),
        ({"SeriesDescription": "R CC C-View"}, "synthesised"),
        ({"SeriesDescription": "S-View R-CC"}, "synthesised"),
        ({"SeriesDescription": "Intelligent 2D"}, "synthesised"),
        ({"SeriesDescription": "V-Preview"}, "synthesised"),
        ({"SeriesDescription": "INSIGHT 2D"}, "synthesised"),
        ({"SeriesDescription": "synthesized mammogram"}, "synthesised"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "", "LOW_ENERGY"]}, "contrast_enhanced"),
        ({"ImageType": ["DERIVED", "SECONDARY", "", "LOW_ENER"]}, "contrast_enhanced"),
        ({"ImageType": ["DERIVED", "PRIMARY", "", "RECOMBINED"]}, "contrast_enhanced"),
        ({"ImageType": ["DERIVED", "PRIMARY", "POST_CONTRAST", "SUBTRACTION"]}, "contrast_enhanced"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "POST_CONTRAST", "", "LOW_ENERGY"]}, "contrast_enhanced"),
        ({"ContrastBolusAgent": "IOHEXOL"}, "contrast_enhanced"),
        ({"ContrastBolusAgentSequence": [coded("109219007")]}, "contrast_enhanced"),
        ({"AcquisitionDeviceProcessingCode": "GEMS_CESM_1"}, "contrast_enhanced"),
        ({"SeriesDescription": "Contrast-enhanced mammography"}, "contrast_enhanced"),
        ({"EstimatedRadiographicMagnificationFactor": 1.21}, "magnification_view"),
        ({"SpecimenDescriptionSequence": [Dataset()]}, "specimen"),
        ({"BodyPartExamined": "BREAST SPECIMEN"}, "specimen"),
        ({"OrganExposed": "SPECIMEN"}, "specimen"),
        ({"ManufacturerModelName": "Trident"}, "specimen"),
        ({"Manufacturer": "Faxitron X-Ray"}, "specimen"),
        ({"ViewPosition": "RMLO-ID"}, "implant_displaced"),
        ({"ViewPosition": "TAN"}, "tangential_view"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "STEREO_SCOUT"]}, "biopsy_view"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "PREFIRE_MINUS"]}, "biopsy_view"),
        ({"BurnedInAnnotation": "YES"}, "burned_in_annotation"),
        ({"ImageLaterality": "B"}, "laterality_contradictory"),
        ({"Laterality": "L"}, "laterality_contradictory"),
        ({"AnatomicRegionSequence": [coded("80248007")]}, "laterality_contradictory"),
        ({"ImagerPixelSpacing": [0.009, 0.009]}, "spacing_implausible"),
        ({"ImagerPixelSpacing": [2.1, 2.1]}, "spacing_implausible"),
        ({"ImagerPixelSpacing": [-0.1, 0.3]}, "spacing_implausible"),
        ({"ImagerPixelSpacing": [0.1, 0.1, 0.1]}, "spacing_implausible"),
        ({"ImagerPixelSpacing": 0.1}, "spacing_implausible"),
        ({"EstimatedRadiographicMagnificationFactor": -1}, "spacing_implausible"),
    ],
)
def test_one_element_keeps_an_image_out(elements, reason):
    assert verdict(mammogram(**elements)) == reason


@pytest.mark.parametrize(
    "elements",
    [
        {"SOPClassUID": CR},
        {"SOPClassUID": DX},
        {"SOPClassUID": SC},
        {"SOPClassUID": SC_WORDS, "NumberOfFrames": 1},
        {"Modality": "CR"},
        {"Modality": "mg"},
        {"BodyPartExamined": None, "PositionerType": None, "AnatomicRegionSequence": None},
        {"SamplesPerPixel": None},
        {"PresentationIntentType": None},
        {"NumberOfFrames": 1},
        {"NumberOfFrames": ""},
        {"ImageType": None},
        {"ImageType": ["ORIGINAL", "PRIMARY", "", "", "", "", "", "", "150000"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "PRE_CONTRAST"]},
        {"ImageType": ["ORIGINAL", "PRIMARY"], "SeriesDescription": "2D and C-View"},
        {"SeriesDescription": "R CC VIEW with tomosynthesis"},
        {"AcquisitionDeviceProcessingDescription": "PREMIUM_VIEW, eContrast 3"},
        {"SeriesDescription": "IMAGES of Magnolia ward"},
        {"SeriesDescription": "Right breast with implant"},
        {"ContrastBolusAgent": "None"},
        {"ContrastBolusAgentSequence": []},
        {"SpecimenDescriptionSequence": []},
        {"BreastImplantPresent": "YES"},
        {"EstimatedRadiographicMagnificationFactor": 1.2},
        {"EstimatedRadiographicMagnificationFactor": 0},
        {"PaddleDescription": "24x30 CM FAST"},
        {"ViewPosition": "XCCL"},
        {"ViewPosition": "LM", "ImageLaterality": "L"},
        {"BurnedInAnnotation": None},
        {"BurnedInAnnotation": "probably"},
        {"Laterality": "R"},
        {"Laterality": "B"},
        {"ImageLaterality": None},
        {"AnatomicRegionSequence": [coded("76752008", AnatomicRegionModifierSequence=[coded("24028007")])]},
        {"ImagerPixelSpacing": None},
        {"ImagerPixelSpacing": [0.01, 0.01]},
        {"ImagerPixelSpacing": [2, 2]},
        {"QualityControlImage": "YES"},
    ],
)
def test_a_near_miss_stays(elements):
    assert verdict(mammogram(**elements)) == ""


def test_a_missing_intent_is_taken_as_for_presentation_and_can_be_counted():
    assert header_facts(mammogram(PresentationIntentType=None))["PresentationIntentType"] == ""
    assert header_facts(mammogram(PresentationIntentType=None, SOPClassUID=MG_RAW))["PresentationIntentType"] == (
        "FOR PROCESSING"
    )


def test_parameters_open_and_close_a_rule():
    plate, burned, coarse = mammogram(SOPClassUID=CR), mammogram(BurnedInAnnotation="YES"), mammogram()
    assert verdict(plate, storage_classes=["mammography"]) == "storage_class"
    assert verdict(burned, keep_burned_in=True) == ""
    assert verdict(coarse, spacing_range_mm=[0.08, 2.0]) == "spacing_implausible"
    assert verdict(mammogram(SOPClassUID=BTO), storage_classes=["tomosynthesis"]) == "multi_frame"


def test_the_reasons_come_in_the_order_of_the_closed_list():
    """A header with everything wrong, mended step by step, gives each reason once and in order."""
    facts = header_facts(mammogram()) | {"storage_class": "", "breast": False, "BurnedInAnnotation": "YES"}
    facts |= {"PresentationIntentType": "FOR PROCESSING", "frames": 9, "image_kind": "synthesised"}
    facts |= {"view_kind": "specimen", "laterality_contradictory": True, "pixel_spacing_mm": None}
    mended = [{"storage_class": "not_image"}, {"storage_class": "other_image"}, {"breast": True}]
    mended += [{"storage_class": "mammography"}, {"PresentationIntentType": ""}, {"frames": 1}, {"image_kind": ""}]
    mended += [{"view_kind": ""}, {"BurnedInAnnotation": "NO"}, {"laterality_contradictory": False}]
    found = []
    for step in [{}, *mended]:
        facts |= step
        found.append(judge(facts, **RULES)[0])
    order = [
        "unreadable",
        "not_image",
        "not_mammogram",
        "storage_class",
        "for_processing",
        "multi_frame",
        "synthesised",
    ]
    order += ["specimen", "burned_in_annotation", "laterality_contradictory", "spacing_implausible"]
    assert found == order
    assert sorted(order, key=list(REASONS).index) == order


@pytest.mark.parametrize(
    "uid",
    [
        "1.2.840.10008.5.1.4.1.1.88.50",  # Mammography CAD SR
        "1.2.840.10008.5.1.4.1.1.88.59",  # Key Object Selection
        "1.2.840.10008.5.1.4.1.1.11.1",  # Grayscale Softcopy Presentation State
        "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF
        "1.3.6.1.4.1.99999.1",  # unknown, without Rows
    ],
)
def test_reports_and_other_objects_are_no_images(uid):
    dataset = changed(Dataset(), SOPClassUID=uid, Modality="SR", BodyPartExamined="BREAST")
    assert verdict(dataset) == "not_image"


def test_a_directory_is_no_image():
    dataset = changed(Dataset(), FileSetID="EXPORT")
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    assert verdict(dataset) == "not_image"


def test_an_unknown_class_with_rows_is_an_image_not_admitted():
    assert verdict(mammogram(SOPClassUID="1.3.6.1.4.1.99999.1")) == "storage_class"


def test_one_synthesised_frame_in_a_tomosynthesis_object_is_called_synthesised():
    kind = ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"]
    assert verdict(mammogram(SOPClassUID=BTO, ImageType=kind, NumberOfFrames=1)) == "synthesised"
    slices = mammogram(SOPClassUID=BTO, ImageType=["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"], NumberOfFrames=60)
    assert header_facts(slices)["image_kind"] == ""


def test_a_digitised_film_of_modality_rg_enters_with_its_scanner_s_pitch():
    facts = header_facts(film())
    assert judge(facts, **RULES) == ("", "")
    names = ("storage_class", "Modality", "ImageLaterality", "ViewPosition", "pixel_spacing_mm", "pixel_spacing_source")
    assert [facts[name] for name in names] == ["secondary_capture", "RG", "L", "MLO", 0.05, "SpatialResolution"]


@pytest.mark.parametrize(
    ("elements", "breast"),
    [
        ({}, True),
        ({"Modality": "CR", "SOPClassUID": CR}, True),
        ({"BodyPartExamined": "CHEST", "ViewPosition": "PA"}, False),
        ({"BodyPartExamined": "L MAMMA", "ViewPosition": ""}, True),
        ({"BodyPartExamined": "", "ViewPosition": "AP", "PositionerType": "MAMMOGRAPHIC"}, True),
        ({"BodyPartExamined": "", "ViewPosition": "LL", "PositionerType": "NONE"}, False),
        ({"BodyPartExamined": "", "ViewPosition": "", "AnatomicRegionSequence": [coded("T-04000", "SNM3")]}, True),
        ({"BodyPartExamined": "", "ViewPosition": "", "AnatomicRegionSequence": [coded("51185008")]}, False),  # chest
        ({"BodyPartExamined": "", "ViewPosition": "CC"}, True),
        ({"BodyPartExamined": "", "ViewPosition": "", "OrganExposed": "BREAST"}, True),
        ({"BodyPartExamined": "ANKLE", "ViewPosition": "ML"}, False),  # mediolateral, of an ankle too
        ({"BodyPartExamined": "", "ViewPosition": "", "ViewCodeSequence": [coded("399368009")]}, True),
        ({"Modality": "US"}, False),  # a captured screen of ultrasound of the breast
        ({"Modality": "MR"}, False),
    ],
)
def test_other_storage_classes_count_where_the_header_says_breast(elements, breast):
    assert header_facts(film(**elements))["breast"] is breast
    assert verdict(film(**elements)) == ("" if breast else "not_mammogram")


# Typed from PS3.16 CID 4014 and, for the old values, from its notes
VIEW_VALUES = [
    *(("399162004", "SCT", "CC"), ("R-10242", "SRT", "CC"), ("R-10242", "SNM3", "CC")),
    *(("399368009", "SCT", "MLO"), ("R-10226", "SRT", "MLO"), ("399260004", "SCT", "ML"), ("R-10224", "SRT", "ML")),
    *(("399352003", "SCT", "LM"), ("R-10228", "SRT", "LM"), ("399099002", "SCT", "LMO"), ("R-10230", "SRT", "LMO")),
    *(("399196006", "SCT", "FB"), ("R-10244", "SRT", "FB"), ("399188001", "SCT", "SIO"), ("R-102D0", "SRT", "SIO")),
    *(
        ("441555000", "SCT", "ISO"),
        ("R-40AAA", "SRT", "ISO"),
        ("399192008", "SCT", "XCCL"),
        ("R-1024A", "SNM3", "XCCL"),
    ),
    *(
        ("399101009", "SCT", "XCCM"),
        ("R-1024B", "SRT", "XCCM"),
        ("Y-X1770", "SNM3", "XCCL"),
        ("Y-X1771", "SNM3", "XCCM"),
    ),
    *(("R-102CF", "SNM3", "XCC"), ("399162004", "99LOCAL", ""), ("CC", "SCT", "")),
]


@pytest.mark.parametrize(("value", "scheme", "view"), VIEW_VALUES)
def test_a_view_code_names_the_view_where_view_position_is_empty(value, scheme, view):
    assert header_facts(mammogram(ViewPosition="", ViewCodeSequence=[coded(value, scheme)]))["ViewPosition"] == view
    assert header_facts(mammogram(ViewPosition="MLO", ViewCodeSequence=[coded(value, scheme)]))["ViewPosition"] == "MLO"


def test_a_modifier_takes_the_view_s_place():
    cleavage = [coded("399162004", ViewModifierCodeSequence=[coded("R-102D2", "SRT")])]
    assert header_facts(mammogram(ViewPosition="", ViewCodeSequence=cleavage))["ViewPosition"] == "CV"


# Typed from PS3.16 CID 4015: SCT, SRT and the kind; the others are views like any other
MODIFIERS = {
    **{("399163009", "R-102D6"): "magnification_view", ("399055006", "R-102D7"): "spot_view"},
    **{("399209000", "R-102D5"): "implant_displaced", ("399110001", "R-102C2"): "tangential_view"},
    **{
        ("399161006", "R-102D2"): "partial_view",
        ("399011000", "R-102D1"): "partial_view",
        ("399197002", "R-102D3"): "",
    },
    **{("399226006", "R-102D4"): "", ("414493004", "R-102CA"): "", ("415670009", "R-102C9"): ""},
    **{("442581004", "R-40AB3"): "", ("441752004", "P2-00161"): "", ("442593008", "R-40ABE"): ""},
    **{("442580003", "R-40AB2"): ""},
}


def test_the_modifiers_are_all_of_the_context_group():
    assert {value for value, _ in MODIFIERS} == {code.value for code in codes.cid4015.concepts.values()}


@pytest.mark.parametrize(("values", "kind"), MODIFIERS.items())
@pytest.mark.parametrize("scheme", ["SCT", "SRT", "SNM3"])
@pytest.mark.parametrize("beside", [False, True])
def test_view_modifiers_tell_the_kind(values, kind, scheme, beside):
    modifier = coded(values[scheme != "SCT"], scheme)
    dataset = mammogram(**{"ViewModifierCodeSequence": [modifier]} if beside else {})
    if not beside:
        dataset.ViewCodeSequence[0].ViewModifierCodeSequence = [modifier]
    facts = header_facts(dataset)
    assert (facts["view_kind"], facts["view_kind_source"]) == (kind, "ViewModifierCodeSequence" if kind else "")
    assert judge(facts, **RULES) == ((kind, "by ViewModifierCodeSequence") if kind else ("", ""))


@pytest.mark.parametrize(
    ("elements", "kind", "source"),
    [
        ({"ViewCodeSequence": [coded("127457009")]}, "specimen", "ViewCodeSequence"),
        ({"ViewCodeSequence": [coded("G-8310", "SNM3")]}, "specimen", "ViewCodeSequence"),
        ({"ViewPosition": "RMCC"}, "magnification_view", "ViewPosition"),
        ({"ViewPosition": "SMLO"}, "spot_view", "ViewPosition"),
        ({"ViewPosition": "MSMLO"}, "magnification_view", "ViewPosition"),
        ({"ViewPosition": "CCSpot"}, "spot_view", "ViewPosition"),
        ({"PaddleDescription": "10CM_MAG"}, "magnification_view", "PaddleDescription"),
        ({"PaddleDescription": "SPOT CONTACT"}, "spot_view", "PaddleDescription"),
        ({"AcquisitionDeviceProcessingDescription": "M.MAG R-CC"}, "magnification_view", None),
        ({"SeriesDescription": "R CC magnified"}, "magnification_view", "SeriesDescription"),
        ({"SeriesDescription": "拡大撮影"}, "magnification_view", "SeriesDescription"),
        ({"SeriesDescription": "Rt spot compression"}, "spot_view", "SeriesDescription"),
        ({"SeriesDescription": "Specimen"}, "specimen", "SeriesDescription"),
        ({"SeriesDescription": "Implant displaced CC"}, "implant_displaced", "SeriesDescription"),
        ({"SeriesDescription": "R tangential"}, "tangential_view", "SeriesDescription"),
        ({"SeriesDescription": "L CC Stereo Projection"}, "biopsy_view", "SeriesDescription"),
        ({"SeriesDescription": "R CC POST CLIP"}, "biopsy_view", "SeriesDescription"),
        ({"ViewPosition": "AT"}, "partial_view", "ViewPosition"),
        ({"ViewPosition": "RCV"}, "partial_view", "ViewPosition"),
    ],
)
def test_where_a_kind_comes_from_is_recorded(elements, kind, source):
    facts = header_facts(mammogram(**elements))
    assert facts["view_kind"] == kind
    assert facts["view_kind_source"] == (source or "AcquisitionDeviceProcessingDescription")
    assert judge(facts, **RULES) == (kind, f"by {facts['view_kind_source']}")


def test_lat_is_no_left_axillary_tail():
    facts = header_facts(mammogram(ViewPosition="LAT", ViewCodeSequence=[]))
    assert (facts["ViewPosition"], facts["view_kind"]) == ("", "")


def test_descriptions_give_way_to_modifiers_that_are_stated():
    """An empty sequence says that nothing modifies this view, whatever was done in the series."""
    dataset = mammogram(SeriesDescription="Mammography with spot magnification")
    assert verdict(dataset) == "magnification_view"
    dataset.ViewCodeSequence[0].ViewModifierCodeSequence = []
    assert verdict(dataset) == ""
    dataset.PaddleDescription = "SPOT"
    assert verdict(dataset) == "spot_view"


@pytest.mark.parametrize(
    ("elements", "side", "contradictory"),
    [
        ({"ImageLaterality": "L"}, "L", False),
        ({"ImageLaterality": "left"}, "L", False),
        ({"ImageLaterality": "", "Laterality": "R"}, "R", False),
        ({"ImageLaterality": None, "FrameLaterality": "L"}, "L", False),
        ({"ImageLaterality": "R", "Laterality": "L"}, "", True),
        ({"ImageLaterality": "B"}, "", True),
        ({"ImageLaterality": ["L", "R"]}, "", False),
        ({"ImageLaterality": "", "Laterality": "B"}, "", False),
        ({"ImageLaterality": "U"}, "", False),
        ({"ImageLaterality": ""}, "", False),
        ({"ImageLaterality": "", "AnatomicRegionSequence": [coded("73056007")]}, "R", False),
        ({"ImageLaterality": "", "AnatomicRegionSequence": [coded("T-04030", "SRT")]}, "L", False),
        ({"ImageLaterality": "L", "AnatomicRegionSequence": [coded("73056007")]}, "", True),
    ],
)
def test_the_side_and_what_contradicts_it(elements, side, contradictory):
    facts = header_facts(mammogram(**elements))
    assert (facts["ImageLaterality"], facts["laterality_contradictory"]) == (side, contradictory)


def test_the_side_of_functional_groups_and_region_modifiers():
    anatomy = changed(Dataset(), FrameLaterality="L")
    shared = [changed(Dataset(), FrameAnatomySequence=[anatomy])]
    assert header_facts(mammogram(ImageLaterality="", SharedFunctionalGroupsSequence=shared))["ImageLaterality"] == "L"
    region = [coded("76752008", AnatomicRegionModifierSequence=[coded("G-A101", "SRT")])]
    assert header_facts(mammogram(ImageLaterality="", AnatomicRegionSequence=region))["ImageLaterality"] == "L"


FACTOR = "EstimatedRadiographicMagnificationFactor"


@pytest.mark.parametrize(
    ("elements", "spacing", "source"),
    [
        ({"ImagerPixelSpacing": None}, None, ""),
        ({"ImagerPixelSpacing": [0.1, 0.1]}, 0.1, "ImagerPixelSpacing"),
        ({"ImagerPixelSpacing": [0.1, 0.1], FACTOR: 1.25}, 0.08, "ImagerPixelSpacing"),
        ({"ImagerPixelSpacing": [0.1, 0.1], "PixelSpacing": [74.7, 46.6]}, 0.1, "ImagerPixelSpacing"),
        (
            {"ImagerPixelSpacing": [0.1, 0.1], "PixelSpacing": [0.09, 0.09], "PixelSpacingCalibrationType": "GEOMETRY"},
            *(0.09, "PixelSpacing"),
        ),
        ({"PixelSpacing": [0.09, 0.09], "PixelSpacingCalibrationType": "unknown"}, 0.07, "ImagerPixelSpacing"),
        ({"ImagerPixelSpacing": None, "PixelSpacing": [0.05, 0.06], FACTOR: 1.1}, 0.055, "PixelSpacing"),
        ({"ImagerPixelSpacing": None, "NominalScannedPixelSpacing": [0.05, 0.05]}, 0.05, "NominalScannedPixelSpacing"),
        ({"ImagerPixelSpacing": None, "PixelSpacing": [0.1, 0.1], "SpatialResolution": 9}, 0.1, "PixelSpacing"),
        ({"ImagerPixelSpacing": None, "SpatialResolution": 0.05}, None, ""),  # of a detector, no pitch
        ({"ImagerPixelSpacing": [0, 0.1]}, None, "ImagerPixelSpacing"),
        ({FACTOR: "1e-320"}, None, "ImagerPixelSpacing"),
    ],
)
def test_pixel_spacing_and_where_it_comes_from(elements, spacing, source):
    facts = header_facts(mammogram(**elements))
    assert facts["pixel_spacing_source"] == source
    assert facts["pixel_spacing_mm"] == (spacing if spacing is None else pytest.approx(spacing))


def test_the_spacing_of_film():
    assert header_facts(film(NominalScannedPixelSpacing=[0.1, 0.1]))["pixel_spacing_mm"] == pytest.approx(0.1)
    assert verdict(film(SpatialResolution=300)) == "spacing_implausible"  # dots an inch


@pytest.mark.parametrize("number", [b"nan\\0.1", b"0.1\\inf ", b"wide\\0.1", b"1e999\\1 ", b"9" * 400 + b"\\1 "])
def test_a_spacing_that_is_no_number_is_implausible(number):
    dataset = mammogram()
    dataset[Tag("ImagerPixelSpacing")] = RawDataElement(
        Tag("ImagerPixelSpacing"), "DS", len(number), number, 0, False, True
    )
    facts = header_facts(dataset)
    assert judge(facts, **RULES)[0] == "spacing_implausible"
    json.dumps(facts, allow_nan=False)


@pytest.mark.parametrize(
    ("elements", "day"),
    [
        ({}, "2006-01-05"),
        ({"AcquisitionDate": "2006.01.06"}, "2006-01-06"),
        ({"AcquisitionDate": "20061399", "StudyDate": "20060107"}, "2006-01-07"),
        ({"AcquisitionDate": "", "StudyDate": "00010101", "SeriesDate": "20060108"}, "2006-01-08"),
        ({"AcquisitionDate": None, "StudyDate": "19000101", "ContentDate": "20060109"}, "2006-01-09"),
        ({"AcquisitionDate": "2006W011", "StudyDate": "yesterday"}, ""),
        ({"AcquisitionDate": ["20060105", "20070105"]}, ""),
    ],
)
def test_the_day_of_the_image_is_the_first_date_that_is_one(elements, day):
    assert header_facts(mammogram(**elements))["image_date"] == day


@pytest.mark.parametrize(
    ("elements", "voi"),
    [
        ({"WindowCenter": None}, ""),
        ({"VOILUTFunction": "LINEAR_EXACT"}, "linear_exact"),
        ({"WindowCenter": [1, 2, 3], "WindowWidth": [4, 5, 6], "VOILUTFunction": "SIGMOID"}, "sigmoid x3"),
        ({"WindowCenter": [1, 2, 3], "WindowWidth": [4, 5]}, "linear x2"),
        ({"VOILUTSequence": [Dataset()]}, "lut+linear"),
        ({"VOILUTSequence": [Dataset(), Dataset()], "VOILUTFunction": "SIGMOID"}, "lut x2+sigmoid"),
        ({"WindowWidth": None, "VOILUTSequence": [Dataset()]}, "lut"),
        ({"VOILUTFunction": "Ann Lee"}, "other"),
    ],
)
def test_what_the_header_offers_for_presentation(elements, voi):
    assert header_facts(mammogram(**elements))["voi"] == voi


def test_transfer_syntaxes_go_by_pydicom_s_keywords():
    dataset = mammogram()
    for uid, keyword in ((None, ""), ("1.2.840.10008.1.2.5", "RLELossless"), ("1.2.3", "other"), (MG, "other")):
        dataset.file_meta = FileMetaDataset()
        if uid:
            dataset.file_meta.TransferSyntaxUID = uid
        assert header_facts(dataset)["syntax"] == keyword
    del dataset.file_meta
    assert header_facts(dataset)["syntax"] == ""


@pytest.mark.parametrize("keyword", ["NumberOfFrames", "SamplesPerPixel", FACTOR])
@pytest.mark.parametrize(("vr", "value"), [("DS", "many"), ("DS", "1\\2"), ("DS", "nan"), ("IS", "9" * 400)])
def test_a_number_that_decides_must_be_one(keyword, vr, value):
    dataset = mammogram()
    dataset[keyword] = RawDataElement(Tag(keyword), vr, len(value), value.encode(), 0, False, True)
    with pytest.raises(ValueError, match=keyword):
        header_facts(dataset)


@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_frames_are_whole_and_above_0(value):
    dataset = mammogram()
    dataset.add_new("NumberOfFrames", "FD", value)
    with pytest.raises(ValueError, match="NumberOfFrames is not a whole number above 0"):
        header_facts(dataset)


@pytest.mark.parametrize("keyword", ["ViewCodeSequence", "AnatomicRegionSequence", "SpecimenDescriptionSequence"])
def test_a_sequence_that_is_none_is_an_error(keyword):
    dataset = mammogram()
    dataset[keyword] = DataElement(Tag(keyword), "LO", "Ann Lee")
    with pytest.raises(ValueError, match=f"{keyword} is not a sequence"):
        header_facts(dataset)


def test_a_bad_describing_value_is_empty():
    facts = header_facts(mammogram(Rows=0, Columns=[1, 2], BitsStored=None, PhotometricInterpretation="GREEN"))
    names = ("rows", "columns", "bits", "PhotometricInterpretation", "acquisition_time")
    assert [facts[name] for name in names[:4]] == [None, None, None, "other"]
    assert header_facts(mammogram(AcquisitionTime="noon"))["acquisition_time"] == ""


def test_an_id_keeps_its_zeros_and_its_backslash():
    assert header_facts(mammogram(PatientID=" 00\\71 \0"))["PatientID"] == "00\\71"


def test_bytes_are_no_text():
    dataset = mammogram()
    dataset["PatientID"] = DataElement(Tag("PatientID"), "OB", b"0071")
    assert header_facts(dataset)["PatientID"] == ""


def test_a_reason_outside_the_closed_list_is_refused():
    with pytest.raises(ValueError, match="reason"):
        UnreadableImage("bad luck", "detail")


class Recorder(Dataset):
    """A dataset that keeps which of its elements were asked for."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.__dict__["asked"] = set()

    def get(self, key, default=None):
        self.__dict__["asked"].add(key)
        return super().get(key, default)


def test_the_scan_reads_what_the_facts_need_and_no_more():
    recorder = Recorder(film(BodyPartExamined="", ViewPosition="", SpatialResolution=None))
    header_facts(recorder)
    assert recorder.__dict__["asked"] == set(SCAN_TAGS)
    assert len(SCAN_TAGS) == len(set(SCAN_TAGS))


def full_header() -> Dataset:
    """Every element that is read, each with a value that shows in the facts or may."""
    region = coded("76752008", AnatomicRegionModifierSequence=[coded("24028007")])
    view = coded("399162004", ViewModifierCodeSequence=[coded("399226006")])
    anatomy = changed(Dataset(), FrameLaterality="R")
    return mammogram(
        **{"StudyDate": "20060105", "SeriesDate": "20060105", "ContentDate": "20060105", "NumberOfFrames": 1},
        **{"Laterality": "R", "FrameLaterality": "R", "AnatomicRegionSequence": [region], "ViewCodeSequence": [view]},
        **{"SharedFunctionalGroupsSequence": [changed(Dataset(), FrameAnatomySequence=[anatomy])], FACTOR: 1.05},
        **{"ViewModifierCodeSequence": [], "SpecimenDescriptionSequence": [], "ContrastBolusAgentSequence": []},
        **{"OrganExposed": "BREAST", "PaddleDescription": "18x24", "ManufacturerModelName": "Selenia"},
        **{"SeriesDescription": "R CC", "AcquisitionDeviceProcessingDescription": "std", "ContrastBolusAgent": "none"},
        **{"AcquisitionDeviceProcessingCode": "C1", "PixelSpacing": [0.065, 0.065], "QualityControlImage": "NO"},
        **{"PixelSpacingCalibrationType": "GEOMETRY", "NominalScannedPixelSpacing": [0.05, 0.05]},
        **{"SpatialResolution": 0.05, "VOILUTFunction": "SIGMOID", "VOILUTSequence": [coded("1")]},
    )


@pytest.mark.parametrize("header", [full_header, mammogram, film])
def test_the_facts_are_the_same_from_a_scan(tmp_path, header):
    dataset = header()
    dataset.PatientName, dataset.SpecificCharacterSet, dataset.SOPInstanceUID = "Ann^Lee", "ISO_IR 192", "1.2.3"
    dataset.SeriesDescription = "右CC"
    dataset.add_new("PixelData", "OW", bytes(64))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.save_as(tmp_path / "a", enforce_file_format=True)
    scanned = pydicom.dcmread(tmp_path / "a", stop_before_pixels=True, specific_tags=SCAN_TAGS)
    assert "PatientName" not in scanned
    assert header_facts(scanned) == header_facts(pydicom.dcmread(tmp_path / "a")) == header_facts(dataset)


def text_elements(dataset) -> list[tuple[Dataset, DataElement]]:
    """Elements of text in a dataset and its sequences."""
    found = []
    for element in dataset:
        if element.VR == "SQ":
            found += [pair for item in element.value for pair in text_elements(item)]
        elif element.VR in ("CS", "LO", "SH", "DA", "TM", "DS", "IS", "UI", "ST"):
            found.append((dataset, element))
    return found


def test_no_free_text_of_a_header_is_kept():
    """Every text element in turn, and all together, hold a name: no described fact and no detail does."""
    places = len(text_elements(full_header()))
    assert places > 50
    for place in range(places + 1):
        dataset = full_header()
        pairs = text_elements(dataset)
        for holder, element in pairs if place == places else pairs[place : place + 1]:
            holder[element.tag] = DataElement(element.tag, "LO", "ANN LEE")
        try:
            facts = header_facts(dataset)
            told = [value for name, value in facts.items() if name not in IDENTITY[:4]] + [judge(facts, **RULES)]
        except ValueError as error:
            told = [error]
        assert "LEE" not in str(told).upper()


def corrupt(dataset, rng) -> None:
    """Spoil one element, here or in a sequence: gone, empty, of another VR, several, long, nested or raw bytes."""
    tag = list(dataset.keys())[rng.integers(len(dataset))]
    element = dataset.get_item(tag)
    if element.VR == "SQ" and not element.is_raw and element.value and element.value[0] and rng.random() < 0.6:
        return corrupt(element.value[0], rng)
    nest = Dataset()
    for _ in range(30):
        nest = changed(Dataset(), ViewCodeSequence=[nest], AnatomicRegionSequence=[nest])
    junk = [("LO", ""), ("LO", "ANN LEE"), ("LO", ["ANN", "LEE", ""]), ("LO", "9" * 100_000), ("LO", "\x00\ud800\n右")]
    junk += [("DS", ["1", "2", "3"]), ("IS", "7" * 500), ("FD", math.nan), ("FD", [math.inf, -math.inf]), ("US", 65535)]
    junk += [("OB", rng.bytes(9)), ("SQ", Sequence([nest])), ("SQ", Sequence()), ("PN", "LEE^ANN"), ("AT", 0x00100010)]
    choice = rng.integers(len(junk) + 8)
    if choice < len(junk):
        dataset[tag] = DataElement(tag, *junk[choice])
    elif choice == len(junk):
        del dataset[tag]
    else:
        raw = rng.choice([b"", b"abc", b"1\\x\\2", b"\xff\xfe\x00", rng.bytes(13), b"\\\\\\", b"1e999", b"-0"])
        vr = rng.choice(["DS", "IS", "US", "UL", "SQ", "CS", "UI", "DA", "TM", "FD", "AT", "UN", "OW", "ZZ"])
        dataset[tag] = RawDataElement(tag, str(vr), len(raw), bytes(raw), 0, False, True)
    return None


@pytest.mark.filterwarnings("ignore:Found unknown escape sequence")
@pytest.mark.parametrize("seed", range(8))
def test_a_corrupt_header_gives_facts_or_a_value_error(seed):
    rng = np.random.default_rng(seed)
    names, outcomes = set(header_facts(full_header())), set()
    for _ in range(60):
        dataset = full_header()
        for _ in range(rng.integers(1, 4)):
            corrupt(dataset, rng)
        try:
            facts = header_facts(dataset)
        except (ValueError, TypeError):
            outcomes.add("error")
            continue
        assert set(facts) == names
        assert json.loads(json.dumps(facts, allow_nan=False)) == facts
        reason, detail = judge(facts, **RULES)
        assert reason in ("", *REASONS)
        told = [value for name, value in facts.items() if name not in IDENTITY]
        assert "LEE" not in f"{told} {detail}"
        outcomes.add(reason)
    assert {"", "error"} < outcomes, "the corruption must reach both ends to show anything"


def test_every_storage_class_of_pydicom_is_judged_without_an_error():
    """Without breast evidence none enters, whatever its class."""
    for uid, (_, kind, *_) in UID_dictionary.items():
        if kind == "SOP Class":
            dataset = changed(Dataset(), SOPClassUID=uid, Modality="OT", BodyPartExamined="CHEST", Rows=8)
            assert verdict(dataset) in ("not_mammogram", "not_image")


def test_an_id_that_no_archive_gives_is_refused():
    with pytest.raises(ValueError, match="PatientID of more than 256 characters"):
        header_facts(mammogram(PatientID="1" * 257))
    assert header_facts(mammogram(PatientID="1" * 64))["PatientID"] == "1" * 64
