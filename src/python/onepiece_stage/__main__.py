"""The program of a Python process: started by a stage process of onepiece-rdma, never by hand."""

import faulthandler
import os
import sys


def main() -> None:
    parent = os.environ.pop("ONEPIECE_STAGE_PARENT", None)
    if parent is None:
        sys.exit("onepiece_stage is started by a pipeline: give a stage `python: { file, name }` in a workflow")
    # Not an option of the command: Python 2 would say that it has none instead of that it is too old.
    faulthandler.enable()
    from .keeper import keep

    descriptors = [3, 4, 5, 6]
    for fd in descriptors:
        os.set_inheritable(fd, False)
    keep(int(parent), descriptors)
    from .worker import run_process

    run_process(*descriptors)


main()
