# SPDX-License-Identifier: BSD-2-Clause
"""What is in flight, in a running process or in a core dump:

    gdb -p PID -x gdb.py -ex sflight-calls
    gdb PROGRAM CORE -x gdb.py -ex sflight-calls

Needs the library's debug information (-g).  It reads memory only, and runs nothing of the process."""
import array
import gdb

# The low bits of a bucket's and of a node's word: shard.h, table.h.
LINK_BITS = 0x3F
# A call's state: state.h.
FORGOTTEN, SEALED, ORPHAN = 2, 4, 8
BLOCKING_SHIFT, BLOCKING_BITS = 7, 24
ASYNC_SHIFT, ASYNC_BITS = 31, 28
JOINTS_SHIFT = 59
# Of a call's list of joints, and of a joint's joiners: joint.h.
LIST_SHUT, ONE = 1, 8


def number(value):
    """Of an atomic or a pointer, too."""
    return int(value.cast(gdb.lookup_type("unsigned long")))


def words(address, n):
    """The n pointers at the address."""
    size = gdb.lookup_type("unsigned long").sizeof
    memory = gdb.selected_inferior().read_memory(address, n * size)
    return array.array("Q" if size == 8 else "I", bytes(memory))


def groups():
    """All groups, of each copy of the library in the process."""
    # After dwz a symbol is found in several units, and is one variable all the same.
    found = [s.value() for s in gdb.lookup_static_symbols("groups") if str(s.type) == "struct sflight_group *"]
    for group in {number(value.address): value for value in found}.values():
        while number(group) != 0:
            yield group.dereference()
            group = group["next"]


def nodes(group):
    """The addresses of all nodes of a group's table; one bucket after the other."""
    array_type = gdb.lookup_type("struct bucket_array").pointer()
    node_type = gdb.lookup_type("struct table_node").pointer()
    for i in range(number(group["table"]["shard_mask"]) + 1):
        at = gdb.Value(number(group["table"]["shards"][i]["newest"])).cast(array_type)
        while number(at) != 0:
            for word in words(number(at["buckets"]), number(at["mask"]) + 1):
                while word & ~LINK_BITS != 0:
                    node = gdb.Value(word & ~LINK_BITS).cast(node_type)
                    yield node
                    word = number(node["next"])
            at = at["previous"]


def leaders():
    """The numbers of gdb's threads, by the agents that they are."""
    found = {}
    selected = gdb.selected_thread()
    for thread in gdb.selected_inferior().threads():
        try:
            thread.switch()
            found[number(gdb.parse_and_eval("thread_words.self"))] = thread.num
        except gdb.error:
            pass  # without libthread_db, or of another copy of the library
    if selected is not None:
        selected.switch()
    return found


def key_of(node):
    """As C would have it in quotes."""
    n = number(node["key_len"])
    key = bytes(gdb.selected_inferior().read_memory(number(node["key"]), n)) if n != 0 else b""
    return "".join(
        chr(c) if 32 <= c < 127 and c not in b'"\\' else "\\%03o" % c for c in key)


def joiners_of_joints(call):
    """How many joiners the call's joints have."""
    joint_type = gdb.lookup_type("struct joint").pointer()
    n, joint = 0, number(call["joints"]) & ~LIST_SHUT
    while joint != 0:
        joint = gdb.Value(joint).cast(joint_type).dereference()
        n += number(joint["joiners"]) // ONE
        joint = number(joint["next"])
    return n


def line_of(node, threads):
    """What there is to say of a call."""
    call_type = gdb.lookup_type("struct sflight_call")
    offset = next(f.bitpos // 8 for f in call_type.fields() if f.name == "node")
    call = gdb.Value(number(node) - offset).cast(call_type.pointer()).dereference()
    state = number(call["state"])
    blocking = state >> BLOCKING_SHIFT & (1 << BLOCKING_BITS) - 1
    futures = state >> ASYNC_SHIFT & (1 << ASYNC_BITS) - 1
    if state >> JOINTS_SHIFT != 0:
        futures += joiners_of_joints(call)
    if state & SEALED:
        blocking = futures = 0
    owner = number(call["owner"])
    kind = number(call["result"]["kind"])
    line = '"%s": ' % key_of(node)
    line += "a permit" if kind == 1 else "started" if kind == 2 else "led"
    if owner in threads:
        line += " by thread %d" % threads[owner]
    line += ", %d blocking followers, %d futures" % (blocking, futures)
    if number(call["group"]["max_age_ns"]) != 0:
        line += ", claimed at %.6f s of CLOCK_MONOTONIC" % (number(call["started_ns"]) / 1e9)
    if state & FORGOTTEN:
        line += ", forgotten"
    if state & ORPHAN:
        line += ", orphaned"
    return line


class Calls(gdb.Command):
    """sflight-calls: the calls in flight of all groups of libsingleflight, and who leads them."""

    def __init__(self):
        super().__init__("sflight-calls", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        try:
            gdb.lookup_type("struct sflight_call").fields()
        except gdb.error:
            raise gdb.GdbError("libsingleflight is not here, or without debug information")
        threads = leaders()
        for group in groups():
            lines = [line_of(node, threads) for node in nodes(group)]
            print("group 0x%x: %d in flight" % (number(group.address), len(lines)))
            for line in sorted(lines):
                print("    " + line)


Calls()
