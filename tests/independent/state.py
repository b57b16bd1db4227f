"""State files, as docs/format.md has them: as much of one as a fold that begins there needs."""
import os
import struct
import types
import zlib

from blake3 import blake3
from forms import FORMS, Bytes, field, need
from tree import Inode, Tree

FORMS |= {
    "root": "u64? u8 u64", "u8": lambda b: b.take(1)[0], "entry": "bytes u64", "pair": "bytes bytes", "place": "u64 u64", "trees": "u64 u64",
    "stored": ("u64 root", "u64", "bytes", "", "", "u64", "u64"), "image": "u32 u64 u64 u64 u64 u64 u64", "from": "source u64",
    "what": ("u32", "u32", "u32 source [bytes] bool bool u64 u64", "u32 text text", "u32 text text", "u32", "u32"), "marks": "u32 u64",
    "undone": "u32?", "sum": "u64 u128",
}
RECORDS = [record.split() for record in """
base:u64? removed:[bytes] set:[entry] more:bool | set:[pair] more:bool |
mode:u32 uid:u32 gid:u32 nlink:u32 atime:i64 mtime:i64 ctime:i64 parent:u64 xattrs:u64? body:stored | places:[place] more:bool | orphans:[u64] |
near:u64? root:u64 inodes:root blocks:u64 | base:u64? removed:[u32] set:[image] more:bool | scope:u64 cause:cause before:trees after:trees? |
removed:bool id:u32 name:text created:u64 time:u64 origin:from? live:u64 images:u64 gone:u64 spread:root generation:u64 changed:u64 |
removed:bool id:u32 name:text seq:u64 time:u64 actor:u32 volumes:[u32] removable:bool nomount:bool held:bool note:text | id:u32 who:actor |
seq:u64 time:u64 volumes:[u32] what:what undone:undone? |
seq:u64 time:u64 boundary:u64 next_ino:u64 boundary_ino:u64 next_volume:u32 next_checkpoint:u32 next_actor:u32 digest:sum? created:u64? |
images:[marks] | volume:u32 removed:bool quota:quota | volume:u32 removed:bool retention:retention history:u64 schedule:schedule? |
volume:u32 removed:bool at:u64 position:u64 tree:u64 | versions:[place] | ranges:[place] | elapsed:u64 horizon:u64 audit:u64? | taken:[marks]
""".split("|")]
NAMES, XATTRS, INODE, ORPHANS, TREE, IMAGES, VOLUME, CHECKPOINT, COUNTERS, NODATA, MOVED = 0, 1, 2, 4, 5, 6, 8, 9, 12, 13, 17

def chunks(store, name):
    """The header of a state file, and the payloads of its chunks."""
    with open(os.path.join(store.path, "state", name), "rb") as file:
        data = file.read()
    need(len(data) >= 384 and data[:16] == b"STRANDS\0" + bytes(8) and data[16:32] == store.id, "the header of a state file")
    header, trailer, at, payloads, crcs = data[:256], data[-128:], 256, [], b""
    need(zlib.crc32(header[:-4]) == struct.unpack("<I", header[-4:])[0] and not any(header[112:-4]), "the checksum of a state file's header")
    need(zlib.crc32(trailer[:-4]) == struct.unpack("<I", trailer[-4:])[0] and not any(trailer[96:-4]), "the checksum of a state file's trailer")
    while at < len(data) - 128:
        length, crc = struct.unpack_from("<II", data, at)
        payload = data[at + 8 : at + 8 + length]
        need(0 < length <= 1 << 20 and len(payload) == length, "a chunk of a state file")
        need(zlib.crc32(struct.pack("<QI", len(payloads), length) + payload) == crc, "the checksum of a state file's chunk")
        payloads.append(payload)
        crcs += data[at + 4 : at + 8]
        at += 8 + length
    need(at == len(data) - 128 and trailer[:24] == b"STRANDT\0" + struct.pack("<QQ", len(payloads), len(data)), "the end of a state file")
    need(trailer[64:96] == blake3(header + crcs), "the hash of a state file")
    return header, payloads

def covered(store):
    """The highest number that a state file covers."""
    folder = os.path.join(store.path, "state")
    names = [n for n in os.listdir(folder) if n.endswith(".state")] if os.path.isdir(folder) else []
    return max((struct.unpack_from("<Q", chunks(store, name)[0], 32)[0] for name in names), default=0)

