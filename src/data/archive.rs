//! A tar archive, gzipped or not → the content of some of its members, in one pass.
//!
//! A member is known by the last part of its name. Links, folders and other special members are ignored, and so are
//! the records that extend the name of the next member. Nothing is written to the disk. Sizes in the archive only limit
//! reading.

use std::io::{BufRead, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, Result};

const AGAIN: &str = "download or copy the archive again";

/// Calls `take` with the name and the content of each regular member for whose name `max_bytes` gives a limit. Returns
/// the number of all members. `path` is for messages only. `max_total` is the limit of the bytes of the unpacked
/// archive.
///
/// # Errors
/// [`Error::File`] for damaged data, two members of one name, and sizes beyond the limits; the errors of `take`.
pub(super) fn each_member(
    path: &Path,
    mut packed: impl BufRead,
    max_total: u64,
    max_bytes: impl Fn(&str) -> Option<u64>,
    mut take: impl FnMut(&str, Vec<u8>) -> Result<()>,
) -> Result<usize> {
    let damaged = |place: &Path, e: std::io::Error| {
        Error::file(place, None, "an intact tar archive, gzipped or not", e.to_string(), AGAIN)
    };
    let start = packed.fill_buf().map_err(|e| Error::io("read", path, e))?;
    let is_gz = start.starts_with(&[0x1f, 0x8b]);
    let unpacked: Box<dyn Read + '_> =
        if is_gz { Box::new(MultiGzDecoder::new(packed)) } else { Box::new(packed) };
    let mut archive = tar::Archive::new(unpacked.take(max_total));
    let mut seen: Vec<String> = vec![];
    let mut n_members = 0;
    // Raw entries: the program needs no long names, and the bytes of such a name would be read into memory.
    for entry in archive.entries().map_err(|e| damaged(path, e))?.raw(true) {
        let mut entry = entry.map_err(|e| damaged(path, e))?;
        n_members += 1;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path_bytes();
        let name = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let Ok(name) = std::str::from_utf8(name).map(str::to_owned) else { continue };
        let Some(max) = max_bytes(&name) else { continue };
        let place = path.join(&name);
        if seen.contains(&name) {
            return Err(Error::file(&place, None, "one member of that name", "another one", AGAIN));
        }
        let size = entry.size();
        if size == 0 || size > max {
            let expected = format!("a member of 1 to {max} bytes");
            return Err(Error::file(&place, None, expected, format!("{size} bytes"), AGAIN));
        }
        let mut content = vec![];
        (&mut entry).take(max).read_to_end(&mut content).map_err(|e| damaged(&place, e))?;
        if content.len() as u64 != size {
            let found = format!("the end of the archive after {} bytes", content.len());
            return Err(Error::file(&place, None, format!("a member of {size} bytes"), found, AGAIN));
        }
        take(&name, content)?;
        seen.push(name);
    }
    // The checksum of gzip comes after the last member.
    let mut rest = archive.into_inner();
    std::io::copy(&mut rest, &mut std::io::sink()).map_err(|e| damaged(path, e))?;
    if rest.limit() == 0 {
        let expected = format!("an archive that unpacks to less than {max_total} bytes");
        return Err(Error::file(path, None, expected, "more", AGAIN));
    }
    Ok(n_members)
}
