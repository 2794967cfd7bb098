"""What a person or a log sees: sections, checks with their verdict, and the closing count."""

import os
import sys
import time

COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def paint(text, colour):
    """The text in a colour, on terminals only (and not when NO_COLOR is set)."""
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return f"\033[{COLOURS[colour]}m{text}\033[0m"


class Report:
    """Prints as it goes and remembers what failed."""

    def __init__(self, title):
        self.passed, self.failures, self.skipped = 0, [], 0
        self.started = time.monotonic()
        sys.stdout.reconfigure(errors="replace")  # a terminal without block characters
        print(paint(title, "bold"), flush=True)

    def section(self, title):
        """Opens a group of lines."""
        print(f"\n{paint(title, 'cyan')}", flush=True)

    def note(self, text=""):
        """Lines that are shown and not judged."""
        for line in text.splitlines() or [""]:
            print(f"    {line}", flush=True)

    def check(self, holds, text, otherwise=""):
        """Judges one statement; `otherwise` says what was seen instead."""
        if holds:
            self.passed += 1
            print(f"  {paint('ok', 'green')}  {text}", flush=True)
        else:
            self.failures.append(f"{text}: {otherwise}" if otherwise else text)
            print(f"{paint('FAIL', 'red')}  {self.failures[-1]}", flush=True)
        return bool(holds)

    def failed(self, text):
        """Records a failure that is not the outcome of a comparison."""
        self.check(False, text)

    def skip(self, text):
        """Says aloud what was not checked, and why."""
        self.skipped += 1
        print(f"{paint('skip', 'yellow')}  {text}", flush=True)

    def equal(self, text, got, wanted):
        """Checks that what was got is what was wanted."""
        return self.check(got == wanted, text, f"got {got!r}, wanted {wanted!r}")

    def between(self, text, got, low, high):
        """Checks low <= got <= high; the text is shown with the value."""
        bounds = f"{low:g} to {high:g}"
        return self.check(low <= got <= high, f"{text} {got:g}", f"outside {bounds}")

    def done(self):
        """Prints what failed and the count; returns the exit status."""
        for failure in self.failures:
            print(paint(f"failed: {failure}", "red"))
        print(f"\n{self.passed} passed, {len(self.failures)} failed, {self.skipped} skipped "
              f"({time.monotonic() - self.started:.1f} s)", flush=True)
        return 1 if self.failures else 0
