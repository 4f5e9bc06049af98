"""From DICOM to Grad-CAM: what the notebooks of the study share."""

__version__ = "0.1.0"
