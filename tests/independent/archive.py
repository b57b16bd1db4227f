"""Archives of segments, as docs/format.md has them under "Archives". Needs the program `zstd`."""
import os
import shutil
import struct
import subprocess
import zlib

from blake3 import blake3
from forms import Bytes, need, varint

NO_ZSTD = "archives are compressed, and the program zstd is not there"
CHUNK = 2_097_152

def decompress(chunk, length):
    """The `length` bytes that one zstd frame stands for."""
    need(shutil.which("zstd"), NO_ZSTD)
    done = subprocess.run(["zstd", "-dcq"], input=chunk, capture_output=True)
    need(done.returncode == 0 and len(done.stdout) == length, "a chunk of an archive that does not decompress to what its entry says")
    return done.stdout

def planes(b, count):
    """A column of numbers: first the first bytes of all their varints, then the second bytes of those that have one, and so on."""
    numbers, going, shift = [0] * count, range(count), 0
    while going:
        plane = b.take(len(going))
        for n, byte in zip(going, plane):
            numbers[n] |= (byte & 127) << shift
        going = [n for n, byte in zip(going, plane) if byte >= 128]
        shift += 7
        need(shift < 77 and all(number >> 64 == 0 for number in numbers), "a number is too large")
    return numbers

def cores_of(columns, entry, store, segment, before, block):
    """The cores of a chunk's frames, each with its place: (block, core)."""
    count, first, chain = entry[1], entry[2], entry[3]
    b = Bytes(columns)
    back, = planes(b, 1)
    flags, headers, payloads, counts, lags, epochs, times = (planes(b, count) for _ in range(7))
    roots = [b.take(32) if p else bytes(32) for p in payloads]
    crcs = [b.take(4 * p) for p in payloads]
    later = iter(planes(b, sum(max(n - 1, 0) for n in counts)))
    blocks, lengths = planes(b, sum(counts)), planes(b, sum(counts))
    of_length = {}  # the records of each length up to 32, byte by byte over all of them
    for length in range(1, 33):
        many = lengths.count(length)
        byte = [b.take(many) for _ in range(length)]
        of_length[length] = iter([bytes(plane[i] for plane in byte) for i in range(many)])
    record, epoch, time = 0, 0, 0
    previous = block - back if back else 0xFFFFFFFF
    for n in range(count):
        records, epoch, time = [], epoch + epochs[n], time + times[n]
        begins = time
        for i in range(counts[n]):
            gap = next(later) if i else 0
            time += gap
            length = lengths[record]
            data = b.take(length) if length > 32 else next(of_length[length]) if length else b""
            records.append(varint(gap) + varint(blocks[record]) + varint(length) + data)
            record += 1
        records = b"".join(records)
        head = struct.pack("<8sHHHH16sQIIQIIQQQ", b"STRANDF\0", 0, flags[n], headers[n], payloads[n], store, segment, block, previous, first,
                           counts[n], len(records), first - 1 - lags[n], epoch, begins)
        core = head + chain + roots[n] + crcs[n] + records
        yield block, core
        chain = blake3(chain + core)
        previous, block, first = block, block + headers[n] + payloads[n], first + counts[n]
    need(b.at == len(columns), "columns that mean nothing")

def archived(path, store, segment):
    """The cores of a segment's frames from its archive: (block, core) each, in order."""
    with open(path, "rb") as file:
        data = file.read()
    need(len(data) >= 148 and data[:12] == b"STRANDAR\0\0\0\0", "this is no archive")
    chunks, = struct.unpack_from("<I", data, 12)
    need(1 <= chunks <= 4096 and len(data) >= 148 + 64 * chunks, "the table of an archive")
    table = 144 + 64 * chunks
    need(zlib.crc32(data[:table]) == struct.unpack_from("<I", data, table)[0], "the checksum of an archive")
    number, first, records, frames, end = struct.unpack_from("<QQQII", data, 32)
    before, last, size, length = struct.unpack_from("<32s32sQQ", data, 64)
    need(data[16:32] == store and number == segment and length == len(data), "an archive of another segment")
    entries = [struct.unpack_from("<IIQ32sIIII", data, 144 + 64 * n) for n in range(chunks)]
    need((entries[0][0], entries[0][2], entries[0][3]) == (0, first, before), "where an archive begins")
    at, found, chain = table + 4, [], before
    for entry in entries:
        _, count, _, chain_before, cores, columns, stored, crc = entry
        need(max(cores, columns) <= CHUNK and stored <= 2_162_688, "the size of a chunk")
        chunk = data[at : at + stored]
        at += stored
        need(len(chunk) == stored and zlib.crc32(chunk) == crc, "the checksum of a chunk")
        made = list(cores_of(decompress(chunk, columns), entry, store, segment, chain_before, entry[0]))
        need(len(made) == count and sum(len(core) for _, core in made) == cores, "cores that are not what their entry says")
        need(chain == chain_before, "the chain of an archive")
        for _, core in made:
            chain = blake3(chain + core)
        found += made
    need(at == len(data) and chain == last and sum(len(core) for _, core in found) == size, "the end of an archive")
    need(len(found) == frames and sum(struct.unpack_from("<I", core, 56)[0] for _, core in found) == records, "what an archive holds")
    need(found[-1][0] + sum(struct.unpack_from("<HH", found[-1][1], 12)) == end, "the block behind an archive's last frame")
    return found
