"""The DICOM objects of a synthetic archive: views, storage classes and syntaxes beside the plain mammogram's.

Each is valid where it claims to be, but for the kinds that stand for a fault. Sections are those of DICOM PS3.3 unless
another part is named.
"""

from datetime import date
from pathlib import Path

import gdcm
import numpy as np
from pydicom import dcmwrite, uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from mammolib.phantom import Case
from mammolib.phantom_dicom import code_item, filled, item, patient_and_study, phantom_dataset, to_stored, write_dataset

# Shares of the images a transfer syntax
SYNTAXES = {
    **dict.fromkeys((uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.JPEG2000Lossless), 4),
    **dict.fromkeys((uid.RLELossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000), 2),
    **dict.fromkeys((uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian, uid.JPEGLossless), 1),
    uid.JPEGLSNearLossless: 1,
}
FILM_SYNTAXES = {uid.ExplicitVRLittleEndian: 2, uid.JPEGBaseline8Bit: 2, uid.JPEGExtended12Bit: 1}
FILE_NAMES = {"directory": "DICOMDIR", "text": "README.TXT", "thumbnails": "Thumbs.db"}
NO_DICOM = {"text": b"Exported images and their folders.\r\n", "thumbnails": bytes.fromhex("d0cf11e0a1b11ae1") * 64}
LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)


def absent(*keywords: str) -> dict:
    """Elements that a header does not have."""
    return dict.fromkeys(keywords)


RAW = {"SOPClassUID": uid.DigitalMammographyXRayImageStorageForProcessing, "PresentationIntentType": "FOR PROCESSING"}
NO_WINDOW = absent("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction", "VOILUTSequence")
OTHER_CLASS = absent("PositionerType", "OrganExposed", "ImageLaterality", "PresentationIntentType", "VOILUTSequence")
PLATE = {"SOPClassUID": uid.ComputedRadiographyImageStorage, "BodyPartExamined": "BREAST", "ViewCodeSequence": None}
HAND = {"Modality": "CR", "BodyPartExamined": "HAND", "ViewPosition": "AP"} | absent("AnatomicRegionSequence")
FILM = OTHER_CLASS | NO_WINDOW | absent("PresentationLUTShape", "ImagerPixelSpacing", "ViewCodeSequence")
EIGHT_BITS = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PhotometricInterpretation": "MONOCHROME2"}
SLICES = OTHER_CLASS | NO_WINDOW | absent("ViewPosition", "AnatomicRegionSequence", "ImagerPixelSpacing")
TOMOSYNTHESIS = ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"]
CONTRAST = {"ContrastBolusAgent": "Iohexol"}
# Kind -> elements of the header, None for one that is absent
ELEMENTS = {
    "raw": NO_WINDOW | RAW,
    "cr_plate": OTHER_CLASS | PLATE,
    "cr_plate_as_cr": OTHER_CLASS | PLATE | {"Modality": "CR"},
    "hand": OTHER_CLASS | PLATE | HAND,
    "film": FILM | EIGHT_BITS | {"SOPClassUID": uid.SecondaryCaptureImageStorage, "ConversionType": "DF"},
    "tomosynthesis": SLICES | {"SOPClassUID": uid.BreastTomosynthesisImageStorage, "ImageType": TOMOSYNTHESIS},
    "no_intent": absent("PresentationIntentType"),
    "no_date": {"StudyDate": ""} | absent("SeriesDate", "AcquisitionDate", "ContentDate"),
    "no_side": absent("ImageLaterality"),
    "burned_in": {"BurnedInAnnotation": "YES"},
    "micrometres": {"ImagerPixelSpacing": ["70", "70"]},
    "spot_described": {"SeriesDescription": "SPOT COMPRESSION"},
    "implant_pushed": {"BreastImplantPresent": "YES"},
    "stereotactic": {"ImageType": ["ORIGINAL", "PRIMARY", "STEREO_SCOUT"]},
    "generated": {"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"]},
    "generated_described": {"ImageType": ["DERIVED", "PRIMARY", ""], "SeriesDescription": "C-View"},
    "low_energy": CONTRAST | {"ImageType": ["ORIGINAL", "PRIMARY", "POST_CONTRAST", "", "LOW_ENERGY"]},
    "recombined": CONTRAST | {"ImageType": ["DERIVED", "PRIMARY", "POST_CONTRAST", "SUBTRACTION", ""]},
}
MODIFIERS = {  # None: no sequence, so that the description alone tells
    "spot": codes.cid4015.SpotCompression,
    "tangential": codes.cid4015.Tangential,
    "implant_pushed": codes.cid4015.ImplantDisplaced,
    **absent("spot_described", "generated_described"),
}


