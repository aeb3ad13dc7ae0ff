//! Python and JSON literals in a text → where the next token begins, and where a literal ends.
//!
//! Positions are in bytes. Nothing is built: a literal of any size is only passed over. Numbers and names are not
//! checked, and a text in three quotes is read as three texts.

/// The position of the next token at or after `at`. White space and comments from `#` to the end of the line are passed
/// over.
pub fn token(text: &str, mut at: usize) -> usize {
    loop {
        let rest = text.get(at..).unwrap_or("");
        let rest = rest.trim_start();
        at = text.len() - rest.len();
        if !rest.starts_with('#') {
            return at;
        }
        at += rest.find('\n').unwrap_or(rest.len());
    }
}

/// The end of the quoted text whose quote is at `at`, behind the closing quote. `None` if the line ends before.
pub fn quoted_end(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let quote = *bytes.get(at).filter(|b| matches!(b, b'\'' | b'"'))?;
    let mut i = at + 1;
    loop {
        match *bytes.get(i)? {
            b'\\' => i += 2,
            b'\n' => return None,
            b if b == quote => return Some(i + 1),
            _ => i += 1,
        }
    }
}

/// The end of the literal whose opening bracket is at `at`, behind the closing bracket. `None` if it is not closed.
/// Brackets are counted, whatever their form.
pub fn bracket_end(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut i, mut depth) = (at, 0_usize);
    loop {
        match *bytes.get(i)? {
            b'\'' | b'"' => i = quoted_end(text, i)?,
            b'#' => i += bytes[i..].iter().position(|b| *b == b'\n')?,
            b'(' | b'[' | b'{' => (i, depth) = (i + 1, depth + 1),
            b')' | b']' | b'}' => (i, depth) = (i + 1, depth.checked_sub(1)?),
            _ => i += 1,
        }
        if depth == 0 {
            return Some(i);
        }
    }
}

/// The end of the value that begins at `at`: the comma or closing bracket behind it, or the end of the text.
pub fn value_end(text: &str, mut at: usize) -> usize {
    loop {
        at = token(text, at);
        let end = match text.as_bytes().get(at) {
            None | Some(b',' | b')' | b']' | b'}') => return at,
            Some(b'(' | b'[' | b'{') => bracket_end(text, at),
            Some(b'\'' | b'"') => quoted_end(text, at),
            Some(_) => text[at..].chars().next().map(|c| at + c.len_utf8()),
        };
        at = end.unwrap_or(text.len());
    }
}

/// Calls `member` with each key, and the position of its value, of the object or dictionary whose bracket is at `at`.
/// Returns the end behind the closing bracket, or `None` if the text is no such object.
pub fn members(text: &str, at: usize, mut member: impl FnMut(&str, usize)) -> Option<usize> {
    text.get(at..)?.strip_prefix('{')?;
    let mut at = token(text, at + 1);
    while !text[at..].starts_with('}') {
        let end = quoted_end(text, at)?;
        let key = text.get(at + 1..end - 1)?;
        let colon = token(text, end);
        text[colon..].strip_prefix(':')?;
        let value = token(text, colon + 1);
        member(key, value);
        at = value_end(text, value);
        if text[at..].starts_with(',') {
            at = token(text, at + 1);
        } else if !text[at..].starts_with('}') {
            return None;
        }
    }
    Some(at + 1)
}
