//! Checks of the sources: which module may name which, and where a few names and words may occur.
//!
//! The table repeats the last column of the code map in ARCHITECTURE.md.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Module of the crate → the modules that it may name. `error` and `host` may be named everywhere.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("files", &[]),
    ("host", &[]),
    ("rng", &[]),
    ("network", &[]),
    ("space", &["network"]),
    ("config", &["data", "space"]),
    ("data", &["files", "rng"]),
    ("kernel", &[]),
    ("ops", &["kernel"]),
    ("reference", &["network"]),
    ("graph", &["kernel", "network", "ops", "rng"]),
    ("gpu", &["graph", "kernel", "network", "ops"]),
    ("run", &["config", "files"]),
    ("search", &["config", "data", "files", "gpu", "graph", "kernel", "network", "rng", "run", "space"]),
    ("train", &["config", "data", "files", "gpu", "graph", "kernel", "network", "rng", "run", "space"]),
    ("export", &["files", "network", "space"]),
    ("report", &["graph", "network", "search", "space"]),
    ("bench", &["config", "data", "gpu", "graph", "kernel", "network", "ops", "rng", "search", "space"]),
    (
        "runner",
        &[
            "bench", "config", "data", "export", "files", "gpu", "graph", "kernel", "ops", "report", "run",
            "search", "selftest", "space", "train",
        ],
    ),
    (
        "window",
        &[
            "config", "data", "export", "files", "gpu", "report", "run", "runner", "search", "space",
            "train", "view",
        ],
    ),
    ("view", &["config", "data", "report", "run", "search", "space"]),
    ("selftest", &["gpu", "graph", "kernel", "network", "ops", "reference", "rng", "space"]),
];

/// Modules that may name everything: `cli`, `lib`, which declares all modules, and `main`, which calls `cli`.
const EVERYTHING: &[&str] = &["cli", "lib", "main"];

struct File {
    path: PathBuf,
    module: String,
    /// The source without comments, strings and characters.
    code: String,
    lines: usize,
}

/// `text` with comments, strings and characters replaced by spaces.
fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut i = 0;
    while i < bytes.len() {
        let rest = &text[i..];
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("r\"")
            || rest.starts_with("r#") && rest.trim_start_matches(['r', '#']).starts_with('"')
        {
            let hashes = rest[1..].bytes().take_while(|b| *b == b'#').count();
            let end = format!("\"{}", "#".repeat(hashes));
            let body = &rest[2 + hashes..];
            2 + hashes + body.find(&end).map_or(body.len(), |at| at + end.len())
        } else if rest.starts_with('"') {
            let mut j = 1;
            while j < rest.len() && rest.as_bytes()[j] != b'"' {
                j += if rest.as_bytes()[j] == b'\\' { 2 } else { 1 };
            }
            j + 1
        } else if let Some(quoted) = rest.strip_prefix('\'') {
            // A lifetime has no closing quote after one character.
            let mut chars = quoted.chars();
            match chars.next() {
                Some('\\') => rest[2..].find('\'').map_or(1, |at| at + 3),
                Some(c) if chars.next() == Some('\'') => c.len_utf8() + 2,
                _ => 1,
            }
        } else {
            i += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        };
        let end = (i + len).min(bytes.len());
        out[i..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        i = end;
        while !text.is_char_boundary(i) {
            i += 1;
        }
    }
    String::from_utf8(out).unwrap()
}

fn files_in(folder: &Path, root: &Path, out: &mut Vec<File>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_in(&path, root, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let relative = path.strip_prefix(root).unwrap().to_owned();
            let module = relative.with_extension("").iter().next().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            out.push(File { module, code: code_only(&text), lines: text.lines().count(), path: relative });
        }
    }
}

fn sources() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    files_in(&root, &root, &mut files);
    assert!(files.len() > 80, "{} files", files.len());
    files
}

/// Whether `name` occurs in `code` as a whole word.
fn names(code: &str, name: &str) -> bool {
    let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(name)
        .any(|(at, _)| !word(code[..at].chars().next_back()) && !word(code[at + name.len()..].chars().next()))
}

