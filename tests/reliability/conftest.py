"""The matrix is a program, `make reliability`; what it shares with the tests is tested here."""

from pathlib import Path

collect_ignore = [file.name for file in Path(__file__).parent.glob("*.py") if not file.name.startswith("test_")]
