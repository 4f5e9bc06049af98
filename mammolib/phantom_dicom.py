"""Write a phantom as a real mammography DICOM file: Digital Mammography X-Ray Image - For Presentation, 12 bits.

The encodings (photometric interpretation, VOI, transfer syntax) vary as they do between vendors, never with the class.
Sections are those of DICOM PS3.3 unless another part is named.
"""

import datetime
from pathlib import Path

import numpy as np
from pydicom import dcmwrite, uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import generate_uid

from mammolib.phantom import Case

MAXIMUM = 4095  # 12 bits stored
WINDOW = (1900, 3600)  # center, width of the linear windows
SIGMOID = (2048, 1600)
LUT_GAMMA = 0.7

# Share of the patients a unit, and of the images a transfer syntax.
UNITS = {"linear": 0.45, "inverted": 0.25, "sigmoid": 0.15, "lut": 0.15}
SYNTAXES = {uid.ExplicitVRLittleEndian: 0.7, uid.JPEG2000Lossless: 0.15, uid.RLELossless: 0.15}

# View codes of PS3.16 CID 4014 (SNOMED CT).
VIEW_CODES = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}
MAGNIFICATION_CODE = ("399163009", "SCT", "magnification")  # CID 4015


def to_stored(presentation: np.ndarray, unit: str) -> np.ndarray:
    """Stored 12-bit values that a viewer turns into the given presentation values in [0, 1]; inverts C.11.2."""
    p = np.clip(presentation, 0, 1)
    if unit == "inverted":  # MONOCHROME1: the lowest value is shown white
        p = 1 - p
    if unit == "sigmoid":  # C.11.2.1.3.1 solved for x
        p = np.clip(p, 0.01, 0.99)
        stored = SIGMOID[0] + SIGMOID[1] / 4 * np.log(p / (1 - p))
    elif unit == "lut":
        stored = MAXIMUM * p ** (1 / LUT_GAMMA)
    else:  # C.11.2.1.2.1 solved for x
        stored = (p - 0.5) * (WINDOW[1] - 1) + WINDOW[0] - 0.5
    return np.clip(np.rint(stored), 0, MAXIMUM).astype(np.uint16)


def filled(ds: Dataset, elements: dict) -> Dataset:
    """Set elements of a dataset, or take out those whose value is None."""
    for keyword, value in elements.items():
        if value is not None:
            setattr(ds, keyword, value)
        elif keyword in ds:
            delattr(ds, keyword)
    return ds


