//! A zip archive → its entries, stored or deflated.
//!
//! The reader relies on the central directory at the end of the file. The name, the length and the checksum of each
//! entry are compared with it. Entries that overlap are refused, because they would unpack the same bytes many times.
//! Archives that would unpack to far more bytes than they have are also refused. Left out: encryption, archives in
//! several files or after other data, and other ways of compression.
//!
//! Format: PKWARE's APPNOTE 6.3, 4.3 and 4.5.3 (ZIP64).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use crate::{Error, Result};

const AGAIN: &str = "download or copy the file again";
/// Largest ratio of the unpacked bytes to the length of the archive. Weights can hardly be compressed, but zeros can.
const MAX_RATIO: u64 = 16;
/// Unpacked bytes that are allowed for an archive of any length.
const FREE_BYTES: u64 = 16 << 20;
const END_LEN: usize = 22;
const END64_LEN: usize = 56;
const LOCATOR_LEN: usize = 20;
const CENTRAL_LEN: usize = 46;
const LOCAL_LEN: usize = 30;

/// One entry, as the central directory describes it.
struct Entry {
    header_at: usize,
    packed_at: usize,
    packed_bytes: usize,
    unpacked_bytes: u64,
    deflated: bool,
    crc: u32,
}

/// An archive whose directory is sound.
pub(super) struct Zip<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    max_ratio: u64,
    entries: BTreeMap<String, Entry>,
}

impl<'a> Zip<'a> {
    /// The archive in `bytes`; `path` is for messages.
    pub fn open(bytes: &'a [u8], path: &'a Path) -> Result<Self> {
        Self::open_within(bytes, path, MAX_RATIO)
    }

    /// Like [`Self::open`], with another limit of the ratio of the unpacked bytes to the length of the archive.
    pub fn open_within(bytes: &'a [u8], path: &'a Path, max_ratio: u64) -> Result<Self> {
        let mut zip = Self { path, bytes, max_ratio, entries: BTreeMap::new() };
        let directory = zip.find_directory()?;
        zip.read_directory(directory)?;
        zip.check_places()?;
        Ok(zip)
    }

    /// The names of the entries.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Bytes of all entries, unpacked.
    pub fn unpacked_bytes(&self) -> u64 {
        self.entries.values().map(|entry| entry.unpacked_bytes).sum()
    }

    /// The length of the content of the entry `name`, as the directory describes it.
    pub fn len_of(&self, name: &str) -> Result<u64> {
        self.named(name).map(|entry| entry.unpacked_bytes)
    }

