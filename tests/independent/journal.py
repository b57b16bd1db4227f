"""The journal of a store: frames from segments or their archives, from the horizon on, as recovery would keep them."""
import contextlib
import os
import struct
import types
import zlib

from archive import archived
from blake3 import blake3
from forms import Damage, Bytes, need

BLOCK = 4096
NONE = 0xFFFFFFFF

class Frame:
    """A frame, from its core: what a header says, checked by itself."""
    def __init__(self, store, segment, block, core):
        version, self.flags, self.h, self.p = struct.unpack_from("<4H", core, 8)
        self.segment, self.block, self.before, self.first, count, length = struct.unpack_from("<QIIQII", core, 32)
        self.flushed, self.epoch, time, self.chain_before, self.root = struct.unpack_from("<QQQ32s32s", core, 64)
        self.end, self.time, self.core, self.archived = block + self.h + self.p, time, core, False
        need(core[:8] == b"STRANDF\0" and version == 0 and self.flags < 8, "no frame")
        need(self.h >= 1 and self.h + self.p <= 512 and self.end <= store.blocks, "the shape of a frame")
        need(core[16:32] == store.id and (self.segment, self.block) == (segment, block), "a frame of another place")
        need(self.flushed < self.first and len(core) == 152 + 4 * self.p + length, "a frame's numbers")
        self.crcs = struct.unpack_from(f"<{self.p}I", core, 152)
        self.records, b, taken, address = [], Bytes(core[152 + 4 * self.p :]), 0, segment * store.blocks + block + self.h
        for n in range(count):
            later, blocks, size = b.varint(), b.varint(), b.varint()
            need((later == 0) == (n == 0) and blocks <= 256 and size <= 65536 and taken + blocks <= self.p, "the head of a record")
            time += later
            self.records.append((self.first + n, time, b.take(size), [(address + i, self.crcs[i]) for i in range(taken, taken + blocks)]))
            taken += blocks
        need(b.at == length and taken == self.p, "records that are not what their header says")
        self.last_time, self.next = time, self.first + count

    @staticmethod
    def in_segment(store, segment, block):
        first = store.read(segment, block, 1)
        h, p = struct.unpack_from("<HH", first, 12)
        length, = struct.unpack_from("<I", first, 60)
        records, leaves, zeros = 152 + 4 * p, 152 + 4 * p + length, 152 + 20 * p + length
        need(first[:8] == b"STRANDF\0" and 1 <= h <= 512 and zeros <= h * BLOCK - 4, "no frame")
        header = store.read(segment, block, h)
        need(zlib.crc32(header[:-4]) == struct.unpack("<I", header[-4:])[0], "the checksum of a header")
        need(not any(header[zeros:-4]), "bytes that mean nothing in a header")
        frame = Frame(store, segment, block, header[:leaves])
        level = [blake3(b"\0" + header[at : at + 16]) for at in range(leaves, zeros, 16)]
        while len(level) > 1:
            pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
            level = [blake3(b"\1" + pair[0] + pair[1]) if len(pair) == 2 else pair[0] for pair in pairs]
        need(frame.root == (level or [bytes(32)])[0], "the root of a hash tree")
        return frame

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
        self.path, self.arcs, folder = path, {}, os.path.join(path, "journal")
        names = [n for n in os.listdir(folder) if len(n) == 24 and n[:20].isdigit()]
        self.files = {int(n[:20]): os.open(os.path.join(folder, n), os.O_RDONLY) for n in names if n.endswith(".seg")}
        self.archives = {int(n[:20]): os.path.join(folder, n) for n in names if n.endswith(".arc")}
        self.origin = self.horizon(os.path.join(folder, "HORIZON"))

    def horizon(self, path):
        """The frame before the place where the events begin; None where they begin at the start."""
        if not os.path.exists(path):
            return None
        with open(path, "rb") as file:
            data = file.read()
        need(len(data) == 104 and data[:12] == b"STRANDHZ\0\0\0\0" and data[12:28] == self.id, "the horizon")
        need(zlib.crc32(data[:-4]) == struct.unpack("<I", data[-4:])[0], "the checksum of the horizon")
        names = ("next", "segment", "end", "block", "chain", "last_time", "epoch")
        return types.SimpleNamespace(**dict(zip(names, struct.unpack_from("<QQII32sQQ", data, 28))))

    def read(self, segment, block, count=1):
        need(segment in self.files and block + count <= self.blocks, "a place that is not there")
        return os.pread(self.files[segment], count * BLOCK, block * BLOCK).ljust(count * BLOCK, b"\0")

    def frame(self, segment, block):
        """The frame that stands at a place, if one does: from the segment where it is there, else from its archive."""
        if segment in self.files or segment not in self.archives:
            with contextlib.suppress(Damage):
                return Frame.in_segment(self, segment, block)
            return None
        if segment not in self.arcs:
            frames = [Frame(self, segment, at, core) for at, core in archived(self.archives[segment], self.id, segment)]
            self.arcs = {segment: {frame.block: frame for frame in frames}}
            for frame in frames:
                frame.archived = True
        return self.arcs[segment].get(block)

    def payload_is_good(self, frame):
        return all(zlib.crc32(self.read(frame.segment, frame.block + frame.h + i)) == crc for i, crc in enumerate(frame.crcs))

    def frames(self, covered):
        """The frames that recovery would keep. `covered`: the highest number that a state file covers."""
        frames, last, genesis = [], self.origin, blake3(b"strandline journal" + self.id)
        at = [(last.segment, last.end), (last.segment + 1, 0)] if last else [(1, 0)]
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
        mark = max((covered, *(f.flushed for f in frames + behind)))
        later = max((f.next - 1 for f in frames if f.archived), default=0)
        good = next((i for i, f in enumerate(frames) if f.next - 1 > max(mark, later) and not self.payload_is_good(f)), len(frames))
        while good and frames[good - 1].flags & 1:
            good -= 1
        end = frames[good - 1] if good else self.origin
        need(end and end.next > mark, f"the journal ends or is damaged before number {mark}, which was durable once")
        need(all(f.epoch <= end.epoch for f in frames[good:] + behind), "a later epoch lies behind the journal's end")
        need(all(segment < end.segment for segment in self.archives), "an archive lies behind the journal's end")
        return frames[:good]
