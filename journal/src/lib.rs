//! The append-only, checksummed, hash-chained journal: frames, segments, chain, group commit, disks. Knows bytes and positions, nothing of volumes.
