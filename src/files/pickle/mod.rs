//! Python's pickle, protocols 0 to 5 → plain values, without running anything.
//!
//! A pickle is a program for a small stack machine, and Python's own reader lets that program call any function. This
//! reader has only the instructions that build values, and it knows only the few names that arrays and tensors need.
//! Any other name is refused before anything is done with it.
//!
//! Memory and time grow with the length of the file, never with a number in the file. Lengths are compared with the
//! rest of the file. A value that the file uses many times is built once. The final tree holds that value many times,
//! so the number of values in the tree has a limit.
//!
//! Left out: objects of classes, sets, extension codes, buffers outside of the file, lone surrogates, and arrays of
//! texts, dates, objects, complex numbers or records. The format is documented by Python's module `pickletools`.

mod literals;
mod objects;
mod value;

use std::collections::BTreeMap;
use std::path::Path;
use std::str::from_utf8;
use std::sync::Arc;

use self::literals::{decimal, integer, signed, string, unescape, unsigned};
use self::objects::{GLOBALS, Global};
pub use self::value::{Array, Dtype, Value, View};
pub(super) use self::value::{gather, quote, swapped};
use crate::{Error, Result};

/// Largest number of levels of nested values. A value that contains itself exceeds any limit.
const MAX_DEPTH: usize = 64;
/// Values of one pickle, at most. CIFAR-100 has 150,000.
const MAX_VALUES: usize = 1 << 22;
/// Extents of one array or tensor, at most.
const MAX_DIMS: usize = 16;
/// Bytes of a name, a type code or a key, at most.
const MAX_WORD: usize = 256;
const AGAIN: &str = "check that this is the right file, and download or copy it again";
const PLAIN: &str = "plain values, arrays and tensors";

/// The only pickle in `bytes`, the content of a file, as a value; `path` is for messages.
///
/// # Errors
/// [`Error::File`] with the offset of the instruction that is wrong or refused.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Value> {
    let part = Machine::new(bytes, 0, path, false).run()?;
    if part.end != bytes.len() {
        let found = format!("{} more bytes", bytes.len() - part.end);
        return Err(Error::file(path, Some(part.end as u64), "the end after one pickle", found, AGAIN));
    }
    Ok(part.value)
}

/// One pickle of a file of PyTorch.
pub(super) struct Part {
    pub value: Value,
    /// The storages that the pickle names: their type and their number of elements.
    pub storages: BTreeMap<Arc<str>, (Dtype, usize)>,
    /// Position after the pickle.
    pub end: usize,
}

/// The pickle in `bytes` from `start` on, in which tensors may occur.
pub(super) fn parse_torch(bytes: &[u8], start: usize, path: &Path) -> Result<Part> {
    Machine::new(bytes, start, path, true).run()
}

/// Index of a value among the nodes. A value refers to another value by index, because a file can refer to a list
/// before the list is filled.
type Id = usize;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    List,
    Tuple,
    /// Keys and values alternate.
    Dict,
}

enum Node {
    Leaf(Value),
    Items(Kind, Vec<Id>),
    Global(Global),
    Dtype { dtype: Dtype, big_endian: bool },
    EmptyArray,
    Storage { key: Arc<str>, dtype: Dtype },
}

struct Machine<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    /// Whether tensors may occur.
    torch: bool,
    pos: usize,
    /// Position of the instruction, for messages.
    at: usize,
    /// All values so far, each with the position of the instruction that built it.
    nodes: Vec<(usize, Node)>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
    storages: BTreeMap<Arc<str>, (Dtype, usize)>,
    /// Number of bytes that may still be made from other values. Without this limit a few bytes could make many copies
    /// of a long value.
    room: usize,
}