    /// The first `max_bytes` bytes of the content of the entry `name`, without a comparison with its checksum.
    pub fn start(&self, name: &str, max_bytes: u64) -> Result<Cow<'a, [u8]>> {
        self.unpack(self.named(name)?, max_bytes)
    }

    /// The content of the entry `name`.
    pub fn read(&self, name: &str) -> Result<Cow<'a, [u8]>> {
        let entry = self.named(name)?;
        let content = self.unpack(entry, entry.unpacked_bytes.saturating_add(1))?;
        if content.len() as u64 != entry.unpacked_bytes {
            let found = if content.len() as u64 > entry.unpacked_bytes { "more" } else { "fewer" };
            return Err(self.bad(
                entry.packed_at,
                format!("{} bytes in {name:?}", entry.unpacked_bytes),
                found,
            ));
        }
        let mut crc = Crc::new();
        crc.update(&content);
        if crc.sum() != entry.crc {
            let expected = format!("the checksum {:#010x} of {name:?}", entry.crc);
            return Err(self.bad(entry.packed_at, expected, format!("{:#010x}", crc.sum())));
        }
        Ok(content)
    }

    fn named(&self, name: &str) -> Result<&Entry> {
        self.entries.get(name).ok_or_else(|| {
            let found = format!("no such entry among {}", self.entries.len());
            Error::file(self.path, None, format!("an entry {name:?}"), found, AGAIN)
        })
    }

    /// At most `max_bytes` bytes of the content of `entry`.
    fn unpack(&self, entry: &Entry, max_bytes: u64) -> Result<Cow<'a, [u8]>> {
        let packed = &self.bytes[entry.packed_at..entry.packed_at + entry.packed_bytes];
        if !entry.deflated {
            return Ok(Cow::Borrowed(
                &packed[..packed.len().min(usize::try_from(max_bytes).unwrap_or(usize::MAX))],
            ));
        }
        let mut content = vec![];
        let unpacked = DeflateDecoder::new(packed).take(max_bytes).read_to_end(&mut content);
        unpacked.map_err(|e| self.bad(entry.packed_at, "intact deflated data", e.to_string()))?;
        Ok(Cow::Owned(content))
    }

    /// Start, end and number of entries of the central directory.
    fn find_directory(&self) -> Result<(usize, usize, u64)> {
        let len = self.bytes.len();
        let earliest = len.saturating_sub(END_LEN + usize::from(u16::MAX));
        // The end record is the last one whose comment reaches exactly to the end of the file.
        let is_end = |&at: &usize| {
            self.bytes[at..].starts_with(b"PK\x05\x06")
                && self.number(at + 20, 2).is_ok_and(|comment| (at + END_LEN) as u64 + comment == len as u64)
        };
        let end = (earliest..=len.saturating_sub(END_LEN)).rev().find(is_end);
        let end =
            end.ok_or_else(|| self.bad(len, "the directory of a zip archive", "the end of the file"))?;
        let locator = end.checked_sub(LOCATOR_LEN).filter(|&at| self.bytes[at..].starts_with(b"PK\x06\x07"));
        let (record, disks, n, size, start) = match locator {
            None => (end, self.number(end + 4, 4)?, self.number(end + 10, 2)?, end + 12, end + 16),
            Some(locator) => {
                let at = self.number(locator + 8, 8)?;
                let at = usize::try_from(at).ok().filter(|&at| at <= locator.saturating_sub(END64_LEN));
                let at = at.filter(|&at| self.bytes[at..].starts_with(b"PK\x06\x06"));
                let at = at.ok_or_else(|| self.bad(locator + 8, "a ZIP64 end record before", "none"))?;
                (at, self.number(at + 16, 8)?, self.number(at + 32, 8)?, at + 40, at + 48)
            }
        };
        let width = if locator.is_some() { 8 } else { 4 };
        let (size, start) = (self.number(size, width)?, self.number(start, width)?);
        if disks != 0 || start.checked_add(size) != Some(record as u64) {
            let found = format!("{size} bytes from byte {start} on");
            return Err(self.bad(record, "a directory that ends here, in one file", found));
        }
        Ok((start as usize, record, n))
    }

    fn read_directory(&mut self, (start, end, n): (usize, usize, u64)) -> Result<()> {
        let mut at = start;
        let max_ratio = self.max_ratio;
        let mut room = max_ratio.saturating_mul(self.bytes.len() as u64).saturating_add(FREE_BYTES);
        while at < end {
            let (name, entry, next) = self.entry(at, start)?;
            let left = room.checked_sub(entry.unpacked_bytes);
            room = left.ok_or_else(|| {
                let expected = format!("an archive that unpacks to at most {max_ratio} times its length");
                self.bad(at + 24, expected, format!("{} more bytes", entry.unpacked_bytes))
            })?;
            if let Some(first) = self.entries.insert(name, entry) {
                let found = format!("one that is also at byte {}", first.header_at);
                return Err(self.bad(at, "an entry with a name of its own", found));
            }
            at = next;
        }
        if at != end || self.entries.len() as u64 != n {
            let found = format!("{} up to byte {at}", self.entries.len());
            return Err(self.bad(start, format!("{n} entries up to byte {end}"), found));
        }
        Ok(())
    }

    /// The entry that the directory describes at `at`, and the place of the next one.
    fn entry(&self, at: usize, directory: usize) -> Result<(String, Entry, usize)> {
        if self.part(at, 4)? != b"PK\x01\x02" {
            return Err(self.bad(at, "an entry of the directory", "other bytes"));
        }
        let (flags, method) = (self.number(at + 8, 2)?, self.number(at + 10, 2)?);
        let name_len = self.number(at + 28, 2)? as usize;
        let extra_len = self.number(at + 30, 2)? as usize;
        let next = at + CENTRAL_LEN + name_len + extra_len + self.number(at + 32, 2)? as usize;
        let name = self.part(at + CENTRAL_LEN, name_len)?;
        let mut wide = self.zip64(at + CENTRAL_LEN + name_len, extra_len)?;
        let mut field = |place: usize| match self.number(place, 4)? {
            0xffff_ffff => {
                let (value, rest) = wide.split_first_chunk().ok_or_else(|| {
                    self.bad(place, "the number in the ZIP64 field of the entry", "no such field")
                })?;
                wide = rest;
                Ok(u64::from_le_bytes(*value))
            }
            number => Ok(number),
        };
        let (unpacked_bytes, packed, header) = (field(at + 24)?, field(at + 20)?, field(at + 42)?);
        if flags & 1 != 0 || !matches!(method, 0 | 8) {
            let found = format!("method {method}, flags {flags:#06x}");
            return Err(self.bad(at + 8, "a stored or deflated entry, not encrypted", found));
        }
        if method == 0 && packed != unpacked_bytes {
            let found = format!("{packed} and {unpacked_bytes}");
            return Err(self.bad(at + 20, "the same length twice, as the entry is stored", found));
        }
        let header_at = usize::try_from(header).unwrap_or(usize::MAX);
        let packed_at = self.packed_at(header_at, directory, name)?;
        let packed_bytes = usize::try_from(packed).ok().filter(|&len| len <= directory - packed_at);
        let packed_bytes = packed_bytes.ok_or_else(|| {
            self.bad(
                at + 20,
                "an entry before the directory",
                format!("{packed} bytes from byte {packed_at} on"),
            )
        })?;
        let crc = self.number(at + 16, 4)? as u32;
        let name = String::from_utf8_lossy(name).into_owned();
        let entry = Entry { header_at, packed_at, packed_bytes, unpacked_bytes, deflated: method == 8, crc };
        Ok((name, entry, next))
    }

    /// Checks that the entry's own header has the same name, and returns the place of the content behind this header.
    fn packed_at(&self, header: usize, directory: usize, name: &[u8]) -> Result<usize> {
        let bad = || {
            self.bad(
                header,
                format!("the header of the entry {}", super::pickle::quote(&String::from_utf8_lossy(name))),
                "another",
            )
        };
        let room = directory.checked_sub(header).filter(|&room| room >= LOCAL_LEN).ok_or_else(bad)?;
        let lens = self.number(header + 26, 2)? + self.number(header + 28, 2)?;
        let same = self.part(header, 4)? == b"PK\x03\x04"
            && self.number(header + 26, 2)? == name.len() as u64
            && self.part(header + LOCAL_LEN, name.len())? == name;
        let len = LOCAL_LEN + lens as usize;
        if same && len <= room { Ok(header + len) } else { Err(bad()) }
    }

    /// The ZIP64 field among the extra fields: the numbers that do not fit elsewhere.
    fn zip64(&self, at: usize, len: usize) -> Result<&'a [u8]> {
        let mut rest = self.part(at, len)?;
        while let [id_low, id_high, len_low, len_high, after @ ..] = rest {
            let len = usize::from(u16::from_le_bytes([*len_low, *len_high]));
            let Some((field, after)) = after.split_at_checked(len) else { break };
            if [*id_low, *id_high] == [1, 0] {
                return Ok(field);
            }
            rest = after;
        }
        Ok(&[])
    }

    fn check_places(&self) -> Result<()> {
        let mut places: Vec<(usize, usize)> = self
            .entries
            .values()
            .map(|entry| (entry.header_at, entry.packed_at + entry.packed_bytes))
            .collect();
        places.sort_unstable();
        match places.windows(2).find(|pair| pair[1].0 < pair[0].1) {
            Some(pair) => {
                let expected = format!("an entry after the one that ends at byte {}", pair[0].1);
                Err(self.bad(pair[1].0, expected, "one that overlaps it"))
            }
            None => Ok(()),
        }
    }

    fn part(&self, at: usize, len: usize) -> Result<&'a [u8]> {
        let part = self.bytes.get(at..).and_then(|rest| rest.get(..len));
        part.ok_or_else(|| self.bad(at, format!("{len} bytes"), "the end of the file"))
    }

    /// The little-endian number of `width` bytes at `at`.
    fn number(&self, at: usize, width: usize) -> Result<u64> {
        Ok(self.part(at, width)?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn bad(&self, at: usize, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::file(self.path, Some(at as u64), expected, found, AGAIN)
    }
}
