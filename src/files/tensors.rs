//! Named tensors ↔ a safetensors file.
//!
//! Reading checks everything before it allocates, so that it takes no more memory than the file is long.
//! Writing gives equal bytes for equal tensors and metadata. Therefore the header is written here:
//! the `safetensors` crate keeps metadata in an order that differs from run to run.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::{Error, Result};

/// The numbers of a tensor, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// 32-bit floats: weights, images.
    F32(Vec<f32>),
    /// 64-bit floats: the prior, log-likelihoods.
    F64(Vec<f64>),
    /// 64-bit integers: labels, architectures, counters.
    I64(Vec<i64>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// Bytes.
    U8(Vec<u8>),
}

impl Data {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::U8(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Name of the type in the format.
    pub fn dtype(&self) -> &'static str {
        match self {
            Self::F32(_) => "F32",
            Self::F64(_) => "F64",
            Self::I64(_) => "I64",
            Self::I32(_) => "I32",
            Self::U8(_) => "U8",
        }
    }

    fn item_bytes(&self) -> usize {
        match self {
            Self::F64(_) | Self::I64(_) => 8,
            Self::F32(_) | Self::I32(_) => 4,
            Self::U8(_) => 1,
        }
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::F32(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            Self::F64(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            Self::I64(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            Self::I32(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            Self::U8(v) => out.extend_from_slice(v),
        }
    }
}

/// A tensor: its extents, outermost first (none for a scalar), and its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Extents, outermost axis first.
    pub shape: Vec<usize>,
    /// The numbers of the tensor. Their number is the product of the extents.
    pub data: Data,
}

impl Tensor {
    /// A tensor of 32-bit floats.
    pub fn f32(shape: &[usize], data: Vec<f32>) -> Self {
        Self { shape: shape.to_vec(), data: Data::F32(data) }
    }

    /// A tensor of 64-bit floats.
    pub fn f64(shape: &[usize], data: Vec<f64>) -> Self {
        Self { shape: shape.to_vec(), data: Data::F64(data) }
    }

    /// A tensor of 64-bit integers.
    pub fn i64(shape: &[usize], data: Vec<i64>) -> Self {
        Self { shape: shape.to_vec(), data: Data::I64(data) }
    }
}

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;
/// The free text entries of a file.
pub type Metadata = BTreeMap<String, String>;

/// The tensors and the metadata of the file at `path`.
pub fn read(path: &Path) -> Result<(Tensors, Metadata)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    parse(&bytes, path)
}

/// The metadata of the file at `path`. Only its header is read. `None` if it is no such file.
pub fn metadata(path: &Path) -> Option<Metadata> {
    let mut file = std::fs::File::open(path).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    if length > file.metadata().ok()?.len() {
        return None;
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).ok()?;
    let header: serde_json::Value = serde_json::from_slice(&header).ok()?;
    serde_json::from_value(header["__metadata__"].clone()).ok()
}

/// The tensors and the metadata in `bytes`, the content of a file. Errors name the file `path`.
pub fn parse(bytes: &[u8], path: &Path) -> Result<(Tensors, Metadata)> {
    let bad = |e: safetensors::SafeTensorError| {
        let found = format!("{} bytes of which this is wrong: {e}", bytes.len());
        Error::file(path, None, "a whole safetensors file", found, "write or copy the file again")
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(bad)?;
    let file = SafeTensors::deserialize(bytes).map_err(bad)?;
    let mut tensors = Tensors::new();
    for (name, view) in file.iter() {
        let raw = view.data();
        let data = match view.dtype() {
            Dtype::F32 => Data::F32(numbers(raw, f32::from_le_bytes)),
            Dtype::F64 => Data::F64(numbers(raw, f64::from_le_bytes)),
            Dtype::I64 => Data::I64(numbers(raw, i64::from_le_bytes)),
            Dtype::I32 => Data::I32(numbers(raw, i32::from_le_bytes)),
            Dtype::F16 => Data::F32(numbers(raw, |item| half(u16::from_le_bytes(item)))),
            Dtype::BF16 => Data::F32(numbers(raw, |item| brain_half(u16::from_le_bytes(item)))),
            Dtype::U8 | Dtype::BOOL => Data::U8(raw.to_vec()),
            other => {
                let what = format!("tensor `{name}` of type F16, BF16, F32, F64, I64, I32 or U8");
                return Err(Error::file(
                    path,
                    None,
                    what,
                    other.to_string(),
                    "convert it before writing the file",
                ));
            }
        };
        tensors.insert(name.to_owned(), Tensor { shape: view.shape().to_vec(), data });
    }
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok((tensors, metadata))
}

/// The numbers in `raw`, little-endian.
pub(super) fn numbers<const N: usize, T>(raw: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks::<N>().0.iter().map(|item| from(*item)).collect()
}

/// The 16-bit float (IEEE 754 binary16) with these bits. All of them are 32-bit floats too.
pub(super) fn half(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (u32::from(bits >> 15) << 31, bits >> 10 & 31, u32::from(bits & 1023));
    let magnitude = match exponent {
        0 => return f32::from_bits(sign | (fraction as f32 / (1 << 24) as f32).to_bits()),
        31 => 0x7f80_0000 | fraction << 13,
        // The exponents of the two types are biased by 15 and by 127.
        _ => (u32::from(exponent) + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

/// The bfloat16 with these bits: the upper half of a 32-bit float.
pub(super) fn brain_half(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Writes the file at `path` completely or not at all: the file is written beside `path`, synced and renamed.
pub fn write_atomic(path: &Path, tensors: &Tensors, metadata: &Metadata) -> Result<()> {
    super::atomic_write(path, &to_bytes(tensors, metadata, path)?)
}

/// The bytes of the file, equal for equal tensors and metadata. The metadata come first, then the tensors. Tensors with
/// wider numbers come first (so that all are aligned), and tensors of the same width are sorted by name.
pub fn to_bytes(tensors: &Tensors, metadata: &Metadata, path: &Path) -> Result<Vec<u8>> {
    let mut ordered: Vec<(&String, &Tensor)> = tensors.iter().collect();
    ordered.sort_by_key(|(_, t)| std::cmp::Reverse(t.data.item_bytes()));
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), serde_json::json!(metadata));
    }
    let mut end = 0;
    let mut entries = vec![];
    for (name, tensor) in &ordered {
        if tensor.shape.iter().product::<usize>() != tensor.data.len() {
            let expected = format!("as many numbers in `{name}` as its shape {:?} says", tensor.shape);
            return Err(Error::file(path, None, expected, tensor.data.len().to_string(), ""));
        }
        let start = end;
        end += tensor.data.len() * tensor.data.item_bytes();
        let entry = serde_json::json!({
            "dtype": tensor.data.dtype(), "shape": tensor.shape, "data_offsets": [start, end],
        });
        entries.push(((*name).clone(), entry));
    }
    header.extend(entries);
    // serde_json sorts the keys or keeps them as inserted. The order is fixed in both cases.
    let mut text = serde_json::Value::Object(header).to_string();
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    let mut bytes = Vec::with_capacity(8 + text.len() + end);
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    ordered.iter().for_each(|(_, t)| t.data.append_to(&mut bytes));
    Ok(bytes)
}

/// Shape and numbers of the F32 tensor `name` of the file `path`.
pub fn f32s<'a>(tensors: &'a Tensors, path: &Path, name: &str) -> Result<(&'a [usize], &'a [f32])> {
    let tensor = get(tensors, path, name)?;
    match &tensor.data {
        Data::F32(v) => Ok((&tensor.shape, v)),
        other => Err(wrong_dtype(path, name, "F32", other)),
    }
}

/// Shape and numbers of the F64 tensor `name` of the file `path`.
pub fn f64s<'a>(tensors: &'a Tensors, path: &Path, name: &str) -> Result<(&'a [usize], &'a [f64])> {
    let tensor = get(tensors, path, name)?;
    match &tensor.data {
        Data::F64(v) => Ok((&tensor.shape, v)),
        other => Err(wrong_dtype(path, name, "F64", other)),
    }
}

/// Shape and numbers of the I64 tensor `name` of the file `path`.
pub fn i64s<'a>(tensors: &'a Tensors, path: &Path, name: &str) -> Result<(&'a [usize], &'a [i64])> {
    let tensor = get(tensors, path, name)?;
    match &tensor.data {
        Data::I64(v) => Ok((&tensor.shape, v)),
        other => Err(wrong_dtype(path, name, "I64", other)),
    }
}

fn get<'a>(tensors: &'a Tensors, path: &Path, name: &str) -> Result<&'a Tensor> {
    tensors.get(name).ok_or_else(|| {
        let found = match crate::error::nearest(name, tensors.keys().map(String::as_str)) {
            Some(near) => format!("no such name (the nearest is `{near}`)"),
            None => format!("no such name among {}", tensors.len()),
        };
        Error::file(path, None, format!("a tensor `{name}`"), found, "")
    })
}

fn wrong_dtype(path: &Path, name: &str, expected: &str, found: &Data) -> Error {
    Error::file(path, None, format!("tensor `{name}` of type {expected}"), found.dtype(), "")
}
