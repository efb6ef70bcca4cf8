"""Hands an array from one process to another as Python programs do, for `onepiece bench python`.

usage: python-hand-over.py queue|socket|zeromq|grpc|copy BYTES COUNT

Each fills the array, hands it over, and sums it; a time is from filled to summed. Prints JSON: {"us": [...]}.
Sockets of ZeroMQ and gRPC have abstract names (unix(7)): no file is left when this is killed.
"""

import json
import multiprocessing
import os
import socket
import struct
import sys
import time

import numpy as np

# No limit; the default is 4 MiB. Larger frames of HTTP/2 made no difference.
GRPC_OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


def checked(array, value, filled):
    total = int(array.sum())
    us = (time.monotonic_ns() - filled) / 1000
    if total != value * array.size:
        raise ValueError("the reader saw other bytes than were written")
    return us


def measured(size, count, hand_over):
    """Fills the array and hands it over, so often; ``hand_over`` answers how long it took, in microseconds."""
    found = []
    array = np.empty(size // 8, np.uint64)
    for value in range(count):
        array[...] = value
        found.append(hand_over(array, value, time.monotonic_ns()))
    return found


def started(target, *args):
    """Starts the reader; its last argument is where it puts the times. Answers both."""
    times = multiprocessing.Queue()
    reader = multiprocessing.Process(target=target, args=(*args, times), daemon=True)
    reader.start()
    return reader, times


def read_queue(queue, count, times):
    for _ in range(count):
        times.put(checked(*queue.get()))


def over_queue(size, count):
    queue = multiprocessing.Queue()
    reader, times = started(read_queue, queue, count)

    def hand_over(*message):
        queue.put(message)
        return times.get()

    found = measured(size, count, hand_over)
    reader.join()
    return found


def read_socket(end, size, count, times):
    array = np.zeros(size // 8, np.uint64)
    head = np.zeros(2, np.uint64)
    for _ in range(count):
        for into in (head, array):
            view = memoryview(into).cast("B")
            while len(view) > 0:
                view = view[end.recv_into(view) :]
        times.put(checked(array, int(head[0]), int(head[1])))


def over_socket(size, count):
    ours, theirs = socket.socketpair()
    reader, times = started(read_socket, theirs, size, count)

    def hand_over(array, value, filled):
        ours.sendall(np.array([value, filled], np.uint64))
        ours.sendall(array)
        return times.get()

    found = measured(size, count, hand_over)
    reader.join()
    return found


def read_zeromq(address, count, times):
    import zmq

    with zmq.Context() as context, context.socket(zmq.PAIR) as end:
        end.bind(address)
        times.put("ready")
        for _ in range(count):
            head, body = end.recv_multipart(copy=False)
            value, filled = struct.unpack("QQ", head.buffer)
            times.put(checked(np.frombuffer(body.buffer, np.uint64), value, filled))


def over_zeromq(size, count):
    import zmq

    address = f"ipc://@onepiece-bench-{os.getpid()}"
    reader, times = started(read_zeromq, address, count)
    times.get()
    with zmq.Context() as context, context.socket(zmq.PAIR) as end:
        end.connect(address)

        def hand_over(array, value, filled):
            end.send_multipart([struct.pack("QQ", value, filled), array], copy=False)
            return times.get()

        found = measured(size, count, hand_over)
        reader.join()
    return found


def read_grpc(address, times):
    from concurrent import futures

    import grpc

    def take(message, context):
        head = dict(context.invocation_metadata())
        return struct.pack("d", checked(np.frombuffer(message, np.uint64), int(head["value"]), int(head["filled"])))

    class Reader(grpc.GenericRpcHandler):
        # Without serializers a message is the bytes that were sent.
        def service(self, _):
            return grpc.unary_unary_rpc_method_handler(take)

    server = grpc.server(futures.ThreadPoolExecutor(1), options=GRPC_OPTIONS)
    server.add_generic_rpc_handlers((Reader(),))
    server.add_insecure_port(address)
    server.start()
    times.put("ready")
    server.wait_for_termination()


def over_grpc(size, count):
    address = f"unix-abstract:onepiece-bench-{os.getpid()}"
    # Before gRPC is loaded here: it does not survive a fork.
    reader, times = started(read_grpc, address)
    times.get()
    import grpc

    with grpc.insecure_channel(address, options=GRPC_OPTIONS) as channel:
        call = channel.unary_unary("/bench/take", request_serializer=np.ndarray.tobytes)

        def hand_over(array, value, filled):
            return struct.unpack("d", call(array, metadata=(("value", str(value)), ("filled", str(filled)))))[0]

        found = measured(size, count, hand_over)
    reader.terminate()
    reader.join()
    return found


def over_copy(size, count):
    other = np.zeros(size // 8, np.uint64)

    def hand_over(array, value, filled):
        np.copyto(other, array)
        return checked(other, value, filled)

    return measured(size, count, hand_over)


WAYS = {"queue": over_queue, "socket": over_socket, "zeromq": over_zeromq, "grpc": over_grpc, "copy": over_copy}

if __name__ == "__main__":
    kind, size, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    print(json.dumps({"us": WAYS[kind](size, count)}))
