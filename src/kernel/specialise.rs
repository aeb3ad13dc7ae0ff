//! WGSL with `override`s → WGSL with these values as constants, and with marked loops written out.
//!
//! Drivers do not reliably unroll loops over register arrays, and a register array that is indexed by a loop
//! variable is kept in memory. A mark `//@unroll` behind a plain `for (var i = 0u; i < N; i++) {` writes the loop out
//! with `const i`. An `if` whose condition is then constant is replaced by the branch that runs, and a `let` whose
//! value is constant becomes a `const`. The mark is a comment to every other reader: without this step the text is
//! valid WGSL with the same meaning. Nothing else is rewritten, and there is no other templating.

use std::collections::BTreeMap;

type Env = BTreeMap<String, i64>;

/// `text` with only the entry point `entry`. Each `override NAME: u32 = EXPR;` becomes a `const` (with the value
/// from `overrides`, otherwise the default), and the marked blocks are written out.
///
/// Errors: a message that names the construct that does not have the expected form.
pub fn specialise(text: &str, entry: &str, overrides: &[(&str, u32)]) -> Result<String, String> {
    let text = only(&without_comments(text)?, entry)?;
    let mut env = Env::new();
    let mut fixed = String::with_capacity(text.len());
    for line in text.lines() {
        let declaration = ["override ", "const "].iter().find_map(|kind| {
            let (name, rest) = line.strip_prefix(kind)?.split_once(": u32 = ")?;
            Some((*kind, name, rest.strip_suffix(';')?))
        });
        match declaration {
            Some((kind, name, default)) => {
                let given = overrides.iter().find(|(n, _)| *n == name && kind == "override ");
                let value = match given {
                    Some((_, value)) => i64::from(*value),
                    None => evaluate(default, &env)?,
                };
                env.insert(name.to_owned(), value);
                fixed.push_str(&format!("const {name}: u32 = {value}u;\n"));
            }
            None => {
                fixed.push_str(line);
                fixed.push('\n');
            }
        }
    }
    if let Some((name, _)) = overrides.iter().find(|(n, _)| !env.contains_key(*n)) {
        return Err(format!("there is no override called {name}"));
    }
    let mut out = String::with_capacity(4 * fixed.len());
    expand(&fixed, &env, &mut out)?;
    Ok(out)
}

/// The text without the functions that the entry point `entry` does not reach. Their register arrays may not fit the
/// overrides.
fn only(text: &str, entry: &str) -> Result<String, String> {
    let functions = functions(text)?;
    let mut reached = vec![entry];
    let mut next = 0;
    while let Some(name) = reached.get(next) {
        let bodies = functions.iter().filter(|(_, known, _)| known == name).map(|(_, _, body)| *body);
        let called = bodies.flat_map(|body| functions.iter().filter(|(_, known, _)| calls(body, known)));
        let new: Vec<&str> =
            called.map(|(_, known, _)| *known).filter(|known| !reached.contains(known)).collect();
        reached.extend(new);
        next += 1;
    }
    let mut out = text.to_owned();
    for (start, name, body) in functions.iter().rev() {
        if !reached.contains(name) {
            out.replace_range(*start..*start + body.len(), "");
        }
    }
    Ok(out)
}

/// The functions of `text`, each as (first byte, name, text from its attributes to its last brace). A function starts
/// a line.
fn functions(text: &str) -> Result<Vec<(usize, &str, &str)>, String> {
    let mut found = Vec::new();
    let (mut start, mut end) = (0, 0);
    for line in text.split_inclusive('\n') {
        if start >= end && (line.starts_with("fn ") || line.starts_with("@compute")) {
            let open = start + text[start..].find('{').ok_or("a function without a body")?;
            end = open + matching(&text[open..])? + 1;
            let name = text[start..open].split("fn ").nth(1).and_then(|rest| rest.split('(').next());
            found.push((start, name.ok_or("a function without a name")?, &text[start..end]));
        }
        start += line.len();
    }
    Ok(found)
}

fn calls(body: &str, name: &str) -> bool {
    let mut found = body.match_indices(name);
    found.any(|(at, _)| {
        !body[..at].chars().next_back().is_some_and(is_name) && body[at + name.len()..].starts_with('(')
    })
}

/// Names of the variables marked `//@texture`: activations that a kernel reads and does not write.
pub fn texture_names(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let declaration = line.strip_suffix(" //@texture")?;
        Some(declaration.split("var<storage, read_write> ").nth(1)?.split(':').next()?.to_owned())
    };
    text.lines().filter_map(name).collect()
}

