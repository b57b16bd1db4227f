#!/usr/bin/env python3
"""An independent reader of a store, written from docs/format.md alone. Needs nothing but Python's standard library, and
the program `zstd` for archives (it ends with 3 where that is missing and there are archives). What stands in other files beside it: blake3.py, the one hash that
the library does not have; forms.py, numbers and fields; journal.py and archive.py, frames; state.py, state files; tree.py and digest.py.

    fold.py STORE OUT

checks the journal of the store in directory STORE (checksums, hash chain, hash trees), folds its events, and writes every file of
every checkpoint and live volume to OUT/VOLUME/CHECKPOINT/PATH and OUT/VOLUME/live/PATH. A list of them all, with their attributes,
goes to standard output as JSON, with the digest of every tree; names, targets and extended attributes are in hex there, for they are bytes. It shares no code
with the program, on purpose: where the two disagree, one of them or the page is wrong.
"""
import json
import os
import sys
import zlib

from archive import NO_ZSTD
from digest import tree_digest
from forms import Damage, Bytes, field, need
from journal import BLOCK, Store
from state import base, covered
from tree import ATTRIBUTES, Inode, Tree

# --- Events

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

# --- Folding

class Fold:
    """The state, event by event. `wanted`: which live trees to keep at which positions. A checkpoint is [name, {volume: tree}]."""
    def __init__(self, wanted):
        self.wanted, self.kept, self.removed = wanted, {}, set()
        self.names, self.live, self.origin, self.checkpoints, self.aside = {}, {}, {}, {}, {}
        self.moved = {}  # the address of a version's birth to where it lies now

    def begin(self, base, seq):
        """Takes over the state that stands for the events up to `seq`, which have moved away."""
        self.moved = {birth: address for record in base.found[17] for birth, address in record.versions}
        for c in base.found[9]:
            (self.aside if c.removed else self.checkpoints)[c.id] = [c.name, {}]
        for v in base.found[8]:
            self.names[v.id], self.live[v.id] = v.name, base.trees[v.live].frozen()
            self.live[v.id].orphans = set(base.trees[v.live].orphans)
            self.live[v.id].inodes = dict(base.trees[v.live].inodes)
            self.removed |= {v.id} if v.removed else set()
            if v.origin:
                self.origin[v.id] = base.trees[v.origin[1]].frozen()
            for images, marked in (base.lists[6][v.images], base.lists[6][v.gone]):
                for checkpoint, (tree, *_) in images.items():
                    kept = self.checkpoints.get(checkpoint) or self.aside[checkpoint]
                    kept[1][v.id] = base.trees[tree].frozen()
                    kept[1][v.id].nodata = checkpoint in marked
        self.keep(seq)

    def keep(self, seq):
        for volume in self.wanted.get(seq, ()):
            self.kept[volume, seq] = self.live[volume].frozen()

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
                self.live[e.volume] = Tree(e.root, {e.root: Inode((1,), e.mode, e.uid, e.gid, e.time, e.root)})
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
        self.keep(e.seq)

    def in_tree(self, e, tree, now):
        match e.kind:
            case "created":
                tree.inodes[e.ino] = Inode(e.body, e.mode, e.uid, e.gid, now, e.dir)
                tree.edit(e.dir, now, now, e.body[0] == 1).content[e.name] = e.ino
            case "linked":
                tree.entries(e.dir, now)[e.name] = e.ino
                tree.edit(e.ino, now, links=1).parent = e.dir
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

def fold(frames, begins, seq):
    events, wanted = [Event(*record) for frame in frames for record in frame.records], {}
    for e in events:  # first the positions that events go back to, then the fold that keeps what was there
        sources = [e.image] if hasattr(e, "image") else [s for _, s in e.volumes] if e.kind == "rolled-back" else []
        for _, volume, seq in (s for s in sources if s[0] == 2):
            wanted.setdefault(seq, set()).add(volume)
    state = Fold(wanted)
    if begins:
        state.begin(begins, seq)
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
    state = fold(store.frames(covered(store)), base(store), store.origin and store.origin.next - 1)
    views = [(state.names[v], "live", tree.frozen()) for v, tree in state.live.items() if v not in state.removed]
    views += [(state.names[v], name, tree) for name, trees in state.checkpoints.values() for v, tree in trees.items()]
    lines = [line for volume, view, tree in views for line in write_tree(store, state.moved, tree, volume, view, out)]
    known = {}
    digests = [{"volume": volume, "view": view, "digest": f"{tree_digest(tree, known):032x}"} for volume, view, tree in views]
    json.dump({"files": lines, "trees": digests}, sys.stdout, indent=0)

if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (Damage, KeyError, IndexError, ValueError, OSError) as trouble:
        if str(trouble) == NO_ZSTD:
            print(f"fold.py: {NO_ZSTD}", file=sys.stderr)
            sys.exit(3)
        sys.exit(f"fold.py: {type(trouble).__name__}: {trouble}")
