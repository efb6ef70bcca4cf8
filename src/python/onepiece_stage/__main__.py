"""The program of a Python process: started by a stage process of onepiece-rdma, never by hand."""

import sys

if sys.version_info < (3, 9):
    sys.exit("onepiece_stage needs Python 3.9 or later, not %d.%d" % sys.version_info[:2])

import os  # noqa: E402


def main() -> None:
    parent = os.environ.pop("ONEPIECE_STAGE_PARENT", None)
    if parent is None:
        sys.exit("onepiece_stage is started by a pipeline: give a stage `python: { file, name }` in a workflow")
    from .keeper import keep

    descriptors = [3, 4, 5, 6]
    for fd in descriptors:
        os.set_inheritable(fd, False)
    keep(int(parent), descriptors)
    from .worker import run_process

    run_process(*descriptors)


main()
