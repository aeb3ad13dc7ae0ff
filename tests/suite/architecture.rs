//! ARCHITECTURE.md against the sources: the map's last column, and where wgpu and panics may stand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Rust files of `folder` with their code, comments left out.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code: Vec<&str> = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
            out.push((path, code.join("\n")));
        }
    }
    out
}

/// The modules of the crate that `code` names as `crate::module` (also in a list of one `use`).
fn named(code: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for part in code.split("crate::").skip(1) {
        let list = part.strip_prefix('{').map_or(part, |list| list.split('}').next().unwrap_or(list));
        let items = if part.starts_with('{') { list.split(',').collect() } else { vec![list] };
        for item in items {
            let word = item.trim().split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
            out.extend(word.filter(|w| w.starts_with(|c: char| c.is_ascii_lowercase())).map(str::to_owned));
        }
    }
    out
}

/// Module → what the table says it may know; `None` for everything.
fn table(text: &str) -> BTreeMap<String, Option<BTreeSet<String>>> {
    let mut out = BTreeMap::new();
    for line in text.lines().filter(|l| l.starts_with("| `src/")) {
        let columns: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let module = columns[0].trim_matches('`').trim_start_matches("src/").to_owned();
        let words = columns[columns.len() - 1].split(',').map(str::trim).filter(|w| *w != "–");
        let known: BTreeSet<String> = words.map(str::to_owned).collect();
        out.insert(module, if known.contains("all") { None } else { Some(known) });
    }
    out
}

/// What of `code` in `module` the table does not allow.
fn offences(module: &str, code: &str, allowed: &BTreeSet<String>) -> Vec<String> {
    let free = |name: &String| ["error", "rng", module].contains(&name.as_str()) || allowed.contains(name);
    named(code).into_iter().filter(|name| !free(name)).collect()
}

#[test]
fn modules_know_only_what_the_map_says() {
    let table = table(&fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap());
    let mut folders: Vec<String> = Vec::new();
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            folders.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    folders.sort();
    let listed: Vec<String> = table.keys().cloned().collect();
    assert_eq!(folders, listed, "folders of src and rows of the map");

    let mut wrong = Vec::new();
    for (module, allowed) in &table {
        for (path, code) in sources(&root().join("src").join(module)) {
            let found = allowed.as_ref().map(|allowed| offences(module, &code, allowed)).unwrap_or_default();
            wrong.extend(found.into_iter().map(|name| format!("{} names {name}", path.display())));
        }
    }
    assert!(wrong.is_empty(), "not in the map:\n{}", wrong.join("\n"));
}

#[test]
fn the_map_notices_a_module_that_knows_too_much() {
    let table = table("| `src/ops` | text | kernel |\n| `src/cli` | text | all |");
    let allowed = table["ops"].as_ref().unwrap();
    assert!(offences("ops", "use crate::kernel::Buf;\nuse crate::{Error, Result};", allowed).is_empty());
    assert_eq!(offences("ops", "use crate::{Error, gpu, kernel::Buf};", allowed), ["gpu"]);
    assert_eq!(offences("ops", "let x = crate::space::Space::default();", allowed), ["space"]);
    assert!(table["cli"].is_none());
}

#[test]
fn only_gpu_names_wgpu_and_nothing_outside_it_reads_a_clock_where_plans_are_made() {
    for (path, code) in sources(&root().join("src")) {
        let inside = |folder: &str| path.starts_with(root().join("src").join(folder));
        let plain = ["space", "kernel", "ops", "graph", "reference"].iter().any(|f| inside(f));
        assert!(inside("gpu") || !code.contains("wgpu::"), "{} names wgpu", path.display());
        for word in ["Instant::", "SystemTime", "rand::rng(", "thread_rng"] {
            assert!(!plain || !code.contains(word), "{} has {word}", path.display());
        }
    }
}
