//! The documents: their commands run, and their flags, their settings and the files of their links exist.
//!
//! A command is run as it is written, except that the length, extents and data of a search or training are made small.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{CommandFactory, Parser};
use parsec_nas::cli::Cli;
use parsec_nas::config::keys::keys;
use parsec_nas::config::{Config, Resolved, TrainConfig};
use tempfile::TempDir;

use super::small;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README, ARCHITECTURE and the pages of `docs`: path from the root, and text.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|e| e.unwrap().path());
    let mut paths: Vec<PathBuf> = docs.filter(|p| p.extension().is_some_and(|e| e == "md")).collect();
    paths.extend(["README.md", "ARCHITECTURE.md"].map(|name| root().join(name)));
    paths.sort();
    assert!(paths.len() > 7, "{paths:?}");
    let page = |path: PathBuf| {
        (path.strip_prefix(root()).unwrap().to_owned(), std::fs::read_to_string(path).unwrap())
    };
    paths.into_iter().map(page).collect()
}

/// The lines of the blocks marked `sh`, without comments. Continued lines are joined.
fn commands(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut blocks = text.split("```");
    blocks.next();
    while let Some(block) = blocks.next() {
        if let Some(lines) = block.strip_prefix("sh\n") {
            let joined = lines.replace("\\\n", " ");
            let code =
                joined.lines().map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned());
            out.extend(code.filter(|line| !line.is_empty() && !line.starts_with('#')));
        }
        blocks.next();
    }
    out
}

/// The texts in single backquotes outside of blocks.
fn inline_code(text: &str) -> Vec<String> {
    let outside: String = text.split("```").step_by(2).collect();
    outside.split('`').skip(1).step_by(2).map(|code| code.replace('\n', " ")).collect()
}

fn flags_of(command: &clap::Command, out: &mut BTreeSet<String>) {
    let longs = command.get_arguments().filter_map(|arg| arg.get_long());
    out.extend(longs.map(|long| format!("--{long}")));
    command.get_subcommands().for_each(|sub| flags_of(sub, out));
}

/// Flags of other programs that the documents name.
const OF_OTHERS: &[&str] = &[
    "--release",
    "--example",
    "--help",
    "--version",
    "--features",
    "--parsec",
    "--data",
    "--table",
    "--work",
    "--out",
    "--arms",
    "--seeds",
    "--print",
    "--budget",
    "--stages",
    "--repeats",
    "--name-with-dashes",
    "--extra-variants",
    "--space",
    "--small",
    "--target",
    "--no-default-features",
];

