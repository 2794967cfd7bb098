"""What the lab tests share: the lab's own modules, and how a test starts and ends.

A lab test is a script: it builds what it needs, prints what it checks, is bounded in time, cleans
up, and exits non-zero when a check failed. It imports this first, which makes the lab's own
modules known.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "lab"))

# pylint: disable=wrong-import-position,unused-import
from net import LabError, run, take_down, wait_until  # noqa: E402,F401
from report import Report  # noqa: E402,F401
from session import session  # noqa: E402,F401


def main(title, checks):
    """Runs `checks(report)` and exits with its status; an error of the lab is a failure."""
    report = Report(title)
    try:
        checks(report)
    except LabError as error:
        report.failed(str(error))
    sys.exit(report.done())
