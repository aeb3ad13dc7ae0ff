//! The values of a pickle: plain values, arrays of numpy, and tensors as places in their storages.

use std::str::from_utf8;
use std::sync::Arc;

/// The type of the numbers of an array or a tensor.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    Bool,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F16,
    BF16,
    F32,
    F64,
}

/// Numpy's codes of types. The digit is the number of bytes.
pub(super) const CODES: [(&str, Dtype); 12] = [
    ("b1", Dtype::Bool),
    ("u1", Dtype::U8),
    ("u2", Dtype::U16),
    ("u4", Dtype::U32),
    ("u8", Dtype::U64),
    ("i1", Dtype::I8),
    ("i2", Dtype::I16),
    ("i4", Dtype::I32),
    ("i8", Dtype::I64),
    ("f2", Dtype::F16),
    ("f4", Dtype::F32),
    ("f8", Dtype::F64),
];

impl Dtype {
    /// Bytes of one number.
    pub fn item_bytes(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::BF16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

/// An array of numpy.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The type of its numbers.
    pub dtype: Dtype,
    /// Extents, outermost axis first.
    pub shape: Vec<usize>,
    /// The numbers in row-major order, little-endian. The file may have them in another order.
    pub data: Arc<[u8]>,
}

/// A tensor of PyTorch as a part of a storage. The storage is elsewhere in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Name of the storage.
    pub key: Arc<str>,
    /// The type of the numbers.
    pub dtype: Dtype,
    /// The first number in the storage.
    pub offset: usize,
    /// Extents, outermost axis first.
    pub shape: Vec<usize>,
    /// Distance in the storage from one index of an axis to the next, in numbers.
    pub strides: Vec<usize>,
    /// Position in the pickle, for messages.
    pub at: u64,
}

/// A value of a pickle.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, such as some seeds.
    BigInt(i128),
    Float(f64),
    /// Bytes, or a `str` of Python 2.
    Bytes(Arc<[u8]>),
    Text(Arc<str>),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    /// Keys and values as they were set; [`Value::get`] finds the last one of equal keys, as Python does.
    Dict(Vec<(Value, Value)>),
    Array(Arc<Array>),
    Tensor(Arc<View>),
}

impl Value {
    /// The value of a dict whose key is a text, or the same text as bytes (Python 2).
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Self::Dict(pairs) = self else { return None };
        pairs.iter().rev().find(|(k, _)| k.as_text() == Some(key)).map(|(_, value)| value)
    }

    /// The text of a text value, or of bytes in UTF-8 (Python 2).
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bytes(bytes) => from_utf8(bytes).ok(),
            _ => None,
        }
    }
}

/// The numbers at `offset + Σ index·stride` of `data`, in row-major order. Offset and strides count numbers of `item`
/// bytes. `None` if a number lies beyond `data`, or if the result has more numbers than `data`.
pub(in crate::files) fn gather(
    data: &[u8],
    item: usize,
    offset: usize,
    shape: &[usize],
    strides: &[usize],
) -> Option<Vec<u8>> {
    let n = shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent))?;
    if n == 0 {
        return Some(vec![]);
    }
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(offset, |last, (&extent, &stride)| last.checked_add((extent - 1).checked_mul(stride)?))?;
    let n_stored = data.len() / item;
    if last >= n_stored || n > n_stored {
        return None;
    }
    if strides == row_major(shape) {
        return Some(data[offset * item..(offset + n) * item].to_vec());
    }
    let mut out = Vec::with_capacity(n * item);
    let mut index = vec![0; shape.len()];
    for _ in 0..n {
        let at = offset + index.iter().zip(strides).map(|(&i, &stride)| i * stride).sum::<usize>();
        out.extend_from_slice(&data[at * item..(at + 1) * item]);
        for (i, &extent) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < extent {
                break;
            }
            *i = 0;
        }
    }
    Some(out)
}

/// The strides of numbers in row-major order. The product of the extents fits, or is 0.
fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// Numbers of `item` bytes in the other byte order.
pub(in crate::files) fn swapped(data: &[u8], item: usize) -> Vec<u8> {
    data.chunks(item).flat_map(|number| number.iter().rev()).copied().collect()
}

/// A text of the file for a message: short, and without characters that control a terminal.
pub(in crate::files) fn quote(text: &str) -> String {
    let short: String = text.chars().take(100).flat_map(char::escape_debug).collect();
    format!("`{short}{}`", if text.chars().count() > 100 { "…" } else { "" })
}