/// The instructions.
impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8], start: usize, path: &'a Path, torch: bool) -> Self {
        let room = bytes.len().saturating_sub(start).saturating_mul(8).saturating_add(64 << 10);
        let (nodes, stack, marks) = (vec![], vec![], vec![]);
        let (memo, storages) = (BTreeMap::new(), BTreeMap::new());
        Self { path, bytes, torch, pos: start, at: start, nodes, stack, marks, memo, storages, room }
    }

    fn run(mut self) -> Result<Part> {
        loop {
            self.at = self.pos;
            match self.take(1)?[0] {
                b'.' => break,
                op => self.step(op)?,
            }
        }
        let root = self.pop()?;
        if !self.stack.is_empty() || !self.marks.is_empty() {
            return Err(self.bad("one value at the end", "more than one"));
        }
        let mut n_left = (100_000 + self.pos).min(MAX_VALUES);
        let value = self.tree(root, 0, &mut n_left)?;
        Ok(Part { value, storages: self.storages, end: self.pos })
    }

    fn step(&mut self, op: u8) -> Result<()> {
        if let Some(value) = self.literal(op)? {
            return self.push(Node::Leaf(value));
        }
        match op {
            0x80 => match self.take(1)?[0] {
                0..=5 => Ok(()),
                later => Err(self.bad("a protocol from 0 to 5", later.to_string())),
            },
            // A frame says how many bytes a reader may fetch at once.
            0x95 => self.length(8).and_then(|len| self.check_rest(len)),
            b'c' | b'i' => {
                let module = self.parsed("a name", |line| from_utf8(line).ok())?;
                let name = self.parsed("a name", |line| from_utf8(line).ok())?;
                // The instruction `i` also calls the name, which Python itself did for old classes only.
                if op == b'c' { self.global(module, name) } else { Err(self.refused(module, name)) }
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (name, module) = (self.word(name)?.to_owned(), self.word(module)?.to_owned());
                self.global(&module, &name)
            }
            b'R' => self.reduce(),
            b'b' => self.build(),
            b'Q' => self.storage(),
            b'P' => Err(self.bad(PLAIN, "a value that lies outside of the file")),
            0x81 | 0x92 | b'o' => Err(self.bad(PLAIN, "an object of a class, which is not read")),
            0x82..=0x84 => Err(self.bad(PLAIN, "an extension code, which is not read")),
            0x8f..=0x91 => Err(self.bad(PLAIN, "a set, which is not read")),
            0x97 | 0x98 => Err(self.bad(PLAIN, "a buffer outside of the file")),
            b'(' | b'0' | b'1' | b'2' | b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.arrange(op),
            _ => self.collect(op),
        }
    }

    /// The value of an instruction that contains the whole value.
    fn literal(&mut self, op: u8) -> Result<Option<Value>> {
        Ok(Some(match op {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'I' | b'L' => self.parsed("an integer of at most 16 bytes", decimal)?,
            b'J' => integer(signed(self.take(4)?)),
            b'K' => integer(unsigned(self.take(1)?)),
            b'M' => integer(unsigned(self.take(2)?)),
            0x8a | 0x8b => match self.counted(if op == 0x8a { 1 } else { 4 })? {
                raw if raw.len() <= 16 => integer(signed(raw)),
                raw => return Err(self.bad("an integer of at most 16 bytes", format!("{} bytes", raw.len()))),
            },
            b'F' => Value::Float(self.parsed("a float", |line| from_utf8(line).ok()?.parse().ok())?),
            b'G' => Value::Float(f64::from_bits(unsigned(&swapped(self.take(8)?, 8)) as u64)),
            b'S' => Value::Bytes(self.parsed("a quoted string", string)?.into()),
            b'U' | b'C' => Value::Bytes(self.counted(1)?.into()),
            b'T' | b'B' => Value::Bytes(self.counted(4)?.into()),
            0x8e | 0x96 => Value::Bytes(self.counted(8)?.into()),
            b'V' => Value::Text(self.parsed("a text", |line| unescape(line, true))?.into()),
            0x8c => self.text(1)?,
            b'X' => self.text(4)?,
            0x8d => self.text(8)?,
            _ => return Ok(None),
        }))
    }

    /// The instructions that move values on the stack and into the memo.
    fn arrange(&mut self, op: u8) -> Result<()> {
        match op {
            b'(' => self.marks.push(self.stack.len()),
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.above_mark()?),
            b'2' => self.stack.push(self.top()?),
            _ => {
                let place = match op {
                    b'p' | b'g' => self.parsed("a place", |line| from_utf8(line).ok()?.parse().ok())?,
                    b'q' | b'h' => unsigned(self.take(1)?) as u32,
                    b'r' | b'j' => unsigned(self.take(4)?) as u32,
                    _ => self.memo.len() as u32,
                };
                if matches!(op, b'g' | b'h' | b'j') {
                    let id = self.memo.get(&place).copied();
                    self.stack.push(self.need(id, "the place of a value before this one")?);
                } else {
                    self.memo.insert(place, self.top()?);
                }
            }
        }
        Ok(())
    }

    /// The instructions that build and fill lists, tuples and dicts.
    fn collect(&mut self, op: u8) -> Result<()> {
        let kind = match op {
            b']' | b'l' | b'a' | b'e' => Kind::List,
            b')' | b't' | 0x85..=0x87 => Kind::Tuple,
            b'}' | b'd' | b's' | b'u' => Kind::Dict,
            _ => return Err(self.bad("an instruction of a pickle", format!("byte {op:#04x}"))),
        };
        let mut items = match op {
            b']' | b')' | b'}' => vec![],
            b'l' | b't' | b'd' | b'e' | b'u' => self.above_mark()?,
            b'a' | 0x85 => vec![self.pop()?],
            b's' | 0x86 => vec![self.pop()?, self.pop()?],
            _ => vec![self.pop()?, self.pop()?, self.pop()?],
        };
        if matches!(op, b's' | 0x86 | 0x87) {
            items.reverse();
        }
        if kind == Kind::Dict && items.len() % 2 != 0 {
            return Err(self.bad("a value for each key", "a key without value"));
        }
        if !matches!(op, b'a' | b'e' | b's' | b'u') {
            return self.push(Node::Items(kind, items));
        }
        let target = self.top()?;
        match &mut self.nodes[target].1 {
            Node::Items(found, filled) if *found == kind => filled.extend(items),
            _ => return Err(self.bad("a list or dict to fill", "something else")),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        let known = GLOBALS.iter().find(|(m, n, _)| (*m, *n) == (module, name));
        let &(_, _, global) = known.ok_or_else(|| self.refused(module, name))?;
        self.push(Node::Global(global))
    }

    fn refused(&self, module: &str, name: &str) -> Error {
        let found =
            format!("{}: this file would run code; it is not read", quote(&format!("{module}.{name}")));
        let hint = if self.torch {
            "write the weights alone, with torch.save(model.state_dict(), path), not the model"
        } else {
            "write plain values and arrays only"
        };
        Error::file(self.path, Some(self.at as u64), PLAIN, found, hint)
    }
}

