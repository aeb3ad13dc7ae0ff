//! Fixtures, and archives with any fault in them.

mod bombs;
mod torch;
mod values;

use std::path::{Path, PathBuf};

use flate2::Crc;
use parsec_nas::Error;

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pickle")
}

pub fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

/// The offset and the message of an error about a file.
pub fn told<T: std::fmt::Debug>(result: Result<T, Error>) -> (Option<u64>, String) {
    let error = result.unwrap_err();
    let message = error.to_string();
    match error {
        Error::File { offset, .. } => (offset, message),
        other => panic!("{other}"),
    }
}

/// An entry of an archive. The lengths and the checksum that the directory claims can be changed.
#[derive(Clone)]
pub struct Entry {
    pub name: String,
    pub packed: Vec<u8>,
    pub method: u16,
    pub flags: u16,
    pub crc: u32,
    pub packed_bytes: u32,
    pub unpacked_bytes: u32,
    /// The place of the entry that the directory claims. `None` for the true place.
    pub header_at: Option<u32>,
}

impl Entry {
    pub fn stored(name: &str, content: &[u8]) -> Self {
        let mut crc = Crc::new();
        crc.update(content);
        let len = content.len() as u32;
        let (name, packed) = (name.to_owned(), content.to_vec());
        Self {
            name,
            packed,
            method: 0,
            flags: 0,
            crc: crc.sum(),
            packed_bytes: len,
            unpacked_bytes: len,
            header_at: None,
        }
    }

    pub fn deflated(name: &str, content: &[u8]) -> Self {
        use std::io::Write;
        let mut encoder = flate2::write::DeflateEncoder::new(vec![], flate2::Compression::best());
        encoder.write_all(content).unwrap();
        let packed = encoder.finish().unwrap();
        Self { packed_bytes: packed.len() as u32, packed, method: 8, ..Self::stored(name, content) }
    }
}

/// The bytes of an archive.
pub fn zip(entries: &[Entry]) -> Vec<u8> {
    let (mut out, mut directory) = (vec![], vec![]);
    for entry in entries {
        let header_at = entry.header_at.unwrap_or(out.len() as u32);
        let shared = |out: &mut Vec<u8>| {
            for number in [20, entry.flags, entry.method, 0, 0] {
                out.extend(u16::to_le_bytes(number));
            }
            for number in [entry.crc, entry.packed_bytes, entry.unpacked_bytes] {
                out.extend(u32::to_le_bytes(number));
            }
            out.extend((entry.name.len() as u16).to_le_bytes());
            out.extend([0, 0]);
        };
        out.extend(b"PK\x03\x04");
        shared(&mut out);
        out.extend(entry.name.as_bytes());
        out.extend(&entry.packed);
        directory.extend(b"PK\x01\x02\x14\x00");
        shared(&mut directory);
        directory.extend([0; 10]);
        directory.extend(header_at.to_le_bytes());
        directory.extend(entry.name.as_bytes());
    }
    let (n, start) = (entries.len() as u16, out.len() as u32);
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([n.to_le_bytes(), n.to_le_bytes()].concat());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}

/// A pickle of a state dict with one tensor `w` of 32-bit floats in storage 0 of `n` numbers.
pub fn one_tensor(n: u32, offset: u32, shape: &[u32], strides: &[u32]) -> Vec<u8> {
    let int = |n: u32| [b"J".as_slice(), &n.to_le_bytes()].concat();
    let tuple = |items: &[u32]| {
        let items: Vec<u8> = items.iter().flat_map(|&item| int(item)).collect();
        [b"(".as_slice(), &items, b"t"].concat()
    };
    [
        b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu"
            .as_slice(),
        &int(n),
        b"tQ",
        &int(offset),
        &tuple(shape),
        &tuple(strides),
        b"\x89ccollections\nOrderedDict\n)RtRs.",
    ]
    .concat()
}
