//! Known names and their arguments → arrays, scalars, dicts, storages and tensors.

use std::sync::Arc;

use super::super::tensors::half;
use super::literals::{integer, signed, unsigned};
use super::value::CODES;
use super::{AGAIN, Array, Dtype, Id, Kind, MAX_DEPTH, Machine, Node, PLAIN, Value, View, gather, swapped};
use crate::{Error, Result};

/// The meaning of a known name.
#[derive(Clone, Copy)]
pub(super) enum Global {
    /// An array of numpy without content; its state follows.
    Reconstruct,
    /// A whole array. Numpy writes contiguous arrays in this form in protocol 5.
    FromBuffer,
    /// The class of arrays, the first argument of `Reconstruct`.
    Ndarray,
    Dtype,
    Scalar,
    /// Bytes from a text. Python 3 writes bytes in this form in protocols 0 to 2.
    Encode,
    /// The class of bytes. Python 3 writes empty bytes as a call of this class in protocols 0 to 2.
    Bytes,
    OrderedDict,
    Tensor,
    Parameter,
    Size,
    Storage(Dtype),
}

/// All known names. A file that asks for any other name is refused.
pub(super) const GLOBALS: [(&str, &str, Global); 24] = [
    ("numpy.core.multiarray", "_reconstruct", Global::Reconstruct),
    ("numpy._core.multiarray", "_reconstruct", Global::Reconstruct),
    ("numpy.core.numeric", "_frombuffer", Global::FromBuffer),
    ("numpy._core.numeric", "_frombuffer", Global::FromBuffer),
    ("numpy", "ndarray", Global::Ndarray),
    ("numpy", "dtype", Global::Dtype),
    ("numpy.core.multiarray", "scalar", Global::Scalar),
    ("numpy._core.multiarray", "scalar", Global::Scalar),
    ("_codecs", "encode", Global::Encode),
    ("__builtin__", "bytes", Global::Bytes),
    ("collections", "OrderedDict", Global::OrderedDict),
    ("torch._utils", "_rebuild_tensor_v2", Global::Tensor),
    ("torch._utils", "_rebuild_parameter", Global::Parameter),
    ("torch", "Size", Global::Size),
    ("torch", "FloatStorage", Global::Storage(Dtype::F32)),
    ("torch", "DoubleStorage", Global::Storage(Dtype::F64)),
    ("torch", "HalfStorage", Global::Storage(Dtype::F16)),
    ("torch", "BFloat16Storage", Global::Storage(Dtype::BF16)),
    ("torch", "LongStorage", Global::Storage(Dtype::I64)),
    ("torch", "IntStorage", Global::Storage(Dtype::I32)),
    ("torch", "ShortStorage", Global::Storage(Dtype::I16)),
    ("torch", "CharStorage", Global::Storage(Dtype::I8)),
    ("torch", "ByteStorage", Global::Storage(Dtype::U8)),
    ("torch", "BoolStorage", Global::Storage(Dtype::Bool)),
];