def item(**elements) -> Dataset:
    """One item of a sequence."""
    return filled(Dataset(), elements)


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    """One item of a code sequence (section 8.8)."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def patient_and_study(case: Case, patient_id: str, date: datetime.date) -> Dataset:
    """Patient, study, series and equipment modules; UIDs follow from the case alone."""
    ds = Dataset()
    ds.PatientName, ds.PatientID, ds.PatientSex, ds.PatientBirthDate = "PHANTOM^" + patient_id, patient_id, "F", ""
    ds.QualityControlSubject = "YES"
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = ds.AcquisitionDate = f"{date:%Y%m%d}"
    ds.StudyTime = ds.ContentTime = ds.AcquisitionTime = "120000"
    ds.AccessionNumber, ds.ReferringPhysicianName, ds.StudyID = "", "", "1"
    ds.StudyInstanceUID = generate_uid(entropy_srcs=["study", str(case.seed), patient_id])
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=["series", str(case.seed), patient_id, case.view])
    ds.Modality, ds.SeriesNumber = "MG", "1"
    ds.PresentationIntentType = "FOR PRESENTATION"
    return ds


def image_modules(ds: Dataset, case: Case, pixel_spacing_mm: float, magnified: bool) -> None:
    """DX and mammography modules (C.8.11)."""
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
    ds.InstanceNumber, ds.AcquisitionNumber = "1" if case.view == "CC" else "2", "1"
    right = case.laterality == "R"
    ds.PatientOrientation = ["P" if right else "A", "FL" if case.view == "MLO" else "L" if right else "R"]
    ds.QualityControlImage = "YES"
    ds.BurnedInAnnotation = "NO"  # a view marker identifies no patient
    ds.LossyImageCompression = "00"
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    ds.AnatomicRegionSequence = [code_item("76752008", "SCT", "Breast")]
    ds.ImageLaterality = case.laterality
    ds.OrganExposed = "BREAST"
    ds.PositionerType, ds.ViewPosition = "MAMMOGRAPHIC", case.view
    view = code_item(VIEW_CODES[case.view][0], "SCT", VIEW_CODES[case.view][1])
    view.ViewModifierCodeSequence = [code_item(*MAGNIFICATION_CODE)] if magnified else []
    ds.ViewCodeSequence = [view]
    ds.EstimatedRadiographicMagnificationFactor = "1.8" if magnified else "1"
    ds.DetectorType, ds.DetectorID, ds.FieldOfViewShape = "DIRECT", "PHANTOM", "RECTANGLE"
    ds.DetectorActiveTime, ds.DetectorConditionsNominalFlag = "", "YES"
    ds.FieldOfViewOrigin, ds.FieldOfViewRotation, ds.FieldOfViewHorizontalFlip = ["0", "0"], "0", "NO"
    ds.ImagerPixelSpacing = [f"{pixel_spacing_mm:g}"] * 2
    ds.KVP, ds.Exposure, ds.BodyPartThickness, ds.CompressionForce = "28", "60", "50", "100"
    ds.AcquisitionContextSequence = []


def presentation_modules(ds: Dataset, unit: str) -> None:
    """VOI LUT (C.11.2) and Presentation LUT Shape (C.11.6) of a unit."""
    inverted = unit == "inverted"
    ds.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    if unit == "lut":
        lut = item(LUTDescriptor=[MAXIMUM + 1, 0, 12], LUTExplanation="Phantom curve")
        curve = np.rint(MAXIMUM * (np.arange(MAXIMUM + 1) / MAXIMUM) ** LUT_GAMMA).astype("<u2")
        lut.add_new("LUTData", "OW", curve.tobytes())
        ds.VOILUTSequence = [lut]
        return
    center, width = SIGMOID if unit == "sigmoid" else WINDOW
    ds.WindowCenter, ds.WindowWidth = f"{center}", f"{width}"
    ds.VOILUTFunction = "SIGMOID" if unit == "sigmoid" else "LINEAR"


def phantom_dataset(
    presentation: np.ndarray,
    case: Case,
    patient_id: str,
    date: datetime.date,
    pixel_spacing_mm: float,
    unit: str,
    name: str,
    magnified: bool = False,
) -> Dataset:
    """One image, uncompressed, not yet in a file.

    Parameters
    ----------
    presentation
        (rows, columns) float in [0, 1], dense bright, as it is to be seen.
    unit
        A key of UNITS.
    name
        What the SOP Instance UID follows from, within the seed and the patient.
    """
    ds = patient_and_study(case, patient_id, date)
    ds.Manufacturer, ds.ManufacturerModelName = "mammolib phantom", unit
    ds.DeviceSerialNumber, ds.SoftwareVersions, ds.InstitutionName = "0", "1", ""
    image_modules(ds, case, pixel_spacing_mm, magnified)
    presentation_modules(ds, unit)
    ds.SOPClassUID = uid.DigitalMammographyXRayImageStorageForPresentation
    ds.SOPInstanceUID = generate_uid(entropy_srcs=[str(case.seed), patient_id, name])
    ds.Rows, ds.Columns = presentation.shape
    ds.SamplesPerPixel, ds.PixelRepresentation = 1, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelData = to_stored(presentation, unit).astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def write_dataset(path: Path, ds: Dataset, syntax: str) -> None:
    """Write an uncompressed little-endian dataset in a transfer syntax of SYNTAXES, in place."""
    ds.file_meta = FileMetaDataset()  # pydicom adds class and instance of the dataset as it writes
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    if syntax != uid.ExplicitVRLittleEndian:
        ds.compress(syntax, generate_instance_uid=False, encoding_plugin="pylibjpeg")
    dcmwrite(path, ds, enforce_file_format=True)
