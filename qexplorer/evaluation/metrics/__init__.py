"""The figures of an evaluation, one a file: functions of plain values."""
