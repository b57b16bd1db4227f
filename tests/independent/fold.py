#!/usr/bin/env python3
"""An independent reader of a store, written from docs/format.md alone. Needs nothing but Python's standard library, and
blake3.py beside it, the one hash that the library does not have.

    fold.py STORE OUT

checks the journal of the store in directory STORE (checksums, hash chain, hash trees), folds its events, and writes every file of
every checkpoint and live volume to OUT/VOLUME/CHECKPOINT/PATH and OUT/VOLUME/live/PATH. A list of them all, with their attributes,
goes to standard output as JSON; names, targets and extended attributes are in hex there, for they are bytes. It shares no code
with the program, on purpose: where the two disagree, one of them or the page is wrong.
"""
import contextlib
import copy
import json
import os
import struct
import sys
import zlib

from blake3 import blake3

BLOCK = 4096
NONE = 0xFFFFFFFF

class Damage(Exception):
    pass
def need(holds, what):
    if not holds:
        raise Damage(what)

# --- Numbers, fields, events

class Bytes:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        need(self.at + count <= len(self.data), "bytes end too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self, bits=64):
        value = shift = 0
        byte = 128
        while byte >= 128:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            need(value >> bits == 0 and shift < bits + 7, "a number is too large")
        return value

FORMS = {  # a function reads; a string lists the parts of a structure; a tuple has the parts of each choice
    "u32": lambda b: b.varint(32), "u64": lambda b: b.varint(64), "u128": lambda b: b.varint(128),
    "i64": lambda b: (lambda n: -(n >> 1) - 1 if n & 1 else n >> 1)(b.varint(64)),
    "bytes": lambda b: b.take(b.varint()), "text": lambda b: b.take(b.varint()).decode("utf-8"),
    "bool": lambda b: field(b, "either")[0] == 1,
    "either": ("", ""), "cause": ("",) * 14, "grade": ("",) * 4, "quota": "u64? u64? bool bool",
    "body": ("", "", "bytes", "", "", "u64", "u64"),
    "source": ("u32", "u32 u32", "u32 u64"), "shift": ("u32 u64", "u32 u32 u64", *("u32 u64",) * 4),
    "actor": "grade u32 u32 u64 text text text text",
    "set": "u32? u32? u32? i64? i64?", "range": "u64 u64", "over": "u64 bool", "target": "u32 source",
    "run": "u64 u32", "retention": "u64? u64?", "why": ("",) * 3, "keep": "u64 u64", "schedule": "u64 [keep]", "hash": lambda b: b.take(32),
}

def field(b, form):
    if form.endswith("?"):
        return field(b, form[:-1]) if field(b, "bool") else None
    if form.startswith("["):
        count = b.varint()
        need(count <= len(b.data), "a count is too large")
        return [field(b, form[1:-1]) for _ in range(count)]
    rule = FORMS[form]
    if isinstance(rule, str):
        return tuple(field(b, part) for part in rule.split())
    if isinstance(rule, tuple):
        number = b.varint(32)
        need(number < len(rule), "a choice that does not exist")
        return (number, *(field(b, part) for part in rule[number].split()))
    return rule(b)

KINDS = [kind.split() for kind in """
store-created program:text | actor-seen actor:u32 who:actor | clock-jumped expected:u64 found:u64 | refused kind:text message:text count:u32 |
digest-recorded at:u64 digest:u128 | volume-created volume:u32 name:text root:u64 mode:u32 uid:u32 gid:u32 | volume-renamed volume:u32 name:text |
volume-removed volume:u32 | volume-restored volume:u32 | clone-created volume:u32 name:text image:source | clone-reset volume:u32 before:u32 |
created volume:u32 dir:u64 name:bytes ino:u64 body:body mode:u32 uid:u32 gid:u32 | linked volume:u32 dir:u64 name:bytes ino:u64 |
unlinked volume:u32 dir:u64 name:bytes ino:u64 keep:bool | renamed volume:u32 from_dir:u64 from_name:bytes to_dir:u64 to_name:bytes over:over? |
exchanged volume:u32 a_dir:u64 a_name:bytes b_dir:u64 b_name:bytes | orphan-dropped volume:u32 ino:u64 |
written volume:u32 ino:u64 block:u64 size:u64? | punched volume:u32 ino:u64 range:range size:u64? | truncated volume:u32 ino:u64 size:u64 |
preallocated volume:u32 ino:u64 size:u64? | shared volume:u32 source:u64 from_block:u64 ino:u64 to_block:u64 count:u64 size:u64? |
attributes-set volume:u32 ino:u64 set:set | xattr-set volume:u32 ino:u64 name:bytes value:bytes | xattr-removed volume:u32 ino:u64 name:bytes |
copied-out volume:u32 checkpoint:u32 cause:cause ino:u64 ranges:[range] | copied-out-scope volume:u32 cause:cause |
settled volume:u32 scope:u64 shifts:[shift] last:bool |
checkpoint-created checkpoint:u32 name:text volumes:[u32] removable:bool nomount:bool note:text | checkpoint-removed checkpoint:u32 |
checkpoint-restored checkpoint:u32 | checkpoint-renamed checkpoint:u32 name:text | checkpoint-held checkpoint:u32 held:bool |
checkpoint-flagged checkpoint:u32 removable:bool nomount:bool | rolled-back volumes:[target] before:u32 |
file-restored volume:u32 ino:u64 image:source source:u64 attributes:bool |
files-rolled-back volume:u32 source:source before:u32 paths:[bytes] attributes:bool delete_new:bool | undone change:u64 redo:bool before:u32? |
change-marked volume:u32 checkpoint:u32 cause:cause ino:u64 ranges:[range] | checkpoint-converted checkpoint:u32 volumes:[u32] |
quota-set volume:u32 quota:quota | quota-reached volume:u32 limit:either owned:u64 | checkpoint-dropped checkpoint:u32 quota_of:u32 |
relocated births:[run] | segments-reclaimed ranges:[run] | retention-set volume:u32 retention:retention | history-released volume:u32 before:u64 |
checkpoint-given-up checkpoint:u32 cause:why | schedule-set volume:u32 schedule:schedule? | archive-moved before:u64 chain:hash | audit-set keep:u64?
""".split("|")]

class Event:
    """One event: its place, and its fields as attributes. `blocks` are the address and crc32 of its payload."""
    def __init__(self, seq, time, data, blocks):
        self.seq, self.time, self.blocks, b = seq, time, blocks, Bytes(data)
        _tag, number = b.varint(33), b.varint(32)
        need(number < len(KINDS), f"event {seq} has a kind that does not exist")
        self.kind, *fields = KINDS[number]
        self.__dict__.update({name: field(b, form) for name, form in (f.split(":") for f in fields)})
        need(b.at == len(data) and (not blocks or self.kind in ("written", "relocated")), f"event {seq} is not what its kind says")

# --- The journal

class Frame:
    """A frame's header, checked by itself."""
    def __init__(self, store, segment, block):
        first = store.read(segment, block, 1)
        version, self.flags, self.h, self.p = struct.unpack_from("<4H", first, 8)
        self.segment, self.block, self.before, self.first, count, length = struct.unpack_from("<QIIQII", first, 32)
        self.flushed, self.epoch, time, self.chain_before, root = struct.unpack_from("<QQQ32s32s", first, 64)
        self.end, self.time = block + self.h + self.p, time
        need(first[:8] == b"STRANDF\0" and version == 0 and self.flags < 8, "no frame")
        need(self.h >= 1 and self.h + self.p <= 512 and self.end <= store.blocks, "the shape of a frame")
        header = store.read(segment, block, self.h)
        need(zlib.crc32(header[:-4]) == struct.unpack("<I", header[-4:])[0], "the checksum of a header")
        need(first[16:32] == store.id and (self.segment, self.block) == (segment, block), "a frame of another place")
        need(self.flushed < self.first, "a flush that is still to come")
        records, leaves, zeros = 152 + 4 * self.p, 152 + 4 * self.p + length, 152 + 20 * self.p + length
        need(zeros <= len(header) - 4 and not any(header[zeros:-4]), "bytes that mean nothing in a header")
        self.crcs, self.core = struct.unpack_from(f"<{self.p}I", header, 152), header[:leaves]
        level = [blake3(b"\0" + header[at : at + 16]) for at in range(leaves, zeros, 16)]
        while len(level) > 1:
            pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
            level = [blake3(b"\1" + pair[0] + pair[1]) if len(pair) == 2 else pair[0] for pair in pairs]
        need(root == (level or [bytes(32)])[0], "the root of a hash tree")
        self.records, b, taken, address = [], Bytes(header[records:leaves]), 0, segment * store.blocks + block + self.h
        for n in range(count):
            later, blocks, size = b.varint(), b.varint(), b.varint()
            need((later == 0) == (n == 0) and blocks <= 256 and size <= 65536 and taken + blocks <= self.p, "the head of a record")
            time += later
            self.records.append((self.first + n, time, b.take(size), [(address + i, self.crcs[i]) for i in range(taken, taken + blocks)]))
            taken += blocks
        need(b.at == length and taken == self.p, "records that are not what their header says")
        self.last_time, self.next = time, self.first + count

    def follows(self, last, genesis):
        """Says whether this frame, found where one may follow, follows `last` (None: it would be the first)."""
        epoch, number, time, chain = (last.epoch, last.next, last.last_time, last.chain) if last else (0, 1, 0, genesis)
        before = last.block if last and last.segment == self.segment else NONE
        self.chain = blake3(self.chain_before + self.core)
        return (
            (self.epoch, self.first, self.chain_before, self.before) == (epoch + bool(self.flags & 4), number, chain, before)
            and (self.time > time if self.records else self.time == time)
        )

class Store:
    """A store's directory."""
    def __init__(self, path):
        with open(os.path.join(path, "STORE"), "rb") as file:
            head = file.read(BLOCK + 1)
        need(len(head) == BLOCK and head[:10] == b"STRANDST\1\0", "this is not a store, or one of another format")
        need(zlib.crc32(head[:-4]) == struct.unpack("<I", head[-4:])[0], "the checksum of STORE")
        need(not any(head[10:16]) and not any(head[56:-4]), "bytes that mean nothing in STORE")
        self.id, self.blocks = head[16:32], struct.unpack_from("<Q", head, 32)[0] // BLOCK
        names = [n for n in os.listdir(os.path.join(path, "journal")) if len(n) == 24 and n[:20].isdigit() and n.endswith(".seg")]
        self.files = {int(n[:20]): os.open(os.path.join(path, "journal", n), os.O_RDONLY) for n in names}

    def read(self, segment, block, count=1):
        need(segment in self.files and block + count <= self.blocks, "a place that is not there")
        return os.pread(self.files[segment], count * BLOCK, block * BLOCK).ljust(count * BLOCK, b"\0")

    def frame(self, segment, block):
        with contextlib.suppress(Damage):
            return Frame(self, segment, block)

    def payload_is_good(self, frame):
        return all(zlib.crc32(self.read(frame.segment, frame.block + frame.h + i)) == crc for i, crc in enumerate(frame.crcs))

    def frames(self):
        """The frames that recovery would keep."""
        frames, at, last, genesis = [], [(1, 0)], None, blake3(b"strandline journal" + self.id)
        while frame := next((f for f in (self.frame(*place) for place in at) if f and f.follows(last, genesis)), None):
            frames.append(last := frame)
            at = [(frame.segment, frame.end), (frame.segment + 1, 0)]
        behind = []  # valid headers where no frame follows
        for segment in sorted(s for s in self.files if s >= at[0][0]):
            block = at[0][1] if segment == at[0][0] else 0
            while block < self.blocks:
                frame = self.frame(segment, block)
                behind += [frame] if frame else []
                block = frame.end if frame else block + 1
        mark = max((f.flushed for f in frames + behind), default=0)
        good = next((i for i, f in enumerate(frames) if not self.payload_is_good(f)), len(frames))
        while good and frames[good - 1].flags & 1:
            good -= 1
        need(good and frames[good - 1].next > mark, f"the journal ends or is damaged before number {mark}, which was durable once")
        need(all(f.epoch <= frames[good - 1].epoch for f in frames[good:] + behind), "a later epoch lies behind the journal's end")
        return frames[:good]

# --- Folding

ATTRIBUTES = ("mode", "uid", "gid", "atime", "mtime")

class Inode:
    """`content`: a file's map (block to address and crc32), a directory's entries, a target, a device's number."""
    def __init__(self, body, mode, uid, gid, now):
        self.type, self.mode, self.uid, self.gid, self.nlink = body[0], mode, uid, gid, 2 if body[0] == 1 else 1
        self.atime = self.mtime = self.ctime = now
        self.xattrs, self.size, self.owner = {}, 0, None
        self.content = {} if self.type < 2 else (*body, None)[1]

    def copy(self, owner):
        new = copy.copy(self)
        new.owner, new.xattrs, new.content = owner, dict(self.xattrs), copy.copy(self.content)
        return new

class Tree:
    """A tree, as a value: what another tree holds too is copied before it is changed."""
    def __init__(self, root, inodes):
        self.root, self.inodes, self.orphans, self.owner, self.nodata = root, inodes, set(), object(), False

    def frozen(self):
        self.owner = object()  # neither owns what both hold
        return Tree(self.root, {n: i for n, i in self.inodes.items() if n not in self.orphans})

    def edit(self, ino, ctime=None, mtime=None, links=0):
        inode = self.inodes[ino]
        if inode.owner is not self.owner:
            inode = self.inodes[ino] = inode.copy(self.owner)
        inode.ctime, inode.mtime = ctime or inode.ctime, mtime or inode.mtime
        inode.nlink += links
        return inode

    def entries(self, directory, now):
        return self.edit(directory, now, now).content

    def drop(self, directory, ino, keep, now):
        directories, links = self.inodes[ino].type == 1, self.inodes[ino].nlink
        self.edit(directory, links=-directories)
        if directories or links == 1 and not keep:
            del self.inodes[ino]
        elif self.edit(ino, now, links=-1).nlink == 0:
            self.orphans.add(ino)

    def moved(self, ino, before, after, now):
        if self.edit(ino, now).type == 1 and before != after:
            self.edit(before, links=-1)
            self.edit(after, links=1)

class Fold:
    """The state, event by event. `wanted`: which live trees to keep at which positions. A checkpoint is [name, {volume: tree}]."""
    def __init__(self, wanted):
        self.wanted, self.kept, self.removed = wanted, {}, set()
        self.names, self.live, self.origin, self.checkpoints, self.aside = {}, {}, {}, {}, {}
        self.moved = {}  # the address of a version's birth to where it lies now

    def tree(self, source):
        kind, volume, *rest = source
        if kind == 2:
            return self.kept[volume, rest[0]].frozen()
        return (self.checkpoints[rest[0]][1] if kind else self.live)[volume].frozen()

    def event(self, e):
        if e.kind in ("volume-created", "clone-created", "volume-renamed"):
            self.names[e.volume] = e.name
        match e.kind:
            case "volume-created":
                self.live[e.volume] = Tree(e.root, {e.root: Inode((1,), e.mode, e.uid, e.gid, e.time)})
            case "clone-created":
                self.live[e.volume], self.origin[e.volume] = self.tree(e.image), self.tree(e.image)
            case "clone-reset":
                self.live[e.volume] = self.origin[e.volume].frozen()
            case "volume-removed" | "volume-restored":
                self.removed ^= {e.volume}
            case "checkpoint-created":
                self.checkpoints[e.checkpoint] = [e.name, {v: self.live[v].frozen() for v in e.volumes}]
            case "relocated":
                births = [first + i for first, count in e.births for i in range(count)]
                need(len(births) == len(e.blocks), f"event {e.seq} moves other versions than it holds")
                self.moved.update({birth: address for birth, (address, _) in zip(births, e.blocks)})
            case "checkpoint-removed" | "checkpoint-dropped" | "checkpoint-given-up":
                self.aside[e.checkpoint] = self.checkpoints.pop(e.checkpoint)
            case "checkpoint-restored":
                self.checkpoints[e.checkpoint] = self.aside.pop(e.checkpoint)
            case "checkpoint-renamed":
                self.checkpoints[e.checkpoint][0] = e.name
            case "checkpoint-converted":
                for volume in e.volumes:
                    self.checkpoints[e.checkpoint][1][volume].nodata = True
            case "rolled-back":
                self.live.update([(volume, self.tree(source)) for volume, source in e.volumes])
            case _ if hasattr(e, "volume"):
                self.in_tree(e, self.live[e.volume], e.time)
        for volume in self.wanted.get(e.seq, ()):
            self.kept[volume, e.seq] = self.live[volume].frozen()

    def in_tree(self, e, tree, now):
        match e.kind:
            case "created":
                tree.inodes[e.ino] = Inode(e.body, e.mode, e.uid, e.gid, now)
                tree.edit(e.dir, now, now, e.body[0] == 1).content[e.name] = e.ino
            case "linked":
                tree.entries(e.dir, now)[e.name] = e.ino
                tree.edit(e.ino, now, links=1)
                tree.orphans.discard(e.ino)
            case "unlinked":
                del tree.entries(e.dir, now)[e.name]
                tree.drop(e.dir, e.ino, e.keep, now)
            case "renamed":
                moved = tree.entries(e.from_dir, now).pop(e.from_name)
                if e.over:
                    tree.drop(e.to_dir, *e.over, now)
                tree.entries(e.to_dir, now)[e.to_name] = moved
                tree.moved(moved, e.from_dir, e.to_dir, now)
            case "exchanged":
                a, b = tree.entries(e.a_dir, now)[e.a_name], tree.entries(e.b_dir, now)[e.b_name]
                tree.entries(e.a_dir, now)[e.a_name], tree.entries(e.b_dir, now)[e.b_name] = b, a
                tree.moved(a, e.a_dir, e.b_dir, now)
                tree.moved(b, e.b_dir, e.a_dir, now)
            case "orphan-dropped":
                tree.orphans.remove(e.ino)
                del tree.inodes[e.ino]
            case "written" | "punched" | "truncated" | "preallocated" | "shared":
                inode, mapped, gone = tree.edit(e.ino, now, now), {}, range(0)
                if e.kind == "written":
                    mapped = {e.block + i: version for i, version in enumerate(e.blocks)}
                elif e.kind == "punched":
                    gone = range(e.range[0], sum(e.range))
                elif e.kind == "truncated":
                    gone = range(-(-e.size // BLOCK), 1 << 64)
                elif e.kind == "shared":
                    gone, shift = range(e.to_block, e.to_block + e.count), e.to_block - e.from_block
                    mapped = {b + shift: version for b, version in tree.inodes[e.source].content.items() if b + shift in gone}
                inode.content = {block: version for block, version in inode.content.items() if block not in gone} | mapped
                inode.size = inode.size if e.size is None else e.size
            case "attributes-set":
                new = {name: value for name, value in zip(ATTRIBUTES, e.set) if value is not None}
                tree.edit(e.ino, now).__dict__.update(new)
            case "xattr-set":
                tree.edit(e.ino, now).xattrs[e.name] = e.value
            case "xattr-removed":
                del tree.edit(e.ino, now).xattrs[e.name]
            case "file-restored":
                image, inode = self.tree(e.image).inodes[e.source].copy(None), tree.edit(e.ino, now, now)
                taken = ("size", "content") + ((*ATTRIBUTES, "xattrs") if e.attributes else ())
                inode.__dict__.update({name: getattr(image, name) for name in taken})

def fold(frames):
    events, wanted = [Event(*record) for frame in frames for record in frame.records], {}
    for e in events:  # first the positions that events go back to, then the fold that keeps what was there
        sources = [e.image] if hasattr(e, "image") else [s for _, s in e.volumes] if e.kind == "rolled-back" else []
        for _, volume, seq in (s for s in sources if s[0] == 2):
            wanted.setdefault(seq, set()).add(volume)
    state = Fold(wanted)
    for e in events:
        state.event(e)
    return state

# --- What comes out

def write_file(store, moved, inode, path):
    with open(path, "wb") as file:
        file.truncate(inode.size)  # what is not written is a hole
        for block, (address, crc) in inode.content.items():
            data = store.read(*divmod(moved.get(address, address), store.blocks))
            need(zlib.crc32(data) == crc, f"the block at address {address}")
            file.seek(block * BLOCK)
            file.write(data[: inode.size - block * BLOCK])

def write_tree(store, moved, tree, volume, view, out):
    """Writes a tree to OUT/VOLUME/VIEW, and gives the list of what is in it."""
    listed, todo = [], [(b"", tree.root)]
    for path, ino in todo:
        inode, at = tree.inodes[ino], os.path.join(os.fsencode(out), volume.encode(), view.encode(), path)
        kind = ("file", "dir", "symlink", "fifo", "socket", "char", "block")[inode.type]
        line = {"volume": volume, "view": view, "path": path.hex(), "ino": ino, "type": kind, "size": inode.size}
        line |= {name: getattr(inode, name) for name in (*ATTRIBUTES, "nlink", "ctime")}
        line["xattrs"] = {name.hex(): value.hex() for name, value in inode.xattrs.items()}
        line["target"] = inode.content.hex() if kind == "symlink" else None
        line["device"] = inode.content if kind in ("char", "block") else None
        listed.append(line)
        if kind == "dir":
            os.makedirs(at)
            todo += [(os.path.join(path, name), child) for name, child in inode.content.items()]
        elif kind == "symlink":
            os.symlink(inode.content, at)
        elif kind == "file" and not tree.nodata:
            write_file(store, moved, inode, at)
    return listed

def main(path, out):
    store = Store(path)
    state = fold(store.frames())
    views = [(state.names[v], "live", tree.frozen()) for v, tree in state.live.items() if v not in state.removed]
    views += [(state.names[v], name, tree) for name, trees in state.checkpoints.values() for v, tree in trees.items()]
    json.dump([line for volume, view, tree in views for line in write_tree(store, state.moved, tree, volume, view, out)], sys.stdout, indent=0)

if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (Damage, KeyError, ValueError, OSError) as trouble:
        sys.exit(f"fold.py: {type(trouble).__name__}: {trouble}")