/// The values that known names build.
impl Machine<'_> {
    /// Replaces a name and its arguments by the value that they build.
    pub(super) fn reduce(&mut self) -> Result<()> {
        let (args, callable) = (self.pop()?, self.pop()?);
        let Node::Global(global) = self.nodes[callable].1 else {
            return Err(self.bad("a known name", "something else"));
        };
        let node = match (global, self.tuple(args)?.as_slice()) {
            (Global::Reconstruct, &[class, ..])
                if matches!(self.nodes[class].1, Node::Global(Global::Ndarray)) =>
            {
                Node::EmptyArray
            }
            (Global::Dtype, &[code, ..]) => {
                let known = CODES.iter().find(|(known, _)| self.word(code).is_ok_and(|code| code == *known));
                let &(_, dtype) = self.need(known, "an array of numbers")?;
                Node::Dtype { dtype, big_endian: false }
            }
            (Global::FromBuffer, &[data, dtype, shape, order]) => {
                Node::Leaf(self.array(shape, dtype, self.word(order)? == "F", data)?)
            }
            (Global::Bytes, &[]) => Node::Leaf(Value::Bytes([].into())),
            (Global::Scalar, &[dtype, raw]) => Node::Leaf(self.scalar(dtype, raw)?),
            (Global::Encode, &[text, codec]) => Node::Leaf(self.encode(text, codec)?),
            (Global::OrderedDict, &[]) => Node::Items(Kind::Dict, vec![]),
            (Global::OrderedDict, &[pairs]) => Node::Items(Kind::Dict, self.listed_pairs(pairs)?),
            (Global::Tensor, &[storage, offset, shape, strides, ..]) => {
                Node::Leaf(self.view(storage, offset, shape, strides)?)
            }
            (Global::Parameter, &[value, ..]) | (Global::Size, &[value]) => {
                self.stack.push(value);
                return Ok(());
            }
            _ => return Err(self.bad("a known name with its arguments", "other arguments")),
        };
        self.push(node)
    }

    /// Gives an array its content and a type its byte order. The attributes of a dict are left out.
    pub(super) fn build(&mut self) -> Result<()> {
        let (state, target) = (self.pop()?, self.top()?);
        self.nodes[target].1 = match self.nodes[target].1 {
            Node::EmptyArray => {
                let [_, shape, dtype, fortran, data] = self.tuple(state)?[..] else {
                    return Err(self.bad("the five values of an array", "another number of them"));
                };
                let fortran = !matches!(self.leaf(fortran), Some(Value::Bool(false) | Value::Int(0)));
                Node::Leaf(self.array(shape, dtype, fortran, data)?)
            }
            Node::Dtype { dtype, .. } => {
                let state = self.tuple(state)?;
                let plain =
                    state.len() >= 5 && state[2..5].iter().all(|&id| self.leaf(id) == Some(&Value::None));
                let big_endian = match self.word(*self.need(state.get(1), "a byte order")?)? {
                    "<" | "|" if plain => false,
                    ">" if plain => true,
                    _ => return Err(self.bad("an array of numbers", "an array of records")),
                };
                Node::Dtype { dtype, big_endian }
            }
            Node::Items(Kind::Dict, _) if matches!(self.nodes[state].1, Node::Items(Kind::Dict, _)) => {
                return Ok(());
            }
            _ => return Err(self.bad("an array, a type or a dict to fill", "something else")),
        };
        Ok(())
    }

    fn array(&mut self, shape: Id, dtype: Id, fortran: bool, data: Id) -> Result<Value> {
        let (shape, (dtype, big_endian), mut data) = (self.dims(shape)?, self.dtype(dtype)?, self.raw(data)?);
        let item = dtype.item_bytes();
        if shape.iter().try_fold(item, |len, &extent| len.checked_mul(extent)) != Some(data.len()) {
            let expected = format!("the bytes of an array {shape:?} of {dtype:?}");
            return Err(self.bad(expected, format!("{} bytes", data.len())));
        }
        self.charge(8 * shape.len() + if big_endian || fortran { 2 * data.len() } else { 0 })?;
        if big_endian {
            data = swapped(&data, item).into();
        }
        if fortran {
            let mut strides = vec![1usize; shape.len()];
            for axis in 1..shape.len() {
                strides[axis] = strides[axis - 1].saturating_mul(shape[axis - 1]);
            }
            data = self.need(gather(&data, item, 0, &shape, &strides), "an array")?.into();
        }
        Ok(Value::Array(Arc::new(Array { dtype, shape, data })))
    }

    fn scalar(&self, dtype: Id, raw: Id) -> Result<Value> {
        let ((dtype, big_endian), mut raw) = (self.dtype(dtype)?, self.raw(raw)?);
        if raw.len() != dtype.item_bytes() {
            return Err(self.bad(format!("one number of {dtype:?}"), format!("{} bytes", raw.len())));
        }
        if big_endian {
            raw = swapped(&raw, raw.len()).into();
        }
        let bits = unsigned(&raw);
        Ok(match dtype {
            Dtype::Bool => Value::Bool(bits != 0),
            Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 => integer(bits),
            Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => integer(signed(&raw)),
            Dtype::F16 => Value::Float(half(bits as u16).into()),
            Dtype::BF16 => Value::Float(f32::from_bits((bits as u32) << 16).into()),
            Dtype::F32 => Value::Float(f32::from_bits(bits as u32).into()),
            Dtype::F64 => Value::Float(f64::from_bits(bits as u64)),
        })
    }

    fn encode(&mut self, text: Id, codec: Id) -> Result<Value> {
        let text = match self.leaf(text) {
            Some(Value::Text(text)) if self.word(codec)? == "latin1" => Arc::clone(text),
            _ => return Err(self.bad("a text and its codec, latin1", "something else")),
        };
        self.charge(text.len())?;
        let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
        Ok(Value::Bytes(self.need(bytes, "a text in latin1")?.into()))
    }

    /// The items of a list of pairs. Python 2 writes an ordered dict in this form.
    fn listed_pairs(&mut self, list: Id) -> Result<Vec<Id>> {
        let Node::Items(Kind::List, pairs) = &self.nodes[list].1 else {
            return Err(self.bad("a list of pairs", "something else"));
        };
        let mut items = vec![];
        for &pair in pairs {
            match &self.nodes[pair].1 {
                Node::Items(_, pair) if pair.len() == 2 => items.extend(pair),
                _ => return Err(self.bad("a pair", "something else")),
            }
        }
        self.charge(8 * items.len())?;
        Ok(items)
    }

    /// A storage of PyTorch, from its name outside of the pickle.
    pub(super) fn storage(&mut self) -> Result<()> {
        let name = self.pop()?;
        // Old files have a sixth value for a part of another storage. It is `None` except in the oldest files.
        let (word, class, key, n) = match self.tuple(name)?[..] {
            [word, class, key, _, n] if self.torch => (word, class, key, n),
            [word, class, key, _, n, part] if self.torch && self.leaf(part) == Some(&Value::None) => {
                (word, class, key, n)
            }
            _ => return Err(self.bad(PLAIN, "a value that lies outside of the file")),
        };
        let Node::Global(Global::Storage(dtype)) = self.nodes[class].1 else {
            return Err(self.bad("a class of storages", "something else"));
        };
        let (key, n): (Arc<str>, usize) = (self.word(key)?.into(), self.index(n)?);
        let known = *self.storages.entry(Arc::clone(&key)).or_insert((dtype, n));
        if self.word(word)? != "storage" || known != (dtype, n) {
            return Err(self.bad("a storage, always with the same type and length", "something else"));
        }
        self.push(Node::Storage { key, dtype })
    }

    fn view(&mut self, storage: Id, offset: Id, shape: Id, strides: Id) -> Result<Value> {
        let (offset, shape, strides) = (self.index(offset)?, self.dims(shape)?, self.dims(strides)?);
        self.charge(16 * shape.len())?;
        match &self.nodes[storage].1 {
            Node::Storage { key, dtype } if shape.len() == strides.len() => {
                let (key, dtype, at) = (Arc::clone(key), *dtype, self.at as u64);
                Ok(Value::Tensor(Arc::new(View { key, dtype, offset, shape, strides, at })))
            }
            _ => Err(self.bad("a storage, with a stride for each extent", "something else")),
        }
    }

    /// The plain value of a node. A value that the file uses several times becomes several values, up to `n_left`.
    pub(super) fn tree(&self, id: Id, depth: usize, n_left: &mut usize) -> Result<Value> {
        let (at, node) = &self.nodes[id];
        let bad =
            |expected: &str, found: &str| Error::file(self.path, Some(*at as u64), expected, found, AGAIN);
        if depth > MAX_DEPTH {
            let expected = format!("values at most {MAX_DEPTH} deep");
            return Err(bad(&expected, "deeper ones, or a value that contains itself"));
        }
        let left = n_left.checked_sub(1);
        *n_left = left.ok_or_else(|| bad("as many values as fit the size of the file", "more"))?;
        let mut child = |id: &Id| self.tree(*id, depth + 1, n_left);
        match node {
            Node::Leaf(value) => Ok(value.clone()),
            Node::Items(Kind::Dict, ids) => {
                let pairs =
                    ids.as_chunks::<2>().0.iter().map(|[key, value]| Ok((child(key)?, child(value)?)));
                Ok(Value::Dict(pairs.collect::<Result<_>>()?))
            }
            Node::Items(kind, ids) => {
                let items = ids.iter().map(child).collect::<Result<_>>()?;
                Ok(if *kind == Kind::List { Value::List(items) } else { Value::Tuple(items) })
            }
            _ => Err(bad("a whole value", "a part of one, such as an array without content")),
        }
    }
}
