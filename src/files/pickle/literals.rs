//! Numbers and texts as a pickle writes them.

use std::str::from_utf8;

use super::Value;

/// At most 16 little-endian bytes as a two's complement.
pub(super) fn signed(raw: &[u8]) -> i128 {
    // Python writes the integer 0 without bytes.
    if raw.is_empty() {
        return 0;
    }
    let unused = 128 - 8 * raw.len();
    unsigned(raw) << unused >> unused
}

pub(super) fn unsigned(raw: &[u8]) -> i128 {
    raw.iter().rev().fold(0, |number, &byte| number << 8 | i128::from(byte))
}

pub(super) fn integer(number: i128) -> Value {
    i64::try_from(number).map_or(Value::BigInt(number), Value::Int)
}

/// An integer, or a truth value, which is written with two digits as 00 or 01.
pub(super) fn decimal(line: &[u8]) -> Option<Value> {
    match line {
        b"00" | b"01" => Some(Value::Bool(line == b"01")),
        _ => Some(integer(from_utf8(line.strip_suffix(b"L").unwrap_or(line)).ok()?.parse().ok()?)),
    }
}

/// A string of Python 2, from its `repr`.
pub(super) fn string(line: &[u8]) -> Option<Vec<u8>> {
    let quote = *line.first().filter(|byte| matches!(byte, b'\'' | b'"'))?;
    let inner = line[1..].strip_suffix(&[quote])?;
    unescape(inner, false)?.chars().map(|c| u8::try_from(c).ok()).collect()
}

/// The characters of a line in latin1 with its escapes replaced. With `text` the escapes are `\u` and `\U`, otherwise
/// those of a string.
pub(super) fn unescape(mut rest: &[u8], text: bool) -> Option<String> {
    let mut out = String::new();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(char::from(byte));
            continue;
        }
        let (&escape, after) = rest.split_first()?;
        rest = after;
        match escape {
            b'u' if text => out.push(char::from_u32(hex(&mut rest, 4)?)?),
            b'U' if text => out.push(char::from_u32(hex(&mut rest, 8)?)?),
            other if text => out.extend(['\\', char::from(other)]),
            b'\\' | b'\'' | b'"' => out.push(char::from(escape)),
            b't' => out.push('\t'),
            b'n' => out.push('\n'),
            b'r' => out.push('\r'),
            b'x' => out.push(char::from_u32(hex(&mut rest, 2)?)?),
            _ => return None,
        }
    }
    Some(out)
}

/// The number in the next `len` hexadecimal digits, at most eight.
pub(super) fn hex(rest: &mut &[u8], len: usize) -> Option<u32> {
    let (digits, after) = rest.split_at_checked(len)?;
    *rest = after;
    digits.iter().try_fold(0, |number, &digit| Some(number << 4 | char::from(digit).to_digit(16)?))
}