/// Texels per row of the textures that replace buffers.
pub const TEXTURE_WIDTH: u32 = 4096;
/// Binding number of the uniform with the first texel of each texture's range.
pub const BASES_BINDING: u32 = 31;

/// `text` with the variables marked `//@texture` as textures of quads, `TEXTURE_WIDTH` in a row. The first texel of
/// each variable's range is in a uniform, because a texture cannot be bound from an offset.
pub fn with_textures(text: &str) -> Result<String, String> {
    let names = texture_names(text);
    let mut out = text.to_owned();
    for (i, name) in names.iter().enumerate() {
        let declaration = format!("var<storage, read_write> {name}: array<vec4<f32>>;");
        let fetch = format!(
            "var {name}_texture: texture_storage_2d<rgba32float, read>;\n\
             fn fetch_{name}(i: u32) -> vec4<f32> {{\n    \
             let q = i + bases[{}][{}];\n    \
             return textureLoad({name}_texture, vec2<u32>(q % {TEXTURE_WIDTH}u, q / {TEXTURE_WIDTH}u));\n}}",
            i / 4,
            i % 4
        );
        if !out.contains(&declaration) {
            return Err(format!("{name} is marked //@texture but is no array of quads"));
        }
        out = reads_as_calls(&out.replace(&declaration, &fetch), name)?;
    }
    if !names.is_empty() {
        out.push_str(&format!(
            "@group(0) @binding({BASES_BINDING}) var<uniform> bases: array<vec4<u32>, 1>;\n"
        ));
    }
    Ok(out)
}

