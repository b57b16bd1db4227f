"""BLAKE3 in plain Python, for the independent reader: 32 bytes of hash, no key. Slow (about 100 KB/s), and enough for small stores."""
import struct

TOP = 0xFFFFFFFF
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
MIX = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8

def compress(chaining, words, counter, length, flags):
    s = [*chaining, *IV[:4], counter & TOP, counter >> 32, length, flags]
    for _ in range(7):
        for i, (a, b, c, d) in enumerate(MIX):
            for word, right, further in ((words[2 * i], 16, 12), (words[2 * i + 1], 8, 7)):
                s[a] = (s[a] + s[b] + word) & TOP
                x = s[d] ^ s[a]
                s[d] = (x >> right | x << 32 - right) & TOP
                s[c] = (s[c] + s[d]) & TOP
                x = s[b] ^ s[c]
                s[b] = (x >> further | x << 32 - further) & TOP
        words = [words[i] for i in PERMUTATION]
    return [s[i] ^ s[i + 8] for i in range(8)]

def chaining_value(data, chunk, root=0):
    """Of a part of the input that begins with chunk number `chunk`."""
    if len(data) > 1024:
        left = 1024 << ((len(data) - 1) // 1024).bit_length() - 1
        halves = chaining_value(data[:left], chunk) + chaining_value(data[left:], chunk + left // 1024)
        return compress(IV, halves, 0, 64, PARENT | root)
    value = IV
    for at in range(0, max(len(data), 1), 64):
        flags = (CHUNK_START if at == 0 else 0) | (CHUNK_END | root if at + 64 >= len(data) else 0)
        words = struct.unpack("<16I", data[at : at + 64].ljust(64, b"\0"))
        value = compress(value, words, chunk, len(data[at : at + 64]), flags)
    return value

def blake3(data):
    return struct.pack("<8I", *chaining_value(data, 0, ROOT))
