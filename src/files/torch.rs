//! A file of PyTorch's `torch.save` → its named tensors.
//!
//! Since PyTorch 1.6 the file is a zip archive with a pickle and one entry per storage. In the older form the file has
//! five pickles followed by the storages. The pickle is read by [`super::pickle`], which runs nothing. Tensors of other
//! float types become 32-bit floats, rounded to nearest: a 64-bit float beyond their range becomes infinite.
//!
//! Left out: whole models, whose pickles run code; tensors inside lists or deeper dicts; complex, quantised and sparse
//! tensors; unsigned integers above a byte and 8-bit floats; the form before version 0.1.10 (a tar archive).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::pickle::{self, Dtype, Part, Value, View};
use super::tensors::{Data, Tensor, brain_half, half, numbers};
use super::zip::Zip;
use crate::{Error, Result};

/// The first pickle of the older form.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// The second pickle of the older form.
const PROTOCOL: i64 = 1001;
/// The names under which checkpoints hold the weights of the model.
const USUAL: [&str; 4] = ["state_dict", "model_state_dict", "model", "net"];
/// Tensors may share storages. Together they may have at most this many times the bytes of all storages.
const MAX_SHARING: u64 = 4;
const AGAIN: &str = "download or copy the file again";
const SAVE: &str = "write the file with torch.save(model.state_dict(), path)";

/// The named tensors of the file at `path`, in the order of the file.
///
/// # Errors
/// The errors of [`parse`], and [`Error::Io`].
pub fn read(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    parse(&bytes, path)
}

/// The named tensors in `bytes`, the content of a file, in the order of the file. The tensors are those of the dict
/// under one of the usual names of weights, or else those of the outermost dict. `path` is for messages.
///
/// # Errors
/// [`Error::File`]. If the pickle of a zip archive is wrong, the path ends in `/data.pkl`, and the offset counts the
/// unpacked bytes of that entry.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Vec<(String, Tensor)>> {
    match bytes {
        [b'P', b'K', 3, 4, ..] => parse_zip(bytes, path),
        [0x80, ..] => parse_legacy(bytes, path),
        _ => {
            let found = format!("the bytes {:02x?}", &bytes[..bytes.len().min(4)]);
            Err(Error::file(path, Some(0), "a file of torch.save", found, SAVE))
        }
    }
}

fn parse_zip(bytes: &[u8], path: &Path) -> Result<Vec<(String, Tensor)>> {
    let zip = Zip::open(bytes, path)?;
    let folders: Vec<&str> = zip.names().filter_map(|name| name.strip_suffix("/data.pkl")).collect();
    let &[folder] = folders.as_slice() else {
        let found = format!("{} such entries", folders.len());
        return Err(Error::file(path, None, "a zip archive of torch.save with one */data.pkl", found, SAVE));
    };
    let order = format!("{folder}/byteorder");
    let big_endian = zip.names().any(|name| name == order) && zip.read(&order)?.as_ref() == b"big";
    let entry = format!("{folder}/data.pkl");
    let pickle_path = path.join("data.pkl");
    let content = zip.read(&entry)?;
    let part = pickle::parse_torch(&content, 0, &pickle_path)?;

    let views = named_views(&part.value, &pickle_path)?;
    let mut storages = BTreeMap::new();
    for key in views.iter().map(|(_, view)| &*view.key).collect::<BTreeSet<_>>() {
        let entry = format!("{folder}/data/{key}");
        let mut data = zip.read(&entry)?;
        let (dtype, len) = stored(&part, key);
        if len != Some(data.len()) {
            let expected = format!(
                "{} bytes in {}, as the pickle says",
                len.unwrap_or(usize::MAX),
                pickle::quote(&entry)
            );
            return Err(Error::file(path, None, expected, data.len().to_string(), AGAIN));
        }
        if big_endian {
            data = Cow::Owned(pickle::swapped(&data, dtype.item_bytes()));
        }
        storages.insert(key, data);
    }
    tensors(&views, &storages, zip.unpacked_bytes(), &pickle_path)
}

/// Type and length in bytes of a storage that a view of the pickle names.
fn stored(part: &Part, key: &str) -> (Dtype, Option<usize>) {
    let (dtype, n) = part.storages.get(key).copied().unwrap_or((Dtype::U8, 0));
    (dtype, n.checked_mul(dtype.item_bytes()))
}

fn parse_legacy(bytes: &[u8], path: &Path) -> Result<Vec<(String, Tensor)>> {
    let magic = pickle::parse_torch(bytes, 0, path)?;
    if magic.value != Value::BigInt(MAGIC) {
        return Err(Error::file(path, Some(0), "the magic number of torch.save", "another value", SAVE));
    }
    let protocol = pickle::parse_torch(bytes, magic.end, path)?;
    if protocol.value != Value::Int(PROTOCOL) {
        let at = Some(magic.end as u64);
        return Err(Error::file(path, at, "protocol 1001 of torch.save", "another value", SAVE));
    }
    let system = pickle::parse_torch(bytes, protocol.end, path)?;
    let part = pickle::parse_torch(bytes, system.end, path)?;
    let keys = pickle::parse_torch(bytes, part.end, path)?;
    let at = |pos: usize| Some(pos as u64);
    let Value::List(list) = &keys.value else {
        return Err(Error::file(path, at(part.end), "the list of storages", "another value", AGAIN));
    };

    // In this form storages are little-endian on every machine.
    let mut pos = keys.end;
    let mut storages = BTreeMap::new();
    for key in list {
        let known = key.as_text().filter(|key| part.storages.contains_key(*key));
        let Some(key) = known else {
            return Err(Error::file(path, at(part.end), "keys of storages of the pickle", "another", AGAIN));
        };
        let (dtype, len) = stored(&part, key);
        let rest = &bytes[pos..];
        let content = rest.split_first_chunk::<8>().and_then(|(n, rest)| {
            let len =
                len.filter(|len| Some((len / dtype.item_bytes()) as u64) == Some(u64::from_le_bytes(*n)));
            rest.get(..len?)
        });
        let Some(content) = content else {
            let len = len.unwrap_or(usize::MAX);
            let expected = format!("storage {} with its length, {len} bytes", pickle::quote(key));
            return Err(Error::file(path, at(pos), expected, format!("{} up to the end", rest.len()), AGAIN));
        };
        pos += 8 + content.len();
        storages.insert(key, Cow::Borrowed(content));
    }
    let views = named_views(&part.value, path)?;
    tensors(&views, &storages, bytes.len() as u64, path)
}