#[test]
fn every_flag_that_is_named_exists() {
    let mut known: BTreeSet<String> = OF_OTHERS.iter().map(|flag| (*flag).to_owned()).collect();
    flags_of(&Cli::command(), &mut known);
    let mut wrong = Vec::new();
    for (path, text) in pages() {
        for code in inline_code(&text).into_iter().chain(commands(&text)) {
            for word in code.split(|c: char| c.is_whitespace() || "=|,()[]".contains(c)) {
                if word.starts_with("--") && word.len() > 2 && !known.contains(word) {
                    wrong.push(format!("{}: {word} in `{code}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Commands that are not run: those in the text, and those that blocks without a language show. Placeholders stand in the
/// place of arguments, but the name of the command and its flags must exist.
fn shown_commands(text: &str) -> Vec<String> {
    let blocks = text.split("```").skip(1).step_by(2).filter(|block| block.starts_with('\n'));
    let lines = blocks.flat_map(str::lines).map(|line| line.trim_start_matches("$ ").to_owned());
    let words = inline_code(text).into_iter().chain(lines);
    words.filter(|line| line.starts_with("parsec ")).collect()
}

#[test]
fn every_command_that_is_named_exists() {
    let program = Cli::command();
    let (mut wrong, mut n) = (Vec::new(), 0);
    for (path, text) in pages() {
        for line in shown_commands(&text) {
            n += 1;
            let mut words = line.split_whitespace().skip(1);
            let name = words.next().unwrap_or_default();
            let mut known = BTreeSet::from(["--help".to_owned(), "--version".to_owned()]);
            known.extend(program.get_arguments().filter_map(|arg| Some(format!("--{}", arg.get_long()?))));
            if !name.starts_with('-') {
                let Some(command) = program.find_subcommand(name) else {
                    wrong.push(format!("{}: no command `{name}` in `{line}`", path.display()));
                    continue;
                };
                flags_of(command, &mut known);
            }
            let flags = words.filter(|word| word.starts_with("--") && word.len() > 2);
            for flag in flags.map(|word| word.split('=').next().unwrap_or_default()) {
                if !known.contains(flag) {
                    wrong.push(format!("{}: no {flag} in `{line}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(n > 40, "{n} commands");
}

/// Names that are in the documents only: those of other programs, and of files that users have.
const NAMES_OF_OTHERS: &[&str] = &[
    "LP_NATIVE_VECTOR_WIDTH",
    // A placeholder.
    "PART_OF_NAME",
    // A kernel of the version that was measured.
    "backward_strided",
];

/// A name in backquotes with an underscore is one of the sources: a setting, a key of a file, a function, a file.
#[test]
fn every_name_that_is_written_exists() {
    fn names(dir: &Path, out: &mut BTreeSet<String>) {
        for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if path.is_dir() && !is_hidden {
                names(&path, out);
            } else if !is_hidden {
                out.insert(path.file_stem().unwrap().to_string_lossy().into_owned());
                let bytes = std::fs::read(&path).unwrap();
                let text = String::from_utf8_lossy(&bytes);
                let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
                out.extend(words.filter(|word| word.contains('_')).map(str::to_owned));
            }
        }
    }
    let mut known: BTreeSet<String> = NAMES_OF_OTHERS.iter().map(|name| (*name).to_owned()).collect();
    for folder in ["src", "shaders", "scripts", "examples", "tests"] {
        names(&root().join(folder), &mut known);
    }
    let mut wrong = Vec::new();
    for (path, text) in pages().into_iter().filter(|(path, _)| !path.ends_with("CHANGELOG.md")) {
        for code in inline_code(&text) {
            let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            for word in words.filter(|word| word.trim_matches('_').contains('_') && !known.contains(*word)) {
                wrong.push(format!("{}: {word} in `{code}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `name = value` in backquotes is a line of a settings file.
#[test]
fn every_setting_that_is_named_exists() {
    let mut known: BTreeSet<&str> =
        keys(Config::CONCERNS).chain(keys(TrainConfig::CONCERNS)).map(|k| k.name).collect();
    // These are the settings of a comparison.
    known.extend(["methods", "seeds", "table", "key", "train", "search", "name_with_underscores"]);
    let mut wrong = Vec::new();
    for (path, text) in pages() {
        for code in inline_code(&text) {
            if let Some((name, _)) = code.split_once(" = ")
                && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                && name.len() > 2
                && !known.contains(name)
            {
                wrong.push(format!("{}: `{code}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for (path, text) in pages() {
        let folder = root().join(&path).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.contains("://") && !file.is_empty() && !folder.join(file).exists() {
                wrong.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The command with a small size. The values of the flags that set the size are replaced.
fn smaller(mut words: Vec<String>) -> Vec<String> {
    let is_chain = words.iter().any(|w| {
        ["macro", "chain", "runs/search-0003"].contains(&w.as_str())
            || w.chars().all(|c| c.is_ascii_digit()) && w.len() > 4
    });
    let set = |words: &mut Vec<String>, flag: &str, value: Option<&str>| {
        if let Some(at) = words.iter().position(|word| word == flag) {
            let has_value = words.get(at + 1).is_some_and(|next| !next.starts_with("--"));
            words.drain(at..at + 1 + usize::from(has_value));
        }
        if let Some(value) = value {
            words.extend([flag.to_owned(), value.to_owned()]);
        }
    };
    let small: &[(&str, Option<&str>)] = match words[0].as_str() {
        "search" => &[
            ("--epochs", None),
            ("--steps", Some("1")),
            ("--batch", Some("8")),
            ("--samples", Some("2")),
            ("--channels", Some("4")),
            ("--search-batch", Some("16")),
            ("--micro-batch", None),
            ("--tune", None),
        ],
        "train" => {
            &[("--epochs", None), ("--steps", Some("1")), ("--batch", Some("4")), ("--channels", Some("2"))]
        }
        "bench" => &[
            ("--batch", Some("2")),
            ("--channels", Some("2")),
            ("--repeats", Some("1")),
            ("--no-step", None),
        ],
        "rank" => &[("--images", Some("16"))],
        "resume" if words.iter().any(|w| w == "--steps") => &[("--steps", Some("4"))],
        _ => &[],
    };
    small.iter().for_each(|(flag, value)| set(&mut words, flag, *value));
    let has = |words: &[String], flag: &str| words.iter().any(|w| w == flag || w.ends_with(flag));
    if ["search", "train"].contains(&words[0].as_str()) && !has(&words, ".toml") {
        if !has(&words, "--data") {
            words.extend(["--data", small::data()].map(str::to_owned));
        }
        if words[0] == "train" && !has(&words, "--preset") {
            words.extend(["--preset", "small"].map(str::to_owned));
        }
        if !is_chain {
            set(&mut words, "--layers", Some("3"));
        }
    }
    words
}

/// A folder in which the commands run. It has a search, a training, photographs in folders, and tables.
fn place() -> TempDir {
    let place = TempDir::new().unwrap();
    let folder = place.path();
    for (class, shade) in [("cats", 40), ("dogs", 200)] {
        std::fs::create_dir_all(folder.join("photos").join(class)).unwrap();
        for i in 0..40u8 {
            let image = image::RgbImage::from_fn(32, 32, |x, y| {
                image::Rgb([shade, (x * 8) as u8 ^ i, (y * 8) as u8])
            });
            image.save(folder.join(format!("photos/{class}/{i}.png"))).unwrap();
        }
    }
    image::GrayImage::from_fn(28, 28, |x, y| image::Luma([(x * y) as u8]))
        .save(folder.join("shirt.png"))
        .unwrap();
    let run = |command: &str| {
        let words = smaller(command.split(' ').map(str::to_owned).collect());
        let out =
            Command::new(env!("CARGO_BIN_EXE_parsec")).current_dir(folder).args(&words).output().unwrap();
        assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
    };
    let search = "--steps 1 -q";
    run(&format!("search --run runs/search-0001 --seed 1 {search}"));
    run(&format!("search --run runs/search-0002 --seed 2 {search}"));
    run(&format!("search --space macro --run runs/search-0003 {search}"));
    run(&format!("search --data folder:photos --size 32 --run runs/search-0004 {search}"));
    std::fs::create_dir(folder.join("moved")).unwrap();
    let copied = Command::new("cp").args(["-r", "photos", "moved"]).current_dir(folder).status().unwrap();
    assert!(copied.success());
    run("train --genotype runs/search-0001 --run runs/train-0001 --steps 1 --batch 4 --channels 2 -q");
    run("export runs/train-0001 --safetensors W.safetensors");
    std::fs::create_dir_all(folder.join("assets")).unwrap();
    let tiny = format!(
        "methods = [\"random\", \"largest\"]\nseeds = [0]\ndata = \"{}\"\n[search]\nlayers = 3\nchannels = 2\n[train]\nlayers = 3\n\
         steps = 1\nbatch = 4\nchannels = 2\n",
        small::data()
    );
    std::fs::write(folder.join("assets/compare.toml"), &tiny).unwrap();
    std::fs::write(folder.join("compare.toml"), tiny).unwrap();
    std::fs::write(
        folder.join("nas-bench-macro_cifar10.json"),
        r#"{"00000000": {"mean_acc": 80.0}, "11111111": {"mean_acc": 90.0},
        "22222222": {"mean_acc": 92.0}, "01201201": {"mean_acc": 91.0}}"#,
    )
    .unwrap();
    place
}

/// Commands that always take minutes. `.ci/run` runs the first one.
const LONG: &[&str] = &["selftest"];

#[test]
fn every_command_runs() {
    let place = place();
    let mut wrong = Vec::new();
    let mut n_run = 0;
    for (path, text) in pages() {
        for line in commands(&text) {
            let words: Vec<String> =
                line.split_whitespace().map(|w| w.trim_matches('"').to_owned()).collect();
            let problem = match words[0].as_str() {
                "parsec" => {
                    n_run += 1;
                    parsec(place.path(), &line, &words[1..])
                }
                program => other(program, &words).err(),
            };
            wrong.extend(problem.map(|problem| format!("{}: {line}: {problem}", path.display())));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(n_run > 15, "{n_run} commands");
}

/// Runs a command of the program and returns the error, if there is one.
fn parsec(folder: &Path, line: &str, words: &[String]) -> Option<String> {
    if let Err(e) = Cli::try_parse_from(line.split_whitespace()) {
        return Some(e.to_string());
    }
    if LONG.contains(&words[0].as_str()) {
        return None;
    }
    let out = Command::new(env!("CARGO_BIN_EXE_parsec"))
        .current_dir(folder)
        .env("PARSEC_CACHE", folder.join("cache"))
        .args(smaller(words.to_vec()))
        .output()
        .unwrap();
    (!out.status.success()).then(|| String::from_utf8_lossy(&out.stderr).into_owned())
}

/// Checks that the files exist that a command of another program names.
fn other(program: &str, words: &[String]) -> Result<(), String> {
    let there =
        |file: &str| if root().join(file).exists() { Ok(()) } else { Err(format!("{file} is not there")) };
    match program {
        "cargo" => match words.iter().position(|word| word == "--example") {
            Some(at) => there(&format!("examples/{}.rs", words[at + 1])),
            None => Ok(()),
        },
        "python" | "python3" | "node" => there(&words[1]),
        "mpirun" | "cd" | "pip" | "git" => Ok(()),
        _ if program.contains('=') => {
            let at = words.iter().position(|word| !word.contains('=')).unwrap_or(0);
            there(&words[at])
        }
        _ => there(program.trim_start_matches("./")),
    }
}

#[test]
fn the_tests_of_the_cases_exist() {
    fn sources(dir: &Path, out: &mut String) {
        for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                sources(&entry, out);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                *out += &std::fs::read_to_string(entry).unwrap();
            }
        }
    }
    let mut tests = String::new();
    ["tests/suite", "tests/window"].iter().for_each(|folder| sources(&root().join(folder), &mut tests));
    let text = std::fs::read_to_string(root().join("docs/cases.md")).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
    assert!(rows.len() > 30, "{}", rows.len());
    for row in rows {
        let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for name in inline_code(last) {
            assert!(tests.contains(&format!("fn {name}(")), "no test {name}: {row}");
        }
    }
}
