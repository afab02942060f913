"""Everything the auditor raises on purpose.

    AuditError
    ├── ConfigError                 an option, a settings file or a combination of both
    ├── ImagesError                 the search images
    ├── ModelFileError              a model file that is missing, damaged or of a kind not audited
    │   ├── UnsafeFileError         opening it would execute code
    │   ├── UnsupportedOperatorsError  ONNX operations that nothing converts
    │   └── ArchitectureError       a state dict whose architecture is unknown or does not fit
    ├── ModelMismatchError          suspect, reference and images do not fit each other
    ├── NothingToScanError          the command was given no work
    └── OutOfBudget                 internal: the time or pass budget of a detector is spent

Each message reads: what was expected, what was got, what to do. The command line prints it as one sentence and never
as a traceback.
"""

from __future__ import annotations


class AuditError(Exception):
    """Base class; ``str(error)`` is the sentence shown to the user."""

    exit_code = 2


class ConfigError(AuditError):
    """A wrong option, setting or settings file (exit code 4)."""

    exit_code = 4


class ImagesError(AuditError):
    """The folder or archive of images cannot serve as search images."""


class ModelFileError(AuditError):
    """A model file that is missing, damaged or of a kind that is not audited."""


class UnsafeFileError(ModelFileError):
    """A file that could only be opened by executing what is in it."""


class UnsupportedOperatorsError(ModelFileError):
    """An ONNX graph with operations that nothing converts."""


class ArchitectureError(ModelFileError):
    """A state dict whose architecture is unknown, or does not fit the one that was named."""


class ModelMismatchError(AuditError):
    """Suspect, reference and images disagree on classes, channels or size."""


class NothingToScanError(AuditError):
    """No model was given, or every detector was switched off (exit code 3)."""

    exit_code = 3


class OutOfBudget(Exception):  # a signal between Context and scan, not an error of the user's
    """Raised inside a detector when its share of the budget is spent; ``scan`` records what was finished."""
