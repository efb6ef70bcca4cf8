"""Proves how descriptors of memory arrive."""

import mmap
import os
import socket

import pytest

from onepiece_stage.memory import Memory


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_who_may_not_wait_for_a_descriptor_does_not(ends):
    _, theirs = ends
    with pytest.raises(BlockingIOError):
        Memory(theirs).receive(socket.MSG_DONTWAIT)


def test_a_descriptor_is_closed_in_programs_that_are_started(ends):
    ours, theirs = ends
    memory = Memory(theirs)
    fd = os.memfd_create("segment")
    os.ftruncate(fd, mmap.PAGESIZE)
    socket.send_fds(ours, [b'{"segment": 1, "offset": 0, "bytes": 4096}'], [fd])
    os.close(fd)
    memory.receive()
    assert not os.get_inheritable(memory._files[1].fd)
    memory.close()


def test_a_message_without_its_descriptor_is_refused(ends):
    ours, theirs = ends
    ours.send(b'{"segment": 1, "offset": 0, "bytes": 4096}')
    with pytest.raises(RuntimeError, match="ulimit"):
        Memory(theirs).receive()
    ours.close()
    with pytest.raises(EOFError):
        Memory(theirs).receive()
