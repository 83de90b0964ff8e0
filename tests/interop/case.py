"""Runs named cases one after another; prints the lines that `run` reads."""
import sys
import traceback

_failed = []


def case(name, body, *args):
    """`body(*args)` passes when it returns and fails when it raises."""
    try:
        body(*args)
    except Exception as error:  # the report is the point: whatever a client throws is a failed case
        _failed.append(name)
        line = traceback.extract_tb(error.__traceback__)[-1]
        print(f"FAIL {name}: {type(error).__name__} {error} ({line.name}:{line.lineno})", flush=True)
        return
    print(f"ok {name}", flush=True)


def expect(got, wanted, what="value"):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, expected {wanted!r}")


def finish():
    sys.exit(1 if _failed else 0)
