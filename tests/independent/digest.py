"""The digest of a tree, as docs/format.md has it under "State digest"."""
from blake3 import blake3
from forms import varint

FACTORS, WORD = (1 << 32, 0x9E3779B97F4A7C15), (1 << 64) - 1
SEEDS = (0x5374_7261_6E64_6C30, 0x5374_7261_6E64_6C31)
TYPES = (0o100000, 0o040000, 0o120000, 0o010000, 0o140000, 0o020000, 0o060000)

def zigzag(number):
    return varint(number << 1 if number >= 0 else ~number << 1 | 1)

def text(data):
    return varint(len(data)) + data

def entry(kind, *value):
    return int.from_bytes(blake3(bytes([kind]) + b"".join(value))[:16], "little")

def mix(x):
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & WORD
    x = (x ^ x >> 27) * 0x94D049BB133111EB & WORD
    return x ^ x >> 31

def block_entry(ino, block, address, crc):
    lanes = [mix((mix((mix(ino ^ seed) + block) & WORD) + address & WORD) ^ (crc * factor & WORD)) for seed, factor in zip(SEEDS, FACTORS)]
    return lanes[0] | lanes[1] << 64

def inode_sum(ino, inode):
    """The sum of an inode's entries."""
    number = inode.size if inode.type == 0 else inode.content if inode.type > 4 else 0
    target = inode.content if inode.type == 2 else b""
    numbers = (ino, TYPES[inode.type] | inode.mode, inode.uid, inode.gid, inode.nlink)
    times = map(zigzag, (inode.atime, inode.mtime, inode.ctime))
    found = [entry(11, *map(varint, numbers), *times, varint(inode.parent), varint(number), text(target))]
    found += [entry(13, varint(ino), text(name), text(value)) for name, value in inode.xattrs.items()]
    if inode.type == 0:
        found += [block_entry(ino, block, address, crc) for block, (address, crc) in inode.content.items()]
    elif inode.type == 1:
        found += [entry(12, varint(ino), text(name), varint(child)) for name, child in inode.content.items()]
    return sum(found)

def tree_digest(tree, known):
    """The digest of a tree. `known`: the sums of inodes that many trees share, by the inode itself."""
    total = 0
    for ino, inode in tree.inodes.items():
        if id(inode) not in known:
            known[id(inode)] = inode_sum(ino, inode), inode
        total += known[id(inode)][0]
    mapped = sum(len(inode.content) for inode in tree.inodes.values() if inode.type == 0)
    orphans = sorted(tree.orphans)
    total &= (1 << 128) - 1
    return entry(10, varint(tree.root), varint(mapped), varint(len(orphans)), *map(varint, orphans), varint(total))