/// The tensors of the dict of weights, by name.
fn named_views<'a>(value: &'a Value, path: &Path) -> Result<Vec<(&'a str, &'a View)>> {
    let inside = |value: &'a Value| -> Vec<(&'a str, &'a View)> {
        let Value::Dict(pairs) = value else { return vec![] };
        let view = |(key, value): &'a (Value, Value)| match value {
            Value::Tensor(view) => Some((key.as_text()?, &**view)),
            _ => None,
        };
        pairs.iter().filter_map(view).collect()
    };
    let nested = USUAL.iter().filter_map(|key| value.get(key)).map(inside).find(|views| !views.is_empty());
    let views = nested.unwrap_or_else(|| inside(value));
    if views.is_empty() {
        let found = match value {
            Value::Dict(pairs) => {
                let keys = pairs.iter().take(8).filter_map(|(key, _)| key.as_text());
                let keys: Vec<String> = keys.map(pickle::quote).collect();
                format!("a dict of {}", keys.join(", "))
            }
            _ => "a value without names".to_owned(),
        };
        let expected = format!("a dict of tensors, or one under {}", USUAL.join(", "));
        return Err(Error::file(path, None, expected, found, SAVE));
    }
    let mut names = BTreeSet::new();
    if let Some((name, view)) = views.iter().find(|(name, _)| !names.insert(*name)) {
        let found = format!("a second {}", pickle::quote(name));
        return Err(Error::file(path, Some(view.at), "tensors with names of their own", found, SAVE));
    }
    Ok(views)
}

/// The tensors with the numbers of their views. `total_bytes` is the length of all storages.
fn tensors(
    views: &[(&str, &View)],
    storages: &BTreeMap<&str, Cow<[u8]>>,
    total_bytes: u64,
    path: &Path,
) -> Result<Vec<(String, Tensor)>> {
    let mut room = MAX_SHARING.saturating_mul(total_bytes);
    let tensor = |&(name, view): &(&str, &View)| {
        let bad = |expected: &str, found: String| {
            let expected = format!("{expected} for tensor {}", pickle::quote(name));
            Error::file(path, Some(view.at), expected, found, AGAIN)
        };
        let storage = storages.get(&*view.key);
        let storage = storage
            .ok_or_else(|| bad("a storage", format!("none of the key {}", pickle::quote(&view.key))))?;
        let item = view.dtype.item_bytes();
        let raw =
            pickle::gather(storage, item, view.offset, &view.shape, &view.strides).ok_or_else(|| {
                let (shape, strides, offset) = (&view.shape, &view.strides, view.offset);
                let n = storage.len() / item;
                bad("numbers of its storage", format!("{shape:?} by {strides:?} from {offset} on, of {n}"))
            })?;
        let left = room.checked_sub(raw.len() as u64);
        room = left.ok_or_else(|| bad("tensors that share little", "too much sharing".into()))?;
        Ok((name.to_owned(), Tensor { shape: view.shape.clone(), data: data(view.dtype, &raw) }))
    };
    views.iter().map(tensor).collect()
}

/// Little-endian numbers, converted without loss to one of the types of [`Data`].
fn data(dtype: Dtype, raw: &[u8]) -> Data {
    match dtype {
        Dtype::F32 => Data::F32(numbers(raw, f32::from_le_bytes)),
        Dtype::F64 => Data::F64(numbers(raw, f64::from_le_bytes)),
        Dtype::F16 => Data::F32(numbers(raw, |item| half(u16::from_le_bytes(item)))),
        Dtype::BF16 => Data::F32(numbers(raw, |item| brain_half(u16::from_le_bytes(item)))),
        Dtype::Bool | Dtype::U8 => Data::U8(raw.to_vec()),
        Dtype::I8 => Data::I32(numbers(raw, |item| i8::from_le_bytes(item).into())),
        Dtype::I16 => Data::I32(numbers(raw, |item| i16::from_le_bytes(item).into())),
        Dtype::I32 => Data::I32(numbers(raw, i32::from_le_bytes)),
        // PyTorch has no storage classes for unsigned integers of more than 8 bits.
        Dtype::I64 | Dtype::U64 => Data::I64(numbers(raw, i64::from_le_bytes)),
        Dtype::U16 => Data::I32(numbers(raw, |item| u16::from_le_bytes(item).into())),
        Dtype::U32 => Data::I64(numbers(raw, |item| u32::from_le_bytes(item).into())),
    }
}
