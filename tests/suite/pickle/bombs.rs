//! Small files that would need much memory are refused.

use std::path::Path;

use parsec_nas::files::{pickle, torch};

use super::{Entry, one_tensor, zip};

/// The largest demands that a file of few bytes can make.
#[test]
fn files_that_ask_for_much_are_refused() {
    let cases: Vec<Vec<u8>> = vec![
        vec![b']'; 1 << 20],
        vec![b'('; 1 << 20],
        [vec![b'N'], vec![b'2'; 1 << 20]].concat(),
        [vec![b'N'], vec![0x94; 1 << 20]].concat(),
        // Tuples that could keep the memory of a large stack.
        [vec![b'('], vec![b'N'; 1 << 16], b"1".to_vec(), b"(t0".repeat(1 << 12)].concat(),
        // A value that occurs many times in the final tree.
        [b"]q\x00(".to_vec(), vec![b'N'; 1 << 10], b"e0(".to_vec(), b"h\x00".repeat(1 << 15), b"l.".to_vec()]
            .concat(),
        // Many dicts that are made from the same list of pairs.
        [
            b"ccollections\nOrderedDict\nq\x00](".to_vec(),
            b"NN\x86".repeat(1 << 12),
            b"e\x85q\x01(".to_vec(),
            b"h\x00h\x01R".repeat(1 << 12),
            b"l.".to_vec(),
        ]
        .concat(),
        // Tensors with long shapes.
        [
            b"(".to_vec(),
            b"ctorch\nSize\nq\x00(".to_vec(),
            b"K\x01".repeat(16),
            b"tq\x01".to_vec(),
            b"h\x00h\x01\x85R".repeat(1 << 14),
            b"l.".to_vec(),
        ]
        .concat(),
    ];
    for bytes in cases {
        assert!(pickle::parse(&bytes, Path::new("a")).is_err(), "{:?}", &bytes[..8]);
    }
    // An entry that unpacks to more than it claims.
    let bomb = Entry { unpacked_bytes: 24, ..Entry::deflated("a/data/0", &vec![0; 100 << 20]) };
    let bytes = zip(&[Entry::stored("a/data.pkl", &one_tensor(6, 0, &[2, 3], &[3, 1])), bomb]);
    assert!(torch::parse(&bytes, Path::new("a")).is_err());
}