/// Access to the bytes, the stack and the nodes.
impl<'a> Machine<'a> {
    fn bad(&self, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::file(self.path, Some(self.at as u64), expected, found, AGAIN)
    }

    fn need<T>(&self, value: Option<T>, expected: &str) -> Result<T> {
        value.ok_or_else(|| self.bad(expected, "something else"))
    }

    fn check_rest(&self, len: usize) -> Result<()> {
        let rest = self.bytes.len() - self.pos;
        if len > rest {
            return Err(self.bad(format!("{len} more bytes"), format!("{rest} up to the end")));
        }
        Ok(())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        self.check_rest(len)?;
        let taken = &self.bytes[self.pos..self.pos + len];
        self.pos += len;
        Ok(taken)
    }

    fn length(&mut self, n_bytes: usize) -> Result<usize> {
        let len = unsigned(self.take(n_bytes)?);
        self.need(usize::try_from(len).ok(), "a length that fits in memory")
    }

    /// Reads a length of `n_bytes` bytes, and then as many bytes as this length says.
    fn counted(&mut self, n_bytes: usize) -> Result<&'a [u8]> {
        let len = self.length(n_bytes)?;
        self.take(len)
    }

    fn text(&mut self, n_bytes: usize) -> Result<Value> {
        let text = from_utf8(self.counted(n_bytes)?).ok();
        Ok(Value::Text(self.need(text, "a text in UTF-8")?.into()))
    }

    /// The next line, converted by `parse`.
    fn parsed<T>(&mut self, expected: &str, parse: impl Fn(&'a [u8]) -> Option<T>) -> Result<T> {
        let rest = &self.bytes[self.pos..];
        let len = rest.iter().position(|&byte| byte == b'\n');
        let len = len.ok_or_else(|| self.bad("a line", "the end of the file"))?;
        self.pos += len + 1;
        self.need(parse(&rest[..len]), expected)
    }

    fn push(&mut self, node: Node) -> Result<()> {
        if self.nodes.len() == MAX_VALUES {
            return Err(self.bad(format!("at most {MAX_VALUES} values"), "more"));
        }
        self.stack.push(self.nodes.len());
        self.nodes.push((self.at, node));
        Ok(())
    }

    fn top(&self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let above = self.stack.get(floor..).and_then(|items| items.last());
        above.copied().ok_or_else(|| self.bad("a value on the stack", "none"))
    }

    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn above_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| self.bad("a mark on the stack", "none"))?;
        Ok(self.stack.split_off(mark))
    }

    fn charge(&mut self, n_bytes: usize) -> Result<()> {
        let room = self.room.checked_sub(n_bytes);
        self.room = room.ok_or_else(|| self.bad("values that fit the size of the file", "larger ones"))?;
        Ok(())
    }

    fn leaf(&self, id: Id) -> Option<&Value> {
        if let Node::Leaf(value) = &self.nodes[id].1 { Some(value) } else { None }
    }

    /// The items of a short tuple: arguments, a shape, a state.
    fn tuple(&self, id: Id) -> Result<Vec<Id>> {
        match &self.nodes[id].1 {
            Node::Items(Kind::Tuple, items) if items.len() <= MAX_DIMS => Ok(items.clone()),
            _ => Err(self.bad(format!("a tuple of at most {MAX_DIMS} values"), "something else")),
        }
    }

    fn dims(&self, id: Id) -> Result<Vec<usize>> {
        self.tuple(id)?.into_iter().map(|extent| self.index(extent)).collect()
    }

    fn index(&self, id: Id) -> Result<usize> {
        let index = match self.leaf(id) {
            Some(Value::Int(index)) => usize::try_from(*index).ok(),
            _ => None,
        };
        self.need(index, "an integer from 0 on")
    }

    /// A short text: a name, a type code, a key.
    fn word(&self, id: Id) -> Result<&str> {
        let word = self.leaf(id).and_then(|value| match value {
            Value::Bytes(raw) if raw.len() > MAX_WORD => None,
            other => other.as_text().filter(|text| text.len() <= MAX_WORD),
        });
        word.ok_or_else(|| self.bad(format!("a text of at most {MAX_WORD} bytes"), "something else"))
    }

    fn dtype(&self, id: Id) -> Result<(Dtype, bool)> {
        match self.nodes[id].1 {
            Node::Dtype { dtype, big_endian } => Ok((dtype, big_endian)),
            _ => Err(self.bad("a type of numbers", "something else")),
        }
    }

    fn raw(&self, id: Id) -> Result<Arc<[u8]>> {
        match self.leaf(id) {
            Some(Value::Bytes(raw)) => Ok(Arc::clone(raw)),
            _ => Err(self.bad("bytes", "something else")),
        }
    }
}