/// Replaces each `name[i]` by `fetch_name(i)`.
fn reads_as_calls(text: &str, name: &str) -> Result<String, String> {
    let pattern = format!("{name}[");
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(&pattern) {
        let before = rest[..at].chars().next_back();
        let index = at + pattern.len();
        if before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.') {
            out.push_str(&rest[..index]);
            rest = &rest[index..];
            continue;
        }
        let mut depth = 1;
        let close = rest[index..].find(|c| {
            depth += i32::from(c == '[') - i32::from(c == ']');
            depth == 0
        });
        let close = index + close.ok_or("an index that is not closed")?;
        out.push_str(&format!("{}fetch_{name}({})", &rest[..at], reads_as_calls(&rest[index..close], name)?));
        rest = &rest[close + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// `text` without comments other than marks, so that a brace or an `if` in a comment is not read as code.
fn without_comments(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let (code, comment) = line.split_at(line.find("//").unwrap_or(line.len()));
        out.push_str(code.trim_end());
        match comment.trim_end() {
            mark @ ("//@texture" | "//@unroll") => {
                out.push(' ');
                out.push_str(mark);
            }
            other if other.starts_with("//@") && !other.starts_with("//@use ") => {
                return Err(format!("unknown mark {other:?}"));
            }
            _ => {}
        }
        out.push('\n');
    }
    Ok(out)
}

/// Writes out the marked loops of `text`, folds every `if` whose condition is constant, and turns every `let` with a
/// constant value into a `const`. `env` has the constants that are visible in `text`. A constant of a block is visible
/// in this block only.
fn expand(text: &str, env: &Env, out: &mut String) -> Result<(), String> {
    let mut env = env.clone();
    let mut rest = text;
    loop {
        let Some((at, what)) = next(rest) else {
            out.push_str(rest);
            return Ok(());
        };
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match what {
            "{" => {
                let end = matching(rest)?;
                block(&rest[1..end], &env, out)?;
                end + 1
            }
            "for" => loop_of(rest, &env, out)?,
            "if" => {
                let before = out.len();
                let length = fold(rest, &env, out)?;
                if returns(&out[before..]) {
                    // Nothing behind it in this block is reached.
                    return Ok(());
                }
                length
            }
            _ => declaration(rest, &mut env, out)?,
        };
        rest = &rest[length..];
    }
}

/// `{`, the expanded `body`, `}`.
fn block(body: &str, env: &Env, out: &mut String) -> Result<(), String> {
    out.push('{');
    expand(body, env, out)?;
    out.push('}');
    Ok(())
}

/// The loop at the start of `text`, written out if it is marked. The result is the length.
fn loop_of(text: &str, env: &Env, out: &mut String) -> Result<usize, String> {
    let open = text.find('{').ok_or("a loop without a block")?;
    let close = open + matching(&text[open..])?;
    let body = &text[open + 1..close];
    let Some(body) = body.strip_prefix(" //@unroll\n") else {
        let head = &text[..open];
        out.push_str(head);
        // The loop's variable hides a constant of its name.
        let mut env = env.clone();
        head.split("var ").nth(1).and_then(|rest| rest.split(' ').next()).and_then(|name| env.remove(name));
        block(body, &env, out)?;
        return Ok(close + 1);
    };
    let (name, bound) = loop_head(text[..open].trim())?;
    for i in 0..evaluate(bound, env)? {
        let mut env = env.clone();
        env.insert(name.to_owned(), i);
        out.push_str(&format!("{{ const {name}: u32 = {i}u;"));
        expand(body, &env, out)?;
        out.push('}');
    }
    Ok(close + 1)
}

/// The declaration `let NAME = EXPRESSION;` or `var NAME…` at the start of `text`, up to its name or its end. A `let`
/// of a constant number becomes a `const`, so that register arrays are indexed by constants; any other declaration
/// hides a constant of its name. The result is the length.
fn declaration(text: &str, env: &mut Env, out: &mut String) -> Result<usize, String> {
    let start = "let ".len();
    let end = text[start..].find(|c| !is_name(c)).map_or(text.len(), |i| start + i);
    let name = text[start..end].to_owned();
    let value = text[end..].strip_prefix(" = ").and_then(|rest| rest.split_once(';'));
    let value = value.filter(|(e, _)| text.starts_with("let") && !e.contains(['<', '>', '=', '&', '|']));
    let known = value.and_then(|(expression, _)| Some((expression.len(), evaluate(expression, env).ok()?)));
    match known {
        Some((length, value)) => {
            out.push_str(&format!("const {name}: u32 = {value}u;"));
            env.insert(name, value);
            Ok(end + " = ".len() + length + 1)
        }
        None => {
            out.push_str(&text[..end]);
            env.remove(&name);
            Ok(end)
        }
    }
}

/// The statement `if (CONDITION) {…} else …` at the start of `text`, with its blocks expanded, or only the block that
/// runs if the condition is constant. The result is the length.
fn fold(text: &str, env: &Env, out: &mut String) -> Result<usize, String> {
    let start = text.find('{').ok_or("an `if` without a block")?;
    let condition = text["if".len()..start].trim();
    let end = start + matching(&text[start..])?;
    let known = evaluate(condition, env).ok();
    if known.is_none() {
        out.push_str(&format!("if {condition} "));
    }
    if known != Some(0) {
        block(&text[start + 1..end], env, out)?;
    }
    let after = text[end + 1..].trim_start();
    let Some(otherwise) = after.strip_prefix("else").map(str::trim_start) else { return Ok(end + 1) };
    let before = text.len() - otherwise.len();
    let mut expanded = String::new();
    let length = if otherwise.starts_with("if") {
        fold(otherwise, env, &mut expanded)?
    } else {
        let end = matching(otherwise)?;
        block(&otherwise[1..end], env, &mut expanded)?;
        end + 1
    };
    match known {
        None => out.push_str(&format!(" else {{{expanded}}}")),
        Some(0) => out.push_str(&expanded),
        Some(_) => {}
    }
    Ok(before + length)
}

/// Whether `text` is a block, without a condition, whose last statement is a `return`.
fn returns(text: &str) -> bool {
    let inner = text.strip_prefix('{').and_then(|rest| rest.trim_end().strip_suffix('}'));
    let statements = inner.and_then(|inner| inner.trim_end().strip_suffix(';'));
    let last = statements.and_then(|statements| statements.rsplit([';', '{', '}']).next());
    last.is_some_and(|last| {
        last.trim_start().strip_prefix("return").is_some_and(|rest| !rest.starts_with(is_name))
    })
}

/// The first block, loop, condition or declaration of `text`: its first byte, and the word or brace that begins it.
fn next(text: &str) -> Option<(usize, &'static str)> {
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let rest = &text[at..];
        let is_word = |word: &&&str| {
            let after = rest.strip_prefix(**word).map(|rest| rest.chars().next());
            !is_name(before) && after.is_some_and(|c| !c.is_some_and(is_name))
        };
        if c == '{' {
            return Some((at, "{"));
        }
        if let Some(word) = ["for", "if", "let", "var"].iter().find(is_word) {
            return Some((at, word));
        }
        before = c;
    }
    None
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// `for (var i = 0u; i < N; i++)` → (i, N).
fn loop_head(head: &str) -> Result<(&str, &str), String> {
    let wrong = || format!("//@unroll needs `for (var i = 0u; i < N; i++)`, found {head:?}");
    let inner = head.strip_prefix("for (").and_then(|h| h.strip_suffix("++)")).ok_or_else(wrong)?;
    let mut parts = inner.split(';').map(str::trim);
    let (init, test, step) = (parts.next(), parts.next(), parts.next());
    let name = init.and_then(|s| s.strip_prefix("var ")?.strip_suffix(" = 0u")).ok_or_else(wrong)?;
    let bound = test.and_then(|s| s.strip_prefix(name)?.strip_prefix(" < ")).ok_or_else(wrong)?;
    if step != Some(name) { Err(wrong()) } else { Ok((name, bound)) }
}

/// Index of the brace that closes the brace at the start of `text`.
fn matching(text: &str) -> Result<usize, String> {
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            return Ok(i);
        }
    }
    Err("a block that is not closed".into())
}