def write_object(path: Path, presentation: np.ndarray, case: Case, row: dict, pixel_spacing_mm: float) -> None:
    """Write one file of a plan in place.

    Parameters
    ----------
    presentation
        (rows, columns) float in [0, 1], dense bright.
    row
        Of the plan: kind, patient_id, image_date, acquisition_time, instance, unit, several_windows, syntax.
    """
    kind, patient_id, day, name = row["kind"], row["patient_id"], row["image_date"].date(), str(row["instance"])
    if kind in NO_DICOM:
        path.write_bytes(NO_DICOM[kind])
    elif kind == "directory":
        write_directory(path)
    elif kind == "report":
        write_dataset(path, report(case, patient_id, day, name), uid.ExplicitVRLittleEndian)
    else:
        unit = "inverted" if kind == "raw" else row["unit"]  # a detector counts what the breast lets through
        ds = phantom_dataset(presentation, case, patient_id, day, pixel_spacing_mm, unit, name, kind == "magnified")
        name_exposure(ds, case, row)
        filled(ds, ELEMENTS.get(kind, {}))
        set_view_and_side(ds, case, kind)
        if kind == "film":
            digitise(ds, presentation, pixel_spacing_mm, row["syntax"])
        if kind == "tomosynthesis":
            add_slices(ds, presentation, case, pixel_spacing_mm)
        write_dataset(path, ds, uid.ExplicitVRLittleEndian)
        if row["syntax"] != uid.ExplicitVRLittleEndian:
            transcode(path, row["syntax"])


def name_exposure(ds: Dataset, case: Case, row: dict) -> None:
    """Study, series, moment and source of a plan's row; files of one moment come from one exposure (C.7.6.1.1.4)."""
    names = [str(case.seed), row["patient_id"], ds.StudyDate]
    ds.StudyInstanceUID = generate_uid(entropy_srcs=["study", *names])
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=["series", *names, case.view, case.laterality, row["kind"]])
    ds.AcquisitionTime = ds.ContentTime = row["acquisition_time"]
    exposure = generate_uid(entropy_srcs=["exposure", *names, row["acquisition_time"]])
    if row["kind"] == "raw":
        ds.SOPInstanceUID = exposure
    else:
        purpose = [code_item("121322", "DCM", "Source image for image processing operation")]
        source = {"ReferencedSOPClassUID": RAW["SOPClassUID"], "ReferencedSOPInstanceUID": exposure}
        ds.SourceImageSequence = [item(**source, PurposeOfReferenceCodeSequence=purpose)]
    if row["several_windows"] and "WindowCenter" in ds:
        width = int(ds.WindowWidth)
        ds.WindowCenter, ds.WindowWidth = [ds.WindowCenter] * 3, [f"{width}", f"{width // 2}", f"{2 * width}"]
        ds.WindowCenterWidthExplanation = ["NORMAL", "HARDER", "SOFTER"]


def set_view_and_side(ds: Dataset, case: Case, kind: str) -> None:
    """View modifiers, a specimen for a view, and Laterality, which older classes have for the side (C.7.3.1)."""
    if kind == "specimen":
        view = code_item(*codes.cid4014.TissueSpecimenFromBreast[:3])
        ds.ViewCodeSequence = [filled(view, {"ViewModifierCodeSequence": []})]
        del ds.ViewPosition
    if kind in MODIFIERS:
        modifier = MODIFIERS[kind]
        filled(ds.ViewCodeSequence[0], {"ViewModifierCodeSequence": [code_item(*modifier[:3])] if modifier else None})
    if kind in ("cr_plate", "cr_plate_as_cr", "film", "hand"):
        ds.Laterality = case.laterality
    if kind == "two_sides":
        ds.Laterality = "L" if case.laterality == "R" else "R"


