"""Every error that QExplorer raises on purpose.

QExplorerError
├── BadInputError          a row, message, file or reply that no retry will mend    exit 3
│   └── ReplyError         the model's reply does not follow the grammar            (never leaves the core)
├── ConfigError            a setting, policy file or topic that is wrong or missing exit 4
├── AccessError            a login, permission or certificate was refused           exit 5
├── UnavailableError       retryable: a service does not answer or is overloaded
│   ├── SearchUnavailableError                                                      exit 6
│   ├── BrokerUnavailableError                                                      exit 7
│   └── ModelUnavailableError                                                       exit 8
├── ModelError             a model or adapter that is missing or cannot be loaded   exit 9
├── StackError             an embedded engine that cannot be installed or started   exit 10
├── StorageError           a disk that is full, a path that cannot be written       exit 11
└── TrainingError          a training run that diverges, cheats or collapses        exit 12

Each error names the thing in its message and says what to do in its remedy.
Foreign errors are translated once, where the foreign library is called.
Exit code 1 is a bug of ours, 2 is a mistake on the command line.
"""

from typing import ClassVar


class QExplorerError(Exception):
    """The root: what went wrong, and what to do about it."""

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


class BadInputError(QExplorerError):
    """A row, message, file or reply that no retry will mend."""

    exit_code = 3


class ReplyError(BadInputError):
    """The model's reply does not follow the grammar."""


class ConfigError(QExplorerError):
    """A setting, policy file or topic that is wrong or missing."""

    exit_code = 4


class AccessError(QExplorerError):
    """A login, permission or certificate was refused."""

    exit_code = 5


class UnavailableError(QExplorerError):
    """A service does not answer or is overloaded: try again later."""

    retryable = True


class SearchUnavailableError(UnavailableError):
    """OpenSearch does not answer, is overloaded, or answered for some shards only."""

    exit_code = 6


class BrokerUnavailableError(UnavailableError):
    """Kafka does not answer."""

    exit_code = 7


class ModelUnavailableError(UnavailableError):
    """The inference process or server does not answer in time."""

    exit_code = 8


class ModelError(QExplorerError):
    """A model or adapter is missing or cannot be loaded."""

    exit_code = 9


class StackError(QExplorerError):
    """An embedded engine cannot be installed or started."""

    exit_code = 10


class StorageError(QExplorerError):
    """A disk is full, or a path cannot be written."""

    exit_code = 11


class TrainingError(QExplorerError):
    """A training run diverges, cheats or collapses."""

    exit_code = 12
