"""Trees and inodes, as docs/format.md has them under "Folding"."""
import copy

ATTRIBUTES = ("mode", "uid", "gid", "atime", "mtime")

class Inode:
    """`content`: a file's map (block to address and crc32), a directory's entries, a target, a device's number."""
    def __init__(self, body, mode, uid, gid, now, parent):
        self.type, self.mode, self.uid, self.gid, self.nlink = body[0], mode, uid, gid, 2 if body[0] == 1 else 1
        self.atime = self.mtime = self.ctime = now
        self.xattrs, self.size, self.owner, self.parent = {}, 0, None, parent
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
        self.edit(ino, now).parent = after
        if self.inodes[ino].type == 1 and before != after:
            self.edit(before, links=-1)
            self.edit(after, links=1)
