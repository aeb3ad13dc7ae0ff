//! An `.npz` file of numpy → its arrays of integers.
//!
//! The file is a zip archive with one `.npy` file per array, stored or deflated. An `.npy` file is a header, which is a
//! Python dict with the type, the order and the shape, and then the numbers. Versions 1, 2 and 3 of the header differ in
//! the width of its length. A header is read, and compared with the length of its entry, before the numbers are unpacked.
//!
//! Left out: arrays of objects (they are pickles), of records and of texts, and arrays in Fortran's order. The format is
//! documented in numpy's `numpy.lib.format`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::pickle::quote;
use super::zip::Zip;
use crate::{Error, Result};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Bytes of a header, at most. Numpy writes some 128.
const MAX_HEADER: usize = 1 << 16;
/// Extents of an array, at most.
const MAX_DIMS: usize = 16;
/// Largest ratio of the unpacked bytes to the length of the file, which is that of deflate. Images with few pixels that are
/// not black are compressed as far.
const MAX_RATIO: u64 = 1032;
const AGAIN: &str = "download or copy the file again";
const SAVE: &str = "write the file with numpy.savez, with arrays of integers";

/// The description of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The extents; none for a single number.
    pub shape: Vec<usize>,
    /// The type as numpy writes it, such as `|u1` or `<i8`.
    pub descr: String,
    /// Position of the first number in the unpacked `.npy` file.
    pub start: usize,
    n_bytes: u64,
}

impl Header {
    /// Bytes of an integer and whether the integer has a sign, or `None` for another type.
    pub fn integer(&self) -> Option<(usize, bool)> {
        let (kind, width) = self.descr.trim_start_matches(['<', '>', '|', '=']).split_at_checked(1)?;
        let signed = match kind {
            "i" => true,
            "u" => false,
            _ => return None,
        };
        width.parse().ok().filter(|bytes| [1, 2, 4, 8].contains(bytes)).map(|bytes| (bytes, signed))
    }

    /// The integers in `bytes`, which are the numbers of this array. Empty for another type.
    pub fn integers<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = i128> + use<'a> {
        let (width, signed) = self.integer().unwrap_or((1, false));
        let big_endian = self.descr.starts_with('>');
        let bytes = if self.integer().is_some() { bytes } else { &[] };
        bytes.chunks_exact(width).map(move |item| {
            let add = |number: i128, byte: &u8| number << 8 | i128::from(*byte);
            let number = if big_endian { item.iter().fold(0, add) } else { item.iter().rev().fold(0, add) };
            let bits = 8 * width;
            if signed && number >> (bits - 1) == 1 { number - (1 << bits) } else { number }
        })
    }
}

/// An `.npz` file.
pub struct Npz<'a> {
    zip: Zip<'a>,
    path: &'a Path,
}

impl<'a> Npz<'a> {
    /// The file with the content `bytes`; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::File`] if the bytes are no sound zip archive.
    pub fn open(bytes: &'a [u8], path: &'a Path) -> Result<Self> {
        if bytes.starts_with(MAGIC) {
            let found = "one array (.npy)";
            return Err(Error::file(path, Some(0), "an .npz file with several arrays", found, SAVE));
        }
        if !bytes.starts_with(b"PK") {
            let found = format!("the bytes {:02x?}", &bytes[..bytes.len().min(4)]);
            return Err(Error::file(path, Some(0), "an .npz file (a zip archive of arrays)", found, AGAIN));
        }
        Ok(Self { zip: Zip::open_within(bytes, path, MAX_RATIO)?, path })
    }

    /// The names of the arrays.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.zip.names().filter_map(|name| name.strip_suffix(".npy"))
    }

    /// The path of an array for messages: the path of the file with the name of the entry behind it.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.npy"))
    }

    /// The description of the array `name`, whose numbers may take `max_bytes` bytes.
    ///
    /// # Errors
    /// [`Error::File`] for a damaged header, for objects, records and texts, for Fortran's order, and for a shape that
    /// does not fit the length of the entry. The offset counts the unpacked bytes of the entry.
    pub fn header(&self, name: &str, max_bytes: u64) -> Result<Header> {
        let path = self.path_of(name);
        let entry = format!("{name}.npy");
        let bytes = self.zip.start(&entry, (12 + MAX_HEADER) as u64)?;
        let mut header = parse_header(&bytes, &path)?;
        let bad = |expected: String, found: String| {
            Error::file(&path, Some(header.start as u64), expected, found, AGAIN)
        };
        let found = self.zip.len_of(&entry)?.saturating_sub(header.start as u64);
        let shape = &header.shape;
        let item = item_bytes(&header.descr).unwrap_or(1);
        let claimed = shape.iter().try_fold(item, |bytes, &extent| bytes.checked_mul(extent as u64));
        let Some(claimed) = claimed.filter(|&bytes| bytes <= max_bytes) else {
            return Err(bad(format!("an array of at most {max_bytes} bytes"), format!("shape {shape:?}")));
        };
        if claimed != found {
            let expected = format!("{claimed} bytes after the header, as its shape {shape:?} says");
            return Err(bad(expected, format!("{found}")));
        }
        header.n_bytes = claimed;
        Ok(header)
    }

    /// The bytes of the numbers of the array `name`.
    ///
    /// # Errors
    /// [`Error::File`] for damaged data.
    pub fn data(&self, name: &str, header: &Header) -> Result<Cow<'a, [u8]>> {
        let content = self.zip.read(&format!("{name}.npy"))?;
        let data = content.get(header.start..).unwrap_or_default();
        if data.len() as u64 != header.n_bytes {
            let expected = format!("{} bytes of numbers", header.n_bytes);
            return Err(Error::file(self.path_of(name), None, expected, data.len().to_string(), AGAIN));
        }
        let start = header.start;
        Ok(match content {
            Cow::Owned(mut content) => {
                content.drain(..start);
                Cow::Owned(content)
            }
            Cow::Borrowed(content) => Cow::Borrowed(&content[start..]),
        })
    }
}