/// The first names after `crate::`, including the names of a `{…}` list.
fn crate_names(code: &str) -> BTreeSet<String> {
    let first =
        |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut out = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            out.insert(first(rest));
            continue;
        };
        let (mut depth, mut start) = (0, true);
        for (i, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && depth == 0 && !c.is_whitespace() => {
                    out.insert(first(&list[i..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    out
}

#[test]
fn modules_name_only_what_they_may_know() {
    let mut wrong = Vec::new();
    let mut unused: BTreeSet<(&str, &str)> =
        MAY_KNOW.iter().flat_map(|(module, list)| list.iter().map(|name| (*module, *name))).collect();
    for file in sources().iter().filter(|f| !EVERYTHING.contains(&f.module.as_str())) {
        let Some((_, allowed)) = MAY_KNOW.iter().find(|(module, _)| *module == file.module) else {
            wrong.push(format!("{}: a module that is not in the table", file.path.display()));
            continue;
        };
        for name in crate_names(&file.code) {
            unused.retain(|(module, known)| (*module, *known) != (&*file.module, &*name));
            let always = ["error", "host", "Error", "Result"].contains(&name.as_str()) || name == file.module;
            if !always && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{} names crate::{name}", file.path.display()));
            }
        }
        if names(&file.code, "wgpu") && file.module != "gpu" {
            wrong.push(format!("{} names wgpu, which only src/gpu may", file.path.display()));
        }
        if names(&file.code, "naga") && !["kernel"].contains(&file.module.as_str()) {
            wrong.push(format!("{} names naga, which only src/kernel may", file.path.display()));
        }
    }
    wrong.extend(unused.iter().map(|(module, name)| format!("{module} may know {name}, and does not")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// If two modules know each other, neither can be read or replaced without the other.
#[test]
fn no_two_modules_know_each_other() {
    let known =
        |module: &str| MAY_KNOW.iter().find(|(name, _)| *name == module).map_or(&[][..], |(_, list)| *list);
    for (module, _) in MAY_KNOW {
        let (mut below, mut todo) = (BTreeSet::new(), known(module).to_vec());
        while let Some(name) = todo.pop() {
            if below.insert(name) {
                todo.extend(known(name));
            }
        }
        assert!(!below.contains(module), "{module} knows itself through {below:?}");
    }
}

/// Every permission in the table is used.
#[test]
fn the_table_allows_nothing_that_is_not_used() {
    let files = sources();
    // Three modules are exempt: they may use less than the table allows.
    for (module, allowed) in
        MAY_KNOW.iter().filter(|(module, _)| !["train", "report", "export"].contains(module))
    {
        let used: BTreeSet<String> =
            files.iter().filter(|f| f.module == *module).flat_map(|f| crate_names(&f.code)).collect();
        for name in *allowed {
            assert!(used.contains(*name), "{module} does not name {name} any more: take it from the table");
        }
    }
}

#[test]
fn nothing_panics_on_input_and_nothing_reads_a_clock_where_plans_are_made() {
    let mut wrong = Vec::new();
    for file in sources() {
        let tokens: String = file.code.split_whitespace().collect();
        for word in [".unwrap()", ".unwrap_err()", "todo!(", "unimplemented!(", "dbg!("] {
            if tokens.contains(word) {
                wrong.push(format!("{}: {word}", file.path.display()));
            }
        }
        if tokens.contains(".expect(") {
            wrong.push(format!("{}: .expect(", file.path.display()));
        }
        // Random numbers come from keyed streams, and durations come from a clock that cannot jump.
        for word in ["thread_rng", "rand::rng", "from_os_rng", "SystemTime"] {
            let is_its_place = word == "SystemTime" && file.path.ends_with("host.rs");
            if tokens.contains(word) && !is_its_place {
                wrong.push(format!("{}: {word}", file.path.display()));
            }
        }
        let pure = ["network", "space", "kernel", "ops", "graph", "reference", "data", "config", "rng"]
            .contains(&file.module.as_str());
        for word in ["SystemTime", "Instant"].iter().filter(|_| pure) {
            if names(&file.code, word) {
                wrong.push(format!("{}: {word}", file.path.display()));
            }
        }
        // The order of a hash map differs from run to run. The map of pipelines is only used for look-ups.
        for word in ["HashMap", "HashSet"].iter().filter(|_| !file.path.ends_with("gpu/pipelines.rs")) {
            if names(&file.code, word) {
                wrong.push(format!("{}: {word}", file.path.display()));
            }
        }
        if ["cli", "main"].contains(&file.module.as_str()) {
            continue;
        }
        // The library reports by events and results, and does not print.
        let printing = ["print!(", "println!("].into_iter().filter(|word| tokens.contains(word));
        let of_program =
            ["clap", "indicatif", "ctrlc", "signal_hook"].into_iter().filter(|word| names(&file.code, word));
        // Clocks, threads and waiting are in one file each, because a browser has other ones.
        let of_adapter = ["pollster", "PollType::Wait"];
        let of_host = ["std::thread", "std::time::Instant", "time::{Duration,Instant"].into_iter();
        let of_host = of_host.chain(of_adapter).filter(|word| {
            let place = if of_adapter.contains(word) { "gpu/wait.rs" } else { "host.rs" };
            tokens.contains(word) && !file.path.ends_with(place)
        });
        wrong.extend(
            printing.chain(of_program).chain(of_host).map(|word| format!("{}: {word}", file.path.display())),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_fit_in_a_head() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|f| f.lines > 600)
        .map(|f| format!("{}: {} lines", f.path.display(), f.lines))
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

/// Each shader file is listed in the program, and has an op of the same name.
#[test]
fn shaders_and_ops_have_one_stem() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stems = |folder: &str, extension: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(root.join(folder)).unwrap().map(|e| e.unwrap().path());
        let files = entries.filter(|p| p.extension().is_some_and(|e| e == extension));
        files.map(|p| p.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let listed: BTreeSet<String> = parsec_nas::kernel::SOURCES.iter().map(|s| s.name.to_owned()).collect();
    assert_eq!(stems("shaders", "wgsl"), listed);
    let ops = stems("src/ops", "rs");
    // The ops of these shaders are in files with other names, such as `elementwise`, `head` and `optimizer`.
    let elsewhere = ["apply", "node", "cross_entropy", "global_pool", "linear", "sgd", "fill"];
    for shader in listed.iter().filter(|s| !elsewhere.contains(&s.as_str())) {
        assert!(ops.contains(shader), "shaders/{shader}.wgsl has no src/ops/{shader}.rs");
    }
}

#[test]
fn the_reader_of_sources_sees_what_it_should() {
    let code = code_only(
        "use crate::{a::{x, y}, b, Error}; // crate::c\nlet s = \"crate::d \\\" crate::e\"; crate::f::g('\\'', '\"', r#\"crate::h\"#);\nfn l<'a>(x: &'a str) { crate::i }",
    );
    let found: Vec<String> = crate_names(&code).into_iter().collect();
    assert_eq!(found, ["Error", "a", "b", "f", "i"]);
    assert!(names("x(wgpu::Device)", "wgpu") && !names("my_wgpu, wgpux", "wgpu"));
    assert_eq!(code_only("a // ü\n'é' \"ß\" b").split_whitespace().collect::<Vec<_>>(), ["a", "b"]);
}
