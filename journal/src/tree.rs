//! The hash tree over a frame's payload blocks. Its root stands in the core, its leaves beside the core.
//!
//! Level 0 holds `BLAKE3(0x00 ‖ leaf)`, a parent is `BLAKE3(0x01 ‖ left ‖ right)`, an odd node at the end of a level is
//! promoted as it is. The prefixes keep a leaf from ever passing for a node.

/// The root over leaves given as a run of 16-byte strings; zeros if there are none.
pub(crate) fn root(leaves: &[u8]) -> [u8; 32] {
    let mut level: Vec<[u8; 32]> = leaves.chunks_exact(16).map(bottom).collect();
    while level.len() > 1 {
        let pairs = level.len() / 2;
        for i in 0..pairs {
            level[i] = parent(&level[2 * i], &level[2 * i + 1]);
        }
        if level.len() % 2 == 1 {
            level[pairs] = level[level.len() - 1];
            level.truncate(pairs + 1);
        } else {
            level.truncate(pairs);
        }
    }
    level.first().copied().unwrap_or([0; 32])
}

fn bottom(leaf: &[u8]) -> [u8; 32] {
    let mut bytes = [0u8; 17];
    bytes[1..].copy_from_slice(leaf);
    *blake3::hash(&bytes).as_bytes()
}

fn parent(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut bytes = [1u8; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    *blake3::hash(&bytes).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_node_is_promoted() {
        let leaves = [[1u8; 16], [2; 16], [3; 16]];
        let flat: Vec<u8> = leaves.concat();
        let expected = parent(
            &parent(&bottom(&leaves[0]), &bottom(&leaves[1])),
            &bottom(&leaves[2]),
        );
        assert_eq!(root(&flat), expected);
    }

    #[test]
    fn no_leaves_have_a_root_of_zeros_and_one_leaf_is_not_its_own_root() {
        assert_eq!(root(&[]), [0; 32]);
        assert_eq!(root(&[5; 16]), bottom(&[5; 16]));
    }

    #[test]
    fn every_leaf_counts() {
        let mut flat = vec![9u8; 16 * 7];
        let whole = root(&flat);
        for i in 0..flat.len() {
            flat[i] ^= 1;
            assert_ne!(root(&flat), whole);
            flat[i] ^= 1;
        }
    }
}