def digitise(ds: Dataset, presentation: np.ndarray, pixel_spacing_mm: float, syntax: str) -> None:
    """Make an image a film that was scanned in 8 bits (C.8.6)."""
    ds.NominalScannedPixelSpacing = [f"{pixel_spacing_mm:g}"] * 2
    ds.Rows = len(presentation) // 2 * 2  # an odd number of bytes would need padding
    ds.PixelData = np.rint(255 * presentation[: ds.Rows]).astype(np.uint8).tobytes()
    ds["PixelData"].VR = "OB"
    if syntax in LOSSY:
        ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", "8"
        ds.LossyImageCompressionMethod = "ISO_10918_1"


def add_slices(ds: Dataset, presentation: np.ndarray, case: Case, pixel_spacing_mm: float) -> None:
    """Make an image a small Breast Tomosynthesis Image of three slices (A.55)."""
    frames = np.stack([np.roll(presentation, k, axis=0)[::4, ::4] for k in range(3)])
    ds.NumberOfFrames, ds.Rows, ds.Columns = frames.shape
    ds.PixelData = to_stored(frames, "linear").astype("<u2").tobytes()
    ds.PhotometricInterpretation, ds.PresentationLUTShape = "MONOCHROME2", "IDENTITY"
    ds.BreastImplantPresent, ds.ContentQualification, ds.PositionReferenceIndicator = "NO", "PRODUCT", ""
    ds.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame", ds.SOPInstanceUID])
    volume = {"PixelPresentation": "MONOCHROME", "VolumetricProperties": "VOLUME"}
    filled(ds, volume := volume | {"VolumeBasedCalculationTechnique": "TOMOSYNTHESIS"})
    breast = item(FrameLaterality=case.laterality, AnatomicRegionSequence=[code_item("76752008", "SCT", "Breast")])
    pitch = item(PixelSpacing=[f"{4 * pixel_spacing_mm:g}"] * 2, SliceThickness="1")
    shared = {"FrameAnatomySequence": [breast], "PixelMeasuresSequence": [pitch]}
    shared["PlaneOrientationSequence"] = [item(ImageOrientationPatient=["1", "0", "0", "0", "1", "0"])]
    shared["PixelValueTransformationSequence"] = [item(RescaleIntercept="0", RescaleSlope="1", RescaleType="US")]
    shared["FrameVOILUTSequence"] = [item(WindowCenter="1900", WindowWidth="3600")]
    frame = {"FrameContentSequence": [Dataset()], "XRay3DFrameTypeSequence": [item(FrameType=TOMOSYNTHESIS, **volume)]}
    places = [item(ImagePositionPatient=["0", "0", f"{k}"]) for k in range(3)]
    ds.SharedFunctionalGroupsSequence = [item(**shared)]
    ds.PerFrameFunctionalGroupsSequence = [item(PlanePositionSequence=[place], **frame) for place in places]


def report(case: Case, patient_id: str, day: date, name: str) -> Dataset:
    """A structured report without content (A.35.1)."""
    ds = filled(patient_and_study(case, patient_id, day), absent("PresentationIntentType", "AcquisitionDate"))
    del ds.AcquisitionTime
    ds.SOPClassUID, ds.SOPInstanceUID = uid.BasicTextSRStorage, generate_uid(entropy_srcs=["report", patient_id, name])
    ds.Modality, ds.Manufacturer, ds.InstanceNumber = "SR", "mammolib phantom", "1"
    ds.ReferencedPerformedProcedureStepSequence = ds.PerformedProcedureCodeSequence = []
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    ds.ConceptNameCodeSequence = [code_item("111400", "DCM", "Breast Imaging Report")]
    return ds


def write_directory(path: Path) -> None:
    """Write a DICOMDIR without records (F.3)."""
    ds = item(FileSetID="PHANTOM", FileSetConsistencyFlag=0, DirectoryRecordSequence=[])
    ds.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    ds.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 0
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = uid.MediaStorageDirectoryStorage
    ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["directory", *path.parts[-4:]])
    dcmwrite(path, ds, enforce_file_format=True)


def transcode(path: Path, syntax: str) -> None:
    """Write an image again in another transfer syntax, in place; RuntimeError where GDCM can't."""
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    done = reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    change.SetInput(reader.GetImage())
    if syntax in LOSSY:
        codec = gdcm.JPEGCodec()
        codec.SetLossless(False)
        change.SetUserCodec(codec)
    done = done and change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    if not (done and writer.Write()):
        raise RuntimeError(f"{path.name}: GDCM can't write it as {uid.UID(syntax).name}")