class Reading:
    """A state file's records, one after the other. Numbers name what stands before."""
    def __init__(self, payloads):
        self.nodes, self.lists, self.inodes, self.trees = ([], [], []), {NAMES: [], XATTRS: [], IMAGES: []}, [], []
        self.part, self.nodata, self.orphans, self.found = None, {}, [], {VOLUME: [], CHECKPOINT: [], MOVED: [], COUNTERS: []}
        for payload in payloads:
            b = Bytes(payload)
            while b.at < len(payload):
                kind = b.take(1)[0]
                if kind >= 0x80:
                    self.node(kind - 0x80, b)
                else:
                    need(kind < len(RECORDS), "a record that does not exist")
                    self.record(kind, types.SimpleNamespace(**{n: field(b, form) for n, form in (f.split(":") for f in RECORDS[kind])}))
        need(len(self.found[COUNTERS]) == 1 and self.part is None, "the end of a state file's records")

    def node(self, kind, b):
        sort, branch = divmod(kind, 2)
        slots = [slot for bitmap in struct.unpack("<H", b.take(2)) for slot in range(16) if bitmap >> slot & 1]
        need(sort < 3 and slots, "a node of a map")
        if sort == 0 and not branch:
            entries = [(int.from_bytes(b.take(6), "little"), *struct.unpack("<I", b.take(4))) for _ in slots]
        else:
            # What the entries of a spread name is of no concern here.
            numbered = self.nodes[sort] if branch else self.inodes
            entries = [len(numbered) - b.varint() if branch or sort == 1 else b.varint() for _ in slots]
        self.nodes[sort].append((branch, dict(zip(slots, entries))))

    def map(self, sort, root):
        """The entries of a map, by key."""
        number, height, count = root
        level = {} if number is None else {0: number}
        for left in range(height, 0, -1):
            nodes = [(key, self.nodes[sort][at]) for key, at in level.items()]
            need(all(branch == (left > 1) for _, (branch, _) in nodes), "a map whose leaves are not of one level")
            level = {key << 4 | slot: entry for key, (_, entries) in nodes for slot, entry in entries.items()}
        need(len(level) == count, "a map that has not as many entries as it says")
        return level

    def record(self, kind, r):
        if kind in self.lists:
            if self.part is None:
                before = getattr(r, "base", None)
                known = {} if before is None else self.lists[kind][before]
                self.part = kind, dict(known[0] if known and kind == IMAGES else known)
            need(self.part[0] == kind, "a list that does not go on")
            for key in getattr(r, "removed", ()):
                del self.part[1][key]
            self.part[1].update((key, value[0] if kind != IMAGES else value) for key, *value in r.set)
            if not r.more:
                entries, self.part = self.part[1], None
                self.lists[kind].append((entries, self.nodata) if kind == IMAGES else entries)
                self.nodata = {} if kind == IMAGES else self.nodata
        elif kind == NODATA:
            self.nodata |= dict(r.images)
        elif kind == INODE:
            self.inodes.append(self.inode(r))
        elif kind == ORPHANS:
            self.orphans += r.orphans
        elif kind == TREE:
            tree = Tree(r.root, {ino: self.inodes[at] for ino, at in self.map(1, r.inodes).items()})
            tree.orphans, self.orphans = set(self.orphans), []
            self.trees.append(tree)
        elif kind in self.found:
            self.found[kind].append(r)

    def inode(self, r):
        kind, *body = r.body
        inode = Inode((kind, *body), r.mode, r.uid, r.gid, 0, r.parent)
        inode.nlink, inode.atime, inode.mtime, inode.ctime = r.nlink, r.atime, r.mtime, r.ctime
        inode.xattrs = {} if r.xattrs is None else dict(self.lists[XATTRS][r.xattrs])
        if kind == 0:
            inode.size, inode.content = body[0], self.map(0, body[1])
        elif kind == 1:
            inode.content = dict(self.lists[NAMES][body[0]])
        return inode

def base(store):
    """What the store's events begin with: None, or the state that stands for those that have moved away."""
    place = store.origin
    if place is None:
        return None
    header, payloads = chunks(store, f"{place.next - 1:020}.state")
    said = struct.unpack_from("<QQQII32sQQ", header, 32)
    stands = (place.next - 1, place.next, place.segment, place.end, place.block, place.chain, place.last_time, place.epoch)
    need(said == stands, "the base state belongs to another journal")
    return Reading(payloads)