/// Bytes of one number of a type such as `<i8`, or `None` for types without numbers.
fn item_bytes(descr: &str) -> Option<u64> {
    let (kind, width) = descr.trim_start_matches(['<', '>', '|', '=']).split_at_checked(1)?;
    "biufc".contains(kind).then(|| width.parse().ok().filter(|bytes| (1..=32).contains(bytes)))?
}

/// The header at the start of `bytes`. The number of bytes of the array is not known yet.
fn parse_header(bytes: &[u8], path: &Path) -> Result<Header> {
    let bad = |at: usize, expected: &str, found: String, hint: &str| {
        Err(Error::file(path, Some(at as u64), expected, found, hint))
    };
    let len = |at: usize, width: usize| {
        let bytes = bytes.get(at..at + width)?;
        Some(bytes.iter().rev().fold(0usize, |number, &byte| number << 8 | usize::from(byte)))
    };
    let Some(version) = bytes.strip_prefix(MAGIC).and_then(|rest| rest.first()) else {
        return bad(0, "an array of numpy (.npy)", "other bytes".into(), AGAIN);
    };
    let (text_at, text_len) = match version {
        1 => (10, len(8, 2)),
        2 | 3 => (12, len(8, 4)),
        other => return bad(6, "version 1, 2 or 3 of the format", other.to_string(), SAVE),
    };
    let text_len = text_len.filter(|&len| len <= MAX_HEADER);
    let Some(text) = text_len.and_then(|len| bytes.get(text_at..text_at + len)) else {
        let expected = format!("a header of at most {MAX_HEADER} bytes");
        return bad(8, &expected, "a longer one, or the end of the entry".into(), AGAIN);
    };
    let mut literal = Literal { text, pos: 0 };
    let Some((descr, fortran, shape)) = literal.header() else {
        let at = text_at + literal.pos;
        return bad(at, "a dict with descr, fortran_order and shape", "another value".into(), AGAIN);
    };
    let Descr::Type(descr) = descr else {
        return bad(text_at, "an array of numbers", "an array of records".into(), SAVE);
    };
    if descr.trim_start_matches(['<', '>', '|', '=']).starts_with('O') {
        let found = "objects of Python, which are a pickle and are not read";
        return bad(text_at, "an array of numbers", found.into(), SAVE);
    }
    if item_bytes(&descr).is_none() {
        return bad(text_at, "an array of numbers", format!("the type {}", quote(&descr)), SAVE);
    }
    if fortran {
        let hint = "numpy.ascontiguousarray(array) before numpy.savez";
        return bad(text_at, "an array in C order", "Fortran's order".into(), hint);
    }
    Ok(Header { shape, descr, start: text_at + text.len(), n_bytes: 0 })
}

enum Descr {
    Type(String),
    Record,
}

/// A reader of the Python literal of a header.
struct Literal<'a> {
    text: &'a [u8],
    pos: usize,
}

impl Literal<'_> {
    /// The type, whether the order is Fortran's, and the shape.
    fn header(&mut self) -> Option<(Descr, bool, Vec<usize>)> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        self.pass(b'{')?;
        while !self.eat(b'}') {
            let key = self.string()?;
            self.pass(b':')?;
            match key.as_str() {
                "descr" if self.peek() == Some(b'[') => return Some((Descr::Record, false, vec![])),
                "descr" => descr = Some(self.string()?),
                "fortran_order" => fortran = Some(self.boolean()?),
                "shape" => shape = Some(self.shape()?),
                _ => return None,
            }
            if !self.eat(b',') && self.peek() != Some(b'}') {
                return None;
            }
        }
        if self.peek().is_some() {
            return None;
        }
        Some((Descr::Type(descr?), fortran?, shape?))
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.pos).is_some_and(u8::is_ascii_whitespace) {
            self.pos += 1;
        }
        self.text.get(self.pos).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.pos += usize::from(is_next);
        is_next
    }

    fn pass(&mut self, byte: u8) -> Option<()> {
        self.eat(byte).then_some(())
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<String> {
        let quote = self.peek().filter(|byte| [b'\'', b'"'].contains(byte))?;
        let rest = &self.text[self.pos + 1..];
        let len = rest.iter().position(|&byte| byte == quote)?;
        let text = std::str::from_utf8(&rest[..len]).ok().filter(|text| !text.contains('\\'))?;
        self.pos += len + 2;
        Some(text.to_owned())
    }

    fn boolean(&mut self) -> Option<bool> {
        self.peek()?;
        for (word, value) in [("True", true), ("False", false)] {
            if self.text[self.pos..].starts_with(word.as_bytes()) {
                self.pos += word.len();
                return Some(value);
            }
        }
        None
    }

    /// A tuple of extents. Python 2 wrote an L behind some of them.
    fn shape(&mut self) -> Option<Vec<usize>> {
        self.pass(b'(')?;
        let mut shape = vec![];
        while !self.eat(b')') {
            self.peek()?;
            let digits = self.text[self.pos..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let number = std::str::from_utf8(&self.text[self.pos..self.pos + digits]).ok()?;
            shape.push(number.parse().ok()?);
            self.pos += digits;
            self.eat(b'L');
            if shape.len() > MAX_DIMS || (!self.eat(b',') && self.peek() != Some(b')')) {
                return None;
            }
        }
        Some(shape)
    }
}