/// The value of an expression of unsigned literals, names in `env`, parentheses and
/// `* / % + - < > <= >= == != && ||`. Comparisons give 0 or 1.
pub fn evaluate(text: &str, env: &BTreeMap<String, i64>) -> Result<i64, String> {
    let tokens = tokens(text)?;
    let mut at = 0;
    let value = binary(&tokens, &mut at, 0, env)?;
    if at == tokens.len() { Ok(value) } else { Err(format!("cannot evaluate {text:?}")) }
}

const LEVELS: [&[&str]; 6] =
    [&["||"], &["&&"], &["==", "!="], &["<=", ">=", "<", ">"], &["+", "-"], &["*", "/", "%"]];

fn binary(tokens: &[String], at: &mut usize, level: usize, env: &Env) -> Result<i64, String> {
    if level == LEVELS.len() {
        return primary(tokens, at, env);
    }
    let mut left = binary(tokens, at, level + 1, env)?;
    while let Some(op) = tokens.get(*at).filter(|t| LEVELS[level].contains(&t.as_str())) {
        *at += 1;
        let right = binary(tokens, at, level + 1, env)?;
        left = match op.as_str() {
            "||" => i64::from(left != 0 || right != 0),
            "&&" => i64::from(left != 0 && right != 0),
            "==" => i64::from(left == right),
            "!=" => i64::from(left != right),
            "<=" => i64::from(left <= right),
            ">=" => i64::from(left >= right),
            "<" => i64::from(left < right),
            ">" => i64::from(left > right),
            "+" => left + right,
            "-" if right > left => return Err("an unsigned number below 0".into()),
            "-" => left - right,
            "*" => left * right,
            _ if right == 0 => return Err("division by zero".into()),
            "/" => left / right,
            _ => left % right,
        };
    }
    Ok(left)
}

fn primary(tokens: &[String], at: &mut usize, env: &Env) -> Result<i64, String> {
    let token = tokens.get(*at).ok_or("an expression that ends early")?;
    *at += 1;
    if token == "(" {
        let value = binary(tokens, at, 0, env)?;
        if tokens.get(*at).map(String::as_str) != Some(")") {
            return Err("a parenthesis that is not closed".into());
        }
        *at += 1;
        return Ok(value);
    }
    // A number without `u` may be signed.
    if !token.starts_with(|c: char| c.is_ascii_digit()) {
        return env.get(token).copied().ok_or_else(|| format!("unknown name {token:?}"));
    }
    let digits = token.strip_suffix('u').ok_or_else(|| format!("{token} is not unsigned"))?;
    let hex = digits.strip_prefix("0x");
    hex.map_or_else(|| digits.parse(), |hex| i64::from_str_radix(hex, 16))
        .map_err(|e| format!("{token}: {e}"))
}

fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let len = if word > 0 {
            word
        } else if ["||", "&&", "==", "!=", "<=", ">="].iter().any(|op| rest.starts_with(op)) {
            2
        } else if "()+-*/%<>".contains(first) {
            1
        } else {
            return Err(format!("unexpected {first:?} in {text:?}"));
        };
        out.push(rest[..len].to_owned());
        rest = rest[len..].trim_start();
    }
    Ok(out)
}
